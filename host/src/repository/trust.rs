//! Signatures of repositories (OpenPGP, RFC 9580).
//!
//! Every repository has its own keys; a signature by any other key is no signature. What is parsed later is what sequoia
//! gives back as the signed content, never the file around it. The rules for algorithms and their end of life are those of
//! sequoia's standard policy, with two exceptions for RPM repositories and packages ([`Rules::Rpm`]):
//!
//! - Signatures of version 3 count: rpm wrote them until 2023, and what they cover is the same.
//! - A key may vouch for its own name with SHA-1, as most distributions' keys do. Keys are bound by whoever gave them, so
//!   nothing depends on that signature; and forging one takes a second preimage, which nobody can make.
//!
//! Content that is signed with SHA-1 or MD5 is refused all the same.

use std::{
    fmt,
    io::{self, Read as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use oic_config::spec::RepositoryKey;
use sequoia_openpgp::{
    self as openpgp, Cert, KeyHandle,
    cert::{
        CertParser,
        amalgamation::{ValidAmalgamation as _, key::ValidErasedKeyAmalgamation},
    },
    packet::{Tag, key::PublicParts},
    parse::{
        PacketParserBuilder, Parse as _,
        stream::{
            DetachedVerifierBuilder, GoodChecksum, MessageLayer, MessageStructure, VerificationError, VerificationHelper, VerifierBuilder,
        },
    },
    policy::{HashAlgoSecurity, StandardPolicy},
    serialize::SerializeInto as _,
    types::HashAlgorithm,
};

use super::date;

/// No Release file is larger than this.
pub(super) const RELEASE_LIMIT: u64 = 32 << 20;

/// No file with keys is larger than this.
pub(super) const KEY_LIMIT: u64 = 4 << 20;

/// A signature may be this much younger than the clock of this machine.
const CLOCK_TOLERANCE: u64 = 3600;

/// Which signatures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Those of sequoia's standard policy.
    Standard,
    /// These, and what rpm's world still has: see the module's documentation.
    Rpm,
}

impl Rules {
    fn policy(self) -> StandardPolicy<'static> {
        let mut policy = StandardPolicy::new();
        if self == Self::Rpm {
            policy.accept_packet_tag_version(Tag::Signature, 3);
            policy.accept_hash_property(HashAlgorithm::SHA1, HashAlgoSecurity::SecondPreImageResistance);
        }
        policy
    }
}

/// Fingerprints of keys, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints(pub Vec<String>);

impl fmt::Display for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

/// Why signed metadata is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A key file cannot be used.
    #[error("the key {key} of this repository cannot be used ({reason})")]
    BadKeyring {
        /// Which.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The repository is bound to no key.
    #[error("no key is configured for this repository")]
    NoKeys,
    /// There is no signature.
    #[error("it is not signed; a signature by one of these keys is expected: {expected}")]
    Unsigned {
        /// The repository's keys.
        expected: Fingerprints,
    },
    /// Somebody else signed it.
    #[error("it is signed by the key {found}, which is none of this repository's keys: {expected}")]
    UnknownKey {
        /// Who signed.
        found: Fingerprints,
        /// The repository's keys.
        expected: Fingerprints,
    },
    /// The content was changed after it had been signed.
    #[error("its signature by the key {key} does not fit its content")]
    BadSignature {
        /// The key that is said to have signed.
        key: String,
    },
    /// The key's time is over.
    #[error("it is signed by the key {key}, which expired on {}", date::words(*.expired))]
    ExpiredKey {
        /// The key.
        key: String,
        /// When it expired, seconds since 1970-01-01 UTC.
        expired: u64,
    },
    /// The signature's time is over.
    #[error("its signature by the key {key} expired on {}", date::words(*.expired))]
    ExpiredSignature {
        /// The key.
        key: String,
        /// When it expired, seconds since 1970-01-01 UTC.
        expired: u64,
    },
    /// It was signed in the future.
    #[error("its signature by the key {key} is of {}, and it is {} now", date::words(*.made), date::words(*.now))]
    FutureSignature {
        /// The key.
        key: String,
        /// When it was made.
        made: u64,
        /// What this machine takes for now.
        now: u64,
    },
    /// The key is revoked, too weak, or not meant for signing.
    #[error("it is signed by the key {key}, which is not to be trusted ({reason})")]
    BadKey {
        /// The key.
        key: String,
        /// The reason.
        reason: String,
    },
    /// It cannot be understood as signed text.
    #[error("its signature cannot be read ({reason})")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

impl TrustError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadKeyring { .. } => "correct the key in the template: an OpenPGP public key, armored or binary, is expected",
            Self::NoKeys => "name the repository's key in the template (`pkey`), or mark it as trusted if nothing is to be verified",
            Self::UnknownKey { .. } => {
                "if the repository has changed its key and you have checked the new one, add it to the template's `pkeys`; otherwise do not use this mirror"
            }
            Self::ExpiredKey { .. } | Self::ExpiredSignature { .. } | Self::FutureSignature { .. } => {
                "check this machine's clock; if it is right, the mirror is out of date or the repository's key needs to be renewed in the template"
            }
            Self::Unsigned { .. } | Self::Malformed { .. } => {
                "the mirror, or something on the way such as a captive portal, gives other content: look at the URL, or choose another mirror"
            }
            Self::BadSignature { .. } => {
                "something changed the file after it was signed: choose another mirror, and be suspicious of this one"
            }
            Self::BadKey { .. } => "ask the repository's owner for a key that is good, or choose another repository",
        }
    }
}

/// The keys that a repository is bound to.
#[derive(Debug, Clone)]
pub struct Keyring {
    certs: Vec<Cert>,
}

/// Signed text whose signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The text.
    pub text: Vec<u8>,
    /// Fingerprint of the key that signed it.
    pub signed_by: String,
}

impl Keyring {
    /// Reads the keys from named files.
    ///
    /// # Errors
    /// Fails when a file has no key in it, and when there is no file.
    pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, TrustError> {
        let mut certs = Vec::new();
        for (name, bytes) in files {
            let bad = |reason: String| TrustError::BadKeyring { key: name.to_owned(), reason };
            let before = certs.len();
            for block in armor_blocks(bytes) {
                let parser = CertParser::from_bytes(block).map_err(|error| bad(innermost(&error)))?;
                // A keyring may hold packets that this program does not know beside good keys.
                certs.extend(parser.filter_map(Result::ok));
            }
            if certs.len() == before {
                return Err(bad("there is no OpenPGP public key in it".to_owned()));
            }
        }
        if certs.is_empty() { Err(TrustError::NoKeys) } else { Ok(Self { certs }) }
    }

    /// Returns all keys as one armored file.
    ///
    /// # Errors
    /// Fails when a key cannot be written.
    pub fn armored(&self) -> Result<Vec<u8>, TrustError> {
        let mut bytes = Vec::new();
        for cert in &self.certs {
            let failed =
                |error: openpgp::anyhow::Error| TrustError::BadKeyring { key: cert.fingerprint().to_hex(), reason: innermost(&error) };
            bytes.extend(cert.armored().to_vec().map_err(failed)?);
        }
        Ok(bytes)
    }

    /// Returns the fingerprints of all keys.
    #[must_use]
    pub fn fingerprints(&self) -> Fingerprints {
        Fingerprints(self.certs.iter().map(|cert| cert.fingerprint().to_hex()).collect())
    }

    /// Verifies a file that is signed text (`InRelease`), at a time in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// Fails when no key of the keyring made a good signature.
    pub fn verify_inline(&self, bytes: &[u8], now: u64) -> Result<Verified, TrustError> {
        let policy = Rules::Standard.policy();
        let mut verdict = Verdict::new(self, Rules::Standard, now);
        let text = (|| {
            let builder = VerifierBuilder::from_bytes(bytes)?;
            let mut verifier = builder.with_policy(&policy, system_time(now), &mut verdict)?;
            let mut text = Vec::new();
            verifier.by_ref().take(RELEASE_LIMIT).read_to_end(&mut text)?;
            Ok(verifier.message_processed().then_some(text))
        })();
        let (text, signed_by) = verdict.conclude(text, bytes)?;
        Ok(Verified { text, signed_by })
    }

    /// Verifies a file whose signature is another file (`Release` and `Release.gpg`), at a time in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// Fails when no key of the keyring made a good signature.
    pub fn verify_detached(&self, bytes: &[u8], signature: &[u8], now: u64) -> Result<Verified, TrustError> {
        let signed_by = self.verify_reader(bytes, signature, Rules::Standard, now)?;
        Ok(Verified { text: bytes.to_owned(), signed_by })
    }

    /// Verifies `repomd.xml` against its signature, at a time in seconds since 1970-01-01 UTC, and returns the fingerprint of the
    /// key that made it.
    ///
    /// # Errors
    /// Fails when no key of the keyring made a good signature.
    pub fn verify_repomd(&self, bytes: &[u8], signature: &[u8], now: u64) -> Result<String, TrustError> {
        self.verify_reader(bytes, signature, Rules::Rpm, now)
    }

    /// Verifies everything that `content` yields against signatures that stand elsewhere, and returns the fingerprint of the key
    /// that made a good one.
    ///
    /// # Errors
    /// Fails when no key of the keyring made a good signature.
    pub(super) fn verify_reader(
        &self,
        content: impl io::Read + Send + Sync,
        signature: &[u8],
        rules: Rules,
        now: u64,
    ) -> Result<String, TrustError> {
        let policy = rules.policy();
        let mut verdict = Verdict::new(self, rules, now);
        let outcome = (|| {
            let builder = DetachedVerifierBuilder::from_bytes(signature)?;
            let mut verifier = builder.with_policy(&policy, system_time(now), &mut verdict)?;
            verifier.verify_reader(content)?;
            Ok(Some(()))
        })();
        verdict.conclude(outcome, signature).map(|((), signed_by)| signed_by)
    }
}

/// Collects what the verification finds.
#[derive(Debug)]
struct Verdict<'a> {
    keyring: &'a Keyring,
    rules: Rules,
    now: u64,
    signed_by: Option<String>,
    unknown: Vec<String>,
    error: Option<TrustError>,
}

impl<'a> Verdict<'a> {
    fn new(keyring: &'a Keyring, rules: Rules, now: u64) -> Self {
        Self { keyring, rules, now, signed_by: None, unknown: Vec::new(), error: None }
    }

    /// Text counts only when the verification ran to its end and a key of the keyring signed.
    fn conclude<T>(self, text: openpgp::Result<Option<T>>, signed: &[u8]) -> Result<(T, String), TrustError> {
        let expected = || self.keyring.fingerprints();
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.unknown.is_empty() {
            return Err(TrustError::UnknownKey { found: Fingerprints(self.unknown), expected: expected() });
        }
        match (text, self.signed_by) {
            (Ok(Some(text)), Some(signed_by)) => Ok((text, signed_by)),
            (Ok(Some(_)), None) => Err(TrustError::Unsigned { expected: expected() }),
            (Ok(None), _) => Err(TrustError::Malformed { reason: "it does not end".to_owned() }),
            (Err(_), _) if !looks_signed(signed) => Err(TrustError::Unsigned { expected: expected() }),
            (Err(error), _) => Err(TrustError::Malformed { reason: innermost(&error) }),
        }
    }

    /// Takes the verdict on all signatures of one layer: one good signature is enough.
    fn take(&mut self, results: Vec<Result<GoodChecksum<'_>, VerificationError<'_>>>) {
        let (mut failures, mut faults) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(good) => match self.fault_now(&good.ka) {
                    None => drop(self.signed_by.get_or_insert_with(|| good.ka.cert().fingerprint().to_hex())),
                    Some(error) => faults.push(error),
                },
                Err(VerificationError::MissingKey { sig }) => {
                    self.unknown.push(sig.get_issuers().first().map_or_else(|| "that is not named".to_owned(), KeyHandle::to_hex));
                }
                Err(failure) => failures.push(self.word(failure)),
            }
        }
        if self.signed_by.is_some() {
            self.unknown.clear();
        } else {
            self.error = faults.into_iter().chain(failures).next();
        }
    }

    /// Says what is wrong now with a key whose signature was good when it was made. Without this, whoever gets hold of a
    /// key after its time could sign with a date of its time.
    fn fault_now(&self, ka: &ValidErasedKeyAmalgamation<'_, PublicParts>) -> Option<TrustError> {
        let policy = self.rules.policy();
        let cert = ka.cert();
        let valid = match cert.with_policy(&policy, system_time(self.now)) {
            Ok(valid) => valid,
            Err(error) => return Some(TrustError::BadKey { key: cert.fingerprint().to_hex(), reason: innermost(&error) }),
        };
        let keys = || valid.keys().key_handle(ka.key().fingerprint());
        if valid.alive().is_ok() && keys().alive().revoked(false).for_signing().next().is_some() {
            return None;
        }
        let ends = keys().map(|key| key.key_expiration_time()).chain([valid.primary_key().key_expiration_time()]);
        let reason = "it was revoked, or may not sign any more".to_owned();
        Some(self.bad_key(cert, ends.flatten(), reason))
    }

    /// Words a key that is not good: its end is the reason, when it has one that is past.
    fn bad_key(&self, cert: &Cert, ends: impl Iterator<Item = SystemTime>, reason: String) -> TrustError {
        let key = cert.fingerprint().to_hex();
        match ends.map(seconds).filter(|end| *end <= self.now).min() {
            Some(expired) => TrustError::ExpiredKey { key, expired },
            None => TrustError::BadKey { key, reason },
        }
    }

    fn word(&self, failure: VerificationError<'_>) -> TrustError {
        match failure {
            VerificationError::BadSignature { sig, ka, error } => {
                let key = ka.cert().fingerprint().to_hex();
                let made = sig.signature_creation_time().map_or(0, seconds);
                let expired = sig.signature_expiration_time().map(seconds).filter(|expired| *expired <= self.now);
                match expired {
                    _ if made > self.now.saturating_add(CLOCK_TOLERANCE) => TrustError::FutureSignature { key, made, now: self.now },
                    Some(expired) => TrustError::ExpiredSignature { key, expired },
                    // A digest that the policy no longer takes is not the mirror's fault.
                    None if is_policy_violation(&error) => TrustError::BadKey { key, reason: innermost(&error) },
                    None => TrustError::BadSignature { key },
                }
            }
            VerificationError::BadKey { ka, error, .. } => {
                let ends = [ka.key_expiration_time(), ka.valid_cert().primary_key().key_expiration_time()];
                self.bad_key(ka.cert(), ends.into_iter().flatten(), innermost(&error))
            }
            VerificationError::UnboundKey { cert, error, .. } => {
                TrustError::BadKey { key: cert.fingerprint().to_hex(), reason: innermost(&error) }
            }
            VerificationError::MalformedSignature { error, .. } => TrustError::Malformed { reason: innermost(&error) },
            VerificationError::UnknownSignature { sig } => TrustError::Malformed { reason: innermost(sig.error()) },
            _ => TrustError::Unsigned { expected: self.keyring.fingerprints() },
        }
    }
}

impl VerificationHelper for &mut Verdict<'_> {
    fn inspect(&mut self, _: &openpgp::parse::PacketParser<'_>) -> openpgp::Result<()> {
        Ok(())
    }

    fn get_certs(&mut self, _: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(self.keyring.certs.clone())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        for layer in structure {
            if let MessageLayer::SignatureGroup { results } = layer {
                self.take(results);
            }
        }
        if self.signed_by.is_some() { Ok(()) } else { Err(openpgp::Error::InvalidOperation("no good signature".to_owned()).into()) }
    }
}

/// Returns the words of the repository's keys that are not URLs, for messages.
#[must_use]
pub(super) fn key_name(key: &RepositoryKey) -> String {
    match key {
        RepositoryKey::Embedded { name, .. } => name.clone(),
        RepositoryKey::File(path) => path.display().to_string(),
        RepositoryKey::Url(url) => url.clone(),
    }
}

/// Returns the text of a signed file without looking at the signature (RFC 9580, 7), for repositories that nothing is
/// verified of. A file that is not signed is returned whole.
pub(super) fn clearsigned_text(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let Some((_, rest)) = text.split_once("-----BEGIN PGP SIGNED MESSAGE-----") else { return bytes.to_owned() };
    // The rest of the first line, then headers up to an empty line.
    let body = rest.lines().skip(1).skip_while(|line| !line.trim().is_empty()).skip(1);
    let mut lines = Vec::new();
    for line in body.take_while(|line| *line != "-----BEGIN PGP SIGNATURE-----") {
        lines.push(line.strip_prefix("- ").unwrap_or(line));
    }
    lines.join("\n").into_bytes()
}

/// Splits a file into armored blocks, of which there may be several; a binary one is returned whole.
fn armor_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let mut starts: Vec<_> = bytes.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN).map(|(at, _)| at).collect();
    if starts.is_empty() {
        return vec![bytes];
    }
    starts.push(bytes.len());
    starts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Tells whether a file is at all like something signed, rather than text or a web page.
fn looks_signed(bytes: &[u8]) -> bool {
    let is_armored = bytes.windows(15).any(|window| window == b"-----BEGIN PGP ");
    is_armored || (bytes.first().is_some_and(|byte| byte & 0x80 != 0) && PacketParserBuilder::from_bytes(bytes).is_ok())
}

fn is_policy_violation(error: &openpgp::anyhow::Error) -> bool {
    matches!(error.downcast_ref::<openpgp::Error>(), Some(openpgp::Error::PolicyViolation(..)))
}

/// Returns the innermost words of an error.
fn innermost(error: &openpgp::anyhow::Error) -> String {
    error.root_cause().to_string()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn system_time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
