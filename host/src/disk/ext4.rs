//! Makes ext2, ext3 and ext4 filesystems from trees with `mke2fs`, which reads the tree as a tar archive from a pipe.
//!
//! Nothing is mounted and no file is copied twice. The same tree, identity and size give the same bytes: UUID, hash seed
//! and times are given, and the configuration file of the host is not read.
//!
//! `mke2fs` takes only one extended attribute from archives, `security.capability`. The others (access control lists above
//! all) are written by `debugfs` afterwards.

use std::{collections::BTreeMap, fs::OpenOptions, io, os::unix::ffi::OsStrExt, path::Path, process::Command};

use oic_config::units::ByteSize;
use uuid::Uuid;

use crate::{
    exec::{self, ExecError, Program},
    rootfs::{
        path::Shown,
        tar::{self, TarWriteError},
        tree::{Kind, RootTree},
    },
};

/// Block size of every filesystem made here.
pub const BLOCK: u64 = 4096;
/// Size of an inode: room for times in nanoseconds and small extended attributes.
const INODE: u64 = 256;
/// Blocks that one group's bitmap covers.
const BLOCKS_PER_GROUP: u64 = BLOCK * 8;

/// What a filesystem is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The disk that the builder VM works on once: no journal, no checksums.
    Scratch,
    /// A filesystem of an image, with the features that distributions give ext4.
    Ext4,
    /// A filesystem of an image, with a journal and without extents.
    Ext3,
    /// A filesystem of an image, as every kernel knows it.
    Ext2,
}

impl Profile {
    /// Returns the features, all of them: what `mke2fs` adds by itself depends on its version.
    fn features(self) -> &'static str {
        match self {
            Self::Scratch => "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize",
            // Newer features (metadata_csum_seed, orphan_file) are left out: GRUB 2.06 cannot read such filesystems.
            Self::Ext4 => {
                "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,metadata_csum,sparse_super,large_file,\
                 huge_file,dir_nlink,extra_isize"
            }
            Self::Ext3 => "none,has_journal,ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file",
            Self::Ext2 => "none,ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file",
        }
    }

    fn has_journal(self) -> bool {
        matches!(self, Self::Ext4 | Self::Ext3)
    }

    /// Returns how many inodes a filesystem of this size gets at least.
    fn inodes(self, size: u64) -> u64 {
        match self {
            // Scripts and package managers make many small files.
            Self::Scratch => size / 8192,
            _ => size / 16384,
        }
    }
}

/// What makes a filesystem the one it is.
#[derive(Debug, Clone)]
pub struct Ext4Options<'a> {
    /// Features.
    pub profile: Profile,
    /// UUID of the filesystem; the seed of its directory hashes is derived from it.
    pub uuid: Uuid,
    /// Label, at most 16 bytes; none: empty.
    pub label: Option<&'a str>,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: u64,
}

/// The programs of e2fsprogs, 1.47.1 or newer with libarchive.
#[derive(Debug, Clone)]
pub struct Ext4Tools {
    /// `mke2fs`.
    pub mke2fs: Program,
    /// `debugfs`, only used for trees with access control lists and the like.
    pub debugfs: Program,
}

/// Why a filesystem cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// The content needs more room.
    #[error("the content does not fit into {size}: it needs at least {needed}")]
    TooSmall {
        /// The size that the filesystem was to have.
        size: ByteSize,
        /// The size that is enough.
        needed: ByteSize,
    },
    /// A label is too long.
    #[error("the filesystem label `{label}` is longer than 16 bytes")]
    Label {
        /// The label.
        label: String,
    },
    /// `mke2fs` failed.
    #[error("cannot make the filesystem")]
    Program(#[from] ExecError),
    /// The tree cannot be written.
    #[error("cannot write the filesystem's content")]
    Tree(#[from] TarWriteError),
    /// `debugfs` refused an extended attribute.
    #[error("cannot write the extended attributes of the filesystem: {messages}")]
    Xattrs {
        /// What it said.
        messages: String,
    },
    /// The file that the filesystem is made in cannot be used.
    #[error("cannot prepare `{path}`")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Makes a filesystem of `size` bytes at `offset` in a file, which must read as zeros there and is made when it is missing.
///
/// # Errors
/// Fails when the tree does not fit, a content cannot be read, or `mke2fs` fails.
pub fn make(tools: &Ext4Tools, tree: &RootTree, file: &Path, offset: u64, size: u64, options: &Ext4Options<'_>) -> Result<(), Ext4Error> {
    let needs = Needs::of(tree);
    let needed = needs.minimal_size(options.profile);
    let size = size / BLOCK * BLOCK;
    if size < needed {
        return Err(Ext4Error::TooSmall { size: ByteSize(size), needed: ByteSize(needed) });
    }
    if let Some(label) = options.label.filter(|label| label.len() > 16) {
        return Err(Ext4Error::Label { label: label.to_owned() });
    }
    let failed = |source| Ext4Error::File { path: file.display().to_string(), source };
    let handle = OpenOptions::new().write(true).create(true).truncate(false).open(file).map_err(failed)?;
    let length = handle.metadata().map_err(failed)?.len();
    if length < offset + size {
        handle.set_len(offset + size).map_err(failed)?;
    }
    let seed = Uuid::new_v5(&options.uuid, b"directory hash seed");
    let inodes = options.profile.inodes(size).max(needs.inodes * 9 / 8 + 64);
    let mut command = tools.mke2fs.command();
    command.args(["-q", "-F", "-t", "ext2", "-O", options.profile.features()]);
    command.args(["-b", &BLOCK.to_string(), "-I", &INODE.to_string(), "-N", &inodes.to_string(), "-m", reserved_percent(options.profile)]);
    command.args(["-e", "remount-ro", "-o", "Linux", "-U", &options.uuid.to_string(), "-L", options.label.unwrap_or_default(), "-M", ""]);
    let journal = if options.profile.has_journal() { ",lazy_journal_init=0" } else { "" };
    command.args(["-E", &format!("hash_seed={seed},root_owner=0:0,lazy_itable_init=0,offset={offset}{journal}")]);
    command.args(["-d", "-"]).arg(file).arg(format!("{}k", size / 1024));
    fix_environment(&mut command, options.epoch);
    let (_, written) = exec::run_with_input(&mut command, |input| {
        let mut input = io::BufWriter::with_capacity(1 << 20, input);
        tar::write_tree(tree, &mut input).and_then(|_| Ok(io::Write::flush(&mut input)?))
    })?;
    written?;
    write_xattrs(&tools.debugfs, tree, file, offset, options.epoch)
}

/// Takes time, configuration and language of the host out of a program's sight.
fn fix_environment(command: &mut Command, epoch: u64) {
    command.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("E2FSPROGS_FAKE_TIME", epoch.to_string());
    // An empty configuration: the built-in defaults apply, not those of the host.
    command.env("MKE2FS_CONFIG", "/dev/null").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
}

/// Writes the extended attributes that `mke2fs` does not take from the archive.
fn write_xattrs(debugfs: &Program, tree: &RootTree, file: &Path, offset: u64, epoch: u64) -> Result<(), Ext4Error> {
    let failed = |source| Ext4Error::File { path: "a folder for temporary files".to_owned(), source };
    let folder = tempfile::tempdir().map_err(failed)?;
    let mut script = Vec::new();
    let mut values: BTreeMap<&[u8], usize> = BTreeMap::new();
    for entry in tree.walk().filter(|entry| entry.link_to.is_none()) {
        for (name, value) in entry.inode.metadata.xattrs.iter().filter(|(name, _)| &name[..] != b"security.capability") {
            let next = values.len();
            let number = *values.entry(value).or_insert(next);
            // The script has one command per line, and quotes are doubled inside quotes.
            if entry.path.contains(&b'\n') || name.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b'"') {
                return Err(Ext4Error::Xattrs { messages: format!("`{}` has a name that cannot be given to debugfs", Shown(&entry.path)) });
            }
            let quoted: Vec<u8> =
                entry.path.iter().flat_map(|byte| if *byte == b'"' { &b"\"\""[..] } else { std::slice::from_ref(byte) }).copied().collect();
            script.extend_from_slice(
                &[b"ea_set -f ", folder.path().join(number.to_string()).as_os_str().as_bytes(), b" \"", &quoted, b"\" ", name, b"\n"]
                    .concat(),
            );
        }
    }
    if script.is_empty() {
        return Ok(());
    }
    for (value, number) in &values {
        std::fs::write(folder.path().join(number.to_string()), value).map_err(failed)?;
    }
    let commands = folder.path().join("commands");
    std::fs::write(&commands, &script).map_err(failed)?;
    let mut command = debugfs.command();
    let mut image = file.as_os_str().to_owned();
    image.push(format!("?offset={offset}"));
    command.arg("-w").arg("-f").arg(&commands).arg(image);
    fix_environment(&mut command, epoch);
    let (_, messages) = exec::run_for_messages(&mut command)?;
    // The status is 0 whatever happens; everything but the version's line is a complaint.
    let messages = String::from_utf8_lossy(&messages);
    let complaints: Vec<&str> = messages.lines().filter(|line| !line.starts_with("debugfs ")).take(8).collect();
    if complaints.is_empty() { Ok(()) } else { Err(Ext4Error::Xattrs { messages: complaints.join("; ") }) }
}

fn reserved_percent(profile: Profile) -> &'static str {
    if profile == Profile::Scratch { "0" } else { "5" }
}

/// Returns the size in bytes that is enough for a filesystem of a tree without any free space.
#[must_use]
pub fn minimal_size(tree: &RootTree, profile: Profile) -> u64 {
    Needs::of(tree).minimal_size(profile)
}

/// What a tree needs of a filesystem.
struct Needs {
    blocks: u64,
    inodes: u64,
}

impl Needs {
    fn of(tree: &RootTree) -> Self {
        // lost+found and the reserved inodes.
        let mut needs = Self { blocks: 8, inodes: 16 };
        for entry in tree.walk().filter(|entry| entry.link_to.is_none()) {
            needs.inodes += 1;
            needs.blocks += match &entry.inode.kind {
                Kind::File(content) => {
                    let data = content.data_size().div_ceil(BLOCK);
                    // One block of extents or indirect pointers for a thousand blocks of data is more than either takes.
                    data + data / 1000 + u64::from(data > 12) * 2
                }
                // Names are stored with 8 bytes of header, rounded to 4; blocks are never filled to the last byte.
                Kind::Directory(names) => names.keys().map(|name| (name.len() as u64 + 11) & !3).sum::<u64>().div_ceil(BLOCK - 268).max(1),
                Kind::Symlink(target) => u64::from(target.len() >= 60),
                _ => 0,
            };
            needs.blocks +=
                u64::from(entry.inode.metadata.xattrs.iter().map(|(name, value)| name.len() + value.len() + 20).sum::<usize>() > 90);
        }
        needs
    }

    fn minimal_size(&self, profile: Profile) -> u64 {
        let inodes = self.inodes * 9 / 8 + 64;
        // The tables depend on the size that they are part of: go up until it is enough.
        let mut size = (self.blocks + inodes * INODE / BLOCK) * BLOCK;
        loop {
            let groups = size.div_ceil(BLOCKS_PER_GROUP * BLOCK);
            let inodes = profile.inodes(size).max(inodes);
            // Each group has two bitmaps, a descriptor, and its inodes rounded to whole blocks; a few have copies of the superblock.
            let tables = groups * 3 + (inodes * INODE).div_ceil(BLOCK) + groups * 8 + (groups.min(64) + 8) * (1 + groups * 64 / BLOCK + 64);
            let needed = (self.blocks + tables + journal_blocks(size / BLOCK, profile)) * BLOCK;
            let needed = needed + needed / 100;
            if needed <= size {
                return size.next_multiple_of(1 << 20);
            }
            size = needed;
        }
    }
}

/// Returns how large a journal `mke2fs` makes.
fn journal_blocks(blocks: u64, profile: Profile) -> u64 {
    match blocks {
        _ if !profile.has_journal() => 0,
        0..2048 => 0,
        2048..32768 => 1024,
        32768..262_144 => 4096,
        262_144..524_288 => 8192,
        524_288..4_194_304 => 16384,
        4_194_304..8_388_608 => 32768,
        8_388_608..16_777_216 => 65536,
        16_777_216..33_554_432 => 131_072,
        _ => 262_144,
    }
}
