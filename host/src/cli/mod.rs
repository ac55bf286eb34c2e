//! Everything the user types and sees; the only module that prints.
//!
//! ```text
//! args        what was typed: clap types
//! settings    args + environment + oic.yml → one struct per command, each value with its origin
//! commands    one function per command
//! printer     every byte to standard output and standard error
//! progress    what a build says, shown live, plain or as JSON, and logged
//! command_error, library_errors, exit_code   library errors → `error:` / `caused by:` / `hint:` and the exit status
//! ```
//!
//! Library modules neither print nor know about hints and exit statuses.

mod args;
mod command_error;
mod commands;
mod config_file;
mod exit_code;
mod findings;
mod interrupt;
mod library_errors;
mod log;
mod machine;
mod printer;
mod progress;
mod settings;
mod suggest;
mod template;

use std::{collections::BTreeMap, ffi::OsString, sync::Arc};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

pub use exit_code::ExitCode;

use args::{CacheArgs, CacheCommand, Cli, Command, ConfigArgs, ConfigCommand, GlobalArgs};
use command_error::CommandError;
use log::{Clock, LogFile};
use printer::{Colors, Printer};
use progress::Progress;
use settings::{GlobalSettings, MessageSettings};

/// The command that the builder VM runs for each folder that it shares; not for users.
const FILE_SERVER: &str = "__virtiofsd";

/// Returns the definition of the command line, for man pages and reference documentation.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Returns the words of every command that users are shown, for reference documentation: first those of `oic` itself, which
/// are none.
#[must_use]
pub fn command_paths() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
        found.push(path.to_vec());
        for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
            below(child, &[path, &[child.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    below(&command(), &[], &mut found);
    found
}

/// Runs the program with the given command line and returns its exit status.
///
/// With `__virtiofsd` as the first argument, it is the file server that the builder VM starts from this same program instead.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> std::process::ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // First of all, because the server needs a process that has started no thread.
    if arguments.get(1).is_some_and(|first| first == FILE_SERVER) {
        return oic_builder_vm::virtiofs_main(arguments.drain(2..));
    }
    crate::heap::share();
    let variables = crate::env::snapshot();
    // The name that the program was called by would show up in the usage; there it is always `oic`.
    let arguments = std::iter::once(OsString::from("oic")).chain(arguments.into_iter().skip(1));
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &variables).into(),
    };
    let messages = MessageSettings::resolve(&cli.global, &variables);
    let printer = Printer::new(messages.quiet, messages.colors);
    let code = match run(cli, &variables, &printer) {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            error.report(&printer);
            error.exit_code()
        }
    };
    code.into()
}

/// Shows what clap has to say: the help or the version on standard output, a mistake on standard error.
fn refuse(error: &clap::Error, variables: &BTreeMap<String, OsString>) -> ExitCode {
    let messages = MessageSettings::resolve(&GlobalArgs::default(), variables);
    let printer = Printer::new(false, messages.colors);
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let colored = match messages.colors {
        Colors::Always => true,
        Colors::Never => false,
        Colors::Auto if asked_for => printer.has_result_color(),
        Colors::Auto => printer.has_color(),
    };
    let text = if colored { error.render().ansi().to_string() } else { error.render().to_string() };
    if asked_for {
        return match printer.raw_result(text.as_bytes()) {
            Ok(()) => ExitCode::Success,
            Err(error) => CommandError::from(error).exit_code(),
        };
    }
    printer.raw_message(text.as_bytes());
    ExitCode::Usage
}

/// What every command that does more than print something has.
#[derive(Debug)]
struct Context {
    settings: GlobalSettings,
    printer: Printer,
    clock: Clock,
    log: Option<LogFile>,
}

impl Context {
    /// Starts showing the progress of a command.
    fn progress(&self) -> Arc<Progress> {
        Progress::start(self.settings.progress.value, &self.printer, self.clock, self.log.clone())
    }
}

/// Runs the command.
fn run(cli: Cli, variables: &BTreeMap<String, OsString>, printer: &Printer) -> Result<(), CommandError> {
    let Cli { global, command } = cli;
    // Commands that need no configuration do not load it: they must work when it is broken.
    let context = || start(&global, variables, printer);
    match command {
        Command::Boot(args) => commands::boot(&args.into(), &context()?),
        Command::Build(args) => commands::build(args.into(), context()?),
        Command::Cache(CacheArgs { command }) => run_cache(command, &context()?),
        Command::Convert(args) => commands::convert(args.try_into()?, context()?),
        Command::Inspect(args) => commands::inspect(args.into(), context()?),
        Command::Compare(args) => commands::compare(args.into(), context()?),
        Command::Lock(args) => commands::lock(args.into(), context()?),
        Command::Validate(args) => commands::validate(&args.into(), &context()?),
        Command::Completions(args) => commands::completions(args.shell, printer),
        Command::Config(ConfigArgs { command: ConfigCommand::Init(args) }) => commands::config_init(&args.into(), printer),
        Command::Config(ConfigArgs { command: ConfigCommand::Show }) => commands::config_show(&context()?.settings, printer),
        Command::Doctor(args) => commands::doctor(&args.into(), &context()?),
        Command::Man(args) => commands::man(&args.dir, printer),
        Command::Version => commands::version(printer),
    }
}

/// Runs a command below `oic cache`.
fn run_cache(command: CacheCommand, context: &Context) -> Result<(), CommandError> {
    match command {
        CacheCommand::List(args) => commands::cache_list(args.into(), context),
        CacheCommand::Gc(args) => commands::cache_gc(args.into(), context),
        CacheCommand::Clean(args) => commands::cache_clean(&args.into(), context),
        CacheCommand::Verify => commands::cache_verify(context),
    }
}

/// Resolves the global settings, tells of variables that nothing reads, and starts the log.
fn start(global: &GlobalArgs, variables: &BTreeMap<String, OsString>, printer: &Printer) -> Result<Context, CommandError> {
    let settings = GlobalSettings::load(global, variables)?;
    for text in settings::unknown_variables(variables) {
        printer.warning(&text);
    }
    let (clock, log) = log::start(&settings, global.verbose, printer)?;
    Ok(Context { settings, printer: printer.clone(), clock, log })
}
