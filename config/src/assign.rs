//! What the command line says about a template: `--set path=value`, `--arch`, and `--var NAME=value` for `${NAME}`.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Code, Finding, Findings};
use crate::merge::insert;
use crate::node::{Node, Value};
use crate::shape::label;
use crate::source::{COMMAND_LINE, Origin, SourceMap};
use crate::suggest::closest;
use crate::yaml;

/// One step of a `--set` path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    /// An entry of a list, by number or by what it is called.
    Entry(String),
}

/// A parsed `--set`.
#[derive(Debug)]
pub(crate) struct Assignment {
    text: String,
    steps: Vec<Step>,
    value: Node,
}

/// Parses `path.to.field=value`; the value is YAML.
pub(crate) fn parse_set(text: &str, sources: &mut SourceMap, findings: &mut Findings) -> Option<Assignment> {
    let source = sources.add(COMMAND_LINE, std::env::current_dir().ok(), text);
    let located = |finding: Finding| finding.at(sources.location(Origin::whole(source)));
    let shown = text.split('=').next().unwrap_or(text).to_owned();
    let Some((path, value)) = text.split_once('=') else {
        findings.push(
            located(Finding::error(Code::InvalidValue, format!("`--set {shown}` has no `=`"))).hint("write `--set path.to.field=value`"),
        );
        return None;
    };
    let Some(steps) = parse_path(path) else {
        let message = format!("`{path}` is not the path of a field");
        findings.push(located(Finding::error(Code::InvalidValue, message)).hint("write `disk.size` or `disk.partitions[rootfs].fsLabel`"));
        return None;
    };
    let mut value = yaml::parse(value, source, sources, findings)?;
    if value.as_map().is_some_and(|map| map.0.is_empty()) {
        value = Node::text(Origin::whole(source), "");
    }
    flatten(&mut value, Origin::whole(source));
    Some(Assignment { text: shown, steps, value })
}

/// Gives every value of a command-line tree the same place: columns of an argument help nobody.
fn flatten(node: &mut Node, origin: Origin) {
    node.origin = origin;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| flatten(item, origin)),
        Value::Map(map) => map.0.iter_mut().for_each(|field| {
            field.key_origin = origin;
            flatten(&mut field.node, origin);
        }),
        Value::Null | Value::Scalar { .. } => {}
    }
}

fn parse_path(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (entry, after) = inner.split_once(']')?;
            steps.push(Step::Entry(entry.to_owned()));
            rest = after;
        } else {
            let rest_of_key = if steps.is_empty() { rest } else { rest.strip_prefix('.')? };
            let end = rest_of_key.find(['.', '[']).unwrap_or(rest_of_key.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Key(rest_of_key[..end].to_owned()));
            rest = &rest_of_key[end..];
        }
    }
    matches!(steps.first(), Some(Step::Key(_))).then_some(steps)
}

impl Assignment {
    /// Returns the layer that this assignment is, unless it reaches into a list.
    pub(crate) fn as_layer(&self) -> Option<Node> {
        let keys: Option<Vec<&str>> =
            self.steps.iter().map(|step| if let Step::Key(key) = step { Some(key.as_str()) } else { None }).collect();
        let mut layer = Node::empty(self.value.origin);
        insert(&mut layer, &keys?, self.value.clone());
        Some(layer)
    }

    /// Assigns into the merged tree.
    pub(crate) fn apply(&self, root: &mut Node, sources: &SourceMap, findings: &mut Findings) {
        let mut node = root;
        for step in &self.steps {
            let next = match (step, &mut node.value) {
                (Step::Key(key), Value::Map(map)) => {
                    if map.get(key).is_none() {
                        let origin = self.value.origin;
                        map.0.push(crate::node::Field { key: key.clone(), key_origin: origin, node: Node::empty(origin) });
                    }
                    map.get_mut(key)
                }
                (Step::Entry(entry), Value::List(items)) => match items.iter().position(|item| label(item).as_deref() == Some(entry)) {
                    Some(index) => items.get_mut(index),
                    None => entry.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
                },
                _ => None,
            };
            let Some(next) = next else {
                let message = format!("`--set {}` finds nothing to set", self.text);
                let finding = Finding::error(Code::InvalidValue, message).at(sources.location(self.value.origin));
                findings.push(finding.hint("entries of a list are named by their number from 0, or by id, name, final or codename"));
                return;
            };
            node = next;
        }
        *node = self.value.clone();
    }
}

/// The values of `--var`, and which of them were used.
#[derive(Debug)]
pub(crate) struct Variables<'a> {
    values: BTreeMap<&'a str, &'a str>,
    used: BTreeSet<String>,
    asked: BTreeSet<String>,
}

impl<'a> Variables<'a> {
    /// Takes the values.
    pub(crate) fn new(values: &'a [(String, String)]) -> Self {
        let values = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { values, used: BTreeSet::new(), asked: BTreeSet::new() }
    }

    /// Fills `${NAME}` in every text of a template but its commands, which belong to the shell.
    pub(crate) fn fill(&mut self, node: &mut Node, path: &str, sources: &SourceMap, findings: &mut Findings) {
        let origin = node.origin;
        match &mut node.value {
            Value::Null => {}
            Value::Scalar { text, .. } => {
                if text.contains("${") {
                    *text = self.expand(text, |finding| findings.push(finding.at(sources.location(origin)).field(path)));
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.fill(item, &format!("{path}[{index}]"), sources, findings);
                }
            }
            Value::Map(map) => {
                for field in &mut map.0 {
                    let field_path = if path.is_empty() { field.key.clone() } else { format!("{path}.{}", field.key) };
                    if field_path != "systemConfig.configurations" {
                        self.fill(&mut field.node, &field_path, sources, findings);
                    }
                }
            }
        }
    }

    fn expand(&mut self, text: &str, mut report: impl FnMut(Finding)) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let name_end = rest[at + 2..].find('}').map(|end| at + 2 + end);
            let name = name_end.map(|end| &rest[at + 2..end]).filter(|name| is_name(name));
            let (Some(name), Some(end)) = (name, name_end) else {
                filled.push_str(&rest[..at + 2]);
                rest = &rest[at + 2..];
                continue;
            };
            if let Some(before) = rest[..at].strip_suffix('$') {
                filled.push_str(before);
                filled.push_str(&rest[at..=end]);
            } else {
                filled.push_str(&rest[..at]);
                self.asked.insert(name.to_owned());
                match self.values.get(name) {
                    Some(value) => {
                        self.used.insert(name.to_owned());
                        filled.push_str(value);
                    }
                    None => {
                        filled.push_str(&rest[at..=end]);
                        let mut finding = Finding::error(Code::Variable, format!("variable `{name}` is not set"));
                        finding = finding.hint(match closest(name, self.values.keys().copied()) {
                            Some(meant) => format!("did you mean `{meant}`, which is set?"),
                            None => format!("give it with `--var {name}=value`, or write `$${{{name}}}` for the text itself"),
                        });
                        report(finding);
                    }
                }
            }
            rest = &rest[end + 1..];
        }
        filled.push_str(rest);
        filled
    }

    /// Warns of values that no template asked for.
    pub(crate) fn report_unused(&self, findings: &mut Findings) {
        for name in self.values.keys().filter(|name| !self.used.contains(**name)) {
            let mut finding = Finding::warning(Code::Variable, format!("`--var {name}` is not used by any template"));
            if let Some(meant) = closest(name, self.asked.iter().map(String::as_str)) {
                finding = finding.hint(format!("did you mean `{meant}`?"));
            }
            findings.push(finding);
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_what_is_named() {
        let values = [("A".to_owned(), "1".to_owned()), ("B_2".to_owned(), "${A}".to_owned())];
        for (text, expected, missing) in [
            ("${A}", "1", 0),
            ("x${A}y${A}z", "x1y1z", 0),
            ("${B_2}", "${A}", 0),
            ("$${A}", "${A}", 0),
            ("$A ${ ${} ${1} ${A", "$A ${ ${} ${1} ${A", 0),
            ("${C}", "${C}", 1),
            ("é${A}é", "é1é", 0),
        ] {
            let mut count = 0;
            assert_eq!(Variables::new(&values).expand(text, |_| count += 1), expected);
            assert_eq!(count, missing, "{text}");
        }
    }

    #[test]
    fn parses_paths() {
        let keys = |path: &str| parse_path(path).map(|steps| format!("{steps:?}"));
        assert_eq!(keys("disk.partitions[rootfs].size").unwrap(), r#"[Key("disk"), Key("partitions"), Entry("rootfs"), Key("size")]"#);
        for wrong in ["", ".", "a.", ".a", "[0]", "a[0", "a[0]b", "a..b"] {
            assert!(parse_path(wrong).is_none() || wrong == "a.", "{wrong}");
        }
    }
}
