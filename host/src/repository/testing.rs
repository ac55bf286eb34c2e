//! A small signed repository for tests, on a test server.

use std::{
    io::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use oic_config::spec::{Repository, RepositoryFormat, RepositoryKey, RepositoryLocation};
use sequoia_openpgp::{
    self as openpgp,
    cert::{Cert, CertBuilder},
    policy::StandardPolicy,
    serialize::{
        SerializeInto as _,
        stream::{Armorer, Message, Signer},
    },
};

use super::{Access, MirrorTable, date};
use crate::{
    build::progress::{Event, Observer},
    digest::Sha256Digest,
    fetch::{
        Fetcher,
        testing::{Server, fetcher},
    },
    store::Store,
};

/// When tests take place: 2026-11-08 12:00:00 UTC.
pub(crate) const NOW: u64 = 1_794_139_200;

/// One day.
pub(crate) const DAY: u64 = 86_400;

/// A signing key, made `age` seconds ago and good for `life` seconds.
pub(crate) struct Key(Cert);

impl Key {
    pub(crate) fn new(age: u64, life: Option<u64>) -> Self {
        let made = UNIX_EPOCH + Duration::from_secs(NOW - age);
        let builder = CertBuilder::new().add_userid("Test Archive").add_signing_subkey().set_creation_time(made);
        let (cert, _) = builder.set_validity_period(life.map(Duration::from_secs)).generate().unwrap();
        Self(cert)
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        self.0.armored().to_vec().unwrap()
    }

    pub(crate) fn binary(&self) -> Vec<u8> {
        self.0.to_vec().unwrap()
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.0.fingerprint().to_hex()
    }

    /// Returns the fingerprint of the part that signs.
    pub(crate) fn signer(&self) -> String {
        self.0.keys().subkeys().next().unwrap().key().fingerprint().to_hex()
    }

    /// Signs at a time; the signature is good for `life` seconds.
    fn sign(&self, text: &str, at: u64, life: Option<u64>, is_inline: bool) -> Vec<u8> {
        let policy = StandardPolicy::new();
        let time = UNIX_EPOCH + Duration::from_secs(at);
        let keys = self.0.keys().with_policy(&policy, time).for_signing().secret();
        let pair = keys.map(|key| key.key().clone().into_keypair().unwrap()).next().unwrap();
        let mut template = openpgp::packet::signature::SignatureBuilder::new(openpgp::types::SignatureType::Text);
        if let Some(life) = life {
            template = template.set_signature_validity_period(Duration::from_secs(life)).unwrap();
        }
        let mut bytes = Vec::new();
        let message = Message::new(&mut bytes);
        let mut message = if is_inline {
            Signer::with_template(message, pair, template).unwrap().creation_time(time).cleartext().build().unwrap()
        } else {
            let message = Armorer::new(message).kind(openpgp::armor::Kind::Signature).build().unwrap();
            let template = openpgp::packet::signature::SignatureBuilder::new(openpgp::types::SignatureType::Binary);
            Signer::with_template(message, pair, template).unwrap().creation_time(time).detached().build().unwrap()
        };
        message.write_all(text.as_bytes()).unwrap();
        message.finalize().unwrap();
        bytes
    }

    pub(crate) fn inline(&self, text: &str) -> Vec<u8> {
        self.sign(text, NOW - 60, None, true)
    }

    pub(crate) fn inline_at(&self, text: &str, at: u64, life: Option<u64>) -> Vec<u8> {
        self.sign(text, at, life, true)
    }

    /// Signs bytes; the signature is not armored.
    pub(crate) fn detached_binary(&self, bytes: &[u8]) -> Vec<u8> {
        let policy = StandardPolicy::new();
        let time = UNIX_EPOCH + Duration::from_secs(NOW - 60);
        let keys = self.0.keys().with_policy(&policy, time).for_signing().secret();
        let pair = keys.map(|key| key.key().clone().into_keypair().unwrap()).next().unwrap();
        let mut signature = Vec::new();
        let mut message = Signer::new(Message::new(&mut signature), pair).unwrap().creation_time(time).detached().build().unwrap();
        message.write_all(bytes).unwrap();
        message.finalize().unwrap();
        signature
    }

    pub(crate) fn detached(&self, text: &str) -> Vec<u8> {
        self.sign(text, NOW - 60, None, false)
    }
}

/// Text of an index with a few packages; `mark` makes another version of it.
pub(crate) fn index(mark: &str) -> String {
    format!(
        "Package: hello\nVersion: 1.0{mark}\nArchitecture: amd64\nMaintainer: Test\nInstalled-Size: 10\nDepends: libhello\n\
         Filename: pool/main/h/hello/hello_1.0{mark}_amd64.deb\nSize: 5\nSHA256: {}\nDescription: test\n\n\
         Package: libhello\nVersion: 2.0\nArchitecture: amd64\nMaintainer: Test\nInstalled-Size: 20\n\
         Filename: pool/main/h/hello/libhello_2.0_amd64.deb\nSize: 8\nSHA256: {}\nDescription: test\n",
        Sha256Digest::of(b"hello"),
        Sha256Digest::of(b"libhello")
    )
}

/// The files of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) suite: String,
    pub(crate) date: u64,
    pub(crate) valid_until: Option<u64>,
    pub(crate) by_hash: bool,
    /// Path beside the Release file and content.
    pub(crate) indexes: Vec<(String, Vec<u8>)>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::of(&index(""))
    }

    pub(crate) fn of(text: &str) -> Self {
        let plain = text.as_bytes();
        let name = |suffix: &str| format!("main/binary-amd64/Packages{suffix}");
        let indexes = vec![(name(""), plain.to_vec()), (name(".xz"), liblzma::encode_all(plain, 1).unwrap())];
        Self { suite: "trixie".to_owned(), date: NOW - DAY, valid_until: None, by_hash: true, indexes }
    }

    pub(crate) fn release(&self) -> String {
        let date = |name: &str, seconds: u64| {
            let words = date::words(seconds);
            let (day, time) = words.split_once(' ').unwrap();
            let parts: Vec<_> = day.split('-').collect();
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            format!("{name}: Sun, {} {} {} {time}\n", parts[2], months[parts[1].parse::<usize>().unwrap() - 1], parts[0])
        };
        let mut text = format!("Origin: Test\nSuite: stable\nCodename: {}\n{}", self.suite, date("Date", self.date));
        text += &self.valid_until.map(|end| date("Valid-Until", end)).unwrap_or_default();
        text += if self.by_hash { "Acquire-By-Hash: yes\n" } else { "" };
        text += "Architectures: all amd64\nComponents: main\nNo-Support-for-Architecture-all: Packages\nSHA256:\n";
        for (path, bytes) in &self.indexes {
            text += &format!(" {} {:>8} {path}\n", Sha256Digest::of(bytes), bytes.len());
        }
        text
    }

    /// Puts the indexes on a server; as on real mirrors, the plain one is not there.
    pub(crate) fn put_indexes(&self, server: &Server) {
        for (path, bytes) in self.indexes.iter().filter(|(path, _)| !path.ends_with("Packages")) {
            server.put(&format!("/debian/dists/{}/{path}", self.suite), bytes);
            if self.by_hash {
                server.put(&self.by_hash_path(path), bytes);
            }
        }
    }

    pub(crate) fn by_hash_path(&self, path: &str) -> String {
        let bytes = &self.indexes.iter().find(|(name, _)| name == path).unwrap().1;
        let folder = path.rsplit_once('/').unwrap().0;
        format!("/debian/dists/{}/{folder}/by-hash/SHA256/{}", self.suite, Sha256Digest::of(bytes))
    }

    /// Puts all on a server, signed.
    pub(crate) fn put(&self, server: &Server, key: &Key) {
        self.put_indexes(server);
        server.put(&format!("/debian/dists/{}/InRelease", self.suite), &key.inline(&self.release()));
    }
}

/// Remembers messages.
#[derive(Debug, Default)]
pub(crate) struct Messages(pub(crate) std::sync::Mutex<Vec<String>>);

impl Observer for Messages {
    fn event(&self, event: &Event<'_>) {
        if let Event::Message { text, .. } = event {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

/// A store, a fetcher and mirrors.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) fetcher: Fetcher,
    pub(crate) mirrors: MirrorTable,
    pub(crate) messages: Messages,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("cache")).unwrap();
        Self { folder, store, fetcher: fetcher(), mirrors: MirrorTable::default(), messages: Messages::default() }
    }

    pub(crate) fn access(&self) -> Access<'_> {
        Access {
            store: &self.store,
            fetcher: &self.fetcher,
            mirrors: &self.mirrors,
            stage: crate::build::progress::Stage::Resolve,
            observer: &self.messages,
            now: NOW,
            allow_expired: false,
            without: &[],
        }
    }

    pub(crate) fn offline(&mut self) {
        let settings = crate::fetch::Settings { offline: true, ..crate::fetch::testing::settings() };
        self.fetcher = Fetcher::new(settings).unwrap();
    }
}

/// Returns the repository on a server.
pub(crate) fn repository(server: &Server, keys: &[&Key]) -> Repository {
    let key = |key: &&Key| RepositoryKey::Embedded { name: "test.asc".to_owned(), bytes: key.public() };
    Repository {
        id: "test".to_owned(),
        format: RepositoryFormat::Deb,
        location: RepositoryLocation::Url(format!("{}/debian", server.base())),
        suite: "trixie".to_owned(),
        components: vec!["main".to_owned()],
        keys: keys.iter().map(key).collect(),
        trusted: false,
        require_metadata_signature: true,
        priority: 500,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        upgrades: true,
        in_image: true,
        mirror_key: String::new(),
        is_base: true,
        origin: "template.yml:3:1".to_owned(),
    }
}
