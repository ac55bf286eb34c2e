//! Chores of the project: `cargo xtask CHORE`.

#![expect(clippy::print_stdout, reason = "a chore says what it did")]

mod agents;
mod bench;
mod check_layers;
mod compare_state;
mod completions;
mod man;
mod programs;
mod schema;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Chores of the project.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Build the guest agent for the architectures of images
    Agents(agents::Arguments),
    /// Measure oic and its peers, and write the tables of docs/benchmarks.md
    Bench(bench::Options),
    /// Hold the source against the layer rules
    CheckLayers,
    /// Compare the installed state of images with mmdebstrap's, and write the tables of docs/installed-state.md
    CompareState,
    /// Write shell completion scripts
    Completions {
        /// Folder to write into
        #[arg(default_value = "target/completions")]
        dir: PathBuf,
    },
    /// Write man pages
    Man {
        /// Folder to write into
        #[arg(default_value = "target/man")]
        dir: PathBuf,
    },
    /// Write the JSON Schema of templates from the types
    Schema {
        /// Only say whether the file is up to date
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match Cli::parse().chore {
        Chore::Agents(arguments) => agents::run(root, &arguments),
        Chore::Bench(options) => bench::run(root, &options),
        Chore::CheckLayers => check_layers::run(root),
        Chore::CompareState => compare_state::run(root),
        Chore::Completions { dir } => completions::run(root, &dir),
        Chore::Man { dir } => man::run(root, &dir),
        Chore::Schema { check } => schema::run(root, check),
    }
}
