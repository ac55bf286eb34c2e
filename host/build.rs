//! Embeds the guest agents that `cargo xtask agents` has built.
//!
//! Each becomes a zstd file in `OUT_DIR`, and a table of them is generated. Without any, `oic` builds all the same: what it
//! can do without a builder VM works, and the rest says how to add an agent.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script everything by the environment")]

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

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
    fs::write(out.join("agents.rs"), table)
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
