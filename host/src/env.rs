//! Every environment variable that `oic` reads, one documented constant each.

use std::ffi::OsString;

/// Folder of the global configuration file's overrides, like `--config`.
pub const OIC_CONFIG: &str = "OIC_CONFIG";
/// Cache folder, like `--cache-dir`.
pub const OIC_CACHE_DIR: &str = "OIC_CACHE_DIR";
/// Folder for scratch files while a build runs, like `--work-dir`.
pub const OIC_WORK_DIR: &str = "OIC_WORK_DIR";
/// Prefix of the mirror of one distribution: `OIC_MIRROR_DEBIAN=http://…`.
pub const OIC_MIRROR_PREFIX: &str = "OIC_MIRROR_";
/// A QEMU system emulator to use instead of the one that would be found or fetched.
pub const OIC_QEMU: &str = "OIC_QEMU";
/// Set to any value: no colours.
pub const NO_COLOR: &str = "NO_COLOR";

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
