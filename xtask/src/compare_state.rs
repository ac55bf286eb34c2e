//! `cargo xtask compare-state`: the installed state of images beside mmdebstrap's, for all sets of packages.
//!
//! The comparison is a test (`tests/tests/installed_state.rs`), which compares the smallest set; here it compares all, and
//! rewrites the tables of `docs/installed-state.md`.

use std::path::Path;

use crate::programs;

/// Runs the comparison.
///
/// # Errors
/// Fails when something differs without a reason.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let arguments = ["test", "--package", "oic-tests", "--test", "installed_state", "--", "--nocapture"];
    programs::execute(programs::cargo(root).args(arguments).env("OIC_COMPARE_ALL", "1"))
}
