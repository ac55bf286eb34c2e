//! Makes a tree that programs have written a function of its inputs: no times later than the build's, nothing that only a
//! run leaves behind.

use super::tree::RootTree;

/// Sets every time later than `epoch` to it, so that only times that come from packages and templates stay.
pub fn clamp_times(tree: &mut RootTree, epoch: i64) {
    tree.update_metadata(|metadata| metadata.mtime = metadata.mtime.clamp(0, epoch.max(0)));
}

/// Takes paths away, files or whole directories. Missing ones are fine; links among the parents are followed inside the tree.
pub fn drop_paths<'a>(tree: &mut RootTree, paths: impl IntoIterator<Item = &'a str>) {
    for path in paths {
        tree.remove(path);
    }
}

/// Empties directories, but keeps them. Missing ones are fine.
pub fn empty_directories<'a>(tree: &mut RootTree, paths: impl IntoIterator<Item = &'a str>) {
    for path in paths {
        let names: Vec<Vec<u8>> = tree.names(path).map(|(name, _)| name.to_vec()).collect();
        for name in names {
            tree.remove([path.as_bytes(), b"/", &name].concat());
        }
    }
}
