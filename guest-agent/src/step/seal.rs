//! Removes what must not be in an image and checks what must.

use std::collections::BTreeSet;

use oic_protocol::{AgentError, Seal};

use super::status::{self, Entry, INSTALLED};
use crate::{failure, runner::Context};

/// How many findings an error lists.
const LISTED: usize = 10;

/// Seals.
///
/// # Errors
/// Fails when something cannot be removed, and with everything that does not hold.
pub fn run(seal: &Seal, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let rootfs = &context.target.rootfs;
    for path in &seal.remove {
        rootfs.remove(path)?;
    }
    for path in &seal.truncate {
        rootfs.truncate(path)?;
    }
    if !seal.installed_deb.is_empty() {
        check_installed(&status::read(rootfs)?, &seal.installed_deb)?;
    }
    let missing: Vec<&str> = seal.must_exist.iter().filter(|path| !rootfs.exists(path)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(failure::post_condition("every file that the image needs exists", format!("missing: {}", listed(&missing))))
}

/// Holds dpkg's database against the packages that must be installed; nothing in it may be half-way either.
fn check_installed(status: &str, wanted: &[String]) -> Result<(), AgentError> {
    // Removed packages are a command's doing and fine; a state between two others is not.
    const SETTLED: [&str; 3] = [INSTALLED, "deinstall ok config-files", "purge ok not-installed"];
    let entries = status::entries(status);
    let mut wrong = BTreeSet::new();
    for name in wanted {
        let mut found = entries.iter().filter(|entry| entry.is_called(name)).peekable();
        if found.peek().is_none() {
            wrong.insert(format!("{name}: not in dpkg's database"));
        }
        wrong.extend(found.filter(|entry| entry.state != INSTALLED).map(finding));
    }
    wrong.extend(
        entries.iter().filter(|entry| !SETTLED.contains(&entry.state) && !entry.state.starts_with("hold ok installed")).map(finding),
    );
    if wrong.is_empty() {
        return Ok(());
    }
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    Err(failure::post_condition(format!("dpkg lists every package as `{INSTALLED}`"), listed(&wrong)))
}

/// Words an entry that is not as it should be.
fn finding(entry: &Entry<'_>) -> String {
    format!("{}:{}: {}", entry.package, entry.architecture, entry.state)
}

/// Joins the first findings and counts the rest.
fn listed(findings: &[&str]) -> String {
    let mut text = findings[..findings.len().min(LISTED)].join(", ");
    if findings.len() > LISTED {
        text.push_str(&format!(" and {} more", findings.len() - LISTED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: libc6
Status: install ok installed
Architecture: amd64
Description: Status: deinstall ok half-configured
 more

Package: man-db
Status: install ok triggers-pending
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Architecture: all
";

    fn found(status: &str, wanted: &[&str]) -> Option<String> {
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let error = check_installed(status, &wanted).err()?;
        let oic_protocol::AgentErrorKind::PostCondition { found, .. } = error.kind else { panic!("{error:?}") };
        Some(found)
    }

    #[test]
    fn every_package_must_be_installed_and_none_half_way() {
        let (settled, _) = STATUS.split_once("Package: man-db").unwrap();
        assert_eq!(found(settled, &["libc6", "libc6:amd64"]), None);
        assert_eq!(found(settled, &["libc6:i386", "bash"]).unwrap(), "bash: not in dpkg's database, libc6:i386: not in dpkg's database");
        assert_eq!(found(STATUS, &["libc6"]).unwrap(), "man-db:amd64: install ok triggers-pending");
        assert_eq!(found(STATUS, &["man-db"]).unwrap(), "man-db:amd64: install ok triggers-pending");
        assert!(found(STATUS, &["gone"]).unwrap().contains("gone:all: deinstall ok config-files"));
    }

    #[test]
    fn a_long_list_is_counted_not_printed() {
        let wanted: Vec<String> = (0..25).map(|number| format!("p{number:02}")).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let text = found(STATUS.split_once("Package: man-db").unwrap().0, &wanted).unwrap();
        assert!(text.ends_with("and 15 more") && text.starts_with("p00: "), "{text}");
    }
}
