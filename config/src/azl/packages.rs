//! Package lists: `{"packages": ["name", "name=1.2"]}`.

use super::{Object, Reader, join};
use crate::diagnostic::{Code, Finding};
use crate::node::Node;
use crate::source::{Origin, read_text};
use crate::yaml;

/// Returns the packages of all lists and those given in line, each with its place, and `release`, which the toolkit installs always.
pub(super) fn packages(system: &Object<'_>, path: &str, release: Option<&str>, reader: &mut Reader<'_>) -> Vec<Node> {
    let mut found = Vec::new();
    for list in system.list("PackageLists") {
        let Some(name) = list.as_text() else { continue };
        for entry in read_list(name, list.origin, &join(path, "PackageLists"), reader) {
            add(&mut found, &entry, reader);
        }
    }
    for entry in system.list("Packages") {
        add(&mut found, entry, reader);
    }
    if found.is_empty() && system.list("PackageLists").is_empty() {
        reader.error(Code::MissingField, system.origin, path, "the system has neither [PackageLists] nor [Packages]");
    }
    if let Some(release) = release.filter(|release| !found.iter().any(|node| node.as_text() == Some(*release))) {
        found.push(Node::text(system.origin, release));
    }
    found
}

fn read_list(name: &str, origin: Origin, field: &str, reader: &mut Reader<'_>) -> Vec<Node> {
    let path = reader.sources.resolve_path(origin, name);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(finding) => {
            let finding = Finding { code: Code::MissingFile, ..*finding };
            reader.findings.push(finding.at(reader.sources.location(origin)).field(field));
            return Vec::new();
        }
    };
    let folder = path.parent().map(std::path::Path::to_owned);
    let source = reader.sources.add(path.display().to_string(), folder, &text);
    let Some(root) = yaml::parse(&text, source, reader.sources, reader.findings) else { return Vec::new() };
    let object = reader.object(&root, "", &["packages"]);
    object.list("packages").to_vec()
}

/// Adds an entry in our words, once.
fn add(found: &mut Vec<Node>, entry: &Node, reader: &mut Reader<'_>) {
    let Some(text) = entry.as_text().map(str::trim) else { return };
    let split = text.find(['<', '>', '=']).unwrap_or(text.len());
    let (name, rest) = (text[..split].trim(), text[split..].trim());
    let relation: String = rest.chars().take_while(|c| "<>=".contains(*c)).collect();
    let version = rest[relation.len()..].trim();
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-()".contains(c));
    if !named || relation.is_empty() != version.is_empty() || !["", "=", "<", ">", "<=", ">="].contains(&relation.as_str()) {
        let message = format!("packages list entry \"{text}\" does not match the '[name][optional_condition][optional_version]' format");
        reader.error(Code::InvalidValue, entry.origin, "packages", message);
        return;
    }
    if name == "kernel" {
        let message = "kernel should not be included in a package list, add via config file's [KernelOptions] entry";
        reader.error(Code::Contradiction, entry.origin, "packages", message);
        return;
    }
    let ours = if version.is_empty() { name.to_owned() } else { format!("{name} {relation} {version}") };
    // Merging keeps one entry per name, so that a list that only names a package must not win over one that asks for a version of it.
    let same = |node: &&mut Node| node.as_text().is_some_and(|text| text.split(' ').next() == Some(name));
    match found.iter_mut().find(same) {
        None => found.push(Node::text(entry.origin, ours)),
        Some(_) if version.is_empty() => {}
        Some(known) if known.as_text() == Some(name) => *known = Node::text(entry.origin, ours),
        Some(known) if known.as_text() == Some(&ours) => {}
        Some(_) => {
            reader.unsupported(
                entry.origin,
                "packages",
                format!("one condition per package is understood; {name} has another one already"),
            );
        }
    }
}
