//! Makes the table of distribution data that is embedded in the program: every file below `osv/`, sorted by path.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write through the environment")]
fn main() -> std::io::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let osv = root.join("osv");
    println!("cargo::rerun-if-changed=osv");
    let mut files = Vec::new();
    collect(&osv, &mut files)?;
    files.sort();
    let mut table = String::from("/// Distribution data by path below `osv/`.\nstatic OSV: &[(&str, &[u8])] = &[\n");
    for file in files {
        let name = file.strip_prefix(&osv).map_err(std::io::Error::other)?.to_string_lossy().replace('\\', "/");
        writeln!(table, "    ({name:?}, include_bytes!({file:?})),").map_err(std::io::Error::other)?;
    }
    table.push_str("];\n");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("OUT_DIR is not set"))?;
    std::fs::write(Path::new(&out).join("osv.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
