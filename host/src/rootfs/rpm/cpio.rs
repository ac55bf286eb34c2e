//! The archives in packages: cpio as rpm writes it.
//!
//! Every entry has a header in hexadecimal text (`070701`, or `070702` with a checksum) with the file's metadata, its name and its
//! content. Packages of rpm 6 and those with a file of 4 GiB or more have `07070X` and the number of the file in the package's
//! header instead of metadata and name.

use std::io::{self, Read};

/// Length of a header with metadata: the magic and 13 numbers of eight digits.
const HEADER: usize = 110;
/// Length of a header that has only the number of a file.
const STRIPPED_HEADER: usize = 14;
/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// The longest name, as the kernel's `PATH_MAX`.
const MAX_NAME: u64 = 4096;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// Reading fails, or the archive ends too early.
    #[error("the archive in it cannot be read")]
    Read(#[from] io::Error),
    /// It is malformed.
    #[error("the archive in it is damaged: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
}

/// What an archive, or a package's header, says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// The path, absolute or beginning with `.`.
    pub(super) path: Vec<u8>,
    /// Kind and permission bits.
    pub(super) mode: u32,
    /// Number that files with the same content share.
    pub(super) inode: u64,
    /// How many do.
    pub(super) links: u64,
    /// Time of last modification.
    pub(super) mtime: i64,
    /// Bytes of the content.
    pub(super) size: u64,
}

/// Reads an archive from its beginning.
pub(super) struct Archive<'a, R> {
    reader: R,
    /// The files of the package's header, which stripped entries refer to.
    files: &'a [FileFacts],
    position: u64,
    /// What of the current entry has not been read.
    left: u64,
}

impl<'a, R: Read> Archive<'a, R> {
    pub(super) fn new(reader: R, files: &'a [FileFacts]) -> Self {
        Self { reader, files, position: 0, left: 0 }
    }

    /// Goes to the next entry; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<FileFacts>, CpioError> {
        let malformed = |reason| CpioError::Malformed { reason };
        self.skip(self.left)?;
        self.left = 0;
        self.align()?;
        let mut header = [0; HEADER];
        self.fill(&mut header[..STRIPPED_HEADER])?;
        match &header[..6] {
            b"07070X" => {
                let index = number(&header[6..STRIPPED_HEADER]).ok_or_else(|| malformed("a number is none"))?;
                let facts = usize::try_from(index).ok().and_then(|index| self.files.get(index));
                let facts = facts.ok_or_else(|| malformed("it has a file that the header has not"))?.clone();
                self.align()?;
                self.left = facts.size;
                Ok(Some(facts))
            }
            b"070701" | b"070702" => {
                self.fill(&mut header[STRIPPED_HEADER..])?;
                let facts = self.with_metadata(&header)?;
                self.left = facts.size;
                Ok((facts.path != TRAILER).then_some(facts))
            }
            _ => Err(malformed("no entry begins where one should")),
        }
    }

    fn with_metadata(&mut self, header: &[u8; HEADER]) -> Result<FileFacts, CpioError> {
        let field = |index: usize| {
            number(&header[6 + index * 8..14 + index * 8]).ok_or(CpioError::Malformed { reason: "a number in an entry is none" })
        };
        let length = field(11)?;
        if length == 0 || length > MAX_NAME {
            return Err(CpioError::Malformed { reason: "a name is empty or too long" });
        }
        let mut path = vec![0; length as usize];
        self.fill(&mut path)?;
        if path.pop() != Some(0) {
            return Err(CpioError::Malformed { reason: "a name does not end" });
        }
        self.align()?;
        Ok(FileFacts { path, mode: field(1)? as u32, inode: field(0)?, links: field(4)?, mtime: field(5)? as i64, size: field(6)? })
    }

    /// Reads the content of the current entry.
    pub(super) fn content(&mut self, limit: u64) -> Result<Vec<u8>, CpioError> {
        if self.left > limit {
            return Err(CpioError::Malformed { reason: "a file is too large to be a program" });
        }
        // Grows as bytes arrive: a size is only an announcement.
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(self.left).read_to_end(&mut bytes)? as u64;
        if read < self.left {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.position += read;
        self.left = 0;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.reader).take(count), &mut io::sink())?;
        self.position += skipped;
        if skipped < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Headers, names and contents are padded to four bytes.
    fn align(&mut self) -> io::Result<()> {
        self.skip(self.position.next_multiple_of(4) - self.position)
    }
}

/// Reads eight hexadecimal digits.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, mode: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        for field in [7, mode as usize, 0, 0, 1, 99, content.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            bytes.extend(format!("{field:08x}").into_bytes());
        }
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn facts(path: &str, mode: u32, size: u64) -> FileFacts {
        FileFacts { path: path.into(), mode, inode: 7, links: 1, mtime: 99, size }
    }

    #[test]
    fn entries_are_read_in_both_forms() {
        let bytes = [entry("./usr/bin/rpm", 0o100_755, b"12345"), entry("./usr", 0o40_755, b""), entry("TRAILER!!!", 0, b"")].concat();
        let mut archive = Archive::new(&*bytes, &[]);
        assert_eq!(archive.next().unwrap().unwrap(), facts("./usr/bin/rpm", 0o100_755, 5));
        assert_eq!(archive.content(5).unwrap(), b"12345");
        assert_eq!(archive.next().unwrap().unwrap(), facts("./usr", 0o40_755, 0));
        assert!(archive.next().unwrap().is_none());
        // Contents may be passed over.
        let mut archive = Archive::new(&*bytes, &[]);
        archive.next().unwrap();
        assert_eq!(archive.next().unwrap().unwrap().path, b"./usr");

        let known = [facts("/a", 0o100_644, 0), facts("/b", 0o100_644, 6)];
        let stripped = [&b"07070X00000001\0\0"[..], b"binary\0\0", &entry("TRAILER!!!", 0, b"")].concat();
        let mut archive = Archive::new(&*stripped, &known);
        assert_eq!(archive.next().unwrap().unwrap(), known[1]);
        assert_eq!(archive.content(100).unwrap(), b"binary");
        assert!(archive.next().unwrap().is_none());
        assert!(Archive::new(&*stripped, &known[..1]).next().is_err());
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = entry("./usr/bin/rpm", 0o100_755, b"12345");
        for cut in [0, 5, 14, 109, 115, bytes.len() - 8] {
            let mut archive = Archive::new(&bytes[..cut], &[]);
            assert!(archive.next().and_then(|_| archive.content(100)).is_err(), "cut at {cut}");
        }
        let mut archive = Archive::new(&*bytes, &[]);
        archive.next().unwrap();
        assert!(archive.content(4).is_err(), "too large");
        let mut huge = bytes.clone();
        huge[94..102].copy_from_slice(b"ffffffff");
        assert!(Archive::new(&*huge, &[]).next().is_err(), "a name of 4 GiB");
        let mut odd = bytes;
        odd[60] = b'x';
        assert!(Archive::new(&*odd, &[]).next().is_err());
    }
}
