//! From one finished image to another: any container that is read to any that is written, compressed or not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use oic_builder_vm::Cancel;
use oic_disk_formats::{self as disk_formats, Compression, DiskReader, Format, SparseFile, Stamp};

use super::{
    ArtifactError,
    open::{ImageOpenError, OpenedImage},
    place,
};
use crate::build::progress::{Event, Observer, Stage, Unit};

/// How much is read between two words on the progress.
const STRIDE: u64 = 32 << 20;

/// Why an image cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The input cannot be opened.
    #[error(transparent)]
    Open(#[from] ImageOpenError),
    /// The output is there and is no regular file.
    #[error("`{}` is not a regular file, and is not replaced", .0.display())]
    NotAFile(PathBuf),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] ArtifactError),
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// What to convert, and to what.
#[derive(Debug, Clone)]
pub struct ConvertRequest {
    /// The image.
    pub input: PathBuf,
    /// The file to write; one that is there is replaced when the new one is complete.
    pub output: PathBuf,
    /// The container of the output.
    pub format: Format,
    /// How the output is compressed.
    pub compression: Option<Compression>,
    /// Folder for what has to be decompressed.
    pub scratch: PathBuf,
}

/// What a conversion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertOutcome {
    /// The container of the input.
    pub from: Format,
    /// Size of the disk.
    pub disk: u64,
    /// Size of the file that was written.
    pub written: u64,
}

/// Converts an image. The same input gives the same bytes at any time.
///
/// # Errors
/// Fails when the input cannot be read or the output cannot be written; the output is then what it was before.
pub fn convert(request: &ConvertRequest, cancel: &Cancel, observer: &dyn Observer) -> Result<ConvertOutcome, ConvertError> {
    if fs::metadata(&request.output).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(ConvertError::NotAFile(request.output.clone()));
    }
    let input = OpenedImage::open(&request.input, &request.scratch)?;
    let watched = Watched { disk: &*input.disk, cancel, observer, count: &Mutex::default() };
    let written = write(&watched, request);
    if cancel.is_cancelled() {
        return Err(ConvertError::Cancelled);
    }
    written?;
    let written = fs::metadata(&request.output).map_or(0, |metadata| metadata.len());
    Ok(ConvertOutcome { from: input.format, disk: input.disk.size(), written })
}

fn write(disk: &Watched<'_>, request: &ConvertRequest) -> Result<(), ArtifactError> {
    // The name inside is that of the container, whatever compresses it.
    let name = request.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = match request.compression {
        Some(compression) => name.strip_suffix(&format!(".{}", compression.extension())).unwrap_or(&name).to_owned(),
        None => name,
    };
    let stamp = || Stamp::new(disk, 0, &name);
    place(&request.output, |file| match request.compression {
        None => disk_formats::write(disk, request.format, &stamp()?, file),
        Some(compression) if request.format == Format::Raw => disk_formats::compress(disk, compression, file),
        Some(compression) => {
            let folder = request.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let container = tempfile::tempfile_in(folder)?;
            disk_formats::write(disk, request.format, &stamp()?, &container)?;
            let container = SparseFile::new(container)?;
            disk_formats::compress(&Watched { disk: &container, ..*disk }, compression, file)
        }
    })
}

/// How much was read, and up to where that was told.
#[derive(Debug, Default)]
struct Count {
    read: u64,
    told: u64,
}

/// A disk that says how much of it was read, and stops being readable when the user has had enough.
#[derive(Clone, Copy)]
struct Watched<'a> {
    disk: &'a dyn DiskReader,
    cancel: &'a Cancel,
    observer: &'a dyn Observer,
    count: &'a Mutex<Count>,
}

impl std::fmt::Debug for Watched<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl DiskReader for Watched<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.disk.read_at(buffer, offset)?;
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.read += buffer.len() as u64;
        if count.read - count.told >= STRIDE {
            count.told = count.read;
            let event = Event::Progress { stage: Stage::Artifacts, done: count.read, total: None, unit: Unit::Bytes, item: "" };
            self.observer.event(&event);
        }
        Ok(())
    }

    fn is_hole(&self, start: u64, length: u64) -> bool {
        self.disk.is_hole(start, length)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::build::progress::Silent;

    #[test]
    fn there_and_back_through_every_container_and_compression() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("disk.raw");
        let file = fs::File::create(&raw).unwrap();
        file.set_len(6 << 20).unwrap();
        file.write_all_at(&[7; 70_000], 3 << 20).unwrap();
        let cancel = Cancel::new().unwrap();
        let run = |input: &Path, output: &Path, format, compression| {
            let (input, output, scratch) = (input.to_owned(), output.to_owned(), folder.path().to_owned());
            convert(&ConvertRequest { input, output, format, compression, scratch }, &cancel, &Silent)
        };
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        for format in Format::ALL {
            for compression in [None, Some(Compression::Zstd), Some(Compression::Bz2)] {
                run(&raw, &there, format, compression).unwrap();
                let outcome = run(&there, &back, Format::Raw, None).unwrap();
                assert_eq!((outcome.from, outcome.disk, outcome.written), (format, 6 << 20, 6 << 20));
                assert!(fs::read(&back).unwrap() == fs::read(&raw).unwrap(), "{format} {compression:?}");
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
        let error = run(&raw, Path::new("/dev/null"), Format::Raw, None).unwrap_err();
        assert_eq!(error.to_string(), "`/dev/null` is not a regular file, and is not replaced");
        cancel.cancel();
        assert!(matches!(run(&raw, &there, Format::Raw, None), Err(ConvertError::Cancelled)));
    }
}
