//! The installed state of an image, compared with what `mmdebstrap` makes of the same packages.
//!
//! `oic` unpacks packages itself and lets the guest only configure them. Whether that gives the system that the distribution's own
//! tools give is not a matter of belief: both trees are listed, every file with its kind, mode, owner, extended attributes and
//! content, and dpkg's database field by field. What differs must be justified by a [rule](rules), and every rule is in
//! `docs/installed-state.md`.
//!
//! ```text
//! image    → root tree → Listing ┐
//! tar file → table     → Listing ┴ compare → Difference… → rules → justified, or a mistake
//! ```

mod dpkg;
mod listing;
mod report;
mod rules;

use std::{collections::BTreeSet, fmt};

pub use listing::{Listing, Node, of_tar, of_tree};
pub use report::{page, write_page};
pub use rules::{RULES, Rule};

/// What differs about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Only the image has it.
    OnlyOurs,
    /// Only mmdebstrap's tree has it.
    OnlyTheirs,
    /// A directory here, a file there.
    Kind,
    /// Permission bits.
    Mode,
    /// Owner and group.
    Owner,
    /// Extended attributes, capabilities among them.
    Xattrs,
    /// What is in the file, or where the link leads.
    Content,
}

impl Aspect {
    /// Returns the word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnlyOurs => "only ours",
            Self::OnlyTheirs => "only theirs",
            Self::Kind => "kind",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Xattrs => "xattrs",
            Self::Content => "content",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: String,
    /// What about it.
    pub aspect: Aspect,
    /// Ours and theirs, or the first lines that differ.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.path, self.aspect.name(), self.detail)
    }
}

/// Returns everything that differs between our tree and theirs. Times do not count: ours are the build's epoch.
#[must_use]
pub fn compare(ours: &Listing, theirs: &Listing) -> Vec<Difference> {
    let mut found = Vec::new();
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let mut tell = |aspect, detail: String| found.push(Difference { path: path.clone(), aspect, detail });
        match (ours.get(path), theirs.get(path)) {
            (Some(node), None) => tell(Aspect::OnlyOurs, node.kind.to_owned()),
            (None, Some(node)) => tell(Aspect::OnlyTheirs, node.kind.to_owned()),
            (Some(a), Some(b)) => nodes(path, a, b, &mut tell),
            (None, None) => {}
        }
    }
    found
}

/// Tells the differences between two nodes of the same path.
fn nodes(path: &str, ours: &Node, theirs: &Node, tell: &mut impl FnMut(Aspect, String)) {
    if ours.kind != theirs.kind {
        return tell(Aspect::Kind, format!("{} / {}", ours.kind, theirs.kind));
    }
    // The mode of a symbolic link means nothing.
    if ours.mode != theirs.mode && ours.kind != "symbolic link" {
        tell(Aspect::Mode, format!("{:04o} / {:04o}", ours.mode, theirs.mode));
    }
    if (ours.uid, ours.gid) != (theirs.uid, theirs.gid) {
        tell(Aspect::Owner, format!("{}:{} / {}:{}", ours.uid, ours.gid, theirs.uid, theirs.gid));
    }
    if ours.xattrs != theirs.xattrs {
        tell(Aspect::Xattrs, format!("{:?} / {:?}", names(ours), names(theirs)));
    }
    if ours.digest == theirs.digest {
        return;
    }
    match (&ours.text, &theirs.text) {
        (Some(a), Some(b)) if dpkg::is_database(path) => dpkg::compare(a, b).into_iter().for_each(|detail| tell(Aspect::Content, detail)),
        (Some(a), Some(b)) => tell(Aspect::Content, lines(a, b)),
        _ => tell(Aspect::Content, format!("{} bytes / {} bytes", ours.size, theirs.size)),
    }
}

fn names(node: &Node) -> Vec<String> {
    node.xattrs.iter().map(|(name, value)| format!("{} ({} bytes)", String::from_utf8_lossy(name), value.len())).collect()
}

/// Returns the lines that only one of two texts has, a few of them.
fn lines(ours: &str, theirs: &str) -> String {
    let only = |a: &str, b: &str, mark: &str| {
        let known: BTreeSet<&str> = b.lines().collect();
        let lines: Vec<_> = a.lines().filter(|line| !known.contains(line)).map(|line| format!("{mark}{line}")).collect();
        let more = lines.len().saturating_sub(3);
        let shown = lines.into_iter().take(3).collect::<Vec<_>>().join(" ");
        if more == 0 { shown } else { format!("{shown} and {more} more") }
    };
    let (gone, come) = (only(ours, theirs, "-"), only(theirs, ours, "+"));
    match (gone.is_empty(), come.is_empty()) {
        (true, true) => "the same lines in another order".to_owned(),
        _ => format!("{gone} {come}").trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node::file(text.as_bytes().to_vec(), 0o644)
    }

    #[test]
    fn every_aspect_is_seen() {
        let same = Listing::from([("/a".to_owned(), node("x")), ("/b".to_owned(), node("y"))]);
        assert!(compare(&same, &same).is_empty());
        let mut other = same.clone();
        other.remove("/a");
        other.insert("/c".to_owned(), node(""));
        let b = other.get_mut("/b").unwrap();
        (b.mode, b.uid) = (0o600, 7);
        b.xattrs.insert(b"security.capability".to_vec(), vec![1]);
        *b = Node { digest: node("z").digest, text: Some("z".to_owned()), ..b.clone() };
        let aspects: Vec<_> = compare(&same, &other).into_iter().map(|difference| difference.aspect).collect();
        assert_eq!(aspects, [Aspect::OnlyOurs, Aspect::Mode, Aspect::Owner, Aspect::Xattrs, Aspect::Content, Aspect::OnlyTheirs]);
        let link = Listing::from([("/a".to_owned(), Node { kind: "symbolic link", ..node("x") })]);
        assert_eq!(compare(&link, &Listing::from([("/a".to_owned(), node("x"))]))[0].aspect, Aspect::Kind);
    }

    #[test]
    fn the_order_of_dpkgs_database_does_not_count() {
        let text = |text: &str| Listing::from([("/var/lib/dpkg/status".to_owned(), node(text))]);
        let ours = text("Package: a\nArchitecture: all\nVersion: 1\n\nPackage: b\nStatus: install ok installed\n");
        let theirs = text("Package: b\nStatus: install ok installed\n\nPackage: a\nVersion: 1\nArchitecture: all\n");
        assert!(compare(&ours, &theirs).is_empty());
        let wrong = text("Package: b\nStatus: install ok unpacked\n\nPackage: a\nVersion: 1\nArchitecture: all\n");
        assert_eq!(compare(&ours, &wrong)[0].detail, "b: Status: install ok installed / install ok unpacked");
    }
}
