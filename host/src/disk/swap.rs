//! Swap space as `mkswap` makes it: one page of header, version 1.
//!
//! ```text
//! offset  1024  u32 version (1), u32 last page, u32 number of bad pages
//!         1036  UUID, 16 bytes
//!         1052  label, 16 bytes
//!         4086  "SWAPSPACE2"
//! ```

use std::{fs::File, io, os::unix::fs::FileExt};

use uuid::Uuid;

/// The page size that every supported architecture can use.
const PAGE: u64 = 4096;
/// The smallest swap space that a kernel takes.
const MIN_PAGES: u64 = 10;

/// Why swap space cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// It is too small or too large.
    #[error("{size} bytes cannot be swap space: 10 pages to 16 TiB can")]
    Size {
        /// The size.
        size: u64,
    },
    /// Writing failed.
    #[error("cannot write the swap space")]
    Write(#[from] io::Error),
}

/// Writes the header of swap space that is `size` bytes from `offset` on.
///
/// # Errors
/// Fails when the size is impossible or writing fails.
pub fn write(file: &File, offset: u64, size: u64, uuid: Uuid, label: Option<&str>) -> Result<(), SwapError> {
    let pages = size / PAGE;
    let last = u32::try_from(pages.saturating_sub(1)).map_err(|_| SwapError::Size { size })?;
    if pages < MIN_PAGES {
        return Err(SwapError::Size { size });
    }
    let mut page = [0; PAGE as usize];
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&last.to_le_bytes());
    page[1036..1052].copy_from_slice(uuid.as_bytes());
    let label = label.unwrap_or_default().as_bytes();
    let label = &label[..label.len().min(16)];
    page[1052..1052 + label.len()].copy_from_slice(label);
    page[4086..].copy_from_slice(b"SWAPSPACE2");
    Ok(file.write_all_at(&page, offset)?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{exec, rootfs::testing};

    #[test]
    fn the_header_is_what_mkswap_writes() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        let uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        for path in [&ours, &theirs] {
            File::create(path).unwrap().set_len(1 << 20).unwrap();
        }
        write(&File::options().write(true).open(&ours).unwrap(), 0, 1 << 20, uuid, Some("swap")).unwrap();
        assert!(write(&File::create(folder.path().join("small")).unwrap(), 0, 4096, uuid, None).is_err());
        if testing::tool("mkswap").is_none() {
            testing::skip("there is no mkswap to compare with");
            return;
        }
        exec::run(Command::new("mkswap").args(["-U", &uuid.to_string(), "-L", "swap", "-p", "4096"]).arg(&theirs)).unwrap();
        assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap());
    }
}
