//! Builds the guest agent, one static file per architecture, into `target/agents/<arch>/oic-guest-agent`.
//!
//! Three ways, the first that is there wins:
//!
//! 1. rustup's musl target for the architecture: `rustup target add <arch>-unknown-linux-musl`;
//! 2. a private copy of Debian's Rust for its browsers with the musl of each architecture, fetched and verified by apt into
//!    a folder of ours (`agents/cross-sysroot.sh`; 13 seconds, 153 MB), std built from its sources. Needs an x86_64 machine
//!    with apt, dpkg-deb and a Debian mirror;
//! 3. for this machine's own architecture, its own glibc, linked statically. Larger.
//!
//! The files do not depend on the folders they are built in. `oic` embeds what it finds at its next build.

#![expect(clippy::disallowed_methods, reason = "chores start programs and read the environment themselves")]

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use crate::programs::{cargo, execute, output};

/// Where the agents go instead of `target/agents`; the build of `oic` looks there too.
const AGENTS_DIR: &str = "OIC_AGENTS_DIR";

/// The largest agent that is not a mistake.
const SIZE_LIMIT: u64 = 1_500_000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Architectures to build for; all that this machine has a way for when none is named
    arch: Vec<Arch>,
    /// Folder of the private toolchain, made when needed [default: target/agents/sysroot]
    #[arg(long)]
    sysroot: Option<PathBuf>,
    /// Do not fetch the private toolchain
    #[arg(long)]
    no_fetch: bool,
    /// Build each agent a second time, from a copy of the sources in another folder, and fail when the bytes differ
    #[arg(long)]
    check: bool,
}

/// An architecture by the name that its images have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
    #[value(name = "riscv64")]
    Riscv64,
}

impl Arch {
    const ALL: [Self; 3] = [Self::X86_64, Self::Aarch64, Self::Riscv64];

    /// Returns the name of its images.
    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Returns the name that Rust's targets begin with.
    fn rust_name(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64gc",
            other => other.name(),
        }
    }

    fn musl_target(self) -> String {
        format!("{}-unknown-linux-musl", self.rust_name())
    }
}

/// A way to build for an architecture.
#[derive(Debug)]
enum Toolchain {
    /// rustup's target.
    Rustup,
    /// The private copy in this folder.
    Private(PathBuf),
    /// This machine's glibc.
    HostGlibc,
}

impl Toolchain {
    fn describe(&self) -> &'static str {
        match self {
            Self::Rustup => "rustup's musl target",
            Self::Private(_) => "private toolchain, musl",
            Self::HostGlibc => "this machine's glibc",
        }
    }
}

/// Builds the agents that were asked for, or all that can be had.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let dir = env::var_os(AGENTS_DIR).map_or_else(|| root.join("target/agents"), PathBuf::from);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let wanted = if arguments.arch.is_empty() { &Arch::ALL[..] } else { &arguments.arch };
    let sysroot = private_sysroot(root, &dir, wanted, arguments);
    let mut lacking = Vec::new();
    for &arch in wanted {
        match choose(arch, sysroot.as_deref()) {
            Some(toolchain) => {
                let place = Place { root, cargo_home: cargo_home()?, built_in: dir.join("build") };
                install(&dir, arch, &toolchain, &build(&place, arch, &toolchain)?)?;
                if arguments.check {
                    check(root, &dir, arch, &toolchain)?;
                }
            }
            None => lacking.push(arch),
        }
    }
    for arch in &lacking {
        println!("lacking {}: run `rustup target add {}`, or this chore on an x86_64 Debian machine", arch.name(), arch.musl_target());
    }
    ensure!(arguments.arch.is_empty() || lacking.is_empty(), "not every architecture that was named could be built");
    ensure!(lacking.len() < wanted.len(), "no agent could be built");
    Ok(())
}

/// Returns the private toolchain if some architecture needs it and it is there or can be fetched.
fn private_sysroot(root: &Path, dir: &Path, wanted: &[Arch], arguments: &Arguments) -> Option<PathBuf> {
    if wanted.iter().all(|arch| has_rustup_target(*arch)) {
        return None;
    }
    let sysroot = arguments.sysroot.clone().unwrap_or_else(|| dir.join("sysroot"));
    if sysroot.join("rustc").exists() {
        return fs::canonicalize(&sysroot).ok();
    }
    if arguments.no_fetch || env::consts::ARCH != "x86_64" {
        return None;
    }
    println!("fetching a private toolchain into {}", sysroot.display());
    match fetch_sysroot(root, &sysroot) {
        Ok(()) => fs::canonicalize(&sysroot).ok(),
        Err(error) => {
            println!("no private toolchain: {error:#}");
            None
        }
    }
}

/// Fetches into a folder beside the final one, so that an interrupted run leaves none that looks complete.
fn fetch_sysroot(root: &Path, sysroot: &Path) -> anyhow::Result<()> {
    if sysroot.exists() {
        fs::remove_dir_all(sysroot).with_context(|| format!("cannot remove {}", sysroot.display()))?;
    }
    // The script writes absolute paths into the folder, so it is made in place; `rustc`, written last, marks it complete.
    execute(Command::new("bash").arg(root.join("xtask/agents/cross-sysroot.sh")).arg(sysroot))
}

/// Picks the way to build for an architecture.
fn choose(arch: Arch, sysroot: Option<&Path>) -> Option<Toolchain> {
    if has_rustup_target(arch) {
        return Some(Toolchain::Rustup);
    }
    if let Some(sysroot) = sysroot.filter(|sysroot| sysroot.join("root/usr/lib/rustlib").join(arch.musl_target()).exists()) {
        return Some(Toolchain::Private(sysroot.to_owned()));
    }
    (arch.name() == env::consts::ARCH).then_some(Toolchain::HostGlibc)
}

/// Returns whether the compiler at hand has std for the musl target.
fn has_rustup_target(arch: Arch) -> bool {
    let asked = output(Command::new(rustc()).args(["--print", "target-libdir", "--target", &arch.musl_target()]));
    asked.is_ok_and(|folder| fs::read_dir(folder.trim_end()).is_ok_and(|mut entries| entries.next().is_some()))
}

/// What an agent is built from, and where: nothing of it may show in its bytes.
struct Place<'a> {
    root: &'a Path,
    cargo_home: PathBuf,
    built_in: PathBuf,
}

/// Returns the folder that cargo keeps sources in.
fn cargo_home() -> anyhow::Result<PathBuf> {
    let own = env::var_os("CARGO_HOME").map(PathBuf::from);
    own.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"))).context("neither CARGO_HOME nor HOME is set")
}

/// Builds one agent and returns the file.
fn build(place: &Place<'_>, arch: Arch, toolchain: &Toolchain) -> anyhow::Result<PathBuf> {
    let target = match toolchain {
        Toolchain::HostGlibc => format!("{}-unknown-linux-gnu", arch.rust_name()),
        Toolchain::Rustup | Toolchain::Private(_) => arch.musl_target(),
    };
    let mut cargo = cargo_build(place, &target, toolchain)?;
    execute(&mut cargo).with_context(|| format!("cannot build the agent for {}", arch.name()))?;
    Ok(place.built_in.join(&target).join("agent/oic-guest-agent"))
}

/// Puts a built agent into its place.
fn install(dir: &Path, arch: Arch, toolchain: &Toolchain, built: &Path) -> anyhow::Result<()> {
    let place = dir.join(arch.name());
    fs::create_dir_all(&place)?;
    let file = place.join("oic-guest-agent");
    // Appears complete or not at all: a build of `oic` may be looking.
    let partial = place.join("oic-guest-agent.new");
    let size = fs::copy(built, &partial).with_context(|| format!("cannot copy {}", built.display()))?;
    ensure!(size <= SIZE_LIMIT, "the agent for {} has {size} bytes, more than {SIZE_LIMIT}", arch.name());
    fs::rename(&partial, &file)?;
    println!("{}: {size} bytes, {}: {}", arch.name(), toolchain.describe(), file.display());
    Ok(())
}

/// Builds an agent again, with the sources and cargo's folder under other names, and compares.
fn check(root: &Path, dir: &Path, arch: Arch, toolchain: &Toolchain) -> anyhow::Result<()> {
    let elsewhere = env::temp_dir().join(format!("oic-agents-{}", std::process::id()));
    fs::create_dir_all(&elsewhere).with_context(|| format!("cannot make {}", elsewhere.display()))?;
    let (copy, home) = (elsewhere.join("sources"), elsewhere.join("cargo"));
    copy_sources(root, &copy)?;
    symlink(cargo_home()?, &home)?;
    let again = build(&Place { root: &copy, cargo_home: home, built_in: elsewhere.join("build") }, arch, toolchain)?;
    let same = fs::read(&again)? == fs::read(dir.join(arch.name()).join("oic-guest-agent"))?;
    ensure!(
        same,
        "the agent for {} depends on the folder that it is built in: compare {} with {}",
        arch.name(),
        again.display(),
        dir.display()
    );
    println!("{}: the same bytes from another folder", arch.name());
    Ok(fs::remove_dir_all(&elsewhere)?)
}

/// Copies the workspace without what is built in it.
fn copy_sources(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if kind.is_file() {
            fs::copy(entry.path(), to.join(&name))?;
        } else if kind.is_dir() && !["target", ".git", "out"].iter().any(|other| name == *other) {
            copy_sources(&entry.path(), &to.join(&name))?;
        }
    }
    Ok(())
}

/// Returns the command that builds the agent.
fn cargo_build(place: &Place<'_>, target: &str, toolchain: &Toolchain) -> anyhow::Result<Command> {
    let mut command = cargo(place.root);
    command.args(["build", "--locked", "--profile", "agent", "--package", "oic-guest-agent", "--target", target]);
    command.arg("--target-dir").arg(&place.built_in);
    command.env("CARGO_HOME", &place.cargo_home);
    // Flags of the caller's shell would end up in the file.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("CARGO_INCREMENTAL", "0");
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Crelocation-model=static".to_owned()];
    flags.push(remap(place.root, "/src"));
    flags.push(remap(&place.cargo_home, "/cargo"));
    match toolchain {
        Toolchain::HostGlibc => {}
        Toolchain::Rustup => flags.extend(lld_flags()?),
        Toolchain::Private(sysroot) => {
            flags.extend(lld_flags()?);
            flags.push(remap(sysroot, "/rust"));
            // Building std is an unstable part of cargo, which this variable opens on a stable one.
            command.env("RUSTC", sysroot.join("rustc")).env("RUSTC_BOOTSTRAP", "1");
            command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=", "--features", "unwind-stub"]);
        }
    }
    // Flags of the target, not of everything: build scripts run on this machine.
    command.env(format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_")), flags.join(" "));
    Ok(command)
}

/// Returns the flags that link with the linker that comes with Rust.
fn lld_flags() -> anyhow::Result<[String; 3]> {
    // The private compiler brings none: the linker is always that of the toolchain that runs this chore.
    let sysroot = output(Command::new(rustc()).args(["--print", "sysroot"]))?;
    let host = output(Command::new(rustc()).arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not tell its host")?;
    let lld = Path::new(sysroot.trim_end()).join("lib/rustlib").join(host).join("bin/rust-lld");
    ensure!(lld.exists(), "{} is missing: the toolchain must be rustup's", lld.display());
    Ok([format!("-Clinker={}", lld.display()), "-Clinker-flavor=ld.lld".to_owned(), "-Clink-self-contained=yes".to_owned()])
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

fn rustc() -> std::ffi::OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}
