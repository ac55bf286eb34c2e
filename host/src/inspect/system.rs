//! The system on a root filesystem: what it says it is, its users, its kernels.

use std::collections::BTreeMap;

use super::report::{SystemReport, UserReport};
use crate::rootfs::{RootTree, path::Shown};

/// The largest of the files that are read here.
const MAX_FILE: u64 = 1 << 20;
/// The most lines that are taken from one.
const MAX_LINES: usize = 10_000;

/// Describes the system; none when the tree holds none.
pub(super) fn describe(partition: u32, tree: &RootTree) -> Option<SystemReport> {
    let text = |path: &str| {
        tree.file(path).and_then(|content| content.read_all(MAX_FILE).ok()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let os_release_text = text("/etc/os-release").or_else(|| text("/usr/lib/os-release"));
    let passwd = text("/etc/passwd");
    if os_release_text.is_none() && passwd.is_none() {
        return None;
    }
    let shadow: BTreeMap<String, String> = text("/etc/shadow")
        .unwrap_or_default()
        .lines()
        .take(MAX_LINES)
        .filter_map(|line| {
            line.split_once(':').map(|(name, rest)| (name.to_owned(), rest.split(':').next().unwrap_or_default().to_owned()))
        })
        .collect();
    let mut users: Vec<UserReport> =
        passwd.unwrap_or_default().lines().take(MAX_LINES).filter_map(|line| user(line, &shadow, tree)).collect();
    users.sort();
    let lines = |text: String| {
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).take(MAX_LINES).map(str::to_owned).collect()
    };
    let mut kernels: Vec<String> = ["/usr/lib/modules", "/lib/modules"]
        .iter()
        .flat_map(|folder| tree.names(folder).map(|(name, _)| Shown(name).to_string()))
        .collect();
    kernels.sort();
    kernels.dedup();
    Some(SystemReport {
        partition,
        subvolume: None,
        os_release: os_release(&os_release_text.unwrap_or_default()),
        hostname: text("/etc/hostname").unwrap_or_default().trim().to_owned(),
        fstab: lines(text("/etc/fstab").unwrap_or_default()),
        kernels,
        users,
    })
}

fn user(line: &str, shadow: &BTreeMap<String, String>, tree: &RootTree) -> Option<UserReport> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, password, uid, gid, _, home, shell] = fields[..] else { return None };
    let password = if password == "x" { shadow.get(name).map_or("*", String::as_str) } else { password };
    let password = match password {
        "" => "none",
        hash if hash.starts_with(['!', '*']) => "locked",
        _ => "set",
    };
    Some(UserReport {
        uid: uid.parse().ok()?,
        name: name.to_owned(),
        gid: gid.parse().ok()?,
        home: home.to_owned(),
        shell: shell.to_owned(),
        password,
        ssh_key: tree.file(format!("{home}/.ssh/authorized_keys")).is_some_and(|content| content.size() > 0),
    })
}

/// Reads os-release: assignments, the values quoted or not.
pub(super) fn os_release(text: &str) -> BTreeMap<String, String> {
    let assignment = |line: &str| {
        let (name, value) = line.trim().split_once('=').filter(|(name, _)| !name.starts_with('#'))?;
        let value = value.trim();
        let unquoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        Some((name.to_owned(), unquoted.unwrap_or(value).replace("\\\"", "\"")))
    };
    text.lines().take(MAX_LINES).filter_map(assignment).collect()
}
