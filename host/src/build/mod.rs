//! The build: every stage in order.

pub mod agents;
mod contents;
mod fingerprint;
mod image;
mod initramfs_trace;
mod layers;
mod options;
mod outputs;
mod plain_modules;
#[cfg(test)]
mod planning_tests;
mod prepare;
pub mod progress;
mod published;
pub mod resolve;
mod root;
mod rpm_layer;
mod session;
mod step_error;
mod workdir;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oic_config::{
    spec::{Disk, FileSource, ImageSpec, ImageType, UnsupportedField},
    units::ByteSize,
};
use oic_protocol::FileContent;

pub use image::FinishError;
pub use options::{BuildOptions, BuildOutcome, HostOptions, LockOptions, LockOutcome, LockUse};
pub use outputs::OutputError;
pub use prepare::boot_tools;
pub use root::RootError;
pub(crate) use session::DEFAULT_MEMORY;
pub use session::{ComposeError, StepError};
pub use step_error::hint as step_hint;
pub use workdir::{Scratch, WorkError};

use crate::{
    artifact::bare::BareRoot,
    boot::fstab,
    compose::{self, ComposeInput, HostFile, LowerError},
    digest::Sha256Digest,
    disk::{identity::ImageIdentity, raw_files::RawFile},
    fetch::FetchError,
    lock::LockError,
    report::manifest::{FileRecord, OutputRecord},
    rootfs::RootTree,
    store::{self, Bucket, Store, StoreError},
    toolchain::{ToolError, VmImageError},
};
use fingerprint::Inputs;
use image::Finish;
use layers::Layers;
use outputs::Described;
use prepare::{Host, Toolchain};
use progress::{Event, Level, Observer, Stage, stage};
use published::Standing;
use session::Guest;
use workdir::WorkDir;

/// A file that is larger than this goes to the guest through the store rather than in the plan.
const INLINE_LIMIT: u64 = 64 * 1024;

/// The largest file that is written onto a disk as it is: firmware of boards takes some MiB.
const MAX_RAW_BINARY: u64 = 256 << 20;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The template has fields that this version does not build.
    #[error("this version of oic cannot build what the template asks for: {}", listed(.0))]
    Unsupported(Vec<UnsupportedField>),
    /// Packages cannot be chosen or fetched.
    #[error(transparent)]
    Resolve(#[from] resolve::ResolveError),
    /// The lock file cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The network cannot be used.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tools cannot be used.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// There is no agent for the architecture.
    #[error(transparent)]
    Agent(#[from] agents::MissingAgent),
    /// The builder VM cannot be made.
    #[error("cannot make the builder VM")]
    VmImage(#[from] VmImageError),
    /// The packages cannot be unpacked.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A local file cannot be read.
    #[error("cannot read `{}`, which {origin} wants in the image", .path.display())]
    LocalFile {
        /// The file.
        path: PathBuf,
        /// Where the template asks for it.
        origin: String,
        /// Why.
        source: io::Error,
    },
    /// The image cannot be described to the guest.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The guest has not finished the root filesystem.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The disk cannot be made.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// The outputs cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The work folder cannot be used.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The disk with the work folder is too small.
    #[error("the work folder `{}` has {free} free, and this build needs {needed}", .path.display())]
    NoWorkSpace {
        /// The folder.
        path: PathBuf,
        /// What is free.
        free: ByteSize,
        /// What is needed.
        needed: ByteSize,
    },
    /// A command line of this program cannot be built.
    #[error("cannot find this program's own file")]
    OwnProgram(#[source] io::Error),
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// Something that cannot be.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

/// Returns the fields with where they stand.
fn listed(fields: &[UnsupportedField]) -> String {
    let words: Vec<_> = fields.iter().map(|field| format!("\n  {} ({}): {}", field.field, field.origin, field.reason)).collect();
    words.concat()
}

/// Locks an image: chooses its packages and those of the tools, and writes them down.
///
/// # Errors
/// Fails when they cannot be chosen or the lock cannot be written.
pub fn lock(spec: &ImageSpec, options: &LockOptions, observer: &dyn Observer) -> Result<LockOutcome, BuildError> {
    let host = Host::open(&options.host, observer)?;
    let (locked, changed) = host.lock(spec, &options.lock_file, LockUse::Renew)?;
    Ok(LockOutcome { packages: locked.image.packages.len(), changed })
}

/// Builds an image into the output folder.
///
/// # Errors
/// Fails at the first stage that does; the output folder then has what it had before.
pub fn build(spec: &ImageSpec, options: &BuildOptions, observer: &dyn Observer) -> Result<BuildOutcome, BuildError> {
    let disk = refuse(spec)?;
    if let Some(outputs) = unchanged(spec, options, observer)? {
        return Ok(BuildOutcome { outputs, up_to_date: true });
    }
    let host = Host::open(&options.host, observer)?;
    let (locked, _) = host.lock(spec, &options.lock_file, options.lock_use)?;
    let inputs = Inputs::of(spec, &locked.image, &locked.deciding_tools(), &host.store)?;
    match Inputs::unknown(spec).map_or_else(|| published::standing(&host.store, options, &inputs), |why| Standing::Due(why.to_owned())) {
        // A lock that was made anew may still choose what it chose before.
        Standing::UpToDate(outputs) => {
            tell_up_to_date(observer);
            return Ok(BuildOutcome { outputs, up_to_date: true });
        }
        Standing::Due(reason) => observer.event(&Event::Decision { subject: "outputs", reused: false, reason: &reason }),
    }
    let fetched = host.fetch(spec, &locked)?;
    let toolchain = host.tools(spec, &locked, &fetched.tools)?;
    stop_if_cancelled(options)?;

    let work = WorkDir::create(&options.host.work_dir, &options.host.scratch)?;
    let epoch = spec.source_date_epoch.unwrap_or(locked.image.source_date_epoch);
    let identity = ImageIdentity::new(&format!("{} {} {} {}", spec.name, spec.version, spec.target.dist, spec.target.arch));
    let open =
        stage(observer, Stage::Unpack, || Ok::<_, BuildError>((root::open(&host.store, fetched.image, spec.provider.ecosystem)?, false)))?;
    let contents = contents::contents(spec, &locked.image, &open.opened);
    let (files, mut file_records) = local_files(spec, &host.store)?;
    let scripts = local_scripts(spec, &mut file_records)?;
    let binaries = raw_binaries(disk, &mut file_records)?;
    let cmdline = command_line(spec, disk, &identity);
    let plan = compose::lower(ComposeInput {
        spec,
        lock: &locked.image,
        source_date_epoch: epoch,
        install: None,
        fstab: disk.map(|disk| fstab::render(disk, &identity, spec.system.hide_processes)),
        cmdline: cmdline.clone(),
        keys: host.keys(spec, &locked)?,
        files,
        scripts,
    })?;
    let installer = fetched.installer.as_ref();
    let layers = Layers {
        host: &host,
        spec,
        options,
        observer,
        toolchain: &toolchain,
        work: &work,
        inputs: &inputs,
        packages: &open,
        installer,
        epoch,
    };
    let root = layers.root(plan, |tree| {
        image::check_room(spec, identity, epoch, tree)?;
        check_work_space(&work, root::scratch_need(tree))
    })?;

    let raw = work.file("disk.img");
    let finished = stage(observer, Stage::Disk, || {
        let finish = Finish {
            spec,
            identity,
            cmdline: &cmdline,
            epoch,
            tools: toolchain.disk.clone(),
            mkimage: toolchain.mkimage.clone(),
            work: work.path(),
            binaries: &binaries,
        };
        Ok::<_, BuildError>((finish.run(root, &raw)?, false))
    })?;
    stop_if_cancelled(options)?;
    let artifacts = stage(observer, Stage::Artifacts, || {
        let root = BareRoot { kernel: finished.kernel, ..bare_root(spec, &finished.root, identity, &toolchain, epoch) };
        Ok::<_, BuildError>((outputs::convert(spec, disk.map(|disk| (raw.as_path(), disk, &finished.layout)), &work, &root)?, false))
    })?;
    stop_if_cancelled(options)?;
    let described = Described { spec, locked: &locked, contents: &contents, files: file_records, epoch };
    let outputs =
        stage(observer, Stage::Report, || Ok::<_, BuildError>((outputs::publish(&described, &artifacts, &work, options)?, false)))?;
    published::note(&host.store, options, inputs, &outputs)?;
    Ok(BuildOutcome { outputs, up_to_date: false })
}

/// Returns the outputs of an earlier build when nothing that they are made of has changed since. Asks neither the network nor
/// any other program, and reads nothing that is large.
fn unchanged(spec: &ImageSpec, options: &BuildOptions, observer: &dyn Observer) -> Result<Option<Vec<OutputRecord>>, BuildError> {
    if options.lock_use == LockUse::Renew || Inputs::unknown(spec).is_some() {
        return Ok(None);
    }
    let Some((image, tools)) = prepare::locked_already(spec, &options.host.without_repositories, &options.lock_file)? else {
        return Ok(None);
    };
    let store = Store::open(&options.host.cache_dir)?;
    let inputs = Inputs::of(spec, &image, &tools.iter().collect::<Vec<_>>(), &store)?;
    match published::standing(&store, options, &inputs) {
        Standing::UpToDate(outputs) => {
            tell_up_to_date(observer);
            Ok(Some(outputs))
        }
        Standing::Due(_) => Ok(None),
    }
}

fn tell_up_to_date(observer: &dyn Observer) {
    let reason = "nothing has changed since the last build";
    observer.event(&Event::Message { level: Level::Note, text: &format!("{reason}: its outputs are up to date") });
    observer.event(&Event::Decision { subject: "outputs", reused: true, reason });
}

/// Returns the root filesystem as outputs without a disk have it.
fn bare_root<'a>(spec: &'a ImageSpec, tree: &'a RootTree, identity: ImageIdentity, toolchain: &'a Toolchain, epoch: u64) -> BareRoot<'a> {
    BareRoot {
        tree,
        name: &spec.name,
        version: &spec.version,
        arch: spec.target.arch,
        epoch,
        uuid: identity.filesystem("bare"),
        tools: &toolchain.disk,
        kernel: None,
    }
}

/// Fails with every field that is not built yet, and returns the disk, if the image has one.
fn refuse(spec: &ImageSpec) -> Result<Option<&Disk>, BuildError> {
    if !spec.unsupported.is_empty() {
        return Err(BuildError::Unsupported(spec.unsupported.clone()));
    }
    if spec.disk.is_none() && spec.target.image_type == ImageType::Raw {
        return Err(BuildError::Internal("a raw image without a disk passed validation"));
    }
    Ok(spec.disk.as_ref())
}

fn stop_if_cancelled(options: &BuildOptions) -> Result<(), BuildError> {
    if options.host.cancel.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(()) }
}

/// Fails when the scratch folder has no room for two disks with the packages in them: the guest's and the image's.
fn check_work_space(work: &WorkDir, content: u64) -> Result<(), BuildError> {
    let needed = ByteSize(content.saturating_mul(2).next_multiple_of(1 << 20));
    match store::free_space(work.path()).map(ByteSize) {
        Some(free) if free < needed => {
            let path = work.path().parent().unwrap_or(work.path()).to_owned();
            Err(BuildError::NoWorkSpace { path, free: ByteSize(free.0 >> 20 << 20), needed })
        }
        _ => Ok(()),
    }
}

/// Returns the kernel command line: the root partition, then what the template says.
fn command_line(spec: &ImageSpec, disk: Option<&Disk>, identity: &ImageIdentity) -> String {
    let own = spec.system.kernel.as_ref().and_then(|kernel| kernel.root.as_deref());
    let root = disk.and_then(|disk| fstab::root_argument(disk, identity, own)).unwrap_or_default();
    let own = spec.system.kernel.as_ref().map(|kernel| kernel.cmdline.as_str()).unwrap_or_default();
    format!("{root} {own}").trim().to_owned()
}

/// Reads the template's files; large ones go into the store, where the guest sees them.
fn local_files(spec: &ImageSpec, store: &Store) -> Result<(Vec<HostFile>, Vec<FileRecord>), BuildError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut files = Vec::new();
    let mut records = Vec::new();
    for file in &spec.system.files {
        let (bytes, local_mode) = match &file.source {
            FileSource::Text(text) => (text.clone().into_bytes(), 0o644),
            FileSource::Local(path) => {
                let failed = |source| BuildError::LocalFile { path: path.clone(), origin: file.origin.clone(), source };
                (fs::read(path).map_err(failed)?, fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777)
            }
        };
        let sha256 = Sha256Digest::of(&bytes);
        records.push(FileRecord { destination: file.destination.clone(), sha256 });
        let size = bytes.len() as u64;
        let content = if size <= INLINE_LIMIT {
            FileContent::Inline(bytes)
        } else {
            let place = store.put(Bucket::Files, &sha256, &bytes)?;
            let below = place.strip_prefix(store.root()).unwrap_or(&place).to_string_lossy().into_owned();
            FileContent::Store(oic_protocol::StoreBlob { name: file.destination.clone(), path: below, size })
        };
        files.push(HostFile { file: file.clone(), content, local_mode });
    }
    records.sort();
    Ok((files, records))
}

/// Reads the template's scripts, and records them beside its files.
fn local_scripts(spec: &ImageSpec, records: &mut Vec<FileRecord>) -> Result<Vec<(usize, Vec<u8>)>, BuildError> {
    let mut scripts = Vec::new();
    for (index, command) in spec.system.commands.iter().enumerate() {
        let Some(path) = &command.script else { continue };
        let failed = |source| BuildError::LocalFile { path: path.clone(), origin: command.origin.clone(), source };
        let bytes = fs::read(path).map_err(failed)?;
        records.push(FileRecord { destination: format!("configurations[{index}].script"), sha256: Sha256Digest::of(&bytes) });
        scripts.push((index, bytes));
    }
    Ok(scripts)
}

/// Reads the files that are written onto the disk as they are, and records them beside the others.
fn raw_binaries(disk: Option<&Disk>, records: &mut Vec<FileRecord>) -> Result<Vec<RawFile>, BuildError> {
    let mut files = Vec::new();
    for binary in disk.map_or(&[][..], |disk| &disk.raw_binaries) {
        let failed = |source| BuildError::LocalFile { path: binary.local.clone(), origin: binary.origin.clone(), source };
        let size = fs::metadata(&binary.local).map_err(failed)?.len();
        if size > MAX_RAW_BINARY {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let bytes = fs::read(&binary.local).map_err(failed)?;
        records.push(FileRecord { destination: format!("disk at {}", binary.offset.0), sha256: Sha256Digest::of(&bytes) });
        files.push(RawFile { name: binary.local.display().to_string(), offset: binary.offset.0, bytes });
    }
    Ok(files)
}

/// Returns what the session runs on.
fn guest<'a>(
    spec: &ImageSpec,
    toolchain: &Toolchain,
    (root_disk, tools_disk): (&'a Path, Option<&'a Path>),
    host: &'a Host<'_>,
    work: &WorkDir,
) -> Result<Guest<'a>, BuildError> {
    let own = std::env::current_exe().map_err(BuildError::OwnProgram)?;
    Ok(Guest {
        arch: crate::toolchain::guest_arch(spec.target.arch),
        accelerator: toolchain.accelerator,
        qemu: toolchain.qemu.clone(),
        kernel: toolchain.vm.kernel.clone(),
        initramfs: toolchain.vm.initramfs.clone(),
        disk: root_disk,
        tools_disk,
        store: host.store.root(),
        share_server: vec![own.into(), "__virtiofsd".into()],
        memory: spec.builder.memory,
        cpus: spec.builder.cpus,
        runtime_base: &host.options.temp_dir,
        console: work.file("console.log"),
    })
}
