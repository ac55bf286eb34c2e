//! `cargo xtask man`: the man pages, for packagers.

use std::path::Path;

use anyhow::Context as _;

/// Writes one page per command into `dir`.
///
/// # Errors
/// Fails when the folder or a page cannot be written.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    oic::cli::write_man_pages(dir).with_context(|| format!("cannot write man pages into {}", dir.display()))?;
    println!("man: wrote {}", dir.display());
    Ok(())
}
