//! VMM program adaptors: from a [`crate::VmConfig`] to what is executed. QEMU is the only one.

pub mod qemu;
