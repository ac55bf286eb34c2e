//! Distributions as data: `osv/<os>/<dist>/`.
//!
//! ```text
//! osv/<os>/<dist>/provider.yml                                            facts and repositories
//! osv/<os>/<dist>/imageconfigs/defaultconfigs/default-<type>-<arch>.yml   the outermost layer of every template
//! osv/<os>/<dist>/keys/                                                   public keys of its archives
//! ```
//!
//! The data is embedded in the program. A folder `osv/<os>/<dist>` in the user's configuration folder replaces the built-in one
//! of that name as a whole, and may add a distribution that the program has never heard of. Key names in `provider.yml` are files
//! of `keys/` or URLs, and each repository is bound to exactly the keys that it lists. A key that only the user can vouch for is
//! named (`givenKeys`) and nothing else: without the file in the configuration folder the repository cannot be used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::decode;
use crate::diagnostic::{Code, Finding, Findings};
use crate::layer::ImageTypeName;
use crate::node::Node;
use crate::retarget::Dictionary;
use crate::shape::Shape;
use crate::source::{Origin, SourceMap, read_text};
use crate::spec::{
    Arch, BootloaderProvider, Ecosystem, InitramfsGenerator, PasswordHash, ProviderFacts, Repository, RepositoryFormat, RepositoryKey,
    RepositoryLocation,
};
use crate::validate::default_priority;
use crate::yaml;

include!(concat!(env!("OUT_DIR"), "/osv.rs"));

/// Largest key file.
const MAX_KEY_SIZE: u64 = 1 << 20;

/// `provider.yml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProviderFile {
    display_name: String,
    codename: Option<String>,
    ecosystem: EcosystemName,
    mirror_key: String,
    password_hash: HashFact,
    initramfs: InitramfsName,
    sudo_group: String,
    /// Packages with systemd-repart, where systemd's own lacks it.
    #[serde(default)]
    grow_packages: Vec<String>,
    architectures: BTreeMap<String, ArchFacts>,
    repositories: Vec<RepositoryFact>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum EcosystemName {
    Deb,
    Rpm,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum HashFact {
    Sha512,
    Yescrypt,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum InitramfsName {
    InitramfsTools,
    Dracut,
}

/// What differs between the architectures of a distribution.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchFacts {
    /// Kernel packages, the usual one first.
    kernel_packages: Vec<String>,
    /// Packages that make an image with GRUB bootable on UEFI firmware.
    grub_packages: Vec<String>,
    /// Packages that make an image with GRUB bootable on BIOS machines; none where there are none.
    #[serde(default)]
    grub_bios_packages: Vec<String>,
    /// Packages that make an image with systemd-boot bootable.
    systemd_boot_packages: Vec<String>,
}

/// One repository of a distribution.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RepositoryFact {
    id: String,
    url: String,
    suite: Option<String>,
    components: Option<Vec<String>>,
    /// Files of `keys/`, or URLs.
    keys: Vec<String>,
    /// Keys that are not part of the data: the user puts them into `osv/<os>/<dist>/keys/` of the configuration folder.
    given_keys: Option<Vec<String>>,
    mirror_key: Option<String>,
    /// Only for these; all when absent.
    architectures: Option<Vec<String>>,
    /// rpm: whether `repomd.xml` itself is signed.
    signed_metadata: Option<bool>,
}

/// What a template needs to know of its distribution.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) facts: ProviderFacts,
    pub(crate) kernel_packages: Vec<String>,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) default_layer: Node,
}

/// Where distribution data is read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Catalog<'a> {
    /// The user's configuration folder.
    pub(crate) config_dir: Option<&'a Path>,
}

/// The folder of one distribution.
enum Folder {
    /// Its name, and where the user's files for it would be.
    Builtin(String, PathBuf),
    Disk(PathBuf),
}

impl Folder {
    fn name(&self, file: &str) -> String {
        match self {
            Self::Builtin(folder, _) => format!("builtin:osv/{folder}/{file}"),
            Self::Disk(folder) => folder.join(file).display().to_string(),
        }
    }

    fn text(&self, file: &str) -> Option<Result<String, Box<Finding>>> {
        match self {
            Self::Builtin(..) => Some(Ok(String::from_utf8_lossy(&self.builtin(file)?).into_owned())),
            Self::Disk(folder) => {
                let path = folder.join(file);
                path.exists().then(|| read_text(&path))
            }
        }
    }

    fn builtin(&self, file: &str) -> Option<Vec<u8>> {
        let Self::Builtin(folder, _) = self else { return None };
        let name = format!("{folder}/{file}");
        OSV.iter().find(|(path, _)| *path == name).map(|(_, bytes)| bytes.to_vec())
    }

    /// Returns where the user puts a key.
    fn given_key(&self, name: &str) -> PathBuf {
        let (Self::Builtin(_, folder) | Self::Disk(folder)) = self;
        folder.join("keys").join(name)
    }

    fn key(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::Builtin(..) => self.builtin(&format!("keys/{name}")),
            Self::Disk(folder) => {
                let path = folder.join("keys").join(name);
                let small = std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_KEY_SIZE);
                if small { std::fs::read(path).ok() } else { None }
            }
        }
    }
}

impl Catalog<'_> {
    /// Returns every distribution there is data for, as (os, dist).
    pub(crate) fn distributions(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = OSV
            .iter()
            .filter_map(|(path, _)| path.strip_suffix("/provider.yml")?.split_once('/'))
            .map(|(os, dist)| (os.to_owned(), dist.to_owned()))
            .collect();
        let folders = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
        for os in self.config_dir.into_iter().flat_map(|folder| folders(folder.join("osv"))) {
            for dist in folders(os.path()).filter(|dist| dist.path().join("provider.yml").is_file()) {
                found.push((os.file_name().to_string_lossy().into_owned(), dist.file_name().to_string_lossy().into_owned()));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn folder(&self, os: &str, dist: &str) -> Folder {
        let on_disk =
            self.config_dir.map(|folder| folder.join("osv").join(os).join(dist)).filter(|folder| folder.join("provider.yml").is_file());
        match on_disk {
            Some(folder) => Folder::Disk(folder),
            None => {
                let given = self.config_dir.unwrap_or(Path::new("")).join("osv").join(os).join(dist);
                Folder::Builtin(format!("{os}/{dist}"), given)
            }
        }
    }

    /// Loads what there is of a distribution, which [`Self::distributions`] must name.
    pub(crate) fn load(
        &self,
        (os, dist): (&str, &str),
        (arch, arch_origin): (Arch, Origin),
        (image_type, image_type_origin): (ImageTypeName, Origin),
        sources: &mut SourceMap,
        findings: &mut Findings,
    ) -> Option<Provider> {
        let folder = self.folder(os, dist);
        let file: ProviderFile = self.read_provider(&folder, sources, findings)?;
        let Some(arch_facts) = file.architectures.get(arch.name()) else {
            let finding = Finding::error(Code::Target, format!("{} has no data for {arch}", file.display_name)).field("target.arch");
            let finding = finding.at(sources.location(arch_origin));
            findings.push(finding.found(format!("`{arch}`")).allowed(file.architectures.keys()));
            return None;
        };
        let default_layer = read_default(&folder, &file.display_name, arch, (image_type, image_type_origin), sources, findings)?;
        let facts = ProviderFacts {
            display_name: file.display_name.clone(),
            ecosystem: match file.ecosystem {
                EcosystemName::Deb => Ecosystem::Deb,
                EcosystemName::Rpm => Ecosystem::Rpm,
            },
            codename: file.codename.clone().unwrap_or_default(),
            mirror_key: file.mirror_key.clone(),
            password_hash: match file.password_hash {
                HashFact::Sha512 => PasswordHash::Sha512,
                HashFact::Yescrypt => PasswordHash::Yescrypt,
            },
            initramfs: match file.initramfs {
                InitramfsName::InitramfsTools => InitramfsGenerator::InitramfsTools,
                InitramfsName::Dracut => InitramfsGenerator::Dracut,
            },
            bootloader_packages: vec![
                (BootloaderProvider::Grub, arch_facts.grub_packages.clone()),
                (BootloaderProvider::SystemdBoot, arch_facts.systemd_boot_packages.clone()),
            ],
            grub_bios_packages: arch_facts.grub_bios_packages.clone(),
            grow_packages: file.grow_packages.clone(),
            sudo_group: file.sudo_group.clone(),
        };
        let kernel_packages = arch_facts.kernel_packages.clone();
        let repositories = repositories_of(&file, arch, &folder, findings);
        Some(Provider { facts, kernel_packages, repositories, default_layer })
    }

    /// Returns what two architectures of a distribution call the same things; none when it lacks one of them.
    pub(crate) fn dictionary(&self, (os, dist): (&str, &str), (from, to): (Arch, Arch)) -> Option<Dictionary> {
        // What is wrong with the data is told when it is loaded.
        let file = self.read_provider(&self.folder(os, dist), &mut SourceMap::default(), &mut Findings::default())?;
        let (own, other) = (file.architectures.get(from.name())?, file.architectures.get(to.name())?);
        let lists = [
            (&own.kernel_packages[..], &other.kernel_packages[..]),
            (&own.grub_packages, &other.grub_packages),
            (&own.grub_bios_packages, &other.grub_bios_packages),
            (&own.systemd_boot_packages, &other.systemd_boot_packages),
        ];
        Some(Dictionary::new((from, to), &lists))
    }

    /// Loads the repositories of a distribution, none when there is no data for it or for the architecture.
    pub(crate) fn repositories(&self, (os, dist): (&str, &str), arch: Arch, findings: &mut Findings) -> Option<Vec<Repository>> {
        let folder = self.folder(os, dist);
        let file = self.read_provider(&folder, &mut SourceMap::default(), findings)?;
        file.architectures.contains_key(arch.name()).then(|| repositories_of(&file, arch, &folder, findings))
    }

    fn read_provider(&self, folder: &Folder, sources: &mut SourceMap, findings: &mut Findings) -> Option<ProviderFile> {
        let name = folder.name("provider.yml");
        let text = match folder.text("provider.yml") {
            Some(Ok(text)) => text,
            Some(Err(finding)) => {
                findings.push(*finding);
                return None;
            }
            None => {
                findings.push(Finding::error(Code::Target, format!("{name} is missing")));
                return None;
            }
        };
        let mut scratch = sources.clone();
        let source = scratch.add(name.clone(), None, &text);
        let mut own = Findings::default();
        let mut node = yaml::parse(&text, source, &scratch, &mut own);
        if let Some(node) = &mut node {
            let schema = schemars::schema_for!(ProviderFile).to_value();
            Shape { schema: &schema, sources: &scratch, complete: true, findings: &mut own }.check(node);
        }
        let broken = own.has_errors();
        own.into_vec().into_iter().for_each(|finding| findings.push(finding));
        match decode::decode(&node.filter(|_| !broken)?) {
            Ok(file) => Some(file),
            Err(error) => {
                findings.push(Finding::error(Code::InvalidValue, format!("{name}: {error}")));
                None
            }
        }
    }
}

/// Reads the outermost layer of every template of this distribution, architecture and image type.
fn read_default(
    folder: &Folder,
    display_name: &str,
    arch: Arch,
    (image_type, origin): (ImageTypeName, Origin),
    sources: &mut SourceMap,
    findings: &mut Findings,
) -> Option<Node> {
    let kind = match image_type {
        ImageTypeName::Raw => "raw",
        ImageTypeName::Img => "initrd",
        ImageTypeName::Iso => "iso",
        ImageTypeName::Wsl2 => "wsl2",
        ImageTypeName::Container => "container",
    };
    let file = format!("imageconfigs/defaultconfigs/default-{kind}-{arch}.yml");
    let name = folder.name(&file);
    match folder.text(&file) {
        Some(Ok(text)) => {
            let base = match folder {
                Folder::Builtin(..) => None,
                Folder::Disk(folder) => Some(folder.join("imageconfigs/defaultconfigs")),
            };
            let source = sources.add(name, base, &text);
            let mut node = yaml::parse(&text, source, sources, findings)?;
            Shape { schema: crate::schema::value(), sources, complete: false, findings }.check(&mut node);
            Some(node)
        }
        Some(Err(finding)) => {
            findings.push(*finding);
            None
        }
        // What a container has is what its template says: whatever a default added would be too much for somebody.
        None if image_type == ImageTypeName::Container => Some(Node::empty(Origin::whole(sources.add(name, None, "")))),
        None => {
            let message = format!("{display_name} has no defaults for {kind} images on {arch}");
            let finding = Finding::error(Code::Target, message).at(sources.location(origin)).field("target.imageType");
            findings.push(finding.hint(format!("{name} would hold them")));
            None
        }
    }
}

fn repositories_of(file: &ProviderFile, arch: Arch, folder: &Folder, findings: &mut Findings) -> Vec<Repository> {
    let serves = |fact: &&RepositoryFact| fact.architectures.as_ref().is_none_or(|names| names.iter().any(|name| name == arch.name()));
    file.repositories.iter().filter(serves).map(|fact| repository_of(fact, file, arch, folder, findings)).collect()
}

fn repository_of(fact: &RepositoryFact, file: &ProviderFile, arch: Arch, folder: &Folder, findings: &mut Findings) -> Repository {
    let keys = fact.keys.iter().filter_map(|key| {
        if key.starts_with("https://") {
            return Some(RepositoryKey::Url(key.replace("{arch}", arch.name())));
        }
        let bytes = folder.key(key);
        if bytes.is_none() {
            findings.push(Finding::error(Code::MissingFile, format!("{} is missing", folder.name(&format!("keys/{key}")))));
        }
        Some(RepositoryKey::Embedded { name: key.clone(), bytes: bytes? })
    });
    let given = fact.given_keys.iter().flatten().map(|name| RepositoryKey::File(folder.given_key(name)));
    Repository {
        keys: keys.chain(given).collect(),
        id: fact.id.clone(),
        format: match file.ecosystem {
            EcosystemName::Deb => RepositoryFormat::Deb,
            EcosystemName::Rpm => RepositoryFormat::Rpm,
        },
        location: RepositoryLocation::Url(fact.url.replace("{arch}", arch.name())),
        suite: fact.suite.clone().unwrap_or_default(),
        components: fact.components.clone().unwrap_or_default(),
        trusted: false,
        require_metadata_signature: fact.signed_metadata.unwrap_or(true),
        priority: match file.ecosystem {
            EcosystemName::Deb => default_priority(Ecosystem::Deb),
            EcosystemName::Rpm => default_priority(Ecosystem::Rpm),
        },
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        upgrades: true,
        in_image: true,
        mirror_key: fact.mirror_key.clone().unwrap_or_default(),
        is_base: true,
        origin: folder.name("provider.yml"),
    }
}
