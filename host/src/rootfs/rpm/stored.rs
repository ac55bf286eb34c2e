//! Payloads that are not compressed, in the formats of compressors.
//!
//! A package's header says how its payload is compressed, and the header must stay as it is: it is signed, and rpm writes it into
//! its database. But every format has a way to say "these bytes as they are", and that is what the guest reads: copying costs
//! nothing there, decompressing does.
//!
//! | compressor | how bytes are stored |
//! |---|---|
//! | zstd | a frame of raw blocks (RFC 8878, section 3.1.1.2) |
//! | xz | a stream of one block with uncompressed LZMA2 chunks and no check (xz file format 1.2, section 5.3.1) |
//! | gzip | no format at all: zlib reads a file that does not begin like gzip as it is, and documents so |

use std::io::{self, Read, Write};

/// Bytes of a raw zstd block, the most that one may have.
const ZSTD_BLOCK: usize = 128 << 10;
/// Bytes of an uncompressed LZMA2 chunk, the most that one may have.
const LZMA2_CHUNK: usize = 64 << 10;

/// How a payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// As it is.
    Plain,
    /// As zstd.
    Zstd,
    /// As xz.
    Xz,
}

impl Container {
    /// Writes all that `reader` has.
    ///
    /// # Errors
    /// Fails when reading or writing does.
    pub(super) fn store(self, reader: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Plain => io::copy(reader, output).map(drop),
            Self::Zstd => zstd(reader, output),
            Self::Xz => xz(reader, output),
        }
    }
}

/// Fills a buffer as far as there is something to read.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn zstd(reader: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    // Magic number; no checksum, no size; a window of 128 KiB, which is what a block may need.
    output.write_all(&[0x28, 0xb5, 0x2f, 0xfd, 0, (17 - 10) << 3])?;
    let mut block = vec![0; ZSTD_BLOCK];
    loop {
        let count = fill(reader, &mut block)?;
        let last = count < block.len();
        let header = u32::from(last) | u32::try_from(count).unwrap_or(u32::MAX) << 3;
        output.write_all(&header.to_le_bytes()[..3])?;
        output.write_all(&block[..count])?;
        if last {
            return Ok(());
        }
    }
}

fn xz(reader: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    // Stream flags: no check.
    let flags = [0, 0];
    output.write_all(&[0xfd, b'7', b'z', b'X', b'Z', 0])?;
    output.write_all(&flags)?;
    output.write_all(&crc32(&flags).to_le_bytes())?;
    // Block header of 12 bytes: one filter, LZMA2 (0x21), with one byte of properties: a dictionary of 64 KiB.
    let header = [2, 0, 0x21, 1, 8, 0, 0, 0];
    output.write_all(&header)?;
    output.write_all(&crc32(&header).to_le_bytes())?;
    let (mut packed, mut size) = (12_u64, 0_u64);
    let mut chunk = vec![0; LZMA2_CHUNK];
    loop {
        let count = fill(reader, &mut chunk)?;
        if count == 0 {
            break;
        }
        // Without compression; the first chunk resets the dictionary.
        let control = if size == 0 { 1 } else { 2 };
        let [.., high, low] = (u32::try_from(count - 1).unwrap_or(u32::MAX)).to_be_bytes();
        output.write_all(&[control, high, low])?;
        output.write_all(&chunk[..count])?;
        packed += 3 + count as u64;
        size += count as u64;
    }
    output.write_all(&[0])?;
    packed += 1;
    output.write_all(&[0; 3][..(packed.next_multiple_of(4) - packed) as usize])?;
    let mut index = vec![0, 1];
    push_number(&mut index, packed);
    push_number(&mut index, size);
    index.resize(index.len().next_multiple_of(4), 0);
    output.write_all(&index)?;
    output.write_all(&crc32(&index).to_le_bytes())?;
    // The footer counts the index in words, itself with its checksum, less one.
    let words = u32::try_from(index.len() / 4).unwrap_or(u32::MAX);
    let footer = [&words.to_le_bytes()[..], &flags].concat();
    output.write_all(&crc32(&footer).to_le_bytes())?;
    output.write_all(&footer)?;
    output.write_all(b"YZ")
}

/// Appends a number in xz's multibyte form: seven bits a byte, the lowest first.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(container: Container, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        container.store(&mut &*bytes, &mut output).unwrap();
        output
    }

    fn check(bytes: &[u8]) {
        assert_eq!(stored(Container::Plain, bytes), bytes);
        assert_eq!(zstd::decode_all(&*stored(Container::Zstd, bytes)).unwrap(), bytes);
        let mut decoded = Vec::new();
        let xz = stored(Container::Xz, bytes);
        assert_eq!(xz.len() % 4, 0);
        liblzma::bufread::XzDecoder::new(&*xz).read_to_end(&mut decoded).unwrap();
        assert_eq!(decoded, bytes);
    }

    #[test]
    fn decoders_of_others_read_what_is_stored() {
        for size in [0, 1, 3, LZMA2_CHUNK - 1, LZMA2_CHUNK, LZMA2_CHUNK + 1, ZSTD_BLOCK - 1, ZSTD_BLOCK, ZSTD_BLOCK + 1, 3 << 20] {
            check(&(0..size).map(|index| (index * 7 + index / 251) as u8).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            check(&bytes);
        }
    }
}
