//! What goes wrong, and what a user is told then: the exit status, and one message with the cause and the remedy.
//!
//! ```text
//! network   mirrors and repositories that misbehave, on a server of the test: no machine of its own, no network
//! host      disks and partitions that are too small, found before any virtual machine starts
//! guest     what happens inside the builder VM
//! ```

mod guest;
mod host;
mod network;

use oic_config::spec::Arch;
use oic_tests::{
    OwnRepository, Tiny,
    archive::{self, Key, Package},
    server::{Manner, Server},
};

/// What is served, and a distribution that uses it.
struct World {
    server: Server,
    tiny: Tiny,
}

impl World {
    /// Makes a distribution with the packages beside Debian's, or alone.
    fn new(has_debian: bool, manner: Manner, packages: &[Package], disk: &str, system: &str) -> Self {
        let (server, key) = (Server::start(manner), Key::new());
        archive::put(&server, &key, Arch::host().deb_name(), "", packages);
        Self::of(has_debian, server, &key, disk, system)
    }

    /// Makes a distribution that is bound to a key.
    fn of(has_debian: bool, server: Server, key: &Key, disk: &str, system: &str) -> Self {
        let (url, key) = (format!("http://{}/debian", server.address()), key.public());
        let tiny = Tiny::new(has_debian, Some(OwnRepository { url: &url, key: &key }), disk, system);
        Self { server, tiny }
    }

    /// Builds, and returns what a user sees.
    fn build(&self) -> String {
        let output = self.tiny.oic(&["build", "--progress", "none", "-o", "out", "template.yml"]).run();
        self.stable(&output.to_string().replace(&*self.tiny.cache().to_string_lossy(), "[CACHE]"))
    }

    /// Replaces what differs from run to run.
    fn stable(&self, text: &str) -> String {
        stable(&text.replace(&self.server.address(), "[SERVER]"))
    }
}

/// Replaces numbers with a unit, which depend on the versions of packages and on the machine, and the scratch folder's name.
fn sizes(text: &str) -> String {
    let text = &match text.find("work/build-").map(|at| at + "work/build-".len()) {
        Some(at) => format!("{}[RANDOM]{}", &text[..at], &text[at + 6..]),
        None => text.to_owned(),
    };
    let words: Vec<&str> = text.split(' ').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let word = |(at, word): (usize, &&str)| {
        let digits = word.find(|character: char| !character.is_ascii_digit()).unwrap_or(word.len());
        let next = words.get(at + 1).copied().unwrap_or_default();
        if digits > 0 && ["KiB", "MiB", "GiB"].iter().any(|unit| word[digits..].starts_with(unit)) {
            format!("[SIZE]{}", &word[digits + 3..])
        } else if is_number(word) && (next == "more" || next == "are") {
            "[BYTES]".to_owned()
        } else if is_number(word) && next.starts_with("packages") {
            "[N]".to_owned()
        } else {
            (*word).to_owned()
        }
    };
    words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}

/// Replaces digests, fingerprints, dates and sizes that depend on the versions of packages.
fn stable(text: &str) -> String {
    text.replace(Arch::host().deb_name(), "[ARCH]").split_inclusive('\n').map(stable_line).collect()
}

fn stable_line(line: &str) -> String {
    let mut stable = String::new();
    let mut word = String::new();
    for character in line.chars().chain(['\0']) {
        if character.is_ascii_alphanumeric() {
            word.push(character);
            continue;
        }
        let is_hex = word.chars().all(|digit| digit.is_ascii_hexdigit());
        stable += match word.len() {
            64 if is_hex => "[SHA256]",
            40 if is_hex => "[FINGERPRINT]",
            _ => &word,
        };
        word.clear();
        if character != '\0' {
            stable.push(character);
        }
    }
    // The time of the run: `2026-11-21 08:00:00 UTC`.
    if let Some(at) = stable.find("it is 20").filter(|at| stable[*at..].contains(" UTC")) {
        let end = at + stable[at..].find(" UTC").unwrap_or(0);
        stable.replace_range(at + "it is ".len()..end, "[NOW]");
    }
    stable
}
