//! From template text to a validated [`spec::ImageSpec`].

#![deny(missing_docs)]

pub mod spec;
pub mod units;
