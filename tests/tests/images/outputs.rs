//! Every format of output and every compression, of one small image: twice to the same bytes, opened by programs that are not ours,
//! looked into, and compared.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use oic_tests::{Tiny, Turn, all_tests, skip};

use super::{digest, full::link_packages};

/// The formats that hold a disk, as `qemu-img` calls them, and whether it can check them.
const DISKS: [(&str, &str, bool); 8] = [
    ("tiny-1.0.0.raw", "raw", false),
    ("tiny-1.0.0.qcow2", "qcow2", true),
    ("tiny-1.0.0.vhd", "vpc", false),
    ("tiny-1.0.0-dynamic.vhd", "vpc", false),
    ("tiny-1.0.0.vhdx", "vhdx", true),
    ("tiny-1.0.0.vmdk", "vmdk", true),
    ("tiny-1.0.0-stream.vmdk", "vmdk", true),
    ("tiny-1.0.0.vdi", "vdi", true),
];
/// The raw disk in each compression, with the program that undoes it.
const COMPRESSED: [(&str, &str); 4] = [("gz", "gzip"), ("xz", "xz"), ("zst", "zstd"), ("bz2", "bzip2")];
/// The formats that hold the root filesystem.
const ROOTS: [&str; 4] = ["tiny-1.0.0.tar", "tiny-1.0.0.oci.tar", "tiny-1.0.0.ext4", "tiny-1.0.0.squashfs"];

/// Returns what a template says of its disk.
fn disk() -> String {
    let formats = ["raw", "qcow2", "vhd", "vhd-dynamic", "vhdx", "vmdk", "vmdk-stream", "vdi", "tar", "oci", "ext4", "squashfs"];
    let plain = formats.map(|format| format!("{{type: {format}}}"));
    let packed = ["gz", "xz", "zstd", "bz2"].map(|compression| format!("{{type: raw, compression: {compression}}}"));
    format!("disk:\n  name: tiny\n  artifacts: [{}]\n", [&plain[..], &packed[..]].concat().join(", "))
}

/// Runs a program of the host in a folder; nothing where it is not there.
#[expect(clippy::disallowed_methods, reason = "what outputs are looked at with is not ours")]
fn tool(folder: &Path, name: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let is_there = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|folder| Path::new(folder).join(name).exists());
    if !is_there {
        skip("outputs", &format!("there is no {name}"));
        return None;
    }
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = Command::new(name).args(arguments).current_dir(folder).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn build(tiny: &Tiny, cache: &Path, more: &[&str]) {
    let _turn = Turn::wait();
    let arguments: Vec<&str> = ["build", "--progress", "plain", "-o", "out", "template.yml"].iter().chain(more).copied().collect();
    let output = tiny.sandbox().oic(&arguments).env("OIC_CACHE_DIR", cache).run();
    assert_eq!(output.code, Some(0), "{output}");
}

#[test]
fn every_format_is_the_same_twice_and_is_what_it_says() {
    let test = "outputs::every_format_is_the_same_twice_and_is_what_it_says";
    if !all_tests(test) || !Tiny::is_possible(test) {
        return;
    }
    let (disk, system) = (disk(), "  hostname: tiny\n  users: [{name: ann, password: correct horse}]\n");
    let first = Tiny::new(true, None, &disk, system);
    build(&first, &first.cache(), &[]);
    // With another home, another cache that has packages alone, and the lock.
    let second = Tiny::new(true, None, &disk, system);
    second.sandbox().write("oic.lock", &first.sandbox().read("oic.lock"));
    let cold = tempfile::tempdir().unwrap();
    link_or_copy_packages(&first.cache(), cold.path());
    build(&second, cold.path(), &["--locked", "--offline"]);
    let sums = first.sandbox().read("out/SHA256SUMS");
    assert_eq!(second.sandbox().read("out/SHA256SUMS"), sums, "the same lock has given other bytes");
    for name in DISKS.iter().map(|(name, ..)| name).chain(&ROOTS) {
        assert!(sums.contains(&format!("  {name}\n")), "{name} is not among {sums}");
    }
    let out = first.sandbox().cwd().join("out");
    other_programs_read_disks(&out);
    other_programs_read_roots(&out);
    we_look_into_all(&first);
}

/// Links packages into another cache, or copies them where that is on another disk.
fn link_or_copy_packages(from: &Path, to: &Path) {
    if fs::metadata(from).unwrap().dev() == fs::metadata(to).unwrap().dev() {
        return link_packages(from, to);
    }
    for entry in fs::read_dir(from.join("packages-v1")).unwrap() {
        let folder = entry.unwrap();
        let target = to.join("packages-v1").join(folder.file_name());
        fs::create_dir_all(&target).unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), target.join(file.file_name())).unwrap();
        }
    }
}

fn other_programs_read_disks(out: &Path) {
    let raw = digest(&out.join("tiny-1.0.0.raw"));
    for (name, format, can_check) in &DISKS[1..] {
        if *can_check && tool(out, "qemu-img", &["check", "-q", "-f", format, name]).is_none() {
            return;
        }
        tool(out, "qemu-img", &["convert", "-f", format, "-O", "raw", name, "back.raw"]);
        let back = fs::File::options().write(true).open(out.join("back.raw")).unwrap();
        // Formats with cylinders or whole blocks are longer, by zeros.
        let (own, longer) = (fs::metadata(out.join("tiny-1.0.0.raw")).unwrap().len(), back.metadata().unwrap().len());
        assert!((own..own + (32 << 20)).contains(&longer), "{name} is a disk of {longer} bytes instead of {own}");
        back.set_len(own).unwrap();
        assert_eq!(digest(&out.join("back.raw")), raw, "{name} is another disk");
        fs::remove_file(out.join("back.raw")).unwrap();
    }
    for (suffix, program) in COMPRESSED {
        let Some(bytes) = tool(out, program, &["-dc", &format!("tiny-1.0.0.raw.{suffix}")]) else { continue };
        assert_eq!(oic::digest::Sha256Digest::of(&bytes), raw, "{suffix}");
    }
}

fn other_programs_read_roots(out: &Path) {
    tool(out, "e2fsck", &["-f", "-n", "tiny-1.0.0.ext4"]);
    if let Some(listing) = tool(out, "tar", &["--list", "--file", "tiny-1.0.0.tar"]) {
        assert!(String::from_utf8_lossy(&listing).lines().any(|line| line == "./var/lib/dpkg/status"));
    }
    if let Some(listing) = tool(out, "unsquashfs", &["-ls", "tiny-1.0.0.squashfs"]) {
        assert!(String::from_utf8_lossy(&listing).lines().any(|line| line.ends_with("/var/lib/dpkg/status")));
    }
    tool(out, "skopeo", &["--insecure-policy", "copy", "--tmpdir", ".", "oci-archive:tiny-1.0.0.oci.tar", "dir:copied"]);
}

/// Every output shows the same packages, and is no other image than the raw disk.
fn we_look_into_all(tiny: &Tiny) {
    let run = |arguments: &[&str]| tiny.oic(arguments).run();
    let packages = |name: &str| {
        let output = run(&["inspect", "--format", "json", &format!("out/{name}")]);
        assert_eq!(output.code, Some(0), "{name}: {output}");
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report["problems"], serde_json::json!([]), "{name}");
        assert_eq!(report["system"]["osRelease"]["ID"], "debian", "{name}");
        assert!(report["system"]["users"].as_array().is_some_and(|users| users.iter().any(|user| user["name"] == "ann")), "{name}");
        report["packages"]["packages"].clone()
    };
    let expected = packages("tiny-1.0.0.raw");
    assert!(expected.as_array().is_some_and(|packages| packages.len() > 50), "{expected}");
    let compressed = COMPRESSED.map(|(suffix, _)| format!("tiny-1.0.0.raw.{suffix}"));
    let names: Vec<&str> = DISKS[1..].iter().map(|(name, ..)| *name).chain(compressed.iter().map(String::as_str)).collect();
    for name in &names {
        assert_eq!(packages(name), expected, "{name}");
        let output = run(&["compare", "out/tiny-1.0.0.raw", &format!("out/{name}")]);
        // The format alone makes some disks longer.
        let is_longer = name.ends_with(".vhd");
        assert!(output.code == Some(0) || is_longer && output.code == Some(10), "{name}: {output}");
    }
    for name in ROOTS {
        assert_eq!(packages(name), expected, "{name}");
        let output = run(&["compare", "--mode", "spdx", "out/sbom.spdx.json", &format!("out/{name}")]);
        assert_eq!(output.code, Some(0), "{name}: {output}");
    }
    let output = run(&["inspect", "--format", "html", "--output", "page.html", "--extract-sbom=own.json", "out/tiny-1.0.0.oci.tar"]);
    assert_eq!(output.code, Some(0), "{output}");
    let output = run(&["compare", "--mode", "spdx", "own.json", "out/sbom.spdx.json"]);
    assert_eq!(output.code, Some(0), "{output}");
    let sbom: serde_json::Value = serde_json::from_str(&tiny.sandbox().read("own.json")).unwrap();
    let edges = sbom["relationships"].as_array().unwrap().iter().filter(|edge| edge["relationshipType"] == "DEPENDS_ON").count();
    assert!(edges > 50, "{edges} edges");
}
