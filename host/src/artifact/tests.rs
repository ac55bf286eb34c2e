//! Output files, read back by other programs.

use std::os::unix::fs::FileExt;

use super::*;

/// Writes a disk of 70 MiB and some bytes with data here and there.
fn disk(path: &Path) -> Vec<u8> {
    let size = (70 << 20) + 512;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(size).unwrap();
    let mut state = 1_u32;
    for (offset, length) in [(0, 5000), ((20 << 20) - 700, 1400), (33 << 20, 3 << 20), (size - 512, 512)] {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
                (state >> 20) as u8 & 0x3f
            })
            .collect();
        file.write_all_at(&bytes, offset).unwrap();
    }
    // Zeros that are written, not a hole.
    file.write_all_at(&vec![0; 1 << 20], 50 << 20).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn all_outputs_are_made_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join(".work");
    let bytes = disk(&raw);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&raw).unwrap());
    let spec = |format, compression| ArtifactSpec { format, compression };
    let specs = [
        spec(ArtifactFormat::Raw, Compression::None),
        spec(ArtifactFormat::Raw, Compression::Zstd),
        spec(ArtifactFormat::Qcow2, Compression::Gz),
        spec(ArtifactFormat::Vhd, Compression::None),
        spec(ArtifactFormat::VhdDynamic, Compression::None),
        spec(ArtifactFormat::VhdDynamic, Compression::Bz2),
        spec(ArtifactFormat::VmdkStream, Compression::None),
    ];
    let names = emit_all(&raw, &specs, folder.path(), "image", 0).unwrap();
    let expected =
        ["image-dynamic.vhd", "image-dynamic.vhd.bz2", "image-stream.vmdk", "image.qcow2.gz", "image.raw", "image.raw.zst", "image.vhd"];
    assert_eq!(names, expected);
    let mut there: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    assert_eq!(there, expected);
    // Renamed, not copied.
    let placed = folder.path().join("image.raw");
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&placed).unwrap()), inode);
    assert!(std::fs::read(&placed).unwrap() == bytes);
    let opened = disk_formats::open(&folder.path().join("image-stream.vmdk")).unwrap();
    assert_eq!((opened.format, opened.disk.size()), (Format::VmdkStream, bytes.len() as u64));
    let error = emit_all(&placed, &[spec(ArtifactFormat::Tar, Compression::None)], folder.path(), "x", 0).unwrap_err();
    assert_eq!(error.to_string(), "output files of type Tar cannot be made of a disk");
    assert!(placed.exists());
}
