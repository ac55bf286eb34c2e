//! GRUB for BIOS firmware: a boot sector and a core image that it loads.
//!
//! The two are of one piece with the places where they lie on the disk: [`crate::disk::bios`] puts them there and writes the
//! places into them.

use super::{BootVolume, folder, make_image};
use crate::boot::{BootError, BootInput, read, required};

/// GRUB's name of the platform, and the package with its modules as Debian calls it.
const PLATFORM: &str = "i386-pc";
const PACKAGE: &str = "grub-pc-bin";

/// What BIOS firmware starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BiosProgram {
    /// The boot sector, GRUB's `boot.img`.
    pub boot: Vec<u8>,
    /// What the boot sector loads, GRUB's `core.img`.
    pub core: Vec<u8>,
}

/// Makes the programs from the modules of the target.
///
/// # Errors
/// Fails when the target has none, or files cannot be read or written.
pub fn program(input: &BootInput<'_>, volume: &BootVolume) -> Result<BiosProgram, BootError> {
    let boot_path = format!("/usr/lib/grub/{PLATFORM}/boot.img");
    let boot = read(required(input.root, &boot_path, PACKAGE)?, &boot_path)?;
    let core = make_image(input, volume, PLATFORM, PACKAGE, &volume.path(folder(input.root)))?;
    let core = std::fs::read(&core).map_err(super::failed(&core))?;
    Ok(BiosProgram { boot, core })
}
