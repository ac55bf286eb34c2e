//! Takes the parts that start a builder VM out of a kernel package.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The largest kernel or module that is unpacked.
const LIMIT: u64 = 512 << 20;

/// Modules that the agent needs, whichever of them the kernel has not built in: the disk, the channel, the share, the network.
/// The last two are loaded early, too: the guest has no tools to load them later.
const MODULES: [&str; 8] = ["virtio_pci", "virtio_mmio", "virtio_console", "virtio_blk", "ext4", "fuse", "virtiofs", "virtio_net"];
/// Those without which nothing works.
const REQUIRED: [&str; 4] = ["virtio_console", "virtio_blk", "ext4", "virtiofs"];

/// A kernel package that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no kernel.
    #[error("there is no kernel in `{}`", .folder.display())]
    NoKernel {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The kernel is packed in an unknown way.
    #[error("the kernel `{}` is not packed in a way that is known: {reason}", .path.display())]
    Format {
        /// The kernel.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A module is neither built in nor there.
    #[error("the kernel has no module `{module}`")]
    NoModule {
        /// Its name.
        module: String,
    },
}

/// An unpacked kernel package.
#[derive(Debug)]
pub(super) struct KernelPackage {
    /// `vmlinuz`.
    image: PathBuf,
    /// `/lib/modules/RELEASE`.
    modules: PathBuf,
}

impl KernelPackage {
    /// Finds the kernel in the folder that its package was unpacked to.
    pub(super) fn find(root: &Path) -> Result<Self, KernelError> {
        let boot = root.join("boot");
        let no_kernel = || KernelError::NoKernel { folder: boot.clone() };
        let names = fs::read_dir(&boot).map_err(|source| KernelError::Read { path: boot.clone(), source })?;
        let mut releases: Vec<String> = names
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let name = name.to_str()?;
                name.strip_prefix("vmlinuz-").or_else(|| name.strip_prefix("vmlinux-")).map(str::to_owned)
            })
            .collect();
        releases.sort();
        let release = releases.pop().ok_or_else(no_kernel)?;
        let image = ["vmlinuz", "vmlinux"].iter().map(|name| boot.join(format!("{name}-{release}"))).find(|path| path.exists());
        let modules = ["usr/lib/modules", "lib/modules"].iter().map(|folder| root.join(folder).join(&release)).find(|path| path.exists());
        image.zip(modules).map(|(image, modules)| Self { image, modules }).ok_or_else(no_kernel)
    }

    /// Returns the kernel in the form that starts fastest: unpacked here rather than by the emulated processor.
    pub(super) fn kernel(&self) -> Result<Vec<u8>, KernelError> {
        let bytes = read(&self.image)?;
        let failed = |reason| KernelError::Format { path: self.image.clone(), reason };
        // x86: the ELF file inside the bzImage (Linux, Documentation/arch/x86/boot.rst).
        if bytes.get(0x202..0x206) == Some(&b"HdrS"[..]) {
            let field = |offset: usize| {
                let bytes = bytes.get(offset..offset + 4)?;
                Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
            };
            let sectors = bytes.get(0x1f1).map(|sectors| usize::from(*sectors).max(4)).ok_or_else(|| failed("it is cut short"))?;
            let (offset, length) = field(0x248).zip(field(0x24c)).ok_or_else(|| failed("it is cut short"))?;
            let start = (sectors + 1) * 512 + offset;
            let payload = bytes.get(start..start.saturating_add(length)).ok_or_else(|| failed("its payload is cut short"))?;
            let kernel = decompress(payload).map_err(failed)?;
            return if kernel.starts_with(b"\x7fELF") { Ok(kernel) } else { Err(failed("its payload is no ELF file")) };
        }
        // Others may be compressed as a whole.
        if compression(&bytes).is_some() { decompress(&bytes).map_err(failed) } else { Ok(bytes) }
    }

    /// Returns the modules to load, in the order of loading, each after what it needs: names and unpacked contents.
    pub(super) fn modules(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        let dependencies = parse_dependencies(&read_text(&self.modules.join("modules.dep"))?);
        let built_in: BTreeSet<String> = read_text(&self.modules.join("modules.builtin"))?.lines().map(module_name).collect();
        let mut order = Vec::new();
        for module in MODULES {
            let Some(entry) = dependencies.get(module) else {
                if REQUIRED.contains(&module) && !built_in.contains(module) {
                    return Err(KernelError::NoModule { module: module.to_owned() });
                }
                continue;
            };
            // modules.dep names what a module needs, the nearest first.
            for path in entry.needs.iter().rev().chain(std::iter::once(&entry.path)) {
                if !order.contains(path) {
                    order.push(path.clone());
                }
            }
        }
        let unpacked = order.into_iter().map(|path| {
            let file = self.modules.join(&path);
            let bytes = read(&file)?;
            let failed = |reason| KernelError::Format { path: file.clone(), reason };
            let bytes = if compression(&bytes).is_some() { decompress(&bytes).map_err(failed)? } else { bytes };
            Ok((module_name(&path), bytes))
        });
        unpacked.collect()
    }
}

/// A line of `modules.dep`.
struct Dependencies {
    path: String,
    needs: Vec<String>,
}

fn parse_dependencies(text: &str) -> BTreeMap<String, Dependencies> {
    let line = |line: &str| {
        let (path, needs) = line.split_once(':')?;
        let needs = needs.split_whitespace().map(str::to_owned).collect();
        Some((module_name(path), Dependencies { path: path.to_owned(), needs }))
    };
    text.lines().filter_map(line).collect()
}

/// Returns the name of the module in a file: `virtio_blk` for `kernel/drivers/block/virtio_blk.ko.xz`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn read(path: &Path) -> Result<Vec<u8>, KernelError> {
    fs::read(path).map_err(|source| KernelError::Read { path: path.to_owned(), source })
}

fn read_text(path: &Path) -> Result<String, KernelError> {
    fs::read_to_string(path).map_err(|source| KernelError::Read { path: path.to_owned(), source })
}

/// How a kernel or a module is compressed.
#[derive(Clone, Copy)]
enum Compression {
    Zstd,
    Xz,
    Gzip,
}

fn compression(bytes: &[u8]) -> Option<Compression> {
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some(Compression::Zstd)
    } else if bytes.starts_with(b"\xfd7zXZ\0") {
        Some(Compression::Xz)
    } else {
        bytes.starts_with(&[0x1f, 0x8b]).then_some(Compression::Gzip)
    }
}

/// Unpacks the stream that `bytes` begin with; what follows it (a kernel's payload ends with its size) is left alone.
fn decompress(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let damaged = |_| "its compressed part is damaged";
    let mut output = Vec::new();
    let read = match compression(bytes).ok_or("neither zstd, xz nor gzip")? {
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(bytes).map_err(damaged)?.single_frame();
            decoder.take(LIMIT).read_to_end(&mut output)
        }
        Compression::Xz => liblzma::bufread::XzDecoder::new(bytes).take(LIMIT).read_to_end(&mut output),
        Compression::Gzip => flate2::bufread::GzDecoder::new(bytes).take(LIMIT).read_to_end(&mut output),
    };
    read.map_err(damaged)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_what_they_need() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/modules/6.12.1/kernel");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("boot")).unwrap();
        fs::write(root.path().join("boot/vmlinuz-6.12.1"), b"\x1f\x8bnot really").unwrap();
        fs::write(folder.join("../modules.builtin"), "kernel/virtio_console.ko\nkernel/ext4.ko\nkernel/virtiofs.ko\n").unwrap();
        let dependencies = "kernel/virtio_net.ko: kernel/net_failover.ko kernel/failover.ko\nkernel/failover.ko:\n\
                            kernel/net_failover.ko: kernel/failover.ko\nkernel/virtio_blk.ko.zst:\n";
        fs::write(folder.join("../modules.dep"), dependencies).unwrap();
        for name in ["virtio_net", "net_failover", "failover"] {
            fs::write(folder.join(format!("{name}.ko")), name).unwrap();
        }
        fs::write(folder.join("virtio_blk.ko.zst"), zstd::encode_all(&b"virtio_blk"[..], 1).unwrap()).unwrap();
        let package = KernelPackage::find(root.path()).unwrap();
        let modules = package.modules().unwrap();
        let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["virtio_blk", "failover", "net_failover", "virtio_net"]);
        assert!(modules.iter().all(|(name, bytes)| name.as_bytes() == bytes));
        assert!(matches!(package.kernel(), Err(KernelError::Format { .. })));
        fs::write(folder.join("../modules.builtin"), "").unwrap();
        assert!(matches!(package.modules(), Err(KernelError::NoModule { .. })));
    }

    #[test]
    fn the_elf_file_of_a_bzimage_is_found() {
        let mut payload = zstd::encode_all(&b"\x7fELF kernel"[..], 1).unwrap();
        payload.extend(11_u32.to_le_bytes());
        let mut image = vec![0; 5 * 512 + 16];
        image[0x1f1] = 4;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(&payload);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinuz");
        fs::write(&path, &image).unwrap();
        let package = KernelPackage { image: path.clone(), modules: folder.path().to_owned() };
        assert_eq!(package.kernel().unwrap(), b"\x7fELF kernel");
        fs::write(&path, &image[..3000.min(image.len() - 6)]).unwrap();
        assert!(package.kernel().is_err());
    }
}
