//! One function per command, each in the file of its verb.

mod boot;
mod build;
mod cache;
mod compare;
mod completions;
mod config;
mod convert;
mod doctor;
mod inspect;
mod lock;
mod man;
mod validate;
mod version;

pub(crate) use boot::boot;
pub(crate) use build::build;
pub(crate) use cache::{cache_clean, cache_gc, cache_list, cache_verify};
pub(crate) use compare::compare;
pub(crate) use completions::completions;
pub(crate) use config::{config_init, config_show};
pub(crate) use convert::convert;
pub(crate) use doctor::doctor;
pub(crate) use inspect::inspect;
pub(crate) use lock::lock;
pub(crate) use man::man;
pub(crate) use validate::validate;
pub(crate) use version::version;
