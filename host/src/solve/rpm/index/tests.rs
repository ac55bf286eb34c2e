//! Tests of the parser and of the stored form.

use proptest::prelude::*;

use super::{ChecksumKind, PackageIndex, RelationKind};
use crate::solve::{
    StoredIndex as _, StoredIndexError,
    rpm::{dependency::Capability, evr::Sense},
};

const PRIMARY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="3">
<package type="rpm">
  <name>bash</name><arch>x86_64</arch><version epoch="0" ver="5.1.8" rel="2.el9"/>
  <checksum type="sha256" pkgid="YES">AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA</checksum>
  <summary>A &amp; B</summary><description>long</description><url>https://example.org/</url>
  <time file="1" build="2"/><size package="10" installed="20" archive="30"/>
  <location href="Packages/bash.rpm"/>
  <format>
    <rpm:license>GPLv3+</rpm:license><rpm:vendor>CentOS</rpm:vendor><rpm:sourcerpm>bash.src.rpm</rpm:sourcerpm>
    <rpm:provides><rpm:entry name="bash" flags="EQ" epoch="0" ver="5.1.8" rel="2.el9"/><rpm:entry name="/bin/sh"/></rpm:provides>
    <rpm:requires>
      <rpm:entry name="filesystem" flags="GE" epoch="0" ver="3" pre="1"/>
      <rpm:entry name="rpmlib(CompressedFileNames)" flags="LE" epoch="0" ver="3.0.4" rel="1"/>
      <rpm:entry name="(glibc &gt;= 2:2 if gcc)"/>
    </rpm:requires>
    <rpm:conflicts><rpm:entry name="filesystem" flags="LT" epoch="1" ver="3"/></rpm:conflicts>
    <file>/usr/bin/bash</file><file type="dir">/etc/skel</file>
  </format>
</package>
<package type="rpm"><name>bash</name><arch>src</arch></package>
<package type="rpm">
  <name>other</name><arch>noarch</arch><version epoch="2" ver="1" rel="1"/>
  <checksum type="sha">bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb</checksum>
  <location href="other.rpm"/><format><rpm:obsoletes><rpm:entry name="old"/></rpm:obsoletes></format>
</package>
<package type="rpm">
  <name>again</name><arch>noarch</arch><version epoch="2" ver="1" rel="1"/>
  <checksum type="sha">bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb</checksum><location href="again.rpm"/><format/>
</package>
</metadata>"#;

#[test]
fn a_document_is_parsed() {
    let index = PackageIndex::parse(PRIMARY.as_bytes()).unwrap();
    let [bash, other] = index.packages().collect::<Vec<_>>()[..] else {
        panic!("source packages and repetitions are passed over");
    };
    assert_eq!((&*bash.nevra(), &*other.nevra()), ("bash-0:5.1.8-2.el9.x86_64", "other-2:1-1.noarch"));
    assert_eq!((bash.summary(), bash.license(), bash.vendor()), ("A & B", "GPLv3+", "CentOS"));
    assert_eq!((bash.source(), bash.url(), bash.location()), ("bash.src.rpm", "https://example.org/", "Packages/bash.rpm"));
    assert_eq!((bash.size(), bash.installed_size()), (10, 20));
    assert_eq!(bash.checksum(), (ChecksumKind::Sha256, &*"a".repeat(64)));
    assert_eq!(other.checksum(), (ChecksumKind::Sha1, &*"b".repeat(40)));
    let shown: Vec<_> = bash.relations().map(|(kind, capability)| format!("{} {capability}", kind.tag())).collect();
    assert_eq!(
        shown,
        [
            "Provides bash = 5.1.8-2.el9",
            "Provides /bin/sh",
            "Requires filesystem >= 3",
            "Requires (glibc >= 2:2 if gcc)",
            "Conflicts filesystem < 1:3",
            "File /usr/bin/bash",
            "File /etc/skel",
        ]
    );
    let old = Capability { name: "old", sense: Sense::ANY, evr: "" };
    assert_eq!(other.relations().collect::<Vec<_>>(), [(RelationKind::Obsoletes, old)]);
}

#[test]
fn malformed_documents_are_refused_with_their_place() {
    for (from, to, reason) in [
        ("<metadata", "<comps", "root is `comps`"),
        ("</metadata>", "", "too early"),
        ("<name>bash</name>", "<name>ba sh</name>", "name"),
        ("<name>bash</name>", "", "package bash"),
        ("ver=\"5.1.8\" rel=\"2.el9\"/>\n", "rel=\"2.el9\"/>\n", "version"),
        ("epoch=\"0\" ver=\"5.1.8\" rel=\"2.el9\"/>\n", "epoch=\"x\" ver=\"5.1.8\" rel=\"2.el9\"/>\n", "epoch"),
        ("Packages/bash.rpm", "../bash.rpm", "location"),
        ("Packages/bash.rpm", "/bash.rpm", "location"),
        ("Packages/bash.rpm", "https://example.org/bash.rpm", "location"),
        ("<location href", "<location xml:base=\"https://example.org/\" href", "another base URL"),
        ("type=\"sha256\"", "type=\"crc\"", "`crc`"),
        ("AAAA", "AAA", "checksum"),
        ("package=\"10\"", "package=\"-1\"", "`-1`"),
        ("flags=\"GE\"", "flags=\"GEE\"", "`GEE`"),
        ("name=\"filesystem\" flags=\"GE\"", "name=\"\" flags=\"GE\"", "impossible name"),
        ("(glibc &gt;= 2:2 if gcc)", "(glibc if", "not a dependency"),
        ("name=\"old\"", "name=\"(old or older)\"", "rich"),
        ("/usr/bin/bash", "usr/bin/bash", "absolute"),
        ("A &amp; B", "A &nbsp; B", "entity"),
    ] {
        let text = PRIMARY.replacen(from, to, 1);
        assert_ne!(text, PRIMARY, "{from}");
        match PackageIndex::parse(text.as_bytes()) {
            Ok(_) if reason == "package bash" => panic!("a package without a name is accepted"),
            Ok(_) => panic!("accepted: {to}"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with("byte ") && (error.contains(reason) || reason == "package bash"), "{reason}: {error}");
            }
        }
    }
}

#[test]
fn the_stored_form_is_read_back_whole_or_not_at_all() {
    let index = PackageIndex::parse(PRIMARY.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    index.write(&mut bytes).unwrap();
    assert_eq!(PackageIndex::read(&bytes).unwrap(), index);
    assert_eq!(PackageIndex::read(b"something"), Err(StoredIndexError::NotAnIndex));
    let mut newer = bytes.clone();
    newer[8] = 99;
    assert_eq!(PackageIndex::read(&newer), Err(StoredIndexError::Format { found: 99 }));
    for at in 12..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        assert!(matches!(PackageIndex::read(&changed), Err(StoredIndexError::Damaged { .. })), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(PackageIndex::read(&bytes[..length]).is_err(), "{length} bytes");
    }
}

proptest! {
    /// Even where the checksum is right again, no number leads out of its table.
    #[test]
    fn a_changed_stored_form_is_an_index_or_refused(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let index = PackageIndex::parse(PRIMARY.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        index.write(&mut bytes).unwrap();
        for (at, value) in changes {
            let at = 20 + at.index(bytes.len() - 20);
            bytes[at] = value;
        }
        let sum = crate::solve::stored::checksum(&bytes[20..]);
        bytes[12..20].copy_from_slice(&sum.to_le_bytes());
        if let Ok(index) = PackageIndex::read(&bytes) {
            for package in index.packages() {
                prop_assert!(!package.nevra().is_empty() && !package.location().contains(".."));
                prop_assert!(package.relations().all(|(_, capability)| capability.to_string().len() < bytes.len()));
            }
        }
    }

    /// Whatever happens to a document, parsing ends with an index or an error.
    #[test]
    fn a_changed_document_is_parsed_or_refused(changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..6)) {
        let mut bytes = PRIMARY.as_bytes().to_vec();
        for (at, change, value) in changes {
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = value,
                1 => bytes.insert(at, b"<>&\"'/ ="[usize::from(value % 8)]),
                2 => drop(bytes.drain(at..(at + usize::from(value)).min(bytes.len()))),
                _ => {
                    let copied = bytes[at..(at + usize::from(value)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copied);
                }
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        if let Ok(index) = PackageIndex::parse(&bytes[..]) {
            let mut stored = Vec::new();
            index.write(&mut stored).unwrap();
            prop_assert_eq!(PackageIndex::read(&stored).unwrap(), index);
        }
    }
}
