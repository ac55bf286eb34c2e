//! Names of those who signed a PKCS #7 message, without checking that they did: a minimal reader of DER.

/// The most certificates of a message.
const MAX_CERTIFICATES: usize = 32;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const CONTEXT_0: u8 = 0xa0;
/// Object identifiers of the common name and of the organization (X.520).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Elements one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let length = rest.get(..count)?.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                (length, rest.get(count..)?)
            }
            _ => return None,
        };
        let content = rest.get(..length)?;
        self.0 = rest.get(length..)?;
        Some((tag, content))
    }
}

impl<'a> Der<'a> {
    /// Returns the next element with a tag, passing over others.
    fn field(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.by_ref().find(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// Returns the subjects of the certificates that a message names as its signers; all subjects where it names none of them.
pub(super) fn signers(message: &[u8]) -> Vec<String> {
    parse(message).unwrap_or_default()
}

fn parse(message: &[u8]) -> Option<Vec<String>> {
    // ContentInfo { type, [0] SignedData { version, algorithms, content, [0] certificates, [1] lists, signers } }
    let content = Der(Der(message).field(SEQUENCE)?).field(CONTEXT_0)?;
    let mut signed = Der(Der(content).field(SEQUENCE)?);
    let certificates = signed.field(CONTEXT_0)?;
    let mut signed_by = Vec::new();
    // SignerInfo { version, IssuerAndSerialNumber { issuer, serial }, … }
    for (_, signer) in Der(signed.field(SET).unwrap_or_default()).take(MAX_CERTIFICATES) {
        if let Some(serial) = Der(signer).field(SEQUENCE).and_then(|id| Der(id).field(INTEGER)) {
            signed_by.push(serial);
        }
    }
    let known: Vec<(&[u8], String)> =
        Der(certificates).take(MAX_CERTIFICATES).filter_map(|(_, certificate)| subject(certificate)).collect();
    let chosen: Vec<String> = known.iter().filter(|(serial, _)| signed_by.contains(serial)).map(|(_, name)| name.clone()).collect();
    Some(if chosen.is_empty() { known.into_iter().map(|(_, name)| name).collect() } else { chosen })
}

/// Returns serial number and name of a certificate.
fn subject(certificate: &[u8]) -> Option<(&[u8], String)> {
    // TBSCertificate { [0] version, serial, algorithm, issuer, validity, subject, … }
    let mut fields = Der(Der(certificate).field(SEQUENCE)?);
    let serial = fields.field(INTEGER)?;
    for _ in ["algorithm", "issuer", "validity"] {
        fields.field(SEQUENCE)?;
    }
    let subject = fields.field(SEQUENCE)?;
    let named = |wanted: &[u8]| {
        Der(subject).find_map(|(_, set)| {
            let mut attribute = Der(Der(set).field(SEQUENCE)?);
            let oid = attribute.field(OID)?;
            let (_, value) = attribute.next().filter(|_| oid == wanted)?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    };
    let name = named(COMMON_NAME).or_else(|| named(ORGANIZATION)).unwrap_or_else(|| "a certificate without a name".to_owned());
    Some((serial, name))
}
