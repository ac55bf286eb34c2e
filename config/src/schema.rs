//! The JSON Schema of the template format, generated from [`crate::layer`].
//!
//! A copy is checked in as `config/schema/template.schema.json` for editors; a test fails when it is out of date.

use std::sync::LazyLock;

use serde_json::Value;

use crate::layer::Layer;

/// Address by which the schema names itself.
const ID: &str = "https://raw.githubusercontent.com/oic-project/oic/main/config/schema/template.schema.json";

static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Layer>();
    schema.insert("$id".to_owned(), ID.into());
    schema.to_value()
});

/// Returns the schema of a template.
#[must_use]
pub fn value() -> &'static Value {
    &TEMPLATE
}

/// Returns the schema as the text of the checked-in file.
#[must_use]
pub fn json() -> String {
    format!("{:#}\n", *TEMPLATE)
}
