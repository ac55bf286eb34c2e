//! The root filesystem being built, mounted with what programs expect around them.
//!
//! ```text
//! /target            /dev/vda, ext4
//! ├── proc, sys      new instances
//! ├── dev            tmpfs with the dozen nodes that programs need, pts, shm
//! ├── run, tmp       tmpfs: what programs leave there ends with the session
//! └── run/oic/store  the package store, read-only, while packages are installed
//! /store             the same share in the agent's own tree
//! /tools             /dev/vdb, ext4, read-only: the installer of packages that need one, with /target and /store inside
//! ```
//!
//! Folders that serve as mount points are made when the target lacks them. [`Target::unmount`] takes down whatever is
//! mounted at or below `/target` by then, the mounts of hooks included.

use std::{ffi::CString, fs, io, path::Path, time::Duration};

use oic_protocol::{AgentError, ComposePlan};
use rustix::{
    fs::{CWD, FileType, Mode},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount},
};

use crate::{failure, rootfs::Rootfs, sys};

/// Where the target is in the agent's own tree.
pub const MOUNT_POINT: &str = "/target";
/// Where the store is in the agent's own tree.
pub const STORE: &str = "/store";
/// Where the tools disk is in the agent's own tree.
pub const TOOLS: &str = "/tools";
/// Where programs of the target see the store.
pub const STORE_INSIDE: &str = "/run/oic/store";

const DISK: &str = "/dev/vda";
const TOOLS_DISK: &str = "/dev/vdb";
/// The disk is scratch until the session ends well, and the host keeps its own cache of it: nothing in here is worth
/// waiting for a write.
const DISK_OPTIONS: &str = "barrier=0,noauto_da_alloc,noinit_itable";

/// The mounted target.
#[derive(Debug)]
pub struct Target {
    /// Its files.
    pub rootfs: Rootfs,
    /// The store, if the plan has one.
    pub store: Option<Rootfs>,
}

impl Target {
    /// Mounts everything that the plan needs.
    ///
    /// # Errors
    /// Fails with the mount that the kernel refused.
    pub fn mount(plan: &ComposePlan) -> Result<Self, AgentError> {
        keep_dirty_pages();
        mount_at(DISK, Path::new(MOUNT_POINT), "ext4", MountFlags::NOATIME, DISK_OPTIONS)?;
        let rootfs = Rootfs::open(Path::new(MOUNT_POINT))?;
        mount_inside(&rootfs, "proc", "/proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, "")?;
        mount_inside(&rootfs, "sysfs", "/sys", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, "")?;
        mount_inside(&rootfs, "tmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, "mode=0755,size=64k,nr_inodes=256")?;
        mount_inside(&rootfs, "tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, "mode=0755")?;
        mount_inside(&rootfs, "tmpfs", "/tmp", MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")?;
        fill_dev(&rootfs)?;
        fill_run()?;
        let store = plan.store_tag.as_deref().map(mount_store).transpose()?;
        Ok(Self { rootfs, store })
    }

    /// Unmounts everything at and below the target and the store, and waits until the disk has it all.
    ///
    /// # Errors
    /// Fails with a mount that stays busy.
    pub fn unmount(self) -> Result<(), AgentError> {
        drop(self);
        for point in mounts_below(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()) {
            unmount_patiently(&point)?;
        }
        rustix::fs::sync();
        Ok(())
    }
}

/// The mounted tools disk, for as long as it is needed.
#[derive(Debug)]
pub struct ToolsDisk(());

impl ToolsDisk {
    /// Mounts the disk, and the target and the store inside it.
    ///
    /// # Errors
    /// Fails with the mount that the kernel refused.
    pub fn mount() -> Result<Self, AgentError> {
        mount_at(TOOLS_DISK, Path::new(TOOLS), "ext4", MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOATIME, "")?;
        let mounted = Self(());
        // sqlite, and so rpm's database, writes temporary files there.
        mount_at("tmpfs", &Path::new(TOOLS).join("tmp"), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")?;
        for folder in [MOUNT_POINT, STORE] {
            let inside = Path::new(TOOLS).join(folder.trim_start_matches('/'));
            mount_bind_recursive(folder, &inside).map_err(|error| failure::system("mount", inside.display(), error))?;
        }
        Ok(mounted)
    }
}

impl Drop for ToolsDisk {
    fn drop(&mut self) {
        // With all that is mounted in it. It is read-only: what still holds it keeps nothing from the target's disk.
        let _ = unmount(TOOLS, UnmountFlags::DETACH);
    }
}

/// Tells the kernel to write pages back when memory demands it rather than by the clock. Best effort.
fn keep_dirty_pages() {
    for (knob, value) in
        [("dirty_writeback_centisecs", "0"), ("dirty_expire_centisecs", "360000"), ("dirty_background_ratio", "40"), ("dirty_ratio", "60")]
    {
        let _ = fs::write(Path::new("/proc/sys/vm").join(knob), value);
    }
}

/// Mounts something in the agent's own tree.
fn mount_at(source: &str, folder: &Path, kind: &str, flags: MountFlags, options: &str) -> Result<(), AgentError> {
    fs::create_dir_all(folder).map_err(|error| failure::system("create folder", folder.display(), error))?;
    mount_raw(source, folder, kind, flags, options)
        .map_err(|error| failure::system("mount", format_args!("{source} on {}", folder.display()), error))
}

/// Mounts an API filesystem in the target.
fn mount_inside(rootfs: &Rootfs, kind: &str, folder: &str, flags: MountFlags, options: &str) -> Result<(), AgentError> {
    rootfs.make_folders(folder)?;
    let place = rootfs.handle(folder)?;
    mount_raw(kind, &place.path(), kind, flags, options)
        .map_err(|error| failure::system("mount", format_args!("{kind} on {folder} of the target"), error))
}

fn mount_raw(source: &str, folder: &Path, kind: &str, flags: MountFlags, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    Ok(mount(source, folder, kind, flags, Some(options.as_c_str()))?)
}

/// Mounts the store; nothing in it is ever executed or written.
fn mount_store(tag: &str) -> Result<Rootfs, AgentError> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_at(tag, Path::new(STORE), "virtiofs", flags, "")?;
    let inside = Path::new(MOUNT_POINT).join(STORE_INSIDE.trim_start_matches('/'));
    let shown = fs::create_dir_all(&inside).and_then(|()| Ok(mount_bind(STORE, &inside)?));
    shown.map_err(|error| failure::system("mount", STORE_INSIDE, error))?;
    Rootfs::open(Path::new(STORE))
}

/// Makes the device nodes. The folder is a fresh tmpfs: nothing of the target can be in the way.
fn fill_dev(rootfs: &Rootfs) -> Result<(), AgentError> {
    let dev = Path::new(MOUNT_POINT).join("dev");
    let made = (|| {
        for (name, major, minor) in
            [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0), ("console", 5, 1)]
        {
            let mode = Mode::from_raw_mode(if name == "console" { 0o600 } else { 0o666 });
            let path = dev.join(name);
            rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, rustix::fs::makedev(major, minor))?;
            rustix::fs::chmod(&path, mode)?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            rustix::fs::symlink(target, dev.join(name))?;
        }
        rustix::io::Result::Ok(())
    })();
    made.map_err(|error| failure::system("create", "the device nodes of the target", error))?;
    mount_inside(rootfs, "devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    mount_inside(rootfs, "tmpfs", "/dev/shm", MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")
}

/// Makes the folder that `/var/lock` leads to.
fn fill_run() -> Result<(), AgentError> {
    let lock = Path::new(MOUNT_POINT).join("run/lock");
    let made = fs::create_dir(&lock).and_then(|()| Ok(rustix::fs::chmod(&lock, Mode::from_raw_mode(0o1777))?));
    made.map_err(|error| failure::system("create folder", "/run/lock", error))
}

/// Lists the mount points at and below the target and the store in the order in which they can be taken down.
fn mounts_below(mountinfo: &str) -> Vec<String> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut ours: Vec<String> = points
        .filter(|point| {
            [MOUNT_POINT, STORE].iter().any(|root| point == root || point.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')))
        })
        .collect();
    ours.reverse();
    ours
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &tail[3..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Unmounts; what still holds the mount gets a moment to let go.
fn unmount_patiently(point: &str) -> Result<(), AgentError> {
    for _ in 0..100 {
        match unmount(point, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => {
                sys::kill_everything();
                std::thread::sleep(Duration::from_millis(20));
            }
            // Not there any more: it went with another one.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failure::system("unmount", point, error)),
        }
    }
    Err(failure::system("unmount", point, Errno::BUSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_come_down_in_reverse_and_only_ours() {
        let mountinfo = "\
1 1 0:2 / / rw - rootfs none rw
22 1 0:21 / /proc rw - proc proc rw
30 1 254:0 / /target rw,noatime - ext4 /dev/vda rw
31 30 0:30 / /target/proc rw - proc proc rw
32 30 0:31 / /target/mnt/a\\040b rw - tmpfs tmpfs rw
33 1 0:40 / /store ro - virtiofs store ro
34 1 0:41 / /targets rw - tmpfs x rw
";
        assert_eq!(mounts_below(mountinfo), ["/store", "/target/mnt/a b", "/target/proc", "/target"]);
        assert_eq!(mounts_below("nonsense\n\n"), Vec::<String>::new());
    }

    #[test]
    fn escapes_of_the_kernel_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c\\011"), "/a b\\c\t");
        assert_eq!(unescape("/plain\\"), "/plain\\");
        assert_eq!(unescape("/not\\0x"), "/not\\0x");
    }
}
