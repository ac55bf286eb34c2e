//! What rpm says, and what of it no image can live with.
//!
//! ```text
//! warning: %post(foo-1-1.x86_64) scriptlet failed, exit status 1
//! error: %pre(foo-1-1.x86_64) scriptlet failed, signal 9
//! warning: %triggerin(foo-1-1.x86_64) scriptlet failed, exit status 2
//! error: lua script failed: [string "%post(foo-1-1.x86_64)"]:1: what is wrong
//! warning: user messagebus does not exist - using root
//! ```

use std::collections::BTreeSet;

use oic_protocol::AgentError;

use crate::failure;

/// One line for each package: name, epoch if there is one, version, release and architecture.
pub(super) const QUERY_FORMAT: &str = "%{NAME}-%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}.%{ARCH}\n";

/// The folders where distributions have their database. A tool with macros of its own may have any other.
const DATABASE_FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

/// How many packages an error lists.
const LISTED: usize = 10;

/// A line after which the image is not what its packages mean it to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// A script failed.
    Script { package: String, script: String, exit_code: Option<i32> },
    /// The owner of a file does not exist.
    Owner { kind: &'static str, name: String },
}

/// Reads a complaint from a line.
pub(super) fn complaint(line: &str) -> Option<Complaint> {
    let text = line.strip_prefix("warning: ").or_else(|| line.strip_prefix("error: "))?;
    if let Some((named, reason)) = text.split_once(" scriptlet failed, ") {
        let (script, package) = named.strip_suffix(')')?.split_once('(')?;
        let exit_code = reason.strip_prefix("exit status ").and_then(|status| status.trim().parse().ok());
        return script.starts_with('%').then(|| Complaint::Script { package: package.into(), script: script.into(), exit_code });
    }
    if let Some(reason) = ["lua script failed: ", "invalid syntax in lua scriptlet: "].iter().find_map(|words| text.strip_prefix(words)) {
        // A script in rpm's own interpreter, which has no exit status.
        let (named, _) = reason.strip_prefix("[string \"")?.split_once("\"]:")?;
        let (script, package) = named.strip_suffix(')')?.split_once('(')?;
        return Some(Complaint::Script { package: package.into(), script: script.into(), exit_code: None });
    }
    let owner = text.strip_suffix(" does not exist - using root")?;
    let (kind, name) = owner.split_once(' ')?;
    let kind = ["user", "group"].into_iter().find(|known| *known == kind)?;
    Some(Complaint::Owner { kind, name: name.to_owned() })
}

/// Checks that the distribution's rpm has its database where the image's rpm will look for it.
pub(super) fn check_database_folder(folder: &str) -> Result<(), AgentError> {
    if DATABASE_FOLDERS.contains(&folder) {
        return Ok(());
    }
    let expected = format!("the distribution's rpm has its database in {}", DATABASE_FOLDERS.join(" or "));
    Err(failure::post_condition(expected, format!("`{folder}`")))
}

/// Compares the packages in the database with those that were to be installed.
pub(super) fn check_listed(wanted: &BTreeSet<String>, listed: &BTreeSet<String>) -> Result<(), AgentError> {
    // An epoch of 0 may be written or not.
    let listed: BTreeSet<String> = listed.iter().map(|name| name.replacen("-0:", "-", 1)).collect();
    let missing: Vec<&str> = wanted.iter().filter(|name| !listed.contains(*name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut found = format!("not in it: {}", missing[..missing.len().min(LISTED)].join(", "));
    if missing.len() > LISTED {
        found.push_str(&format!(" and {} more", missing.len() - LISTED));
    }
    Err(failure::post_condition("rpm's database lists every package", found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(package: &str, script: &str, exit_code: Option<i32>) -> Option<Complaint> {
        Some(Complaint::Script { package: package.into(), script: script.into(), exit_code })
    }

    #[test]
    fn complaints_are_told_from_other_lines() {
        for (line, expected) in [
            ("warning: %post(foo-1:1-1.x86_64) scriptlet failed, exit status 3", script("foo-1:1-1.x86_64", "%post", Some(3))),
            ("error: %pre(foo-1-1.noarch) scriptlet failed, signal 9", script("foo-1-1.noarch", "%pre", None)),
            (
                "warning: %transfiletriggerin(glibc-2-1.x86_64) scriptlet failed, exit status 1",
                script("glibc-2-1.x86_64", "%transfiletriggerin", Some(1)),
            ),
            (
                "error: lua script failed: [string \"%post(foo-1-1.noarch)\"]:2: attempt to call a nil value",
                script("foo-1-1.noarch", "%post", None),
            ),
            ("warning: user messagebus does not exist - using root", Some(Complaint::Owner { kind: "user", name: "messagebus".into() })),
            ("warning: group shadow does not exist - using root", Some(Complaint::Owner { kind: "group", name: "shadow".into() })),
            ("warning: /etc/foo created as /etc/foo.rpmnew", None),
            ("%post(foo) scriptlet failed, exit status 3", None),
            ("warning: the moon does not exist - using root", None),
            ("warning: scriptlet failed, ", None),
            ("", None),
        ] {
            assert_eq!(complaint(line), expected, "{line}");
        }
    }

    #[test]
    fn the_database_must_list_every_package_at_its_place() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let wanted = set(&["a-1-1.noarch", "b-2:1-1.x86_64"]);
        assert!(check_listed(&wanted, &set(&["a-0:1-1.noarch", "b-2:1-1.x86_64", "gpg-pubkey-1-1.(none)"])).is_ok());
        let error = check_listed(&wanted, &set(&["a-1-1.noarch"])).unwrap_err();
        assert!(format!("{error:?}").contains("not in it: b-2:1-1.x86_64"), "{error:?}");
        assert!(check_database_folder("/usr/lib/sysimage/rpm").is_ok());
        for odd in ["", "/root/.rpmdb", "~/.rpmdb"] {
            assert!(check_database_folder(odd).is_err(), "{odd}");
        }
    }
}
