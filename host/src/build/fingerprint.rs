//! What the outputs of a build are a function of, in named parts, so that a later build can say which of them changed.
//!
//! Every field of the image spec is named here: a new one does not compile until somebody has decided what it means. What only
//! says where things are on this host is left out, and what stands for something else is replaced by it: a local file by the
//! digest of its content, a password by its hash.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use oic_config::spec::{
    AdditionalFile, ArtifactSpec, Command, Disk, FileSource, ImageSpec, PartitionArtifact, RawBinary, Repository, RepositoryKey,
    RepositoryLocation, System, User,
};
use oic_protocol::AccountPassword;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{BuildError, agents};
use crate::{
    clock, compose,
    digest::Sha256Digest,
    lock::{LockedImage, LockedTools},
    store::Store,
};

/// Rises when the same inputs come to mean other outputs although no source has changed, which no source can know.
const FORMAT: u32 = 1;

/// Files up to this size are read each time; the digests of larger ones are remembered by what the filesystem says of them.
const ALWAYS_READ: u64 = 1 << 20;

/// A file that changed this many seconds ago or less may change again without its times telling.
const SETTLED: u64 = 2;

/// Everything that decides the bytes of the outputs, by the names that users know it by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Inputs(BTreeMap<String, Sha256Digest>);

impl Inputs {
    /// Collects the inputs of an image.
    ///
    /// # Errors
    /// Fails when a local file cannot be read or a password cannot be hashed.
    pub(super) fn of(spec: &ImageSpec, image: &LockedImage, tools: &[&LockedTools], store: &Store) -> Result<Self, BuildError> {
        let mut inputs = Self::default();
        inputs.add("oic", &json!([FORMAT, env!("OIC_SOURCE_DIGEST"), env!("CARGO_PKG_VERSION"), agents::digest(spec.target.arch.name())]));
        let ImageSpec { name, version, target, disk, artifacts, partition_artifacts, system, repositories, .. } = spec;
        let ImageSpec { provider, builder, snapshot, source_date_epoch, sources: _, unsupported: _, .. } = spec;
        inputs.add("image", &json!([name, version, target]));
        inputs.disk(disk.as_ref(), artifacts, partition_artifacts)?;
        inputs.add("distribution", &json!([provider, snapshot]));
        // Memory, processors and the scratch disk decide whether a build succeeds, never what it makes.
        inputs.add("builder.network", &json!(builder.network));
        inputs.add("sourceDateEpoch", &json!(source_date_epoch));
        inputs.add("repositories", &Value::Array(repositories.iter().map(repository).collect()));
        inputs.add("packages", &json!(image));
        inputs.add("tools", &json!(tools));
        inputs.system(name, system)?;
        for file in &system.files {
            let facts = FileFacts::of(file, store)?;
            let AdditionalFile { source, destination, mode, owner, group, before_initramfs, origin: _ } = file;
            let called = match source {
                FileSource::Local(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
                FileSource::Text(_) => None,
            };
            let value = json!([called, destination, mode.unwrap_or(facts.mode), owner, group, before_initramfs, facts.sha256]);
            inputs.add(&format!("file {destination}"), &value);
        }
        Ok(inputs)
    }

    /// Adds the disk and the output files.
    fn disk(&mut self, disk: Option<&Disk>, artifacts: &[ArtifactSpec], copies: &[PartitionArtifact]) -> Result<(), BuildError> {
        let mut disk = disk.cloned();
        for (number, RawBinary { local, offset, origin }) in (1..).zip(disk.iter_mut().flat_map(|disk| disk.raw_binaries.drain(..))) {
            let failed = |source| BuildError::LocalFile { path: local.clone(), origin: origin.clone(), source };
            self.add(&format!("raw binary {number}"), &json!([offset, digest_of(&local).map_err(failed)?]));
        }
        self.add("disk", &json!([disk, artifacts, copies]));
        Ok(())
    }

    /// Adds what `systemConfig` says, its files aside.
    fn system(&mut self, image: &str, system: &System) -> Result<(), BuildError> {
        let System { name, hostname, locale, timezone, packages, groups, users, services, network, .. } = system;
        let System { files: _, commands, bootloader, kernel, package_docs, package_languages, remove_package_database, written, .. } =
            system;
        let System { keep_package_cache, hide_processes, enable_systemd_firstboot, .. } = system;
        let requests: Vec<_> = packages.iter().map(|package| json!([package.name, package.version])).collect();
        self.add("systemConfig", &json!([name, hostname, locale, timezone, groups, services, network]));
        self.add("systemConfig.packages", &json!(requests));
        self.add("systemConfig.removePackageDatabase", &json!(remove_package_database));
        self.add("traces", &json!([keep_package_cache, hide_processes, enable_systemd_firstboot]));
        self.add("documentation and languages", &json!([package_docs, package_languages]));
        self.add("files of settings", &json!(written));
        self.add("bootloader", &json!(bootloader));
        self.add("kernel", &json!(kernel));
        for user in users {
            let User { name, password, password_max_age_days, startup_script, groups, sudo, home, shell, .. } = user;
            let User { authorized_keys, uid, primary_group, .. } = user;
            // The hash, not the text: what is kept must not be easier to guess from than the image is.
            let password = match compose::lower_password(image, name, password).map_err(compose::LowerError::from)? {
                AccountPassword::Locked => json!("locked"),
                AccountPassword::Keep => json!("keep"),
                AccountPassword::Hash(hash) => json!({ "hash": hash }),
            };
            let account = json!([uid, primary_group, groups, sudo, home, shell]);
            let value = json!([password, password_max_age_days, startup_script, account, authorized_keys]);
            self.add(&format!("user {name}"), &value);
        }
        self.add("order of users", &json!(users.iter().map(|user| &user.name).collect::<Vec<_>>()));
        for (number, command) in (1..).zip(commands) {
            let Command { command, script, finalize, origin } = command;
            let failed = |path: &Path, source| BuildError::LocalFile { path: path.to_owned(), origin: origin.clone(), source };
            let script = script.as_deref().map(|path| digest_of(path).map_err(|source| failed(path, source))).transpose()?;
            self.add(&format!("command {number}"), &json!([command, script, finalize]));
        }
        Ok(())
    }

    /// Adds an input.
    pub(super) fn add(&mut self, name: &str, value: &Value) {
        self.0.insert(name.to_owned(), Sha256Digest::of(value.to_string().as_bytes()));
    }

    /// Returns why the outputs are not a function of the inputs alone, if they are not.
    #[must_use]
    pub(super) fn unknown(spec: &ImageSpec) -> Option<&'static str> {
        let asks_outside = spec.builder.network && !spec.system.commands.is_empty();
        asks_outside.then_some("commands may use the network (`builder.network`), and what they find there may have changed")
    }

    /// Returns the digest of all of them.
    #[must_use]
    pub(super) fn key(&self) -> Sha256Digest {
        let text: String = self.0.iter().map(|(name, digest)| format!("{name}\0{digest}\n")).collect();
        Sha256Digest::of(text.as_bytes())
    }

    /// Returns the digest of one of them.
    #[must_use]
    pub(super) fn part(&self, name: &str) -> Option<&Sha256Digest> {
        self.0.get(name)
    }

    /// Returns the names of what is not as it was, sorted.
    #[must_use]
    pub(super) fn changed_since<'a>(&'a self, earlier: &'a Self) -> Vec<&'a str> {
        let names = self.0.keys().chain(earlier.0.keys().filter(|name| !self.0.contains_key(*name)));
        let mut changed: Vec<&str> = names.filter(|name| self.0.get(*name) != earlier.0.get(*name)).map(String::as_str).collect();
        changed.sort_unstable();
        changed
    }
}

/// Returns what of a repository reaches an image or a report.
fn repository(repository: &Repository) -> Value {
    let location = match &repository.location {
        RepositoryLocation::Url(url) => json!({ "url": url }),
        RepositoryLocation::Path(path) => json!({ "path": path.file_name().map(|name| name.to_string_lossy().into_owned()) }),
    };
    let keys: Vec<Value> = repository
        .keys
        .iter()
        .map(|key| match key {
            RepositoryKey::Embedded { name, bytes } => json!([name, Sha256Digest::of(bytes)]),
            RepositoryKey::File(path) => json!([path.file_name().map(|name| name.to_string_lossy().into_owned()), digest_of(path).ok()]),
            RepositoryKey::Url(url) => json!(url),
        })
        .collect();
    let Repository { id, format, suite, components, trusted, require_metadata_signature, .. } = repository;
    let Repository { priority, allow_packages, excludes, upgrades, in_image, is_base, .. } = repository;
    let excludes: Vec<_> = excludes.iter().map(|exclude| &exclude.glob).collect();
    json!([
        location,
        keys,
        id,
        format,
        suite,
        components,
        trusted,
        require_metadata_signature,
        priority,
        allow_packages,
        excludes,
        upgrades,
        in_image,
        is_base
    ])
}

/// What of a local file reaches the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// Permission bits.
    pub(super) mode: u32,
    /// Digest of the content.
    pub(super) sha256: Sha256Digest,
}

impl FileFacts {
    /// Looks at a file of the template. A large one is read again only when the filesystem says that it may have changed.
    pub(super) fn of(file: &AdditionalFile, store: &Store) -> Result<Self, BuildError> {
        let local = match &file.source {
            FileSource::Local(path) => path,
            FileSource::Text(text) => return Ok(Self { mode: 0o644, sha256: Sha256Digest::of(text.as_bytes()) }),
        };
        let failed = |source| BuildError::LocalFile { path: local.clone(), origin: file.origin.clone(), source };
        let metadata = fs::metadata(local).map_err(failed)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.len() <= ALWAYS_READ {
            return Ok(Self { mode, sha256: digest_of(local).map_err(failed)? });
        }
        let path = std::path::absolute(local).map_err(failed)?;
        let name = format!("digest of {}", path.display());
        let stamp = Stamp::of(&metadata);
        let known = store.record(&name).and_then(|bytes| serde_json::from_slice::<(Stamp, Sha256Digest)>(&bytes).ok());
        if let Some((_, sha256)) = known.filter(|(known, _)| *known == stamp) {
            return Ok(Self { mode, sha256 });
        }
        let sha256 = digest_of(local).map_err(failed)?;
        if stamp.is_settled() {
            store.set_record(&name, json!([stamp, sha256]).to_string().as_bytes())?;
        }
        Ok(Self { mode, sha256 })
    }
}

/// Returns the digest of a file.
pub(super) fn digest_of(path: &Path) -> io::Result<Sha256Digest> {
    Sha256Digest::of_reader(&mut File::open(path)?)
}

/// What a filesystem says of a file, as far as it tells whether its content is the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Takes it from a file's metadata.
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns whether a later change would show.
    fn is_settled(&self) -> bool {
        clock::unix_now().saturating_sub(u64::try_from(self.changed.0).unwrap_or(u64::MAX)) > SETTLED
    }
}

#[cfg(test)]
mod tests {
    use oic_config::{LoadRequest, load};

    use super::*;

    fn inputs(folder: &Path, template: &str) -> Inputs {
        let path = folder.join("template.yml");
        let base =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-minimal-raw.yml")).unwrap();
        fs::write(&path, format!("{base}\n{template}")).unwrap();
        let spec = load(&LoadRequest { template: path, ..LoadRequest::default() }).unwrap_or_else(|report| panic!("{report}")).spec;
        let lock = LockedImage {
            arch: "x86_64".to_owned(),
            ecosystem: "deb".to_owned(),
            spec: Sha256Digest::of(b"spec"),
            source_date_epoch: 1,
            repositories: Vec::new(),
            packages: Vec::new(),
        };
        let store = Store::open(&folder.join("cache")).unwrap();
        Inputs::of(&spec, &lock, &[], &store).unwrap()
    }

    #[test]
    fn what_changed_is_named_and_what_only_moved_is_not() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let template = |password: &str| {
            format!(
                "  additionalFiles:\n    - local: motd\n      final: /etc/motd\n  users:\n    - name: ann\n      password: \"{password}\"\n  configurations:\n    - cmd: \"true\"\n"
            )
        };
        for folder in [&here, &there] {
            fs::write(folder.path().join("motd"), "one").unwrap();
        }
        let first = inputs(here.path(), &template("secret word"));
        assert_eq!(inputs(there.path(), &template("secret word")), first, "another folder");
        assert_eq!(inputs(there.path(), &template("secret word")).key(), first.key());

        let other = inputs(here.path(), &template("another word"));
        assert_eq!(other.changed_since(&first), ["user ann"]);
        fs::write(here.path().join("motd"), "two").unwrap();
        let other = inputs(here.path(), &template("secret word").replace("true", "false"));
        assert_eq!(other.changed_since(&first), ["command 1", "file /etc/motd"]);
        fs::set_permissions(there.path().join("motd"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(inputs(there.path(), &template("secret word")).changed_since(&first), ["file /etc/motd"]);
    }

    #[test]
    fn a_large_file_that_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let template = "  additionalFiles:\n    - local: blob\n      final: /srv/blob\n";
        let mut blob = vec![1_u8; 2 << 20];
        fs::write(folder.path().join("blob"), &blob).unwrap();
        let first = inputs(folder.path(), template);
        assert_eq!(inputs(folder.path(), template), first);
        blob[77] = 2;
        fs::write(folder.path().join("blob"), &blob).unwrap();
        assert_eq!(inputs(folder.path(), template).changed_since(&first), ["file /srv/blob"]);
    }
}
