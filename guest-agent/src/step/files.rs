//! Writes files, folders and links.

use oic_protocol::{AgentError, FileContent, FileEntry, StoreBlob};

use super::accounts;
use crate::{failure, rootfs::Rootfs, runner::Context};

/// Writes all entries in the order of the plan.
///
/// # Errors
/// Fails at the first entry that cannot be written, or whose owner does not exist in the target.
pub fn run(files: &[FileEntry], context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    for (index, entry) in files.iter().enumerate() {
        context.shell.events.progress(index, files.len(), &entry.path);
        write(entry, &context.target.rootfs, context.target.store.as_ref())?;
    }
    Ok(())
}

/// Writes one entry.
fn write(entry: &FileEntry, rootfs: &Rootfs, store: Option<&Rootfs>) -> Result<(), AgentError> {
    let owner = accounts::ownership(rootfs, &entry.owner, &entry.group)?;
    match &entry.content {
        FileContent::Inline(bytes) => rootfs.write_file(&entry.path, entry.mode, owner, &mut bytes.as_slice()).map(drop),
        FileContent::Store(blob) => {
            let mut content = open_blob(store, blob)?;
            let length = rootfs.write_file(&entry.path, entry.mode, owner, &mut content)?;
            check_length(blob, length)
        }
        FileContent::Symlink(target) => rootfs.write_link(&entry.path, target, owner),
        FileContent::Directory => rootfs.write_folder(&entry.path, entry.mode, owner),
    }
}

/// Opens a file of the store.
fn open_blob(store: Option<&Rootfs>, blob: &StoreBlob) -> Result<std::fs::File, AgentError> {
    let store = store.ok_or_else(|| failure::invalid_plan(format!("{} is in the store, and the plan has none", blob.name)))?;
    store.open_file(&blob.path)
}

/// Holds what was read from the store against what the plan says of it.
fn check_length(blob: &StoreBlob, length: u64) -> Result<(), AgentError> {
    if length == blob.size {
        return Ok(());
    }
    Err(failure::post_condition(format!("{} in the store has {} bytes", blob.path, blob.size), format!("{length} bytes")))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    fn entry(path: &str, content: FileContent) -> FileEntry {
        let me = fs::metadata("/proc/self").unwrap();
        FileEntry { path: path.into(), content, mode: 0o644, owner: me.uid().to_string(), group: me.gid().to_string() }
    }

    #[test]
    fn every_kind_of_content_is_written() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("root")).unwrap();
        fs::create_dir_all(scratch.path().join("store/sha256")).unwrap();
        fs::write(scratch.path().join("store/sha256/ab"), "blob").unwrap();
        let rootfs = Rootfs::open(&scratch.path().join("root")).unwrap();
        let store = Rootfs::open(&scratch.path().join("store")).unwrap();
        let blob = |path: &str, size| FileContent::Store(StoreBlob { name: "blob".into(), path: path.into(), size });

        write(&entry("/etc/motd", FileContent::Inline(b"hi\n".to_vec())), &rootfs, None).unwrap();
        write(&entry("/etc/blob", blob("sha256/ab", 4)), &rootfs, Some(&store)).unwrap();
        write(&entry("/etc/link", FileContent::Symlink("motd".into())), &rootfs, None).unwrap();
        write(&entry("/srv/data", FileContent::Directory), &rootfs, None).unwrap();
        assert_eq!(rootfs.read_text("/etc/link").unwrap(), "hi\n");
        assert_eq!(rootfs.read_text("/etc/blob").unwrap(), "blob");
        assert!(scratch.path().join("root/srv/data").is_dir());

        assert!(write(&entry("/etc/x", blob("sha256/ab", 5)), &rootfs, Some(&store)).is_err(), "another size");
        assert!(write(&entry("/etc/x", blob("sha256/cd", 4)), &rootfs, Some(&store)).is_err(), "missing");
        assert!(write(&entry("/etc/x", blob("sha256", 4)), &rootfs, Some(&store)).is_err(), "a folder");
        assert!(write(&entry("/etc/x", blob("sha256/ab", 4)), &rootfs, None).is_err(), "no store");
    }
}
