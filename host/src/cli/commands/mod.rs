//! One function per command, each in the file of its verb.

mod boot;
mod build;
mod completions;
mod config;
mod doctor;
mod lock;
mod man;
mod validate;
mod version;

pub(crate) use boot::boot;
pub(crate) use build::build;
pub(crate) use completions::completions;
pub(crate) use config::{config_init, config_show};
pub(crate) use doctor::doctor;
pub(crate) use lock::lock;
pub(crate) use man::man;
pub(crate) use validate::validate;
pub(crate) use version::version;
