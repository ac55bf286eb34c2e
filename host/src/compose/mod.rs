//! Lowers an image spec and a lock to the steps of the wire protocol. Pure: no I/O, no clock, no randomness.
//!
//! The plan is one flat list, in the order in which the guest runs it:
//!
//! ```text
//! 1. install packages     what the host has unpacked is configured; in sessions of their own where there are layers
//! 2. write files          files owned by root: system files of ours, then the template's
//! 3. create groups and users
//! 4. write files          files owned by somebody else
//! 5. services
//! 6. commands             `configurations`, in order
//! 7. initramfs            once per kernel, after everything that may change its content
//! 8. commands             those of stage `finalize`
//! 9. seal                 remove what must not be in an image, check what must
//! ```

mod files;
mod password;
mod plan;
mod settings;
mod sources;
mod wsl;

pub use password::PasswordError;
pub(crate) use password::lower as lower_password;
pub use plan::{ComposeInput, HostFile, LowerError, lower, lower_install, lower_rpm_install, step_name};
pub use sources::RepositoryKeys;
