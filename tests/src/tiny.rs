//! A distribution that is as small as one can be and still be built: what tests of faults build, again and again.
//!
//! Its packages are Debian's, its data is written into the sandbox, and the cache outlives the run, so that packages are
//! downloaded once.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use oic_config::spec::Arch;

use crate::{Oic, Sandbox, require::skip};

/// What every template of it begins with, and what belongs to its `systemConfig` may follow.
const TEMPLATE: &str = "\
image: {name: tiny, version: 1.0.0}
target: {os: test, dist: tiny, arch: ARCH, imageType: raw}
";

/// A package repository beside Debian's.
#[derive(Debug, Clone, Copy)]
pub struct OwnRepository<'a> {
    /// Its URL.
    pub url: &'a str,
    /// The key that signs it.
    pub key: &'a [u8],
}

/// A sandbox with the distribution and a template in it.
#[derive(Debug)]
pub struct Tiny {
    sandbox: Sandbox,
    shared: PathBuf,
}

impl Tiny {
    /// Makes one. `own` is its only repository, unless Debian's are there, too.
    ///
    /// # Panics
    /// Panics when the sandbox cannot be written.
    #[must_use]
    pub fn new(has_debian: bool, own: Option<OwnRepository<'_>>, disk: &str, system: &str) -> Self {
        let sandbox = Sandbox::new();
        let arch = Arch::host();
        let folder = "conf/osv/test/tiny";
        let kernel = if !has_debian {
            "linux".to_owned()
        } else if arch == Arch::Riscv64 {
            "linux-image-riscv64".to_owned()
        } else {
            format!("linux-image-cloud-{}", arch.deb_name())
        };
        let mut provider = format!(
            "displayName: Tiny\ncodename: trixie\necosystem: deb\nmirrorKey: debian\npasswordHash: yescrypt\ninitramfs: initramfs-tools\n\
             sudoGroup: sudo\narchitectures:\n  {arch}: {{kernelPackages: [{kernel}], grubPackages: [], systemdBootPackages: []}}\nrepositories:\n"
        );
        sandbox.write(&format!("{folder}/keys/none"), "");
        if has_debian {
            let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/osv/debian/debian13/keys");
            let mut names = Vec::new();
            for entry in fs::read_dir(keys).expect("the data of Debian 13 has keys") {
                let entry = entry.expect("a folder can be read");
                names.push(entry.file_name().to_string_lossy().into_owned());
                fs::copy(entry.path(), sandbox.cwd().join(folder).join("keys").join(entry.file_name())).expect("a key can be copied");
            }
            provider += &format!(
                "  - {{id: debian, url: 'https://mirrors.kernel.org/debian', suite: trixie, components: [main], keys: [{}], mirrorKey: debian}}\n",
                names.join(", ")
            );
        }
        if let Some(own) = own {
            fs::write(sandbox.cwd().join(folder).join("keys/own.asc"), own.key).expect("a key can be written");
            provider += &format!("  - {{id: own, url: '{}', suite: test, components: [main], keys: [own.asc]}}\n", own.url);
        }
        sandbox.write(&format!("{folder}/provider.yml"), &provider);
        let packages = if has_debian { "  packages: [systemd-boot-efi]\n" } else { "" };
        sandbox.write(
            &format!("{folder}/imageconfigs/defaultconfigs/default-raw-{arch}.yml"),
            &format!(
                "disk:\n  name: tiny\n  size: auto\n  partitionTableType: gpt\n  artifacts: [{{type: raw}}]\n  partitions:\n    \
                 - {{id: esp, type: esp, size: 128MiB, fsType: fat32, mountPoint: /boot/efi}}\n    \
                 - {{id: rootfs, type: linux-root, fsType: ext4, mountPoint: /}}\nsystemConfig:\n  name: tiny\n{packages}"
            ),
        );
        sandbox.write("oic.yml", "config_dir: conf\n");
        sandbox.write("template.yml", &format!("{}{disk}systemConfig:\n  name: tiny\n{system}", TEMPLATE.replace("ARCH", arch.name())));
        let user = user_id();
        Self { sandbox, shared: std::env::temp_dir().join(format!("oic-test-{user}")) }
    }

    /// Returns the sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Returns a command line with the cache that all tests share.
    #[must_use]
    pub fn oic(&self, arguments: &[&str]) -> Oic<'_> {
        self.sandbox.oic(arguments).env("OIC_CACHE_DIR", self.cache())
    }

    /// Returns the cache that all tests share.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.shared.join("cache")
    }

    /// Tells whether images can be built here: Debian's mirror can be reached and there is an agent. Says aloud why not.
    #[must_use]
    pub fn is_possible(test: &str) -> bool {
        static LACK: OnceLock<Option<String>> = OnceLock::new();
        let lack = LACK.get_or_init(|| {
            let arch = Arch::host().name();
            if !oic::build::agents::carried().contains(&arch) {
                return Some(format!("no guest agent for {arch} is embedded: run `cargo xtask agents` first"));
            }
            let output = Self::new(true, None, "", "").oic(&["lock", "--progress", "none", "template.yml"]).run();
            (output.code == Some(5)).then(|| format!("packages cannot be had: {}", output.stderr))
        });
        if let Some(lack) = lack {
            skip(test, lack);
        }
        lack.is_none()
    }
}

/// Returns a number that differs between users.
fn user_id() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("there is a /proc"))
}
