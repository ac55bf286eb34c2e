//! Output files, read back by other programs.

use std::{io::Read, os::unix::fs::FileExt, process::Command};

use super::*;
use crate::{exec, rootfs::testing};

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
fn compressed_files_are_the_same_for_any_number_of_threads_and_unpack_to_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let bytes = disk(&path);
    for compression in [Compression::Gz, Compression::Xz, Compression::Zstd] {
        let compressed = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut output = Vec::new();
            pool.install(|| compress::compress(&SparseFile::open(&path).unwrap(), compression, &mut output)).unwrap();
            output
        };
        let one = compressed(1);
        assert!(one == compressed(3), "{compression:?}");
        assert!(one.len() < 4 << 20, "{compression:?}: {}", one.len());
        let mut unpacked = Vec::new();
        match compression {
            Compression::Gz => flate2::read::MultiGzDecoder::new(&*one).read_to_end(&mut unpacked).unwrap(),
            Compression::Xz => liblzma::read::XzDecoder::new_multi_decoder(&*one).read_to_end(&mut unpacked).unwrap(),
            _ => zstd::stream::read::Decoder::new(&*one).unwrap().read_to_end(&mut unpacked).unwrap(),
        };
        assert!(unpacked == bytes, "{compression:?}");
        let (program, file) = match compression {
            Compression::Gz => ("gzip", folder.path().join("x.gz")),
            Compression::Xz => ("xz", folder.path().join("x.xz")),
            _ => ("zstd", folder.path().join("x.zst")),
        };
        std::fs::write(&file, &one).unwrap();
        if testing::tool(program).is_some() {
            exec::run(Command::new(program).arg("-t").arg(&file)).unwrap();
        } else {
            testing::skip("a decompressor to compare with is not there");
        }
    }
}

#[test]
fn a_qcow2_file_has_the_content_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk");
    disk(&raw);
    let paths = [folder.path().join("a"), folder.path().join("b")];
    for path in &paths {
        let file = std::fs::File::create(path).unwrap();
        qcow2::convert(&SparseFile::open(&raw).unwrap(), &file).unwrap();
    }
    let bytes = std::fs::read(&paths[0]).unwrap();
    assert!(bytes == std::fs::read(&paths[1]).unwrap());
    assert!(bytes.len() < 6 << 20, "{}", bytes.len());
    let Some(qemu_img) = testing::tool("qemu-img") else {
        testing::skip("there is no qemu-img to compare with");
        return;
    };
    exec::run(qemu_img.command().args(["check", "-f", "qcow2"]).arg(&paths[0])).unwrap();
    exec::run(qemu_img.command().args(["compare", "-f", "raw", "-F", "qcow2"]).args([&raw, &paths[0]])).unwrap();
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
    ];
    let names = emit_all(&raw, &specs, folder.path(), "image").unwrap();
    assert_eq!(names, ["image.qcow2.gz", "image.raw", "image.raw.zst"]);
    write_checksums(folder.path(), &names).unwrap();
    let mut there: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    assert_eq!(there, ["SHA256SUMS", "image.qcow2.gz", "image.raw", "image.raw.zst"]);
    // Renamed, not copied.
    let placed = folder.path().join("image.raw");
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&placed).unwrap()), inode);
    let sums = std::fs::read_to_string(folder.path().join(CHECKSUMS_NAME)).unwrap();
    assert!(sums.contains(&format!("{}  image.raw\n", Sha256Digest::of(&bytes))), "{sums}");
    let error = emit_all(&placed, &[spec(ArtifactFormat::Vhdx, Compression::None)], folder.path(), "x").unwrap_err();
    assert!(error.to_string().starts_with("output files of type Vhdx"), "{error}");
    assert!(placed.exists());
}

#[test]
fn holes_are_found_and_read_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let bytes = disk(&path);
    let file = SparseFile::open(&path).unwrap();
    for (offset, length) in [(0, 10_000), (10 << 20, 100), ((20 << 20) - 1000, 2000), ((70 << 20) + 500, 100)] {
        let mut buffer = vec![1; length];
        file.read_at(&mut buffer, offset).unwrap();
        let mut expected = bytes[offset as usize..bytes.len().min(offset as usize + length)].to_vec();
        expected.resize(length, 0);
        assert!(buffer == expected, "{offset}");
    }
    let copy = folder.path().join("copy");
    file.copy_to(&std::fs::File::create(&copy).unwrap()).unwrap();
    assert!(std::fs::read(&copy).unwrap() == bytes);
}
