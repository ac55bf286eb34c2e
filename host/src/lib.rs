//! `oic` builds bootable OS images from YAML templates without any privilege on the host.
//!
//! # Stages
//!
//! Each stage is a function of the types on its left; nothing is filled in later.
//!
//! ```text
//! TemplateSource → TemplateLayer → MergedTemplate → ImageSpec      oic-config: text to validated meaning
//! ImageSpec → PackageLock → StoredPackages                         repository, solve, lock, fetch, store
//! StoredPackages → RootTree → root disk                            rootfs: unpacked natively, packages not yet configured
//! ImageSpec + PackageLock → ComposePlan                            compose: lowering to wire steps, pure
//! ComposePlan + root disk → Session → ComposeReport                oic-builder-vm + oic-guest-agent: the only privileged part
//! root disk → RootTree → partitions → raw disk → Artifact…         rootfs, boot, disk, artifact: native, from trees
//! everything → BuildManifest + Sbom                                report
//! ```
//!
//! # Layers
//!
//! Only [`cli`] prints, only [`fetch`] touches the network, only [`exec`] spawns processes, and [`solve`] does no
//! I/O. `cargo xtask check-layers` holds the source against these rules.

pub mod artifact;
pub mod boot;
pub mod build;
mod causes;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod compose;
pub mod digest;
pub mod disk;
pub mod env;
pub mod exec;
pub mod fetch;
mod heap;
pub mod inspect;
pub mod lock;
pub mod report;
pub mod repository;
pub mod rootfs;
pub mod solve;
pub mod store;
pub mod toolchain;
