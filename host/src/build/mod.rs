//! The build: every stage in order.

pub mod agents;
