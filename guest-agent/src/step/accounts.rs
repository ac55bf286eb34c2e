//! The target's account files, read by us: its name service is nobody's business before it is configured.

use oic_protocol::AgentError;

use crate::{
    failure,
    rootfs::{Ownership, Rootfs},
};

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) ownership: Ownership,
    pub(super) home: String,
}

/// Finds a user by name.
pub(super) fn find_user(rootfs: &Rootfs, name: &str) -> Result<Option<Account>, AgentError> {
    Ok(parse_user(&rootfs.read_text("/etc/passwd")?, name))
}

/// Finds the number of a group.
pub(super) fn find_group(rootfs: &Rootfs, name: &str) -> Result<Option<u32>, AgentError> {
    Ok(parse_group(&rootfs.read_text("/etc/group")?, name))
}

/// Finds the numbers for an owner and a group, each a name or a number.
pub(super) fn ownership(rootfs: &Rootfs, owner: &str, group: &str) -> Result<Ownership, AgentError> {
    let uid = match number(owner, "root") {
        Some(uid) => uid,
        None => find_user(rootfs, owner)?.ok_or_else(|| unknown("user", owner))?.ownership.uid,
    };
    let gid = match number(group, "root") {
        Some(gid) => gid,
        None => find_group(rootfs, group)?.ok_or_else(|| unknown("group", group))?,
    };
    Ok(Ownership { uid, gid })
}

/// Reads a number, or the one name that is the same everywhere.
fn number(text: &str, zero: &str) -> Option<u32> {
    if text == zero { Some(0) } else { text.parse().ok() }
}

fn unknown(kind: &str, name: &str) -> AgentError {
    failure::post_condition(format!("the {kind} {name} exists in the target"), format!("no such {kind}"))
}

fn parse_user(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [login, _, uid, gid, _, home, _] = fields[..] else { return None };
        (login == name).then_some(())?;
        Some(Account { ownership: Ownership { uid: uid.parse().ok()?, gid: gid.parse().ok()? }, home: home.to_owned() })
    })
}

fn parse_group(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:1001:,,,:/home/ann:/bin/sh\nanna:x:x:1:::\n";
        let ann = parse_user(passwd, "ann").unwrap();
        assert_eq!((ann.ownership, ann.home.as_str()), (Ownership { uid: 1000, gid: 1001 }, "/home/ann"));
        assert_eq!(parse_user(passwd, "an"), None);
        assert_eq!(parse_user(passwd, "anna"), None);
        assert_eq!(parse_group("sudo:x:27:ann\nann:x:1001:\n", "ann"), Some(1001));
        assert_eq!(parse_group("sudo:x:27:ann\n", "ann"), None);
    }

    #[test]
    fn owners_are_names_or_numbers() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("etc")).unwrap();
        std::fs::write(scratch.path().join("etc/passwd"), "www-data:x:33:33::/var/www:/bin/sh\n").unwrap();
        let rootfs = Rootfs::open(scratch.path()).unwrap();
        assert_eq!(ownership(&rootfs, "root", "root").unwrap(), Ownership::ROOT);
        assert_eq!(ownership(&rootfs, "www-data", "12").unwrap(), Ownership { uid: 33, gid: 12 });
        assert!(ownership(&rootfs, "ann", "0").is_err());
        assert!(ownership(&rootfs, "0", "ann").is_err());
    }
}
