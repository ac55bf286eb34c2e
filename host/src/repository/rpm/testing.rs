//! Small packages and repositories for tests, made here.

use crate::{
    digest::Sha256Digest,
    fetch::testing::Server,
    repository::testing::{DAY, Key, NOW},
};

/// A value of a header.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    Numbers(Vec<u32>),
}

/// Returns a header with these entries, all of them in its region.
pub(crate) fn header(region: u32, mut entries: Vec<(u32, Value)>) -> Vec<u8> {
    entries.sort_by_key(|(tag, _)| *tag);
    let (mut table, mut data) = (Vec::new(), Vec::new());
    let mut entry = |tag: u32, kind: u32, offset: usize, count: usize| {
        for number in [tag, kind, u32::try_from(offset).unwrap(), u32::try_from(count).unwrap()] {
            table.extend(number.to_be_bytes());
        }
    };
    let mut rows = Vec::new();
    for (tag, value) in &entries {
        if matches!(value, Value::Numbers(_)) {
            data.resize(data.len().next_multiple_of(4), 0);
        }
        let offset = data.len();
        let mut text = |text: &String| {
            data.extend(text.as_bytes());
            data.push(0);
        };
        let (kind, count) = match value {
            Value::Text(value) => {
                text(value);
                (6, 1)
            }
            Value::Texts(values) => {
                values.iter().for_each(text);
                (8, values.len())
            }
            Value::Bytes(bytes) => {
                data.extend(bytes);
                (7, bytes.len())
            }
            Value::Numbers(numbers) => {
                numbers.iter().for_each(|number| data.extend(number.to_be_bytes()));
                (4, numbers.len())
            }
        };
        rows.push((*tag, kind, offset, count));
    }
    let count = u32::try_from(entries.len() + 1).unwrap();
    entry(region, 7, data.len(), 16);
    rows.into_iter().for_each(|(tag, kind, offset, count)| entry(tag, kind, offset, count));
    for number in [region, 7, (count * 16).wrapping_neg(), 16] {
        data.extend(number.to_be_bytes());
    }
    let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    bytes.extend(count.to_be_bytes());
    bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(table);
    bytes.extend(data);
    bytes
}

/// A package to be made.
#[derive(Clone)]
pub(crate) struct Package<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) requires: &'a [&'a str],
    pub(crate) key: Option<&'a Key>,
    /// Whether the header says what the payload is.
    pub(crate) payload_digest: bool,
    /// Whether header and payload together are signed rather than the header.
    pub(crate) signs_all: bool,
    pub(crate) payload: &'a [u8],
}

impl<'a> Package<'a> {
    pub(crate) fn new(name: &'a str, key: Option<&'a Key>) -> Self {
        Self { name, version: "1.0", requires: &[], key, payload_digest: true, signs_all: false, payload: b"payload" }
    }

    pub(crate) fn path(&self) -> String {
        format!("Packages/{}-{}-1.x86_64.rpm", self.name, self.version)
    }

    /// Returns the package file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut entries = vec![
            (1000, text(self.name)),
            (1001, text(self.version)),
            (1002, text("1")),
            (1006, Value::Numbers(vec![u32::try_from(NOW - DAY).unwrap()])),
            (1009, Value::Numbers(vec![4096])),
            (1014, text("MIT")),
            (1022, text("x86_64")),
            (1044, Value::Text(format!("{}-{}-1.src.rpm", self.name, self.version))),
            (1047, Value::Texts(vec![self.name.to_owned()])),
            (1112, Value::Numbers(vec![8])),
            (1113, Value::Texts(vec![format!("{}-1", self.version)])),
            (1116, Value::Numbers(vec![0])),
            (1117, Value::Texts(vec![self.name.to_owned()])),
            (1118, Value::Texts(vec!["/usr/share/".to_owned()])),
        ];
        if !self.requires.is_empty() {
            entries.push((1048, Value::Numbers(vec![0; self.requires.len()])));
            entries.push((1049, Value::Texts(self.requires.iter().map(|name| (*name).to_owned()).collect())));
            entries.push((1050, Value::Texts(vec![String::new(); self.requires.len()])));
        }
        if self.payload_digest {
            entries.push((5092, Value::Texts(vec![Sha256Digest::of(self.payload).to_string()])));
            entries.push((5093, Value::Numbers(vec![8])));
        }
        let header_bytes = header(63, entries);
        let all = [&header_bytes, self.payload].concat();
        let mut signatures = vec![(273, Value::Text(Sha256Digest::of(&header_bytes).to_string()))];
        if !self.payload_digest {
            let mut md5 = sequoia_openpgp::types::HashAlgorithm::MD5.context().unwrap().for_digest();
            md5.update(&all);
            signatures.push((1004, Value::Bytes(md5.into_digest().unwrap())));
        }
        if let Some(key) = self.key {
            signatures.push(match self.signs_all {
                true => (1005, Value::Bytes(key.detached_binary(&all))),
                false => (267, Value::Bytes(key.detached_binary(&header_bytes))),
            });
        }
        let mut bytes = vec![0; 96];
        bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
        bytes.extend(header(62, signatures));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(all);
        bytes
    }
}

/// A repository to be made: files by path.
pub(crate) struct Repo {
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) primary: Vec<u8>,
    pub(crate) compression: &'static str,
}

impl Repo {
    /// Makes the metadata as for a folder of packages.
    pub(crate) fn new(packages: &[Package<'_>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for package in packages {
            let path = folder.path().join(package.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let bytes = package.build();
            std::fs::write(path, &bytes).unwrap();
            files.push((package.path(), bytes));
        }
        let primary = super::folder::primary(folder.path()).unwrap().xml;
        Self { files, primary, compression: ".zst" }
    }

    pub(crate) fn compressed(&self) -> Vec<u8> {
        use std::io::Write as _;
        let bytes = self.primary.as_slice();
        match self.compression {
            ".zst" => zstd::encode_all(bytes, 1).unwrap(),
            ".xz" => liblzma::encode_all(bytes, 0).unwrap(),
            ".bz2" => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            ".gz" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            _ => bytes.to_vec(),
        }
    }

    pub(crate) fn primary_path(&self) -> String {
        format!("repodata/primary.xml{}", self.compression)
    }

    pub(crate) fn repomd(&self) -> String {
        let file = self.compressed();
        format!(
            "<?xml version=\"1.0\"?><repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision>\
             <data type=\"primary_zck\"><location href=\"repodata/primary.xml.zck\"/></data>\
             <data type=\"modules\"><checksum type=\"sha1\">0</checksum><location href=\"../modules\"/></data>\
             <data type=\"primary\"><checksum type=\"sha256\">{}</checksum><open-checksum type=\"sha256\">{}</open-checksum>\
             <location href=\"{}\"/><timestamp>{}</timestamp><size>{}</size><open-size>{}</open-size></data></repomd>",
            Sha256Digest::of(&file),
            Sha256Digest::of(&self.primary),
            self.primary_path(),
            NOW - DAY,
            file.len(),
            self.primary.len()
        )
    }

    /// Puts all on a server below `/rpm`, signed.
    pub(crate) fn put(&self, server: &Server, key: &Key) {
        let repomd = self.repomd();
        server.put("/rpm/repodata/repomd.xml", repomd.as_bytes());
        server.put("/rpm/repodata/repomd.xml.asc", &key.detached(&repomd));
        server.put(&format!("/rpm/{}", self.primary_path()), &self.compressed());
        for (path, bytes) in &self.files {
            server.put(&format!("/rpm/{path}"), bytes);
        }
    }
}

/// Returns the repository on a server.
pub(crate) fn repository(server: &Server, keys: &[&Key]) -> oic_config::spec::Repository {
    oic_config::spec::Repository {
        format: oic_config::spec::RepositoryFormat::Rpm,
        location: oic_config::spec::RepositoryLocation::Url(format!("{}/rpm", server.base())),
        suite: String::new(),
        components: Vec::new(),
        priority: 99,
        ..crate::repository::testing::repository(server, keys)
    }
}
