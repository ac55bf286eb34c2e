//! Package files: what they say of themselves, and whether that is signed.
//!
//! ```text
//! lead (96 bytes, of no use)  signature header, padded to 8  header  payload
//! ```
//!
//! # What vouches for what
//!
//! A signature of the header covers the header; the header's payload digest covers the payload. Older packages have a signature
//! of header and payload together instead. A package counts as signed when a key of its repository vouches for header *and*
//! payload in one of the two ways. Every digest and every signature by a known key that the package has must be right; a
//! signature by another key neither helps nor harms as long as one of ours is good.
//!
//! The signature header itself is not signed: nothing but digests and signatures is read from it. Digests in it find damage;
//! against intent only signatures help, and the digest that signed metadata has of the whole file.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    path::Path,
};

use sequoia_openpgp::types::HashAlgorithm;

use super::{
    super::{
        TrustError,
        trust::{Keyring, Rules},
    },
    Header, HeaderError,
};

/// Bytes of the lead.
const LEAD: usize = 96;

/// The first bytes of every package.
const MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];

/// Signatures that one tag may have; rpm writes one for each key.
const MAX_SIGNATURES: usize = 64;

/// Tags of the signature header.
mod signature_tag {
    /// The region's mark.
    pub(super) const REGION: u32 = 62;
    /// Signatures of the header, by algorithm.
    pub(super) const DSA_HEADER: u32 = 267;
    pub(super) const RSA_HEADER: u32 = 268;
    /// Signatures of the header, any number and any algorithm, in base64.
    pub(super) const OPENPGP: u32 = 278;
    /// Signatures of header and payload, by algorithm.
    pub(super) const PGP: u32 = 1002;
    pub(super) const GPG: u32 = 1005;
    /// Digests of the header, as text.
    pub(super) const SHA1: u32 = 269;
    pub(super) const SHA256: u32 = 273;
    pub(super) const SHA3_256: u32 = 279;
    /// Digest of header and payload, as bytes.
    pub(super) const MD5: u32 = 1004;
}

/// Tags of the header.
mod tag {
    pub(super) const REGION: u32 = 63;
    pub(super) const NAME: u32 = 1000;
    pub(super) const VERSION: u32 = 1001;
    pub(super) const RELEASE: u32 = 1002;
    pub(super) const EPOCH: u32 = 1003;
    pub(super) const LICENSE: u32 = 1014;
    pub(super) const ARCH: u32 = 1022;
    pub(super) const SOURCE_PACKAGE: u32 = 1044;
    /// The mark of source packages.
    pub(super) const IS_SOURCE: u32 = 1106;
    pub(super) const PAYLOAD_DIGEST: u32 = 5092;
    pub(super) const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
    pub(super) const PAYLOAD_SHA512: u32 = 5121;
    pub(super) const PAYLOAD_SHA3_256: u32 = 5123;
    pub(super) const PROVIDE_NAME: u32 = 1047;
    pub(super) const REQUIRE_FLAGS: u32 = 1048;
    pub(super) const REQUIRE_NAME: u32 = 1049;
}

/// Why a package file is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum PackageProblem {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It does not begin like a package.
    #[error("it is no RPM package")]
    NotAPackage,
    /// A header is damaged.
    #[error("its {part} is damaged")]
    Header {
        /// Which.
        part: &'static str,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// Part of its header is not covered by digests and signatures.
    #[error("part of its header is outside of what signatures cover: it is damaged, or was made by an rpm before 4.0")]
    OpenHeader,
    /// It lacks what every package says of itself.
    #[error("its header has no {what}")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// It has no digest at all.
    #[error("it has no digest of its {part} that could be checked")]
    NoDigest {
        /// What should have one.
        part: &'static str,
    },
    /// A digest is written in a way that is not known.
    #[error("its digest of the {part} is of an unknown kind ({kind})")]
    UnknownDigest {
        /// What it is of.
        part: &'static str,
        /// Its kind, a number of OpenPGP.
        kind: u64,
    },
    /// A digest does not fit.
    #[error("its {part} has the {algorithm} digest {found}, and {expected} is announced: it is damaged or was changed")]
    Digest {
        /// What it is of.
        part: &'static str,
        /// How it is made.
        algorithm: &'static str,
        /// What the package says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// It has no signature.
    #[error("it is not signed; a signature by one of these keys is expected: {expected}")]
    Unsigned {
        /// The repository's keys.
        expected: super::super::Fingerprints,
    },
    /// Its signature is not good.
    #[error("it is not signed as it should be")]
    Trust(#[from] TrustError),
    /// Only the header is signed, and says nothing of the payload.
    #[error("its signature covers the header only, and the header has no digest of the payload that could be trusted")]
    PayloadOpen,
    /// It is another package than the metadata says.
    #[error("it is the package {found}, where the metadata has {expected}")]
    OtherPackage {
        /// What the file says.
        found: String,
        /// What the metadata says.
        expected: String,
    },
}

impl PackageProblem {
    /// Returns what the user can do about it, if something helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::Trust(error) => error.hint(),
            Self::Unsigned { .. } | Self::PayloadOpen => {
                "ask the repository's owner to sign its packages; `pkey: \"[trusted=yes]\"` takes packages that nobody has signed"
            }
            Self::Digest { .. } | Self::OtherPackage { .. } => {
                "do not use this repository before its owner has found out how that came about"
            }
            Self::OpenHeader => "ask the repository's owner for a package made by a newer rpm",
            _ => return None,
        };
        Some(words.to_owned())
    }
}

/// Name, version and architecture of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageId {
    /// Name.
    pub name: String,
    /// `[epoch:]version-release`; the epoch only when it is not 0.
    pub version: String,
    /// Architecture as rpm writes it; `src` for a source package.
    pub arch: String,
}

impl std::fmt::Display for PackageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}.{}", self.name, self.version, self.arch)
    }
}

/// What a package says of itself, apart from its payload.
#[derive(Debug, Clone)]
pub struct PackageHeader {
    signatures: Header,
    header: Header,
    /// Where the payload begins.
    pub payload_start: u64,
}

impl PackageHeader {
    /// Reads both headers of a package; the payload is left in `reader`.
    ///
    /// # Errors
    /// Fails when it is no package, or damaged.
    pub fn read(reader: &mut impl Read) -> Result<Self, PackageProblem> {
        let mut lead = [0; LEAD];
        let is_short = reader.read_exact(&mut lead).is_err();
        if is_short || lead[..4] != MAGIC {
            return Err(PackageProblem::NotAPackage);
        }
        let of = |part| move |source| PackageProblem::Header { part, source };
        let signatures = Header::read(reader, signature_tag::REGION).map_err(of("signature header"))?;
        let padding = signatures.bytes().len().wrapping_neg() % 8;
        reader.read_exact(&mut [0; 8][..padding]).map_err(|error| of("signature header")(error.into()))?;
        let header = Header::read(reader, tag::REGION).map_err(of("header"))?;
        if !header.is_whole_region() {
            return Err(PackageProblem::OpenHeader);
        }
        let payload_start = (LEAD + signatures.bytes().len() + padding + header.bytes().len()) as u64;
        Ok(Self { signatures, header, payload_start })
    }

    /// Returns which package it is.
    ///
    /// # Errors
    /// Fails when it does not say so.
    pub fn id(&self) -> Result<PackageId, PackageProblem> {
        let text = |tag, what| self.header.text(tag).filter(|text| !text.is_empty()).ok_or(PackageProblem::Missing { what });
        let (version, release) = (text(tag::VERSION, "version")?, text(tag::RELEASE, "release")?);
        let epoch = self.header.number(tag::EPOCH).filter(|epoch| *epoch != 0);
        let epoch = epoch.map_or_else(String::new, |epoch| format!("{epoch}:"));
        let arch = if self.is_source() { "src" } else { text(tag::ARCH, "architecture")? };
        Ok(PackageId { name: text(tag::NAME, "name")?.to_owned(), version: format!("{epoch}{version}-{release}"), arch: arch.to_owned() })
    }

    fn is_source(&self) -> bool {
        self.header.has(tag::IS_SOURCE) || !self.header.has(tag::SOURCE_PACKAGE)
    }

    /// Returns the header itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the licence as the package words it.
    #[must_use]
    pub fn license(&self) -> Option<&str> {
        self.header.text(tag::LICENSE)
    }

    /// Returns the file name of the source package.
    #[must_use]
    pub fn source_package(&self) -> Option<&str> {
        self.header.text(tag::SOURCE_PACKAGE)
    }

    /// Returns the names of what it provides.
    #[must_use]
    pub fn provides(&self) -> Vec<&str> {
        self.header.texts(tag::PROVIDE_NAME).into_iter().flatten().collect()
    }

    /// Returns the names of what it requires, each with rpm's flags.
    #[must_use]
    pub fn requires(&self) -> Vec<(&str, u64)> {
        let names = self.header.texts(tag::REQUIRE_NAME).into_iter().flatten();
        let flags = self.header.numbers(tag::REQUIRE_FLAGS).into_iter().flatten();
        names.zip(flags).collect()
    }
}

/// A package whose digests and signatures are good.
#[derive(Debug, Clone)]
pub struct VerifiedPackage {
    /// What it says of itself.
    pub header: PackageHeader,
    /// Which it is.
    pub id: PackageId,
    /// Fingerprint of the key that signed it; empty when no keys were given.
    pub signed_by: String,
}

/// Verifies a package file: its digests, and its signatures unless `keyring` is none.
///
/// # Errors
/// Fails with the first thing that is wrong.
pub fn verify(path: &Path, keyring: Option<&Keyring>, now: u64) -> Result<VerifiedPackage, PackageProblem> {
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let header = PackageHeader::read(&mut reader)?;
    let id = header.id()?;
    check_header_digests(&header)?;
    let is_payload_covered = check_payload_digests(&header, reader)?;
    let signed_by = match keyring {
        Some(keyring) => Signatures { package: &header, path, keyring, now }.check(is_payload_covered)?,
        None => String::new(),
    };
    Ok(VerifiedPackage { header, id, signed_by })
}

/// Checks the digests of the header that the signature header has.
fn check_header_digests(package: &PackageHeader) -> Result<(), PackageProblem> {
    let kinds = [
        (signature_tag::SHA1, HashAlgorithm::SHA1, "SHA-1"),
        (signature_tag::SHA256, HashAlgorithm::SHA256, "SHA-256"),
        (signature_tag::SHA3_256, HashAlgorithm::SHA3_256, "SHA3-256"),
    ];
    for (tag, kind, algorithm) in kinds {
        let Some(expected) = package.signatures.text(tag) else { continue };
        let mut digest = Digest::new("header", kind, algorithm, expected.to_owned())?;
        digest.update(package.header.bytes());
        digest.finish()?;
    }
    Ok(())
}

/// Checks all digests that cover the payload, in one pass. Returns whether the header has one that may be relied on.
fn check_payload_digests(package: &PackageHeader, mut payload: impl Read) -> Result<bool, PackageProblem> {
    let header = &package.header;
    let mut digests = Vec::new();
    if let Some(expected) = header.text(tag::PAYLOAD_DIGEST) {
        // rpm 6 leaves the number out: the tag means SHA-256 since then.
        let number = header.number(tag::PAYLOAD_DIGEST_ALGORITHM).unwrap_or(8);
        let (kind, algorithm) = match number {
            8 => (HashAlgorithm::SHA256, "SHA-256"),
            9 => (HashAlgorithm::SHA384, "SHA-384"),
            10 => (HashAlgorithm::SHA512, "SHA-512"),
            kind => return Err(PackageProblem::UnknownDigest { part: "payload", kind }),
        };
        digests.push(Digest::new("payload", kind, algorithm, expected.to_owned())?);
    }
    let more = [(tag::PAYLOAD_SHA512, HashAlgorithm::SHA512, "SHA-512"), (tag::PAYLOAD_SHA3_256, HashAlgorithm::SHA3_256, "SHA3-256")];
    for (tag, kind, algorithm) in more {
        if let Some(expected) = header.text(tag) {
            digests.push(Digest::new("payload", kind, algorithm, expected.to_owned())?);
        }
    }
    let is_covered = !digests.is_empty();
    if let Some(expected) = package.signatures.binary(signature_tag::MD5) {
        let mut digest = Digest::new("content", HashAlgorithm::MD5, "MD5", hex(expected))?;
        digest.update(header.bytes());
        digests.push(digest);
    }
    if digests.is_empty() {
        return Err(PackageProblem::NoDigest { part: "payload" });
    }
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match payload.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => digests.iter_mut().for_each(|digest| digest.update(&buffer[..count])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    digests.into_iter().try_for_each(Digest::finish)?;
    Ok(is_covered)
}

/// A digest to be checked.
struct Digest {
    part: &'static str,
    algorithm: &'static str,
    expected: String,
    context: sequoia_openpgp::crypto::hash::Context,
}

impl Digest {
    fn new(part: &'static str, kind: HashAlgorithm, algorithm: &'static str, expected: String) -> Result<Self, PackageProblem> {
        let builder = kind.context().map_err(|_| PackageProblem::UnknownDigest { part, kind: u8::from(kind).into() })?;
        Ok(Self { part, algorithm, expected, context: builder.for_digest() })
    }

    fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    fn finish(self) -> Result<(), PackageProblem> {
        let (part, algorithm, expected) = (self.part, self.algorithm, self.expected);
        let found = hex(&self.context.into_digest().unwrap_or_default());
        if found.eq_ignore_ascii_case(&expected) {
            return Ok(());
        }
        let expected = expected.chars().take(128).collect();
        Err(PackageProblem::Digest { part, algorithm, expected, found })
    }
}

/// The signatures of a package and whom they should be by.
struct Signatures<'a> {
    package: &'a PackageHeader,
    path: &'a Path,
    keyring: &'a Keyring,
    now: u64,
}

impl Signatures<'_> {
    /// Checks all signatures, and returns who made the one that counts.
    fn check(&self, is_payload_covered: bool) -> Result<String, PackageProblem> {
        let signatures = &self.package.signatures;
        let binary = |tags: [u32; 2]| tags.into_iter().filter_map(|tag| signatures.binary(tag)).map(<[u8]>::to_vec);
        let mut of_header: Vec<_> = binary([signature_tag::DSA_HEADER, signature_tag::RSA_HEADER]).collect();
        let armored = signatures.texts(signature_tag::OPENPGP).into_iter().flatten().take(MAX_SIGNATURES);
        of_header.extend(armored.map(|text| base64(text).unwrap_or_default()));
        let of_all: Vec<_> = binary([signature_tag::PGP, signature_tag::GPG]).collect();
        if of_header.is_empty() && of_all.is_empty() {
            return Err(PackageProblem::Unsigned { expected: self.keyring.fingerprints() });
        }
        let header = self.package.header.bytes();
        let (header_by, header_fault) =
            self.best(&of_header, |signature| Ok(self.keyring.verify_reader(header, signature, Rules::Rpm, self.now)))?;
        let (all_by, all_fault) = self.best(&of_all, |signature| {
            let mut file = File::open(self.path)?;
            let start = self.package.payload_start - header.len() as u64;
            file.seek(SeekFrom::Start(start))?;
            let content = BufReader::with_capacity(256 * 1024, file);
            Ok(self.keyring.verify_reader(content, signature, Rules::Rpm, self.now))
        })?;
        match (all_by, header_by, header_fault.or(all_fault)) {
            (Some(by), _, _) => Ok(by),
            (None, Some(by), _) if is_payload_covered => Ok(by),
            (None, Some(_), _) => Err(PackageProblem::PayloadOpen),
            (None, None, Some(fault)) => Err(fault.into()),
            (None, None, None) => Err(PackageProblem::Unsigned { expected: self.keyring.fingerprints() }),
        }
    }

    /// Returns who made a good signature, and the first that cannot be judged. One that is by a key of ours and wrong is an
    /// error, whatever others there are.
    fn best(
        &self,
        signatures: &[Vec<u8>],
        verify: impl Fn(&[u8]) -> io::Result<Result<String, TrustError>>,
    ) -> Result<(Option<String>, Option<TrustError>), PackageProblem> {
        let (mut by, mut fault) = (None, None);
        for signature in signatures {
            match verify(signature)? {
                Ok(key) => drop(by.get_or_insert(key)),
                Err(error @ (TrustError::UnknownKey { .. } | TrustError::Malformed { .. })) => drop(fault.get_or_insert(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok((by, fault))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes base64 (RFC 4648), white space aside.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    for byte in digits.take_while(|byte| *byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}
