//! Takes the parts that start a builder VM out of a kernel package.
//!
//! Packages are unpacked and never installed, so there is no `modules.dep`: that file is made by a script. What a module
//! needs is read from the module itself, from its `.modinfo` section.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use object::{
    LittleEndian, Object as _, ObjectSection as _, elf,
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// The largest kernel or module that is unpacked.
const LIMIT: u64 = 512 << 20;

/// Modules that the agent needs, whichever of them the kernel has not built in: the disk, the channel, the share, the network.
/// The last two are loaded early, too: the guest has no tools to load them later. `crc32c_generic` is what ext4 asks the kernel's
/// crypto interface for by an alias, which only a guest with tools could resolve.
const MODULES: [&str; 9] =
    ["virtio_pci", "virtio_mmio", "virtio_console", "virtio_blk", "crc32c_generic", "ext4", "fuse", "virtiofs", "virtio_net"];
/// Those without which nothing works.
const REQUIRED: [&str; 4] = ["virtio_console", "virtio_blk", "ext4", "virtiofs"];
/// The most folders and files that are looked at below `/lib/modules`; the largest kernels have a tenth.
const MAX_FILES: usize = 100_000;

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
            let is_elf = kernel.starts_with(b"\x7fELF");
            return if is_elf { Ok(without_zeros(kernel)) } else { Err(failed("its payload is no ELF file")) };
        }
        // Others may be compressed as a whole.
        if compression(&bytes).is_some() { decompress(&bytes).map_err(failed) } else { Ok(bytes) }
    }

    /// Returns the modules to load, in the order of loading, each after what it needs: names and unpacked contents.
    pub(super) fn modules(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        let built_in = read_text(&self.modules.join("modules.builtin"))?.lines().map(module_name).collect();
        let mut loading = Loading { built_in, files: module_files(&self.modules)?, begun: BTreeSet::new(), order: Vec::new() };
        for module in MODULES {
            let present = loading.built_in.contains(module) || loading.files.contains_key(module);
            if present || REQUIRED.contains(&module) {
                loading.add(module)?;
            }
        }
        Ok(loading.order)
    }
}

/// Shortens what an ELF file has of each segment by the zeros at its end: memory that is not loaded is zero, too. In Debian's kernel these
/// are 12 MB, which the emulator would read, copy and keep. A file that is not as expected stays as it is.
fn without_zeros(mut kernel: Vec<u8>) -> Vec<u8> {
    let Ok(header) = elf::FileHeader64::<LittleEndian>::parse(&*kernel) else { return kernel };
    let Ok(segments) = header.program_headers(LittleEndian, &*kernel) else { return kernel };
    let table = header.e_phoff.get(LittleEndian);
    let mut sizes = Vec::new();
    for (index, segment) in segments.iter().enumerate().filter(|(_, segment)| segment.p_type.get(LittleEndian) == elf::PT_LOAD) {
        let Ok(data) = segment.data(LittleEndian, &*kernel) else { return kernel };
        let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // The file size is the fifth field of eight bytes, after two of four.
        let place =
            usize::try_from(table).unwrap_or(usize::MAX).saturating_add(index * size_of::<elf::ProgramHeader64<LittleEndian>>() + 32);
        sizes.push((place, used as u64));
    }
    for (place, size) in sizes {
        if let Some(field) = kernel.get_mut(place..place.saturating_add(8)) {
            field.copy_from_slice(&size.to_le_bytes());
        }
    }
    kernel
}

/// The modules to load, as they are found.
struct Loading {
    built_in: BTreeSet<String>,
    files: BTreeMap<String, PathBuf>,
    /// Modules that need no second look; those of a circle among them.
    begun: BTreeSet<String>,
    order: Vec<(String, Vec<u8>)>,
}

impl Loading {
    /// Adds a module after what it needs.
    fn add(&mut self, module: &str) -> Result<(), KernelError> {
        if self.built_in.contains(module) || !self.begun.insert(module.to_owned()) {
            return Ok(());
        }
        let file = self.files.get(module).cloned().ok_or_else(|| KernelError::NoModule { module: module.to_owned() })?;
        let packed = read(&file)?;
        let failed = |reason| KernelError::Format { path: file.clone(), reason };
        let bytes = if compression(&packed).is_some() { decompress(&packed).map_err(failed)? } else { packed };
        for needed in dependencies(&bytes).map_err(failed)? {
            self.add(&needed)?;
        }
        self.order.push((module.to_owned(), bytes));
        Ok(())
    }
}

/// Returns the files of all modules by name.
fn module_files(modules: &Path) -> Result<BTreeMap<String, PathBuf>, KernelError> {
    let mut files = BTreeMap::new();
    let mut pending = vec![modules.join("kernel")];
    let mut seen = 0;
    while let Some(folder) = pending.pop() {
        let failed = |source| KernelError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            seen += 1;
            if seen > MAX_FILES {
                return Err(KernelError::Format { path: modules.to_owned(), reason: "it has too many files" });
            }
            let name = entry.file_name();
            if kind.is_dir() {
                pending.push(entry.path());
            } else if let Some(name) = name.to_str().filter(|name| kind.is_file() && name.contains(".ko")) {
                files.insert(module_name(name), entry.path());
            }
        }
    }
    Ok(files)
}

/// Returns the names of the modules that a module needs, from its `depends` field.
fn dependencies(module: &[u8]) -> Result<Vec<String>, &'static str> {
    let file = object::File::parse(module).map_err(|_| "it is no ELF file")?;
    let section = file.section_by_name(".modinfo").ok_or("it says nothing of itself")?;
    let information = section.data().map_err(|_| "what it says of itself is cut short")?;
    let depends = information.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"depends=")).unwrap_or_default();
    let names = std::str::from_utf8(depends).map_err(|_| "the names of what it needs are not UTF-8")?;
    Ok(names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
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

    /// Returns the least that is an ELF file with a `.modinfo` section.
    fn module(information: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0".to_vec();
        file.extend([0; 16]);
        let contents = information.len() + names.len();
        file.extend((64 + contents as u64).to_le_bytes());
        file.extend([0; 4]);
        for half in [64_u16, 0, 0, 64, 3, 2] {
            file.extend(half.to_le_bytes());
        }
        file.extend(information.as_bytes());
        file.extend(names);
        file.extend([0; 64]);
        let sections = [(1_u32, 1_u32, 64, information.len()), (10, 3, 64 + information.len(), names.len())];
        for (name, kind, offset, size) in sections {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend([0; 16]);
            file.extend((offset as u64).to_le_bytes());
            file.extend((size as u64).to_le_bytes());
            file.extend([0; 24]);
        }
        file
    }

    #[test]
    fn modules_load_after_what_they_need() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/modules/6.12.1/kernel");
        fs::create_dir_all(folder.join("drivers/net")).unwrap();
        fs::create_dir_all(root.path().join("boot")).unwrap();
        fs::write(root.path().join("boot/vmlinuz-6.12.1"), b"\x1f\x8bnot really").unwrap();
        fs::write(folder.join("../modules.builtin"), "kernel/virtio_console.ko\nkernel/ext4.ko\nkernel/virtiofs.ko\n").unwrap();
        let virtio_net = module("license=GPL\0depends=net-failover,virtio_console\0name=virtio_net\0");
        fs::write(folder.join("drivers/net/virtio_net.ko"), &virtio_net).unwrap();
        fs::write(folder.join("drivers/net/net_failover.ko"), module("depends=failover\0")).unwrap();
        // Two that need each other end, too.
        fs::write(folder.join("failover.ko"), module("depends=net_failover\0")).unwrap();
        fs::write(folder.join("virtio_blk.ko.zst"), zstd::encode_all(&module("depends=\0")[..], 1).unwrap()).unwrap();
        let package = KernelPackage::find(root.path()).unwrap();
        let modules = package.modules().unwrap();
        let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["virtio_blk", "failover", "net_failover", "virtio_net"]);
        assert_eq!(modules[0].1, module("depends=\0"));
        assert_eq!(modules[3].1, virtio_net);
        assert!(matches!(package.kernel(), Err(KernelError::Format { .. })));
        fs::write(folder.join("failover.ko"), b"\x7fELF no more").unwrap();
        assert!(matches!(package.modules(), Err(KernelError::Format { .. })));
        fs::write(folder.join("../modules.builtin"), "").unwrap();
        assert!(matches!(package.modules(), Err(KernelError::NoModule { module }) if module == "virtio_console"));
    }

    #[test]
    #[ignore = "needs unpacked kernel packages: OIC_TEST_KERNELS names their folders, separated by colons"]
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the packages are")]
    fn packages_of_debian_give_a_kernel_and_its_modules() {
        for root in std::env::split_paths(&std::env::var_os("OIC_TEST_KERNELS").unwrap()) {
            let package = KernelPackage::find(&root).unwrap();
            let kernel = package.kernel().unwrap();
            let is_image = kernel.get(56..60) == Some(b"ARM\x64") || kernel.get(48..53) == Some(b"RISCV");
            assert!(kernel.starts_with(b"\x7fELF") || is_image, "{}", root.display());
            let modules = package.modules().unwrap();
            let place = |name: &str| modules.iter().position(|(known, _)| known == name);
            assert!(place("virtio_blk").is_some());
            assert!(place("failover") < place("net_failover") && place("net_failover") < place("virtio_net"));
            if let Some(ext4) = place("ext4") {
                assert!(["crc32c_generic", "jbd2", "mbcache", "crc16"].iter().all(|name| place(name).is_some_and(|place| place < ext4)));
            }
        }
    }

    #[test]
    fn zeros_at_the_end_of_a_segment_are_not_loaded() {
        // A header, a note and two segments: one that ends with zeros, one of nothing else.
        let mut kernel = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        kernel.extend([0; 8]);
        kernel.extend(64_u64.to_le_bytes());
        kernel.extend([0; 12]);
        for half in [64_u16, 56, 3, 64, 0, 0] {
            kernel.extend(half.to_le_bytes());
        }
        for (kind, offset, size) in [(4_u32, 232_u64, 8_u64), (1, 240, 16), (1, 256, 16)] {
            kernel.extend(kind.to_le_bytes());
            kernel.extend([0; 4]);
            for field in [offset, 0, 0, size, 32, 1] {
                kernel.extend(field.to_le_bytes());
            }
        }
        kernel.extend([0; 8]);
        kernel.extend(b"\x01\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0");
        kernel.extend([0; 16]);
        let sizes = |kernel: &[u8]| {
            let header = elf::FileHeader64::<LittleEndian>::parse(kernel).unwrap();
            let segments = header.program_headers(LittleEndian, kernel).unwrap();
            segments.iter().map(|segment| (segment.p_filesz.get(LittleEndian), segment.p_memsz.get(LittleEndian))).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&kernel), [(8, 32), (16, 32), (16, 32)]);
        let short = without_zeros(kernel.clone());
        assert_eq!(sizes(&short), [(8, 32), (3, 32), (0, 32)]);
        assert_eq!(without_zeros(short.clone()), short);
        // A segment that is not in the file leaves everything as it is.
        kernel.truncate(260);
        assert_eq!(without_zeros(kernel.clone()), kernel);
        assert_eq!(without_zeros(b"\x7fELF kernel".to_vec()), b"\x7fELF kernel");
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
