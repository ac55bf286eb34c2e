//! The harness of the end-to-end tests: they run the real program in a folder of their own and look at what a user sees.
//!
//! ```text
//! Sandbox   a home, a current folder and an environment that nothing of this machine reaches into
//! Oic       one run of the program in a sandbox → Output: exit status, both streams, as one snapshot text
//! redact    what differs from run to run and machine to machine → placeholders
//! Tiny      a distribution to build images of again and again: its sandbox, a shared cache, turns at running machines
//! Lab       what tests share that build images: a cache, and turns at running virtual machines
//! TestOs    a signed distribution of RPM packages, made on the spot
//! archive   Debian packages made of nothing, and a signed repository of them
//! server    an HTTP server that misbehaves where it is told to
//! Guest     a booted image with a user at its console
//! image     the files of an image that is not booted
//! state     its installed state beside mmdebstrap's
//! require   what a test needs of the machine; a test that lacks it says so and is not counted as passed silently
//! ```

#![deny(missing_docs)]

pub mod archive;
mod guest;
mod image;
mod lab;
mod oic_command;
mod redact;
mod require;
mod sandbox;
pub mod server;
pub mod state;
mod testos;
mod tiny;

pub use guest::{Answer, Guest};
pub use image::root_tree;
pub use lab::{Lab, Turn};
pub use oic_command::{Oic, Output, program};
pub use redact::redact;
pub use require::{all_tests, shared, skip};
pub use sandbox::Sandbox;
pub use testos::{TestOs, build_rpm};
pub use tiny::{OwnRepository, Tiny};
