//! Makes SquashFS and EROFS filesystems, which are packed and never change, from trees.
//!
//! Their programs read the tree as a tar archive from a pipe. How large the result is shows when it is there, so that it is made
//! in a file of its own and copied to its place. The same tree, UUID and time give the same bytes.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use oic_config::spec::Filesystem;
use uuid::Uuid;

use super::DiskTools;
use crate::{
    exec::{self, ExecError},
    rootfs::{
        tar::{self, TarWriteError},
        tree::RootTree,
    },
};

/// Why a filesystem cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The program failed.
    #[error("cannot make the filesystem")]
    Program(#[from] ExecError),
    /// The tree cannot be written.
    #[error("cannot write the filesystem's content")]
    Tree(#[from] TarWriteError),
    /// The result cannot be read or copied.
    #[error("cannot put the filesystem into the image")]
    Copy(#[from] io::Error),
}

/// Makes a filesystem of kind SquashFS, or else EROFS, in a file that is there and empty.
///
/// # Errors
/// Fails when a content cannot be read or the program fails.
pub fn make(tools: &DiskTools, filesystem: Filesystem, tree: &RootTree, path: &Path, uuid: Uuid, epoch: u64) -> Result<(), PackError> {
    let mut command = match filesystem {
        Filesystem::Squashfs => {
            let mut command = tools.mksquashfs.command();
            command.arg("-").arg(path).args(["-tar", "-noappend", "-no-progress", "-quiet", "-reproducible", "-xattrs"]);
            command.args(["-comp", "zstd", "-b", "256K", "-mkfs-time", &epoch.to_string(), "-root-time", &epoch.to_string()]);
            let root = &tree.inode(tree.root()).metadata;
            command.args(["-root-mode", &format!("{:o}", root.mode), "-root-uid", &root.uid.to_string()]);
            command.args(["-root-gid", &root.gid.to_string()]);
            command
        }
        _ => {
            let mut command = tools.mkfs_erofs.command();
            command.args(["--quiet", "--tar=f", "-zlz4hc", "-U", &uuid.to_string(), "-T", &epoch.to_string(), "--mkfs-time"]).arg(path);
            command
        }
    };
    run(&mut command, tree)
}

/// Runs a program that reads a tree from its standard input.
fn run(command: &mut Command, tree: &RootTree) -> Result<(), PackError> {
    command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    let (_, written) = exec::run_with_input(command, |input| {
        let mut input = io::BufWriter::with_capacity(1 << 20, input);
        tar::write_tree(tree, &mut input).and_then(|_| Ok(io::Write::flush(&mut input)?))
    })?;
    written?;
    Ok(())
}

/// Copies a finished filesystem to its place in an image, which must read as zeros there.
///
/// # Errors
/// Fails when reading or writing does.
pub fn place(packed: &Path, image: &File, offset: u64) -> io::Result<()> {
    let mut source = File::open(packed)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = offset;
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        image.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
}
