//! Makes, starts, watches and stops one VM without privilege: the builder VM, or an image that a user wants to see boot.
//! Knows nothing of packages, templates or stores.
//!
//! # Flow
//!
//! ```text
//! VmConfig ──Prepared::new──► Prepared ──launch──► Launched ──connect──► Connected ──run──► ComposeReport
//! BootConfig ──BootedVm::start──► BootedVm ──expect, send_line, attach_terminal, wait
//! ```
//!
//! # Processes
//!
//! ```text
//! oic ── QEMU                     console and control channel: inherited sockets
//!     └─ oic __virtiofsd …        one per share, reads the folder, writes the guest's memory
//! ```
//!
//! # Invariants
//!
//! * No process outlives the value that started it, nor this process however that ends (module `process`).
//! * No socket has a name while a VM runs; the private folder is removed on drop, or by the next run (module `runtime`).
//! * Nothing waits without a deadline and a [`Cancel`] token, which is noticed within 100 ms.
//! * What the guest says is bounded, checked for order and stripped of control characters (modules `conversation`, `console`).
//! * The guest writes nothing but the disks it was given; shares are read-only.
//!
//! # Concurrency
//!
//! Threads and blocking calls, no runtime: per child one thread that keeps it and one that reads its standard error, and one that
//! reads the console. A session runs in its caller's thread.
//!
//! # Elsewhere
//!
//! Where QEMU, kernels and firmware come from is the caller's business, and so is what a plan means.

#![deny(missing_docs)]

mod accel;
mod arch;
pub mod backend;
mod boot;
mod cancel;
mod channel;
mod config;
mod console;
mod conversation;
mod launch;
mod machine;
mod process;
mod runtime;
mod session;
mod share;
mod virtiofs;

pub use accel::{KvmVerdict, probe_kvm};
pub use arch::GuestArch;
pub use boot::{BootConfig, BootError, BootedVm, ESCAPE_KEY, TerminalEnd};
pub use cancel::Cancel;
pub use config::{Accelerator, BootSource, Disk, DiskAccess, DiskFormat, Firmware, Network, Qemu, Share, VmConfig};
pub use console::{Console, ConsoleOutput, ConsoleSink, Expect, Expectation};
pub use conversation::Deadlines;
pub use launch::{LaunchError, Launched, Prepared};
pub use machine::Machine;
pub use session::{Connected, ConsoleTail, SessionError};
pub use virtiofs::virtiofs_main;
