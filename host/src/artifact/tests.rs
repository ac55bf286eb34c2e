//! Output files, read back by other programs.

use std::os::unix::fs::FileExt;

use super::*;
use crate::{
    exec::{self, Program},
    rootfs::{Content, RootTree, testing, tree::Metadata},
};

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
    let specs = [
        spec(ArtifactFormat::Raw, Compression::None),
        spec(ArtifactFormat::Raw, Compression::Zstd),
        spec(ArtifactFormat::Qcow2, Compression::Gz),
        spec(ArtifactFormat::Vhd, Compression::None),
        spec(ArtifactFormat::VhdDynamic, Compression::None),
        spec(ArtifactFormat::VhdDynamic, Compression::Bz2),
        spec(ArtifactFormat::VmdkStream, Compression::None),
    ];
    let names = emit_all(Some(&raw), None, &specs, folder.path(), "image", 0).unwrap();
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
    let error = emit_all(Some(&placed), None, &[spec(ArtifactFormat::Tar, Compression::None)], folder.path(), "x", 0).unwrap_err();
    assert_eq!(error.to_string(), "output files of type Tar cannot be made of this image");
    assert!(placed.exists());
}

/// Returns a tree of a few files.
fn tree() -> RootTree {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, 7));
    tree.write_file("etc/os-release", Content::bytes(b"ID=debian\n".to_vec()), 0o644, 7).unwrap();
    tree.write_file("usr/bin/sh", Content::bytes(vec![7; 70_000]), 0o755, 7).unwrap();
    tree.write_file("home/ann/notes", Content::bytes(b"notes\n".to_vec()), 0o600, 7).unwrap();
    let id = tree.resolve("/home/ann/notes").unwrap();
    tree.inode_mut(id).metadata.uid = 1000;
    tree
}

/// Returns makers of filesystems, and whether they are there.
fn tools() -> (crate::disk::DiskTools, bool) {
    let nothing = || Program::host(Path::new("/nonexistent"));
    let ext4 = crate::disk::ext4::Ext4Tools { mke2fs: nothing(), debugfs: nothing() };
    let none = crate::disk::DiskTools { ext4, mksquashfs: nothing(), mkfs_erofs: nothing() };
    testing::disk_tools().map_or((none, false), |tools| (tools, true))
}

fn bare<'a>(tree: &'a RootTree, tools: &'a crate::disk::DiskTools) -> BareRoot<'a> {
    let arch = oic_config::spec::Arch::Aarch64;
    let kernel = bare::BareKernel { content: Content::bytes(b"kernel".to_vec()), cmdline: "console=ttyS0 quiet".to_owned() };
    let uuid = uuid::Uuid::from_u128(1);
    BareRoot { tree, name: "Image", version: "1.0", arch, epoch: 7, uuid, tools, kernel: Some(kernel) }
}

const fn spec(format: ArtifactFormat, compression: Compression) -> ArtifactSpec {
    ArtifactSpec { format, compression }
}

/// Other programs open every form of a root filesystem, and each has the same bytes when it is made again.
#[test]
fn a_root_filesystem_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let (tools, has_tools) = tools();
    let tree = tree();
    let root = bare(&tree, &tools);
    let mut specs = vec![
        spec(ArtifactFormat::Initrd, Compression::Zstd),
        spec(ArtifactFormat::Initrd, Compression::None),
        spec(ArtifactFormat::Initrd, Compression::Gz),
        spec(ArtifactFormat::Initrd, Compression::Xz),
        spec(ArtifactFormat::Oci, Compression::None),
        spec(ArtifactFormat::Tar, Compression::Gz),
        spec(ArtifactFormat::Tar, Compression::None),
        spec(ArtifactFormat::Wsl2, Compression::None),
    ];
    let mut expected =
        vec!["a.cmdline", "a.initrd", "a.initrd.gz", "a.initrd.xz", "a.initrd.zst", "a.oci.tar", "a.tar", "a.tar.gz", "a.vmlinuz", "a.wsl"];
    if has_tools {
        specs.extend([spec(ArtifactFormat::Ext4, Compression::None), spec(ArtifactFormat::Squashfs, Compression::None)]);
        expected.extend(["a.ext4", "a.squashfs"]);
        expected.sort_unstable();
    } else {
        testing::skip("there are no makers of filesystems: ext4 and SquashFS are not made");
    }
    let names = emit_all(None, Some(&root), &specs, folder.path(), "a", 7).unwrap();
    emit_all(None, Some(&root), &specs, folder.path(), "b", 7).unwrap();
    assert_eq!(names, expected);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    for name in &names {
        assert!(read(name) == read(&name.replacen('a', "b", 1)), "{name}");
    }
    assert_eq!((read("a.vmlinuz"), read("a.cmdline")), (b"kernel".to_vec(), b"console=ttyS0 quiet\n".to_vec()));
    // One stream each: the kernel takes no sequence of them.
    let plain = read("a.initrd");
    let mut zstd =
        zstd::stream::read::Decoder::new(std::fs::File::open(folder.path().join("a.initrd.zst")).unwrap()).unwrap().single_frame();
    let mut gzip = flate2::read::GzDecoder::new(std::fs::File::open(folder.path().join("a.initrd.gz")).unwrap());
    for reader in [&mut zstd as &mut dyn io::Read, &mut gzip] {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert!(bytes == plain);
    }
    assert!(read("a.wsl").starts_with(&[0x1f, 0x8b]) && read("a.initrd.xz")[7] == 1, "xz with CRC32, which is what the kernel checks");
    let listing =
        exec::run(Program::host(Path::new("/bin/tar")).command().args(["--list", "--verbose", "--file"]).arg(folder.path().join("a.wsl")));
    let listing = String::from_utf8(listing.unwrap()).unwrap();
    assert!(listing.contains("-rw------- 1000/0 ") && listing.contains("./home/ann/notes"), "numeric owners:\n{listing}");
    if let Some(unsquashfs) = testing::tool("unsquashfs").filter(|_| has_tools) {
        let listing = exec::run(unsquashfs.command().args(["-lln", "-d", ""]).arg(folder.path().join("a.squashfs"))).unwrap();
        let listing = String::from_utf8(listing).unwrap();
        assert!(listing.contains("-rw------- 1000/0 ") && listing.contains("/home/ann/notes"), "{listing}");
    } else {
        testing::skip("there is no unsquashfs to open the SquashFS filesystem");
    }
}

#[test]
fn container_engines_open_the_container_image() {
    let folder = tempfile::tempdir().unwrap();
    let (tools, _) = tools();
    let tree = tree();
    emit_all(None, Some(&bare(&tree, &tools)), &[spec(ArtifactFormat::Oci, Compression::None)], folder.path(), "a", 7).unwrap();
    let image = folder.path().join("a.oci.tar");
    let layout = folder.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    exec::run(Program::host(Path::new("/bin/tar")).command().arg("-xf").arg(&image).arg("-C").arg(&layout)).unwrap();
    match testing::tool("umoci") {
        Some(umoci) => {
            let bundle = folder.path().join("bundle");
            let reference = format!("{}:1.0", layout.display());
            exec::run(umoci.command().args(["unpack", "--rootless", "--image", &reference]).arg(&bundle)).unwrap();
            assert_eq!(std::fs::read(bundle.join("rootfs/home/ann/notes")).unwrap(), b"notes\n");
        }
        None => testing::skip("there is no umoci to unpack the container image"),
    }
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
