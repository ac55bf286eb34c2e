//! YAML text to a [`Node`] tree: the only module that knows the YAML library.
//!
//! It reads the library's events rather than letting it fill types, for three reasons: every value needs its place, all
//! mistakes of a file are to be reported at once, and a scalar must stay the text that was written until its field says what
//! it is (`version: 24.10` is not the number 24.1).
//!
//! Bounds: the library limits nesting; [`MAX_NODES`] limits what aliases can blow up.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, Tag};

use crate::diagnostic::{Code, Finding, Findings};
use crate::node::{Field, Map, Node, Value};
use crate::source::{Origin, SourceId, SourceMap};

/// Most values that one file may have once its aliases are expanded.
const MAX_NODES: usize = 100_000;

/// Deepest nesting.
const MAX_DEPTH: usize = 32;

/// Parses one document. Mistakes that leave the rest readable are reported, and the tree is returned without them.
pub(crate) fn parse(text: &str, source: SourceId, sources: &SourceMap, findings: &mut Findings) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut builder = Builder { source, sources, findings, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, documents: 0, root: None };
    for event in Parser::new_from_str_with_options(text, options) {
        let outcome = match event {
            Ok((event, span)) => builder.accept(event, span),
            Err(error) => {
                let origin = origin_of(source, error.marker(), 0);
                let text = error.info();
                let is_json = sources.get(source).is_some_and(|source| source.name.ends_with(".json"));
                let language = if is_json { "JSON" } else { "YAML" };
                Err(Box::new(Finding::error(Code::Syntax, format!("not valid {language}: {text}")).at(sources.location(origin))))
            }
        };
        if let Err(finding) = outcome {
            builder.findings.push(*finding);
            return None;
        }
    }
    Some(builder.root.unwrap_or_else(|| Node::empty(Origin::whole(source))))
}

fn origin_of(source: SourceId, mark: &Marker, len: usize) -> Origin {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Origin {
        source,
        line: small(mark.line()),
        column: small(mark.col().saturating_add(1)),
        offset: small(mark.byte_offset().unwrap_or(0)),
        len: small(len),
    }
}

/// A list or mapping that is not closed yet.
struct Open {
    anchor: usize,
    node: Node,
    /// The key that waits for its value.
    key: Option<(String, Origin)>,
    /// Values of `<<` keys, applied when the mapping is complete because its own keys win.
    merges: Vec<Node>,
}

impl Open {
    fn new(origin: Origin, value: Value, anchor: usize) -> Self {
        Self { anchor, node: Node { origin, value }, key: None, merges: Vec::new() }
    }
}

struct Builder<'a> {
    source: SourceId,
    sources: &'a SourceMap,
    findings: &'a mut Findings,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn accept(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Finding>> {
        let origin = origin_of(self.source, &span.start, span.byte_range().map_or(0, |range| range.len()));
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let finding = self.syntax("a template is one document, and this is a second one", origin);
                    return Err(Box::new(finding.hint("remove the `---` line")));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_string(tag.as_deref());
                self.check_tag(tag.as_deref(), origin)?;
                let value = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Scalar { text: text.into_owned(), plain }
                };
                self.put(Node { origin, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), origin)?;
                self.stack.push(Open::new(origin, Value::List(Vec::new()), anchor));
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), origin)?;
                self.stack.push(Open::new(origin, Value::Map(Map::default()), anchor));
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(mut open) => {
                    if let Some(map) = open.node.as_map_mut() {
                        open.merges.into_iter().for_each(|merged| merge_into(map, merged));
                    }
                    self.put(open.node, open.anchor)
                }
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(mut node) = self.anchors.get(&id).cloned() else {
                    return Err(self.syntax("this alias refers to itself", origin));
                };
                if self.stack.len() + depth(&node) > MAX_DEPTH {
                    return Err(self.syntax("aliases nest deeper than any template does", origin));
                }
                self.nodes = self.nodes.saturating_add(count(&node));
                node.origin = origin;
                self.put(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Box<Finding>> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.syntax("more values than any template has; do aliases multiply here?", node.origin));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(map) => match open.key.take() {
                None => match node.value {
                    Value::Scalar { text, .. } => open.key = Some((text, node.origin)),
                    _ => return Err(self.syntax("a key must be a text", node.origin)),
                },
                Some((key, _)) if key == "<<" => open.merges.push(node),
                Some((key, key_origin)) => match map.get(&key).map(|first| first.origin.line) {
                    Some(line) => {
                        let finding = Finding::error(Code::Duplicate, format!("key `{key}` is given twice, first in line {line}"));
                        self.findings.push(finding.at(self.sources.location(key_origin)));
                    }
                    None => map.0.push(Field { key, key_origin, node }),
                },
            },
            Value::Null | Value::Scalar { .. } => {}
        }
        Ok(())
    }

    fn check_tag(&self, tag: Option<&Tag>, origin: Origin) -> Result<(), Box<Finding>> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() => Err(self.syntax(&format!("tag `{}` means nothing here", tag.original()), origin)),
            _ => Ok(()),
        }
    }

    fn syntax(&self, message: &str, origin: Origin) -> Box<Finding> {
        Box::new(Finding::error(Code::Syntax, message).at(self.sources.location(origin)))
    }
}

fn is_string(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"))
}

/// Adds the fields of a `<<` value that `map` does not have.
fn merge_into(map: &mut Map, node: Node) {
    match node.value {
        Value::Map(fields) => {
            for field in fields.0 {
                if map.get(&field.key).is_none() {
                    map.0.push(field);
                }
            }
        }
        Value::List(items) => items.into_iter().for_each(|item| merge_into(map, item)),
        Value::Null | Value::Scalar { .. } => {}
    }
}

/// Returns how many values a tree has.
fn count(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(map) => 1 + map.0.iter().map(|field| count(&field.node)).sum::<usize>(),
    }
}

/// Returns how deep a tree is.
fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(map) => 1 + map.0.iter().map(|field| depth(&field.node)).max().unwrap_or(0),
    }
}
