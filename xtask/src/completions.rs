//! `cargo xtask completions`: the completion scripts, for packagers.

use std::path::Path;

use anyhow::Context as _;

/// Writes the scripts for bash, zsh and fish into `dir`, under the names that these shells look for.
///
/// # Errors
/// Fails when the folder or a script cannot be written.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    oic::cli::write_completions(dir).with_context(|| format!("cannot write completion scripts into {}", dir.display()))?;
    println!("completions: wrote {}", dir.display());
    Ok(())
}
