//! What may differ, and why: each rule is a line of `docs/installed-state.md`.

use super::{Aspect, Difference};

/// A justified kind of difference.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Paths: `*` stands for anything within a name, `**` for anything.
    pub path: &'static str,
    /// What about them; empty: everything.
    pub aspects: &'static [Aspect],
    /// Text that the difference must contain; empty: any.
    pub detail: &'static str,
    /// Why it is right.
    pub reason: &'static str,
}

impl Rule {
    /// Tells whether the rule is about a difference.
    #[must_use]
    pub fn covers(&self, difference: &Difference) -> bool {
        (self.aspects.is_empty() || self.aspects.contains(&difference.aspect))
            && difference.detail.contains(self.detail)
            && matches(self.path.as_bytes(), difference.path.as_bytes())
    }
}

/// Every rule.
pub const RULES: &[Rule] = &[];

/// Matches a path with a pattern.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=path.len()).any(|skip| matches(rest, &path[skip..])),
        [b'*', rest @ ..] => {
            let name = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
            (0..=name).any(|skip| matches(rest, &path[skip..]))
        }
        [byte, rest @ ..] => path.first() == Some(byte) && matches(rest, &path[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, fits) in [
            ("/etc/fstab", "/etc/fstab", true),
            ("/etc/fstab", "/etc/fstab2", false),
            ("/boot/initrd.img-*", "/boot/initrd.img-6.1", true),
            ("/boot/*", "/boot/efi/x", false),
            ("/boot/**", "/boot/efi/x", true),
            ("**.pyc", "/usr/lib/a.pyc", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), fits, "{pattern} {path}");
        }
    }
}
