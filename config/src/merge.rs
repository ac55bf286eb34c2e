//! Layers to one tree.
//!
//! Layers are merged from the outermost default to the command line. By default mappings merge key by key and everything else
//! is replaced by the later layer; [`rule`] lists the exceptions. Every value keeps the place that it was written at, so the
//! merged tree still knows which file each of its values is from.
//!
//! | field | rule |
//! |---|---|
//! | `metadata`, `extends` | of the template itself, not inherited |
//! | `disk` | replaced as a whole by a layer that gives `partitions`, else merged key by key |
//! | `systemConfig.packages` | appended; one entry per name, the later one wins; `-name` removes |
//! | `systemConfig.excludes` | appended, each glob once; `-glob` removes |
//! | `systemConfig.users` | by `name`, key by key; `groups` are appended; a new `password` drops the old `hash_algo` |
//! | `systemConfig.additionalFiles` | by `final` |
//! | `systemConfig.configurations`, `sbomPackageMetadata` | appended |
//! | `systemConfig.groups`, `systemConfig.network.interfaces`, `systemConfig.provisioning.scripts` | by `name` |
//! | `systemConfig.services.enable`, `disable`, `mask` | appended, each unit once; `-UNIT` removes |
//! | `packageRepositories` | by `codename`, `url` and `path` |
//! | everything else | mappings key by key, other values replaced |
//!
//! `kernel.packages` is replaced on purpose: a template that names a kernel means that one instead of the default, not both.

use crate::diagnostic::{Code, Finding, Findings};
use crate::node::{Map, Node, Value};
use crate::source::SourceMap;
use crate::spec::Ecosystem;

/// How a field of two layers becomes one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Mappings key by key, anything else replaced.
    Default,
    /// Never inherited.
    Own,
    /// The disk's rule.
    Disk,
    /// Package names, and other lists of texts with removal.
    Names,
    /// Entries with the same keys are merged; the others are appended.
    Keyed(&'static [&'static str]),
    /// Appended.
    Append,
}

fn rule(path: &str) -> Rule {
    match path {
        "metadata" | "extends" => Rule::Own,
        "disk" => Rule::Disk,
        "systemConfig.packages" | "systemConfig.excludes" => Rule::Names,
        "systemConfig.users[].groups" | "systemConfig.users[].authorizedKeys" => Rule::Names,
        "systemConfig.users[].sshAuthorizedKeys" | "systemConfig.users[].sshAuthorizedKeysFiles" => Rule::Names,
        "systemConfig.services.enable" | "systemConfig.services.disable" | "systemConfig.services.mask" => Rule::Names,
        "systemConfig.users" | "systemConfig.groups" | "systemConfig.network.interfaces" => Rule::Keyed(&["name"]),
        "systemConfig.provisioning.scripts" => Rule::Keyed(&["name"]),
        "systemConfig.additionalFiles" => Rule::Keyed(&["final"]),
        "packageRepositories" => Rule::Keyed(&["codename", "url", "path"]),
        "systemConfig.configurations" | "sbomPackageMetadata" => Rule::Append,
        _ => Rule::Default,
    }
}

/// Merges layers of one image. Warns of removals that remove nothing.
pub(crate) struct Merger<'a> {
    /// Whose package entries these are: `mod_ssl` is a name to rpm, and a version `ssl` of `mod` to dpkg.
    pub(crate) ecosystem: Ecosystem,
    /// Where values are.
    pub(crate) sources: &'a SourceMap,
    /// Where findings go.
    pub(crate) findings: &'a mut Findings,
}

impl Merger<'_> {
    /// Merges `upper` over `lower`.
    pub(crate) fn merge(&mut self, lower: Node, upper: Node) -> Node {
        self.field(lower, upper, "")
    }

    /// Makes of the first layer what merging makes of the others: removals and repetitions go.
    pub(crate) fn normalize(&mut self, layer: Node) -> Node {
        const LISTS: [&[&str]; 9] = [
            &["systemConfig", "packages"],
            &["systemConfig", "excludes"],
            &["systemConfig", "services", "enable"],
            &["systemConfig", "services", "disable"],
            &["systemConfig", "services", "mask"],
            &["systemConfig", "groups"],
            &["systemConfig", "users"],
            &["systemConfig", "additionalFiles"],
            &["packageRepositories"],
        ];
        let mut empty = Node::empty(layer.origin);
        for list in LISTS {
            if layer.at(list).and_then(Node::as_list).is_some() {
                insert(&mut empty, list, Node { origin: layer.origin, value: Value::List(Vec::new()) });
            }
        }
        self.merge(empty, layer)
    }

    fn field(&mut self, lower: Node, upper: Node, path: &str) -> Node {
        if upper.value == Value::Null {
            return lower;
        }
        let origin = upper.origin;
        match (rule(path), lower.value, upper.value) {
            (Rule::Disk, Value::Map(_), Value::Map(upper)) if upper.get("partitions").is_some() => {
                Node { origin, value: Value::Map(upper) }
            }
            (Rule::Default | Rule::Disk, Value::Map(lower), Value::Map(upper)) => {
                Node { origin, value: Value::Map(self.maps(lower, upper, path)) }
            }
            (Rule::Names, Value::List(lower), Value::List(upper)) => Node { origin, value: Value::List(self.names(lower, upper, path)) },
            (Rule::Keyed(keys), Value::List(lower), Value::List(upper)) => {
                Node { origin, value: Value::List(self.keyed(lower, upper, keys, path)) }
            }
            (Rule::Append, Value::List(mut lower), Value::List(upper)) => {
                lower.extend(upper);
                Node { origin, value: Value::List(lower) }
            }
            (_, _, value) => Node { origin, value },
        }
    }

    fn maps(&mut self, mut lower: Map, upper: Map, path: &str) -> Map {
        lower.0.retain(|field| rule(&join(path, &field.key)) != Rule::Own);
        for field in upper.0 {
            let field_path = join(path, &field.key);
            match lower.0.iter_mut().find(|old| old.key == field.key) {
                Some(old) => {
                    let value = std::mem::replace(&mut old.node, Node { origin: field.node.origin, value: Value::Null });
                    old.key_origin = field.key_origin;
                    old.node = self.field(value, field.node, &field_path);
                }
                None => lower.0.push(field),
            }
        }
        lower
    }

    fn names(&mut self, mut lower: Vec<Node>, upper: Vec<Node>, path: &str) -> Vec<Node> {
        for node in upper {
            let Some(text) = node.as_text() else { continue };
            match text.strip_prefix('-') {
                Some(removed) => {
                    let before = lower.len();
                    lower.retain(|old| old.as_text().is_none_or(|old| old != removed && self.name_of(old, path) != removed));
                    if lower.len() == before {
                        self.removes_nothing(&node, removed, path);
                    }
                }
                None => {
                    let name = self.name_of(text, path).to_owned();
                    match lower.iter_mut().find(|old| old.as_text().is_some_and(|old| self.name_of(old, path) == name)) {
                        Some(old) if old.as_text() == Some(text) => {}
                        Some(old) => *old = node,
                        None => lower.push(node),
                    }
                }
            }
        }
        lower
    }

    fn keyed(&mut self, mut lower: Vec<Node>, upper: Vec<Node>, keys: &[&str], path: &str) -> Vec<Node> {
        let own = lower.len();
        let mut added = Vec::new();
        for node in upper {
            if let Some(text) = node.as_text() {
                let removed = text.trim_start_matches('-').to_owned();
                let before = lower.len();
                lower.retain(|old| old.at(&keys[..1]).and_then(Node::as_text) != Some(&removed));
                if lower.len() == before {
                    self.removes_nothing(&node, &removed, path);
                }
                continue;
            }
            let same =
                |old: &&mut Node| keys.iter().all(|key| old.at(&[key]).and_then(Node::as_text) == node.at(&[key]).and_then(Node::as_text));
            let limit = own.min(lower.len());
            match lower[..limit].iter_mut().find(same) {
                Some(old) => {
                    let value = std::mem::replace(old, Node::empty(node.origin));
                    *old = self.entry(value, node, path);
                }
                None => added.push(node),
            }
        }
        lower.extend(added);
        lower
    }

    fn entry(&mut self, mut lower: Node, upper: Node, path: &str) -> Node {
        let new_password = upper.at(&["password"]).is_some() && upper.at(&["hash_algo"]).is_none();
        if let Some(map) = lower.as_map_mut().filter(|_| new_password) {
            map.remove("hash_algo");
        }
        self.field(lower, upper, &format!("{path}[]"))
    }

    /// Returns the part of a list entry that is its key: of a package entry the name without the version.
    fn name_of<'t>(&self, text: &'t str, path: &str) -> &'t str {
        match path {
            "systemConfig.packages" => package_name(text, self.ecosystem),
            _ => text,
        }
    }

    fn removes_nothing(&mut self, node: &Node, removed: &str, path: &str) {
        let message = format!("`-{removed}` removes nothing: no earlier layer has `{removed}`");
        self.findings.push(Finding::warning(Code::Notice, message).at(self.sources.location(node.origin)).field(path));
    }
}

/// Puts `value` at `path`, making mappings on the way.
pub(crate) fn insert(root: &mut Node, path: &[&str], value: Node) {
    let origin = value.origin;
    let Some((key, rest)) = path.split_first() else {
        *root = value;
        return;
    };
    if root.as_map().is_none() {
        *root = Node::empty(origin);
    }
    if let Some(map) = root.as_map_mut() {
        if map.get(key).is_none() {
            let field = crate::node::Field { key: (*key).to_owned(), key_origin: origin, node: Node::empty(origin) };
            map.0.push(field);
        }
        if let Some(child) = map.get_mut(key) {
            insert(child, rest, value);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Returns the name in a package entry: `name`, `name=version`, `name >= version`, and with dpkg also `name_version`.
pub(crate) fn package_name(entry: &str, ecosystem: Ecosystem) -> &str {
    split_package(entry, ecosystem).0
}

/// Splits a package entry into its name and, where it has them, a relation (`=`, `>=` and what else is written there) and a version.
pub(crate) fn split_package(entry: &str, ecosystem: Ecosystem) -> (&str, Option<(&str, &str)>) {
    let Some(at) = entry.find(|c| "<=>".contains(c) || (c == '_' && ecosystem == Ecosystem::Deb)) else { return (entry, None) };
    let (name, rest) = entry.split_at(at);
    match rest.strip_prefix('_') {
        Some(version) => (name.trim_end(), Some(("=", version.trim()))),
        None => {
            let end = rest.find(|c| !"<=>".contains(c)).unwrap_or(rest.len());
            (name.trim_end(), Some((&rest[..end], rest[end..].trim())))
        }
    }
}
