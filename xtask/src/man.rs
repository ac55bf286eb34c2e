//! `cargo xtask man`: the man pages, for packagers.

use std::path::Path;

use crate::programs;

/// Writes one page per command into `dir`.
///
/// # Errors
/// Fails when `oic` does not build, and when the folder or a page cannot be written.
pub(crate) fn run(root: &Path, dir: &Path) -> anyhow::Result<()> {
    programs::execute(programs::cargo(root).args(["run", "--quiet", "--package", "oic", "--", "man"]).arg(dir))?;
    println!("man: wrote {}", dir.display());
    Ok(())
}
