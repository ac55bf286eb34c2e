//! `update-ca-certificates` as one program: the collection of the authorities' certificates below `/etc/ssl/certs`.
//!
//! ```text
//! /etc/ca-certificates.conf ──► NAME.pem links ──► ca-certificates.crt.new ──► `openssl rehash` ──► ca-certificates.crt
//! ```
//!
//! Debian's script starts six programs for each of 150 certificates, which takes twenty seconds of emulation: a quarter of a
//! minimal image. This module makes the same links and the same bundle and leaves the hashes to the target's openssl.
//!
//! # Invariants
//!
//! * It stands in for scripts that it was compared with (`KNOWN_SCRIPTS`), byte by byte of what they leave, and for nothing else.
//! * It takes on the plain case alone: nothing collected yet, no certificates of the administrator's, no hooks, names that a shell
//!   reads as they are. For all else [`update`] returns none, before it has changed anything, and the script runs.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use crate::{exec, known::Script};

/// The scripts of ca-certificates 20230311 (Debian 12) and 20250419 (Debian 13).
const KNOWN_SCRIPTS: [Script; 2] =
    [Script { length: 5418, hash: 0x6363_624c_5011_610a }, Script { length: 5672, hash: 0xf144_7f32_8758_bd82 }];

const LIST: &str = "etc/ca-certificates.conf";
const AUTHORITIES: &str = "usr/share/ca-certificates";
const COLLECTION: &str = "etc/ssl/certs";
const BUNDLE: &str = "ca-certificates.crt";
const HOOKS: &str = "etc/ca-certificates/update.d";

/// Does what the script `real` would do with these arguments, if that is certain; none when the script must run.
#[must_use]
pub fn update(arguments: &[OsString], root: &Path, real: &Path) -> Option<ExitCode> {
    let is_bare = arguments.is_empty();
    if is_bare && is_current(root) {
        return Some(ExitCode::SUCCESS);
    }
    let plain = is_bare || arguments == ["--hooksdir", ""];
    if !plain || !is_known(&fs::read(real).ok()?) {
        return None;
    }
    let certificates = plain_case(root)?;
    Some(match collect(root, &certificates) {
        Ok(()) => {
            // Nobody reads it but people.
            let _ = writeln!(io::stdout(), "{} added, 0 removed; done.", certificates.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "update-ca-certificates: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Returns whether the script without arguments would write what is there already.
///
/// The package runs it twice on a first installation, in its script and in its trigger. The second run is needless when nothing
/// that it reads was changed after the bundle was written, there are no local certificates and no hooks to call.
fn is_current(root: &Path) -> bool {
    let modified = |path: &str| fs::metadata(root.join(path)).and_then(|facts| facts.modified()).ok();
    let bundle = modified(&format!("{COLLECTION}/{BUNDLE}"));
    let (Some(bundle), Some(list)) = (bundle, modified(LIST)) else { return false };
    list < bundle && is_untouched(root) && no_folder_is_newer(&root.join(AUTHORITIES), bundle)
}

/// Returns whether the administrator has added neither certificates nor hooks.
fn is_untouched(root: &Path) -> bool {
    ["usr/local/share/ca-certificates", HOOKS].iter().all(|path| match fs::read_dir(root.join(path)) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    })
}

/// Returns whether no folder at or below this one was changed at or after a time.
fn no_folder_is_newer(folder: &Path, than: SystemTime) -> bool {
    let older = fs::metadata(folder).and_then(|facts| facts.modified()).is_ok_and(|time| time < than);
    let Ok(entries) = fs::read_dir(folder) else { return false };
    older
        && entries.into_iter().all(|entry| {
            entry.is_ok_and(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => no_folder_is_newer(&entry.path(), than),
                Ok(_) => true,
                Err(_) => false,
            })
        })
}

fn is_known(script: &[u8]) -> bool {
    KNOWN_SCRIPTS.iter().any(|known| known.is(script))
}

/// A certificate to collect.
#[derive(Debug, PartialEq, Eq)]
struct Certificate {
    /// The name of its link.
    link: String,
    /// Its path as the target sees it.
    path: String,
}

/// Returns the certificates to collect, in order; none when the case is not plain.
fn plain_case(root: &Path) -> Option<Vec<Certificate>> {
    let untouched = is_untouched(root) && fs::read_dir(root.join(COLLECTION)).ok()?.next().is_none();
    // Labels are the script's business, too.
    if !untouched || root.join("sbin/restorecon").exists() {
        return None;
    }
    let list = fs::read_to_string(root.join(LIST)).ok()?;
    let certificates = listed(&list)?;
    let exist = certificates.iter().all(|certificate| root.join(certificate.path.trim_start_matches('/')).is_file());
    (exist && !certificates.is_empty()).then_some(certificates)
}

/// Reads the list; none when a line is one that only a shell knows how to read.
fn listed(list: &str) -> Option<Vec<Certificate>> {
    let mut links = BTreeSet::new();
    let mut certificates = Vec::new();
    // The last line counts only when it ends.
    let complete = list.is_empty() || list.ends_with('\n');
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || b"._/ (),=+-".contains(&byte);
        if line.trim() != line || line.contains("//") || !line.bytes().all(plain) {
            return None;
        }
        let stem = line.rsplit('/').next().unwrap_or(line).strip_suffix(".crt").filter(|stem| !stem.is_empty())?;
        let name: String = stem
            .chars()
            .map(|char| {
                if matches!(char, ' ' | ',') {
                    '_'
                } else if matches!(char, '(' | ')') {
                    '='
                } else {
                    char
                }
            })
            .collect();
        let link = format!("{name}.pem");
        if !links.insert(link.clone()) {
            return None;
        }
        certificates.push(Certificate { link, path: format!("/{AUTHORITIES}/{line}") });
    }
    complete.then_some(certificates)
}

/// Makes links, hashes and the bundle.
fn collect(root: &Path, certificates: &[Certificate]) -> io::Result<()> {
    let folder = root.join(COLLECTION);
    let (unfinished, bundle) = (folder.join(format!("{BUNDLE}.new")), folder.join(BUNDLE));
    let mut bytes = Vec::new();
    for certificate in certificates {
        symlink(&certificate.path, folder.join(&certificate.link))?;
        bytes.extend(fs::read(root.join(certificate.path.trim_start_matches('/')))?);
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            bytes.push(b'\n');
        }
    }
    fs::write(&unfinished, bytes)?;
    // Like the script, which takes no notice of how it ends: it also warns of what is no single certificate.
    let _ = exec::run_in(&folder, "openssl", &["rehash", "."]);
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o644))?;
    fs::rename(unfinished, bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(list: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in [COLLECTION, AUTHORITIES, HOOKS] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join(LIST), list).unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// What the script leaves for names with odd characters was seen with the script itself.
    #[test]
    fn links_and_bundle_are_those_of_the_script() {
        let a = "usr/share/ca-certificates/mozilla/A (Class 1),x.crt";
        let root = target(
            "# comment\n!mozilla/no.crt\n\nmozilla/A (Class 1),x.crt\nb.crt\n",
            &[(a, "one"), ("usr/share/ca-certificates/b.crt", "two\n")],
        );
        let certificates = plain_case(root.path()).unwrap();
        collect(root.path(), &certificates).unwrap();
        let folder = root.path().join(COLLECTION);
        assert_eq!(fs::read_to_string(folder.join(BUNDLE)).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_link(folder.join("A_=Class_1=_x.pem")).unwrap(), Path::new("/").join(a));
        assert_eq!(fs::read_link(folder.join("b.pem")).unwrap(), Path::new("/usr/share/ca-certificates/b.crt"));
        assert!(!folder.join("ca-certificates.crt.new").exists());
        assert!(plain_case(root.path()).is_none(), "collected already");
    }

    #[test]
    fn whatever_is_not_plain_is_the_scripts() {
        let crt = ("usr/share/ca-certificates/a.crt", "x\n");
        assert!(plain_case(target("a.crt\n", &[crt]).path()).is_some());
        for (list, files) in [
            ("", vec![crt]),
            ("a.crt", vec![crt]),
            ("b.crt\n", vec![crt]),
            (" a.crt\n", vec![crt]),
            ("a\\.crt\n", vec![crt]),
            ("a.crt\na.crt\n", vec![crt]),
            ("a.pem\n", vec![crt]),
            ("a.crt\n", vec![crt, ("usr/local/share/ca-certificates/own.crt", "x")]),
            ("a.crt\n", vec![crt, ("etc/ca-certificates/update.d/hook", "x")]),
            ("a.crt\n", vec![crt, ("etc/ssl/certs/old.pem", "x")]),
            ("a.crt\n", vec![crt, ("sbin/restorecon", "x")]),
        ] {
            assert!(plain_case(target(list, &files).path()).is_none(), "{list:?} {files:?}");
        }
    }

    #[test]
    fn an_unknown_script_and_other_arguments_are_left_alone() {
        let root = target("a.crt\n", &[("usr/share/ca-certificates/a.crt", "x\n"), ("script", "#!/bin/sh\n")]);
        assert!(update(&[], root.path(), &root.path().join("script")).is_none());
        assert!(update(&["--fresh".into()], root.path(), &root.path().join("script")).is_none());
        assert!(fs::read_dir(root.path().join(COLLECTION)).unwrap().next().is_none());
    }

    #[test]
    fn certificates_are_collected_again_only_when_something_changed() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, seconds: u64| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = fs::File::create(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        assert!(!is_current(root.path()), "no bundle");
        write("usr/share/ca-certificates/mozilla/a.crt", 1);
        write("etc/ca-certificates.conf", 10);
        fs::create_dir_all(root.path().join("etc/ca-certificates/update.d")).unwrap();
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 33);
        write("etc/ssl/certs/ca-certificates.crt", 1 << 33);
        assert!(is_current(root.path()));
        let mozilla = fs::File::open(root.path().join("usr/share/ca-certificates/mozilla")).unwrap();
        mozilla.set_modified(later).unwrap();
        assert!(!is_current(root.path()), "a certificate was added");
        mozilla.set_modified(std::time::UNIX_EPOCH).unwrap();
        write("etc/ca-certificates.conf", 1 << 33);
        assert!(!is_current(root.path()), "the list changed");
        write("etc/ca-certificates.conf", 10);
        write("etc/ca-certificates/update.d/hook", 1);
        assert!(!is_current(root.path()), "a hook waits");
        fs::remove_file(root.path().join("etc/ca-certificates/update.d/hook")).unwrap();
        write("usr/local/share/ca-certificates/own.crt", 1);
        assert!(!is_current(root.path()), "a local certificate");
    }
}
