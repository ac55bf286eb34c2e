//! What can be booted: entries of the Boot Loader Specification, unified kernel images, and menus of GRUB.

use super::report::{BootEntry, EfiReport};
use crate::rootfs::{Content, Kind, RootTree, path::Shown};

/// The largest entry file, and the largest menu.
const MAX_ENTRY: u64 = 64 << 10;
const MAX_MENU: u64 = 4 << 20;
/// The most entries of an image.
const MAX_ENTRIES: usize = 512;
/// Where GRUB's menus are, on the root filesystem, a boot partition, or an EFI system partition.
const MENUS: [&str; 4] = ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/grub2/grub.cfg"];

/// Finds the entries of a partition.
pub(super) fn find(partition: u32, tree: &RootTree) -> Vec<BootEntry> {
    let mut entries = Vec::new();
    for folder in ["/loader/entries", "/boot/loader/entries"] {
        for (name, id) in tree.names(folder) {
            if let Kind::File(content) = &tree.inode(id).kind
                && name.ends_with(b".conf")
                && let Some(text) = read(content, MAX_ENTRY)
            {
                entries.push(type1(partition, &format!("{folder}/{}", Shown(name)), &text));
            }
        }
    }
    for path in MENUS {
        if let Some(text) = tree.file(path).and_then(|content| read(content, MAX_MENU)) {
            entries.extend(grub(partition, path, &text));
        }
    }
    entries.truncate(MAX_ENTRIES);
    entries
}

/// Returns the entries that unified kernel images are.
pub(super) fn unified(efi: &[EfiReport]) -> impl Iterator<Item = BootEntry> + '_ {
    efi.iter().filter_map(|program| {
        let uki = program.uki.as_ref().filter(|_| program.kind == "uki")?;
        Some(BootEntry {
            kind: "uki",
            partition: program.partition,
            path: program.path.clone(),
            title: uki.os.clone(),
            kernel: Some(uki.uname.clone()).filter(|release| !release.is_empty()),
            initramfs: Vec::new(),
            cmdline: uki.cmdline.clone(),
        })
    })
}

fn read(content: &Content, limit: u64) -> Option<String> {
    Some(String::from_utf8_lossy(&content.read_all(limit).ok()?).into_owned())
}

/// Reads an entry of type 1.
fn type1(partition: u32, path: &str, text: &str) -> BootEntry {
    let mut entry = BootEntry {
        kind: "type1",
        partition,
        path: path.to_owned(),
        title: String::new(),
        kernel: None,
        initramfs: Vec::new(),
        cmdline: String::new(),
    };
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(char::is_whitespace).map_or((line, ""), |(key, value)| (key, value.trim()));
        match key {
            "title" => value.clone_into(&mut entry.title),
            "linux" | "efi" => entry.kernel = Some(value.to_owned()),
            "initrd" => entry.initramfs.extend(value.split_whitespace().map(str::to_owned)),
            "options" => {
                if !entry.cmdline.is_empty() {
                    entry.cmdline.push(' ');
                }
                entry.cmdline.push_str(value);
            }
            _ => {}
        }
    }
    entry
}

/// Reads the entries of a menu: `menuentry` with the `linux` and `initrd` in it. What scripts compute is shown as it stands.
fn grub(partition: u32, path: &str, text: &str) -> Vec<BootEntry> {
    let mut entries: Vec<BootEntry> = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()));
        match word {
            "menuentry" => {
                let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
                let title = match quote {
                    Some(quote) => rest[1..].split(quote).next().unwrap_or_default(),
                    None => rest.split_whitespace().next().unwrap_or_default(),
                };
                entries.push(BootEntry {
                    kind: "grub",
                    partition,
                    path: path.to_owned(),
                    title: title.to_owned(),
                    kernel: None,
                    initramfs: Vec::new(),
                    cmdline: String::new(),
                });
                inside = true;
            }
            "linux" | "linuxefi" | "linux16" | "chainloader" if inside => {
                if let Some(entry) = entries.last_mut() {
                    let (kernel, cmdline) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                    entry.kernel = Some(kernel.to_owned());
                    cmdline.trim().clone_into(&mut entry.cmdline);
                }
            }
            "initrd" | "initrdefi" | "initrd16" if inside => {
                if let Some(entry) = entries.last_mut() {
                    entry.initramfs = rest.split_whitespace().map(str::to_owned).collect();
                }
            }
            "}" => inside = false,
            _ => {}
        }
        if entries.len() > MAX_ENTRIES {
            break;
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_both_kinds() {
        let entry =
            type1(1, "/loader/entries/a.conf", "# x\ntitle  Debian\nlinux /vmlinuz\ninitrd /a\ninitrd /b\noptions root=x\noptions quiet\n");
        assert_eq!((entry.title.as_str(), entry.kernel.as_deref(), entry.cmdline.as_str()), ("Debian", Some("/vmlinuz"), "root=x quiet"));
        assert_eq!(entry.initramfs, ["/a", "/b"]);
        let menu = "set timeout=5\nmenuentry 'Debian GNU/Linux' --class debian {\n  linux /boot/vmlinuz root=UUID=1 ro\n  initrd /boot/initrd\n}\n";
        let entries = grub(2, "/boot/grub/grub.cfg", menu);
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].title.as_str(), entries[0].cmdline.as_str()), ("Debian GNU/Linux", "root=UUID=1 ro"));
    }
}
