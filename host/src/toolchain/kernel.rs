//! Takes the parts that start a builder VM out of a kernel package.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use object::{Object as _, ObjectSection as _};

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
    ///
    /// The package's list of dependencies is only made when it is installed, so each module is asked for its own.
    pub(super) fn modules(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        let built_in: BTreeSet<String> = read_text(&self.modules.join("modules.builtin"))?.lines().map(module_name).collect();
        let mut files = BTreeMap::new();
        list_modules(&self.modules.join("kernel"), &mut files)?;
        let mut loaded = Vec::new();
        for module in MODULES {
            if files.contains_key(module) {
                load(module, &files, &built_in, &mut Vec::new(), &mut loaded)?;
            } else if REQUIRED.contains(&module) && !built_in.contains(module) {
                return Err(KernelError::NoModule { module: module.to_owned() });
            }
        }
        Ok(loaded)
    }
}

/// Appends a module after what it needs.
fn load(
    module: &str,
    files: &BTreeMap<String, PathBuf>,
    built_in: &BTreeSet<String>,
    parents: &mut Vec<String>,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), KernelError> {
    if built_in.contains(module) || loaded.iter().any(|(name, _)| name == module) {
        return Ok(());
    }
    let no_module = || KernelError::NoModule { module: module.to_owned() };
    let path = files.get(module).filter(|_| !parents.iter().any(|parent| parent == module)).ok_or_else(no_module)?;
    let failed = |reason| KernelError::Format { path: path.clone(), reason };
    let bytes = read(path)?;
    let bytes = if compression(&bytes).is_some() { decompress(&bytes).map_err(failed)? } else { bytes };
    parents.push(module.to_owned());
    for needed in needs(&bytes).map_err(failed)? {
        load(&needed, files, built_in, parents, loaded)?;
    }
    parents.pop();
    loaded.push((module.to_owned(), bytes));
    Ok(())
}

/// Returns the modules that a module says it needs (`depends=` in its section `.modinfo`).
fn needs(module: &[u8]) -> Result<Vec<String>, &'static str> {
    let file = object::File::parse(module).map_err(|_| "it is no ELF file")?;
    let section = file.section_by_name(".modinfo").ok_or("it has no section .modinfo")?;
    let data = section.data().map_err(|_| "its section .modinfo is damaged")?;
    let value = data.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"depends="));
    let text = String::from_utf8_lossy(value.unwrap_or_default());
    Ok(text.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

/// Finds all modules below a folder, by name.
fn list_modules(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), KernelError> {
    let failed = |source| KernelError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            list_modules(&path, files)?;
        } else if let Some(name) = entry.file_name().to_str().filter(|name| name.contains(".ko")) {
            files.insert(module_name(name), path);
        }
    }
    Ok(())
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

    /// Returns an ELF file with nothing but a section `.modinfo`.
    fn module(depends: &str) -> Vec<u8> {
        use object::write;
        let mut file = write::Object::new(object::BinaryFormat::Elf, object::Architecture::X86_64, object::Endianness::Little);
        let section = file.add_section(Vec::new(), b".modinfo".to_vec(), object::SectionKind::ReadOnlyData);
        file.append_section_data(section, format!("license=GPL\0depends={depends}\0name=x\0").as_bytes(), 1);
        file.write().unwrap()
    }

    #[test]
    fn modules_load_after_what_they_need() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/modules/6.12.1/kernel");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("boot")).unwrap();
        fs::write(root.path().join("boot/vmlinuz-6.12.1"), b"\x1f\x8bnot really").unwrap();
        let built_in = "kernel/virtio_console.ko\nkernel/ext4.ko\nkernel/virtiofs.ko\nkernel/virtio.ko\n";
        fs::write(folder.join("../modules.builtin"), built_in).unwrap();
        fs::write(folder.join("virtio_net.ko"), module("net_failover,failover")).unwrap();
        fs::write(folder.join("net_failover.ko"), module("failover")).unwrap();
        fs::write(folder.join("failover.ko"), module("")).unwrap();
        fs::write(folder.join("virtio-blk.ko.zst"), zstd::encode_all(&module("virtio")[..], 1).unwrap()).unwrap();
        let package = KernelPackage::find(root.path()).unwrap();
        let modules = package.modules().unwrap();
        let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["virtio_blk", "failover", "net_failover", "virtio_net"]);
        assert_eq!(modules[0].1, module("virtio"));
        assert!(matches!(package.kernel(), Err(KernelError::Format { .. })));
        fs::write(folder.join("failover.ko"), module("virtio_net")).unwrap();
        assert!(matches!(package.modules(), Err(KernelError::NoModule { .. })), "a circle ends");
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
