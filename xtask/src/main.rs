//! Chores of the project: `cargo xtask CHORE`.

#![expect(clippy::print_stdout, reason = "a chore says what it did")]

mod agents;

use std::path::Path;

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
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match Cli::parse().chore {
        Chore::Agents(arguments) => agents::run(root, &arguments),
    }
}
