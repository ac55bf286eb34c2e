//! Which packages need the guest before they are configured.

use std::collections::BTreeSet;

use oic_protocol::ScriptedPackage;

use super::{MergeError, Package, order};

/// Returns the packages that dpkg must unpack itself: they divert files of others, and dpkg does not need them to run.
pub(super) fn guest_unpack(packages: &[Package]) -> Result<BTreeSet<usize>, MergeError> {
    let diverting: BTreeSet<usize> =
        (0..packages.len()).filter(|index| packages[*index].input.deb.control_file("preinst").is_some_and(moves_files)).collect();
    if diverting.is_empty() {
        return Ok(diverting);
    }
    // What dpkg and the scripts it runs rely on: the essential packages, dpkg, and everything below them.
    let dependencies = order::dependencies(packages, &["Pre-Depends", "Depends"])?;
    let mut pending: Vec<usize> =
        (0..packages.len()).filter(|index| packages[*index].is_essential || packages[*index].is_called("dpkg")).collect();
    let mut needed = BTreeSet::new();
    while let Some(index) = pending.pop() {
        if needed.insert(index) {
            pending.extend(&dependencies[index]);
        }
    }
    Ok(&diverting - &needed)
}

/// Returns the packages of the tree with a `preinst`, in the order of unpacking.
pub(super) fn preinst(packages: &[Package], native: &[usize]) -> Result<Vec<ScriptedPackage>, MergeError> {
    let before = order::dependencies(packages, &["Pre-Depends"])?;
    let scripted = native.iter().filter(|index| packages[**index].input.deb.control_file("preinst").is_some());
    let lower = |index: &usize| ScriptedPackage {
        name: packages[*index].database_name(),
        architecture: packages[*index].architecture.clone(),
        after: before[*index].iter().map(|index| packages[*index].database_name()).collect(),
    };
    Ok(scripted.map(lower).collect())
}

/// Returns whether a script calls `dpkg-divert` in a way that moves files: not only to ask, and not with `--no-rename`.
fn moves_files(script: &[u8]) -> bool {
    let text = String::from_utf8_lossy(script);
    let mut line = String::new();
    for part in text.lines() {
        if part.trim_start().starts_with('#') {
            continue;
        }
        if let Some(continued) = part.strip_suffix('\\') {
            line.push_str(continued);
            continue;
        }
        line.push_str(part);
        let harmless = ["--no-rename", "--truename", "--list", "--listpackage", "--help"];
        let calls = line.matches("dpkg-divert").count();
        let words = line.split(|c: char| c.is_whitespace() || "\"'()`;".contains(c));
        if words.filter(|word| harmless.contains(word)).count() < calls {
            return true;
        }
        line.clear();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::moves_files;

    #[test]
    fn only_diversions_that_move_files_count() {
        for (script, moves) in [
            ("#!/bin/sh\ndpkg-divert --package a --rename --divert /b.x --add /b\n", true),
            ("dpkg-divert --package a \\\n  --no-rename --divert /b.x \\\n  /b\n", false),
            ("t=$(dpkg-divert --truename /bin/sh)\n", false),
            ("if [ \"$(dpkg-divert --listpackage /x)\" = a ]; then dpkg-divert --add /x; fi\n", true),
            ("  # dpkg-divert --rename --add /x\n", false),
            ("echo fine\n", false),
        ] {
            assert_eq!(moves_files(script.as_bytes()), moves, "{script}");
        }
    }
}
