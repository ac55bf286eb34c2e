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
pub const RULES: &[Rule] = &[
    Rule { path: "/boot/efi", aspects: &[Aspect::OnlyOurs], detail: "", reason: "the mount point of the image's ESP" },
    Rule {
        path: "/dev/**",
        aspects: &[Aspect::OnlyTheirs],
        detail: "",
        reason: "the kernel makes devices when it boots; `/dev` of an image is empty",
    },
    Rule { path: "/run/**", aspects: &[Aspect::OnlyTheirs], detail: "", reason: "memory at run time; `/run` of an image is empty" },
    Rule { path: "/etc/.pwd.lock", aspects: &[Aspect::OnlyTheirs], detail: "", reason: "a lock that scripts leave behind" },
    Rule { path: "/etc/*-", aspects: &[Aspect::OnlyTheirs], detail: "", reason: "backups that account tools leave behind" },
    Rule {
        path: "/etc/.resolv.conf.systemd-resolved.bak",
        aspects: &[Aspect::OnlyTheirs],
        detail: "",
        reason: "the build machine's resolver, which mmdebstrap lends to scripts; the guest has none to lend",
    },
    Rule {
        path: "/etc/apt/sources.list",
        aspects: &[Aspect::OnlyTheirs],
        detail: "",
        reason: "the same archives, as mmdebstrap was given them",
    },
    Rule {
        path: "/etc/apt/sources.list.d/*.sources",
        aspects: &[Aspect::OnlyOurs],
        detail: "",
        reason: "the same archives, in the format that Debian 13 recommends, with the distribution's URLs and keys",
    },
    Rule { path: "/etc/fstab", aspects: &[Aspect::Content], detail: "", reason: "the image has partitions" },
    Rule { path: "/etc/hostname", aspects: &[], detail: "", reason: "the template's name; mmdebstrap copies the build machine's" },
    Rule { path: "/etc/hosts", aspects: &[], detail: "", reason: "the template's name" },
    Rule {
        path: "/etc/kernel/cmdline",
        aspects: &[Aspect::OnlyOurs],
        detail: "",
        reason: "the template's kernel command line, for `kernel-install`",
    },
    Rule { path: "/etc/machine-id", aspects: &[Aspect::Mode], detail: "", reason: "empty in both, with the mode that systemd gives it" },
    Rule {
        path: "/etc/systemd/network/80-dhcp.network",
        aspects: &[Aspect::OnlyOurs],
        detail: "",
        reason: "an image without a network of its own in the template asks DHCP for one",
    },
    Rule {
        path: "/etc/systemd/system/**network**",
        aspects: &[Aspect::OnlyOurs],
        detail: "",
        reason: "`systemd-networkd`, which the distribution's presets leave off, is on for that",
    },
    Rule {
        path: "/etc/systemd/system/sockets.target.wants",
        aspects: &[Aspect::OnlyOurs],
        detail: "directory",
        reason: "the folder for the socket of `systemd-networkd`",
    },
    Rule { path: "/var/cache/apt/archives/lock", aspects: &[Aspect::OnlyTheirs], detail: "", reason: "apt has not run in the image" },
    Rule {
        path: "/var/cache/apt/archives/partial",
        aspects: &[Aspect::Mode, Aspect::Owner],
        detail: "",
        reason: "as the package has it; apt gives it to its user when it first runs",
    },
    Rule { path: "/var/lib/apt/lists/lock", aspects: &[Aspect::OnlyTheirs], detail: "", reason: "apt has not run in the image" },
    Rule {
        path: "/var/lib/apt/lists/partial",
        aspects: &[Aspect::Mode, Aspect::Owner],
        detail: "",
        reason: "as the package has it; apt gives it to its user when it first runs",
    },
    Rule { path: "/var/cache/debconf/*-old", aspects: &[Aspect::OnlyTheirs], detail: "", reason: "backups that debconf leaves behind" },
    Rule {
        path: "/var/cache/debconf/templates.dat",
        aspects: &[Aspect::Content],
        detail: "",
        reason: "a question that several packages share has the translations of the one configured last; the order is dpkg's in one run here, apt's in several there",
    },
    Rule {
        path: "/var/cache/ldconfig",
        aspects: &[Aspect::OnlyTheirs],
        detail: "",
        reason: "a cache that `ldconfig` makes anew, with times of the build machine's files in it",
    },
    Rule {
        path: "/var/lib/dpkg/available",
        aspects: &[Aspect::OnlyOurs],
        detail: "",
        reason: "empty, as `dpkg --unpack` and debootstrap leave it; apt does without it",
    },
    Rule { path: "/var/lib/dpkg/*-old", aspects: &[Aspect::OnlyTheirs], detail: "", reason: "backups that dpkg leaves behind" },
    Rule {
        path: "/etc/ssh/ssh_host_*",
        aspects: &[Aspect::OnlyTheirs],
        detail: "",
        reason: "each machine makes its own keys when it first boots; an image must not have any",
    },
];

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
