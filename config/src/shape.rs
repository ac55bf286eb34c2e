//! Checks a tree against a JSON Schema, and takes out what does not fit.
//!
//! This is not a general validator: it knows the part of JSON Schema that schemars makes of plain types, and in exchange gives
//! each mistake its place, reports all of them, and understands that an unquoted YAML scalar may be text, number or truth
//! value depending on the field. What is wrong is reported and removed, so that the rest can be checked for meaning.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::decode::truth;
use crate::diagnostic::{Code, Finding, Findings};
use crate::node::{Map, Node, Value};
use crate::source::{Origin, SourceMap};
use crate::suggest::closest;

/// The pattern by which the schema marks an entry that removes another.
pub(crate) const REMOVAL_PATTERN: &str = "^-";

/// What a check of one tree works with.
pub(crate) struct Shape<'a> {
    /// The schema's root, which references are looked up in.
    pub(crate) schema: &'a Json,
    /// Where values are.
    pub(crate) sources: &'a SourceMap,
    /// Whether missing keys count: they do in files, not in `--set`.
    pub(crate) complete: bool,
    /// Where findings go.
    pub(crate) findings: &'a mut Findings,
}

impl<'a> Shape<'a> {
    /// Checks `root` and removes what does not fit.
    pub(crate) fn check(&mut self, root: &mut Node) {
        let schema = self.schema;
        if !self.fits(root, schema, "") {
            *root = Node::empty(root.origin);
        }
    }

    /// Returns whether `node` fits once its misfits are removed.
    fn fits(&mut self, node: &mut Node, schema: &'a Json, path: &str) -> bool {
        if node.value == Value::Null {
            return true;
        }
        let Some(schema) = applicable(self.schema, node, schema) else {
            return self.reject(node.origin, path, Code::WrongType, "this is not what belongs here", node.kind(), &[]);
        };
        if let Some(names) = names_of(schema) {
            return self.fits_names(node, &names, path);
        }
        let origin = node.origin;
        let kind = node.kind();
        match (&mut node.value, type_of(schema)) {
            (Value::Map(map), "object") => {
                self.check_map(map, schema, origin, path);
                true
            }
            (Value::List(items), "array") => {
                let item_schema = schema.get("items").unwrap_or(&Json::Null);
                let mut index = 0;
                items.retain_mut(|item| {
                    let item_path = format!("{path}[{}]", label(item).unwrap_or_else(|| index.to_string()));
                    index += 1;
                    item.value != Value::Null && self.fits(item, item_schema, &item_path)
                });
                true
            }
            (Value::Scalar { text, .. }, "string") => {
                let removal = schema.get("pattern").is_some_and(|pattern| pattern == REMOVAL_PATTERN);
                let fits = !removal || text.starts_with('-');
                fits || self.reject(origin, path, Code::WrongType, "expected a mapping, or `-KEY` to remove an entry", &quoted(text), &[])
            }
            (Value::Scalar { text, plain }, "boolean") => {
                let fits = *plain && truth(text).is_some();
                fits || self.reject(origin, path, Code::WrongType, "expected true or false", &quoted(text), &["true", "false"])
            }
            (Value::Scalar { text, .. }, "integer") => {
                let (low, high) = bounds(schema);
                let fits = text.parse::<i128>().is_ok_and(|number| (low..=high).contains(&number));
                fits || self.reject(origin, path, Code::WrongType, "expected a whole number", &quoted(text), &[&format!("{low} to {high}")])
            }
            (_, expected) => {
                let expected = match expected {
                    "object" => "a mapping (`key: value` lines)",
                    "array" => "a list (`- item` lines)",
                    "boolean" => "true or false",
                    "integer" => "a whole number",
                    _ => "a text",
                };
                self.reject(origin, path, Code::WrongType, &format!("expected {expected}"), kind, &[])
            }
        }
    }

    /// Checks one of some names. A slip of the pen is reported and stands for what was meant, so that nothing else seems to be missing.
    fn fits_names(&mut self, node: &mut Node, names: &[&str], path: &str) -> bool {
        let Some(text) = node.as_text() else {
            return self.reject(node.origin, path, Code::WrongType, "expected one of some names", node.kind(), names);
        };
        if names.contains(&text) {
            return true;
        }
        let mut finding = self.finding(node.origin, path, Code::InvalidValue, "not one of the allowed values", &quoted(text), names);
        let meant = closest(text, names.iter().copied());
        // A format of output files in the place of the kind of image.
        if path == "target.imageType" && ["qcow2", "vhd", "vhdx", "vmdk", "vdi"].contains(&text) {
            finding = finding.hint(format!("write `imageType: raw`, and `{text}` as a type in `disk.artifacts`"));
        } else if let Some(meant) = meant {
            finding = finding.hint(format!("did you mean `{meant}`?"));
            *node = Node::text(node.origin, meant);
        }
        self.findings.push(finding);
        meant.is_some()
    }

    fn check_map(&mut self, map: &mut Map, schema: &'a Json, origin: Origin, path: &str) {
        static NO_PROPERTIES: LazyLock<serde_json::Map<String, Json>> = LazyLock::new(serde_json::Map::new);
        let properties: &'a serde_json::Map<String, Json> = schema.get("properties").and_then(Json::as_object).unwrap_or(&NO_PROPERTIES);
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        if self.complete {
            for key in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
                if map.get(key).is_none_or(|node| node.value == Value::Null) {
                    let message = format!("`{key}` is missing");
                    let mut finding = Finding::error(Code::MissingField, message).at(self.sources.location(origin)).field(join(key));
                    if let Some(description) = properties.get(key).and_then(|property| describe(self.schema, property)) {
                        finding = finding.hint(format!("`{key}`: {description}"));
                    }
                    self.findings.push(finding);
                }
            }
        }
        map.0.retain_mut(|field| {
            let field_path = join(&field.key);
            match properties.get(&field.key).or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object())) {
                Some(property) => self.fits(&mut field.node, property, &field_path),
                None => {
                    let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                    let message = format!("unknown field `{}`", field.key);
                    let mut finding =
                        Finding::error(Code::UnknownField, message).at(self.sources.location(field.key_origin)).field(field_path);
                    finding = finding.allowed(known.iter().copied());
                    if let Some(meant) = closest(&field.key, known) {
                        finding = finding.hint(format!("did you mean `{meant}`?"));
                    }
                    self.findings.push(finding);
                    false
                }
            }
        });
    }

    fn reject(&mut self, origin: Origin, path: &str, code: Code, message: &str, found: &str, allowed: &[&str]) -> bool {
        let finding = self.finding(origin, path, code, message, found, allowed);
        self.findings.push(finding);
        false
    }

    fn finding(&self, origin: Origin, path: &str, code: Code, message: &str, found: &str, allowed: &[&str]) -> Finding {
        Finding::error(code, message).at(self.sources.location(origin)).field(path).found(found).allowed(allowed.iter().copied())
    }
}

/// Returns the schema that applies to `node`: references followed, and of alternatives the one for its kind.
fn applicable<'a>(root: &'a Json, node: &Node, schema: &'a Json) -> Option<&'a Json> {
    let schema = follow(root, schema)?;
    let Some(alternatives) = schema.get("anyOf").and_then(Json::as_array) else {
        return Some(schema);
    };
    let alternatives: Vec<&Json> = alternatives.iter().filter_map(|one| follow(root, one)).filter(|one| type_of(one) != "null").collect();
    let fits_kind = |one: &&&Json| match node.value {
        Value::Map(_) => type_of(one) == "object",
        Value::List(_) => type_of(one) == "array",
        Value::Scalar { .. } | Value::Null => !matches!(type_of(one), "object" | "array"),
    };
    alternatives.iter().find(fits_kind).or(alternatives.first()).copied()
}

/// Follows `$ref`.
fn follow<'a>(root: &'a Json, schema: &'a Json) -> Option<&'a Json> {
    match schema.get("$ref").and_then(Json::as_str) {
        Some(reference) => root.pointer(reference.strip_prefix('#')?),
        None => Some(schema),
    }
}

/// Returns the names that an enumeration allows.
fn names_of(schema: &Json) -> Option<Vec<&str>> {
    if let Some(names) = schema.get("enum").and_then(Json::as_array) {
        return Some(names.iter().filter_map(Json::as_str).collect());
    }
    let alternatives = schema.get("oneOf").and_then(Json::as_array)?;
    let names = alternatives.iter().flat_map(|one| match one.get("const").and_then(Json::as_str) {
        Some(name) => vec![name],
        None => names_of(one).unwrap_or_default(),
    });
    Some(names.collect())
}

/// Returns the type that a schema asks for, `null` beside another one left out.
fn type_of(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(name)) => name,
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).find(|name| *name != "null").unwrap_or(""),
        _ if schema.get("enum").is_some() || schema.get("oneOf").is_some() => "string",
        _ => "",
    }
}

/// Returns the range of an integer.
fn bounds(schema: &Json) -> (i128, i128) {
    let (low, high) = match schema.get("format").and_then(Json::as_str) {
        Some("uint32") => (0, i128::from(u32::MAX)),
        Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (0, i128::from(u64::MAX)),
    };
    let given = |key: &str| schema.get(key).and_then(Json::as_i64).map(i128::from);
    (given("minimum").unwrap_or(low), given("maximum").unwrap_or(high))
}

/// Returns the description of a property, its first line.
fn describe(root: &Json, property: &Json) -> Option<String> {
    let text = property.get("description").or_else(|| follow(root, property)?.get("description"))?.as_str()?;
    Some(text.lines().next()?.trim_end_matches('.').to_owned())
}

/// Returns what an entry of a list is called.
pub(crate) fn label(item: &Node) -> Option<String> {
    let map = item.as_map()?;
    ["id", "name", "final", "codename"].iter().find_map(|key| map.get(key)?.as_text()).map(str::to_owned)
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}
