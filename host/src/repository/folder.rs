//! Local folders of package files that are no repository: what they hold, and the index of a folder of Debian packages.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use oic_config::spec::{Repository, RepositoryLocation};
use rayon::prelude::*;

use super::{Access, IndexCompression, IndexFile, RepositoryError, RepositoryProblem, RepositoryState};
use crate::{
    causes,
    digest::Sha256Digest,
    rootfs::deb,
    store::{Bucket, Expected},
};

/// How deep folders may be nested.
const MAX_DEPTH: usize = 16;

/// Returns the package files in a folder and those below it, as paths below it, sorted.
pub(super) fn files(folder: &Path, extension: &'static str) -> Result<Vec<PathBuf>, RepositoryProblem> {
    let mut files = Vec::new();
    collect(folder, Path::new(""), extension, MAX_DEPTH, &mut files)?;
    if files.is_empty() {
        return Err(RepositoryProblem::EmptyFolder { path: folder.display().to_string(), extension });
    }
    files.sort();
    Ok(files)
}

fn collect(root: &Path, below: &Path, extension: &str, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), RepositoryProblem> {
    let folder = root.join(below);
    let failed = |source| RepositoryProblem::Folder { path: folder.display().to_string(), source };
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = below.join(entry.file_name());
        let kind = fs::metadata(root.join(&path)).map_err(failed)?;
        if kind.is_dir() && depth > 0 {
            collect(root, &path, extension, depth - 1, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}

/// Returns the folder of a Debian repository that has no metadata of its own.
pub(super) fn packages_folder(location: &RepositoryLocation) -> Option<&Path> {
    let RepositoryLocation::Path(path) = location else { return None };
    let has = |name: &str| path.join(name).exists();
    (!has("dists") && !has("InRelease") && !has("Release")).then_some(path)
}

/// Makes the state of a folder of Debian packages, with an index that is made of the packages' own control files.
pub(super) fn debian(access: &Access<'_>, repository: &Repository, path: &Path) -> Result<RepositoryState, RepositoryError> {
    let error = |problem| RepositoryError::new(repository, None, problem);
    if !repository.trusted {
        return Err(error(RepositoryProblem::UnsignedFolder { path: path.display().to_string() }));
    }
    let files = files(path, "deb").map_err(error)?;
    let stanzas = files.par_iter().map(|file| stanza(path, file)).collect::<Result<Vec<_>, _>>().map_err(error)?;
    let text = stanzas.join("\n");
    let sha256 = access.store.put_bytes(Bucket::Metadata, text.as_bytes()).map_err(|problem| error(problem.into()))?;
    let index = IndexFile {
        what: format!("{} packages", repository.id),
        file: Expected { size: text.len() as u64, sha256 },
        component: String::new(),
        compression: IndexCompression::None,
        unpacked_size: Some(text.len() as u64),
        unpacked_sha256: None,
    };
    Ok(RepositoryState {
        id: repository.id.clone(),
        metadata: sha256,
        // Packages do not say when they were made.
        date: 0,
        signed_by: String::new(),
        fetched_keys: Vec::new(),
        indexes: vec![index],
    })
}

/// Returns what the index says of one package.
fn stanza(folder: &Path, below: &PathBuf) -> Result<String, RepositoryProblem> {
    let path = folder.join(below);
    let failed = |reason: String| RepositoryProblem::FolderPackage { path: path.display().to_string(), reason };
    let control = deb::read_control(&path).map_err(|error| failed(causes::in_one_line(&error)))?;
    let control = std::str::from_utf8(&control).map_err(|_| failed("its control file is not UTF-8".to_owned()))?;
    let mut file = File::open(&path).map_err(|error| failed(error.to_string()))?;
    let size = file.metadata().map_err(|error| failed(error.to_string()))?.len();
    let sha256 = Sha256Digest::of_reader(&mut file).map_err(|error| failed(error.to_string()))?;
    let name = below.to_str().filter(|name| !name.contains('\n')).ok_or_else(|| failed("its name is not UTF-8".to_owned()))?;
    Ok(format!("{}\nFilename: {name}\nSize: {size}\nSHA256: {sha256}\n", control.trim_end()))
}
