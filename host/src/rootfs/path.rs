//! Paths inside a tree: bytes, because filesystems know nothing else.

use std::fmt;

/// The longest path that a tree takes, as the kernel's `PATH_MAX`.
pub const MAX_PATH: usize = 4096;
/// The longest name of one entry.
pub const MAX_NAME: usize = 255;

/// Why bytes are not a path inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a path inside a tree: {reason}")]
pub struct PathError {
    /// The path, printable.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Shows a path of bytes; what is not UTF-8 is replaced.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.0))
    }
}

/// Returns the names that a path consists of. Leading, trailing and repeated slashes and `.` are dropped; the root has none.
///
/// # Errors
/// Fails on `..`, on zero bytes and on names or paths that no filesystem takes.
pub fn components(path: &[u8]) -> Result<Vec<&[u8]>, PathError> {
    let invalid = |reason| PathError { path: Shown(path).to_string(), reason };
    if path.len() > MAX_PATH {
        return Err(PathError { path: Shown(&path[..64]).to_string(), reason: "it is longer than 4096 bytes" });
    }
    if path.contains(&0) {
        return Err(invalid("it contains a zero byte"));
    }
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names
        .map(|name| match name {
            b".." => Err(invalid("it contains `..`")),
            _ if name.len() > MAX_NAME => Err(invalid("a name in it is longer than 255 bytes")),
            _ => Ok(name),
        })
        .collect()
}

/// Returns a path in its normal form: absolute, without a trailing slash; the root is `/`.
///
/// # Errors
/// Fails as [`components`] does.
pub fn normalize(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let names = components(path)?;
    let mut normal = Vec::with_capacity(path.len() + 1);
    for name in &names {
        normal.push(b'/');
        normal.extend_from_slice(name);
    }
    if names.is_empty() {
        normal.push(b'/');
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_normal_or_are_refused() {
        for (given, normal) in [("./usr//bin/", "/usr/bin"), ("/", "/"), ("", "/"), (".", "/"), ("a/./b", "/a/b")] {
            assert_eq!(normalize(given.as_bytes()).unwrap(), normal.as_bytes(), "{given}");
        }
        for bad in [&b"../etc"[..], b"a/../b", b"a\0b", &[b'x'; 256], &[b'/'; 5000]] {
            assert!(normalize(bad).is_err(), "{}", Shown(bad));
        }
    }
}
