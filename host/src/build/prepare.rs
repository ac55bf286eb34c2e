//! Everything that a build needs of the network and the store: the lock, the packages, the tools.

use std::{collections::BTreeMap, path::Path, time::Duration};

use oic_builder_vm::{Accelerator, Firmware, KvmVerdict, Qemu};
use oic_config::spec::{Arch, BootType, ImageSpec, Repository};

use super::{
    BuildError, HostOptions, LockUse, agents,
    progress::{Event, Level, Observer, Stage, stage},
    resolve::{self, Resolved, StoredPackages},
};
use crate::{
    clock,
    disk::{DiskTools, Ext4Tools},
    exec::Program,
    fetch::{self, Fetcher},
    heap,
    lock::{self, LockedImage, LockedTools, PackageLock},
    repository::{Access, mirror::MirrorTable},
    store::{Guard, Shared, Store},
    toolchain::{Emulator, ToolSet, Tools, VmImage, host_emulator, kvm_verdict},
};

/// How often a build asks whether the lock file is free.
const TURN_INTERVAL: Duration = Duration::from_millis(50);

/// The store, the network and who is told.
pub(super) struct Host<'a> {
    pub(super) store: Store,
    _in_use: Shared,
    pub(super) options: &'a HostOptions,
    /// The architecture that tools run on.
    arch: Arch,
    fetcher: Fetcher,
    mirrors: MirrorTable,
    observer: &'a dyn Observer,
}

/// The sections of the lock that a build uses.
pub(super) struct Locked {
    pub(super) image: LockedImage,
    pub(super) tools: Vec<(ToolSet, Arch, LockedTools)>,
    /// What installs the packages, where that is a program of the distribution.
    pub(super) installer: Option<LockedTools>,
}

/// The packages of a build, in the store.
pub(super) struct Fetched {
    pub(super) image: StoredPackages,
    /// As [`Locked::tools`].
    pub(super) tools: Vec<StoredPackages>,
    /// As [`Locked::installer`].
    pub(super) installer: Option<StoredPackages>,
}

impl Locked {
    /// Returns the tools that may decide what outputs hold, in the order of [`DECIDING`]. The emulator only runs the guest.
    pub(super) fn deciding_tools(&self) -> Vec<&LockedTools> {
        let find = |wanted: ToolSet| self.tools.iter().find(|(set, _, _)| *set == wanted).map(|(_, _, tools)| tools);
        DECIDING.into_iter().filter_map(find).chain(&self.installer).collect()
    }
}

/// The tool sets that may decide what outputs hold: the filesystem makers, and the kernel that package scripts run on.
const DECIDING: [ToolSet; 2] = [ToolSet::Disk, ToolSet::Kernel];

/// Returns the sections of the lock that decide what outputs hold, if it has all of them and they fit.
///
/// # Errors
/// Fails when the lock cannot be read.
pub(super) fn locked_already(
    spec: &ImageSpec,
    without: &[String],
    lock_path: &Path,
) -> Result<Option<(LockedImage, Vec<LockedTools>)>, BuildError> {
    let Some(lock) = lock::load(lock_path)? else { return Ok(None) };
    let Some(image) = resolve::locked_image(spec, without, &lock) else { return Ok(None) };
    let target = spec.target.arch;
    let find = |set: ToolSet| {
        let arch = if set == ToolSet::Kernel { target } else { Arch::host() };
        let tools = resolve::locked_tools(&set.name(), arch, set.packages(arch), without, &lock)?;
        Ok(tools.map(|mut tools| {
            tools.packages.retain(|package| set.wants(&package.name));
            tools
        }))
    };
    let tools = DECIDING.into_iter().map(find).collect::<Result<Option<Vec<_>>, BuildError>>()?;
    let (Some(mut tools), Some(installer)) = (tools, resolve::locked_installer(spec, without, &lock)) else { return Ok(None) };
    tools.extend(installer);
    Ok(Some((image.clone(), tools)))
}

/// Tools, ready to run.
pub(super) struct Toolchain {
    pub(super) disk: DiskTools,
    pub(super) mkimage: Program,
    pub(super) qemu: Qemu,
    pub(super) accelerator: Accelerator,
    pub(super) vm: VmImage,
}

impl<'a> Host<'a> {
    /// Opens the store and the network.
    pub(super) fn open(options: &'a HostOptions, observer: &'a dyn Observer) -> Result<Self, BuildError> {
        let store = Store::open(&options.cache_dir)?;
        let in_use = store.share()?;
        store.sweep();
        let workers = options.workers.get();
        let cancel = Some(options.cancel.clone());
        let fetcher = Fetcher::new(fetch::Settings { workers, offline: options.offline, cancel, ..fetch::Settings::default() })?;
        let mirrors = MirrorTable::load(&options.mirrors, Path::new("/"));
        Ok(Self { store, _in_use: in_use, options, arch: Arch::host(), fetcher, mirrors, observer })
    }

    fn access(&self, stage: Stage) -> Access<'_> {
        Access {
            store: &self.store,
            fetcher: &self.fetcher,
            mirrors: &self.mirrors,
            stage,
            observer: self.observer,
            now: clock::unix_now(),
            allow_expired: false,
            without: &self.options.without_repositories,
        }
    }

    /// Resolves the image and the tools, from the lock where it fits, and writes the lock when it changed. Returns whether the
    /// file is another one than before, too. Builds that share a lock file come one after the other here: each adds its sections
    /// to those that the one before has written.
    pub(super) fn lock(&self, spec: &ImageSpec, lock_path: &Path, lock_use: LockUse) -> Result<(Locked, bool), BuildError> {
        stage(self.observer, Stage::Resolve, || {
            let _turn = self.turn(lock_path)?;
            let mut lock = lock::load(lock_path)?.unwrap_or_default();
            let access = self.access(Stage::Resolve);
            resolve::check_without(&access, spec, &[self.arch, spec.target.arch])?;
            let image = resolve::resolve(&access, spec, lock_use, Some(&lock))?;
            let mut from_lock = image.is_from_lock;
            self.tell_changes(&image);
            let mut tools = Vec::new();
            for (set, arch) in tool_sets(self.arch, spec.target.arch, host_emulator(spec.target.arch).is_some()) {
                let mut resolved = resolve::resolve_tools(&access, &set.name(), arch, set.packages(arch), lock_use, Some(&lock))?;
                resolved.section.packages.retain(|package| set.wants(&package.name));
                from_lock &= resolved.is_from_lock;
                tools.push((set, arch, resolved.section));
            }
            let installer = resolve::resolve_installer(&access, spec, lock_use, Some(&lock))?;
            from_lock &= installer.as_ref().is_none_or(|resolved| resolved.is_from_lock);
            let locked = Locked { image: image.section, tools, installer: installer.map(|resolved| resolved.section) };
            let changed = if from_lock { false } else { self.save(&mut lock, &locked, lock_path)? };
            Ok(((locked, changed), from_lock))
        })
    }

    /// Waits until no other build uses the lock file.
    fn turn(&self, lock_path: &Path) -> Result<Guard, BuildError> {
        let path = std::path::absolute(lock_path).unwrap_or_else(|_| lock_path.to_owned());
        let name = format!("lock file {}", path.display());
        loop {
            if let Some(guard) = self.store.try_guard(&name)? {
                return Ok(guard);
            }
            if self.options.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            std::thread::sleep(TURN_INTERVAL);
        }
    }

    /// Says what a lock that is made anew changes.
    fn tell_changes(&self, resolved: &Resolved<LockedImage>) {
        if let Some(diff) = &resolved.diff {
            let text = diff.to_string();
            for line in text.lines() {
                self.observer.event(&Event::Message { level: Level::Note, text: line });
            }
        }
    }

    fn save(&self, lock: &mut PackageLock, locked: &Locked, path: &Path) -> Result<bool, BuildError> {
        lock.set_image(locked.image.clone());
        for tools in locked.tools.iter().map(|(_, _, tools)| tools).chain(&locked.installer) {
            lock.set_tools(tools.clone());
        }
        Ok(lock::save(path, lock)?)
    }

    /// Brings the packages of the image and those of the tools into the store.
    pub(super) fn fetch(&self, spec: &ImageSpec, locked: &Locked) -> Result<Fetched, BuildError> {
        stage(self.observer, Stage::Fetch, || {
            let all = locked.tools.iter().map(|(_, _, tools)| tools).chain(&locked.installer).flat_map(|tools| &tools.packages);
            let all = all.chain(&locked.image.packages);
            let cached = all.into_iter().all(|package| self.store.package(&package.sha256).is_some());
            let access = self.access(Stage::Fetch);
            let image = resolve::fetch_image(&access, spec, &locked.image.repositories, &locked.image.packages)?;
            let of_image = |tools: &LockedTools| resolve::fetch_image(&access, spec, &tools.repositories, &tools.packages);
            let installer = locked.installer.as_ref().map(of_image).transpose()?;
            let tools = locked.tools.iter().map(|(_, arch, tools)| {
                let repositories: Vec<Repository> = resolve::tools_repositories(*arch)?;
                Ok(resolve::fetch_all(&access, &repositories, &tools.packages)?)
            });
            Ok((Fetched { image, tools: tools.collect::<Result<_, BuildError>>()?, installer }, cached))
        })
    }

    /// Returns the keys of the repositories that the image is to list, by their ids.
    pub(super) fn keys(&self, spec: &ImageSpec, locked: &Locked) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
        Ok(resolve::repository_keys(&self.access(Stage::Fetch), &spec.repositories, &locked.image.repositories)?)
    }

    /// Unpacks the tools and makes the builder VM.
    pub(super) fn tools(&self, spec: &ImageSpec, locked: &Locked, packages: &[StoredPackages]) -> Result<Toolchain, BuildError> {
        // Of what the indexes took.
        heap::trim();
        stage(self.observer, Stage::Tools, || {
            let target = spec.target.arch;
            let agent = agents::agent(target.name())?;
            let mut all_cached = true;
            let mut unpack = |wanted: ToolSet| {
                let found = locked.tools.iter().zip(packages).find(|((set, _, _), _)| *set == wanted);
                let Some(((set, arch, _), packages)) = found else { return Ok(None) };
                let (tools, cached) = Tools::unpack(&self.store, *set, *arch, packages)?;
                all_cached &= cached;
                Ok::<_, BuildError>(Some((tools, packages)))
            };
            let disk = unpack(ToolSet::Disk)?.ok_or(BuildError::Internal("the disk tools are not in the lock"))?.0;
            let (kernel, kernel_packages) = unpack(ToolSet::Kernel)?.ok_or(BuildError::Internal("the kernel is not in the lock"))?;
            let emulator = match unpack(ToolSet::Qemu(target))? {
                Some((tools, _)) => tools.emulator(target)?,
                None => host_emulator(target).ok_or(BuildError::Internal("the emulator is not in the lock"))?,
            };
            let (vm, vm_cached) = VmImage::make(&self.store, &kernel, kernel_packages, &agent)?;
            let accelerator = self.accelerator(target, &emulator);
            let ext4 = Ext4Tools { mke2fs: disk.program("usr/sbin/mke2fs")?, debugfs: disk.program("usr/sbin/debugfs")? };
            let disk_tools =
                DiskTools { ext4, mksquashfs: disk.program("usr/bin/mksquashfs")?, mkfs_erofs: disk.program("usr/bin/mkfs.erofs")? };
            let mkimage = disk.program("usr/bin/grub-mkimage")?;
            Ok((Toolchain { disk: disk_tools, mkimage, qemu: emulator.qemu, accelerator, vm }, all_cached && vm_cached))
        })
    }

    /// Probes what can run the guest, and says why it is not KVM.
    fn accelerator(&self, target: Arch, emulator: &Emulator) -> Accelerator {
        let verdict = kvm_verdict(&self.store, (self.arch, target), emulator, &self.options.temp_dir, &self.options.cancel);
        if let KvmVerdict::Unusable { reason, .. } = &verdict {
            self.observer.event(&Event::Message { level: Level::Note, text: &format!("emulating {target} without KVM: {reason}") });
        }
        verdict.accelerator()
    }
}

/// Returns the tool sets that building for `target` takes on a machine, each with the architecture that it runs on.
pub(super) fn tool_sets(host: Arch, target: Arch, has_emulator: bool) -> Vec<(ToolSet, Arch)> {
    let mut sets = vec![(ToolSet::Disk, host), (ToolSet::Kernel, target)];
    if !has_emulator {
        sets.push((ToolSet::Qemu(target), host));
    }
    sets
}

/// Makes ready what booting an image takes: an emulator and firmware, BIOS for [`BootType::Legacy`].
///
/// # Errors
/// Fails when they cannot be resolved, fetched or unpacked.
pub fn boot_tools(
    options: &HostOptions,
    (arch, boot_type): (Arch, BootType),
    observer: &dyn Observer,
) -> Result<(Emulator, Firmware, Accelerator), BuildError> {
    let host = Host::open(options, observer)?;
    let native = host.arch;
    let mut sets = if boot_type.has_efi() { vec![ToolSet::Firmware(arch)] } else { Vec::new() };
    let found = host_emulator(arch);
    if found.is_none() {
        sets.push(ToolSet::Qemu(arch));
    }
    stage(observer, Stage::Tools, || {
        let access = host.access(Stage::Tools);
        let record = host.store.record("boot-tools.lock").and_then(|bytes| String::from_utf8(bytes).ok());
        let mut lock = record.and_then(|text| lock::parse(Path::new("boot-tools.lock"), &text).ok()).unwrap_or_default();
        let mut unpacked = Vec::new();
        let mut all_cached = true;
        for set in sets {
            let resolved = resolve::resolve_tools(&access, &set.name(), native, set.packages(native), LockUse::Prefer, Some(&lock))?;
            let packages = resolve::fetch_all(&access, &resolve::tools_repositories(native)?, &resolved.section.packages)?;
            let (tools, cached) = Tools::unpack(&host.store, set, native, &packages)?;
            all_cached &= cached;
            lock.set_tools(resolved.section);
            unpacked.push((set, tools));
        }
        host.store.set_record("boot-tools.lock", lock::render(&lock).as_bytes())?;
        let find = |set: ToolSet| unpacked.iter().find(|(known, _)| *known == set).map(|(_, tools)| tools);
        let firmware = match find(ToolSet::Firmware(arch)) {
            Some(tools) => tools.firmware(arch)?,
            None => Firmware::Bios,
        };
        let emulator = match (found, find(ToolSet::Qemu(arch))) {
            (Some(emulator), _) => emulator,
            (None, Some(tools)) => tools.emulator(arch)?,
            (None, None) => return Err(BuildError::Internal("no emulator was unpacked")),
        };
        let accelerator = host.accelerator(arch, &emulator);
        Ok(((emulator, firmware, accelerator), all_cached))
    })
}
