//! The rules, as data.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Files of some folders may not use some paths.
struct Rule {
    /// What the rule says, for messages.
    says: &'static str,
    /// Folders and files that it holds for.
    applies: &'static [&'static str],
    /// Folders and files among them that it does not hold for.
    except: &'static [&'static str],
    /// Paths that may not be used, with everything below them.
    forbidden: &'static [&'static str],
}

const PRINTING: &[&str] = &["println!", "print!", "eprintln!", "eprint!", "dbg!", "std::io::stdout", "std::io::stderr"];
const NETWORK: &[&str] =
    &["reqwest", "hyper", "std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "std::net::ToSocketAddrs", "tokio::net"];

const RULES: &[Rule] = &[
    Rule {
        says: "only `cli` prints",
        applies: &["host/src", "config/src", "disk-formats/src", "protocol/src", "builder-vm/src"],
        // The file server of the builder VM is a process of its own, whose standard error its parent reads; a booted image
        // has the terminal to itself.
        except: &["host/src/cli", "builder-vm/src/virtiofs.rs", "builder-vm/src/boot.rs"],
        forbidden: PRINTING,
    },
    Rule {
        says: "only `fetch` touches the network",
        applies: &["host/src", "config/src", "disk-formats/src", "protocol/src", "builder-vm/src", "guest-agent/src"],
        except: &["host/src/fetch"],
        forbidden: NETWORK,
    },
    Rule {
        says: "only `exec` starts programs, and the builder VM's own module",
        applies: &["host/src", "config/src", "disk-formats/src", "protocol/src", "builder-vm/src", "guest-agent/src"],
        except: &["host/src/exec.rs", "host/src/clock.rs", "host/src/env.rs", "builder-vm/src/process.rs", "guest-agent/src/exec.rs"],
        forbidden: &["clippy::disallowed_methods", "tokio::process", "rustix::runtime"],
    },
    Rule {
        says: "`solve` does no I/O",
        applies: &["host/src/solve"],
        except: &[],
        // Reading from a `Read` that it is given is no I/O of its own.
        forbidden: &[
            "std::fs",
            "std::io::stdin",
            "std::io::stdout",
            "std::io::stderr",
            "std::net",
            "std::os",
            "std::process",
            "std::env",
            "std::time::SystemTime",
            "tokio",
            "reqwest",
            "rustix",
            "tempfile",
            "crate::fetch",
            "crate::store",
            "crate::exec",
            "crate::env",
            "crate::clock",
            "crate::cli",
            "crate::build",
        ],
    },
    Rule {
        says: "reports are pure",
        applies: &["host/src/report"],
        except: &[],
        forbidden: &[
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "std::time",
            "tokio",
            "crate::env",
            "crate::clock",
            "crate::cli",
            "crate::build",
        ],
    },
    Rule {
        says: "libraries know nothing of the command line",
        applies: &["host/src"],
        except: &["host/src/cli", "host/src/main.rs"],
        forbidden: &["crate::cli", "clap", "indicatif", "miette"],
    },
    Rule {
        says: "`config`, `disk-formats` and `protocol` depend on no crate of ours",
        applies: &["config/src", "disk-formats/src", "protocol/src"],
        except: &[],
        forbidden: &["oic", "oic_builder_vm", "oic_guest_agent"],
    },
    Rule {
        says: "`config` does not know the protocol, `protocol` not the configuration",
        applies: &["config/src", "protocol/src"],
        except: &[],
        forbidden: &["oic_protocol", "oic_config"],
    },
    Rule {
        says: "`builder-vm` and the agent depend on `protocol` alone",
        applies: &["builder-vm/src", "guest-agent/src"],
        except: &["guest-agent/src/main.rs"],
        forbidden: &["oic", "oic_config", "oic_guest_agent"],
    },
    Rule {
        says: "exceptions to lints are `expect`ed with a reason",
        applies: &[
            "host/src",
            "config/src",
            "disk-formats/src",
            "protocol/src",
            "builder-vm/src",
            "guest-agent/src",
            "xtask/src",
            "tests/src",
        ],
        except: &[],
        forbidden: &["#[allow]"],
    },
];

/// No file is longer.
const MAX_LINES: usize = 800;

/// Returns every violation, worded with its place.
pub(super) fn check(sources: &BTreeMap<String, Source>) -> Vec<String> {
    let mut violations = Vec::new();
    for (file, source) in sources {
        for rule in RULES.iter().filter(|rule| rule.holds_for(file)) {
            let mut seen = BTreeSet::new();
            for (path, line) in &source.paths {
                if rule.forbidden.iter().any(|forbidden| is_below(path, forbidden, "::")) && seen.insert((path, line)) {
                    violations.push(format!("{file}:{line}: {}: `{path}`", rule.says));
                }
            }
        }
        if source.lines > MAX_LINES {
            violations.push(format!("{file}: {} lines, more than {MAX_LINES}", source.lines));
        }
    }
    violations.extend(unsafe_files(sources));
    violations
}

/// Unsafe code stands in one file per crate at most.
fn unsafe_files(sources: &BTreeMap<String, Source>) -> Vec<String> {
    let mut crates: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, source) in sources {
        if source.paths.iter().any(|(path, _)| path == "unsafe") {
            crates.entry(file.split('/').next().unwrap_or(file)).or_default().push(file);
        }
    }
    let many = crates.into_iter().filter(|(_, files)| files.len() > 1);
    many.map(|(name, files)| format!("{name}: unsafe code in more than one file: {}", files.join(", "))).collect()
}

impl Rule {
    fn holds_for(&self, file: &str) -> bool {
        let within = |folders: &[&str]| folders.iter().any(|folder| is_below(file, folder, "/"));
        within(self.applies) && !within(self.except)
    }
}

/// Returns whether `path` is `parent` or below it.
fn is_below(path: &str, parent: &str, separator: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with(separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(file: &str, text: &str) -> Vec<String> {
        check(&BTreeMap::from([(file.to_owned(), Source::parse(text))]))
    }

    #[test]
    fn each_rule_finds_what_breaks_it_and_spares_its_exceptions() {
        let cases = [
            ("host/src/fetch/mod.rs", "fn f() { println!() }", "host/src/cli/printer.rs"),
            ("builder-vm/src/console.rs", "use std::io; fn f() { io::stderr(); }", "host/src/cli/printer.rs"),
            ("host/src/store/mod.rs", "use reqwest::Client;", "host/src/fetch/client.rs"),
            ("host/src/build/mod.rs", "#[expect(clippy::disallowed_methods, reason = \"x\")] fn f() {}", "host/src/exec.rs"),
            ("host/src/solve/engine.rs", "use std::fs;", "host/src/store/mod.rs"),
            ("host/src/solve/engine.rs", "use crate::{digest, store::Store};", "host/src/build/mod.rs"),
            ("host/src/report/spdx.rs", "use crate::clock;", "host/src/store/mod.rs"),
            ("host/src/build/mod.rs", "use crate::cli::ExitCode;", "host/src/cli/mod.rs"),
            ("config/src/lib.rs", "use oic_protocol::Hello;", "host/src/compose/mod.rs"),
            ("guest-agent/src/lib.rs", "use oic_config::spec::Arch;", "host/src/lock/mod.rs"),
            ("xtask/src/main.rs", "#[allow(dead_code)] fn f() {}", "tests/tests/cli/main.rs"),
        ];
        for (guilty, text, innocent) in cases {
            assert_eq!(check_one(guilty, text).len(), 1, "{guilty}: {text}: {:?}", check_one(guilty, text));
            assert_eq!(check_one(innocent, text), [] as [String; 0], "{innocent}: {text}");
        }
    }

    #[test]
    fn names_that_only_begin_alike_are_others() {
        assert_eq!(check_one("config/src/lib.rs", "use oic_configuration::x; fn f() { oic_other::g() }"), [] as [String; 0]);
        assert_eq!(check_one("host/src/solver.rs", "use std::fs;"), [] as [String; 0]);
    }

    #[test]
    fn long_files_and_scattered_unsafe_code() {
        assert_eq!(check_one("host/src/a.rs", &"\n".repeat(MAX_LINES + 1)).len(), 1);
        let unsafe_code = Source::parse("fn f() { unsafe { g() } }");
        let file = |name: &str| (name.to_owned(), unsafe_code.clone());
        assert_eq!(check(&BTreeMap::from([file("host/src/a.rs"), file("guest-agent/src/sys.rs")])), [] as [String; 0]);
        assert_eq!(check(&BTreeMap::from([file("host/src/a.rs"), file("host/src/b.rs")])).len(), 1);
    }
}
