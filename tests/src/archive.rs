//! Debian packages that are made here of nothing, and a small signed repository of them.

use std::io::Write as _;

use sequoia_openpgp::{
    cert::{Cert, CertBuilder},
    policy::StandardPolicy,
    serialize::{
        SerializeInto as _,
        stream::{Message, Signer},
    },
};
use sha2::{Digest as _, Sha256};

use crate::server::Server;

/// A signing key.
#[derive(Debug)]
pub struct Key(Cert);

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

impl Key {
    /// Makes one.
    ///
    /// # Panics
    /// Panics when none can be made.
    #[must_use]
    pub fn new() -> Self {
        let (cert, _) = CertBuilder::new().add_userid("Test Archive").add_signing_subkey().generate().expect("keys can be made");
        Self(cert)
    }

    /// Returns the public part as a key file.
    ///
    /// # Panics
    /// Panics when it cannot be written.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.0.armored().to_vec().expect("a key can be written")
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let policy = StandardPolicy::new();
        let keys = self.0.keys().with_policy(&policy, None).for_signing().secret();
        let pair =
            keys.map(|key| key.key().clone().into_keypair().expect("the key is not encrypted")).next().expect("it has a key that signs");
        let mut bytes = Vec::new();
        let signer = Signer::new(Message::new(&mut bytes), pair).expect("the key signs");
        let mut message = signer.cleartext().build().expect("text can be signed");
        message.write_all(text.as_bytes()).expect("memory can be written");
        message.finalize().expect("memory can be written");
        bytes
    }
}

/// A package.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its `postinst`.
    pub script: &'static str,
}

/// Puts a repository at `/debian` of a server. `release` is more lines of its Release file.
///
/// # Panics
/// Panics when the key does not sign.
pub fn put(server: &Server, key: &Key, arch: &str, release: &str, packages: &[Package]) {
    let mut index = String::new();
    for package in packages {
        let (control, bytes) = deb(package);
        let path = format!("pool/{}.deb", package.name);
        index += &format!("{control}Filename: {path}\nSize: {}\nSHA256: {}\n\n", bytes.len(), digest(&bytes));
        server.put(&format!("/debian/{path}"), &bytes);
    }
    let packed = zstd::encode_all(index.as_bytes(), 3).expect("memory can be compressed");
    let path = format!("main/binary-{arch}/Packages");
    server.put(&format!("/debian/dists/test/{path}.zst"), &packed);
    let text = format!(
        "Suite: test\nCodename: test\nDate: Sat, 01 Nov 2025 00:00:00 UTC\n{release}Architectures: {arch}\nComponents: main\nSHA256:\n \
         {} {} {path}\n {} {} {path}.zst\n",
        digest(index.as_bytes()),
        index.len(),
        digest(&packed),
        packed.len(),
    );
    server.put("/debian/dists/test/InRelease", &key.sign(&text));
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the control fields and the file of a package.
///
/// # Panics
/// Panics when memory cannot be compressed.
#[must_use]
pub fn deb(package: &Package) -> (String, Vec<u8>) {
    let control = format!(
        "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: Test <test@example.org>\nInstalled-Size: 1\nDescription: test\n",
        package.name, package.version
    );
    let meta = tar(&[("./control", control.as_bytes(), 0o644), ("./postinst", package.script.as_bytes(), 0o755)]);
    let doc = format!("./usr/share/doc/{}/copyright", package.name);
    let data = tar(&[(&doc, b"public domain\n", 0o644)]);
    let mut bytes = b"!<arch>\n".to_vec();
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("memory can be compressed");
    for (name, content) in [("debian-binary", b"2.0\n".to_vec()), ("control.tar.zst", pack(&meta)), ("data.tar.zst", pack(&data))] {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
        bytes.extend(&content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    (control, bytes)
}

/// Returns an archive (POSIX.1-1988 ustar) of files, each with the folders above it.
fn tar(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut folders = Vec::new();
    for (path, content, mode) in files {
        for (at, _) in path.match_indices('/') {
            let folder = path[..=at].to_owned();
            if !folders.contains(&folder) {
                entry(&mut bytes, &folder, &[], 0o755, b'5');
                folders.push(folder);
            }
        }
        entry(&mut bytes, path, content, *mode, b'0');
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn entry(bytes: &mut Vec<u8>, path: &str, content: &[u8], mode: u32, kind: u8) {
    let mut header = [0; 512];
    let mut set = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    set(0, path);
    set(100, &format!("{mode:07o}"));
    set(108, "0000000");
    set(116, "0000000");
    set(124, &format!("{:011o}", content.len()));
    set(136, "00000000000");
    set(148, "        ");
    set(257, "ustar\u{0}00root");
    set(297, "root");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    bytes.extend(header);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}
