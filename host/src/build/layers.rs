//! The layers of an image's root filesystem, each kept in the store by what it is made of.
//!
//! ```text
//! base layer      essential and required packages, the distribution's default ones, kernel, bootloader, and what these need
//!   └ package layer   the template's own packages; there is none when it has none
//!       └ image layer     files, users, services, commands, initramfs
//! ```
//!
//! Where one ends and the next begins is a function of the lock and the template alone. Each layer is made in a session of its
//! own on a disk that is made from the tree below, also when nothing is in the store: what is reused is therefore what would be
//! made. Between two layers a tree is cleaned as an image is, so that nothing of a session's past reaches the next one.
//!
//! A layer is a [stored tree](crate::rootfs::stored), which takes little more room than what the packages do not have. One that
//! cannot be written is only not kept; one that turns out to be damaged is made anew.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

use oic_config::{spec::ImageSpec, units::ByteSize};
use oic_protocol::{ComposePlan, Step};
use serde_json::json;

use super::{
    BuildError, BuildOptions, FinishError, RootError, agents,
    fingerprint::Inputs,
    guest, image,
    initramfs_trace::Trace,
    plain_modules::{self, PlainModules},
    prepare::{Host, Toolchain},
    progress::{Event, Level, Observer, Stage, stage},
    resolve::StoredPackages,
    root::{self, OpenPackages, Opened},
    rpm_layer::RpmLayer,
    session::{self, VmNeeds},
    stop_if_cancelled,
    workdir::WorkDir,
};
use crate::{
    boot, causes, compose,
    digest::Sha256Digest,
    heap,
    lock::LockedPackage,
    rootfs::{InodeId, PackageInput, RootTree, dpkg, stored},
    store::{Bucket, Slot},
};

/// The programs that make initramfs images.
const GENERATORS: [&str; 3] = ["/usr/sbin/mkinitramfs", "/usr/bin/dracut", "/usr/sbin/dracut"];
/// How many traces of an initramfs are kept for the same generator.
const TRACES: usize = 8;
/// How many changed inputs are told.
const TOLD: usize = 6;

/// What layers are made with.
pub(super) struct Layers<'a> {
    pub(super) host: &'a Host<'a>,
    pub(super) spec: &'a ImageSpec,
    pub(super) options: &'a BuildOptions,
    pub(super) observer: &'a dyn Observer,
    pub(super) toolchain: &'a Toolchain,
    pub(super) work: &'a WorkDir,
    /// The inputs of the whole image.
    pub(super) inputs: &'a Inputs,
    /// The packages of the image.
    pub(super) packages: &'a OpenPackages,
    /// What installs them, where that is a program of the distribution.
    pub(super) installer: Option<&'a StoredPackages>,
    /// `SOURCE_DATE_EPOCH`.
    pub(super) epoch: u64,
}

/// The packages of an image, divided.
struct Division {
    base: Vec<PackageInput>,
    base_locked: Vec<(LockedPackage, PathBuf)>,
    /// The time in the session that makes the base layer.
    base_epoch: u64,
    own: Vec<PackageInput>,
    /// The time in the session that makes the package layer.
    own_epoch: u64,
    base_inputs: Inputs,
    /// None when there are no own packages.
    own_inputs: Option<Inputs>,
}

impl Division {
    /// Returns what all packages are a function of.
    fn top(&self) -> &Inputs {
        self.own_inputs.as_ref().unwrap_or(&self.base_inputs)
    }
}

/// What is below the image layer.
enum Below<'a> {
    Deb(&'a [PackageInput], Division),
    Rpm(RpmLayer),
}

impl Below<'_> {
    fn key(&self) -> Sha256Digest {
        match self {
            Self::Deb(_, division) => division.top().key(),
            Self::Rpm(layer) => layer.inputs.key(),
        }
    }
}

impl Layers<'_> {
    /// Returns the finished root filesystem. `plan` is what is done on top of the packages; `check` is shown all packages
    /// before anything runs.
    ///
    /// # Errors
    /// Fails when packages do not fit together, `check` does, or the guest fails.
    pub(super) fn root(&self, plan: ComposePlan, check: impl Fn(&RootTree) -> Result<(), BuildError>) -> Result<RootTree, BuildError> {
        let below = match &self.packages.opened {
            Opened::Deb(debs) => Below::Deb(debs, self.divide(debs)?),
            Opened::Rpm(rpms) => Below::Rpm(self.rpm_layer(rpms)?),
        };
        let mut inputs = Inputs::default();
        inputs.add("packages", &json!(below.key()));
        inputs.add("what is done on top of the packages", &json!(plan_digest(&plan)));
        inputs.add("oic", &json!(self.inputs.part("oic")));
        let make = || {
            let tree = match &below {
                Below::Deb(debs, division) => self.packages(debs, division, &check)?,
                Below::Rpm(layer) => self.rpm_packages(layer, &check)?,
            };
            let made = self.finish(&tree, plan)?;
            Ok((tree, made))
        };
        if let Some(reason) = Inputs::unknown(self.spec) {
            self.tell("image layer", false, reason);
            return make().map(|(_, made)| made);
        }
        self.obtain("image layer", &inputs, "the same packages, files, users, services and commands", make)
    }

    /// Divides the packages into those of the base layer and the others.
    fn divide(&self, inputs: &[PackageInput]) -> Result<Division, BuildError> {
        let default = self.default_packages();
        let closure = dpkg::closure(inputs, |name| default.contains(name)).map_err(RootError::from)?;
        let (mut base, mut base_locked, mut own) = (Vec::new(), Vec::new(), Vec::new());
        let mut base_inputs = Inputs::default();
        for name in ["oic", "tools"] {
            base_inputs.add(name, &json!(self.inputs.part(name)));
        }
        base_inputs.add("architecture", &json!(self.spec.target.arch));
        let mut own_inputs = base_inputs.clone();
        for (index, (input, (package, path))) in inputs.iter().zip(&self.packages.locked).enumerate() {
            if closure.contains(&index) {
                base.push(input.clone());
                base_locked.push((package.clone(), path.clone()));
                base_inputs.add(&format!("package {} of {}", package.name, package.arch), &json!(package.sha256));
            } else {
                own.push(input.clone());
                own_inputs.add(&format!("own package {} of {}", package.name, package.arch), &json!(package.sha256));
            }
        }
        let base_epoch = self.layer_epoch(&base);
        let own_epoch = base_epoch.max(self.layer_epoch(&own));
        base_inputs.add("time", &json!(base_epoch));
        own_inputs.add("time", &json!(own_epoch));
        own_inputs.add("base layer", &json!(base_inputs.key()));
        let own_inputs = (!own.is_empty()).then_some(own_inputs);
        Ok(Division { base, base_locked, base_epoch, own, own_epoch, base_inputs, own_inputs })
    }

    /// Returns the time of the newest file in packages, at most that of the build. The date of a repository changes every day, and
    /// layers need not.
    fn layer_epoch(&self, packages: &[PackageInput]) -> u64 {
        let times = packages.iter().flat_map(|package| &package.deb.entries).map(|entry| entry.metadata.mtime);
        times.max().map_or(0, |time| u64::try_from(time).unwrap_or(0)).min(self.epoch)
    }

    /// Returns the names of the packages that do not come from the template's own list.
    fn default_packages(&self) -> BTreeSet<&str> {
        let system = &self.spec.system;
        let from_default = system.packages.iter().filter(|package| package.origin.starts_with(DEFAULTS)).map(|package| &package.name);
        let kernels = system.kernel.iter().flat_map(|kernel| &kernel.packages);
        let provider = system.bootloader.map(|bootloader| bootloader.provider);
        let bootloaders =
            self.spec.provider.bootloader_packages.iter().filter(|(of, _)| Some(*of) == provider).flat_map(|(_, names)| names);
        from_default.chain(kernels).chain(bootloaders).map(String::as_str).collect()
    }

    /// Returns the root filesystem with all packages configured.
    fn packages(
        &self,
        debs: &[PackageInput],
        division: &Division,
        check: &impl Fn(&RootTree) -> Result<(), BuildError>,
    ) -> Result<RootTree, BuildError> {
        let top = division.top().key();
        let is_there = self.host.store.entry(Bucket::Layers, &top).is_some();
        if !is_there {
            // Packages that do not fit together, and disks that are too small, show before anything runs.
            check(&root::merge_all(debs, self.spec.target.arch, self.epoch)?)?;
        }
        let tree = match &division.own_inputs {
            None => self.base(division)?,
            Some(inputs) => self.obtain("package layer", inputs, "the same base and the same own packages", || {
                let base = self.base(division)?;
                let merged = dpkg::merge_onto(base, division.own.clone(), epoch_time(division.own_epoch)).map_err(RootError::from)?;
                self.install(merged, self.disk_size(&self.packages.locked), division.own_epoch)
            })?,
        };
        if is_there {
            check(&tree)?;
        }
        Ok(tree)
    }

    /// Returns the base layer.
    fn base(&self, division: &Division) -> Result<RootTree, BuildError> {
        self.obtain("base layer", &division.base_inputs, "the same packages", || {
            let arch = self.spec.target.arch.deb_name();
            let merged = dpkg::merge(division.base.clone(), arch, epoch_time(division.base_epoch)).map_err(RootError::from)?;
            self.install(merged, self.disk_size(&division.base_locked), division.base_epoch)
        })
    }

    /// Has the guest configure unpacked packages. Returns the tree before and after.
    fn install(&self, merged: dpkg::MergedRoot, size: ByteSize, epoch: u64) -> Result<(RootTree, RootTree), BuildError> {
        let (tree, install) = merged.into_install();
        let made = self.session(&tree, (size, None), compose::lower_install(install, epoch))?;
        Ok((tree, made))
    }

    pub(super) fn disk_size(&self, packages: &[(LockedPackage, PathBuf)]) -> ByteSize {
        root::disk_size(packages, self.spec.builder.disk)
    }

    /// Runs a plan on a disk that is made from a tree, beside a disk with tools, and returns what has become of it.
    pub(super) fn session(&self, tree: &RootTree, disks: (ByteSize, Option<&Path>), plan: ComposePlan) -> Result<RootTree, BuildError> {
        let epoch = plan.source_date_epoch;
        let (disk, modules) = self.compose_on(tree, disks, plan)?;
        let (made, _) = image::settle(&disk, &modules, epoch)?;
        // What the tree refers to stays as long as it is open.
        let _ = fs::remove_file(&disk);
        Ok(made)
    }

    /// Runs a plan on a disk that is made from a tree, and returns the disk, and what the modules on it stand for. The builder VM boots
    /// while the disk is made.
    fn compose_on(
        &self,
        tree: &RootTree,
        (size, tools): (ByteSize, Option<&Path>),
        plan: ComposePlan,
    ) -> Result<(PathBuf, PlainModules), BuildError> {
        let disk = self.work.file("root.img");
        root::reserve_disk(&disk, size)?;
        let guest = guest(self.spec, self.toolchain, (&disk, tools), self.host, self.work)?;
        heap::trim();
        let started = session::start(&guest, VmNeeds::from(&plan))?;
        self.options.host.scratch.add(started.private_folder());
        let modules = stage(self.observer, Stage::Root, || {
            let mut shown = tree.clone();
            let modules = if plain_modules::serve(tree, &plan) {
                PlainModules::put_into(&mut shown, &self.work.file("modules")).map_err(FinishError::from)?
            } else {
                PlainModules::default()
            };
            root::make_disk(&self.toolchain.disk.ext4, &shown, &disk, size, plan.source_date_epoch)?;
            Ok::<_, BuildError>((modules, false))
        })?;
        stop_if_cancelled(self.options)?;
        heap::trim();
        session::compose(&guest, started, plan, self.observer, &self.options.host.cancel)?;
        stop_if_cancelled(self.options)?;
        Ok((disk, modules))
    }

    /// Runs a plan on a disk as it is.
    fn compose_again(&self, disk: &Path, plan: ComposePlan) -> Result<(), BuildError> {
        let guest = guest(self.spec, self.toolchain, (disk, None), self.host, self.work)?;
        heap::trim();
        let started = session::start(&guest, VmNeeds::from(&plan))?;
        self.options.host.scratch.add(started.private_folder());
        session::compose(&guest, started, plan, self.observer, &self.options.host.cancel)?;
        stop_if_cancelled(self.options)
    }

    /// Does what comes on top of the packages. The initramfs is made last; where one is known that the result of everything else
    /// gives, the guest does without.
    fn finish(&self, tree: &RootTree, mut plan: ComposePlan) -> Result<RootTree, BuildError> {
        let mut known = self.traces(&plan);
        let at = plan.steps.iter().position(|step| matches!(step, Step::Initramfs(_)));
        let mut objection = Some("none is known for these packages".to_owned());
        // What the packages have brought stays: there is no need to wait for the rest.
        known.retain(|trace| match trace.objection_to_more(tree) {
            Some(reason) => {
                objection = Some(reason);
                false
            }
            None => true,
        });
        let later = at.filter(|_| !known.is_empty()).map(|at| plan.steps.remove(at));
        let traced = plan.clone();
        let (disk, modules) = self.compose_on(tree, (self.disk_size(&self.packages.locked), None), plan)?;
        let (mut made, mut read) = image::settle(&disk, &modules, self.epoch)?;
        if let Some(step) = later {
            for trace in &known {
                objection = trace.objection(&made).map_err(FinishError::from)?;
                if objection.is_none() {
                    self.tell("initramfs", true, "nothing that it was made of has changed");
                    trace.apply(&mut made, epoch_time(self.epoch)).map_err(FinishError::from)?;
                    return self.compressed(made, &modules, &disk);
                }
            }
            let steps = [step].into_iter().chain(traced.steps.last().cloned()).collect();
            self.compose_again(&disk, ComposePlan { steps, store_tag: None, ..traced })?;
            (made, read) = image::settle(&disk, &modules, self.epoch)?;
        }
        let made = self.compressed(made, &modules, &disk)?;
        if at.is_some() {
            self.tell("initramfs", false, &objection.unwrap_or_default());
            self.keep_trace(&made, &read);
        }
        Ok(made)
    }

    /// Compresses the initramfs images and lets go of the disk.
    fn compressed(&self, mut root: RootTree, modules: &PlainModules, disk: &Path) -> Result<RootTree, BuildError> {
        if self.spec.system.kernel.is_some() {
            image::compress_initramfs(&mut root, modules, &agents::agent(self.spec.target.arch.name())?, self.epoch)?;
        }
        let _ = fs::remove_file(disk);
        Ok(root)
    }

    /// Returns the traces of images that were made for these packages by this generator, the latest first. With a list of extra
    /// modules the generator's step changes more than the images; commands that run after it may look at the images.
    fn traces(&self, plan: &ComposePlan) -> Vec<Trace> {
        let simple = |step: &Step| matches!(step, Step::Initramfs(plan) if plan.modules.is_empty());
        let Some(at) = plan.steps.iter().position(simple).filter(|_| !plan.network) else { return Vec::new() };
        if plan.steps[at..].iter().any(|step| matches!(step, Step::Hook(_))) {
            return Vec::new();
        }
        let list = self.trace_list();
        let load = |key: &Sha256Digest| {
            let bytes = fs::read(self.host.store.entry(Bucket::Layers, key)?).ok()?;
            let (digest, body) = bytes.split_at_checked(32)?;
            let whole = Sha256Digest::of(body).as_bytes() == digest;
            postcard::from_bytes::<Trace>(body).ok().filter(|trace| whole && !trace.is_empty())
        };
        list.iter().filter_map(load).collect()
    }

    /// Returns the keys of the known traces.
    fn trace_list(&self) -> Vec<Sha256Digest> {
        let bytes = self.host.store.record(&self.trace_record());
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Traces are looked for by what makes images beside the tree: this program, its tools, the machine, the time.
    fn trace_record(&self) -> String {
        let arch = self.spec.target.arch;
        format!("initramfs {} {} {arch} {}", json!(self.inputs.part("oic")), json!(self.inputs.part("tools")), self.epoch)
    }

    /// Keeps what the generator looked at and made, for later builds. What cannot be kept is only made again.
    fn keep_trace(&self, tree: &RootTree, read: &HashSet<InodeId>) {
        let kernels = boot::kernels(tree);
        let own = kernels.iter().map(|kernel| format!("/var/lib/initramfs-tools/{}", kernel.release));
        // A guest that has not noted accesses says nothing: its generator would seem to have read nothing at all.
        if !GENERATORS.iter().any(|program| tree.resolve(program).is_some_and(|id| read.contains(&id))) {
            return;
        }
        let made: Vec<String> = kernels.iter().filter_map(|kernel| kernel.initramfs.clone()).chain(own).collect();
        let store = &self.host.store;
        let kept = Trace::take(tree, read, &made).map_err(|error| error.to_string()).and_then(|trace| {
            let body = postcard::to_stdvec(&trace).map_err(|error| error.to_string())?;
            let digest = Sha256Digest::of(&body);
            let bytes = [&digest.as_bytes()[..], &body].concat();
            store.put(Bucket::Layers, &digest, &bytes).map_err(|error| error.to_string())?;
            let mut list = self.trace_list();
            list.retain(|known| *known != digest);
            list.insert(0, digest);
            list.truncate(TRACES);
            store.set_record(&self.trace_record(), json!(list).to_string().as_bytes()).map_err(|error| error.to_string())
        });
        if let Err(reason) = kept {
            tracing::debug!(reason, "an initramfs is not kept for later builds");
        }
    }

    /// Returns a layer from the store, or makes and keeps it. `make` returns the tree that the layer was made of, too.
    pub(super) fn obtain(
        &self,
        subject: &str,
        inputs: &Inputs,
        same: &str,
        make: impl FnOnce() -> Result<(RootTree, RootTree), BuildError>,
    ) -> Result<RootTree, BuildError> {
        let store = &self.host.store;
        let key = inputs.key();
        let pending = loop {
            match store.begin(Bucket::Layers, &key)? {
                Slot::Vacant(pending) => break pending,
                Slot::Present(path) => match stored::load(&path, &self.packages.stored) {
                    Ok(tree) => {
                        self.tell(subject, true, same);
                        self.remember(subject, inputs);
                        return Ok(tree);
                    }
                    Err(error) => {
                        tracing::debug!(path = %path.display(), %error, "a layer is of no use");
                        store.discard_folder(Bucket::Layers, &key)?;
                    }
                },
            }
        };
        self.tell(subject, false, &self.reason(subject, inputs));
        let (origin, made) = make()?;
        let kept = stored::save(pending.path(), &made, &origin, &self.packages.stored).map_err(|error| causes::in_one_line(&error));
        let kept = kept.and_then(|()| pending.commit().map_err(|error| causes::in_one_line(&error)));
        // From here on it must not matter whether it was made now or long ago.
        let kept = kept.and_then(|path| stored::load(&path, &self.packages.stored).map_err(|error| causes::in_one_line(&error)));
        match kept {
            Ok(tree) => {
                self.remember(subject, inputs);
                Ok(tree)
            }
            Err(reason) => {
                let text = format!("the {subject} cannot be kept for later builds: {reason}");
                self.observer.event(&Event::Message { level: Level::Warning, text: &text });
                Ok(made)
            }
        }
    }

    fn tell(&self, subject: &str, reused: bool, reason: &str) {
        self.observer.event(&Event::Decision { subject, reused, reason });
    }

    /// Words why a layer must be made, by what it was made of the last time.
    fn reason(&self, subject: &str, inputs: &Inputs) -> String {
        let bytes = self.host.store.record(&self.record(subject));
        let Some(earlier) = bytes.and_then(|bytes| serde_json::from_slice::<Inputs>(&bytes).ok()) else {
            return "no earlier build for this folder has made it".to_owned();
        };
        let changed = inputs.changed_since(&earlier);
        match changed.len() {
            0 => "it is not in the cache any more".to_owned(),
            count if count > TOLD => format!("changed: {} and {} more", changed[..TOLD].join(", "), count - TOLD),
            _ => format!("changed: {}", changed.join(", ")),
        }
    }

    fn remember(&self, subject: &str, inputs: &Inputs) {
        // Only explanations are made of it.
        drop(self.host.store.set_record(&self.record(subject), &serde_json::to_vec(inputs).unwrap_or_default()));
    }

    fn record(&self, subject: &str) -> String {
        format!("{subject} for {}", self.options.output_dir.display())
    }
}

/// How the origin of what the distribution's data asks for begins.
const DEFAULTS: &str = "builtin:";

pub(super) fn epoch_time(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

/// Returns the digest of everything that the guest is told.
fn plan_digest(plan: &ComposePlan) -> Option<Sha256Digest> {
    postcard::to_stdvec(plan).ok().map(|bytes| Sha256Digest::of(&bytes))
}
