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
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for folder in
        ["config/src", "disk-formats/src", "protocol/src", "builder-vm/src", "guest-agent/src", "host/src", "xtask/src", "tests/src"]
    {
        collect(root, &root.join(folder), &mut files)?;
    }
    files.sort();
    let mut sources = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        sources.insert(path.to_string_lossy().into_owned(), Source::parse(&text));
    }
    remove_tests(&mut sources);
    let violations = rules::check(&sources);
    if !violations.is_empty() {
        bail!("{} rule violations:\n{}", violations.len(), violations.join("\n"));
    }
    println!("check-layers: {} files keep the rules", sources.len());
    Ok(())
}

/// Removes the files of modules that are for tests alone.
fn remove_tests(sources: &mut BTreeMap<String, Source>) {
    let mut tests = Vec::new();
    for (file, source) in sources.iter() {
        let path = Path::new(file);
        let folder = match path.file_name().and_then(|name| name.to_str()) {
            Some("mod.rs" | "lib.rs" | "main.rs") => path.parent().unwrap_or(path).to_owned(),
            _ => path.with_extension(""),
        };
        tests.extend(source.test_modules.iter().map(|name| folder.join(name)));
    }
    let is_test = |file: &str| tests.iter().any(|test| Path::new(file).starts_with(test) || Path::new(file).with_extension("") == *test);
    sources.retain(|file, _| !is_test(file));
}

/// Collects the Rust files below `folder`, relative to `root`.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.strip_prefix(root)?.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_modules_in_files_of_their_own_do_not_count() {
        let source = |text: &str| Source::parse(text);
        let mut sources = BTreeMap::from([
            ("host/src/a/mod.rs".to_owned(), source("#[cfg(test)] mod tests; mod real;")),
            ("host/src/a/tests.rs".to_owned(), source("")),
            ("host/src/a/tests/deep.rs".to_owned(), source("")),
            ("host/src/a/real.rs".to_owned(), source("#[cfg(test)] pub(crate) mod oracle;")),
            ("host/src/a/real/oracle.rs".to_owned(), source("")),
            ("host/src/a/testsuite.rs".to_owned(), source("")),
        ]);
        remove_tests(&mut sources);
        assert_eq!(sources.keys().collect::<Vec<_>>(), ["host/src/a/mod.rs", "host/src/a/real.rs", "host/src/a/testsuite.rs"]);
    }

    #[test]
    fn the_workspace_keeps_the_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        run(root).unwrap();
    }
}
