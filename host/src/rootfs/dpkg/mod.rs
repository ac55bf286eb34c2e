//! Puts packages together to one tree, exactly as dpkg's unpacking of all of them into an empty root would leave it.
//!
//! # What is in the tree afterwards
//!
//! - every packaged file, conffiles as `*.dpkg-new` beside their place: `dpkg --configure` moves them;
//! - `/var/lib/dpkg` with each package as `install ok unpacked`, its control files and file list, and the triggers it is
//!   interested in. No trigger is pending: dpkg drops activations for packages that are not configured yet, because their
//!   configuration does the work anyway;
//! - the links of the merged `/usr` (`bin → usr/bin` …), made before anything else where no package ships them.
//!
//! # What is left to the guest
//!
//! [`MergedRoot::preinst`] are packages with a `preinst`: the guest runs it before configuration. [`MergedRoot::guest_unpack`]
//! are packages whose `preinst` moves files of others by diverting them: dpkg itself unpacks them there. Diversions with
//! `--no-rename` move nothing, so that such packages are in the tree. Neither are packages that dpkg itself needs to run ever
//! left to the guest; dpkg's own bootstrap tools unpack those without running `preinst` too.
//!
//! # Onto a configured system
//!
//! [`merge_onto`] adds packages to a system that is configured already, as a further run of dpkg would: what is there stays, file
//! triggers of installed packages are activated, and a package that would replace anything, or whose files somebody has
//! diverted or given other owners, is left to the guest.
//!
//! The order is a function of the packages alone: those that ship the links of the merged `/usr`, then every package after
//! its dependencies, essential ones first, otherwise by name.

mod database;
mod files;
mod onto;
mod order;
mod scripts;
mod triggers;

#[cfg(test)]
mod oracle;

pub use onto::merge_onto;

use std::collections::{BTreeMap, BTreeSet};

use oic_protocol::{DebInstall, ScriptedPackage, StoreBlob};

use super::{
    control::{ControlError, Stanza},
    deb::Deb,
    path::PathError,
    tree::{Metadata, RootTree, TreeError},
};

/// A package to put into the tree.
#[derive(Debug, Clone)]
pub struct PackageInput {
    /// The decompressed package.
    pub deb: Deb,
    /// Where the guest finds it when dpkg must unpack it there.
    pub blob: StoreBlob,
}

/// A tree of unpacked packages and what is left to do with them in the guest.
#[derive(Debug, Clone)]
pub struct MergedRoot {
    /// The files.
    pub tree: RootTree,
    /// Packages of the tree whose `preinst install` runs first, in this order.
    pub preinst: Vec<ScriptedPackage>,
    /// Packages that dpkg unpacks in the guest, in this order.
    pub guest_unpack: Vec<StoreBlob>,
    /// All packages in the order of their configuration.
    pub configure: Vec<String>,
}

impl MergedRoot {
    /// Splits into the tree and the step that the guest does with it.
    #[must_use]
    pub fn into_install(self) -> (RootTree, DebInstall) {
        (self.tree, DebInstall { preinst: self.preinst, unpack: self.guest_unpack, configure: self.configure })
    }
}

/// Why packages cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A package's control file is unusable.
    #[error("package `{package}` is unusable")]
    Control {
        /// The package, as the caller calls it.
        package: String,
        /// Why.
        source: ControlError,
    },
    /// A package's control archive has a file that dpkg refuses.
    #[error("package `{package}`: its control file `{file}` is malformed: {reason}")]
    ControlFile {
        /// The package.
        package: String,
        /// The file.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Two packages have the same name and architecture.
    #[error("package `{package}` is there twice")]
    Duplicate {
        /// The package.
        package: String,
    },
    /// Two packages ship the same file and neither says that it replaces the other.
    #[error("packages `{first}` and `{second}` both contain `{path}`")]
    Conflict {
        /// The package that is unpacked first.
        first: String,
        /// The other one.
        second: String,
        /// The path.
        path: String,
    },
    /// A path of a package cannot be in a tree.
    #[error("package `{package}` has an impossible path")]
    Path {
        /// The package.
        package: String,
        /// Why.
        source: PathError,
    },
    /// A file of a package cannot be put where it belongs.
    #[error("package `{package}` cannot be unpacked")]
    Place {
        /// The package.
        package: String,
        /// Why.
        source: TreeError,
    },
    /// A hard link's target is not in the package.
    #[error("package `{package}`: `{path}` is a hard link to `{target}`, which is not in the package")]
    HardLink {
        /// The package.
        package: String,
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
    /// A file's content cannot be read.
    #[error("package `{package}`: `{path}` cannot be read")]
    Read {
        /// The package.
        package: String,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A package with what the merge needs to know of it.
#[derive(Debug)]
struct Package {
    input: PackageInput,
    stanza: Stanza,
    name: String,
    version: String,
    architecture: String,
    /// Whether copies for several architectures can be installed side by side.
    is_multi_arch_same: bool,
    is_essential: bool,
}

impl Package {
    fn new(input: PackageInput) -> Result<Self, MergeError> {
        let package = input.blob.name.clone();
        let failed = |source| MergeError::Control { package: package.clone(), source };
        let control = input.deb.control_file("control").ok_or(ControlError::Missing { field: "Package" }).map_err(failed)?;
        let stanza = Stanza::parse(control).map_err(failed)?;
        let field = |name| stanza.required(name).map(str::to_owned).map_err(failed);
        let (name, version, architecture) = (field("Package")?, field("Version")?, field("Architecture")?);
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) && !text.starts_with('.');
        for (field, text) in [("Package", &name), ("Architecture", &architecture)] {
            if !is_word(text) {
                return Err(failed(ControlError::Malformed { reason: format!("`{text}` cannot be the field `{field}`") }));
            }
        }
        let is_yes = |name: &str, yes: &str| stanza.get(name).is_some_and(|value| value.eq_ignore_ascii_case(yes));
        let (is_multi_arch_same, is_essential) = (is_yes("Multi-Arch", "same"), is_yes("Essential", "yes"));
        Ok(Self { input, stanza, name, version, architecture, is_multi_arch_same, is_essential })
    }

    /// Returns the name that dpkg's database files carry: with the architecture where several can be installed side by side.
    fn database_name(&self) -> String {
        if self.is_multi_arch_same { format!("{}:{}", self.name, self.architecture) } else { self.name.clone() }
    }

    /// Returns what is called `name` here: the package itself or, by `Provides`, a virtual one.
    fn is_called(&self, name: &str) -> bool {
        let provides = || self.stanza.relations("Provides").unwrap_or_default();
        self.name == name || provides().iter().flatten().any(|relation| relation.name == name)
    }
}

/// Returns the indexes of the packages that `is_start` says yes to, by name, and of the essential and required ones, and of
/// everything of the set that these depend on.
///
/// # Errors
/// Fails when a package's control file is unusable.
pub fn closure(packages: &[PackageInput], is_start: impl Fn(&str) -> bool) -> Result<BTreeSet<usize>, MergeError> {
    let packages: Vec<Package> = packages.iter().cloned().map(Package::new).collect::<Result<_, _>>()?;
    let dependencies = order::dependencies(&packages, &["Pre-Depends", "Depends"])?;
    let is_required = |package: &Package| package.stanza.get("Priority") == Some("required");
    let starts = |package: &Package| package.is_essential || is_required(package) || is_start(&package.name);
    let mut pending: Vec<usize> = (0..packages.len()).filter(|index| starts(&packages[*index])).collect();
    let mut closure = BTreeSet::new();
    while let Some(index) = pending.pop() {
        if closure.insert(index) {
            pending.extend(&dependencies[index]);
        }
    }
    Ok(closure)
}

/// Puts packages together to a tree.
///
/// `architecture` is Debian's name of the image's architecture, `epoch` the time of everything that has none of its own.
///
/// # Errors
/// Fails when a package is damaged or two packages contradict each other.
pub fn merge(packages: Vec<PackageInput>, architecture: &str, epoch: i64) -> Result<MergedRoot, MergeError> {
    let packages: Vec<Package> = packages.into_iter().map(Package::new).collect::<Result<_, _>>()?;
    let mut seen = BTreeMap::new();
    for package in &packages {
        if seen.insert((&package.name, &package.architecture), ()).is_some() {
            return Err(MergeError::Duplicate { package: package.name.clone() });
        }
    }
    let order = order::unpack_order(&packages)?;
    let in_guest = scripts::guest_unpack(&packages)?;
    let mut tree = RootTree::new(Metadata::root_owned(0o755, epoch));
    let native: Vec<usize> = order.iter().copied().filter(|index| !in_guest.contains(index)).collect();
    let unpacked = files::unpack(&mut tree, &packages, &native, architecture, epoch)?;
    database::write(&mut tree, &packages, &unpacked, architecture, epoch)?;
    let preinst = scripts::preinst(&packages, &native)?;
    let guest_unpack = order.iter().filter(|index| in_guest.contains(index)).map(|index| packages[*index].input.blob.clone()).collect();
    let configure = order.iter().map(|index| packages[*index].database_name()).collect();
    Ok(MergedRoot { tree, preinst, guest_unpack, configure })
}
