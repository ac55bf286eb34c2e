//! The build: every stage in order.
