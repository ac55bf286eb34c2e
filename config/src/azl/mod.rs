//! Image configs of the Azure Linux toolkit (`imageconfig.json`) as templates.
//!
//! ```text
//! core-efi.json --yaml--> Node tree --translate--> Node tree of a template --> the same flow as any other template
//! packagelists/*.json --------------^
//! ```
//!
//! Values keep their places, so a finding points into the JSON file. The format is that of the toolkit's branch 3.0: keys in any
//! case, `null` for what is left out, keys that start with `_` are comments. An unknown key is a warning, since the toolkit
//! ignores it. Such a config says everything by itself: the distribution's default layer is not put below it.

mod disk;
mod network;
mod packages;
mod system;

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostic::{Code, Finding, Findings};
use crate::node::{Field, Map, Node, Value};
use crate::source::{Origin, SourceMap};
use crate::suggest::closest;

/// A valid field that cannot be built: its place, its path and the reason.
pub(crate) type Unsupported = (Origin, String, String);

/// What every part of the translation works with.
pub(crate) struct Reader<'a> {
    /// Where values are; package lists are added to it.
    pub(crate) sources: &'a mut SourceMap,
    /// Where findings go.
    pub(crate) findings: &'a mut Findings,
    /// What cannot be built.
    pub(crate) unsupported: &'a mut Vec<Unsupported>,
}

/// An object of the config: its fields by lower-case key, without those that are `null`.
struct Object<'n> {
    origin: Origin,
    fields: BTreeMap<String, &'n Node>,
}

impl<'n> Object<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        self.fields.get(&key.to_ascii_lowercase()).copied()
    }

    /// Returns the items of a list, none when it is left out.
    fn list(&self, key: &str) -> &'n [Node] {
        self.get(key).and_then(Node::as_list).unwrap_or(&[])
    }

    /// Returns a text that is not empty.
    fn text(&self, key: &str) -> Option<(&'n str, Origin)> {
        let node = self.get(key)?;
        node.as_text().filter(|text| !text.trim().is_empty()).map(|text| (text, node.origin))
    }

    fn truth(&self, key: &str) -> bool {
        self.get(key).and_then(Node::as_text) == Some("true")
    }
}

impl Reader<'_> {
    fn error(&mut self, code: Code, origin: Origin, field: &str, message: impl Into<String>) {
        self.findings.push(Finding::error(code, message).at(self.sources.location(origin)).field(field));
    }

    fn unsupported(&mut self, origin: Origin, field: impl Into<String>, reason: impl Into<String>) {
        self.unsupported.push((origin, field.into(), reason.into()));
    }

    /// Returns an object's fields; those that are not `known` are warned of.
    fn object<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Object<'n> {
        let mut fields = BTreeMap::new();
        let Some(map) = node.as_map() else {
            self.error(Code::WrongType, node.origin, path, format!("expected an object, and this is {}", node.kind()));
            return Object { origin: node.origin, fields };
        };
        for Field { key, key_origin, node } in &map.0 {
            if key.starts_with('_') || node.value == Value::Null {
                continue;
            }
            if !known.iter().any(|name| name.eq_ignore_ascii_case(key)) {
                let finding = Finding::warning(Code::UnknownField, format!("unknown field `{key}`, which has no effect"));
                let finding = finding.at(self.sources.location(*key_origin)).field(join(path, key));
                self.findings.push(match closest(key, known.iter().copied()) {
                    Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
                    None => finding,
                });
                continue;
            }
            if fields.insert(key.to_ascii_lowercase(), node).is_some() {
                self.error(Code::Duplicate, *key_origin, &join(path, key), format!("key `{key}` is given twice, in different case"));
            }
        }
        Object { origin: node.origin, fields }
    }

    /// Checks a choice; an empty text is none.
    fn choice<'n>(&mut self, object: &Object<'n>, path: &str, key: &str, allowed: &[&str]) -> Option<(&'n str, Origin)> {
        let (text, origin) = object.text(key)?;
        if allowed.contains(&text) {
            return Some((text, origin));
        }
        let finding = Finding::error(Code::InvalidValue, "not one of the allowed values").found(format!("`{text}`"));
        let finding = finding.allowed(allowed.iter().copied()).at(self.sources.location(origin));
        self.findings.push(finding.field(join(path, key)));
        None
    }

    /// Reads a whole number.
    fn number(&mut self, object: &Object<'_>, path: &str, key: &str) -> Option<(u64, Origin)> {
        let node = object.get(key)?;
        match node.as_text().and_then(|text| text.parse().ok()) {
            Some(number) => Some((number, node.origin)),
            None => {
                self.error(Code::WrongType, node.origin, &join(path, key), "expected a whole number");
                None
            }
        }
    }
}

/// A mapping under construction.
struct Tree(Node);

impl Tree {
    fn new(origin: Origin) -> Self {
        Self(Node::empty(origin))
    }

    fn put(&mut self, key: &str, node: Node) {
        if let Some(map) = self.0.as_map_mut() {
            map.0.push(Field { key: key.to_owned(), key_origin: node.origin, node });
        }
    }

    fn text(&mut self, key: &str, origin: Origin, text: impl Into<String>) {
        self.put(key, Node::text(origin, text));
    }

    /// Adds a list, unless it is empty.
    fn list(&mut self, key: &str, origin: Origin, items: Vec<Node>) {
        if !items.is_empty() {
            self.put(key, Node { origin, value: Value::List(items) });
        }
    }

    /// Adds a mapping, unless it is empty.
    fn tree(&mut self, key: &str, tree: Self) {
        if tree.0.as_map().is_some_and(|map| !map.0.is_empty()) {
            self.put(key, tree.0);
        }
    }
}

/// Returns an unquoted scalar: a number or a truth value.
fn plain(origin: Origin, text: impl Into<String>) -> Node {
    Node { origin, value: Value::Scalar { text: text.into(), plain: true } }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Tells whether a file is such a config, by its name.
pub(crate) fn is_config(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// Translates a config into the tree of a template.
pub(crate) fn translate(root: &Node, path: &Path, reader: &mut Reader<'_>) -> Node {
    let config = reader.object(root, "", &["Disks", "SystemConfigs", "DefaultSystemConfig"]);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let system = choose_system(&config, reader);
    let disk = disk::disk(&config, system.as_ref(), reader);

    let mut template = Tree::new(root.origin);
    let mut image = Tree::new(root.origin);
    image.text("name", root.origin, disk.name.unwrap_or_else(|| stem.clone()));
    image.text("version", root.origin, "3.0");
    template.tree("image", image);
    let mut target = Tree::new(root.origin);
    let arch = if ["aarch64", "arm64"].iter().any(|arch| stem.contains(arch)) { "aarch64" } else { "x86_64" };
    // Edge Microvisor Toolkit builds its images from such configs, too, with some fields of its own.
    let is_microvisor = system.as_ref().is_some_and(|system| system::MICROVISOR_FIELDS.iter().any(|field| system.get(field).is_some()));
    let (os, dist, release) =
        if is_microvisor { ("edge-microvisor-toolkit", "emt3", None) } else { ("azure-linux", "azl3", Some("azurelinux-release")) };
    for (key, value) in [("os", os), ("dist", dist), ("arch", arch), ("imageType", disk.image_type)] {
        target.text(key, root.origin, value);
    }
    template.tree("target", target);
    template.tree("disk", disk.tree);
    if let Some(system) = &system {
        template.tree("systemConfig", system::system(system, disk.image_type, release, reader));
    }
    template.0
}

/// Returns the system config that an image is made of: the first, as in the toolkit; which one is the default says something to installers.
fn choose_system<'n>(config: &Object<'n>, reader: &mut Reader<'_>) -> Option<Object<'n>> {
    let all: Vec<Object<'n>> = config
        .list("SystemConfigs")
        .iter()
        .enumerate()
        .map(|(index, node)| reader.object(node, &format!("SystemConfigs[{index}]"), system::FIELDS))
        .collect();
    if all.is_empty() {
        let message = "config file must provide at least one system configuration inside the [SystemConfigs] field";
        reader.error(Code::MissingField, config.origin, "SystemConfigs", message);
    }
    let defaults = all.iter().filter(|system| system.truth("IsDefault")).count();
    if defaults > 1 {
        reader.error(Code::Contradiction, config.origin, "SystemConfigs", format!("{defaults} system configs have `IsDefault`"));
    }
    for (index, system) in all.iter().enumerate() {
        if system.text("Name").is_none() {
            reader.error(Code::MissingField, system.origin, &format!("SystemConfigs[{index}]"), "missing [Name] field");
        }
    }
    if let Some(second) = all.get(1).filter(|_| !config.list("Disks").is_empty()) {
        let message = "an image is made of the first system config, as the toolkit does; the others are choices of an installer";
        let finding = Finding::warning(Code::Notice, message).at(reader.sources.location(second.origin));
        reader.findings.push(finding.field("SystemConfigs"));
    }
    all.into_iter().next()
}

/// Turns a mapping's order of appearance into pairs.
fn pairs(map: &Map) -> impl Iterator<Item = (&str, Origin, &Node)> {
    map.0.iter().filter(|field| !field.key.starts_with('_')).map(|field| (field.key.as_str(), field.key_origin, &field.node))
}
