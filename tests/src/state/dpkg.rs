//! dpkg's database, compared by what it says rather than by its bytes: paragraphs and fields have no order.

use std::collections::{BTreeMap, BTreeSet};

/// Tells whether a file is one of paragraphs with fields.
pub(super) fn is_database(path: &str) -> bool {
    matches!(path, "/var/lib/dpkg/status" | "/var/lib/dpkg/available")
}

/// Returns what differs, one line each.
pub(super) fn compare(ours: &str, theirs: &str) -> Vec<String> {
    let (ours, theirs) = (paragraphs(ours), paragraphs(theirs));
    let mut found = Vec::new();
    for package in union(&ours, &theirs) {
        match (ours.get(package), theirs.get(package)) {
            (Some(_), None) => found.push(format!("{package}: only ours")),
            (None, Some(_)) => found.push(format!("{package}: only theirs")),
            (Some(a), Some(b)) => {
                for field in union(a, b).into_iter().filter(|field| a.get(*field) != b.get(*field)) {
                    let shown =
                        |fields: &BTreeMap<String, String>| fields.get(field).map_or("–".to_owned(), |value| value.replace('\n', " "));
                    found.push(format!("{package}: {field}: {} / {}", shown(a), shown(b)));
                }
            }
            (None, None) => {}
        }
    }
    found
}

fn union<'a, V>(a: &'a BTreeMap<String, V>, b: &'a BTreeMap<String, V>) -> BTreeSet<&'a String> {
    a.keys().chain(b.keys()).collect()
}

/// Returns the fields of each package, by name and architecture.
fn paragraphs(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut current = String::new();
        for line in paragraph.lines() {
            match line.split_once(':') {
                Some((name, value)) if !line.starts_with([' ', '\t']) => {
                    name.clone_into(&mut current);
                    fields.insert(current.clone(), value.trim().to_owned());
                }
                _ => {
                    let value = fields.entry(current.clone()).or_default();
                    value.push('\n');
                    value.push_str(line);
                }
            }
        }
        let name = fields.get("Package").cloned().unwrap_or_default();
        all.insert(name, fields);
    }
    all
}
