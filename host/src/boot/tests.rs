//! Boot files from trees made by hand.

use std::path::Path;

use oic_config::spec::Arch;
use uuid::Uuid;

use super::{
    BootKernel, EfiNames, OsRelease, choose_kernel,
    grub::{self, GrubInput},
    kernels,
    systemd_boot::{self, SystemdBootInput},
};
use crate::rootfs::{
    content::Content,
    testing::EPOCH,
    tree::{Inode, Kind, Metadata, RootTree},
};

fn target(files: &[&str]) -> RootTree {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    let mut add = |path: &str, text: &[u8]| tree.write_file(path, Content::bytes(text.to_vec()), 0o644, EPOCH).map(|_| ()).unwrap();
    add("usr/lib/os-release", b"PRETTY_NAME=\"Test's 1\"\nID=testos\n");
    for release in ["6.9.0-1", "6.12.0-2", "6.12.0-10"] {
        add(&format!("boot/vmlinuz-{release}"), b"kernel");
        add(&format!("boot/initrd.img-{release}"), b"initramfs");
    }
    for path in files {
        add(path, path.as_bytes());
    }
    let link = Inode { metadata: Metadata::root_owned(0o777, EPOCH), kind: Kind::Symlink(b"../usr/lib/os-release"[..].into()) };
    tree.make_directories("etc", EPOCH).unwrap();
    tree.insert("etc/os-release", link).unwrap();
    tree
}

fn paths(tree: &RootTree) -> Vec<String> {
    let files = tree.walk().filter(|entry| matches!(entry.inode.kind, Kind::File(_)));
    files.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

#[test]
fn kernels_are_found_with_their_initramfs_newest_first() {
    let kernels = kernels(&target(&[]));
    let releases: Vec<&str> = kernels.iter().map(|kernel| kernel.release.as_str()).collect();
    assert_eq!(releases, ["6.12.0-10", "6.12.0-2", "6.9.0-1"]);
    assert_eq!(kernels[0].initramfs.as_deref(), Some("/boot/initrd.img-6.12.0-10"));
    assert_eq!(choose_kernel(&kernels, Some("6.9.0-1")).unwrap().release, "6.9.0-1");
    let error = choose_kernel(&kernels[..1], Some("5")).unwrap_err().to_string();
    assert_eq!(error, "the image has no kernel `5`; it has `6.12.0-10`");
    assert!(choose_kernel(&[], None).is_err());
}

#[test]
fn kernels_that_do_not_unpack_themselves_have_another_name() {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    for (path, text) in [
        ("boot/vmlinux-6.12.0-2", &b"MZ riscv64"[..]),
        ("boot/initrd.img-6.12.0-2", b"initramfs"),
        ("boot/vmlinux-6.9.0-1", b"\x7fELF for debuggers"),
        ("boot/vmlinuz-6.12.0-1", b"kernel"),
        ("boot/vmlinux-6.12.0-1", b"MZ"),
    ] {
        tree.write_file(path, Content::bytes(text.to_vec()), 0o644, EPOCH).unwrap();
    }
    let found: Vec<_> = kernels(&tree).into_iter().map(|kernel| (kernel.kernel, kernel.initramfs.is_some())).collect();
    assert_eq!(found, [("/boot/vmlinux-6.12.0-2".to_owned(), true), ("/boot/vmlinuz-6.12.0-1".to_owned(), false)]);
}

#[test]
fn systemd_boot_offers_plain_entries() {
    let root = target(&["usr/lib/systemd/boot/efi/systemd-bootaa64.efi"]);
    let kernels = kernels(&root);
    let input = SystemdBootInput {
        root: &root,
        arch: Arch::Aarch64,
        kernels: &kernels[..1],
        cmdline: "root=x rw",
        unified_image: false,
        work_folder: Path::new("/nonexistent"),
        epoch: EPOCH,
    };
    let esp = systemd_boot::esp_tree(&input).unwrap();
    assert_eq!(
        paths(&esp),
        [
            "/EFI/BOOT/BOOTAA64.EFI",
            "/EFI/systemd/systemd-bootaa64.efi",
            "/loader/entries/testos-6.12.0-10.conf",
            "/loader/entries.srel",
            "/loader/loader.conf",
            "/testos/6.12.0-10/initrd",
            "/testos/6.12.0-10/linux"
        ]
    );
    let entry = esp.file("/loader/entries/testos-6.12.0-10.conf").unwrap().read_all(1000).unwrap();
    assert!(String::from_utf8(entry).unwrap().contains("options root=x rw\n"));
    let error = systemd_boot::esp_tree(&SystemdBootInput { arch: Arch::X86_64, ..input }).unwrap_err().to_string();
    assert_eq!(error, "the image has no `/usr/lib/systemd/boot/efi/systemd-bootx64.efi`: it comes with package `systemd-boot-efi`");
}

fn grub_input<'a>(root: &'a RootTree, kernels: &'a [BootKernel]) -> GrubInput<'a> {
    GrubInput {
        root,
        arch: Arch::X86_64,
        kernels,
        cmdline: "root=x rw quiet",
        boot_filesystem: Uuid::from_u128(1),
        boot_is_separate: false,
        mkimage: None,
        work_folder: Path::new("/nonexistent"),
        epoch: EPOCH,
    }
}

#[test]
fn signed_grub_is_taken_as_it_is() {
    let (shim, grub) = ("usr/lib/shim/shimx64.efi.signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed");
    let root = target(&[shim, grub]);
    let kernels = kernels(&root);
    let esp = grub::esp_tree(&grub_input(&root, &kernels)).unwrap();
    let read = |path: &str| String::from_utf8(esp.file(path).unwrap().read_all(1000).unwrap()).unwrap();
    assert_eq!(read("/EFI/BOOT/BOOTX64.EFI"), shim);
    assert_eq!(read("/EFI/BOOT/grubx64.efi"), grub);
    assert_eq!(
        read("/EFI/testos/grub.cfg"),
        "search.fs_uuid 00000000-0000-0000-0000-000000000001 root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    );
    let without = target(&[]);
    assert!(grub::esp_tree(&grub_input(&without, &kernels)).unwrap_err().to_string().contains("grub-mkimage"));
}

#[test]
fn the_menu_starts_each_kernel_from_its_filesystem() {
    let root = target(&[]);
    let kernels = kernels(&root);
    let menu = grub::menu(&grub_input(&root, &kernels[..1]));
    let expected = "set default=0\nset timeout=1\n\nmenuentry 'Tests 1, 6.12.0-10' --class os {\n\
        \tsearch --no-floppy --fs-uuid --set=root 00000000-0000-0000-0000-000000000001\n\
        \tlinux /boot/vmlinuz-6.12.0-10 root=x rw quiet\n\tinitrd /boot/initrd.img-6.12.0-10\n}\n";
    assert_eq!(menu, expected);
    let separate = GrubInput { boot_is_separate: true, ..grub_input(&root, &kernels[..1]) };
    assert!(grub::menu(&separate).contains("\tlinux /vmlinuz-6.12.0-10 "));
}

#[test]
fn every_architecture_has_its_names() {
    let names: Vec<_> = Arch::ALL.iter().map(|arch| EfiNames::of(*arch).removable).collect();
    assert_eq!(names, ["BOOTX64.EFI", "BOOTAA64.EFI", "BOOTRISCV64.EFI"]);
    assert_eq!(OsRelease::read(&target(&[])).name, "Test's 1");
}
