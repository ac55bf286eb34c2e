//! `oic.yml`, the global configuration: finding, reading, and saying exactly what is wrong with it.
//!
//! Files are looked for in the current folder, the user's configuration folder and `/etc/oic`. All that exist count: a value
//! comes from the first of them that has it. Relative paths are relative to the file's own folder, and `~/` is the home
//! folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy as _;
use serde::Deserialize;
use serde_saphyr::{Error as YamlError, Spanned, UserMessageFormatter};

use super::{command_error::Hint, suggest};

/// The name of the file.
pub(crate) const FILE_NAME: &str = "oic.yml";

/// The system's folder for it.
const SYSTEM_DIR: &str = "/etc/oic";

/// A file beyond this size is not a configuration.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration file that has been read.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    /// Where it was found, as the user would write it.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) document: Document,
}

/// The file's content.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) workers: Option<Spanned<u32>>,
    pub(crate) cache_dir: Option<Spanned<PathBuf>>,
    pub(crate) cache_max_size: Option<Spanned<String>>,
    pub(crate) work_dir: Option<Spanned<PathBuf>>,
    pub(crate) temp_dir: Option<Spanned<PathBuf>>,
    pub(crate) config_dir: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(crate) logging: Option<Logging>,
    #[serde(default)]
    pub(crate) mirrors: Option<BTreeMap<String, Spanned<String>>>,
}

/// `logging`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logging {
    pub(crate) level: Option<Spanned<LogLevel>>,
    pub(crate) file: Option<Spanned<PathBuf>>,
}

/// How much the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// All of them, quietest first.
    pub(crate) const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Why a configuration file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigFileError {
    /// It cannot be read.
    #[error("cannot read the configuration file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It is larger than any configuration.
    #[error("the configuration file `{}` has {size} bytes, more than the limit of {MAX_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// A key that does not exist.
    #[error("{}:{line}:{column}: unknown key `{key}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// The key.
        key: String,
        /// The keys that are possible there.
        known: Vec<&'static str>,
    },
    /// Text that is not YAML, or a value of the wrong kind.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong there.
        reason: String,
    },
}

impl Hint for ConfigFileError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownKey { key, known, .. } => match suggest::nearest(key, known.iter().copied()) {
                Some(meant) => vec![format!("did you mean `{meant}`?")],
                None => vec![format!("the keys that are possible here: {}", known.join(", "))],
            },
            Self::Unreadable { .. } | Self::TooLarge { .. } => vec!["name another file with `--config`".into()],
            Self::Invalid { .. } => vec!["`oic config init` writes a file with every key explained".into()],
        }
    }
}

/// Returns the places where configuration files are looked for, nearest first.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let user = etcetera::choose_base_strategy().ok().map(|dirs| dirs.config_dir().join("oic").join(FILE_NAME));
    [Some(PathBuf::from(FILE_NAME)), user, Some(Path::new(SYSTEM_DIR).join(FILE_NAME))].into_iter().flatten().collect()
}

/// Reads the files of the search path that exist, nearest first.
///
/// # Errors
/// Fails when one of them cannot be read or understood.
pub(crate) fn load_all() -> Result<Vec<ConfigFile>, ConfigFileError> {
    let mut files = Vec::new();
    for path in search_path() {
        match load(&path) {
            Ok(file) => files.push(file),
            Err(ConfigFileError::Unreadable { source, .. }) if is_absent(&source) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// Returns whether an error says that there is no such file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads one file.
///
/// # Errors
/// Fails when it cannot be read or understood.
pub(crate) fn load(path: &Path) -> Result<ConfigFile, ConfigFileError> {
    let unreadable = |source| ConfigFileError::Unreadable { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(ConfigFileError::TooLarge { path: path.to_owned(), size });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let document = parse(path, &text)?;
    Ok(ConfigFile { path: path.to_owned(), document })
}

/// Understands a file's text. A file of comments alone says nothing, which is fine.
fn parse(path: &Path, text: &str) -> Result<Document, ConfigFileError> {
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim() == "---";
    if text.lines().all(says_nothing) {
        return Ok(Document::default());
    }
    serde_saphyr::from_str(text).map_err(|error| invalid(path, error.without_snippet()))
}

/// Words what is wrong with a file's text.
fn invalid(path: &Path, error: &YamlError) -> ConfigFileError {
    let (line, column) = error.location().map_or((1, 1), |location| (location.line(), location.column()));
    let path = path.to_owned();
    if let YamlError::SerdeUnknownField { field, expected, .. } = error {
        return ConfigFileError::UnknownKey { path, line, column, key: field.clone(), known: expected.clone() };
    }
    let reason = match error {
        YamlError::SerdeUnknownVariant { variant, expected, .. } => format!("`{variant}` is not one of {}", expected.join(", ")),
        YamlError::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is given twice"),
        YamlError::Unexpected { expected: "mapping start", .. } => "keys with values are expected here".to_owned(),
        // The only values that are neither text nor words of a list are numbers.
        YamlError::InvalidScalar { .. } => "a whole number that is not negative is expected here".to_owned(),
        other => {
            let text = other.render_with_formatter(&UserMessageFormatter);
            // The library repeats the position at the end of what it says; it stands in front here.
            text.split(" at line ").next().unwrap_or(&text).trim_end_matches([' ', ',', ':']).to_owned()
        }
    };
    ConfigFileError::Invalid { path, line, column, reason }
}

/// Returns `path` as it is meant in the file `config`: `~/` is the home folder, relative ones start at the file's folder.
pub(crate) fn resolve_path(config: &Path, path: &Path) -> PathBuf {
    if let Ok(rest) = path.strip_prefix("~")
        && let Ok(home) = etcetera::home_dir()
    {
        return home.join(rest);
    }
    match config.parent() {
        Some(folder) => folder.join(path),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let error = parse(Path::new("oic.yml"), text).unwrap_err();
        let mut words = vec![error.to_string()];
        words.extend(error.hints());
        words.join(" | ")
    }

    #[test]
    fn comments_alone_say_nothing() {
        for text in ["", "\n# workers: 4\n", "---\n"] {
            assert!(parse(Path::new("oic.yml"), text).unwrap().workers.is_none(), "{text:?}");
        }
    }

    #[test]
    fn values_know_where_they_stand() {
        let document =
            parse(Path::new("oic.yml"), "workers: 3\nlogging:\n  level: debug\nmirrors:\n  debian: http://localhost/debian\n").unwrap();
        let workers = document.workers.unwrap();
        assert_eq!((workers.value, workers.referenced.line(), workers.referenced.column()), (3, 1, 10));
        assert_eq!(document.logging.unwrap().level.unwrap().value, LogLevel::Debug);
        assert_eq!(document.mirrors.unwrap()["debian"].value, "http://localhost/debian");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        insta::assert_snapshot!(error("workers: 3\ncach_dir: /x\n"), @"oic.yml:2:1: unknown key `cach_dir` | did you mean `cache_dir`?");
        insta::assert_snapshot!(error("zzz: 1\n"), @"oic.yml:1:1: unknown key `zzz` | the keys that are possible here: workers, cache_dir, cache_max_size, work_dir, temp_dir, config_dir, logging, mirrors");
        insta::assert_snapshot!(error("logging:\n  levle: info\n"), @"oic.yml:2:3: unknown key `levle` | did you mean `level`?");
        insta::assert_snapshot!(error("logging:\n  level: loud\n"), @"oic.yml:2:10: `loud` is not one of error, warn, info, debug, trace | `oic config init` writes a file with every key explained");
        insta::assert_snapshot!(error("workers: many\n"), @"oic.yml:1:10: a whole number that is not negative is expected here | `oic config init` writes a file with every key explained");
        insta::assert_snapshot!(error("workers: -1\n"), @"oic.yml:1:10: a whole number that is not negative is expected here | `oic config init` writes a file with every key explained");
        insta::assert_snapshot!(error("mirrors: [a, b]\n"), @"oic.yml:1:10: keys with values are expected here | `oic config init` writes a file with every key explained");
        insta::assert_snapshot!(error("workers: 1\nworkers: 2\n"), @"oic.yml:2:1: `workers` is given twice | `oic config init` writes a file with every key explained");
        insta::assert_snapshot!(error("cache_dir: \"open\n"), @"oic.yml:2:1: invalid indentation in multiline quoted scalar | `oic config init` writes a file with every key explained");
        insta::assert_snapshot!(error("- a\n"), @"oic.yml:1:1: keys with values are expected here | `oic config init` writes a file with every key explained");
    }

    #[test]
    fn paths_start_at_the_files_folder() {
        assert_eq!(resolve_path(Path::new("/etc/oic/oic.yml"), Path::new("data")), Path::new("/etc/oic/data"));
        assert_eq!(resolve_path(Path::new("oic.yml"), Path::new("cache")), Path::new("cache"));
        assert_eq!(resolve_path(Path::new("/etc/oic/oic.yml"), Path::new("/var/cache")), Path::new("/var/cache"));
    }
}
