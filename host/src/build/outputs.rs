//! The output folder: artifacts, reports and checksums, made in the work folder and put into place together.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use oic_config::spec::{Disk, FileSource, ImageSpec, RepositoryKey, RepositoryLocation};
use rayon::prelude::*;

use super::{
    BuildOptions,
    contents::Contents,
    prepare::Locked,
    resolve::Unverified,
    workdir::{WorkDir, WorkError, place},
};
use crate::{
    artifact::{self, ArtifactError, bare::BareRoot},
    digest::Sha256Digest,
    disk::layout::Layout,
    lock::{self, PackageLock},
    report::{
        checksums, dot, graph,
        manifest::{
            BuildManifest, BuilderRecord, FileRecord, ImageRecord, InputsRecord, MANIFEST_VERSION, OutputRecord, RepositoryRecord,
            ToolRecord,
        },
        packages,
        spdx::{self, ImageIdentity},
    },
};

/// The checksums, written last: a folder that has them is complete.
pub(super) const CHECKSUMS: &str = "SHA256SUMS";
const MANIFEST: &str = "manifest.json";
const GRAPH: &str = "deps.dot";
/// The drawn graph, there only when it is asked for.
pub(super) const DRAWING: &str = "deps.svg";

/// Why there are no outputs.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// An artifact cannot be made.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A file cannot be moved into place.
    #[error(transparent)]
    Place(#[from] WorkError),
    /// A file cannot be read or written.
    #[error("cannot {operation} `{}`", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Everything that reports are made of.
pub(super) struct Described<'a> {
    pub(super) spec: &'a ImageSpec,
    pub(super) locked: &'a Locked,
    pub(super) contents: &'a Contents,
    pub(super) files: Vec<FileRecord>,
    pub(super) epoch: u64,
}

/// Converts the raw disk, where there is one, and the root filesystem into the formats that the template asks for, in the work
/// folder, and returns their names.
pub(super) fn convert(
    spec: &ImageSpec,
    raw: Option<(&Path, &Disk, &Layout)>,
    work: &WorkDir,
    root: &BareRoot<'_>,
) -> Result<Vec<String>, OutputError> {
    let base = format!("{}-{}", spec.name, spec.version);
    let mut names = match raw {
        Some((raw, disk, layout)) => artifact::copy_partitions(raw, disk, layout, &spec.partition_artifacts, work.path(), &base)?,
        None => Vec::new(),
    };
    names.extend(artifact::emit_all(raw.map(|(raw, ..)| raw), Some(root), &spec.artifacts, work.path(), &base, root.epoch)?);
    Ok(names)
}

/// Writes the reports, hashes everything and puts it into the output folder.
pub(super) fn publish(
    described: &Described<'_>,
    artifacts: &[String],
    work: &WorkDir,
    options: &BuildOptions,
) -> Result<Vec<OutputRecord>, OutputError> {
    let contents = described.contents;
    let identity = ImageIdentity {
        name: described.spec.name.clone(),
        version: described.spec.version.clone(),
        arch: described.spec.target.arch.name().to_owned(),
        source_date_epoch: described.epoch,
        oic_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut reports = vec![
        ("packages.txt", packages::render(&contents.packages)),
        ("sbom.spdx.json", spdx::render(&identity, &contents.origin, &contents.packages, &contents.dependencies)),
    ];
    let dot = dot::render(&contents.packages, &contents.dependencies);
    match &options.dotfile {
        Some(path) => write(path, &dot)?,
        None => reports.push((GRAPH, dot)),
    }
    if options.graph {
        reports.push((DRAWING, graph::render(&contents.packages, &contents.dependencies)));
    }
    for (name, text) in &reports {
        write(&work.file(name), text)?;
    }
    let names: Vec<String> = artifacts.iter().cloned().chain(reports.iter().map(|(name, _)| (*name).to_owned())).collect();
    let mut outputs = names.par_iter().map(|name| record(&work.file(name), name)).collect::<Result<Vec<_>, _>>()?;
    outputs.sort();
    let manifest = manifest(described, outputs.clone()).render();
    write(&work.file(MANIFEST), &manifest)?;
    outputs.push(record(&work.file(MANIFEST), MANIFEST)?);
    outputs.sort();
    write(&work.file(CHECKSUMS), &checksums::render(&outputs))?;

    remove_previous(&options.output_dir);
    for output in &outputs {
        place(&work.file(&output.name), &options.output_dir.join(&output.name))?;
    }
    place(&work.file(CHECKSUMS), &options.output_dir.join(CHECKSUMS))?;
    Ok(outputs)
}

/// Removes the outputs of an earlier build, those that its checksums list, the checksums first.
fn remove_previous(folder: &Path) {
    let Ok(text) = fs::read_to_string(folder.join(CHECKSUMS)) else { return };
    // What cannot be removed is replaced or fails then.
    let _ = fs::remove_file(folder.join(CHECKSUMS));
    for name in text.lines().filter_map(|line| line.get(66..)).filter(|name| !name.contains('/')) {
        let _ = fs::remove_file(folder.join(name));
    }
}

fn write(path: &Path, text: &str) -> Result<(), OutputError> {
    fs::write(path, text).map_err(|source| OutputError::Io { operation: "write", path: path.to_owned(), source })
}

/// Returns what there is to say of an output.
fn record(path: &Path, name: &str) -> Result<OutputRecord, OutputError> {
    let failed = |source| OutputError::Io { operation: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let sha256 = Sha256Digest::of_file(&file).map_err(failed)?;
    let format = match name {
        "packages.txt" => "packages",
        "sbom.spdx.json" => "spdx",
        GRAPH => "dot",
        DRAWING => "svg",
        MANIFEST => "manifest",
        _ => artifact::format_in_name(name).unwrap_or("file"),
    };
    Ok(OutputRecord { name: name.to_owned(), format: format.to_owned(), size, sha256 })
}

fn manifest(described: &Described<'_>, outputs: Vec<OutputRecord>) -> BuildManifest {
    let (spec, image) = (described.spec, &described.locked.image);
    let lock = PackageLock { images: vec![image.clone()], ..PackageLock::default() };
    let tools = described.locked.tools.iter().flat_map(|(_, _, tools)| {
        // The emulator and the kernel that the guest runs on do not decide any byte, and other hosts use others.
        let decides = tools.name == "disk";
        tools.packages.iter().filter(move |_| decides).map(|package| ToolRecord {
            used_for: tools.name.clone(),
            name: package.name.clone(),
            version: package.version.clone(),
            arch: package.arch.clone(),
            sha256: package.sha256,
        })
    });
    BuildManifest {
        version: MANIFEST_VERSION,
        image: ImageRecord {
            name: spec.name.clone(),
            version: spec.version.clone(),
            os: spec.target.os.clone(),
            dist: spec.target.dist.clone(),
            arch: spec.target.arch.name().to_owned(),
            image_type: spec.target.image_type.name().to_owned(),
        },
        inputs: InputsRecord {
            spec: spec_digest(spec),
            lock: Sha256Digest::of(lock::render(&lock).as_bytes()),
            source_date_epoch: described.epoch,
            packages: image.packages.len(),
            repositories: image
                .repositories
                .iter()
                .map(|repository| RepositoryRecord {
                    url: repository.url.clone(),
                    suite: repository.suite.clone(),
                    metadata: repository.metadata,
                    unverified: spec
                        .repositories
                        .iter()
                        .find(|configured| configured.id == repository.id)
                        .and_then(Unverified::of)
                        .map(|what| what.name().to_owned()),
                })
                .collect(),
            files: described.files.clone(),
        },
        builder: BuilderRecord {
            oic: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: oic_protocol::PROTOCOL_VERSION.to_string(),
            tools: tools.collect(),
        },
        outputs,
    }
}

/// Returns the digest of a spec without what only says where things are on this host.
fn spec_digest(spec: &ImageSpec) -> Sha256Digest {
    let mut spec = spec.clone();
    spec.sources.clear();
    spec.system.packages.iter_mut().for_each(|package| package.origin.clear());
    for command in &mut spec.system.commands {
        command.origin.clear();
        command.script = command.script.take().and_then(|path| path.file_name().map(PathBuf::from));
    }
    for file in &mut spec.system.files {
        file.origin.clear();
        if let FileSource::Local(path) = &mut file.source {
            *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        }
    }
    for binary in spec.disk.iter_mut().flat_map(|disk| &mut disk.raw_binaries) {
        binary.origin.clear();
        binary.local = binary.local.file_name().map(PathBuf::from).unwrap_or_default();
    }
    for repository in &mut spec.repositories {
        repository.origin.clear();
        if let RepositoryLocation::Path(path) = &mut repository.location {
            *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        }
        for key in &mut repository.keys {
            if let RepositoryKey::File(path) = key {
                *path = path.file_name().map(PathBuf::from).unwrap_or_default();
            }
        }
    }
    Sha256Digest::of(serde_json::to_string(&spec).unwrap_or_default().as_bytes())
}
