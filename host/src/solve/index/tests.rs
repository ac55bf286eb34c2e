//! Parsing and storing, on good, bad and arbitrary input.

use proptest::prelude::*;

use super::{IndexError, MultiArch, PackageIndex, Priority, RelationKind, StoredIndexError};
use crate::solve::StoredIndex as _;

const STANZA: &str = "Package: tool
Source: toolkit (2.0)
Version: 1:2.0-1
Architecture: all
multi-arch: foreign
Essential: yes
Protected: yes
Priority: required
Section: utils
Filename: pool/t/tool.deb
Size: 123
Installed-Size: 7
SHA256: ABCDEF0000000000000000000000000000000000000000000000000000000000
Description: does things
 in many ways
Homepage: https://example.org/
Maintainer: Someone <someone@example.org>
Depends: a (>= 1) | b:any,
 c
Provides: tool-api (= 2)
# a remark
Unknown: ignored
";

fn parse(text: &str) -> Result<PackageIndex, IndexError> {
    PackageIndex::parse(text.as_bytes())
}

fn stored(index: &PackageIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_field_that_is_kept_is_read() {
    let index = parse(STANZA).unwrap();
    let record = index.packages().next().unwrap();
    assert_eq!((record.name(), record.version(), record.architecture()), ("tool", "1:2.0-1", "all"));
    assert_eq!((record.source(), record.source_version(), record.section()), ("toolkit", "2.0", "utils"));
    assert_eq!((record.filename(), record.size(), record.installed_kib()), ("pool/t/tool.deb", 123, 7));
    assert_eq!(
        (record.description(), record.homepage(), record.maintainer()),
        ("does things", "https://example.org/", "Someone <someone@example.org>")
    );
    assert_eq!((record.priority(), record.multi_arch()), (Priority::Required, MultiArch::Foreign));
    assert!(record.is_essential() && record.is_protected());
    assert!(record.sha256().to_string().starts_with("abcdef"));
    let relations: Vec<_> = record.relations().map(|(kind, alternative, more)| (kind, alternative.to_string(), more)).collect();
    let expected = [
        (RelationKind::Depends, "a (>= 1)", true),
        (RelationKind::Depends, "b:any", false),
        (RelationKind::Depends, "c", false),
        (RelationKind::Provides, "tool-api (= 2)", false),
    ];
    assert_eq!(relations, expected.map(|(kind, text, more)| (kind, text.to_owned(), more)));
}

#[test]
fn stanzas_may_be_split_by_any_number_of_blank_lines_and_end_anywhere() {
    for (text, count) in [("", 0), ("\n\n", 0), (STANZA, 1), (&format!("\n{STANZA} \n\t\n\n{STANZA}\n\n"), 2), (STANZA.trim_end(), 1)] {
        assert_eq!(parse(text).unwrap().len(), count, "{text:?}");
    }
}

#[test]
fn malformed_stanzas_are_named_by_line_and_package() {
    let with = |from: &str, to: &str| format!("{STANZA}\n{}", STANZA.replace(from, to));
    let cases = [
        with("Version: 1:2.0-1\n", ""),
        with("Version: 1:2.0-1", "Version: 1 2"),
        with("Package: tool", "Package: ../tool"),
        with("Size: 123", "Size: many"),
        with("Size: 123", "Size: 99999999999999999999"),
        with("SHA256: ABCDEF", "SHA256: XYZ"),
        with("pool/t/tool.deb", "pool/../../etc/passwd"),
        with("pool/t/tool.deb", "/etc/passwd"),
        with("Depends: a (>= 1)", "Depends: a (>= )"),
        with("Section: utils", "Section: utils\nSection: other"),
        with("Section: utils", "no colon here"),
        with("Package: tool\n", " stray\n"),
    ];
    let messages: Vec<_> = cases.iter().map(|text| parse(text).expect_err(text).to_string()).collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    line 24 of the package index, package tool: the field Version is missing or empty
    line 26 of the package index, package tool: `1 2` is not a valid Version
    line 24 of the package index, package ../tool: `../tool` is not a valid Package
    line 34 of the package index, package tool: `many` is not a number
    line 34 of the package index, package tool: `99999999999999999999` is not a number
    line 36 of the package index, package tool: `xyz0000000000000000000000000000000000000000000000000000000000` is not a SHA-256 digest: 64 hexadecimal digits are expected
    line 33 of the package index, package tool: `pool/../../etc/passwd` is not a valid Filename
    line 33 of the package index, package tool: `/etc/passwd` is not a valid Filename
    line 41 of the package index, package tool: Depends: `a (>= )` is not a relation: the version is malformed
    line 33 of the package index, package tool: the field Section occurs twice
    line 32 of the package index, package tool: a field needs a colon after its name
    line 24 of the package index: a line that continues a field stands alone
    "#);
    assert!(matches!(PackageIndex::parse(&b"Package: \xff\n"[..]), Err(IndexError::Stanza { line: 1, .. })));
}

#[test]
fn a_stanza_without_end_is_refused_before_it_fills_the_memory() {
    let endless = std::io::Read::chain(STANZA.as_bytes(), std::io::Read::take(std::io::repeat(b'x'), 1 << 30));
    let error = PackageIndex::parse(endless).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn an_index_survives_its_stored_form() {
    let index = parse(&format!("{STANZA}\n{}", STANZA.replace("tool", "other"))).unwrap();
    assert_eq!(PackageIndex::read(&stored(&index)).unwrap(), index);
    let empty = parse("").unwrap();
    assert_eq!(PackageIndex::read(&stored(&empty)).unwrap(), empty);
}

#[test]
fn damage_to_the_stored_form_is_found() {
    let bytes = stored(&parse(STANZA).unwrap());
    assert_eq!(PackageIndex::read(b"something"), Err(StoredIndexError::NotAnIndex));
    let mut newer = bytes.clone();
    newer[8] = 99;
    assert_eq!(PackageIndex::read(&newer), Err(StoredIndexError::Format { found: 99 }));
    for at in 12..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(matches!(PackageIndex::read(&changed), Err(StoredIndexError::Damaged { .. })), "byte {at}");
        assert!(PackageIndex::read(&bytes[..at]).is_err(), "cut at {at}");
    }
}

proptest! {
    #[test]
    fn any_text_ends_in_an_index_or_an_error(text in "(([A-Z][a-z]{0,8}: ?)?[ -~\n]{0,40}\n?){0,20}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_change_of_a_stanza_ends_in_an_index_or_an_error(at in 0..STANZA.len(), byte in any::<u8>()) {
        let mut text = STANZA.as_bytes().to_vec();
        text[at] = byte;
        if let Ok(index) = PackageIndex::parse(&text[..]) {
            prop_assert_eq!(PackageIndex::read(&stored(&index)).unwrap(), index);
        }
    }

    /// Even where the checksum is right again, no number leads out of its table.
    #[test]
    fn any_change_of_the_stored_form_ends_in_a_usable_index_or_an_error(at in 20..600_usize, byte in any::<u8>()) {
        let mut bytes = stored(&parse(STANZA).unwrap());
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        let sum = crate::solve::stored::checksum(&bytes[20..]);
        bytes[12..20].copy_from_slice(&sum.to_le_bytes());
        if let Ok(index) = PackageIndex::read(&bytes) {
            for record in index.packages() {
                prop_assert!(record.relations().count() < 10);
                let _ = (record.name(), record.version(), record.filename(), record.description(), record.maintainer());
            }
        }
    }
}
