//! `deb-systemd-helper` as one program: what packages ask of systemd's units when they are installed first.
//!
//! Scripts of packages call it three times for each unit, and each call starts a Perl interpreter, which takes longer under emulation
//! than all that it does. On a first installation two of the calls find nothing to do, and the third has `systemctl` make the links
//! and writes down which ones there are for.
//!
//! # Invariants
//!
//! * It stands in for the script that it was compared with (`KNOWN_SCRIPT`), byte by byte of what that leaves, and for no other.
//! * It takes on the plain case alone: one unit of the system's, nothing masked, a unit file without what needs Perl's way of reading
//!   it. For all else [`help`] returns none, before it has changed anything, and the script runs.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{exec, known::Script};

/// The script of init-system-helpers in Debian 12 and 13.
const KNOWN_SCRIPT: Script = Script { length: 24358, hash: 0x2b18_2edb_5ee0_c71f };

const UNITS: [&str; 3] = ["etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system"];
const ENABLED: &str = "var/lib/systemd/deb-systemd-helper-enabled";
const MASKED: [&str; 2] = ["var/lib/systemd/deb-systemd-helper-masked", "var/lib/systemd/deb-systemd-user-helper-masked"];

/// Does what the script `real` would do with these arguments, if that is certain; none when the script must run.
#[must_use]
pub fn help(arguments: &[OsString], root: &Path, real: &Path) -> Option<ExitCode> {
    // dpkg tells scripts of packages by variables what they run for.
    let plain = exec::is_set("DPKG_MAINTSCRIPT_PACKAGE") && !exec::is_set("DPKG_ROOT") && !exec::is_set("_DEB_SYSTEMD_HELPER_DEBUG");
    if !plain || !KNOWN_SCRIPT.is(&fs::read(real).ok()?) || root.join("run/systemd/system").exists() {
        return None;
    }
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    let preset = |unit: &str| {
        let arguments = ["--root=/", "--system", "--preset-mode=enable-only", "preset", unit];
        exec::run_in(Path::new("/"), "systemctl", &arguments).is_ok_and(|status| status.success())
    };
    act(&words, root, preset)
}

/// Does what the words ask for; `preset` has systemd make the links of a unit.
fn act(words: &[&str], root: &Path, preset: impl Fn(&str) -> bool) -> Option<ExitCode> {
    let (action, unit) = match words {
        ["--quiet", "was-enabled", unit] => ("was-enabled", *unit),
        [action @ ("unmask" | "enable"), unit] => (*action, *unit),
        _ => return None,
    };
    if !is_unit_name(unit) {
        return None;
    }
    match action {
        "was-enabled" => was_enabled(unit, root),
        "unmask" => is_unmasked(unit, root).then_some(ExitCode::SUCCESS),
        _ => enable(unit, root, preset),
    }
}

/// Returns whether a word is the name of a unit in plain letters and no path.
fn is_unit_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@:".contains(&byte)) && !word.starts_with(['-', '.'])
}

/// Where the script writes down the links that a unit has.
fn record_of(unit: &str, root: &Path) -> PathBuf {
    root.join(ENABLED).join(format!("{unit}.dsh-also"))
}

/// Tells whether all links are there that were written down, as they are when none was.
fn was_enabled(unit: &str, root: &Path) -> Option<ExitCode> {
    let text = match fs::read_to_string(record_of(unit, root)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(_) => return None,
    };
    let all = text.lines().all(|link| root.join(link.trim_start_matches('/')).is_symlink());
    Some(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells whether there is nothing to unmask and nothing to clean up.
fn is_unmasked(unit: &str, root: &Path) -> bool {
    let mask = root.join(UNITS[0]).join(unit);
    !mask.exists() && !mask.is_symlink() && MASKED.iter().all(|folder| !root.join(folder).exists())
}

/// Enables a unit that was never enabled.
fn enable(unit: &str, root: &Path, preset: impl Fn(&str) -> bool) -> Option<ExitCode> {
    let has_systemctl =
        ["bin/systemctl", "usr/bin/systemctl"].iter().any(|path| fs::metadata(root.join(path)).is_ok_and(|facts| facts.is_file()));
    let record = record_of(unit, root);
    if !has_systemctl || record.exists() {
        return None;
    }
    let links = links(unit, root, &mut Vec::new())?;
    if !preset(unit) {
        // The script says what went wrong.
        return None;
    }
    Some(match write_down(&record, &links, root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "deb-systemd-helper: error: {}: {error}", record.display());
            ExitCode::FAILURE
        }
    })
}

/// Returns the links that a unit's file asks for, below the folder of the system's units; none when it takes Perl to tell.
fn links(unit: &str, root: &Path, visited: &mut Vec<String>) -> Option<Vec<String>> {
    let file = UNITS.iter().map(|folder| root.join(folder).join(unit)).find(|path| path.is_file())?;
    let text = fs::read_to_string(file).ok()?;
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for line in text.split('\n') {
        let Some((key, value)) = line.trim_start().split_once('=') else { continue };
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if is("DefaultInstance") && !value.is_empty() {
            return None;
        }
        if value.is_empty() || !["WantedBy", "RequiredBy", "Also", "Alias"].into_iter().any(is) {
            continue;
        }
        let values: Vec<&str> = value.split(' ').collect();
        // The script takes the whole line for an alias, and other letters for other keys.
        let is_odd = is("Alias") && values.len() > 1 || !["WantedBy", "RequiredBy", "Also", "Alias"].contains(&key);
        if is_odd || !values.iter().all(|value| is_unit_name(value)) {
            return None;
        }
        for value in values {
            match key {
                "WantedBy" => wanted.push(format!("{value}.wants/{unit}")),
                "RequiredBy" => wanted.push(format!("{value}.requires/{unit}")),
                "Alias" if value != unit => found.push(value.to_owned()),
                "Also" if value != unit && !visited.iter().any(|known| known == value) => {
                    visited.push(value.to_owned());
                    found.extend(links(value, root, &mut visited.clone())?);
                }
                _ => {}
            }
        }
    }
    found.extend(wanted);
    Some(found)
}

/// Writes down the links, together and one by one.
fn write_down(record: &Path, links: &[String], root: &Path) -> io::Result<()> {
    let mut lines: Vec<String> = Vec::new();
    for link in links {
        let line = format!("/{}/{link}\n", UNITS[0]);
        if !lines.contains(&line) {
            lines.push(line);
        }
        let own = root.join(ENABLED).join(link);
        if !own.exists() {
            fs::create_dir_all(own.parent().unwrap_or(root))?;
            fs::OpenOptions::new().create(true).append(true).open(own)?;
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    fs::write(record, lines.concat())?;
    fs::set_permissions(record, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn target(units: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in
            units.iter().map(|(unit, text)| (format!("usr/lib/systemd/system/{unit}"), *text)).chain([("usr/bin/systemctl".to_owned(), "")])
        {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn recorded(root: &Path, path: &str) -> String {
        fs::read_to_string(root.join(ENABLED).join(path)).unwrap()
    }

    /// What is expected here is what the script was seen to write for such units.
    #[test]
    fn enabling_writes_down_what_the_script_does() {
        let root = target(&[
            ("a.service", "[Install]\nAlias=alias.service\nWantedBy=multi-user.target network.target\nAlso=a.socket b.timer\n"),
            ("a.socket", "[Install]\nWantedBy=sockets.target\nAlso=a.service\n"),
            ("b.timer", "[Timer]\n"),
        ]);
        let root = root.path();
        assert!(act(&["enable", "a.service"], root, |unit| unit == "a.service").is_some());
        assert_eq!(
            recorded(root, "a.service.dsh-also"),
            "/etc/systemd/system/alias.service\n/etc/systemd/system/multi-user.target.wants/a.service\n\
             /etc/systemd/system/network.target.wants/a.service\n/etc/systemd/system/sockets.target.wants/a.socket\n"
        );
        assert_eq!(recorded(root, "network.target.wants/a.service"), "");
        assert_eq!(recorded(root, "alias.service"), "");
        assert!(act(&["enable", "a.service"], root, |_| true).is_none(), "again is the script's business");
        assert!(act(&["enable", "b.timer"], root, |_| true).is_some());
        assert!(!root.join(ENABLED).join("b.timer.dsh-also").exists(), "nothing to write down");
    }

    #[test]
    fn what_takes_perl_is_left_to_the_script_untouched() {
        for text in [
            "DefaultInstance=x",
            "Alias=a.service b.service",
            "wantedby=x.target",
            "WantedBy= x.target",
            "Also=\"y.socket\"",
            "Also=missing.socket",
        ] {
            let root = target(&[("u.service", &format!("[Install]\n{text}\n"))]);
            assert!(act(&["enable", "u.service"], root.path(), |_| panic!("{text}")).is_none(), "{text}");
            assert!(!root.path().join("var").exists());
        }
        let root = target(&[]);
        for words in [
            &["enable", "--now"][..],
            &["enable", "a", "b"],
            &["disable", "a"],
            &["was-enabled", "a"],
            &["--user", "unmask", "a"],
            &["unmask", "../a"],
        ] {
            assert!(act(words, root.path(), |_| true).is_none(), "{words:?}");
        }
    }

    #[test]
    fn questions_are_answered_by_what_is_there() {
        let root = target(&[("a.timer", "[Install]\nWantedBy=timers.target\n")]);
        let root = root.path();
        let ask = |words: &[&str]| act(words, root, |_| true);
        assert_eq!(ask(&["unmask", "a.timer"]), Some(ExitCode::SUCCESS));
        assert_eq!(ask(&["--quiet", "was-enabled", "a.timer"]), Some(ExitCode::SUCCESS), "never enabled");
        ask(&["enable", "a.timer"]).unwrap();
        assert_eq!(ask(&["--quiet", "was-enabled", "a.timer"]), Some(ExitCode::FAILURE), "its link is gone");
        let link = root.join("etc/systemd/system/timers.target.wants/a.timer");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink("/usr/lib/systemd/system/a.timer", link).unwrap();
        assert_eq!(ask(&["--quiet", "was-enabled", "a.timer"]), Some(ExitCode::SUCCESS));
        symlink("/dev/null", root.join("etc/systemd/system/a.timer")).unwrap();
        assert_eq!(ask(&["unmask", "a.timer"]), None);
    }
}
