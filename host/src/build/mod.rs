//! The build: every stage in order.

pub mod agents;
mod options;
pub mod progress;
pub mod resolve;

pub use options::{BuildOptions, BuildOutcome, HostOptions, LockOptions, LockOutcome, LockUse};
