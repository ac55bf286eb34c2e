//! Images without a disk: a container image, a distribution for WSL, a system in an initramfs that boots.

use std::{fs, path::Path, process::Command};

use oic_tests::{Sandbox, skip};

use super::{boot_check_with, build, check_outputs, lab, sandbox_with};

/// Runs a program of the host, none where it is not there.
#[expect(clippy::disallowed_methods, reason = "what outputs are looked at with is not ours")]
fn tool(name: &str, arguments: &[&str], sandbox: &Sandbox) -> Option<String> {
    let is_there = ["/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(name).exists());
    if !is_there {
        skip("diskless", &format!("there is no {name}"));
        return None;
    }
    let output = Command::new(name).args(arguments).current_dir(sandbox.cwd()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_container_image_is_opened_by_container_tools() {
    let Some(lab) = lab("diskless::a_container_image_is_opened_by_container_tools") else { return };
    let sandbox = sandbox_with("debian13-x86_64-container.yml");
    let image = "debian13-container-13.0.oci.tar";
    build(&sandbox, lab.cache(), &[]);
    check_outputs(&sandbox, &[image]);
    fs::create_dir(sandbox.cwd().join("layout")).unwrap();
    tool("tar", &["-xf", &format!("out/{image}"), "-C", "layout"], &sandbox);
    if tool("umoci", &["unpack", "--rootless", "--image", "layout:13.0", "bundle"], &sandbox).is_some() {
        let root = sandbox.cwd().join("bundle/rootfs");
        assert!(
            fs::read_to_string(root.join("var/lib/dpkg/status"))
                .unwrap()
                .contains("Package: ca-certificates\nStatus: install ok installed")
        );
        for path in ["etc/fstab", "etc/resolv.conf", "etc/hostname", "sbin/init", "vmlinuz"] {
            assert!(!root.join(path).exists(), "{path}");
        }
    }
    tool("skopeo", &["--insecure-policy", "copy", "--tmpdir", ".", &format!("oci-archive:out/{image}"), "dir:copied"], &sandbox);
}

#[test]
fn a_distribution_for_wsl_has_what_wsl_reads() {
    let Some(lab) = lab("diskless::a_distribution_for_wsl_has_what_wsl_reads") else { return };
    let sandbox = sandbox_with("debian13-x86_64-wsl2.yml");
    let image = "debian13-wsl-13.0.wsl";
    build(&sandbox, lab.cache(), &[]);
    check_outputs(&sandbox, &[image]);
    let path = format!("out/{image}");
    let listing = tool("tar", &["--list", "--verbose", "--gzip", "--numeric-owner", "--file", &path], &sandbox).unwrap_or_default();
    for expected in
        ["./etc/wsl.conf\n", "./etc/wsl-distribution.conf\n", "./etc/systemd/system/systemd-networkd.service -> /dev/null", " 1000/1000 "]
    {
        assert!(listing.contains(expected), "{expected}");
    }
    for never in ["./etc/resolv.conf", "./boot/vmlinuz", "./etc/fstab"] {
        assert!(!listing.contains(never), "{never}");
    }
    let conf = tool("tar", &["--extract", "--to-stdout", "--gzip", "--file", &path, "./etc/wsl.conf"], &sandbox).unwrap_or_default();
    assert_eq!(conf, "[boot]\nsystemd=true\n[user]\ndefault=user\n[network]\nhostname=debian\n");
}

#[test]
fn a_system_in_an_initramfs_boots() {
    let Some(lab) = lab("diskless::a_system_in_an_initramfs_boots") else { return };
    let sandbox = sandbox_with("debian13-x86_64-initrd.yml");
    build(&sandbox, lab.cache(), &[]);
    let name = "debian13-initrd-13.0";
    let [initrd, kernel, cmdline] = [".initrd.zst", ".vmlinuz", ".cmdline"].map(|suffix| format!("{name}{suffix}"));
    check_outputs(&sandbox, &[&initrd, &kernel, &cmdline]);
    assert_eq!(sandbox.read(&format!("out/{cmdline}")), "console=tty0 console=ttyS0,115200\n");
    boot_check_with(&sandbox, lab.cache(), &format!("out/{initrd}"), &[]);
}
