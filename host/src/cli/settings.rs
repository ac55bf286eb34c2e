//! What the user wants, from the command line, the environment and the configuration files, each value with its origin.
//!
//! ```text
//! args + environment + oic.yml… → GlobalSettings      nearest wins: command line, environment, files in search order, default
//! args                          → one `…Settings` per command
//! ```
//!
//! Nothing here reads anything but its arguments, so that every rule can be tested without touching the process.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use clap::ValueEnum as _;
use etcetera::BaseStrategy as _;
use oic_builder_vm::Cancel;
use oic_config::spec::Arch;
use serde_saphyr::Spanned;

use super::{
    args::{BootArgs, BuildArgs, ColorMode, ConfigInitArgs, DoctorArgs, GlobalArgs, LockArgs, ProgressMode, TemplateArgs, ValidateArgs},
    command_error::CommandError,
    config_file::{self, ConfigFile, Document, LogLevel},
    printer::Colors,
    suggest,
    template::{self, TemplateSettings},
};
use crate::{
    build::{HostOptions, LockUse, Scratch},
    env,
    fetch::Url,
};

/// The most workers that are accepted: beyond, only file descriptors run out.
const MAX_WORKERS: u32 = 1024;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An option on the command line.
    CommandLine(&'static str),
    /// An environment variable.
    Environment(String),
    /// A configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(option) => write!(f, "command line: {option}"),
            Self::Environment(variable) => write!(f, "environment: {variable}"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

impl<T> Sourced<T> {
    fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// What holds for every command.
#[derive(Debug, Clone)]
pub(crate) struct GlobalSettings {
    /// How many packages are worked on at a time.
    pub(crate) workers: Sourced<NonZeroUsize>,
    /// Downloads and everything made from them.
    pub(crate) cache_dir: Sourced<PathBuf>,
    /// Scratch files while a build runs.
    pub(crate) work_dir: Sourced<PathBuf>,
    /// Small short-lived files and sockets.
    pub(crate) temp_dir: Sourced<PathBuf>,
    /// Distribution data that replaces the built-in one.
    pub(crate) config_dir: Option<Sourced<PathBuf>>,
    /// How much the log has.
    pub(crate) log_level: Sourced<LogLevel>,
    /// Where the log is also written to.
    pub(crate) log_file: Option<Sourced<PathBuf>>,
    /// Mirrors by the name of the distribution.
    pub(crate) mirrors: BTreeMap<String, Sourced<Url>>,
    /// How progress is shown.
    pub(crate) progress: Sourced<ProgressMode>,
    /// The configuration files that were read, nearest first.
    pub(crate) config_files: Vec<PathBuf>,
}

/// What is needed before anything else can be told: how to tell it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageSettings {
    /// Whether notes are dropped.
    pub(crate) quiet: bool,
    /// When colours are used.
    pub(crate) colors: Colors,
}

impl MessageSettings {
    /// Decides from the command line and the environment alone, so that errors of the configuration can be told, too.
    #[must_use]
    pub(crate) fn resolve(args: &GlobalArgs, variables: &BTreeMap<String, OsString>) -> Self {
        let dumb = variables.get(env::TERM).is_some_and(|term| term == "dumb");
        let colors = match args.color {
            Some(ColorMode::Always) => Colors::Always,
            Some(ColorMode::Never) => Colors::Never,
            Some(ColorMode::Auto) => Colors::Auto,
            None if variables.contains_key(env::NO_COLOR) => Colors::Never,
            None if variables.contains_key(env::CLICOLOR_FORCE) => Colors::Always,
            None if dumb => Colors::Never,
            None => Colors::Auto,
        };
        Self { quiet: args.quiet, colors }
    }
}

impl GlobalSettings {
    /// Reads the configuration files that `args` and the environment ask for, and resolves every value.
    ///
    /// # Errors
    /// Fails when a file, a variable or an option is wrong.
    pub(crate) fn load(args: &GlobalArgs, variables: &BTreeMap<String, OsString>) -> Result<Self, CommandError> {
        let named = args.config.clone().or_else(|| variables.get(env::OIC_CONFIG).map(PathBuf::from));
        let files = match named {
            Some(path) => vec![config_file::load(&path)?],
            None => config_file::load_all()?,
        };
        Self::resolve(args, variables, &files)
    }

    /// Resolves every value.
    ///
    /// # Errors
    /// Fails when a variable or an option is wrong, and when a default is needed that this user does not have.
    pub(crate) fn resolve(args: &GlobalArgs, variables: &BTreeMap<String, OsString>, files: &[ConfigFile]) -> Result<Self, CommandError> {
        let sources = Sources { variables, files };
        let cache_dir =
            match sources.path(args.cache_dir.as_ref(), "--cache-dir", env::OIC_CACHE_DIR, |document| document.cache_dir.as_ref()) {
                Some(dir) => dir,
                None => Sourced::new(default_cache_dir()?, Origin::Default),
            };
        let work_dir = sources
            .path(args.work_dir.as_ref(), "--work-dir", env::OIC_WORK_DIR, |document| document.work_dir.as_ref())
            .unwrap_or_else(|| Sourced::new(cache_dir.value.join("work"), Origin::Default));
        Ok(Self {
            workers: sources.workers(args.workers)?,
            cache_dir,
            work_dir,
            temp_dir: sources.temp_dir(),
            config_dir: sources.path(None, "", env::OIC_CONFIG_DIR, |document| document.config_dir.as_ref()),
            log_level: sources.log_level()?,
            log_file: sources
                .path(args.log_file.as_ref(), "--log-file", env::OIC_LOG_FILE, |document| document.logging.as_ref()?.file.as_ref()),
            mirrors: sources.mirrors()?,
            progress: sources.progress(args.progress)?,
            config_files: files.iter().map(|file| file.path.clone()).collect(),
        })
    }
}

impl GlobalSettings {
    /// Returns the part of the settings that builds work with.
    pub(crate) fn host_options(&self, offline: bool, cancel: Cancel) -> HostOptions {
        HostOptions {
            workers: self.workers.value,
            cache_dir: self.cache_dir.value.clone(),
            work_dir: self.work_dir.value.clone(),
            temp_dir: self.temp_dir.value.clone(),
            mirrors: self.mirrors.iter().map(|(name, url)| (name.clone(), url.value.clone())).collect(),
            without_repositories: Vec::new(),
            offline,
            cancel,
            scratch: Scratch::default(),
        }
    }
}

/// Returns the cache folder of a user who says nothing.
fn default_cache_dir() -> Result<PathBuf, CommandError> {
    let dirs = etcetera::choose_base_strategy().map_err(|_| {
        CommandError::usage("there is no home folder to keep a cache in").with_hint("name a folder with `--cache-dir` or `OIC_CACHE_DIR`")
    })?;
    Ok(dirs.cache_dir().join("oic"))
}

/// Everything but the command line that values come from.
struct Sources<'a> {
    variables: &'a BTreeMap<String, OsString>,
    files: &'a [ConfigFile],
}

impl Sources<'_> {
    /// Returns the value that the nearest file has, and where.
    fn file<T: Clone>(&self, field: impl Fn(&Document) -> Option<&Spanned<T>>) -> Option<Sourced<T>> {
        self.files.iter().find_map(|file| {
            let spanned = field(&file.document)?;
            Some(Sourced::new(spanned.value.clone(), origin_in(file, spanned)))
        })
    }

    /// Resolves a path.
    fn path(
        &self,
        typed: Option<&PathBuf>,
        option: &'static str,
        variable: &str,
        field: impl Fn(&Document) -> Option<&Spanned<PathBuf>>,
    ) -> Option<Sourced<PathBuf>> {
        if let Some(path) = typed {
            return Some(Sourced::new(path.clone(), Origin::CommandLine(option)));
        }
        if let Some(value) = self.variables.get(variable) {
            return Some(Sourced::new(value.into(), Origin::Environment(variable.to_owned())));
        }
        let mut found = self.file(field)?;
        if let Origin::File { path, .. } = &found.origin {
            found.value = config_file::resolve_path(path, &found.value);
        }
        Some(found)
    }

    /// Resolves the folder for temporary files.
    fn temp_dir(&self) -> Sourced<PathBuf> {
        self.path(None, "", env::OIC_TEMP_DIR, |document| document.temp_dir.as_ref()).unwrap_or_else(|| {
            match self.variables.get(env::TMPDIR) {
                Some(dir) => Sourced::new(dir.into(), Origin::Environment(env::TMPDIR.to_owned())),
                None => Sourced::new("/tmp".into(), Origin::Default),
            }
        })
    }

    /// Resolves the number of workers.
    fn workers(&self, typed: Option<u32>) -> Result<Sourced<NonZeroUsize>, CommandError> {
        let asked = if let Some(count) = typed {
            Some(Sourced::new(count, Origin::CommandLine("--workers")))
        } else if let Some(text) = self.variables.get(env::OIC_WORKERS) {
            let count = text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| bad_variable(env::OIC_WORKERS, text, "a number"))?;
            Some(Sourced::new(count, Origin::Environment(env::OIC_WORKERS.to_owned())))
        } else {
            self.file(|document| document.workers.as_ref())
        };
        let Some(Sourced { value, origin }) = asked else {
            let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            return Ok(Sourced::new(processors, Origin::Default));
        };
        let accepted = usize::try_from(value.min(MAX_WORKERS + 1)).ok().and_then(NonZeroUsize::new).filter(|_| value <= MAX_WORKERS);
        let workers =
            accepted.ok_or_else(|| CommandError::usage(format!("{value} workers ({origin}) are not within 1 and {MAX_WORKERS}")))?;
        Ok(Sourced::new(workers, origin))
    }

    /// Resolves the level of the log.
    fn log_level(&self) -> Result<Sourced<LogLevel>, CommandError> {
        let Some(text) = self.variables.get(env::OIC_LOG_LEVEL) else {
            let found = self.file(|document| document.logging.as_ref()?.level.as_ref());
            return Ok(found.unwrap_or(Sourced::new(LogLevel::Info, Origin::Default)));
        };
        let level = LogLevel::ALL.into_iter().find(|level| text == level.name());
        let level = level.ok_or_else(|| {
            let names = LogLevel::ALL.map(LogLevel::name).join(", ");
            bad_variable(env::OIC_LOG_LEVEL, text, &format!("one of {names}"))
        })?;
        Ok(Sourced::new(level, Origin::Environment(env::OIC_LOG_LEVEL.to_owned())))
    }

    /// Resolves how progress is shown.
    fn progress(&self, typed: Option<ProgressMode>) -> Result<Sourced<ProgressMode>, CommandError> {
        if let Some(mode) = typed {
            return Ok(Sourced::new(mode, Origin::CommandLine("--progress")));
        }
        let Some(text) = self.variables.get(env::OIC_PROGRESS) else {
            return Ok(Sourced::new(ProgressMode::Auto, Origin::Default));
        };
        let mode = text.to_str().and_then(|text| ProgressMode::from_str(text, false).ok());
        let mode = mode.ok_or_else(|| bad_variable(env::OIC_PROGRESS, text, "one of auto, plain, json, none"))?;
        Ok(Sourced::new(mode, Origin::Environment(env::OIC_PROGRESS.to_owned())))
    }

    /// Resolves the mirrors: the files' farthest first, so that nearer ones replace them, then the environment's.
    fn mirrors(&self) -> Result<BTreeMap<String, Sourced<Url>>, CommandError> {
        let mut mirrors = BTreeMap::new();
        for file in self.files.iter().rev() {
            for (name, url) in file.document.mirrors.iter().flatten() {
                let origin = origin_in(file, url);
                mirrors.insert(name.clone(), mirror(name, &url.value, origin)?);
            }
        }
        for (variable, value) in self.variables {
            let Some(name) = variable.strip_prefix(env::OIC_MIRROR_PREFIX).filter(|name| !name.is_empty()) else { continue };
            let name = name.to_lowercase().replace('_', "-");
            let url = value.to_str().ok_or_else(|| bad_variable(variable, value, "a URL"))?;
            let found = mirror(&name, url, Origin::Environment(variable.clone()))?;
            mirrors.insert(name, found);
        }
        Ok(mirrors)
    }
}

/// Checks a mirror's URL. What is wrong with it is shown without user name and password, as every URL.
fn mirror(name: &str, url: &str, origin: Origin) -> Result<Sourced<Url>, CommandError> {
    match Url::parse(url) {
        Ok(url) => Ok(Sourced::new(url, origin)),
        Err(error) => Err(CommandError::usage(format!("the mirror of {name} ({origin}) is of no use: {error}"))),
    }
}

/// Returns where a value of a file stands.
fn origin_in<T>(file: &ConfigFile, spanned: &Spanned<T>) -> Origin {
    Origin::File { path: file.path.clone(), line: spanned.referenced.line(), column: spanned.referenced.column() }
}

/// Words a variable with a value that it cannot have.
fn bad_variable(variable: &str, value: &OsStr, expected: &str) -> CommandError {
    CommandError::usage(format!("the environment variable {variable} is `{}`, which is not {expected}", value.to_string_lossy()))
}

/// Warns of variables that look like ours and are none: a typing error would otherwise go unnoticed.
pub(crate) fn unknown_variables(variables: &BTreeMap<String, OsString>) -> Vec<String> {
    let unknown = variables.keys().filter(|name| {
        name.starts_with("OIC_")
            && !env::ALL.contains(&name.as_str())
            && !env::BUILD_ONLY.contains(&name.as_str())
            && !name.starts_with(env::OIC_MIRROR_PREFIX)
    });
    let text = |name: &String| match suggest::nearest(name, env::ALL) {
        Some(meant) => format!("the environment variable {name} means nothing; did you mean {meant}?"),
        None => format!("the environment variable {name} means nothing"),
    };
    unknown.map(text).collect()
}

impl From<TemplateArgs> for TemplateSettings {
    fn from(args: TemplateArgs) -> Self {
        let mut archs = Vec::new();
        for arch in args.arch {
            if !archs.contains(&arch) {
                archs.push(arch);
            }
        }
        Self { archs, sets: args.set, vars: args.var, no_file_checks: false }
    }
}

/// What `oic build` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildSettings {
    /// The template.
    pub(crate) template: PathBuf,
    /// What the command line adds to it.
    pub(crate) overrides: TemplateSettings,
    /// The folder for the outputs; none: one by the image's name.
    pub(crate) output: Option<PathBuf>,
    /// The lock file.
    pub(crate) lock_file: PathBuf,
    /// What is done with it.
    pub(crate) lock_use: LockUse,
    /// Repositories to do without.
    pub(crate) without_repositories: Vec<String>,
    /// Whether the network is not to be used.
    pub(crate) offline: bool,
    /// Where the dependency graph goes instead of into the output folder.
    pub(crate) dotfile: Option<PathBuf>,
    /// Whether to tell why each part was made or not.
    pub(crate) explain: bool,
}

impl From<BuildArgs> for BuildSettings {
    fn from(args: BuildArgs) -> Self {
        let lock_use = match (args.locked, args.update) {
            (true, _) => LockUse::Require,
            (false, true) => LockUse::Renew,
            (false, false) => LockUse::Prefer,
        };
        Self {
            lock_file: args.lock.file.unwrap_or_else(|| template::lock_file(&args.template)),
            template: args.template,
            overrides: args.overrides.into(),
            output: args.output,
            lock_use,
            without_repositories: args.lock.without_repository,
            offline: args.lock.offline,
            dotfile: args.dotfile,
            explain: args.explain,
        }
    }
}

/// What `oic lock` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockSettings {
    /// The template.
    pub(crate) template: PathBuf,
    /// What the command line adds to it.
    pub(crate) overrides: TemplateSettings,
    /// The lock file.
    pub(crate) lock_file: PathBuf,
    /// Repositories to do without.
    pub(crate) without_repositories: Vec<String>,
    /// Whether the network is not to be used.
    pub(crate) offline: bool,
}

impl From<LockArgs> for LockSettings {
    fn from(args: LockArgs) -> Self {
        Self {
            lock_file: args.lock.file.unwrap_or_else(|| template::lock_file(&args.template)),
            template: args.template,
            overrides: args.overrides.into(),
            without_repositories: args.lock.without_repository,
            offline: args.lock.offline,
        }
    }
}

/// What `oic validate` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValidateSettings {
    /// The templates; at least one.
    pub(crate) files: Vec<PathBuf>,
    /// What the command line adds to each.
    pub(crate) template: TemplateSettings,
    /// Whether the merged templates are printed.
    pub(crate) merged: bool,
}

impl From<ValidateArgs> for ValidateSettings {
    fn from(args: ValidateArgs) -> Self {
        let template = TemplateSettings { no_file_checks: args.no_file_checks, ..args.template.into() };
        Self { files: args.files, template, merged: args.merged }
    }
}

/// What `oic boot` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootSettings {
    /// The image.
    pub(crate) image: PathBuf,
    /// Whether the login prompt is all that is waited for.
    pub(crate) check: bool,
    /// How long it is waited for; none: by the accelerator.
    pub(crate) timeout: Option<Duration>,
    /// Memory in MiB; none: `oic` chooses.
    pub(crate) memory_mib: Option<u32>,
    /// Processors; none: `oic` chooses.
    pub(crate) cpus: Option<u32>,
    /// The image's architecture; none: what it says itself.
    pub(crate) arch: Option<Arch>,
    /// Whether the network is not to be used.
    pub(crate) offline: bool,
}

impl From<BootArgs> for BootSettings {
    fn from(args: BootArgs) -> Self {
        Self {
            image: args.image,
            check: args.check,
            timeout: args.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            memory_mib: args.memory,
            cpus: args.cpus,
            arch: args.arch,
            offline: args.offline,
        }
    }
}

/// What `oic doctor` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoctorSettings {
    /// Whether the report is JSON.
    pub(crate) json: bool,
    /// Whether the network is left alone.
    pub(crate) offline: bool,
}

impl From<DoctorArgs> for DoctorSettings {
    fn from(args: DoctorArgs) -> Self {
        Self { json: args.json, offline: args.offline }
    }
}

/// What `oic config init` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigInitSettings {
    /// The file to write.
    pub(crate) file: PathBuf,
    /// Whether a file that is there is replaced.
    pub(crate) force: bool,
}

impl From<ConfigInitArgs> for ConfigInitSettings {
    fn from(args: ConfigInitArgs) -> Self {
        Self { file: args.file, force: args.force }
    }
}
