//! Images made by hand, and what is said of them.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use oic_config::spec::Filesystem;

use super::*;
use crate::{
    disk::fat::{self, FatOptions},
    rootfs::{Content, Metadata},
};

const SIZE: u64 = 24 << 20;

/// Writes a FAT filesystem that has what a root filesystem has, at an offset of a file of `size` bytes.
pub(crate) fn image(path: &Path, offset: u64, size: u64, files: &[(&str, &[u8])]) {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, 0));
    let own: [(&str, &[u8]); 6] = [
        ("etc/os-release", b"ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME=\"Debian <13>\"\n"),
        ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/bash\nopen::1001:1001::/:/bin/sh\n"),
        ("etc/shadow", b"root:!:1::::::\nuser:$y$hash:1::::::\n"),
        ("var/lib/dpkg/status", b"Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nArchitecture: amd64\nSource: bash (5.2)\n"),
        ("loader/entries/debian.conf", b"title Debian\nlinux /vmlinuz\noptions root=LABEL=x quiet\n"),
        ("EFI/BOOT/BOOTX64.EFI", b"MZ, and no program"),
    ];
    for (path, bytes) in own.iter().filter(|(path, _)| files.iter().all(|(other, _)| other != path)).chain(files) {
        tree.write_file(path, Content::bytes(bytes.to_vec()), 0o755, 0).unwrap();
    }
    let file = fs::File::options().write(true).create(true).truncate(false).open(path).unwrap();
    file.set_len(size.max(offset + SIZE)).unwrap();
    let options = FatOptions { kind: Filesystem::Fat16, volume: 7, label: Some("ROOT") };
    fat::make(&tree, &file, offset, SIZE, &options).unwrap();
}

fn looked_at(path: &Path) -> ImageReport {
    inspect(&OpenedImage::open(path, Path::new("/nonexistent")).unwrap()).unwrap().report
}

#[test]
fn a_bare_filesystem_and_the_system_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.raw");
    image(&path, 0, 0, &[]);
    let report = looked_at(&path);
    insta::assert_snapshot!(text::render(&report));
    let page = html::render(&report);
    assert!(page.contains("Debian &lt;13&gt;") && !page.contains("<13>"), "{page}");
    assert!(!page.contains("http"), "a page needs nothing from elsewhere");
}

#[test]
fn a_program_its_sections_and_its_architecture() {
    let sections: [(&str, &[u8]); 5] = [
        (".sbat", b"sbat,1,SBAT Version,sbat,1,https://x\nsystemd-stub,1,The systemd Developers,systemd,257,https://y\n"),
        (".osrel", b"PRETTY_NAME=\"Debian 13\"\n"),
        (".cmdline", b"root=x quiet\0"),
        (".uname", b"6.12.57"),
        (".linux", &[1; 2000]),
    ];
    let mut program = vec![0; 0x400];
    program[..2].copy_from_slice(b"MZ");
    program[0x3c] = 0x80;
    program[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    program[0x86] = sections.len() as u8;
    program[0x94] = 0xf0;
    program[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    for (index, (name, content)) in sections.iter().enumerate() {
        let (at, offset) = (0x98 + 0xf0 + index * 40, program.len() as u32);
        program[at..at + name.len()].copy_from_slice(name.as_bytes());
        let raw = content.len().next_multiple_of(512) as u32;
        for (field, value) in [(8, content.len() as u32), (12, offset), (16, raw), (20, offset)] {
            program[at + field..at + field + 4].copy_from_slice(&value.to_le_bytes());
        }
        program.extend_from_slice(content);
        program.resize(program.len().next_multiple_of(512), 0);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    image(&path, 0, 0, &[("EFI/Linux/debian.efi", &program)]);
    let report = looked_at(&path);
    assert_eq!(report.efi.len(), 1, "{:?}", report.efi);
    let found = &report.efi[0];
    assert_eq!((found.kind, found.arch.as_str(), found.signed_by.len()), ("uki", "x86_64", 0));
    assert_eq!(found.sbat[1].component, "systemd-stub");
    let uki = found.uki.as_ref().unwrap();
    assert_eq!((uki.cmdline.as_str(), uki.uname.as_str(), uki.os.as_str()), ("root=x quiet", "6.12.57", "Debian 13"));
    assert_eq!(uki.sections[4].size, 2000);
    assert!(report.boot_entries.iter().any(|entry| entry.kind == "uki" && entry.cmdline == "root=x quiet"));
    for length in 0..program.len() {
        let _ = efi::describe(1, "x", &Content::bytes(program[..length].to_vec()));
    }
}

#[test]
fn tables_of_both_kinds_and_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    image(&path, 1 << 20, 64 << 20, &[]);
    let mut file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let config = ::gpt::GptConfig::new().writable(true).logical_block_size(::gpt::disk::LogicalBlockSize::Lb512);
    ::gpt::mbr::ProtectiveMBR::with_lb_size((64 << 11) - 1).overwrite_lba0(&mut file).unwrap();
    let mut table = config.create_from_device(file, None).unwrap();
    table.add_partition("root", SIZE, ::gpt::partition_types::LINUX_FS, 1 << 60, Some(2048)).unwrap();
    table.write().unwrap();
    let report = looked_at(&path);
    assert_eq!(report.table.as_ref().map(|table| table.kind), Some("gpt"));
    let root = &report.partitions[0];
    assert_eq!((root.start, root.size, root.label.as_str(), root.type_name.as_str()), (1 << 20, SIZE, "root", "Linux data"));
    assert_eq!(root.attributes, ["read-only"]);
    assert_eq!(root.filesystem.as_ref().map(|filesystem| filesystem.kind.as_str()), Some("vfat"));
    assert!(report.problems.is_empty() && report.system.is_some(), "{:?}", report.problems);
    // The first header is lost: the second one serves.
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 8], 512 + 40).unwrap();
    let report = looked_at(&path);
    assert_eq!(report.partitions.len(), 1);
    assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
    // An MBR with a logical partition.
    let mut sector = [0; 512];
    sector[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x0c, 0, 0, 0, 0, 8, 0, 0, 0, 0xc0, 0, 0]);
    sector[462..478].copy_from_slice(&[0, 0, 0, 0, 0x05, 0, 0, 0, 0, 0xd0, 0, 0, 0, 0x10, 0, 0]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&sector, 0).unwrap();
    file.write_all_at(&[0; 33 * 512], 512).unwrap();
    file.write_all_at(&[0; 33 * 512], (64 << 20) - 33 * 512).unwrap();
    sector[446..478].fill(0);
    sector[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    file.write_all_at(&sector, 0xd000 * 512).unwrap();
    let report = looked_at(&path);
    let kinds: Vec<_> = report.partitions.iter().map(|partition| (partition.number, partition.type_name.as_str())).collect();
    assert_eq!(kinds, [(1, "FAT32"), (2, "extended"), (5, "Linux data")]);
    assert!(report.system.is_some());
}

/// Whatever is in an image: a report, or an error.
#[test]
fn no_damage_makes_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    image(&path, 0, 0, &[]);
    let file = fs::File::options().write(true).read(true).open(&path).unwrap();
    let mut state = 3_u64;
    for _ in 0..150 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = match state >> 62 {
            0 => state >> 20 & 511,
            _ => state >> 20 & 0x3_ffff,
        };
        file.write_all_at(&state.to_le_bytes()[..(state & 7) as usize], at).unwrap();
        let opened = OpenedImage::open(&path, folder.path()).unwrap();
        let report = inspect(&opened).unwrap().report;
        let _ = (text::render(&report), html::render(&report));
    }
    // The magic of every filesystem that is known, and nothing sensible behind.
    for (at, magic) in [
        (1080, &b"\x53\xef"[..]),
        (0, b"XFSB"),
        (0, b"hsqs"),
        (1024, b"\xe2\xe1\xf5\xe0"),
        (65600, b"_BHRfS_M"),
        (0, b"verity\0\0"),
        (0, b"LUKS\xba\xbe"),
    ] {
        for filler in [0, 0xff, 0x5a] {
            fs::write(&path, vec![filler; 200 << 10]).unwrap();
            fs::File::options().write(true).open(&path).unwrap().write_all_at(magic, at).unwrap();
            let report = looked_at(&path);
            assert!(report.partitions[0].filesystem.is_some(), "{magic:?}");
        }
    }
}
