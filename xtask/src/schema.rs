//! `cargo xtask schema`: the JSON Schema of templates, generated from their types and checked in for editors.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};

use crate::programs;

/// The checked-in file.
const FILE: &str = "config/schema/template.schema.json";

/// Writes the schema below `root`; with `check`, only compares.
///
/// # Errors
/// Fails when the file cannot be read or written, and when a comparison finds a difference.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let schema = programs::output(programs::cargo(root).args(["run", "--quiet", "--package", "oic-config", "--example", "schema"]))?;
    let path = root.join(FILE);
    if check {
        let found = fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
        ensure!(found == schema, "{FILE} is out of date: renew it with `cargo xtask schema`");
    } else {
        fs::write(&path, schema).with_context(|| format!("cannot write {FILE}"))?;
        println!("schema: wrote {FILE}");
    }
    Ok(())
}
