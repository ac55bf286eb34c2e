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
    let names = emit_all(&raw, None, &specs, folder.path(), "image", 0).unwrap();
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
    let error = emit_all(&placed, None, &[spec(ArtifactFormat::Tar, Compression::None)], folder.path(), "x", 0).unwrap_err();
    assert_eq!(error.to_string(), "output files of type Tar cannot be made of this image");
    assert!(placed.exists());
}

/// Other programs open the root filesystem as an archive and as a container image.
#[test]
fn a_root_filesystem_in_every_form() {
    use crate::{
        exec::{self, Program},
        rootfs::{Content, RootTree, testing, tree::Metadata},
    };
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join(".work");
    disk(&raw);
    let mut tree = RootTree::new(Metadata::root_owned(0o755, 7));
    tree.write_file("etc/os-release", Content::bytes(b"ID=debian\n".to_vec()), 0o644, 7).unwrap();
    tree.write_file("usr/bin/sh", Content::bytes(vec![7; 70_000]), 0o755, 7).unwrap();
    let nothing = Program::host(Path::new("/nonexistent"));
    let tools = testing::ext4_tools();
    let unusable = crate::disk::ext4::Ext4Tools { mke2fs: nothing.clone(), debugfs: nothing };
    let arch = oic_config::spec::Arch::Aarch64;
    let root = BareRoot {
        tree: &tree,
        name: "Image",
        version: "1.0",
        arch,
        epoch: 7,
        uuid: uuid::Uuid::from_u128(1),
        tools: tools.as_ref().unwrap_or(&unusable),
    };
    let spec = |format, compression| ArtifactSpec { format, compression };
    let mut specs = vec![
        spec(ArtifactFormat::Tar, Compression::Gz),
        spec(ArtifactFormat::Tar, Compression::None),
        spec(ArtifactFormat::Oci, Compression::None),
    ];
    if tools.is_some() {
        specs.push(spec(ArtifactFormat::Ext4, Compression::None));
    }
    let copy = folder.path().join(".again");
    std::fs::copy(&raw, &copy).unwrap();
    let names = emit_all(&raw, Some(&root), &specs, folder.path(), "a", 7).unwrap();
    emit_all(&copy, Some(&root), &specs, folder.path(), "b", 7).unwrap();
    for name in &names {
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        assert!(read(name) == read(&name.replacen('a', "b", 1)), "{name}");
    }
    assert_eq!(names[usize::from(tools.is_some())..], ["a.oci.tar", "a.tar", "a.tar.gz"]);
    let image = folder.path().join("a.oci.tar");
    let Some(skopeo) = testing::tool("skopeo") else {
        testing::skip("there is no skopeo to open the container image");
        return;
    };
    for (from, reference) in [("oci-archive", ":1.0"), ("docker-archive", "")] {
        let out = folder.path().join(from);
        let source = format!("{from}:{}{reference}", image.display());
        let insecure = ["copy", "--insecure-policy", "--tmpdir"];
        exec::run(skopeo.command().args(insecure).arg(folder.path()).arg(&source).arg(format!("dir:{}", out.display()))).unwrap();
        let said = exec::run(skopeo.command().args(["inspect", "--config", "--tmpdir"]).arg(folder.path()).arg(&source)).unwrap();
        assert!(String::from_utf8_lossy(&said).contains("arm64"), "{}", String::from_utf8_lossy(&said));
    }
}
