//! Every environment variable that `oic` reads, one documented constant each.

use std::{collections::BTreeMap, ffi::OsString};

/// The global configuration file to use instead of the ones that would be searched, like `--config`.
pub const OIC_CONFIG: &str = "OIC_CONFIG";
/// Cache folder, like `--cache-dir`.
pub const OIC_CACHE_DIR: &str = "OIC_CACHE_DIR";
/// How large the cache may become, like the key `cache_max_size`.
pub const OIC_CACHE_MAX_SIZE: &str = "OIC_CACHE_MAX_SIZE";
/// Folder for scratch files while a build runs, like `--work-dir`.
pub const OIC_WORK_DIR: &str = "OIC_WORK_DIR";
/// Folder for small short-lived files and sockets; before `TMPDIR`.
pub const OIC_TEMP_DIR: &str = "OIC_TEMP_DIR";
/// Folder whose distribution data replaces the built-in one.
pub const OIC_CONFIG_DIR: &str = "OIC_CONFIG_DIR";
/// How many packages are worked on at a time, like `--workers`.
pub const OIC_WORKERS: &str = "OIC_WORKERS";
/// Level of the log: `error`, `warn`, `info`, `debug` or `trace`.
pub const OIC_LOG_LEVEL: &str = "OIC_LOG_LEVEL";
/// File that the log is also written to, like `--log-file`.
pub const OIC_LOG_FILE: &str = "OIC_LOG_FILE";
/// How progress is shown, like `--progress`.
pub const OIC_PROGRESS: &str = "OIC_PROGRESS";
/// Prefix of the mirror of one distribution: `OIC_MIRROR_DEBIAN=http://…`.
pub const OIC_MIRROR_PREFIX: &str = "OIC_MIRROR_";
/// A QEMU system emulator to use instead of the one that would be found or fetched.
pub const OIC_QEMU: &str = "OIC_QEMU";
/// Set to any value: no colours.
pub const NO_COLOR: &str = "NO_COLOR";
/// Set to any value: colours even where standard error is not a terminal.
pub const CLICOLOR_FORCE: &str = "CLICOLOR_FORCE";
/// The kind of terminal; `dumb` has neither colours nor a live display.
pub const TERM: &str = "TERM";
/// The system's folder for temporary files.
pub const TMPDIR: &str = "TMPDIR";
/// Programs of the host are searched in these folders.
pub const PATH: &str = "PATH";

/// Returns the value of an environment variable, none when it is unset or empty.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the value of an environment variable as text, none when it is unset, empty or not UTF-8.
#[must_use]
pub fn get_text(name: &str) -> Option<String> {
    get(name).and_then(|value| value.into_string().ok())
}

/// Returns all variables that are set and not empty. Names that are not UTF-8 are none of ours.
#[must_use]
pub fn snapshot() -> BTreeMap<String, OsString> {
    std::env::vars_os().filter(|(_, value)| !value.is_empty()).filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
}

/// The variables of `oic` itself that have a fixed name.
pub const ALL: [&str; 11] = [
    OIC_CACHE_DIR,
    OIC_CACHE_MAX_SIZE,
    OIC_CONFIG,
    OIC_CONFIG_DIR,
    OIC_LOG_FILE,
    OIC_LOG_LEVEL,
    OIC_PROGRESS,
    OIC_QEMU,
    OIC_TEMP_DIR,
    OIC_WORKERS,
    OIC_WORK_DIR,
];

/// Variables of the same family that only building `oic` itself reads.
pub const BUILD_ONLY: [&str; 1] = ["OIC_AGENTS_DIR"];
