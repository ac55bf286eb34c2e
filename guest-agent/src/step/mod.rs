//! The steps, one module each. A step is a function of its part of the plan and the runner's [`crate::runner::Context`].

mod accounts;
mod dpkg;
pub mod files;
pub mod hook;
pub mod initramfs;
pub mod install_deb;
pub mod install_rpm;
mod rpm;
pub mod seal;
pub mod services;
mod status;
pub mod users;
