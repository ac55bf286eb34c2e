use std::{fs, path::Path, sync::Arc};

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    (folder, store)
}

fn expected(bytes: &[u8]) -> Expected {
    Expected { size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) }
}

fn open(store: &Store, expected: Expected) -> Import {
    match store.import(Bucket::Packages, expected).unwrap() {
        ImportSlot::Open(import) => import,
        other => panic!("{other:?}"),
    }
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn an_import_appears_only_when_size_and_digest_are_right() {
    let (_folder, store) = store();
    let content = b"content of a package";
    let want = expected(content);
    let mut import = open(&store, want);
    import.write(&content[..7]).unwrap();
    assert!(store.package(&want.sha256).is_none());
    assert!(matches!(import.commit(), Err(StoreError::TooShort { found: 7, .. })));

    let mut import = open(&store, want);
    assert_eq!(import.length(), 7, "what is there is kept");
    assert!(matches!(import.write(&[0; 100]), Err(StoreError::TooLong { .. })));
    import.write(&content[7..]).unwrap();
    let path = import.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    assert_eq!(store.package(&want.sha256), Some(path));
    assert_eq!(count(&store.root().join("partial")), 0);
    assert!(matches!(store.import(Bucket::Packages, want).unwrap(), ImportSlot::Present(_)));
}

#[test]
fn wrong_bytes_are_dropped_whole() {
    let (_folder, store) = store();
    let want = expected(b"right");
    let mut import = open(&store, want);
    import.write(b"wrong").unwrap();
    assert!(matches!(import.commit(), Err(StoreError::WrongDigest { .. })));
    assert!(store.package(&want.sha256).is_none());
    assert_eq!(open(&store, want).length(), 0);
}

#[test]
fn a_partial_file_that_is_too_long_is_started_over() {
    let (_folder, store) = store();
    let want = expected(b"right");
    fs::write(store.root().join("partial").join(want.sha256.to_string()), b"far too long").unwrap();
    let mut import = open(&store, want);
    assert_eq!(import.length(), 0);
    import.write(b"right").unwrap();
    import.commit().unwrap();
}

#[test]
fn an_entry_cut_by_a_power_failure_is_made_anew() {
    let (_folder, store) = store();
    let want = expected(b"right");
    let path = store.put(Bucket::Packages, &want.sha256, b"right").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"").unwrap();
    assert!(store.file(Bucket::Packages, &want).is_none());
    let mut import = open(&store, want);
    import.write(b"right").unwrap();
    assert_eq!(import.commit().unwrap(), path);
    assert!(store.file(Bucket::Packages, &want).is_some());
}

#[test]
fn one_of_two_importers_waits_and_finds_the_result() {
    let (_folder, store) = store();
    let want = expected(b"right");
    let mut import = open(&store, want);
    assert!(matches!(store.try_import(Bucket::Packages, want).unwrap(), ImportSlot::Busy));
    let waiting = std::thread::spawn({
        let store = store.clone();
        move || matches!(store.import(Bucket::Packages, want).unwrap(), ImportSlot::Present(_))
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    import.write(b"right").unwrap();
    import.commit().unwrap();
    assert!(waiting.join().unwrap());
    assert_eq!(count(&store.root().join("partial")), 0, "the waiting importer leaves no file");
}

#[test]
fn a_directory_entry_is_made_once_by_many() {
    let (_folder, store) = store();
    let store = Arc::new(store);
    let key = Sha256Digest::of(b"key");
    let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (store, made) = (Arc::clone(&store), Arc::clone(&made));
            std::thread::spawn(move || match store.begin(Bucket::Tools, &key).unwrap() {
                Slot::Present(path) => path,
                Slot::Vacant(entry) => {
                    made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    fs::write(entry.path().join("file"), b"content").unwrap();
                    entry.commit().unwrap()
                }
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(fs::read(thread.join().unwrap().join("file")).unwrap(), b"content");
    }
    assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(count(&store.root().join("guards")) + count(&store.root().join("staging")), 0);
}

#[test]
fn what_a_dead_maker_left_is_removed() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, store) = store();
    let key = Sha256Digest::of(b"key");
    let left = store.root().join("staging").join(format!("unpacked-v1.{key}"));
    fs::create_dir_all(left.join("locked/below")).unwrap();
    fs::set_permissions(left.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    let Slot::Vacant(entry) = store.begin(Bucket::Unpacked, &key).unwrap() else { panic!("nobody made it") };
    assert_eq!(count(entry.path()), 0);
    store.sweep();
    assert!(entry.path().exists(), "a guarded entry is not swept");
    drop(entry);
    assert!(!left.exists());

    fs::create_dir_all(&left).unwrap();
    store.sweep();
    assert!(!left.exists());
    assert_eq!(count(&store.root().join("guards")), 0);
}

#[test]
fn only_forgotten_partial_files_are_swept() {
    let (_folder, store) = store();
    let path = store.root().join("partial").join("0".repeat(64));
    fs::write(&path, b"beginning").unwrap();
    let now = clock::unix_now();
    store.sweep_partial(now + PARTIAL_LIFETIME / 2);
    assert!(path.exists());
    store.sweep_partial(now + 2 * PARTIAL_LIFETIME);
    assert!(!path.exists());
}

#[test]
fn last_use_is_noted_and_the_content_time_kept() {
    let (_folder, store) = store();
    let digest = store.put_bytes(Bucket::Metadata, b"text").unwrap();
    let path = store.entry(Bucket::Metadata, &digest).unwrap();
    let old = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    store.entry(Bucket::Metadata, &digest).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert!(clock::unix_now() - seconds(metadata.atime()) < 60);
    assert_eq!(metadata.mtime(), 1_000_000);
}

#[test]
fn records_are_replaced() {
    let (_folder, store) = store();
    assert_eq!(store.record("a"), None);
    store.set_record("a", b"1").unwrap();
    store.set_record("a", b"2").unwrap();
    assert_eq!(store.record("a").as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_full_disk_is_told_with_what_was_needed() {
    let error = StoreError::io("write", Path::new("/nowhere/file"), 4096, std::io::ErrorKind::StorageFull.into());
    let StoreError::Full { needed: 4096, free: Some(_), .. } = &error else { panic!("{error:?}") };
    let free = format!("{error}");
    assert!(free.starts_with("no space left for /nowhere/file: 4096 more bytes are needed, "), "{free}");
    assert!(error.hint().unwrap().contains("--cache-dir"));
}

#[test]
fn the_full_disk_of_the_kernel_is_recognised() {
    let source = fs::write("/dev/full", b"x").unwrap_err();
    assert!(matches!(StoreError::io("write", Path::new("/dev/full"), 1, source), StoreError::Full { .. }));
}

#[test]
fn a_link_in_place_of_a_partial_file_is_refused() {
    let (folder, store) = store();
    let want = expected(b"right");
    let outside = folder.path().join("outside");
    fs::write(&outside, b"precious").unwrap();
    std::os::unix::fs::symlink(&outside, store.root().join("partial").join(want.sha256.to_string())).unwrap();
    assert!(matches!(store.import(Bucket::Packages, want), Err(StoreError::Io { .. })));
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
}

#[test]
fn small_files_under_way_are_not_swept() {
    let (_folder, store) = store();
    let path = store.root().join("writing").join("left");
    fs::write(&path, b"x").unwrap();
    store.sweep();
    assert!(path.exists());
    store.sweep_writing(clock::unix_now() + 2 * WRITING_LIFETIME);
    assert!(!path.exists());
}
