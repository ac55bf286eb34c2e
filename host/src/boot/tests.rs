//! Boot files from trees made by hand.

use std::path::Path;

use oic_config::spec::{Arch, Filesystem, Subvolume};

use super::{
    BootInput, BootKernel, EfiNames, OsRelease, choose_kernel,
    grub::{self, BootVolume},
    kernels,
    systemd_boot::{self, KernelPlace},
};
use crate::{
    disk::ImageIdentity,
    rootfs::{
        content::Content,
        testing::EPOCH,
        tree::{Inode, Kind, Metadata, RootTree},
    },
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

fn input<'a>(root: &'a RootTree, kernels: &'a [BootKernel]) -> BootInput<'a> {
    BootInput {
        root,
        os: OsRelease::read(root),
        arch: Arch::X86_64,
        kernels,
        cmdline: "root=x rw quiet",
        unified_image: false,
        mkimage: None,
        work_folder: Path::new("/nonexistent"),
        epoch: EPOCH,
    }
}

fn text(tree: &RootTree, path: &str) -> String {
    String::from_utf8(tree.file(path).unwrap().read_all(1000).unwrap()).unwrap()
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
    let place = KernelPlace { is_xbootldr: false, mount_point: Some("/boot/efi") };
    let aarch64 = BootInput { arch: Arch::Aarch64, ..input(&root, &kernels[..1]) };
    let esp = systemd_boot::trees(&aarch64, place).unwrap().esp;
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
    assert!(text(&esp, "/loader/entries/testos-6.12.0-10.conf").contains("options root=x rw quiet\n"));
    let error = systemd_boot::trees(&input(&root, &kernels), place).unwrap_err().to_string();
    assert_eq!(error, "the image has no `/usr/lib/systemd/boot/efi/systemd-bootx64.efi`: it comes with package `systemd-boot-efi`");
}

#[test]
fn entries_on_the_partition_of_the_kernels_refer_to_them_there() {
    let root = target(&["usr/lib/systemd/boot/efi/systemd-bootx64.efi"]);
    let kernels = kernels(&root);
    let place = KernelPlace { is_xbootldr: true, mount_point: Some("/boot") };
    let trees = systemd_boot::trees(&input(&root, &kernels), place).unwrap();
    assert_eq!(paths(&trees.esp), ["/EFI/BOOT/BOOTX64.EFI", "/EFI/systemd/systemd-bootx64.efi", "/loader/loader.conf"]);
    let xbootldr = trees.xbootldr.unwrap();
    assert_eq!(paths(&xbootldr).len(), 4, "{:?}", paths(&xbootldr));
    let entry = text(&xbootldr, "/loader/entries/testos-6.9.0-1.conf");
    assert!(entry.contains("linux /vmlinuz-6.9.0-1\ninitrd /initrd.img-6.9.0-1\n"), "{entry}");
}

/// Returns a disk of one filesystem, with more mounted at `boot`.
fn volume(boot: Option<(&str, Filesystem)>, subvolume: Option<&str>) -> BootVolume {
    let mut disk = oic_config::load(&oic_config::LoadRequest {
        template: Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-grub-raw.yml"),
        ..oic_config::LoadRequest::default()
    });
    let mut disk = disk.as_mut().unwrap().spec.disk.take().unwrap();
    let root = disk.partitions.iter_mut().find(|partition| partition.id == "rootfs").unwrap();
    if let Some(name) = subvolume {
        let mount_point = root.mount_point.take();
        root.subvolumes = vec![Subvolume { name: name.to_owned(), mount_point, mount_options: String::new() }];
    }
    if let Some((path, filesystem)) = boot {
        let home = disk.partitions.iter_mut().find(|partition| partition.id == "home").unwrap();
        (home.mount_point, home.filesystem) = (Some(path.to_owned()), Some(filesystem));
    }
    BootVolume::of(&disk, &ImageIdentity::new("test")).unwrap()
}

#[test]
fn signed_grub_is_taken_as_it_is() {
    let (shim, grub) = ("usr/lib/shim/shimx64.efi.signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed");
    let root = target(&[shim, grub]);
    let kernels = kernels(&root);
    let volume = volume(None, None);
    let esp = grub::efi::esp_tree(&input(&root, &kernels), &volume).unwrap();
    assert_eq!(text(&esp, "/EFI/BOOT/BOOTX64.EFI"), shim);
    assert_eq!(text(&esp, "/EFI/BOOT/grubx64.efi"), grub);
    let uuid = ImageIdentity::new("test").filesystem("rootfs");
    let expected = format!("search.fs_uuid {uuid} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n");
    assert_eq!(text(&esp, "/EFI/testos/grub.cfg"), expected);
    let without = target(&[]);
    assert!(grub::efi::esp_tree(&input(&without, &kernels), &volume).unwrap_err().to_string().contains("grub-mkimage"));
    assert!(grub::bios::program(&input(&without, &kernels), &volume).unwrap_err().to_string().contains("`grub-pc-bin`"));
}

#[test]
fn signed_programs_of_the_rpm_family_are_where_its_packages_put_them() {
    let (shim, grub) = ("boot/efi/EFI/vendor/shimx64.efi", "boot/efi/EFI/vendor/grubx64.efi");
    let root = target(&[shim, grub]);
    let kernels = kernels(&root);
    let esp = grub::efi::esp_tree(&input(&root, &kernels), &volume(None, None)).unwrap();
    assert_eq!(text(&esp, "/EFI/BOOT/BOOTX64.EFI"), shim);
    assert_eq!(text(&esp, "/EFI/vendor/grubx64.efi"), grub);
    assert!(text(&esp, "/EFI/vendor/grub.cfg").ends_with("configfile $prefix/grub.cfg\n"));
    assert!(esp.lookup("/boot/grub/grub.cfg").is_none());

    // Azure Linux: no vendor's folder, and a menu where `grub2-mkconfig` writes.
    let (shim, grub) = ("boot/efi/EFI/BOOT/bootx64.efi", "boot/efi/EFI/BOOT/grubx64.efi");
    let root = target(&[shim, grub, "usr/sbin/grub2-mkconfig"]);
    let esp = grub::efi::esp_tree(&input(&root, &kernels), &volume(None, None)).unwrap();
    assert_eq!((text(&esp, "/EFI/BOOT/BOOTX64.EFI"), text(&esp, "/EFI/BOOT/grubx64.efi")), (shim.to_owned(), grub.to_owned()));
    assert!(text(&esp, "/boot/grub2/grub.cfg").contains("set prefix=($root)/boot/grub2\n"));
    assert_eq!((grub::folder(&root), grub::folder(&target(&[]))), ("/boot/grub2", "/boot/grub"));
}

#[test]
fn the_menu_starts_each_kernel_from_its_filesystem() {
    let root = target(&[]);
    let kernels = kernels(&root);
    let uuid = ImageIdentity::new("test").filesystem("rootfs");
    let menu = grub::menu(&input(&root, &kernels[..1]), &volume(None, None));
    let expected = format!(
        "set default=0\nset timeout=1\n\nmenuentry 'Tests 1, 6.12.0-10' --class os {{\n\
        \tsearch --no-floppy --fs-uuid --set=root {uuid}\n\
        \tlinux /boot/vmlinuz-6.12.0-10 root=x rw quiet\n\tinitrd /boot/initrd.img-6.12.0-10\n}}\n"
    );
    assert_eq!(menu, expected);
    let serial = BootInput { cmdline: "console=tty0 console=ttyS1,57600n8", ..input(&root, &kernels[..1]) };
    let menu = grub::menu(&serial, &volume(Some(("/boot", Filesystem::Fat32)), None));
    assert!(menu.contains("\tserial --unit=1 --speed=57600\n") && menu.contains("\tlinux /vmlinuz-6.12.0-10 "), "{menu}");
    let id = ImageIdentity::new("test").fat_volume("home");
    assert!(menu.contains(&format!("--set=root {:04X}-{:04X}\n", id >> 16, id & 0xffff)), "{menu}");
    let menu = grub::menu(&input(&root, &kernels[..1]), &volume(None, Some("@")));
    assert!(menu.contains("\tlinux /@/boot/vmlinuz-6.12.0-10 "), "{menu}");
}

#[test]
fn every_architecture_has_its_names() {
    let names: Vec<_> = Arch::ALL.iter().map(|arch| EfiNames::of(*arch).removable).collect();
    assert_eq!(names, ["BOOTX64.EFI", "BOOTAA64.EFI", "BOOTRISCV64.EFI"]);
    assert_eq!(OsRelease::read(&target(&[])).name, "Test's 1");
}
