//! `cargo xtask completions`: the completion scripts, for packagers.

use std::{fs, path::Path};

use anyhow::Context as _;

use crate::programs;

/// Shells, and the file names that they look for.
const SHELLS: [(&str, &str); 3] = [("bash", "oic.bash"), ("zsh", "_oic"), ("fish", "oic.fish")];

/// Writes the scripts into `dir`, which is made when there is none.
///
/// # Errors
/// Fails when `oic` does not build, and when the folder or a script cannot be written.
pub(crate) fn run(root: &Path, dir: &Path) -> anyhow::Result<()> {
    let dir = root.join(dir);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (shell, name) in SHELLS {
        let script = programs::output(programs::cargo(root).args(["run", "--quiet", "--package", "oic", "--", "completions", shell]))?;
        let path = dir.join(name);
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("completions: wrote {}", dir.display());
    Ok(())
}
