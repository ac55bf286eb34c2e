//! What builds have put into output folders, so that a build of the same inputs into the same folder has nothing to do.
//!
//! The store keeps one record for each output folder: the [`Inputs`] and, for each file, its size, digest and [`Stamp`]. A file
//! with the stamp that it was published with is the published one. A file with another stamp is read: copied or moved back, it
//! is as good. Finished artifacts themselves are not kept a second time in the store: they are the largest thing that a build
//! makes, and making them again from the last layer takes seconds and no virtual machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    BuildOptions,
    fingerprint::{Inputs, Stamp, digest_of},
    outputs::CHECKSUMS,
};
use crate::{
    report::manifest::OutputRecord,
    store::{Store, StoreError},
};

/// The version of the record.
const VERSION: u32 = 1;

/// What was published into a folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    inputs: Inputs,
    outputs: Vec<(OutputRecord, Stamp)>,
    /// `SHA256SUMS`, which lists the others.
    checksums: Stamp,
    /// The dependency graph, where it is not in the folder.
    dotfile: Option<(PathBuf, Stamp)>,
}

/// What there is to do for an output folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: it has these files.
    UpToDate(Vec<OutputRecord>),
    /// The outputs must be made, for this reason.
    Due(String),
}

/// Compares an output folder with what `inputs` would give.
pub(super) fn standing(store: &Store, options: &BuildOptions, inputs: &Inputs) -> Standing {
    let due = |reason: &str| Standing::Due(reason.to_owned());
    let bytes = store.record(&name(&options.output_dir));
    let record = bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()).filter(|record| record.version == VERSION);
    let Some(mut record) = record else { return due("this folder has no outputs of an earlier build") };
    let changed = inputs.changed_since(&record.inputs);
    if !changed.is_empty() {
        return Standing::Due(format!("changed: {}", changed.join(", ")));
    }
    if record.dotfile.as_ref().map(|(path, _)| path) != options.dotfile.as_ref() {
        return due("the dependency graph is to be in another place");
    }
    let folder = &options.output_dir;
    let mut renewed = false;
    for (output, stamp) in &mut record.outputs {
        let path = folder.join(&output.name);
        let Some(now) = stamp_of(&path) else { return Standing::Due(format!("`{}` is missing", output.name)) };
        if now == *stamp {
            continue;
        }
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) != output.size || digest_of(&path).ok() != Some(output.sha256) {
            return Standing::Due(format!("`{}` is not as it was made", output.name));
        }
        (*stamp, renewed) = (now, true);
    }
    if stamp_of(&folder.join(CHECKSUMS)) != Some(record.checksums) {
        return Standing::Due(format!("`{CHECKSUMS}` is not as it was made"));
    }
    if record.dotfile.as_ref().is_some_and(|(path, stamp)| stamp_of(path) != Some(*stamp)) {
        return due("the dependency graph is not as it was made");
    }
    if renewed {
        // Only saves the next build from reading the files again.
        drop(save(store, folder, &record));
    }
    Standing::UpToDate(record.outputs.into_iter().map(|(output, _)| output).collect())
}

/// Notes what was published.
///
/// # Errors
/// Fails when the store cannot be written.
pub(super) fn note(store: &Store, options: &BuildOptions, inputs: Inputs, outputs: &[OutputRecord]) -> Result<(), StoreError> {
    let folder = &options.output_dir;
    let stamped = outputs.iter().map(|output| Some((output.clone(), stamp_of(&folder.join(&output.name))?)));
    let dotfile = options.dotfile.as_ref().map(|path| Some((path.clone(), stamp_of(path)?)));
    // A file that is gone again already: somebody else is at work here, and the next build finds no record.
    let (Some(outputs), Some(checksums), None | Some(Some(_))) = (stamped.collect(), stamp_of(&folder.join(CHECKSUMS)), &dotfile) else {
        return Ok(());
    };
    save(store, folder, &Record { version: VERSION, inputs, outputs, checksums, dotfile: dotfile.flatten() })
}

fn save(store: &Store, folder: &Path, record: &Record) -> Result<(), StoreError> {
    store.set_record(&name(folder), &serde_json::to_vec(record).unwrap_or_default())
}

/// Returns the name of a folder's record.
fn name(folder: &Path) -> String {
    let path = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    format!("outputs in {}", path.display())
}

/// Returns the stamp of a regular file.
fn stamp_of(path: &Path) -> Option<Stamp> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| Stamp::of(&metadata))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, num::NonZeroUsize};

    use super::*;
    use crate::{
        build::{HostOptions, LockUse, Scratch},
        digest::Sha256Digest,
    };

    fn options(folder: &Path) -> BuildOptions {
        let host = HostOptions {
            workers: NonZeroUsize::MIN,
            cache_dir: folder.join("cache"),
            work_dir: folder.join("work"),
            temp_dir: folder.to_owned(),
            mirrors: BTreeMap::new(),
            without_repositories: Vec::new(),
            offline: true,
            cancel: oic_builder_vm::Cancel::new().unwrap(),
            scratch: Scratch::default(),
        };
        BuildOptions { host, output_dir: folder.join("out"), lock_file: folder.join("oic.lock"), lock_use: LockUse::Prefer, dotfile: None }
    }

    fn inputs(text: &str) -> Inputs {
        serde_json::from_value(serde_json::json!({ "image": Sha256Digest::of(text.as_bytes()) })).unwrap()
    }

    #[test]
    fn outputs_are_up_to_date_until_anything_of_them_changes() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let store = Store::open(&options.host.cache_dir).unwrap();
        let out = &options.output_dir;
        fs::create_dir(out).unwrap();
        let (image, sums) = (out.join("a.raw"), out.join(CHECKSUMS));
        let write = || [&image, &sums].map(|path| fs::write(path, "bytes").unwrap());
        let output = OutputRecord { name: "a.raw".into(), format: "raw".into(), size: 5, sha256: Sha256Digest::of(b"bytes") };
        let due = |reason: &str| Standing::Due(reason.to_owned());
        let up_to_date = Standing::UpToDate(vec![output.clone()]);

        write();
        assert_eq!(standing(&store, &options, &inputs("a")), due("this folder has no outputs of an earlier build"));
        note(&store, &options, inputs("a"), std::slice::from_ref(&output)).unwrap();
        assert_eq!(standing(&store, &options, &inputs("a")), up_to_date);
        assert_eq!(standing(&store, &options, &inputs("b")), due("changed: image"));

        fs::write(&image, "bytes").unwrap();
        assert_eq!(standing(&store, &options, &inputs("a")), up_to_date, "the same bytes, written anew");
        fs::write(&image, "bytez").unwrap();
        assert_eq!(standing(&store, &options, &inputs("a")), due("`a.raw` is not as it was made"));
        fs::remove_file(&image).unwrap();
        assert_eq!(standing(&store, &options, &inputs("a")), due("`a.raw` is missing"));
        let elsewhere = BuildOptions { dotfile: Some(folder.path().join("deps.dot")), ..options.clone() };
        assert_eq!(standing(&store, &elsewhere, &inputs("a")), due("the dependency graph is to be in another place"));
        write();
        fs::remove_file(&sums).unwrap();
        assert_eq!(standing(&store, &options, &inputs("a")), due("`SHA256SUMS` is not as it was made"));
    }
}
