//! The command line, as typed: clap types and nothing else. `settings` gives them meaning.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{PossibleValue, PossibleValuesParser, Styles, TypedValueParser, styling::AnsiColor},
};
use clap_complete::Shell;
use oic_config::{spec::Arch, units::ByteSize};
use oic_disk_formats::{Compression, Format};

/// Colours of the help.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Builds bootable OS images from YAML templates, without any privilege on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "oic",
    bin_name = "oic",
    version,
    styles = STYLES,
    max_term_width = 100,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done, 1 internal error, 2 usage, 3 template, 4 resolve, 5 fetch or verify, 6 this machine, \
                  7 compose or boot, 8 output, 10 differences, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Configuration file to use instead of ./oic.yml, the user's and the system's
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Folder for downloads and everything made from them
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Folder for scratch files while a build runs
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) work_dir: Option<PathBuf>,
    /// How many packages to work on at a time [default: the number of processors]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) workers: Option<u32>,
    /// How to show progress [default: auto]
    #[arg(long, global = true, value_name = "MODE")]
    pub(crate) progress: Option<ProgressMode>,
    /// When to use colours [default: auto]
    #[arg(long, global = true, value_name = "WHEN")]
    pub(crate) color: Option<ColorMode>,
    /// Also write the log to this file
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log_file: Option<PathBuf>,
    /// Tell more; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Tell only warnings, errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Live on a terminal, plain otherwise
    Auto,
    /// One line for each event
    Plain,
    /// One JSON object for each event, on standard output
    Json,
    /// Not at all
    None,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorMode {
    /// On terminals
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the image that a template describes
    Build(BuildArgs),
    /// Choose the exact packages of a template and write them into a lock file
    Lock(LockArgs),
    /// Check templates, without a network and without a virtual machine
    Validate(ValidateArgs),
    /// Boot an image in a virtual machine, without changing it
    Boot(BootArgs),
    /// Convert an image to another format
    Convert(ConvertArgs),
    /// Tell what is in an image, without mounting it
    Inspect(InspectArgs),
    /// Tell what differs between two images
    Compare(CompareArgs),
    /// Tell what this machine offers, and what to do about what it lacks
    Doctor(DoctorArgs),
    /// Show what the cache holds, check it, and remove from it
    Cache(CacheArgs),
    /// Show or write the global configuration
    Config(ConfigArgs),
    /// Write a completion script for a shell to standard output
    Completions(CompletionsArgs),
    /// Write man pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
    /// Show versions: of oic, of its file formats, and of the agent's protocol
    Version,
}

/// What the command line says about a template.
#[derive(Debug, Default, Args)]
pub(crate) struct TemplateArgs {
    /// Architectures to use instead of the template's own
    #[arg(long, value_name = "ARCH", value_delimiter = ',', value_parser = arch_parser())]
    pub(crate) arch: Vec<Arch>,
    /// Override one field of the template, for example disk.size=8GiB
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// Give a value to ${NAME} in the template
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub(crate) var: Vec<(String, String)>,
}

/// `oic build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Template to build
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) template: PathBuf,
    /// Folder for the outputs [default: out/NAME-VERSION-ARCH]
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: TemplateArgs,
    #[command(flatten)]
    pub(crate) lock: LockFileArgs,
    /// Fail where the lock file is missing or does not fit the template, instead of renewing it
    #[arg(long, conflicts_with = "update")]
    pub(crate) locked: bool,
    /// Renew the lock file from what the repositories have now
    #[arg(long, conflicts_with = "offline")]
    pub(crate) update: bool,
    /// File for the dependency graph [default: deps.dot in the output folder]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) dotfile: Option<PathBuf>,
    /// Also draw the dependency graph: deps.svg in the output folder
    #[arg(long, value_name = "FORMAT")]
    pub(crate) graph: Option<GraphFormat>,
    /// File for a page that shows how long everything took
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) timing: Option<PathBuf>,
    /// Tell why each part of the image was made or taken from an earlier build
    #[arg(long)]
    pub(crate) explain: bool,
}

/// What the dependency graph is drawn as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// A drawing for any browser
    Svg,
}

/// `oic lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Template to lock
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) template: PathBuf,
    #[command(flatten)]
    pub(crate) overrides: TemplateArgs,
    #[command(flatten)]
    pub(crate) lock: LockFileArgs,
}

/// Where the lock is, and where packages come from.
#[derive(Debug, Args)]
pub(crate) struct LockFileArgs {
    /// Lock file [default: oic.lock beside the template]
    #[arg(long = "lock", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Choose no packages from this repository, for a mirror that lacks it; the image still names it
    #[arg(long, value_name = "ID")]
    pub(crate) without_repository: Vec<String>,
    /// Use what the cache has, and never the network
    #[arg(long)]
    pub(crate) offline: bool,
}

/// `oic validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Templates to check
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Print each template with everything it inherits, and where each value comes from
    #[arg(long)]
    pub(crate) merged: bool,
    /// Accept that files named by a template are missing
    #[arg(long)]
    pub(crate) no_file_checks: bool,
}

/// Returns the parser of architectures: their names, and Debian's for those who think in these.
fn arch_parser() -> impl TypedValueParser<Value = Arch> {
    let value = |arch: Arch| {
        let value = PossibleValue::new(arch.name());
        if arch.deb_name() == arch.name() { value } else { value.alias(arch.deb_name()) }
    };
    let find =
        |name: String| Arch::ALL.into_iter().find(|arch| arch.name() == name || arch.deb_name() == name).ok_or("no such architecture");
    PossibleValuesParser::new(Arch::ALL.map(value)).try_map(find)
}

/// Splits `NAME=VALUE`.
fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no `=`")?;
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(first) || !name.chars().all(|c| first(c) || c.is_ascii_digit()) {
        return Err(format!("`{name}` is not the name of a variable"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// `oic boot`.
#[derive(Debug, Args)]
pub(crate) struct BootArgs {
    /// Image to boot
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) image: PathBuf,
    /// Wait until it asks for a login instead of showing its console, and fail when it does not
    #[arg(long)]
    pub(crate) check: bool,
    /// Boot with BIOS firmware although the image is for UEFI too; one that only BIOS starts needs no option
    #[arg(long)]
    pub(crate) bios: bool,
    /// How long to wait with --check [default: 120, without KVM 900]
    #[arg(long, value_name = "SECONDS", requires = "check", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: Option<u32>,
    /// Memory of the virtual machine [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub(crate) memory: Option<u32>,
    /// Processors of the virtual machine
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: Option<u32>,
    /// Architecture of the image, where neither its partitions, manifest.json beside it nor its name tells
    #[arg(long, value_name = "ARCH", value_parser = arch_parser())]
    pub(crate) arch: Option<Arch>,
    /// Use what the cache has, and never the network
    #[arg(long)]
    pub(crate) offline: bool,
}

/// `oic convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Image to read, in any format, compressed or not
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// File to write; it is replaced when the new one is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Format to write [default: what the name of the output says]
    #[arg(short, long, value_name = "FORMAT", value_parser = format_parser())]
    pub(crate) format: Option<Format>,
    /// Compression to write [default: what the name of the output says]
    #[arg(short, long, value_name = "METHOD", value_parser = compression_parser())]
    pub(crate) compress: Option<CompressMode>,
}

/// `oic inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Image to look at, in any format, compressed or not
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    /// Also write the installed packages as an SPDX document [default file: NAME.spdx.json]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, value_hint = ValueHint::FilePath)]
    pub(crate) extract_sbom: Option<Option<PathBuf>>,
}

/// `oic compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// First image
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    pub(crate) left: PathBuf,
    /// Second image
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    pub(crate) right: PathBuf,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    /// What to compare
    #[arg(long, value_name = "MODE", default_value = "full")]
    pub(crate) mode: CompareMode,
}

/// What `oic compare` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareMode {
    /// Everything
    Full,
    /// The packages alone, of images or of SPDX documents
    Spdx,
}

/// How a report is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReportArgs {
    /// How to write the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ReportFormat,
    /// File to write the report to instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For a terminal
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// A page for a browser, in one file
    Html,
}

/// How an output is compressed, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompressMode(pub(crate) Option<Compression>);

fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}

fn compression_parser() -> impl TypedValueParser<Value = CompressMode> {
    let names = ["none"].into_iter().chain(Compression::ALL.map(Compression::name));
    PossibleValuesParser::new(names).try_map(|name| {
        if name == "none" { Ok(CompressMode(None)) } else { name.parse().map(|compression| CompressMode(Some(compression))) }
    })
}

/// Returns a size of memory in MiB.
fn parse_memory(text: &str) -> Result<u32, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    let mib = u32::try_from(size.0 >> 20).map_err(|_| "no machine has that much".to_owned())?;
    if mib < 64 { Err("at least 64MiB are needed".to_owned()) } else { Ok(mib) }
}

/// `oic doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask no mirror
    #[arg(long)]
    pub(crate) offline: bool,
}

/// `oic cache`.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

/// The commands below `oic cache`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List each kind of entries with its size and last use
    List(CacheListArgs),
    /// Remove what was not used for long
    Gc(CacheGcArgs),
    /// Remove whole kinds of entries
    Clean(CacheCleanArgs),
    /// Check packages, metadata and layers against their digests, and remove damaged ones
    Verify,
}

/// `oic cache list`.
#[derive(Debug, Args)]
pub(crate) struct CacheListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `oic cache gc`.
#[derive(Debug, Args)]
pub(crate) struct CacheGcArgs {
    /// Size to bring the cache down to, what was used longest ago first [default: cache_max_size of oic.yml]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_size: Option<ByteSize>,
    /// Remove what was not used for this long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) max_age: Option<u64>,
    /// Only tell what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `oic cache clean`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct CacheCleanArgs {
    /// Packages, and what they were unpacked to
    #[arg(long, group = "what")]
    pub(crate) packages: bool,
    /// Layers of images
    #[arg(long, group = "what")]
    pub(crate) layers: bool,
    /// The builder VM, and the programs that oic uses
    #[arg(long, group = "what")]
    pub(crate) vm: bool,
    /// Everything
    #[arg(long, group = "what")]
    pub(crate) all: bool,
    /// Only tell what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Returns seconds from a number with `h`, `d` or `w` after it.
fn parse_age(text: &str) -> Result<u64, String> {
    let unit = |text: &str| match text {
        "h" => Some(3600),
        "d" => Some(86400),
        "w" => Some(7 * 86400),
        _ => None,
    };
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let age = text[..at].parse::<u64>().ok().zip(unit(&text[at..])).and_then(|(count, unit)| count.checked_mul(unit));
    age.ok_or_else(|| "a number of hours, days or weeks is expected: 12h, 30d, 8w".to_owned())
}

/// `oic config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// The commands below `oic config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a commented configuration file
    Init(ConfigInitArgs),
    /// Print every setting with where its value comes from
    Show,
}

/// `oic config init`.
#[derive(Debug, Args)]
pub(crate) struct ConfigInitArgs {
    /// File to write
    #[arg(default_value = "oic.yml", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `oic completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// `oic man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder to write into
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
