//! Images made by hand that differ in one thing at a time.

use std::path::Path;

use oic_disk_formats::{Format, SparseFile, Stamp, write};

use super::*;
use crate::inspect::tests::image;

fn opened(path: &Path) -> OpenedImage {
    OpenedImage::open(path, Path::new("/nonexistent")).unwrap()
}

/// Compares an ordinary image with one that has other files.
fn against(files: &[(&str, &[u8])]) -> Comparison {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("a.raw"), folder.path().join("b.raw"));
    image(&left, 0, 0, &[]);
    image(&right, 0, 0, files);
    let mut comparison = compare(&opened(&left), &opened(&right)).unwrap();
    (comparison.left, comparison.right) = ("a.raw".to_owned(), "b.raw".to_owned());
    comparison
}

#[test]
fn the_same_disk_in_another_container_is_identical() {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("a.raw"), folder.path().join("b.vhdx"));
    image(&left, 0, 0, &[]);
    let disk = SparseFile::open(&left).unwrap();
    let stamp = Stamp::new(&disk, 0, "b").unwrap();
    write(&disk, Format::Vhdx, &stamp, &std::fs::File::create(&right).unwrap()).unwrap();
    let comparison = compare(&opened(&left), &opened(&right)).unwrap();
    assert!(comparison.identical && comparison.is_equal(), "{comparison:?}");
    assert!(html::render(&comparison).contains("every byte"));
}

#[test]
fn every_kind_of_difference_by_its_name() {
    let comparison = against(&[
        ("etc/passwd", b"root:x:0:0::/root:/bin/bash\n"),
        ("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n"),
        ("var/lib/dpkg/status", b"Package: bash\nStatus: install ok installed\nVersion: 5.2-2\nArchitecture: amd64\n\nPackage: zsh\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"),
        ("loader/entries/debian.conf", b"title Debian\nlinux /vmlinuz\noptions root=LABEL=x\n"),
        ("var/log/messages", b"hello"),
    ]);
    insta::assert_snapshot!(text::render(&comparison));
    let page = html::render(&comparison);
    assert!(page.contains("can matter") && page.contains("harmless") && !page.contains("http"));
}

#[test]
fn what_only_the_places_of_blocks_tell_apart_is_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("a.raw"), folder.path().join("b.raw"));
    image(&left, 0, 0, &[]);
    std::fs::copy(&left, &right).unwrap();
    // Behind the last file's content, nothing reads.
    std::os::unix::fs::FileExt::write_all_at(&std::fs::File::options().write(true).open(&right).unwrap(), b"x", 20 << 20).unwrap();
    let comparison = compare(&opened(&left), &opened(&right)).unwrap();
    assert_eq!(comparison.differences.len(), 1);
    assert_eq!(comparison.differences[0].weight, Weight::Harmless);
}

#[test]
fn packages_of_sboms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sbom.json");
    let text = r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"image","primaryPackagePurpose":"OPERATING_SYSTEM"},
        {"name":"bash","versionInfo":"1","externalRefs":[{"referenceLocator":"pkg:deb/debian/bash@1?arch=amd64&distro=debian-13"}]}]}"#;
    std::fs::write(&path, text).unwrap();
    let packages = load_packages(&path).unwrap().unwrap();
    assert_eq!((packages.len(), packages[0].arch.as_str()), (1, "amd64"));
    assert!(compare_packages((String::new(), &packages), (String::new(), &packages)).is_equal());
    let comparison = compare_packages((String::new(), &packages), (String::new(), &[]));
    assert_eq!(comparison.differences[0].subject, "bash amd64");
    std::fs::write(&path, "{\"a\":1}").unwrap();
    assert!(load_packages(&path).unwrap_err().to_string().ends_with("is no SPDX document in JSON"));
    std::fs::write(&path, "disk").unwrap();
    assert!(load_packages(&path).unwrap().is_none());
}
