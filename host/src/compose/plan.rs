//! Lowering: one function from what is wanted to what the guest does.

use oic_config::spec::{AdditionalFile, Ecosystem, ImageSpec, User};
use oic_protocol::{ComposePlan, FileContent, FileEntry, Hook, InitramfsCompression, InitramfsPlan, Seal, ServicePlan, Step, UserAccount};

use super::{
    files::{SystemFiles, system_files},
    password::{self, PasswordError},
    sources::RepositoryKeys,
};
use crate::lock::LockedImage;

/// The virtiofs tag under which the guest sees the package store.
const STORE_TAG: &str = "store";

/// A file of the host that goes into the image, its content read.
#[derive(Debug, Clone)]
pub struct HostFile {
    /// What the template says of it.
    pub file: AdditionalFile,
    /// Its bytes, or its place in the store.
    pub content: FileContent,
    /// The permission bits of the file on the host.
    pub local_mode: u32,
}

/// Everything that the plan is a function of.
#[derive(Debug)]
pub struct ComposeInput<'a> {
    /// The image.
    pub spec: &'a ImageSpec,
    /// Its packages.
    pub lock: &'a LockedImage,
    /// `SOURCE_DATE_EPOCH`.
    pub source_date_epoch: u64,
    /// The step that installs the packages.
    pub install: Step,
    /// `/etc/fstab`.
    pub fstab: String,
    /// The whole kernel command line, `root=` included.
    pub cmdline: String,
    /// The keys of the repositories that the image lists.
    pub keys: RepositoryKeys,
    /// The template's files.
    pub files: Vec<HostFile>,
}

/// The image cannot be described to the guest.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// A password could not be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A user is to have sudo where there is none.
    #[error("user `{user}` is to have `sudo`, but package `sudo` is not among the {packages} packages of the image")]
    SudoMissing {
        /// The user.
        user: String,
        /// How many packages there are.
        packages: usize,
    },
}

/// Returns the plan.
///
/// # Errors
/// Fails when a user's settings cannot hold in this image.
pub fn lower(input: ComposeInput<'_>) -> Result<ComposePlan, LowerError> {
    let ComposeInput { spec, lock, source_date_epoch, install, fstab, cmdline, keys, files } = input;
    let SystemFiles { files: system, enable } = system_files(spec, lock, &keys, &cmdline);
    let (installs_from_store, installed_deb) = match &install {
        Step::InstallDeb(install) => (!install.unpack.is_empty(), true),
        _ => (true, false),
    };
    let store_tag = if installs_from_store { Some(STORE_TAG.to_owned()) } else { store_tag(spec, &files) };
    let mut root_files = vec![super::files::root_file("/etc/fstab", fstab)];
    root_files.extend(system);
    let (root_owned, others): (Vec<_>, Vec<_>) =
        files.into_iter().map(lower_file).partition(|file| file.owner == "root" && file.group == "root");
    root_files.extend(root_owned);
    let users = spec.system.users.iter().map(|user| lower_user(spec, lock, user)).collect::<Result<Vec<_>, _>>()?;

    let mut steps = vec![install, Step::WriteFiles(root_files)];
    if !users.is_empty() {
        steps.push(Step::CreateUsers(users));
    }
    if !others.is_empty() {
        steps.push(Step::WriteFiles(others));
    }
    steps.push(Step::Services(ServicePlan { enable_if_present: enable, ..ServicePlan::default() }));
    for (index, command) in (0..).zip(&spec.system.commands) {
        steps.push(Step::Hook(Hook { index, command: command.command.clone() }));
    }
    if let Some(kernel) = &spec.system.kernel {
        steps.push(Step::Initramfs(InitramfsPlan {
            modules: kernel.extra_modules.clone(),
            required: true,
            compression: InitramfsCompression::Host,
        }));
    }
    steps.push(Step::Seal(Seal {
        // What rpm's database lists is checked when rpm has ended.
        installed_deb: lock.packages.iter().filter(|_| installed_deb).map(|package| package.name.clone()).collect(),
        must_exist: installed_deb.then(|| "/var/lib/dpkg/status".into()).into_iter().chain(["/etc/os-release".into()]).collect(),
        ..Seal::default()
    }));
    Ok(ComposePlan { source_date_epoch, store_tag, network: spec.builder.network, steps })
}

/// Returns the tag of the store if the guest reads packages or one of these files there.
#[must_use]
pub fn store_tag(spec: &ImageSpec, files: &[HostFile]) -> Option<String> {
    let has_packages = spec.provider.ecosystem == Ecosystem::Rpm;
    (has_packages || files.iter().any(|file| matches!(file.content, FileContent::Store(_)))).then(|| STORE_TAG.to_owned())
}

/// Returns the wire form of one of the template's files.
fn lower_file(HostFile { file, content, local_mode }: HostFile) -> FileEntry {
    FileEntry { path: file.destination, content, mode: file.mode.unwrap_or(local_mode), owner: file.owner, group: file.group }
}

/// Returns the wire form of a user.
fn lower_user(spec: &ImageSpec, lock: &LockedImage, user: &User) -> Result<UserAccount, LowerError> {
    let mut groups = user.groups.clone();
    if user.sudo {
        if !lock.packages.iter().any(|package| package.name == "sudo" || package.name == "sudo-rs") {
            return Err(LowerError::SudoMissing { user: user.name.clone(), packages: lock.packages.len() });
        }
        if !groups.contains(&spec.provider.sudo_group) {
            groups.push(spec.provider.sudo_group.clone());
        }
    }
    Ok(UserAccount {
        name: user.name.clone(),
        password: password::lower(&spec.name, &user.name, &user.password)?,
        home: user.home.clone(),
        shell: user.startup_script.clone().or_else(|| user.shell.clone()),
        groups,
        password_max_age_days: user.password_max_age_days,
        authorized_keys: user.authorized_keys.clone(),
    })
}

/// Returns what a step does, for progress displays and messages.
#[must_use]
pub fn step_name(step: &Step) -> String {
    match step {
        Step::InstallDeb(install) => format!("configure {} packages", install.configure.len()),
        Step::InstallRpm(install) => format!("install {} packages", install.packages.len()),
        Step::WriteFiles(files) => format!("write {} files", files.len()),
        Step::CreateUsers(users) => format!("create {} users", users.len()),
        Step::Services(_) => "enable services".to_owned(),
        Step::Hook(hook) => format!("command {} of configurations", hook.index + 1),
        Step::Initramfs(_) => "make the initramfs".to_owned(),
        Step::Seal(_) => "check and clean".to_owned(),
    }
}
