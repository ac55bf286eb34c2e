//! Images of the RPM family, built from a signed repository that is made on the spot, booted, and looked at from inside.
//!
//! ```text
//! test distribution   its own defaults and a folder of packages, twice to the same bytes; logged in; what rpm says of every file
//! Azure Linux 3       the defaults that the program has for it, on packages of the same names
//!                     and with shim and GRUB where its packages have them
//! aarch64             the test distribution, built and booted as a foreign architecture
//! mixed               several repositories, and what the image lists of them
//! variants            broken repositories
//! disks               with OIC_TESTS=all: an MBR with GRUB on BIOS and XFS; Btrfs with plain entries of systemd-boot; GRUB on XFS
//! faults              what rpm only warns of, and what it does not look at
//! ```
//!
//! What this proves is said in `docs/rpm.md`: nothing in these packages is Azure Linux'. The tests need a mirror of Debian and what
//! makes RPM repositories; what is missing is said. Where guests are emulated, all of them take some 7 minutes.

mod mixed;
mod variants;

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use oic_builder_vm::DiskFormat;
use oic_config::spec::Arch;
use oic_tests::{Guest, Lab, Output, Sandbox, TestOs, Turn, all_tests, build_rpm};

/// What `ann` types.
const PASSWORD: &str = "correct horse";
/// What root types.
const ROOT_PASSWORD: &str = "battery staple";

/// What every template here has.
const TEMPLATE: &str = r#"
image: {name: NAME, version: 1.0.0}
target: {os: OS, dist: DIST, arch: x86_64, imageType: raw}
systemConfig:
  name: NAME
  hostname: NAME
  users:
    - {name: root, password: battery staple}
    - {name: ann, password: correct horse, sudo: true}
"#;

/// A folder of packages that nobody has signed.
const FOLDER: &str = r#"
packageRepositories:
  - {codename: own, path: FOLDER, pkey: "[trusted=yes]"}
"#;

/// What rpm finds changed by accounts, and nothing else may be: size, digest and, where the clock tells, time of configuration files.
const CHANGED: [&str; 4] = ["c /etc/group", "c /etc/gshadow", "c /etc/passwd", "c /etc/shadow"];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn template(name: &str, os: &str, dist: &str) -> String {
    TEMPLATE.replace("NAME", name).replace("OS", os).replace("DIST", dist)
}

/// Builds `template.yml` into a folder with a cache.
fn build(sandbox: &Sandbox, cache: &Path, out: &str, more: &[&str]) -> Output {
    let _turn = Turn::wait();
    let arguments: Vec<&str> = ["build", "--progress", "plain", "-o", out, "template.yml"].iter().chain(more).copied().collect();
    let output = sandbox.oic(&arguments).env("OIC_CACHE_DIR", cache).run();
    assert_eq!(output.code, Some(0), "{output}");
    output
}

/// Boots an image, logs in, and compares what commands say with what they should.
fn look_around(lab: &Lab, sandbox: &Sandbox, image: &Path, arch: Arch, expected: &[(&str, &str)]) {
    let _turn = Turn::wait();
    let mut guest = Guest::boot(lab, sandbox, image, DiskFormat::Raw, arch).unwrap();
    guest.log_in("ann", PASSWORD).unwrap();
    guest.run(&format!("as_root() {{ echo '{ROOT_PASSWORD}' | su root -c \"$1\" 2>&1 | sed '1s/^Password: //'; }}")).unwrap();
    guest.run("as_root 'dmesg --console-level emerg'").unwrap();
    let mut wrong = Vec::new();
    for (command, expected) in expected {
        let answer = guest.run(command).unwrap();
        if answer.text != *expected {
            wrong.push(format!("`{command}` gives {answer}\n  instead of {expected}"));
        }
    }
    let verified = guest.run("as_root 'rpm -Va'").unwrap();
    let found: Vec<String> =
        verified.text.lines().map(|line| line.split_once("  ").map_or(line, |(_, file)| file).trim().to_owned()).collect();
    // FAT has no permissions: those of the mount are everybody's.
    let found: Vec<String> = found.into_iter().filter(|file| !file.starts_with("/boot/efi/")).collect();
    if found != CHANGED {
        wrong.push(format!("rpm says of the image's files: {verified}"));
    }
    assert!(wrong.is_empty(), "{}\n--- the console\n{}", wrong.join("\n"), guest.console());
}

fn image(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.cwd().join(format!("out/{name}-1.0.0.raw"))
}

#[test]
fn the_test_distribution_is_built_twice_to_the_same_bytes_and_boots() {
    let test = "the_test_distribution_is_built_twice_to_the_same_bytes_and_boots";
    let Some(lab) = Lab::open(test, "x86_64", folder()) else { return };
    let Some(testos) = TestOs::obtain(test, "x86_64", folder()) else { return };
    let sandbox = Sandbox::new();
    testos.install(&sandbox);
    build_rpm(
        &sandbox.cwd().join("own"),
        "own-note",
        "%description\nA note.\n%install\ninstall -D /dev/null %{buildroot}/srv/own-note\ntouch -d @1700000000 %{buildroot}/srv/own-note\n%files\n/srv/own-note\n",
    );
    let own = FOLDER.replace("FOLDER", &sandbox.cwd().join("own").display().to_string());
    let more = "  packages: [own-note]\n  packageDocs: false\n  packageLanguages: none\n";
    sandbox.write("template.yml", &format!("{}{more}{own}", template("workbench", "testos", "testos1")));
    build(&sandbox, lab.cache(), "out", &[]);
    // With nothing that the first one has made.
    let cold = tempfile::Builder::new().prefix("cold-").tempdir_in(folder()).unwrap();
    let other = Sandbox::new();
    testos.install(&other);
    for name in ["template.yml", "oic.lock"] {
        other.write(name, &sandbox.read(name));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            build(&other, cold.path(), "out", &["--locked"]);
            assert_eq!(other.read("out/SHA256SUMS"), sandbox.read("out/SHA256SUMS"), "two builds, two images");
        });
        let packages = sandbox.read("oic.lock").split("[[tools]]").next().unwrap_or_default().matches("[[image.package]]").count();
        let listed = packages.to_string();
        let expected = [
            ("systemctl is-system-running", "running"),
            ("systemctl --failed --no-legend --plain", ""),
            ("whoami; hostname", "ann\nworkbench"),
            ("rpm -qa | wc -l", &listed),
            ("ls -d /usr/lib/sysimage/rpm/rpmdb.sqlite /root/.rpmdb 2>/dev/null", "/usr/lib/sysimage/rpm/rpmdb.sqlite"),
            ("stat -c '%a %U %G' /usr/lib/dbus-1.0/dbus-daemon-launch-helper", "4750 root messagebus"),
            ("as_root 'stat -c %a /boot/initramfs-*.img'", "600"),
            ("ls /etc/dracut.conf.d", "10-testos.conf"),
            ("wc -c < /etc/machine-id", "33"),
            ("rpm -q --qf '%{NAME} %{VENDOR}' own-note", "own-note (none)"),
            ("find /usr/share/man -name '*.1.gz'; find /usr/share/locale -path '*/LC_MESSAGES/*.mo'", ""),
            ("test -e /usr/share/doc/bash/copyright; echo $?", "0"),
            ("rpm --eval '%_excludedocs %_install_langs'", "1 NONE"),
        ];
        look_around(&lab, &sandbox, &image(&sandbox, "workbench"), Arch::X86_64, &expected);
    });
}

#[test]
fn the_default_template_of_azure_linux_is_built_and_boots() {
    let test = "the_default_template_of_azure_linux_is_built_and_boots";
    let Some(lab) = Lab::open(test, "x86_64", folder()) else { return };
    let Some(testos) = TestOs::obtain(test, "x86_64", folder()) else { return };
    let sandbox = Sandbox::new();
    testos.install_azl3(&sandbox);
    sandbox.write("template.yml", &template("azure", "azure-linux", "azl3"));
    build(&sandbox, lab.cache(), "out", &[]);
    let expected = [
        ("systemctl is-system-running", "running"),
        ("rpm -q azurelinux-release core-packages-base-image tdnf >/dev/null; echo $?", "0"),
        ("id -nG", "ann wheel"),
        ("ls /usr/share/man/man1/bash.1.gz /usr/share/locale/de/LC_MESSAGES/bash.mo | wc -l", "2"),
        ("findmnt -no FSTYPE /boot/efi", "vfat"),
    ];
    look_around(&lab, &sandbox, &image(&sandbox, "azure"), Arch::X86_64, &expected);
}

#[test]
fn azure_linux_boots_with_shim_and_grub() {
    let test = "azure_linux_boots_with_shim_and_grub";
    let Some(lab) = Lab::open(test, "x86_64", folder()) else { return };
    let Some(testos) = TestOs::obtain(test, "x86_64", folder()) else { return };
    let sandbox = Sandbox::new();
    testos.install_azl3(&sandbox);
    let grub = "  bootloader: {bootType: efi, provider: grub}\n";
    sandbox.write("template.yml", &format!("{}{grub}", template("azure", "azure-linux", "azl3")));
    build(&sandbox, lab.cache(), "out", &[]);
    let expected = [
        ("systemctl is-system-running", "running"),
        ("rpm -q grub2-efi-binary shim >/dev/null; echo $?", "0"),
        (
            "as_root 'ls /boot/grub2; cd /boot/efi; ls -d EFI/* EFI/BOOT/* boot/grub2/*; rpm -V shim-signed | cut -c1-8'",
            "grub.cfg\nEFI/BOOT\nEFI/BOOT/bootx64.efi\nEFI/BOOT/grub.cfg\nEFI/BOOT/grubx64.efi\nEFI/debian\nEFI/testos\nboot/grub2/grub.cfg\n.M......",
        ),
        ("grep -c BOOT_IMAGE=/boot/vmlinuz /proc/cmdline", "1"),
    ];
    look_around(&lab, &sandbox, &image(&sandbox, "azure"), Arch::X86_64, &expected);
}

#[test]
fn an_aarch64_image_is_built_and_boots() {
    let test = "images_rpm::an_aarch64_image_is_built_and_boots";
    let Some(lab) = Lab::open(test, "aarch64", folder()) else { return };
    let Some(testos) = TestOs::obtain(test, "aarch64", folder()) else { return };
    let sandbox = Sandbox::new();
    testos.install(&sandbox);
    sandbox.write("template.yml", &template("workbench", "testos", "testos1"));
    build(&sandbox, lab.cache(), "out", &["--arch", "aarch64"]);
    let expected = [
        ("uname -m; rpm -q --qf '%{ARCH}' systemd", "aarch64\naarch64"),
        ("systemctl is-system-running", "running"),
        ("systemctl --failed --no-legend --plain", ""),
        ("grep -o console=ttyAMA0 /proc/cmdline", "console=ttyAMA0"),
    ];
    look_around(&lab, &sandbox, &image(&sandbox, "workbench"), Arch::Aarch64, &expected);
}

/// An MBR with GRUB on BIOS: a primary partition for `/boot`, the root on XFS in a logical one.
const MBR: &str = "
  packages: [xfsprogs]
  bootloader: {bootType: legacy, provider: grub}
disk:
  name: mbr
  size: 3GiB
  partitionTableType: mbr
  partitions:
    - {id: boot, type: linux, size: 384MiB, fsType: ext3, mountPoint: /boot, flags: [boot]}
    - {id: extended, type: extended}
    - {id: rootfs, type: linux-root, size: 2GiB, fsType: xfs, mountPoint: /, flags: [logical]}
    - {id: swap, type: linux-swap, fsType: linux-swap, flags: [logical]}
";

/// Btrfs with subvolumes; kernels and their entries on XBOOTLDR.
const BTRFS: &str = "
  packages: [btrfs-progs]
  bootloader: {bootType: efi, provider: systemd-boot}
  kernel: {uki: false}
disk:
  name: btrfs
  size: 3GiB
  partitionTableType: gpt
  partitions:
    - {id: esp, type: esp, size: 64MiB, fsType: fat32, mountPoint: /efi}
    - {id: boot, type: xbootldr, size: 256MiB, fsType: fat32, mountPoint: /boot}
    - id: system
      type: linux-root
      fsType: btrfs
      subvolumes:
        - {name: '@', mountPoint: /, mountOptions: compress=zstd}
        - {name: '@home', mountPoint: /home}
";

/// The signed GRUB, the root and `/home` on XFS.
const XFS: &str = "
  packages: [xfsprogs]
  bootloader: {bootType: efi, provider: grub}
disk:
  name: xfs
  size: 4GiB
  partitionTableType: gpt
  partitions:
    - {id: esp, type: esp, size: 64MiB, fsType: fat32, mountPoint: /boot/efi}
    - {id: boot, type: linux, size: 384MiB, fsType: ext4, mountPoint: /boot}
    - {id: rootfs, type: linux-root, size: 2GiB, fsType: xfs, mountPoint: /}
    - {id: home, type: linux-home, grow: true, fsType: xfs, mountPoint: /home}
";

/// Builds the test distribution on a disk, boots it with the firmware that is found, and looks into it from outside.
fn builds_and_boots(test: &str, disk: &str, firmware: &str, expected: &[&str]) {
    let Some(lab) = Lab::open(test, "x86_64", folder()) else { return };
    let Some(testos) = TestOs::obtain(test, "x86_64", folder()) else { return };
    let sandbox = Sandbox::new();
    testos.install(&sandbox);
    sandbox.write("template.yml", &format!("{}{}", template("workbench", "testos", "testos1").trim_end(), disk));
    build(&sandbox, lab.cache(), "out", &[]);
    let image = "out/workbench-1.0.0.raw";
    let oic = |arguments: &[&str]| {
        let output = sandbox.oic(arguments).env("OIC_CACHE_DIR", lab.cache()).run();
        assert_eq!(output.code, Some(0), "{arguments:?}: {output}");
        output
    };
    let booted = {
        let _turn = Turn::wait();
        oic(&["boot", "--check", "--progress", "plain", image])
    };
    assert!(booted.stderr.contains(firmware) && booted.stdout.contains("asks for a login"), "{booted}");
    let seen = oic(&["inspect", image, "--extract-sbom=own.json"]);
    for line in ["Test OS 1", "packages"].iter().chain(expected) {
        assert!(seen.stdout.contains(line), "`{line}` is not in {seen}");
    }
    assert!(!seen.stdout.contains("problems"), "{seen}");
    // What the database of RPM says is what the build has said: the same packages, and which needs which.
    let edges = |name: &str| {
        let sbom: serde_json::Value = serde_json::from_str(&sandbox.read(name)).unwrap();
        sbom["relationships"].as_array().unwrap().iter().filter(|edge| edge["relationshipType"] == "DEPENDS_ON").count()
    };
    oic(&["compare", "--mode", "spdx", "own.json", "out/sbom.spdx.json"]);
    assert!(edges("own.json") > 100);
    assert_eq!(edges("own.json"), edges("out/sbom.spdx.json"));
    assert!(sandbox.read("own.json").contains("SHA256 of the package's header"));
}

#[test]
fn an_mbr_with_grub_and_xfs_is_started_by_bios() {
    let test = "images_rpm::an_mbr_with_grub_and_xfs_is_started_by_bios";
    if all_tests(test) {
        builds_and_boots(test, MBR, "firmware: BIOS, for the image has boot code", &["ext3", "extended", "xfs", "swap"]);
    }
}

#[test]
fn btrfs_with_subvolumes_and_plain_entries() {
    let test = "images_rpm::btrfs_with_subvolumes_and_plain_entries";
    if all_tests(test) {
        builds_and_boots(test, BTRFS, "firmware: UEFI", &["btrfs", "subvolume", "type1"]);
    }
}

#[test]
fn xfs_with_signed_grub() {
    let test = "images_rpm::xfs_with_signed_grub";
    if all_tests(test) {
        builds_and_boots(test, XFS, "firmware: UEFI", &["xfs", "shim", "grub"]);
    }
}

/// Builds what cannot be built, and returns what a user is told, without what depends on versions.
fn refused(lab: &Lab, testos: &TestOs, package: Option<&str>, system: &str) -> String {
    let sandbox = Sandbox::new();
    testos.install(&sandbox);
    let mut text = format!("{}{system}", template("workbench", "testos", "testos1"));
    if let Some(body) = package {
        build_rpm(&sandbox.cwd().join("own"), "aaa-faulty", body);
        text += "  packages: [aaa-faulty]\n";
        text += &FOLDER.replace("FOLDER", &sandbox.cwd().join("own").display().to_string());
    }
    sandbox.write("template.yml", &text);
    let _turn = Turn::wait();
    let output = sandbox.oic(&["build", "--progress", "none", "-o", "out", "template.yml"]).env("OIC_CACHE_DIR", lab.cache()).run();
    let text = output.to_string();
    let own = |line: &&str| !line.starts_with("  | ") || line.contains("faulty") && !line.ends_with("noarch");
    let stable = |word: &str| match word {
        word if word.contains("amd64") => "[KERNEL]".to_owned(),
        word if word.len() == 3 && word.parse::<u32>().is_ok() => "[N]".to_owned(),
        word => word.to_owned(),
    };
    let lines = text.lines().filter(own).filter(|line| !line.starts_with("warning: ") && !line.contains("template.yml"));
    lines.map(|line| line.split(' ').map(stable).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_rpm_only_warns_of_is_refused() {
    let test = "what_rpm_only_warns_of_is_refused";
    let Some(lab) = Lab::open(test, "x86_64", folder()) else { return };
    let Some(testos) = TestOs::obtain(test, "x86_64", folder()) else { return };
    let script = "%description\nFails.\n%post\necho faulty: this is what it said\nexit 3\n%files\n";
    assert_snapshot!(refused(&lab, &testos, Some(script), ""), @"
        exit 7
        --- stderr
        warning[notice]: packages of this repository are taken unverified
          field: packageRepositories[own].pkey
        error: the builder VM could not install [N] packages
          caused by: the %post script of package `aaa-faulty-1-1.noarch` ended with status 3
          | faulty: this is what it said
          | warning: %post(aaa-faulty-1-1.noarch) scriptlet failed, exit status 3
        hint: the last lines that it printed are above; the whole output is in the build log
        ");
    let lua = "%description\nFails.\n%post -p <lua>\nerror('faulty')\n%files\n";
    assert_snapshot!(refused(&lab, &testos, Some(lua), ""), @r#"
        exit 7
        --- stderr
        warning[notice]: packages of this repository are taken unverified
          field: packageRepositories[own].pkey
        error: the builder VM could not install [N] packages
          caused by: the %post script of package `aaa-faulty-1-1.noarch` failed
          | error: lua script failed: [string "%post(aaa-faulty-1-1.noarch)"]:1: faulty
        hint: the last lines that it printed are above; the whole output is in the build log
        "#);
    let owner = "%description\nHas a stranger's file.\n%install\ninstall -D /dev/null %{buildroot}/srv/x\n%files\n%attr(0640, root, nobodys) /srv/x\n";
    assert_snapshot!(refused(&lab, &testos, Some(owner), ""), @"
        exit 7
        --- stderr
        warning[notice]: packages of this repository are taken unverified
          field: packageRepositories[own].pkey
        error: the builder VM could not install [N] packages
          caused by: the image is not as it must be: the group `nobodys` exists when files of aaa-faulty-1-1.noarch are written that belong to it; found: it does not, and rpm gave the files to root
        ");
    // Whatever makes the initramfs is gone when it is to be made.
    let no_dracut = "  configurations:\n    - cmd: rm /usr/bin/dracut\n";
    assert_snapshot!(refused(&lab, &testos, None, no_dracut), @"
        exit 7
        --- stderr
        error: the builder VM could not make the initramfs
          caused by: the image is not as it must be: the kernel [KERNEL] has an initramfs; found: none in /boot
        ");
}
