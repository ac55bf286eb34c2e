//! The files of two filesystems.

use std::{collections::BTreeMap, io};

use super::{
    Findings,
    report::{Area, Difference, Weight},
};
use crate::{
    digest::Sha256Digest,
    rootfs::{Content, Inode, Kind, RootTree, path::Shown},
};

/// Folders whose content is made anew by whoever runs, or tells only of the past.
const FLEETING: [&str; 8] =
    ["/var/log/", "/var/cache/", "/var/tmp/", "/tmp/", "/run/", "/var/lib/apt/lists/", "/var/lib/dnf/", "/root/.cache/"];

/// Adds what differs between the files of two filesystems in the partition `subject`.
pub(super) fn differences(subject: &str, left: &RootTree, right: &RootTree, findings: &mut Findings) -> io::Result<()> {
    let (first, second) = (index(left), index(right));
    for (path, own) in &first {
        match second.get(path) {
            None => only(subject, path, own, true, findings),
            Some(other) => both(subject, path, own, other, findings)?,
        }
    }
    for (path, other) in second.iter().filter(|(path, _)| !first.contains_key(*path)) {
        only(subject, path, other, false, findings);
    }
    Ok(())
}

fn index(tree: &RootTree) -> BTreeMap<Vec<u8>, &Inode> {
    tree.walk().map(|entry| (entry.path, entry.inode)).collect()
}

fn name(subject: &str, path: &[u8]) -> String {
    format!("{}:{}", subject.split(' ').next().unwrap_or_default(), Shown(path))
}

/// Returns whether a difference there can matter.
fn weight(path: &[u8]) -> (Weight, &'static str) {
    let with_slash = [path, b"/"].concat();
    let fleeting = FLEETING.iter().any(|folder| with_slash.starts_with(folder.as_bytes()));
    if fleeting { (Weight::Harmless, "a log, cache or temporary file") } else { (Weight::Matters, "") }
}

fn only(subject: &str, path: &[u8], inode: &Inode, first: bool, findings: &mut Findings) {
    let (weight, reason) = weight(path);
    let shown = match &inode.kind {
        Kind::File(content) => format!("file of {} bytes", content.size()),
        Kind::Symlink(target) => format!("link to {}", Shown(target)),
        other => other.name().to_owned(),
    };
    let difference = Difference::new(Area::File, &name(subject, path), if first { "only in the first" } else { "only in the second" });
    let values = if first { (Some(shown.as_str()), None) } else { (None, Some(shown.as_str())) };
    findings.push(difference.values(values.0, values.1).weight(weight).reason(reason));
}

fn both(subject: &str, path: &[u8], left: &Inode, right: &Inode, findings: &mut Findings) -> io::Result<()> {
    let (weight, reason) = weight(path);
    let subject = name(subject, path);
    let mut note = |property: &str, own: &str, other: &str, weight, reason| {
        findings.weighted(Area::File, &subject, property, (own, other), weight, reason);
    };
    if std::mem::discriminant(&left.kind) != std::mem::discriminant(&right.kind) {
        note("kind", left.kind.name(), right.kind.name(), weight, reason);
        return Ok(());
    }
    let (own, other) = (&left.metadata, &right.metadata);
    // The mode of a link means nothing.
    if !matches!(left.kind, Kind::Symlink(_)) {
        note("mode", &format!("{:04o}", own.mode), &format!("{:04o}", other.mode), weight, reason);
    }
    note("owner", &format!("{}:{}", own.uid, own.gid), &format!("{}:{}", other.uid, other.gid), weight, reason);
    for key in own.xattrs.keys().chain(other.xattrs.keys().filter(|key| !own.xattrs.contains_key(*key))) {
        let hex =
            |value: Option<&Vec<u8>>| value.map_or("none".to_owned(), |value| value.iter().map(|byte| format!("{byte:02x}")).collect());
        note(&format!("attribute {}", Shown(key)), &hex(own.xattrs.get(key)), &hex(other.xattrs.get(key)), weight, reason);
    }
    match (&left.kind, &right.kind) {
        (Kind::File(own), Kind::File(other)) => {
            if let Some((own, other)) = contents(own, other)? {
                note("content", &own, &other, weight, reason);
            }
        }
        (Kind::Symlink(own), Kind::Symlink(other)) => note("target", &Shown(own).to_string(), &Shown(other).to_string(), weight, reason),
        (Kind::CharDevice { major: a, minor: b }, Kind::CharDevice { major: c, minor: d })
        | (Kind::BlockDevice { major: a, minor: b }, Kind::BlockDevice { major: c, minor: d }) => {
            note("device", &format!("{a}:{b}"), &format!("{c}:{d}"), weight, reason);
        }
        _ => {}
    }
    note("time", &own.mtime.to_string(), &other.mtime.to_string(), Weight::Harmless, "only a time");
    Ok(())
}

/// Returns descriptions of two contents if they differ.
fn contents(left: &Content, right: &Content) -> io::Result<Option<(String, String)>> {
    if left.size() == right.size() && left.size() == 0 {
        return Ok(None);
    }
    let digest = |content: &Content| Sha256Digest::of_reader(&mut content.reader());
    let (own, other) = (digest(left)?, digest(right)?);
    let show = |content: &Content, digest: &Sha256Digest| format!("{} bytes, sha256 {digest}", content.size());
    Ok((own != other).then(|| (show(left, &own), show(right, &other))))
}
