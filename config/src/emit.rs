//! The merged template as YAML, each value with where it is from: what `oic validate --merged` prints.
//!
//! Passwords and the like are never written: a placeholder stands for them, which validation refuses, so that output that is used
//! as a template again does not quietly get a password that everybody can read.

use std::fmt::Write as _;

use crate::node::{Node, Value};
use crate::source::SourceMap;

/// Keys of which the value is never written.
const SECRET_KEYS: [&str; 1] = ["password"];

/// Returns `root` as YAML; with `origins`, each value is followed by a comment that names its place.
pub(crate) fn to_yaml(root: &Node, sources: &SourceMap, origins: bool) -> String {
    let mut writer = Writer { sources, origins, out: String::new() };
    writer.block(root, 0);
    writer.out
}

struct Writer<'a> {
    sources: &'a SourceMap,
    origins: bool,
    out: String,
}

impl Writer<'_> {
    fn block(&mut self, node: &Node, indent: usize) {
        match &node.value {
            Value::Map(map) => {
                for (index, field) in map.0.iter().enumerate() {
                    if index > 0 || indent == 0 || !self.out.ends_with("- ") {
                        self.pad(indent);
                    }
                    self.out.push_str(&scalar(&field.key, false, 0));
                    self.out.push(':');
                    if SECRET_KEYS.contains(&field.key.as_str()) && field.node.as_text().is_some_and(|text| !text.is_empty()) {
                        self.out.push_str(" \"<SECRET>\"");
                        self.end_line(&field.node);
                    } else {
                        self.value(&field.node, indent);
                    }
                }
            }
            Value::List(items) => {
                for item in items {
                    self.pad(indent);
                    self.out.push_str("- ");
                    match &item.value {
                        Value::Map(map) if !map.0.is_empty() => self.block(item, indent + 2),
                        _ => {
                            self.out.pop();
                            self.value(item, indent);
                        }
                    }
                }
            }
            Value::Null | Value::Scalar { .. } => self.value(node, indent),
        }
    }

    /// Writes what follows a `key:` or a `-`.
    fn value(&mut self, node: &Node, indent: usize) {
        match &node.value {
            Value::Null => self.end_line(node),
            Value::Scalar { text, plain } => {
                let text = scalar(text, *plain, indent);
                match text.split_once('\n') {
                    // A block scalar: the comment belongs behind its header.
                    Some((header, body)) => {
                        self.out.push(' ');
                        self.out.push_str(header);
                        self.end_line(node);
                        self.out.push_str(body);
                        self.out.push('\n');
                    }
                    None => {
                        self.out.push(' ');
                        self.out.push_str(&text);
                        self.end_line(node);
                    }
                }
            }
            Value::List(items) if items.is_empty() => {
                self.out.push_str(" []");
                self.end_line(node);
            }
            Value::Map(map) if map.0.is_empty() => {
                self.out.push_str(" {}");
                self.end_line(node);
            }
            Value::List(_) | Value::Map(_) => {
                self.out.push('\n');
                self.block(node, indent + 2);
            }
        }
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn end_line(&mut self, node: &Node) {
        if self.origins {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "  # {}", self.sources.location(node.origin));
        }
        self.out.push('\n');
    }
}

/// Returns a text as YAML reads it back: plain where it was plain or is plainly a word, else quoted, and in a block when it has lines.
fn scalar(text: &str, plain: bool, indent: usize) -> String {
    let control = text.chars().any(|c| c.is_control() && c != '\n');
    if text.contains('\n') && !control && !text.starts_with([' ', '\n']) {
        let (header, body) = match text.strip_suffix('\n') {
            Some(body) if !body.ends_with('\n') => ("|", body),
            Some(_) => return quoted(text),
            None => ("|-", text),
        };
        let pad = " ".repeat(indent + 2);
        let lines: Vec<String> =
            body.split('\n').map(|line| if line.is_empty() { String::new() } else { format!("{pad}{line}") }).collect();
        return format!("{header}\n{}", lines.join("\n"));
    }
    let word = !text.is_empty()
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+@".contains(c))
        && !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n");
    let stays_plain = plain && !control && !text.contains("\n") && !text.contains(": ") && !text.contains(" #") && !text.ends_with(':');
    if stays_plain || word { text.to_owned() } else { quoted(text) }
}

/// Returns a text in double quotes. JSON's form of it is YAML, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
