//! RPM packages: stored so that the guest only copies, and the tools that install them, unpacked.
//!
//! ```text
//! package files ──RpmCache──► stored packages ──virtiofs──► rpm in the guest, one transaction ──► root disk
//! rpm and what it needs, of the same distribution ──tools_tree──► RootTree ──mke2fs -d──► tools disk of the guest
//! ```
//!
//! Unlike dpkg's, rpm's unpacking is no function of the packages alone: owners are accounts that scripts of other packages make
//! in between, and file triggers see what is there at the time. So rpm itself installs, in one transaction, in the guest. It is the
//! target's own rpm: it knows where the distribution has the database, and the database has the format that the image's rpm
//! reads. Since the image need not contain rpm, and an empty root contains none in any case, the guest starts it from a disk of its
//! own, the *tools disk*: rpm's packages with everything that they need, unpacked without running a script.
//!
//! A stored package differs from the downloaded one in one thing only: the payload is not compressed (see [`stored`]). Headers
//! are the same byte for byte, and so is what rpm writes into its database.

mod cpio;
mod package;
mod stored;
mod tools;

pub use cpio::CpioError;
pub use package::{Rpm, RpmCache, RpmError};
pub use tools::{ToolsError, tools_tree};
