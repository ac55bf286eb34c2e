//! Programs of the target that the agent plays for a while: bind mounts of the agent's own file, gone with the guard.
//!
//! Nothing is written into the target for it, save an empty file where a program does not exist and must seem to
//! (`policy-rc.d`); that is removed again.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use oic_protocol::AgentError;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::{
    applet,
    exec::SELF,
    failure,
    rootfs::{Ownership, Rootfs},
    shortcut::Shortened,
    target::MOUNT_POINT,
};

/// The folders of programs, in the order in which names are looked for.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Programs stood in for until this is dropped.
#[derive(Debug)]
pub struct StandIns<'r> {
    rootfs: &'r Rootfs,
    covered: Vec<String>,
    made: Vec<String>,
    real: Vec<PathBuf>,
}

impl<'r> StandIns<'r> {
    /// Covers each program that exists in the target.
    ///
    /// # Errors
    /// Fails when a mount is refused.
    pub fn cover(rootfs: &'r Rootfs, programs: &[&str]) -> Result<Self, AgentError> {
        let mut stand_ins = Self { rootfs, covered: Vec::new(), made: Vec::new(), real: Vec::new() };
        for program in programs {
            for path in locate(rootfs, program) {
                stand_ins.put_over(&path)?;
            }
        }
        Ok(stand_ins)
    }

    /// Covers more programs, leaving the real ones where the applet finds them. A name that leads to a program with other names, too, as
    /// those of busybox do, is left alone: all of them would be covered.
    ///
    /// # Errors
    /// Fails when a mount is refused.
    pub fn also_keeping_real(mut self, programs: &[&str]) -> Result<Self, AgentError> {
        let own = |path: &String| is_one_of(self.rootfs, path, programs);
        let found: Vec<(&str, Vec<String>)> =
            programs.iter().map(|program| (*program, locate(self.rootfs, program).into_iter().filter(own).collect())).collect();
        // Kept before anything is covered: two of the names may lead to one file.
        for (program, paths) in &found {
            if let Some(path) = paths.first() {
                self.keep_real(program, path)?;
            }
        }
        for path in found.iter().flat_map(|(_, paths)| paths) {
            self.put_over(path)?;
        }
        Ok(self)
    }

    /// Covers a program that may not exist: for as long as it is covered it does.
    ///
    /// # Errors
    /// Fails when the file cannot be made or the mount is refused.
    pub fn also(mut self, path: &str) -> Result<Self, AgentError> {
        if !self.rootfs.is_named(path) {
            self.rootfs.write_file(path, 0o755, Ownership::ROOT, &mut io::empty())?;
            self.made.push(path.to_owned());
        }
        self.put_over(path)?;
        Ok(self)
    }

    /// Covers a script with a copy of itself whose lines are shorter, if it has such lines.
    ///
    /// # Errors
    /// Fails when the script cannot be read, the copy cannot be written or the mount is refused.
    pub fn also_shortened(self, script: &Shortened) -> Result<Self, AgentError> {
        self.also_rewritten(script.path, |text| script.of(text))
    }

    /// Covers a script with what `rewrite` makes of it, if that is anything.
    ///
    /// # Errors
    /// Fails when the script cannot be read, the copy cannot be written or the mount is refused.
    pub fn also_rewritten(mut self, path: &str, rewrite: impl FnOnce(&str) -> Option<String>) -> Result<Self, AgentError> {
        let Some(facts) = self.rootfs.stat(path) else { return Ok(self) };
        let text = self.rootfs.read(path)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text.and_then(|text| rewrite(&text)) else { return Ok(self) };
        // Below /run, which is a tmpfs of ours with folders that only we made.
        let folder = Path::new(MOUNT_POINT).join(applet::SHORTENED.trim_start_matches('/'));
        let copy = folder.join(path.trim_start_matches('/').replace('/', "-"));
        let place = self.rootfs.handle(path)?;
        let mode = fs::Permissions::from_mode(facts.st_mode & 0o7777);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&copy, text))
            .and_then(|()| fs::set_permissions(&copy, mode))
            // dracut gives what it makes the time of one of its scripts.
            .and_then(|()| fs::metadata(place.path())?.modified())
            .and_then(|time| File::options().write(true).open(&copy)?.set_modified(time))
            .and_then(|()| Ok(mount_bind(&copy, place.path())?))
            .map_err(|error| failure::system("shorten", path, error))?;
        self.covered.push(path.to_owned());
        Ok(self)
    }

    /// Mounts the agent over a program.
    fn put_over(&mut self, path: &str) -> Result<(), AgentError> {
        let place = self.rootfs.handle(path)?;
        mount_bind(SELF, place.path()).map_err(|error| failure::system("stand in for", path, error))?;
        self.covered.push(path.to_owned());
        Ok(())
    }

    /// Mounts a program under its name in [`applet::REAL_PROGRAMS`].
    fn keep_real(&mut self, program: &str, path: &str) -> Result<(), AgentError> {
        // Below /run, which is a tmpfs of ours with folders that only we made.
        let folder = Path::new(MOUNT_POINT).join(applet::REAL_PROGRAMS.trim_start_matches('/'));
        let real = folder.join(program);
        let source = self.rootfs.handle(path)?;
        let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&real, "")).and_then(|()| Ok(mount_bind(source.path(), &real)?));
        kept.map_err(|error| failure::system("keep", path, error))?;
        self.real.push(real);
        Ok(())
    }
}

impl Drop for StandIns<'_> {
    fn drop(&mut self) {
        // Errors have no receiver here. A mount that stays is taken down with the target; the sealing step and the host see
        // an empty file that stays.
        for path in self.covered.iter().rev() {
            if let Ok(place) = self.rootfs.handle(path) {
                let _ = unmount(place.path(), UnmountFlags::DETACH);
            }
        }
        for path in &self.made {
            let _ = self.rootfs.remove(path);
        }
        for path in self.real.iter().rev() {
            let _ = unmount(path, UnmountFlags::DETACH);
        }
    }
}

/// Tells whether the file that a path leads to has one of these names.
fn is_one_of(rootfs: &Rootfs, path: &str, programs: &[&str]) -> bool {
    let file = rootfs.handle(path).ok().and_then(|place| fs::read_link(place.path()).ok());
    file.as_deref().and_then(Path::file_name).is_some_and(|name| programs.iter().any(|program| name == *program))
}

/// Returns the paths under which a program is found, each file once: most targets have `/bin` as a link to `/usr/bin`.
fn locate(rootfs: &Rootfs, program: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut paths = Vec::new();
    for folder in FOLDERS {
        let path = format!("{folder}/{program}");
        let Some(identity) = rootfs.handle(&path).ok().and_then(|place| place.identity()) else { continue };
        if !seen.contains(&identity) {
            seen.push(identity);
            paths.push(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_program_is_found_once_however_many_links_lead_to_it() {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["usr/bin", "usr/sbin", "sbin"] {
            fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        symlink("usr/bin", scratch.path().join("bin")).unwrap();
        fs::write(scratch.path().join("usr/bin/zstd"), "").unwrap();
        fs::write(scratch.path().join("sbin/start-stop-daemon"), "").unwrap();
        let rootfs = Rootfs::open(scratch.path()).unwrap();
        assert_eq!(locate(&rootfs, "zstd"), ["/usr/bin/zstd"]);
        assert_eq!(locate(&rootfs, "start-stop-daemon"), ["/sbin/start-stop-daemon"]);
        assert!(locate(&rootfs, "lz4").is_empty());
    }

    #[test]
    fn a_program_of_many_names_is_not_covered() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("usr/bin");
        fs::create_dir_all(&folder).unwrap();
        for name in ["busybox", "xz", "cp"] {
            fs::write(folder.join(name), "").unwrap();
        }
        symlink("busybox", folder.join("cpio")).unwrap();
        symlink("xz", folder.join("lzma")).unwrap();
        let rootfs = Rootfs::open(scratch.path()).unwrap();
        let covered = |name: &str| is_one_of(&rootfs, &format!("/usr/bin/{name}"), &["cp", "cpio", "lzma", "xz"]);
        assert!(covered("cp") && covered("xz") && covered("lzma"));
        assert!(!covered("cpio") && !covered("missing"));
    }
}
