//! Kernel modules in the form that the guest decompresses cheapest.
//!
//! `depmod` and the initramfs generators look into every module, some of them into the same one three times over, and
//! decompressing xz is what takes their time under emulation. The host does that once: the guest's disk has each `NAME.ko.xz` as an xz file
//! whose LZMA2 chunks are uncompressed (The .xz File Format 1.2.1, section 5.3.1; chunks as in liblzma), so that programs of the
//! target read the same module from it by copying. When the guest has ended, the files that packages have are put back wherever their
//! plain form is found: in the tree, and in the archives of an initramfs.
//!
//! What a user's command does with a module is not known, so a session with such commands gets the packages' files.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use oic_protocol::{ComposePlan, Step};
use rayon::prelude::*;

use crate::{
    digest::Sha256Digest,
    rootfs::{Content, HostFile, InodeId, Kind, RootTree},
};

/// How the names of modules that this is about end.
const SUFFIX: &[u8] = b".ko.xz";
/// Where modules are.
const FOLDERS: [&[u8]; 2] = [b"/usr/lib/modules/", b"/lib/modules/"];
/// The largest module that is decompressed; larger ones stay as they are.
const MAX_MODULE: u64 = 64 << 20;
/// Memory that decompressing one may take.
const MAX_DECODER_MEMORY: u64 = 96 << 20;
/// The most bytes of a chunk.
const CHUNK: usize = 1 << 16;
/// The checksum of the format's headers.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// The plain modules of a session's disk, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct PlainModules {
    originals: HashMap<Sha256Digest, Content>,
    sizes: HashSet<u64>,
}

/// Tells whether a plan on a tree is one that reads modules, and does nothing with them that is not known.
pub(super) fn serve(tree: &RootTree, plan: &ComposePlan) -> bool {
    let reads = |step: &Step| match step {
        // A kernel whose dependencies are not listed yet is one that is about to be configured.
        Step::InstallDeb(_) => FOLDERS.iter().any(|folder| {
            let releases = tree.names(folder).map(|(release, _)| [folder, release, b"/modules.dep"].concat());
            releases.into_iter().any(|list| tree.resolve(list).is_none())
        }),
        Step::Initramfs(_) => true,
        _ => false,
    };
    plan.steps.iter().any(reads) && !plan.steps.iter().any(|step| matches!(step, Step::Hook(_)))
}

impl PlainModules {
    /// Puts the modules of a tree into their plain form, which is kept in `file`. A module that is no xz file stays as it is.
    ///
    /// # Errors
    /// Fails when a content cannot be read or the file cannot be written.
    pub(super) fn put_into(tree: &mut RootTree, file: &Path) -> io::Result<Self> {
        let is_module = |path: &[u8]| path.ends_with(SUFFIX) && FOLDERS.iter().any(|folder| path.starts_with(folder));
        let modules: Vec<(InodeId, Content)> = tree
            .walk()
            .filter(|entry| entry.link_to.is_none() && is_module(&entry.path))
            .filter_map(|entry| if let Kind::File(content) = &entry.inode.kind { Some((entry.id, content.clone())) } else { None })
            .collect();
        if modules.is_empty() {
            return Ok(Self::default());
        }
        // Never the file that contents of an earlier session are in.
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (target, end, made) = (File::create_new(file)?, AtomicU64::new(0), Mutex::new(Vec::new()));
        modules.into_par_iter().try_for_each(|(id, original)| {
            let Some(plain) = decompressed(&original)?.map(|module| plain(&module)) else { return Ok(()) };
            let (digest, size) = (Sha256Digest::of(&plain), plain.len() as u64);
            let offset = end.fetch_add(size, Ordering::Relaxed);
            target.write_all_at(&plain, offset)?;
            made.lock().unwrap_or_else(PoisonError::into_inner).push((id, original, digest, offset, size));
            io::Result::Ok(())
        })?;
        let file = HostFile::open(file)?;
        let mut modules = Self::default();
        for (id, original, digest, offset, size) in made.into_inner().unwrap_or_else(PoisonError::into_inner) {
            tree.inode_mut(id).kind = Kind::File(Content::range(file.clone(), offset, size));
            modules.sizes.insert(size);
            modules.originals.insert(digest, original);
        }
        Ok(modules)
    }

    /// Puts the packages' files back in a tree.
    ///
    /// # Errors
    /// Fails when a content cannot be read.
    pub(super) fn put_back(&self, tree: &mut RootTree) -> io::Result<()> {
        let files: Vec<(InodeId, Content)> = tree
            .walk()
            .filter(|entry| entry.link_to.is_none())
            .filter_map(|entry| if let Kind::File(content) = &entry.inode.kind { Some((entry.id, content.clone())) } else { None })
            .filter(|(_, content)| self.sizes.contains(&content.size()))
            .collect();
        let found = files.into_par_iter().map(|(id, content)| Ok((id, self.original(&content)?))).collect::<io::Result<Vec<_>>>()?;
        for (id, original) in found {
            if let Some(original) = original {
                tree.inode_mut(id).kind = Kind::File(original.clone());
            }
        }
        Ok(())
    }

    /// Returns what a content stands for, if it is the plain form of a module.
    fn original(&self, content: &Content) -> io::Result<Option<&Content>> {
        Ok(self.originals.get(&Sha256Digest::of_reader(&mut content.reader())?))
    }

    /// Returns what a file in an initramfs stands for, if it is the plain form of a module.
    ///
    /// # Errors
    /// Fails when the module cannot be read.
    pub(super) fn original_of(&self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if !self.sizes.contains(&(bytes.len() as u64)) {
            return Ok(None);
        }
        self.originals.get(&Sha256Digest::of(bytes)).map(|original| original.read_all(MAX_MODULE)).transpose()
    }
}

/// Returns a module decompressed; none when it is no whole xz file or too large.
fn decompressed(content: &Content) -> io::Result<Option<Vec<u8>>> {
    let bytes = match content.read_all(MAX_MODULE) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(None),
        read => read?,
    };
    let Ok(stream) = liblzma::stream::Stream::new_stream_decoder(MAX_DECODER_MEMORY, 0) else { return Ok(None) };
    let mut module = Vec::new();
    let mut decoder = liblzma::bufread::XzDecoder::new_stream(&bytes[..], stream).take(MAX_MODULE + 1);
    let is_whole = decoder.read_to_end(&mut module).is_ok() && !module.is_empty() && module.len() as u64 <= MAX_MODULE;
    // An xz file may have several streams; none of a kernel's has.
    let is_one = decoder.into_inner().into_inner().is_empty();
    Ok((is_whole && is_one).then_some(module))
}

/// Returns bytes as an xz file of uncompressed chunks without a checksum of the content.
fn plain(bytes: &[u8]) -> Vec<u8> {
    const FLAGS: [u8; 2] = [0, 0];
    // Length 12, one filter, LZMA2 with a dictionary of 64 KiB.
    const BLOCK_HEADER: [u8; 8] = [2, 0, 0x21, 1, 8, 0, 0, 0];
    let mut file = Vec::with_capacity(bytes.len() + 3 * bytes.len().div_ceil(CHUNK) + 64);
    let with_sum = |file: &mut Vec<u8>, part: &[u8]| {
        file.extend(part);
        file.extend(CRC.checksum(part).to_le_bytes());
    };
    file.extend(b"\xfd7zXZ\0");
    with_sum(&mut file, &FLAGS);
    let block = file.len();
    with_sum(&mut file, &BLOCK_HEADER);
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        // The first one resets the dictionary.
        file.push(if index == 0 { 1 } else { 2 });
        file.extend(u16::try_from(chunk.len() - 1).unwrap_or(u16::MAX).to_be_bytes());
        file.extend(chunk);
    }
    file.push(0);
    let unpadded = (file.len() - block) as u64;
    file.resize(file.len().next_multiple_of(4), 0);
    let mut index = vec![0, 1];
    number(&mut index, unpadded);
    number(&mut index, bytes.len() as u64);
    index.resize(index.len().next_multiple_of(4), 0);
    with_sum(&mut file, &index);
    // The size of the index with its checksum, in units of four bytes less one.
    let mut footer = u32::try_from(index.len() / 4).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    footer.extend(FLAGS);
    file.extend(CRC.checksum(&footer).to_le_bytes());
    file.extend(footer);
    file.extend(b"YZ");
    file
}

/// Appends a number in groups of seven bits, the lowest first.
fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// liblzma is what the target's programs read them with.
    #[test]
    fn plain_files_decompress_to_what_is_in_them() {
        for length in [1, 3, 4, 127, 128, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + at / 300) as u8).collect();
            let plain = plain(&bytes);
            assert_eq!(decompressed(&Content::bytes(plain)).unwrap().unwrap(), bytes, "{length}");
        }
    }

    #[test]
    fn packages_files_come_back_wherever_they_are() {
        let scratch = tempfile::tempdir().unwrap();
        let mut tree = RootTree::new(crate::rootfs::Metadata::root_owned(0o755, 0));
        let module = b"\x7fELF and so on ".repeat(9000);
        let contents = [
            ("/usr/lib/modules/1/kernel/a.ko.xz", xz(&module)),
            ("/usr/lib/modules/1/kernel/broken.ko.xz", xz(&module)[..60].to_vec()),
            ("/usr/lib/modules/1/kernel/two.ko.xz", [xz(&module), xz(&module)].concat()),
            ("/usr/lib/modules/1/kernel/not.ko", module.clone()),
            ("/usr/share/a.ko.xz", xz(&module)),
        ];
        for (path, bytes) in &contents {
            tree.write_file(path, Content::bytes(bytes.clone()), 0o644, 5).unwrap();
        }
        let modules = PlainModules::put_into(&mut tree, &scratch.path().join("modules")).unwrap();
        let bytes_of = |tree: &RootTree, path: &str| tree.file(path).unwrap().read_all(1 << 30).unwrap();
        let plain = bytes_of(&tree, contents[0].0);
        assert!(plain.len() > module.len());
        for (path, bytes) in &contents[1..] {
            assert_eq!(bytes_of(&tree, path), *bytes, "{path}");
        }
        tree.write_file("/var/tmp/copy", Content::bytes(plain.clone()), 0o600, 7).unwrap();
        let mut changed = plain;
        *changed.last_mut().unwrap() ^= 1;
        tree.write_file("/var/tmp/changed", Content::bytes(changed.clone()), 0o600, 7).unwrap();
        modules.put_back(&mut tree).unwrap();
        for (path, bytes) in &contents {
            assert_eq!(bytes_of(&tree, path), *bytes, "{path}");
        }
        assert_eq!(bytes_of(&tree, "/var/tmp/copy"), contents[0].1);
        assert_eq!(bytes_of(&tree, "/var/tmp/changed"), changed);
    }
}
