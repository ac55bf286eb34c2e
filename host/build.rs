//! Embeds the guest agents that `cargo xtask agents` has built, and the digest of the sources that decide what images hold.
//!
//! Each agent becomes a zstd file in `OUT_DIR`, and a table of them is generated. Without any, `oic` builds all the same: what it
//! can do without a builder VM works, and the rest says how to add an agent.
//!
//! The digest is what a cached result is bound to beside its inputs: another version of these sources may make other bytes of the
//! same inputs, whatever its version number says.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script everything by the environment")]

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// The architectures of images, as `Arch` of the configuration names them.
const ARCHITECTURES: [&str; 3] = ["x86_64", "aarch64", "riscv64"];

/// The strongest level that needs no extra memory to unpack: paid once per build of `oic`.
const LEVEL: i32 = 19;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=OIC_AGENTS_DIR");
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let manifest = variable("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?;
    let out = variable("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let agents = variable("OIC_AGENTS_DIR").unwrap_or_else(|| manifest.join("../target/agents"));
    let mut table = String::from("&[\n");
    for arch in ARCHITECTURES {
        let agent = agents.join(arch).join("oic-guest-agent");
        // A file that is missing makes cargo run this script at every build, so the nearest folder is watched instead.
        println!("cargo::rerun-if-changed={}", nearest(&agent).display());
        if let Some(packed) = pack(&agent, &out, arch)? {
            let _ = writeln!(table, "    ({arch:?}, include_bytes!({packed:?})),");
        }
    }
    table.push_str("]\n");
    fs::write(out.join("agents.rs"), table)?;
    println!("cargo::rustc-env=OIC_SOURCE_DIGEST={}", source_digest(&manifest)?);
    Ok(())
}

/// The folders and files of the workspace that the program is made of.
const SOURCES: [&str; 8] =
    ["Cargo.lock", "builder-vm/capng/src", "builder-vm/src", "config/osv", "config/schema", "config/src", "host/src", "protocol/src"];

/// Returns the digest of all sources by their names and contents. Those that are not there, because the crate was taken out of
/// its workspace, have no part in it; the versions of the crates are in the program anyway.
fn source_digest(manifest: &Path) -> io::Result<String> {
    let workspace = manifest.join("..");
    let mut files = Vec::new();
    for source in SOURCES.map(|source| workspace.join(source)) {
        println!("cargo::rerun-if-changed={}", nearest(&source).display());
        files_below(&source, &mut files)?;
    }
    files.sort();
    let mut hasher = Sha256::new();
    for file in &files {
        let bytes = fs::read(file)?;
        let name = file.strip_prefix(&workspace).unwrap_or(file).to_string_lossy();
        hasher.update(format!("{name}\0{}\0", bytes.len()));
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Adds a file, or the files below a folder.
fn files_below(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
    } else if path.is_dir() {
        for entry in fs::read_dir(path)? {
            files_below(&entry?.path(), files)?;
        }
    }
    Ok(())
}

/// Compresses an agent, if there is one, and returns where.
fn pack(agent: &Path, out: &Path, arch: &str) -> io::Result<Option<PathBuf>> {
    let bytes = match fs::read(agent) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let packed = out.join(format!("{arch}.zst"));
    fs::write(&packed, zstd::bulk::compress(&bytes, LEVEL)?)?;
    Ok(Some(packed))
}

/// Returns the path itself, or the nearest folder above it that exists.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}
