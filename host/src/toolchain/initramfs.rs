//! The builder VM as two files: a kernel, and an initramfs that holds the agent and the modules it loads.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Tools,
    kernel::{KernelError, KernelPackage},
    key,
};
use crate::{
    build::resolve::StoredPackages,
    digest::{Hasher, Sha256Digest},
    store::{Bucket, Slot, Store, StoreError},
};

/// A builder VM that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmImage {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
}

/// Why there is no builder VM.
#[derive(Debug, thiserror::Error)]
pub enum VmImageError {
    /// The kernel package cannot be used.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A file cannot be written.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VmImage {
    /// Makes a VM of an unpacked kernel package and an agent, once; the second value says whether it was there already.
    ///
    /// # Errors
    /// Fails when the package is no kernel or the store cannot be written.
    pub fn make(store: &Store, kernel: &Tools, packages: &StoredPackages, agent: &[u8]) -> Result<(Self, bool), VmImageError> {
        let mut hasher = Hasher::default();
        hasher.update(key("vm 3", packages).as_bytes());
        hasher.update(Sha256Digest::of(agent).as_bytes());
        let (folder, cached) = match store.begin(Bucket::Vm, &hasher.finish())? {
            Slot::Present(folder) => (folder, true),
            Slot::Vacant(entry) => {
                let package = KernelPackage::find(kernel.folder())?;
                write(&entry.path().join("kernel"), &package.kernel()?)?;
                write(&entry.path().join("initramfs"), &archive(agent, &package.modules()?))?;
                (entry.commit()?, false)
            }
        };
        Ok((Self { kernel: folder.join("kernel"), initramfs: folder.join("initramfs") }, cached))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), VmImageError> {
    fs::write(path, bytes).map_err(|source| VmImageError::Write { path: path.to_owned(), source })
}

/// Returns an uncompressed cpio archive in the newc format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)
/// with `/init`, `/dev/console`, which init has as its standard streams, and the modules in the order of loading.
fn archive(agent: &[u8], modules: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Cpio::default();
    writer.entry("dev", 0o040_755, (0, 0), b"");
    writer.entry("dev/console", 0o020_600, (5, 1), b"");
    writer.entry("init", 0o100_755, (0, 0), agent);
    writer.entry("modules", 0o040_755, (0, 0), b"");
    for (index, (name, bytes)) in modules.iter().enumerate() {
        writer.entry(&format!("modules/{index:02}-{name}.ko"), 0o100_644, (0, 0), bytes);
    }
    writer.entry("TRAILER!!!", 0, (0, 0), b"");
    writer.bytes
}

/// Writes a cpio archive.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    inode: usize,
}

impl Cpio {
    fn entry(&mut self, name: &str, mode: usize, device: (usize, usize), content: &[u8]) {
        self.inode += 1;
        self.bytes.extend(b"070701");
        for field in [self.inode, mode, 0, 0, 1, 0, content.len(), 0, 0, device.0, device.1, name.len() + 1, 0] {
            self.bytes.extend(format!("{field:08X}").into_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back: names, modes and contents.
    fn entries(bytes: &[u8]) -> Vec<(String, usize, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut position = 0;
        loop {
            let header = &bytes[position..position + 110];
            assert!(header.starts_with(b"070701") && position % 4 == 0);
            let field = |index: usize| {
                let digits = std::str::from_utf8(&header[6 + index * 8..14 + index * 8]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            let (size, name_size) = (field(6), field(11));
            let name = &bytes[position + 110..position + 110 + name_size];
            assert_eq!(name.last(), Some(&0));
            let name = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
            let start = (position + 110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(start, bytes.len());
                return entries;
            }
            entries.push((name, field(1), bytes[start..start + size].to_vec()));
            position = (start + size).next_multiple_of(4);
        }
    }

    #[test]
    fn the_archive_has_the_agent_as_init_and_the_modules_in_order() {
        let modules = [("virtio_blk".to_owned(), b"module".to_vec()), ("ext4".to_owned(), b"other".to_vec())];
        let found = entries(&archive(b"agent", &modules));
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["dev", "dev/console", "init", "modules", "modules/00-virtio_blk.ko", "modules/01-ext4.ko"]);
        assert_eq!((found[2].1, found[2].2.as_slice()), (0o100_755, &b"agent"[..]));
        assert_eq!((found[1].1, found[5].2.as_slice()), (0o020_600, &b"other"[..]));
    }
}
