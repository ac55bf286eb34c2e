//! Reads the table of an uncompressed tar archive that lies in a file; contents stay where they are.
//!
//! Understands what Debian packages and other archives in use contain: POSIX ustar, GNU long names and base-256 numbers, and
//! pax records for paths, sizes, owners, times and extended attributes. Every length is checked against the archive.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{content::HostFile, path::Shown, tree::Metadata};

/// The size of a record.
pub(crate) const BLOCK: u64 = 512;
/// The longest pax or GNU header that is read.
const MAX_EXTENSION: u64 = 1 << 20;
/// The most entries that an archive may have.
const MAX_ENTRIES: usize = 4_000_000;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Reading failed.
    #[error("cannot read the archive")]
    Read(#[from] io::Error),
    /// The bytes are not a tar archive.
    #[error("the archive is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where, from the archive's start.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry is of a kind that a filesystem does not have.
    #[error("`{path}` is of the unknown kind {kind:?}")]
    UnknownKind {
        /// The entry.
        path: String,
        /// The type flag.
        kind: char,
    },
}

/// What an entry of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarKind {
    /// A regular file: where its content is in the file that was read, and how long it is.
    File {
        /// Offset in the file of the host.
        offset: u64,
        /// Length in bytes.
        size: u64,
    },
    /// A further name of an earlier entry.
    HardLink(Vec<u8>),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// An entry of an archive.
#[derive(Debug, Clone)]
pub struct TarEntry {
    /// Its path as the archive has it, without a trailing slash.
    pub path: Vec<u8>,
    /// Owner, mode and so on.
    pub metadata: Metadata,
    /// What it is.
    pub kind: TarKind,
}

/// What extension headers say about the entry after them.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Reads the table of the archive that is `length` bytes from `start` on in `file`.
///
/// # Errors
/// Fails when the file cannot be read or is not a tar archive.
pub fn read_table(file: &Arc<HostFile>, start: u64, length: u64) -> Result<Vec<TarEntry>, TarError> {
    let mut entries = Vec::new();
    let mut extensions = Extensions::default();
    let mut position = 0;
    let damaged = |offset, reason| TarError::Damaged { offset, reason };
    while length - position >= BLOCK {
        let mut header = [0; BLOCK as usize];
        file.read_exact_at(&mut header, start + position)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        verify_checksum(&header).ok_or(damaged(position, "the checksum of a header is wrong"))?;
        let kind = header[156];
        let is_extension = matches!(kind, b'x' | b'g' | b'L' | b'K');
        let stated = number(&header[124..136]).ok_or(damaged(position, "a size is not a number"))?;
        let size = if is_extension { stated } else { extensions.size.unwrap_or(stated) };
        let has_content = is_extension || matches!(kind, 0 | b'0' | b'7');
        let occupied = if has_content { size } else { 0 };
        let content = position + BLOCK;
        let end = content.checked_add(occupied).filter(|end| *end <= length).ok_or(damaged(position, "an entry goes beyond the end"))?;
        if is_extension {
            if size > MAX_EXTENSION {
                return Err(damaged(position, "an extension header is too long"));
            }
            let mut value = vec![0; size as usize];
            file.read_exact_at(&mut value, start + content)?;
            extensions.take(kind, &value).ok_or(damaged(position, "an extension header is malformed"))?;
        } else {
            let entry = entry(&header, std::mem::take(&mut extensions), start + content, size);
            entries.push(entry.map_err(|reason| damaged(position, reason))??);
            if entries.len() > MAX_ENTRIES {
                return Err(damaged(position, "it has too many entries"));
            }
        }
        position = end.next_multiple_of(BLOCK).min(length);
    }
    Ok(entries)
}

/// Builds an entry from its header. The outer error is a damaged header, the inner one an unknown kind.
fn entry(header: &[u8; 512], extensions: Extensions, offset: u64, size: u64) -> Result<Result<TarEntry, TarError>, &'static str> {
    let field = |range: std::ops::Range<usize>| number(&header[range]).ok_or("a number in a header is malformed");
    let narrow = |value: u64| u32::try_from(value).map_err(|_| "an owner or device number is too large");
    let mut path = extensions.path.unwrap_or_else(|| header_path(header));
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    let metadata = Metadata {
        mode: (field(100..108)? & 0o7777) as u16,
        uid: narrow(extensions.uid.map_or_else(|| field(108..116), Ok)?)?,
        gid: narrow(extensions.gid.map_or_else(|| field(116..124), Ok)?)?,
        mtime: match extensions.mtime {
            Some(mtime) => mtime,
            None => i64::try_from(field(136..148)?).unwrap_or(0),
        },
        xattrs: extensions.xattrs,
    };
    let link = || extensions.link.unwrap_or_else(|| text(&header[157..257]).to_vec());
    let kind = match header[156] {
        0 | b'0' | b'7' => TarKind::File { offset, size },
        b'1' => TarKind::HardLink(link()),
        b'2' => TarKind::Symlink(link()),
        b'3' => TarKind::CharDevice(narrow(field(329..337)?)?, narrow(field(337..345)?)?),
        b'4' => TarKind::BlockDevice(narrow(field(329..337)?)?, narrow(field(337..345)?)?),
        b'5' => TarKind::Directory,
        b'6' => TarKind::Fifo,
        kind => return Ok(Err(TarError::UnknownKind { path: Shown(&path).to_string(), kind: char::from(kind) })),
    };
    Ok(Ok(TarEntry { path, metadata, kind }))
}

impl Extensions {
    /// Takes an extension header. Returns none when it is malformed.
    fn take(&mut self, kind: u8, value: &[u8]) -> Option<()> {
        match kind {
            b'L' => self.path = Some(text(value).to_vec()),
            b'K' => self.link = Some(text(value).to_vec()),
            // Global headers carry comments in practice, and nothing that is read here.
            b'g' => {}
            _ => {
                let mut rest = value;
                while !rest.is_empty() {
                    let space = rest.iter().position(|byte| *byte == b' ')?;
                    let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
                    let record = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
                    rest = &rest[length..];
                    let equals = record.iter().position(|byte| *byte == b'=')?;
                    self.record(&record[..equals], &record[equals + 1..])?;
                }
            }
        }
        Some(())
    }

    /// Takes one pax record.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => {
                let whole = value.split(|byte| *byte == b'.').next()?;
                self.mtime = Some(std::str::from_utf8(whole).ok()?.parse().ok()?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Some(())
    }
}

/// Returns bytes up to the first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Returns the path in a header, with the prefix that POSIX archives have.
fn header_path(header: &[u8; 512]) -> Vec<u8> {
    let name = text(&header[..100]);
    let prefix = if &header[257..263] == b"ustar\0" { text(&header[345..500]) } else { &[] };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Returns a number of a header: octal text, or base 256 when the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (first, rest) = field.split_first()?;
        return rest.iter().try_fold(u64::from(first & 0x7f), |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Returns whether the checksum of a header is right.
fn verify_checksum(header: &[u8; 512]) -> Option<()> {
    let sum: u64 = header.iter().enumerate().map(|(index, byte)| if (148..156).contains(&index) { 32 } else { u64::from(*byte) }).sum();
    (number(&header[148..156])? == sum).then_some(())
}
