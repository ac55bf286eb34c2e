//! Unpacks packages into a folder of the host, as their owner.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Component, Path, PathBuf},
};

use rayon::prelude::*;

use super::ToolError;
use crate::{
    build::resolve::StoredPackages,
    rootfs::{
        Content, Deb, DebCache,
        path::{Shown, normalize},
        tar_read::{TarEntry, TarKind},
    },
};

/// Folders that no program needs.
const SKIPPED: [&[u8]; 4] = [b"/usr/share/doc/", b"/usr/share/man/", b"/usr/share/locale/", b"/usr/share/info/"];

/// Unpacks packages into `target`, several at a time.
pub(super) fn unpack_all(packages: &StoredPackages, target: &Path) -> Result<(), ToolError> {
    let scratch = tempfile::tempdir_in(target).map_err(|source| failed("", target, source))?;
    let cache = DebCache::new(scratch.path());
    packages.par_iter().try_for_each(|(package, path)| {
        let deb = cache.open(path, &package.sha256)?;
        unpack(&package.name, &deb, target)
    })
}

fn failed(package: &str, path: &Path, source: io::Error) -> ToolError {
    ToolError::Unpack { package: package.to_owned(), path: path.to_owned(), source }
}

/// Unpacks one package. Another one may write into the same folders meanwhile.
fn unpack(package: &str, deb: &Deb, target: &Path) -> Result<(), ToolError> {
    for entry in &deb.entries {
        let escape = || ToolError::Escape { package: package.to_owned(), path: Shown(&entry.path).to_string() };
        let path = normalize(&entry.path).map_err(|_| escape())?;
        if SKIPPED.iter().any(|skipped| path.starts_with(skipped)) {
            continue;
        }
        let inside = String::from_utf8(path).map_err(|_| escape())?;
        let place = target.join(inside.trim_start_matches('/'));
        write(deb, entry, &place, target).map_err(|error| match error {
            WriteError::Escape => escape(),
            WriteError::Io(source) => failed(package, &place, source),
        })?;
    }
    Ok(())
}

enum WriteError {
    Escape,
    Io(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes one entry; what is neither a file, a folder nor a link is left out.
fn write(deb: &Deb, entry: &TarEntry, place: &Path, target: &Path) -> Result<(), WriteError> {
    let parent = place.parent().unwrap_or(target);
    match &entry.kind {
        TarKind::Directory => fs::create_dir_all(place)?,
        TarKind::File { offset, size } => {
            fs::create_dir_all(parent)?;
            let mut file = File::create(place)?;
            io::copy(&mut Content::range(deb.file.clone(), *offset, *size).reader(), &mut file)?;
            let mode = if entry.metadata.mode & 0o111 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(place, Permissions::from_mode(mode))?;
        }
        TarKind::Symlink(link) => {
            fs::create_dir_all(parent)?;
            let link = String::from_utf8(link.to_vec()).map_err(|_| WriteError::Escape)?;
            let link = inside(parent, &link, target).ok_or(WriteError::Escape)?;
            let _ = fs::remove_file(place);
            symlink(link, place)?;
        }
        TarKind::HardLink(source) => {
            fs::create_dir_all(parent)?;
            let source = normalize(source).ok().and_then(|path| String::from_utf8(path).ok()).ok_or(WriteError::Escape)?;
            let _ = fs::remove_file(place);
            fs::hard_link(target.join(source.trim_start_matches('/')), place)?;
        }
        _ => {}
    }
    Ok(())
}

/// Returns a link's target as it must be in the folder: absolute ones lead to the same file inside. None: it leads out.
fn inside(parent: &Path, link: &str, target: &Path) -> Option<PathBuf> {
    let resolved = match link.strip_prefix('/') {
        Some(absolute) => target.join(absolute),
        None => parent.join(link),
    };
    let mut depth: i32 = 0;
    for component in resolved.strip_prefix(target).ok()?.components() {
        match component {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
        if depth < 0 {
            return None;
        }
    }
    if link.starts_with('/') {
        let up = parent.strip_prefix(target).ok()?.components().count();
        let relative: PathBuf = std::iter::repeat_n("..", up).collect();
        return Some(relative.join(link.trim_start_matches('/')));
    }
    Some(link.into())
}
