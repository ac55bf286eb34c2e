//! An image with everything that a template can ask for: built twice to the same bytes, and seen from inside.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use oic::rootfs::{Kind, RootTree};
use oic_builder_vm::DiskFormat;
use oic_config::spec::Arch;
use oic_tests::{Guest, Lab, Sandbox, Turn, root_tree};

use super::{boot_check, build, check_outputs, lab};

const QCOW2: &str = "workbench-1.2.3.qcow2";
const RAW_ZST: &str = "workbench-1.2.3.raw.zst";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsXw0zwMAYRJj7yMzUbdUqkpKzUvPsEJ8P9OSQzM0Dz ada@home";

/// A folder that was put into the image.
const TREE: &str = "755 root root .\n755 root root sub\n755 ada lathe sub/run\n644 ada lathe plain";

/// What `ada` types.
const PASSWORD: &str = "correct horse";

/// `bob`'s password is `battery staple`, `carol` has none.
const TEMPLATE: &str = r#"
image:
  name: workbench
  version: 1.2.3
target:
  os: debian
  dist: debian13
  arch: x86_64
  imageType: raw
disk:
  name: workbench
  size: 2GiB
  partitionTableType: gpt
  artifacts:
    - type: qcow2
    - type: raw
      compression: zstd
  partitions:
    - {id: esp, type: esp, start: 1MiB, end: 257MiB, fsType: fat32, mountPoint: /boot/efi, mountOptions: umask=0077}
    - {id: rootfs, type: linux-root, start: 257MiB, end: "0", fsType: ext4, mountPoint: /}
systemConfig:
  name: workbench
  hostname: workbench
  locale: en_GB.UTF-8
  timezone: Europe/Berlin
  groups:
    - {name: lathe, gid: 1300}
  services:
    mask: [systemd-pstore.service]
    disable: [e2scrub_reap.service]
  network:
    interfaces:
      - {name: "e*", dhcp4: true}
  users:
    - name: ada
      password: PASSWORD
      hash_algo: yescrypt
      passwordMaxAge: 90
      sudo: true
      groups: [adm]
      authorizedKeys:
        - KEY
    - name: bob
      password: $6$oicTests$a2Oe318dUEF8btgXYzhmN8JQOhx.6zkAKccW9elYJp03qKuRcn2Wn1.LdRIviAWW.XE0mUMhWRpgaecb1Ch6h1
      shell: /bin/sh
    - name: carol
      uid: 1500
      primaryGroup: lathe
      home: /srv/carol
    - {name: dave, password: battery staple, startupScript: /usr/local/bin/tool}
  packages: [less, locales, openssh-server, sudo, tzdata]
  additionalFiles:
    - {local: files/greeting, final: /etc/workbench/greeting, mode: "0640", group: adm}
    - {local: files/tool, final: /usr/local/bin/}
    - {local: files/tree, final: /opt/tree, owner: ada, group: lathe}
    - {local: files/greeting, final: /etc/workbench/early, stage: pre-initramfs}
  configurations:
    - cmd: echo "made for $(cat /etc/hostname)" > /etc/workbench/made
    - {script: files/finish, args: "'two words'", stage: finalize}
  kernel:
    cmdline: console=tty0 console=ttyS0,115200 workbench.mark=1
    enableExtraModules: dm_snapshot
    packages: [linux-image-cloud-amd64]
"#;

/// Returns a user's sandbox with the template and its files.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("template.yml", &TEMPLATE.replace("KEY", KEY).replace("PASSWORD", PASSWORD));
    sandbox.write("files/greeting", "Hello from a file.\n");
    let tool = sandbox.write("files/tool", "#!/bin/sh\necho the tool runs\n");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(sandbox.write("files/tree/sub/run", "#!/bin/sh\n"), fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("files/tree/plain", "plain\n");
    sandbox.write("files/finish", "#!/bin/sh\necho \"$1, $(ls /boot | grep -c initrd)\" > /etc/workbench/finished\n");
    sandbox
}

#[test]
fn same_bytes_twice_and_as_asked_for_inside() {
    let Some(lab) = lab("full::same_bytes_twice_and_as_asked_for_inside") else { return };
    let first = sandbox();
    build(&first, lab.cache(), &[]);
    check_outputs(&first, &[QCOW2, RAW_ZST]);
    decompress(&first.cwd().join("out").join(RAW_ZST), &first.cwd().join("disk.raw"));

    std::thread::scope(|scope| {
        let again = scope.spawn(|| builds_again(&lab, &first));
        let seen = scope.spawn(|| {
            look_at_files(&first);
            look_around(&lab, &first);
        });
        boot_check(&first, lab.cache(), "disk.raw");
        for thread in [again, seen] {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Builds once more as another user in another folder, with the lock and the packages alone.
fn builds_again(lab: &Lab, first: &Sandbox) {
    let second = sandbox();
    fs::copy(first.cwd().join("oic.lock"), second.cwd().join("oic.lock")).unwrap();
    let cold = tempfile::Builder::new().prefix("cold-").tempdir_in(lab.cache().parent().unwrap()).unwrap();
    link_packages(lab.cache(), cold.path());
    build(&second, cold.path(), &["--locked", "--offline"]);
    assert_eq!(second.read("oic.lock"), first.read("oic.lock"));
    assert_eq!(second.read("out/SHA256SUMS"), first.read("out/SHA256SUMS"), "the same lock has given other bytes");
}

/// Makes a cache that has packages and nothing else.
pub(super) fn link_packages(from: &Path, to: &Path) {
    const BUCKET: &str = "packages-v1";
    for folder in fs::read_dir(from.join(BUCKET)).unwrap() {
        let folder = folder.unwrap();
        let target = to.join(BUCKET).join(folder.file_name());
        fs::create_dir_all(&target).unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            fs::hard_link(file.path(), target.join(file.file_name())).unwrap();
        }
    }
}

/// Decompresses a file; zeros become holes.
fn decompress(from: &Path, to: &Path) {
    let mut source = zstd::Decoder::new(File::open(from).unwrap()).unwrap();
    let mut target = File::create(to).unwrap();
    let mut chunk = Vec::new();
    loop {
        chunk.clear();
        if source.by_ref().take(1 << 20).read_to_end(&mut chunk).unwrap() == 0 {
            break;
        }
        if chunk.iter().all(|byte| *byte == 0) {
            target.seek_relative(i64::try_from(chunk.len()).unwrap()).unwrap();
        } else {
            target.write_all(&chunk).unwrap();
        }
    }
    let length = target.stream_position().unwrap();
    target.set_len(length).unwrap();
}

/// Looks at the root filesystem before anything has booted it.
fn look_at_files(first: &Sandbox) {
    let tree = root_tree(&first.cwd().join("disk.raw"), &first.root().join("root.ext4")).unwrap();
    assert_eq!(text(&tree, "/etc/machine-id"), "");
    let keys: Vec<_> = tree.names("/etc/ssh").filter(|(name, _)| name.starts_with(b"ssh_host_")).collect();
    assert!(keys.is_empty(), "the image has {} SSH host keys", keys.len());

    let shadow = text(&tree, "/etc/shadow");
    let hash = |user: &str| shadow.lines().find_map(|line| line.strip_prefix(&format!("{user}:"))?.split(':').next()).map(str::to_owned);
    assert!(hash("ada").is_some_and(|hash| hash.starts_with("$y$")), "{shadow}");
    assert!(hash("bob").is_some_and(|hash| hash.starts_with("$6$oicTests$")), "{shadow}");
    for locked in ["carol", "root"] {
        assert!(hash(locked).is_some_and(|hash| hash.starts_with(['!', '*'])), "{locked} is not locked: {shadow}");
    }
    for entry in tree.walk() {
        if let Kind::File(content) = &entry.inode.kind
            && content.size() < 1 << 20
        {
            let bytes = content.read_all(1 << 20).unwrap();
            let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
            assert!(!found, "the plain password is in {}", String::from_utf8_lossy(&entry.path));
        }
    }
}

fn text(tree: &RootTree, path: &str) -> String {
    let content = tree.file(path).unwrap_or_else(|| panic!("the image has no file {path}"));
    String::from_utf8(content.read_all(1 << 20).unwrap()).unwrap()
}

/// Boots the qcow2, logs in as a user with a password and looks at what the template asked for.
fn look_around(lab: &Lab, first: &Sandbox) {
    let _turn = Turn::wait();
    let image = first.cwd().join("out").join(QCOW2);
    let mut guest = Guest::boot(lab, first, &image, DiskFormat::Qcow2, Arch::X86_64).unwrap();
    guest.log_in("ada", PASSWORD).unwrap();
    let sudo = format!("echo '{PASSWORD}' | sudo -S -p ''");
    let mut wrong = Vec::new();
    let mut expect = |command: &str, expected: &str| {
        let answer = guest.run(command).unwrap();
        if answer.text != expected {
            wrong.push(format!("`{command}` gives {answer}\n  instead of {expected}"));
        }
    };
    // The kernel's messages would stand between a command's lines.
    expect(&format!("{sudo} dmesg --console-level emerg"), "");
    expect("systemctl is-system-running", "running");
    expect("systemctl --failed --no-legend --plain", "");
    expect("whoami; echo $SHELL", "ada\n/bin/bash");
    expect("hostname", "workbench");
    expect("id -nG", "ada adm sudo");
    expect(&format!("{sudo} whoami"), "root");
    expect("echo 'battery staple' | su bob -c 'whoami; pwd; echo $SHELL'", "Password: bob\n/home/ada\n/bin/sh");
    expect("cat /etc/workbench/greeting", "Hello from a file.");
    expect("stat -c '%a %U %G' /etc/workbench/greeting", "640 root adm");
    expect("tool", "the tool runs");
    expect("cd /opt/tree; stat -c '%a %U %G %n' . sub sub/run plain", TREE);
    expect("cat /etc/workbench/early", "Hello from a file.");
    expect(&format!("{sudo} grep ^ada: /etc/shadow | cut -d: -f5"), "90");
    expect("getent passwd carol | cut -d: -f6; stat -c %U /srv/carol", "/srv/carol\ncarol");
    expect("getent passwd dave | cut -d: -f7", "/usr/local/bin/tool");
    expect("grep -c ^dm_snapshot /etc/initramfs-tools/modules", "1");
    expect("stat -c '%a %U %G' /usr/local/bin/tool", "755 root root");
    expect("cat /etc/workbench/made", "made for workbench");
    expect("cat /etc/workbench/finished", "two words, 1");
    expect("ls /run/oic 2>/dev/null", "");
    expect("systemctl is-enabled systemd-pstore.service e2scrub_reap.service", "masked\ndisabled");
    expect("id carol", "uid=1500(carol) gid=1300(lathe) groups=1300(lathe)");
    expect("echo $LANG; locale -a | grep en_GB", "en_GB.UTF-8\nen_GB.utf8");
    expect("readlink /etc/localtime; date +%Z | tr -d S", "../usr/share/zoneinfo/Europe/Berlin\nCET");
    expect("cat /etc/systemd/network/*.network | grep -c '^Name=e'", "1");
    expect("dpkg-query -W -f '${Status}' less", "install ok installed");
    expect("dpkg -s less | grep -c '^Status: install ok installed'", "1");
    expect(&format!("{sudo} dpkg --audit"), "");
    expect("stat -c '%a %U %G' ~ ~/.ssh ~/.ssh/authorized_keys", "700 ada ada\n700 ada ada\n600 ada ada");
    expect("cat ~/.ssh/authorized_keys", KEY);
    expect("systemctl is-active ssh.service", "active");
    expect("ls /etc/ssh/ssh_host_*_key | wc -l", "3");
    expect("wc -c < /etc/machine-id", "33");
    expect("findmnt -no FSTYPE /boot/efi", "vfat");
    expect("findmnt -no FSTYPE,SOURCE / | cut -d/ -f1", "ext4");
    expect("grep -o workbench.mark=1 /proc/cmdline", "workbench.mark=1");
    expect("grep -c root= /proc/cmdline", "1");
    expect("networkctl --no-legend list | grep -c 'ether.*routable'", "1");
    expect("resolvectl status >/dev/null && echo resolved", "resolved");
    assert!(wrong.is_empty(), "{}\n--- the console\n{}", wrong.join("\n"), guest.console());
}
