//! Writes a tree as a cpio archive in the newc format: what the kernel unpacks as an initramfs (Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! The format has no place for extended attributes, so that file capabilities are lost, and none for files of 4 GiB or more. The
//! content of a file with several names follows the last of them, as cpio(1) writes it. The order is that of the tree's walk, so
//! equal trees give equal bytes.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    path::Shown,
    tree::{Entry, InodeId, Kind, Metadata, RootTree},
};

/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Archives end at a multiple of this.
const BLOCK: u64 = 512;

/// Why a tree cannot be written as an archive.
#[derive(Debug, thiserror::Error)]
pub enum CpioWriteError {
    /// The content of a file cannot be read.
    #[error("cannot read the content of `{path}`")]
    Content {
        /// The file in the tree.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than the format can say.
    #[error("`{path}` has {size} bytes, and a file of an initramfs has less than 4 GiB")]
    TooLarge {
        /// The file in the tree.
        path: String,
        /// Its size.
        size: u64,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[from] io::Error),
}

/// Writes a tree to `output`. Sockets are left out: nothing can hold them, and nothing needs them.
///
/// # Errors
/// Fails when a file cannot be read, is too large, or the output cannot be written.
pub fn write_tree(tree: &RootTree, output: &mut impl Write) -> Result<(), CpioWriteError> {
    // The numbers of an inode's first and last name, and how many it has.
    let mut names: BTreeMap<InodeId, (u32, u32, u32)> = BTreeMap::new();
    for (number, entry) in (1..).zip(tree.walk()) {
        let (_, last, count) = names.entry(entry.id).or_insert((number, number, 0));
        (*last, *count) = (number, *count + 1);
    }
    let mut writer = Writer { output, written: 0 };
    for (number, entry) in (1..).zip(tree.walk()) {
        let (first, last, count) = names.get(&entry.id).copied().unwrap_or((number, number, 1));
        writer.entry(&entry, (first, count), number == last)?;
    }
    let end = Header { inode: 0, mode: 0, metadata: &Metadata::default(), links: 1, size: 0, device: (0, 0) };
    writer.header(&end, TRAILER)?;
    let padding = writer.written.next_multiple_of(BLOCK) - writer.written;
    writer.put(&vec![0; padding as usize])?;
    Ok(())
}

/// What an entry says of a file.
struct Header<'a> {
    inode: u32,
    /// Kind and permission bits.
    mode: u32,
    metadata: &'a Metadata,
    links: u32,
    size: u32,
    device: (u32, u32),
}

struct Writer<'a, W> {
    output: &'a mut W,
    written: u64,
}

impl<W: Write> Writer<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Names and contents are padded to four bytes.
    fn align(&mut self) -> io::Result<()> {
        let padding = (self.written.next_multiple_of(4) - self.written) as usize;
        self.put(&[0; 4][..padding])
    }

    fn header(&mut self, header: &Header<'_>, name: &[u8]) -> io::Result<()> {
        let Header { inode, mode, metadata, links, size, device } = header;
        let time = u32::try_from(metadata.mtime.max(0)).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let numbers = [*inode, *mode, metadata.uid, metadata.gid, *links, time, *size, 0, 0, device.0, device.1, name_size, 0];
        let mut text = "070701".to_owned();
        for number in numbers {
            text += &format!("{number:08x}");
        }
        self.put(text.as_bytes())?;
        self.put(name)?;
        self.put(&[0])?;
        self.align()
    }

    /// Writes one name of a file, and its content if it is the last one.
    fn entry(&mut self, entry: &Entry<'_>, (inode, links): (u32, u32), is_last: bool) -> Result<(), CpioWriteError> {
        let shown = || Shown(&entry.path).to_string();
        let (kind, device) = match &entry.inode.kind {
            Kind::Directory(_) => (0o040_000, (0, 0)),
            Kind::File(_) => (0o100_000, (0, 0)),
            Kind::Symlink(_) => (0o120_000, (0, 0)),
            Kind::CharDevice { major, minor } => (0o020_000, (*major, *minor)),
            Kind::BlockDevice { major, minor } => (0o060_000, (*major, *minor)),
            Kind::Fifo => (0o010_000, (0, 0)),
            Kind::Socket => return Ok(()),
        };
        let size = match &entry.inode.kind {
            Kind::File(content) if is_last => content.size(),
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let metadata = &entry.inode.metadata;
        let size = u32::try_from(size).map_err(|_| CpioWriteError::TooLarge { path: shown(), size })?;
        let links = if matches!(entry.inode.kind, Kind::Directory(_)) { 2 } else { links };
        let header = Header { inode, mode: kind | u32::from(metadata.mode & 0o7777), metadata, links, size, device };
        let name = entry.path.strip_prefix(b"/").filter(|name| !name.is_empty()).unwrap_or(b".");
        self.header(&header, name)?;
        match &entry.inode.kind {
            Kind::Symlink(target) => self.put(target)?,
            Kind::File(content) if is_last => {
                let copied = io::copy(&mut content.reader(), &mut *self.output);
                let copied = copied.map_err(|source| CpioWriteError::Content { path: shown(), source })?;
                self.written += copied;
                if copied != u64::from(size) {
                    return Err(CpioWriteError::Content { path: shown(), source: io::ErrorKind::UnexpectedEof.into() });
                }
            }
            _ => {}
        }
        Ok(self.align()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exec,
        rootfs::{Content, Inode, testing},
    };

    fn tree() -> RootTree {
        let mut tree = RootTree::new(Metadata::root_owned(0o755, 7));
        tree.write_file("etc/motd", Content::bytes(b"hello\n".to_vec()), 0o600, 7).unwrap();
        tree.write_file("usr/bin/one", Content::bytes(vec![b'x'; 5001]), 0o4755, 1_700_000_000).unwrap();
        let id = tree.resolve("/usr/bin/one").unwrap();
        tree.link("usr/bin/two", id).unwrap();
        tree.make_directories("dev", 7).unwrap();
        let null = Inode { metadata: Metadata::root_owned(0o666, 7), kind: Kind::CharDevice { major: 1, minor: 3 } };
        tree.insert("dev/null", null).unwrap();
        let link = Inode { metadata: Metadata::root_owned(0o777, 7), kind: Kind::Symlink(b"usr/bin/one".as_slice().into()) };
        tree.insert("init", link).unwrap();
        tree
    }

    #[test]
    fn cpio_lists_what_was_written() {
        let mut archive = Vec::new();
        write_tree(&tree(), &mut archive).unwrap();
        let mut again = Vec::new();
        write_tree(&tree(), &mut again).unwrap();
        assert!(archive == again && archive.len().is_multiple_of(512));
        let Some(cpio) = testing::tool("cpio") else {
            testing::skip("there is no cpio to read the archive");
            return;
        };
        let mut command = cpio.command();
        command.args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"]).env("TZ", "UTC").env("LC_ALL", "C");
        let (listing, fed) = exec::run_with_input(&mut command, |input| input.write_all(&archive)).unwrap();
        fed.unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&listing), @r"
        drwxr-xr-x   2 0        0               0 Jan  1  1970 .
        drwxr-xr-x   2 0        0               0 Jan  1  1970 dev
        crw-rw-rw-   1 0        0          1,   3 Jan  1  1970 dev/null
        drwxr-xr-x   2 0        0               0 Jan  1  1970 etc
        -rw-------   1 0        0               6 Jan  1  1970 etc/motd
        lrwxrwxrwx   1 0        0              11 Jan  1  1970 init -> usr/bin/one
        drwxr-xr-x   2 0        0               0 Nov 14  2023 usr
        drwxr-xr-x   2 0        0               0 Nov 14  2023 usr/bin
        -rwsr-xr-x   2 0        0               0 Nov 14  2023 usr/bin/one
        -rwsr-xr-x   2 0        0            5001 Nov 14  2023 usr/bin/two
        ");

        let folder = tempfile::tempdir().unwrap();
        let mut command = cpio.command();
        command.args(["--extract", "--quiet", "usr*", "etc*", "init"]).current_dir(folder.path());
        let (_, fed) = exec::run_with_input(&mut command, |input| input.write_all(&archive)).unwrap();
        fed.unwrap();
        for name in ["one", "two"] {
            assert_eq!(std::fs::read(folder.path().join("usr/bin").join(name)).unwrap(), vec![b'x'; 5001], "{name}");
        }
        assert_eq!(std::fs::read(folder.path().join("init")).unwrap().len(), 5001);
    }

    #[test]
    fn a_file_that_the_format_cannot_hold_is_refused() {
        let mut tree = RootTree::new(Metadata::root_owned(0o755, 7));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::File::create(&path).unwrap().set_len(1 << 32).unwrap();
        tree.write_file("srv/large", Content::whole_file(&path).unwrap(), 0o644, 7).unwrap();
        let error = write_tree(&tree, &mut io::sink()).unwrap_err();
        assert_eq!(error.to_string(), "`/srv/large` has 4294967296 bytes, and a file of an initramfs has less than 4 GiB");
    }
}
