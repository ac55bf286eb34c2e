//! `cargo xtask check-layers`: holds the source against the rules of `docs/architecture.md` that the compiler does not know.
//!
//! The source is read as tokens: comments, strings and test code do not count, and paths are followed through the `use`
//! declarations of their file, so that `use std::{io}; io::stdout()` is seen for what it is.

mod rules;
mod source;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use source::Source;

/// Checks the workspace in `root`.
///
/// # Errors
/// Fails when a rule is broken, and when a file cannot be read.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for folder in ["config/src", "protocol/src", "builder-vm/src", "guest-agent/src", "host/src", "xtask/src", "tests/src"] {
        collect(root, &root.join(folder), &mut files)?;
    }
    files.sort();
    let mut sources = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        sources.insert(path.to_string_lossy().into_owned(), Source::parse(&text));
    }
    let violations = rules::check(&sources);
    if !violations.is_empty() {
        bail!("{} rule violations:\n{}", violations.len(), violations.join("\n"));
    }
    println!("check-layers: {} files keep the rules", sources.len());
    Ok(())
}

/// Collects the Rust files below `folder`, relative to `root`; files with tests alone are left out.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "tests" {
                collect(root, &path, files)?;
            }
        } else if name.ends_with(".rs") && !["tests.rs", "testing.rs"].contains(&name.as_str()) {
            files.push(path.strip_prefix(root)?.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_the_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        run(root).unwrap();
    }
}
