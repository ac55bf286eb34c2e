//! Compresses an initramfs natively that the guest has left uncompressed.
//!
//! An initramfs is one or more cpio archives in the newc format, one after the other, zeros between them (Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`). Generators compress the last one only: what comes before is
//! microcode, which the kernel reads before it can decompress anything, and modules that are compressed already.

use std::io;

use crate::rootfs::RootTree;

/// How every entry of an archive in the newc format begins; the second has checksums.
const MAGIC: [&[u8]; 2] = [b"070701", b"070702"];
/// How what the kernel can decompress begins: gzip, zstd, xz, lzma, lz4, bzip2, lzop (Linux, `lib/decompress.c`).
const COMPRESSED: [&[u8]; 7] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x5d\0\0", b"\x02\x21\x4c\x18", b"BZh", b"\x89LZO"];
/// The length of an entry's header.
const HEADER: usize = 110;
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
    /// Compressing failed.
    #[error("cannot compress")]
    Compress(#[from] io::Error),
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
                // With any number of workers but none, the bytes do not depend on how many there are.
                encoder.multithread(std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)))?;
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

/// Returns the initramfs with its last archive compressed. One that is compressed already is returned as it is.
///
/// # Errors
/// Fails when the bytes are no initramfs.
pub fn compress(bytes: &[u8], compressor: Compressor) -> Result<Vec<u8>, InitramfsError> {
    let Some(last) = last_archive(bytes)? else { return Ok(bytes.to_vec()) };
    let mut output = bytes[..last].to_vec();
    output.extend(compressor.compress(&bytes[last..])?);
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
        if !is_archive(header) {
            return Err(malformed("no entry begins"));
        }
        let field = |index: usize| {
            let digits = std::str::from_utf8(&header[6 + index * 8..14 + index * 8]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (size, name) = field(6).zip(field(11)).ok_or_else(|| malformed("a size is no number"))?;
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
