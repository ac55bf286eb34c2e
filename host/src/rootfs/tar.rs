//! Writes a tree as an uncompressed tar archive: the form in which filesystem makers take it.
//!
//! POSIX ustar with pax records only where ustar cannot say it: long names, large files and numbers, extended attributes
//! (`SCHILY.xattr.`). The order is that of the tree's walk, so equal trees give equal bytes.

use std::io::{self, Read, Write};

use super::{
    content::Content,
    path::Shown,
    tree::{Entry, Kind, Metadata, RootTree},
};

const BLOCK: usize = 512;
/// How much is copied at once.
const CHUNK: usize = 1 << 20;

/// Why a tree cannot be written as an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarWriteError {
    /// The content of a file cannot be read.
    #[error("cannot read the content of `{path}`")]
    Content {
        /// The file in the tree.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[from] io::Error),
}

/// Writes a tree to `output` and returns how many bytes that took.
///
/// Sockets are left out: no archive can hold them, and nothing needs them.
///
/// # Errors
/// Fails when a file cannot be read or the output cannot be written.
pub fn write_tree(tree: &RootTree, output: &mut impl Write) -> Result<u64, TarWriteError> {
    let mut writer = Writer { output, written: 0, buffer: vec![0; CHUNK] };
    for entry in tree.walk() {
        writer.entry(&entry)?;
    }
    writer.put(&[0; 2 * BLOCK])?;
    Ok(writer.written)
}

/// Returns how many bytes [`write_tree`] writes for a tree.
#[must_use]
pub fn tree_size(tree: &RootTree) -> u64 {
    let mut size = 2 * BLOCK as u64;
    for entry in tree.walk() {
        if let Some(header) = header(&entry) {
            size += header.len() as u64 + content_of(&entry).map_or(0, |content| content.size().next_multiple_of(BLOCK as u64));
        }
    }
    size
}

struct Writer<'a, W> {
    output: &'a mut W,
    written: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), TarWriteError> {
        let Some(header) = header(entry) else { return Ok(()) };
        self.put(&header)?;
        let Some(content) = content_of(entry) else { return Ok(()) };
        let mut reader = content.reader();
        let mut left = content.size();
        while left > 0 {
            let wanted = left.min(CHUNK as u64) as usize;
            let mut buffer = std::mem::take(&mut self.buffer);
            let count = reader
                .read(&mut buffer[..wanted])
                .and_then(|count| if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) })
                .map_err(|source| TarWriteError::Content { path: Shown(&entry.path).to_string(), source })?;
            self.put(&buffer[..count])?;
            self.buffer = buffer;
            left -= count as u64;
        }
        let padding = (BLOCK - (content.size() % BLOCK as u64) as usize) % BLOCK;
        self.put(&[0; BLOCK][..padding])?;
        Ok(())
    }
}

/// Returns the content that follows an entry's header.
fn content_of<'a>(entry: &Entry<'a>) -> Option<&'a Content> {
    match (&entry.inode.kind, &entry.link_to) {
        (Kind::File(content), None) => Some(content),
        _ => None,
    }
}

/// Returns the header blocks of an entry, none for a socket.
fn header(entry: &Entry<'_>) -> Option<Vec<u8>> {
    // Archives of trees are unpacked relative to a folder; a leading `./` is what every reader takes.
    let mut path = [b".", &entry.path[..]].concat();
    let is_directory = matches!(entry.inode.kind, Kind::Directory(_));
    if is_directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    let (kind, link, device) = match (&entry.inode.kind, &entry.link_to) {
        (_, Some(first)) => (b'1', [b".", &first[..]].concat(), None),
        (Kind::Directory(_), _) => (b'5', Vec::new(), None),
        (Kind::File(_), _) => (b'0', Vec::new(), None),
        (Kind::Symlink(target), _) => (b'2', target.to_vec(), None),
        (Kind::CharDevice { major, minor }, _) => (b'3', Vec::new(), Some((*major, *minor))),
        (Kind::BlockDevice { major, minor }, _) => (b'4', Vec::new(), Some((*major, *minor))),
        (Kind::Fifo, _) => (b'6', Vec::new(), None),
        (Kind::Socket, _) => return None,
    };
    let size = content_of(entry).map_or(0, Content::size);
    let metadata = &entry.inode.metadata;
    let mut block = Block::new(metadata, kind, size);
    let mut records = Vec::new();
    if !block.set_path(&path) {
        record(&mut records, b"path", &path);
    }
    if link.len() > 100 {
        record(&mut records, b"linkpath", &link);
    } else {
        block.0[157..157 + link.len()].copy_from_slice(&link);
    }
    if let Some((major, minor)) = device {
        block.number(329..337, u64::from(major));
        block.number(337..345, u64::from(minor));
    }
    for (key, value, limit) in [
        ("size", i64::try_from(size).unwrap_or(i64::MAX), 0o77_777_777_777),
        ("uid", i64::from(metadata.uid), 0o7_777_777),
        ("gid", i64::from(metadata.gid), 0o7_777_777),
        ("mtime", metadata.mtime, 0o77_777_777_777),
    ] {
        if !(0..=limit).contains(&value) {
            record(&mut records, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    if entry.link_to.is_none() {
        for (name, value) in &metadata.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
    }
    let mut header = Vec::new();
    if !records.is_empty() {
        let mut extended = Block::new(&Metadata { mode: 0o644, ..Metadata::default() }, b'x', records.len() as u64);
        extended.set_path(b"./PaxHeaders/entry");
        header.extend_from_slice(&extended.finish());
        header.extend_from_slice(&records);
        header.resize(header.len().next_multiple_of(BLOCK), 0);
    }
    header.extend_from_slice(&block.finish());
    Some(header)
}

/// Appends a pax record: its own length in decimal, counting those digits too.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// A header block.
struct Block([u8; BLOCK]);

impl Block {
    /// Fills in what every entry has; numbers that do not fit stay 0 and are left to a pax record.
    fn new(metadata: &Metadata, kind: u8, size: u64) -> Self {
        let mut block = Self([0; BLOCK]);
        block.number(100..108, u64::from(metadata.mode));
        block.number(108..116, u64::from(metadata.uid));
        block.number(116..124, u64::from(metadata.gid));
        block.number(124..136, size);
        block.number(136..148, u64::try_from(metadata.mtime).unwrap_or(0));
        block.0[156] = kind;
        block.0[257..265].copy_from_slice(b"ustar\x0000");
        block
    }

    fn number(&mut self, field: std::ops::Range<usize>, value: u64) {
        let width = field.len() - 1;
        let text = format!("{value:0width$o}");
        let text = if text.len() > width { "0".repeat(width) } else { text };
        self.0[field.start..field.end - 1].copy_from_slice(text.as_bytes());
    }

    /// Sets the path, split at a slash where it is long. Returns whether it fits.
    fn set_path(&mut self, path: &[u8]) -> bool {
        if path.len() <= 100 {
            self.0[..path.len()].copy_from_slice(path);
            return true;
        }
        // Not behind the leading `.`: mksquashfs takes that for a name then.
        let split = (path.len().saturating_sub(101).max(2)..path.len().min(156)).find(|at| path[*at] == b'/' && *at + 1 < path.len());
        let Some(at) = split else {
            self.0[..100].copy_from_slice(&path[..100]);
            return false;
        };
        self.0[345..345 + at].copy_from_slice(&path[..at]);
        self.0[..path.len() - at - 1].copy_from_slice(&path[at + 1..]);
        true
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.0[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_split_behind_their_first_folder() {
        for length in 95..160 {
            let path = format!("./usr/{}/file", "d".repeat(length - 11));
            let mut block = Block::new(&Metadata::default(), b'0', 0);
            let fits = block.set_path(path.as_bytes());
            let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&block.0[range]).trim_end_matches('\0').to_owned();
            let (prefix, name) = (text(345..500), text(0..100));
            assert_ne!(prefix, ".");
            let whole = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            assert!(!fits || whole == path, "{whole}");
            assert_eq!(fits, length <= 155 + 5, "{length}");
        }
    }
}
