//! Writes the JSON Schema of templates, which editors complete templates from.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// The checked-in schema. A test fails when it is not that of the types.
const SCHEMA: &str = "config/schema/template.schema.json";

/// Writes the schema.
pub(crate) fn run(root: &Path) -> Result<()> {
    let path = root.join(SCHEMA);
    fs::write(&path, oic_config::schema::json()).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{SCHEMA}");
    Ok(())
}
