//! Compresses an initramfs natively that the guest has left uncompressed.
//!
//! An initramfs is one or more cpio archives in the newc format, one after the other, zeros between them (Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`). Generators compress the last one only: what comes before is
//! microcode, which the kernel reads before it can decompress anything, and modules that are compressed already.

use std::io;

use crate::rootfs::{Content, RootTree};

/// How every entry of an archive in the newc format begins; the second has checksums.
const MAGIC: [&[u8]; 2] = [b"070701", b"070702"];
/// How what the kernel can decompress begins: gzip, zstd, xz, lzma, lz4, bzip2, lzop (Linux, `lib/decompress.c`).
const COMPRESSED: [&[u8]; 7] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x5d\0\0", b"\x02\x21\x4c\x18", b"BZh", b"\x89LZO"];
/// The length of an entry's header.
const HEADER: usize = 110;
/// Where a header has the size of the content, and that of the name.
const SIZE: std::ops::Range<usize> = 54..62;
const NAME_SIZE: std::ops::Range<usize> = 94..102;
/// The unit in which cpio writes archives.
const BLOCK: u64 = 512;
/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!\0";
/// The level that initramfs-tools gives zstd.
const ZSTD_LEVEL: i32 = 9;
/// The level that initramfs-tools leaves gzip at, its default.
const GZIP_LEVEL: u32 = 6;

/// The programs that initramfs-tools compresses with and that exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
}

/// An initramfs that cannot be compressed.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// It is no sequence of cpio archives.
    #[error("it is not a sequence of cpio archives: {reason} at byte {offset}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
        /// Where.
        offset: usize,
    },
    /// The image asks for a compressor that is not at hand.
    #[error("its configuration asks for the compressor `{name}`; zstd, gzip and xz are at hand")]
    Compressor {
        /// The name.
        name: String,
    },
    /// The builder VM's own program is in it in place of the image's.
    #[error("its `{name}` is the program that oic puts in the place of others while it builds, not the image's own")]
    StandIn {
        /// The entry.
        name: String,
    },
    /// Compressing failed.
    #[error("cannot compress")]
    Compress(#[source] io::Error),
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[from] io::Error),
}

impl Compressor {
    /// Returns the compressor that the image's own generator would use: what its configuration says, gzip where that program is missing.
    ///
    /// # Errors
    /// Fails when the configuration names one that is not at hand.
    pub fn of(tree: &RootTree) -> Result<Self, InitramfsError> {
        let mut asked = "zstd".to_owned();
        let folder = "/etc/initramfs-tools/conf.d";
        let fragments = tree.names(folder).map(|(name, _)| [folder.as_bytes(), b"/", name].concat());
        for path in std::iter::once(b"/etc/initramfs-tools/initramfs.conf".to_vec()).chain(fragments.collect::<Vec<_>>()) {
            let Some(bytes) = tree.file(&path).and_then(|content| content.read_all(1 << 20).ok()) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            let mut values = text.lines().rev().filter_map(|line| line.trim().strip_prefix("COMPRESS="));
            if let Some(value) = values.next() {
                asked = value.trim_matches(['"', '\'']).to_owned();
            }
        }
        let installed = |program: &str| ["/usr/bin/", "/bin/"].iter().any(|folder| tree.resolve(format!("{folder}{program}")).is_some());
        match asked.as_str() {
            "gzip" => Ok(Self::Gzip),
            "zstd" if installed("zstd") => Ok(Self::Zstd),
            "xz" if installed("xz") => Ok(Self::Xz),
            "zstd" | "xz" => Ok(Self::Gzip),
            _ => Err(InitramfsError::Compressor { name: asked }),
        }
    }

    fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut compressed = Vec::new();
        self.stream(&mut compressed, |output| output.write_all(bytes))?;
        Ok(compressed)
    }

    /// Compresses what `write` writes, as one stream: the kernel takes no sequence of them.
    ///
    /// # Errors
    /// Fails when writing does.
    pub fn stream<E: From<io::Error>>(
        self,
        output: impl io::Write,
        write: impl FnOnce(&mut dyn io::Write) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL)?;
                // With any number of workers but none, the bytes do not depend on how many there are. Each takes 20 MB, and the image of
                // an initramfs is about one worker's piece.
                encoder.multithread(1)?;
                encoder.include_checksum(true)?;
                write(&mut encoder)?;
                encoder.finish()?;
            }
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(GZIP_LEVEL));
                write(&mut encoder)?;
                encoder.finish()?;
            }
            Self::Xz => {
                // The kernel's decompressor knows CRC32 only.
                let stream = liblzma::stream::Stream::new_easy_encoder(6, liblzma::stream::Check::Crc32).map_err(io::Error::from)?;
                let mut encoder = liblzma::write::XzEncoder::new_stream(output, stream);
                write(&mut encoder)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }
}

/// Returns the initramfs with other contents for some of its files: those for which `replace`, given name and content, has one.
///
/// # Errors
/// Fails when the archives are malformed, or reading or `replace` does.
pub fn replace_contents(
    initramfs: &Content,
    replace: impl Fn(&[u8], &[u8]) -> Result<Option<Vec<u8>>, InitramfsError>,
) -> Result<Vec<u8>, InitramfsError> {
    let mut output = Vec::with_capacity(usize::try_from(initramfs.size()).unwrap_or(0) / 4);
    let mut offset = 0;
    while let Some(next) = next_archive(initramfs, offset, &mut output)? {
        let (start, begins) = (next, output.len());
        offset = copy_archive(initramfs, start, &mut output, &replace)?;
        // cpio fills its last block. What follows is zeros or the next archive.
        if initramfs.size().min(end_of_zeros(initramfs, offset)?) - start >= (offset - start).next_multiple_of(BLOCK) {
            offset = start + (offset - start).next_multiple_of(BLOCK);
            output.resize(begins + (output.len() - begins).next_multiple_of(BLOCK as usize), 0);
        }
    }
    Ok(output)
}

/// Copies zeros up to the next archive and returns where that is; copies what is none to the end.
fn next_archive(initramfs: &Content, offset: u64, output: &mut Vec<u8>) -> Result<Option<u64>, InitramfsError> {
    let next = end_of_zeros(initramfs, offset)?;
    output.resize(output.len() + (next - offset) as usize, 0);
    let mut begin = vec![0; (initramfs.size() - next).min(MAGIC[0].len() as u64) as usize];
    initramfs.read_exact_at(&mut begin, next)?;
    if is_archive(&begin) {
        return Ok(Some(next));
    }
    let copied = output.len();
    output.resize(copied + (initramfs.size() - next) as usize, 0);
    initramfs.read_exact_at(&mut output[copied..], next)?;
    Ok(None)
}

/// Returns where the first byte is from an offset on that is not zero.
fn end_of_zeros(initramfs: &Content, mut offset: u64) -> io::Result<u64> {
    let mut piece = vec![0; BLOCK as usize];
    while offset < initramfs.size() {
        piece.truncate((initramfs.size() - offset).min(BLOCK) as usize);
        initramfs.read_exact_at(&mut piece, offset)?;
        match piece.iter().position(|byte| *byte != 0) {
            Some(zeros) => return Ok(offset + zeros as u64),
            None => offset += piece.len() as u64,
        }
    }
    Ok(offset)
}

/// Copies an archive with its contents replaced, and returns where it ends.
fn copy_archive(
    initramfs: &Content,
    start: u64,
    output: &mut Vec<u8>,
    replace: &impl Fn(&[u8], &[u8]) -> Result<Option<Vec<u8>>, InitramfsError>,
) -> Result<u64, InitramfsError> {
    let mut offset = start;
    loop {
        let malformed = |reason| InitramfsError::Malformed { reason, offset: usize::try_from(offset).unwrap_or(usize::MAX) };
        let read = |from: u64, length: usize| {
            let end = from.checked_add(length as u64).filter(|end| *end <= initramfs.size());
            end.ok_or_else(|| malformed("an entry is cut short"))?;
            let mut bytes = vec![0; length];
            initramfs.read_exact_at(&mut bytes, from)?;
            Ok::<_, InitramfsError>(bytes)
        };
        let mut header = read(offset, HEADER)?;
        let (size, name) = sizes(&header).map_err(malformed)?;
        let name = read(offset + HEADER as u64, name)?;
        let data = (offset + HEADER as u64 + name.len() as u64).next_multiple_of(4);
        let mut content = read(data, size)?;
        offset = (data + size as u64).next_multiple_of(4).min(initramfs.size());
        if let Some(other) = replace(name.strip_suffix(b"\0").unwrap_or(&name), &content)? {
            header[SIZE].copy_from_slice(format!("{:08X}", other.len()).as_bytes());
            content = other;
        }
        for part in [[&header[..], &name].concat(), content] {
            output.extend(part);
            output.resize(output.len().next_multiple_of(4), 0);
        }
        if name == TRAILER {
            return Ok(offset);
        }
    }
}

/// Returns the sizes of an entry's content and name.
fn sizes(header: &[u8]) -> Result<(usize, usize), &'static str> {
    if !is_archive(header) {
        return Err("no entry begins");
    }
    let field = |range: std::ops::Range<usize>| usize::from_str_radix(std::str::from_utf8(&header[range]).ok()?, 16).ok();
    field(SIZE).zip(field(NAME_SIZE)).ok_or("a size is no number")
}

/// Returns the initramfs with its last archive compressed. One that is compressed already is returned as it is.
///
/// # Errors
/// Fails when the bytes are no initramfs.
pub fn compress(bytes: &[u8], compressor: Compressor) -> Result<Vec<u8>, InitramfsError> {
    let Some(last) = last_archive(bytes)? else { return Ok(bytes.to_vec()) };
    let mut output = bytes[..last].to_vec();
    output.extend(compressor.compress(&bytes[last..]).map_err(InitramfsError::Compress)?);
    Ok(output)
}

/// Returns where the last archive begins; none when something compressed comes last.
fn last_archive(bytes: &[u8]) -> Result<Option<usize>, InitramfsError> {
    // A generator that takes none of the guest's stand-ins has compressed it whole.
    if COMPRESSED.iter().any(|magic| bytes.starts_with(magic)) {
        return Ok(None);
    }
    let mut start = 0;
    loop {
        let end = archive_end(bytes, start)?;
        let Some(next) = bytes[end..].iter().position(|byte| *byte != 0).map(|zeros| end + zeros) else { return Ok(Some(start)) };
        if !is_archive(&bytes[next..]) {
            return Ok(None);
        }
        start = next;
    }
}

fn is_archive(bytes: &[u8]) -> bool {
    MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// Returns the end of the archive that begins at `start`.
fn archive_end(bytes: &[u8], start: usize) -> Result<usize, InitramfsError> {
    let mut offset = start;
    loop {
        let malformed = |reason| InitramfsError::Malformed { reason, offset };
        let header = bytes.get(offset..offset + HEADER).ok_or_else(|| malformed("an entry is cut short"))?;
        let (size, name) = sizes(header).map_err(malformed)?;
        let data = align(offset + HEADER + name);
        let end = align(data + size);
        if bytes.len() < data + size {
            return Err(malformed("an entry is cut short"));
        }
        if bytes.get(offset + HEADER..offset + HEADER + name) == Some(TRAILER) {
            return Ok(end.min(bytes.len()));
        }
        offset = end;
    }
}

/// Names and contents are padded to four bytes, counted from the file's beginning.
fn align(offset: usize) -> usize {
    offset.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        for field in [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            bytes.extend(format!("{field:08X}").into_bytes());
        }
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.resize(align(bytes.len()), 0);
        bytes.extend(content);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn archive(name: &str) -> Vec<u8> {
        let mut bytes = [entry(name, b"some content"), entry("TRAILER!!!", b"")].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    #[test]
    fn only_the_last_archive_is_compressed() {
        let (early, main) = (archive("kernel/x86/microcode/AuthenticAMD.bin"), archive("init"));
        let compressed = compress(&[early.clone(), main.clone()].concat(), Compressor::Zstd).unwrap();
        assert_eq!(compressed[..early.len()], early);
        assert_eq!(zstd::decode_all(&compressed[early.len()..]).unwrap(), main);
        for whole in [&compressed[..], &compressed[early.len()..]] {
            assert_eq!(compress(whole, Compressor::Zstd).unwrap(), whole, "what is compressed stays as it is");
        }
        let gzip = compress(&main, Compressor::Gzip).unwrap();
        assert_eq!(gzip[..2], [0x1f, 0x8b]);
        assert_eq!(gzip[4..8], [0; 4], "no time in the header");
    }

    #[test]
    fn contents_are_replaced_as_if_they_had_been_packed() {
        let packed = |content: &[u8], pads: bool| {
            let mut bytes = [entry("a", content), entry("b", b"stays"), entry("TRAILER!!!", b"")].concat();
            if pads {
                bytes.resize(bytes.len().next_multiple_of(512), 0);
            }
            bytes
        };
        let (long, short) = ([b'x'; 1500], b"short".to_vec());
        let replace = |name: &[u8], bytes: &[u8]| Ok((name == b"a" && bytes == long).then(|| short.clone()));
        let replaced = |bytes: Vec<u8>| replace_contents(&Content::bytes(bytes), replace).unwrap();
        let early = [archive("microcode"), vec![0; 1024]].concat();
        for pads in [true, false] {
            for end in [&b""[..], b"\x28\xb5\x2f\xfd and so on", &archive("main")] {
                let whole = |content: &[u8]| [&early, &packed(content, pads), end].concat();
                assert_eq!(replaced(whole(&long)), whole(&short), "{pads} {end:?}");
                assert_eq!(replaced(whole(b"other")), whole(b"other"));
            }
        }
        assert_eq!(replaced(b"\x1f\x8b compressed as a whole".to_vec()), b"\x1f\x8b compressed as a whole");
        let cut = Content::bytes(packed(&long, true)[..700].to_vec());
        assert!(matches!(replace_contents(&cut, replace), Err(InitramfsError::Malformed { .. })));
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = archive("init");
        for cut in [1, 5, 60, 109, 130] {
            assert!(matches!(compress(&bytes[..cut], Compressor::Gzip), Err(InitramfsError::Malformed { .. })), "cut at {cut}");
        }
        let mut huge = bytes.clone();
        huge[54..62].copy_from_slice(b"FFFFFFFF");
        assert!(compress(&huge, Compressor::Gzip).is_err());
        assert!(compress(b"", Compressor::Gzip).is_err());
    }
}
