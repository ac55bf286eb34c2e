//! Lowering: one function from what is wanted to what the guest does.

use oic_config::spec::{AdditionalFile, Ecosystem, ImageSpec, ImageType, User};
use oic_protocol::{
    ComposePlan, DebInstall, FileContent, FileEntry, GroupAccount, Hook, InitramfsCompression, InitramfsPlan, RpmInstall, Seal,
    ServicePlan, Step, UserAccount,
};

use super::{
    files::{SystemFiles, system_files},
    password::{self, PasswordError},
    settings,
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
    /// How the packages were unpacked; none when they are configured already.
    pub install: Option<DebInstall>,
    /// `/etc/fstab`; none for an image without a disk.
    pub fstab: Option<String>,
    /// The whole kernel command line, `root=` included.
    pub cmdline: String,
    /// The keys of the repositories that the image lists.
    pub keys: RepositoryKeys,
    /// The template's files.
    pub files: Vec<HostFile>,
    /// The template's scripts, each with the index of its entry in the spec's commands.
    pub scripts: Vec<(usize, Vec<u8>)>,
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
    /// A setting needs a package that is not there.
    #[error("`{setting}` needs package `{package}`, which is not among the {packages} packages of the image; add it to `packages`")]
    PackageMissing {
        /// The setting, as the template gives it.
        setting: String,
        /// The package.
        package: String,
        /// How many packages there are.
        packages: usize,
    },
}

/// Returns the plan.
///
/// # Errors
/// Fails when a user's settings cannot hold in this image.
pub fn lower(input: ComposeInput<'_>) -> Result<ComposePlan, LowerError> {
    let ComposeInput { spec, lock, source_date_epoch, install, fstab, cmdline, keys, files, scripts } = input;
    let SystemFiles { files: system, enable } = system_files(spec, lock, &keys, &cmdline);
    let settings = settings::settings(spec, lock)?;
    let unpacks = install.as_ref().is_some_and(|install| !install.unpack.is_empty());
    let store_tag = if unpacks { Some(STORE_TAG.to_owned()) } else { store_tag(&files) };
    let mut root_files: Vec<FileEntry> = fstab.map(|fstab| super::files::root_file("/etc/fstab", fstab)).into_iter().collect();
    root_files.extend(system);
    root_files.extend(settings.files);
    root_files.extend(
        scripts.into_iter().map(|(index, script)| FileEntry { mode: 0o755, ..super::files::root_file(&script_path(index), script) }),
    );
    let (root_owned, others): (Vec<_>, Vec<_>) =
        files.into_iter().map(lower_file).partition(|file| file.owner == "root" && file.group == "root");
    root_files.extend(root_owned);
    let users = spec.system.users.iter().map(|user| lower_user(spec, lock, user)).collect::<Result<Vec<_>, _>>()?;
    let mut steps: Vec<Step> = install.into_iter().map(Step::InstallDeb).collect();
    steps.push(Step::WriteFiles(root_files));
    steps.extend(settings.locale.map(Step::GenerateLocale));
    if !spec.system.groups.is_empty() {
        let groups = spec.system.groups.iter().map(|group| GroupAccount { name: group.name.clone(), gid: group.gid });
        steps.push(Step::CreateGroups(groups.collect()));
    }
    if !users.is_empty() {
        steps.push(Step::CreateUsers(users));
    }
    if !others.is_empty() {
        steps.push(Step::WriteFiles(others));
    }
    let services = spec.system.services.clone();
    let enable_if_present = enable.into_iter().filter(|unit| !services.disable.contains(unit) && !services.mask.contains(unit)).collect();
    steps.push(Step::Services(ServicePlan { enable_if_present, enable: services.enable, disable: services.disable, mask: services.mask }));
    steps.extend(hooks(spec, false));
    // A system that is an initramfs itself needs none before it.
    if let Some(kernel) = spec.system.kernel.as_ref().filter(|_| spec.target.image_type != ImageType::Img) {
        steps.push(Step::Initramfs(InitramfsPlan {
            modules: kernel.extra_modules.clone(),
            required: true,
            compression: InitramfsCompression::Host,
        }));
    }
    steps.extend(hooks(spec, true));
    let is_deb = spec.provider.ecosystem == Ecosystem::Deb;
    let mut must_exist: Vec<String> = is_deb.then(|| "/var/lib/dpkg/status".into()).into_iter().collect();
    must_exist.push("/etc/os-release".into());
    must_exist.extend(settings.must_exist);
    steps.push(Step::Seal(Seal {
        // What rpm's database lists is checked when rpm has ended.
        installed_deb: lock.packages.iter().filter(|_| is_deb).map(|package| package.name.clone()).collect(),
        must_exist,
        ..Seal::default()
    }));
    Ok(ComposePlan { source_date_epoch, store_tag, network: spec.builder.network, steps })
}

/// Returns where the guest finds a script while it builds: in memory, so that no image has it.
fn script_path(index: usize) -> String {
    format!("/run/oic/scripts/{}", index + 1)
}

/// Returns the commands and scripts of one stage.
fn hooks(spec: &ImageSpec, finalize: bool) -> impl Iterator<Item = Step> + '_ {
    let commands = spec.system.commands.iter().enumerate().filter(move |(_, command)| command.finalize == finalize);
    commands.map(|(index, command)| {
        let text = match &command.script {
            Some(_) => format!("{} {}", script_path(index), command.command).trim_end().to_owned(),
            None => command.command.clone(),
        };
        Step::Hook(Hook { index: u32::try_from(index).unwrap_or(u32::MAX), command: text })
    })
}

/// Returns the plan of a session that does nothing but configure packages.
#[must_use]
pub fn lower_install(install: DebInstall, source_date_epoch: u64) -> ComposePlan {
    let store_tag = (!install.unpack.is_empty()).then(|| STORE_TAG.to_owned());
    let seal = Seal { installed_deb: install.configure.clone(), ..Seal::default() };
    ComposePlan { source_date_epoch, store_tag, network: false, steps: vec![Step::InstallDeb(install), Step::Seal(seal)] }
}

/// Returns the plan of a session that does nothing but install packages of the RPM family.
#[must_use]
pub fn lower_rpm_install(install: RpmInstall, source_date_epoch: u64) -> ComposePlan {
    let steps = vec![Step::InstallRpm(install), Step::Seal(Seal::default())];
    ComposePlan { source_date_epoch, store_tag: Some(STORE_TAG.to_owned()), network: false, steps }
}

/// Returns the tag of the store if the guest reads one of these files there.
fn store_tag(files: &[HostFile]) -> Option<String> {
    files.iter().any(|file| matches!(file.content, FileContent::Store(_))).then(|| STORE_TAG.to_owned())
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
        uid: user.uid,
        primary_group: user.primary_group.clone(),
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
        Step::CreateGroups(groups) => format!("create {} groups", groups.len()),
        Step::GenerateLocale(plan) => format!("generate locale {}", plan.line),
        Step::CreateUsers(users) => format!("create {} users", users.len()),
        Step::Services(_) => "enable services".to_owned(),
        Step::Hook(hook) => format!("command {} of configurations", hook.index + 1),
        Step::Initramfs(_) => "make the initramfs".to_owned(),
        Step::Seal(_) => "check and clean".to_owned(),
    }
}
