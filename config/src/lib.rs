//! From template text to a validated [`spec::ImageSpec`].
//!
//! ```text
//! template.yml --yaml--> Node tree --shape--> checked tree --merge--> merged tree --decode--> layer::Layer --validate--> ImageSpec
//!                        (every value          (schema made            (defaults, extends,
//!                        knows its place)       from layer types)       template, --set)
//! ```
//!
//! [`load()`] is the whole flow. It needs no network and reads only templates and the local files that they name. Whatever is
//! wrong is reported at once, as a [`Report`] of [`Finding`]s, each with file, line, column and the path of the field. A field
//! that is valid and that this version does not build is no error here: it is listed in [`spec::ImageSpec::unsupported`], and
//! `build` refuses it by name.
//!
//! Distributions are data below `osv/`, embedded in the crate and replaceable: see `provider.rs` for its layout.

#![deny(missing_docs)]

mod assign;
mod azl;
mod decode;
mod diagnostic;
mod emit;
pub mod layer;
mod load;
mod merge;
mod node;
mod provider;
mod retarget;
pub mod schema;
mod shape;
mod source;
pub mod spec;
mod suggest;
pub mod units;
mod validate;
mod yaml;

pub use diagnostic::{Code, Finding, Location, Report, Severity};
pub use load::{LoadRequest, Loaded, MergedTemplate, distribution_repositories, load, merge};
