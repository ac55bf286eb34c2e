//! A signed distribution of RPM packages, made on this machine out of Debian's: what tests of RPM images build, since no real one
//! can be had everywhere.
//!
//! ```text
//! tests/rpm-testbed/deb2rpmrepo.py ──► FOLDER/repository/ARCH     packages, signed metadata, the key
//! tests/rpm-testbed/osv            ──► SANDBOX/conf/osv/testos    what oic has to know of it
//! config/osv/azure-linux/azl3      ──► SANDBOX/conf/osv/azure-linux/azl3, bound to the test's repository and key
//! ```
//!
//! Beside it are its updates (`FOLDER/repository/ARCH-updates`), signed by the same key, and that key (`ARCH.gnupg`).
//!
//! A repository is kept for later runs as long as nothing of what it is made by has changed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use oic::digest::Sha256Digest;

use crate::{Sandbox, require::skip};

/// The programs that make the repository, each with Debian's package for it.
const PROGRAMS: [(&str, &str); 7] = [
    ("python3", "python3"),
    ("rpmbuild", "rpm"),
    ("rpmsign", "rpm"),
    ("createrepo_c", "createrepo-c"),
    ("gpg", "gnupg"),
    ("gpgv", "gpgv"),
    ("dpkg-deb", "dpkg"),
];
/// The keys of Debian's archive, which its packages are checked with.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where programs are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The file that a repository has when it is complete.
const READY: &str = "ready";

/// Where its parts are in the source tree.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rpm-testbed");

/// One repository is made at a time.
static MAKING: Mutex<()> = Mutex::new(());

/// The repositories of the distribution.
#[derive(Debug, Clone)]
pub struct TestOs {
    repositories: PathBuf,
    arch: String,
}

impl TestOs {
    /// Returns the distribution for an architecture with its repository below `folder`, made now if it is not there; none, said
    /// aloud, when this machine lacks something that makes it.
    ///
    /// # Panics
    /// Panics when it cannot be made although everything is there.
    #[must_use]
    pub fn obtain(test: &str, arch: &str, folder: &Path) -> Option<Self> {
        let _turn = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let sources = ["deb2rpmrepo.py", "testos.toml"].map(|name| fs::read(Path::new(SOURCES).join(name)).expect("the sources have it"));
        let version = Sha256Digest::of(&sources.concat()).to_string();
        let place = folder.join("rpm-testbed");
        let repositories = place.join(&version[..16]);
        let repository = repositories.join(arch);
        if repository.join(READY).exists() {
            return Some(Self { repositories, arch: arch.to_owned() });
        }
        if let Some(lack) = lack() {
            skip(test, &lack);
            return None;
        }
        for entry in fs::read_dir(&place).into_iter().flatten().flatten().filter(|entry| entry.path() != repositories) {
            // Of earlier versions; what cannot be removed only takes room.
            drop(entry.file_name().len().eq(&16).then(|| fs::remove_dir_all(entry.path())));
        }
        make(&repository, arch, &place.join("cache"));
        Some(Self { repositories, arch: arch.to_owned() })
    }

    /// Returns the folder of the repository.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.repositories.join(&self.arch)
    }

    /// Returns the folder of the repository of updates.
    #[must_use]
    pub fn updates(&self) -> PathBuf {
        self.repositories.join(format!("{}-updates", self.arch))
    }

    /// Makes broken variants of the repository below a folder: see `mutate.sh` for their names.
    ///
    /// # Panics
    /// Panics when they cannot be made.
    #[expect(clippy::disallowed_methods, reason = "the variants are made by a program of the tests")]
    pub fn break_into(&self, folder: &Path) {
        // Beside a short path: gpg's agent has a socket in its folder.
        let scratch = tempfile::Builder::new().prefix("oic-key-").tempdir().expect("a temporary folder can be made");
        let key = scratch.path().join("gnupg");
        copy_key(&self.repository().with_extension("gnupg"), &key);
        let output = Command::new("bash")
            .arg(Path::new(SOURCES).join("mutate.sh"))
            .args([&self.repository(), &key, folder])
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", scratch.path())
            .output()
            .expect("bash starts");
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }

    /// Teaches the `oic` of a sandbox the distribution.
    ///
    /// # Panics
    /// Panics when the sandbox cannot be written.
    pub fn install(&self, sandbox: &Sandbox) {
        self.install_as(sandbox, Path::new(SOURCES), "testos/testos1", "REPOSITORY/{arch}", "testos.asc");
    }

    /// Teaches the `oic` of a sandbox Azure Linux 3 as the program knows it, but for where its packages are and who signs them.
    ///
    /// # Panics
    /// Panics when the sandbox cannot be written.
    pub fn install_azl3(&self, sandbox: &Sandbox) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let url = "https://packages.microsoft.com/azurelinux/3.0/prod/base/{arch}";
        self.install_as(sandbox, &config, "azure-linux/azl3", url, "MICROSOFT-RPM-GPG-KEY.asc");
    }

    fn install_as(&self, sandbox: &Sandbox, source: &Path, name: &str, url: &str, key: &str) {
        let (source, target) = (source.join("osv").join(name), format!("conf/osv/{name}"));
        let facts = fs::read_to_string(source.join("provider.yml")).expect("a distribution has facts");
        assert!(facts.contains(url) && facts.contains(key), "{name} has another repository or another key");
        let own = format!("file://{}/{{arch}}", self.repositories.display());
        sandbox.write(&format!("{target}/provider.yml"), &facts.replace(url, &own).replace(key, "own.asc"));
        let own = fs::read_to_string(self.repository().join("RPM-GPG-KEY-testos")).expect("a repository has its key");
        sandbox.write(&format!("{target}/keys/own.asc"), &own);
        let defaults = "imageconfigs/defaultconfigs";
        for entry in fs::read_dir(source.join(defaults)).expect("a distribution has defaults") {
            let entry = entry.expect("a folder can be read");
            let text = fs::read_to_string(entry.path()).expect("a file can be read");
            sandbox.write(&format!("{target}/{defaults}/{}", entry.file_name().to_string_lossy()), &text);
        }
        sandbox.write("oic.yml", "config_dir: conf\n");
    }
}

/// Builds a package without a signature into a folder. `body` is what comes after the tags that all packages have.
///
/// # Panics
/// Panics when it cannot be built.
#[expect(clippy::disallowed_methods, reason = "packages are built by rpm itself")]
pub fn build_rpm(folder: &Path, name: &str, body: &str) {
    let scratch = tempfile::Builder::new().prefix("oic-rpmbuild-").tempdir().expect("a temporary folder can be made");
    let spec = scratch.path().join(format!("{name}.spec"));
    let tags = "Version: 1\nRelease: 1\nSummary: A package of a test\nLicense: MIT\nBuildArch: noarch";
    fs::write(&spec, format!("Name: {name}\n{tags}\n{body}")).expect("a file can be written");
    let output = Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--define"])
        .arg(format!("_topdir {}", scratch.path().display()))
        .arg("--define")
        .arg(format!("_rpmdir {}", folder.display()))
        .arg(spec)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", scratch.path())
        .output()
        .expect("rpmbuild starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns what this machine lacks.
fn lack() -> Option<String> {
    let is_there = |program: &str| PATH.split(':').any(|folder| Path::new(folder).join(program).exists());
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        return Some(format!("the test distribution cannot be made; as root: apt-get install {}", missing.join(" ")));
    }
    (!Path::new(DEBIAN_KEYS).exists()).then(|| format!("{DEBIAN_KEYS} is not there: apt-get install debian-archive-keyring"))
}

/// Makes a repository.
#[expect(clippy::disallowed_methods, reason = "the repository is made by a program of the tests")]
fn make(repository: &Path, arch: &str, cache: &Path) {
    fs::create_dir_all(repository.parent().expect("it has a folder")).expect("folders can be made");
    // Beside a short path: gpg's agent has a socket in its folder.
    let scratch = tempfile::Builder::new().prefix("oic-key-").tempdir().expect("a temporary folder can be made");
    let mut child = Command::new("python3")
        .arg(Path::new(SOURCES).join("deb2rpmrepo.py"))
        .args(["--arch", arch, "--config"])
        .arg(Path::new(SOURCES).join("testos.toml"))
        .arg("--out")
        .arg(repository)
        .arg("--cache")
        .arg(cache)
        .arg("--gnupghome")
        .arg(scratch.path().join("gnupg"))
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| name.starts_with("OIC_MIRROR_") || name == "TMPDIR"))
        .env("PATH", PATH)
        .env("HOME", scratch.path())
        .arg("--while-stdin")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    // It ends when this end does, which the kernel closes whatever becomes of this program.
    let end = child.stdin.take();
    let output = child.wait_with_output().expect("python3 can be waited for");
    drop(end);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "the test distribution cannot be made:\n{}{}", text(&output.stdout), text(&output.stderr));
    copy_key(&scratch.path().join("gnupg"), &repository.with_extension("gnupg"));
    fs::write(repository.join(READY), "").expect("a file can be written");
}

/// Copies a folder of gpg's without its sockets.
fn copy_key(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folders can be made");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).expect("modes can be set");
    for entry in fs::read_dir(from).expect("gpg has a folder") {
        let entry = entry.expect("a folder can be read");
        let kind = entry.file_type().expect("a file has a type");
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_key(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the program of the tests is what is tested")]
    fn the_generator_ends_with_the_test_that_has_started_it() {
        if let Some(lack) = lack() {
            return skip("the_generator_ends_with_the_test_that_has_started_it", &lack);
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut child = Command::new("python3")
            .arg(Path::new(SOURCES).join("deb2rpmrepo.py"))
            .args(["--while-stdin", "--arch", "x86_64", "--config"])
            .arg(Path::new(SOURCES).join("testos.toml"))
            .arg("--out")
            .arg(folder.path().join("out"))
            .arg("--cache")
            .arg(folder.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts");
        drop(child.stdin.take());
        let ended = child.wait().expect("python3 can be waited for");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9), "{ended}");
    }
}
