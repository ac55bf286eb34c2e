//! The build: every stage in order.

mod options;
pub mod progress;
pub mod resolve;

pub use options::{BuildOptions, BuildOutcome, HostOptions, LockOptions, LockOutcome, LockUse};
