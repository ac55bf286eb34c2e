//! Debian package files: decompressed once into the cache, then only ever read by reference.
//!
//! A `.deb` is an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`. The cached form is the same format with both
//! members uncompressed, so that it is itself a package that dpkg takes, and the content of each packaged file is a byte
//! range of it. Cache entries are named by the SHA-256 of the package as downloaded, appear atomically and never change.
//!
//! Packages are decompressed in parallel; each needs a fixed amount of memory whatever its size.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Take, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::{
    content::HostFile,
    path::Shown,
    tar_read::{self, TarEntry, TarError, TarKind},
};
use crate::{digest::Sha256Digest, store::note_use};

/// The first bytes of every `ar` archive.
const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
/// Length of a member's header.
const AR_HEADER: u64 = 60;
/// The most bytes that package control files may have together.
const MAX_CONTROL: u64 = 64 << 20;
/// The most bytes that a member may have: what its header can say.
const MAX_MEMBER: u64 = 9_999_999_999;
/// Memory that decompressing one package may take.
const MAX_DECODER_MEMORY: u64 = 256 << 20;

/// Why a package file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// A file cannot be read or written.
    #[error("cannot {operation} `{}`", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It is not a package.
    #[error("`{}` is not a usable Debian package: {reason}", path.display())]
    NotADeb {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One of its archives is damaged.
    #[error("`{}`: {member} is damaged", path.display())]
    Member {
        /// The package file.
        path: PathBuf,
        /// The member.
        member: &'static str,
        /// What is wrong.
        source: TarError,
    },
}

/// The decompressed packages.
#[derive(Debug, Clone)]
pub struct DebCache {
    folder: PathBuf,
}

impl DebCache {
    /// Uses a folder that exists.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns where the decompressed form of a package is or will be.
    #[must_use]
    pub fn entry(&self, digest: &Sha256Digest) -> PathBuf {
        self.folder.join(format!("{digest}.deb"))
    }

    /// Returns the decompressed form of a package, made now if it is not there yet.
    ///
    /// `digest` is that of `package`, which the caller has verified.
    ///
    /// # Errors
    /// Fails when the package is not one or the cache cannot be written.
    pub fn open(&self, package: &Path, digest: &Sha256Digest) -> Result<Deb, DebError> {
        let entry = self.entry(digest);
        // An entry that cannot be opened was cut short by a crash of the machine: it is made again.
        if let Ok(metadata) = entry.symlink_metadata()
            && let Ok(deb) = Deb::open(&entry)
        {
            note_use(&entry, &metadata);
            return Ok(deb);
        }
        let failed = |operation, source| DebError::Io { operation, path: entry.clone(), source };
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(|source| failed("create", source))?;
        decompress(package, file.as_file_mut(), &entry)?;
        // What another process has put there meanwhile is the same.
        file.persist(&entry).map_err(|error| failed("create", error.error))?;
        Deb::open(&entry)
    }

    /// Opens many packages in parallel. The result has the order of `packages`.
    ///
    /// # Errors
    /// Fails as [`Self::open`] does for the first package that cannot be opened.
    pub fn open_all(&self, packages: &[(PathBuf, Sha256Digest)]) -> Result<Vec<Deb>, DebError> {
        // The largest first, so that no thread is left alone with one at the end.
        let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        let mut order: Vec<usize> = (0..packages.len()).collect();
        order.sort_by_cached_key(|index| std::cmp::Reverse(size(&packages[*index].0)));
        let opened: Result<Vec<(usize, Deb)>, DebError> =
            order.into_par_iter().with_max_len(1).map(|index| Ok((index, self.open(&packages[index].0, &packages[index].1)?))).collect();
        let mut opened = opened?;
        opened.sort_by_key(|(index, _)| *index);
        Ok(opened.into_iter().map(|(_, deb)| deb).collect())
    }
}

/// A file of a package's control archive.
#[derive(Debug, Clone)]
pub struct ControlFile {
    /// Its name, for example `postinst`.
    pub name: String,
    /// Permission bits.
    pub mode: u16,
    /// Time of last modification.
    pub mtime: i64,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// A decompressed package.
#[derive(Debug, Clone)]
pub struct Deb {
    /// The files of the control archive, `control` among them, in the archive's order.
    pub control: Vec<ControlFile>,
    /// The table of the data archive; contents are ranges of [`Self::file`].
    pub entries: Vec<TarEntry>,
    /// The decompressed package.
    pub file: Arc<HostFile>,
}

impl Deb {
    /// Opens a package whose members are not compressed.
    ///
    /// # Errors
    /// Fails when it is not such a package.
    pub fn open(path: &Path) -> Result<Self, DebError> {
        let file = HostFile::open(path).map_err(|source| DebError::Io { operation: "open", path: path.to_owned(), source })?;
        let not_a_deb = |reason: String| DebError::NotADeb { path: path.to_owned(), reason };
        let members = members(&file).map_err(|reason| not_a_deb(reason.to_string()))?;
        let member = |name: &'static str| {
            let found = members.iter().find(|member| member.name == name.as_bytes());
            found.ok_or_else(|| not_a_deb(format!("it has no uncompressed `{name}`")))
        };
        let (control, data) = (member("control.tar")?, member("data.tar")?);
        let table = |member: &Member, name| {
            let entries = tar_read::read_table(&file, member.offset, member.size);
            entries.map_err(|source| DebError::Member { path: path.to_owned(), member: name, source })
        };
        if control.size > MAX_CONTROL {
            return Err(not_a_deb("its control archive is too large".to_owned()));
        }
        let mut files = Vec::new();
        for entry in table(control, "control.tar")? {
            let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
            let TarKind::File { offset, size } = entry.kind else {
                continue;
            };
            let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains('/'));
            let name = name.ok_or_else(|| not_a_deb(format!("its control archive has a file `{}`", Shown(&entry.path))))?;
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, offset).map_err(|source| DebError::Io { operation: "read", path: path.to_owned(), source })?;
            files.push(ControlFile { name: name.to_owned(), mode: entry.metadata.mode, mtime: entry.metadata.mtime, bytes: bytes.into() });
        }
        Ok(Self { control: files, entries: table(data, "data.tar")?, file })
    }

    /// Returns the bytes of a control file.
    #[must_use]
    pub fn control_file(&self, name: &str) -> Option<&[u8]> {
        self.control.iter().find(|file| file.name == name).map(|file| &*file.bytes)
    }
}

/// Returns the file `control` of a package as its distribution has made it. Nothing else of it is decompressed.
///
/// # Errors
/// Fails when it is not a package or has no such file, and when there is no room for its control archive.
pub fn read_control(package: &Path) -> Result<Vec<u8>, DebError> {
    const MEMBER: &str = "control.tar";
    let io = |operation| move |source| DebError::Io { operation, path: package.to_owned(), source };
    let not_a_deb = |reason: String| DebError::NotADeb { path: package.to_owned(), reason };
    let file = HostFile::open(package).map_err(io("open"))?;
    let members = members(&file).map_err(|reason| not_a_deb(reason.to_string()))?;
    let member = members.iter().find(|member| member.name.starts_with(MEMBER.as_bytes()));
    let member = member.ok_or_else(|| not_a_deb(format!("it has no `{MEMBER}`")))?;
    let mut source = file.try_clone().map_err(io("read"))?;
    source.seek(SeekFrom::Start(member.offset)).map_err(io("read"))?;
    let mut reader = decoder(&member.name[MEMBER.len()..], source.take(member.size)).map_err(|reason| not_a_deb(reason.to_string()))?;
    let mut plain = tempfile::NamedTempFile::new().map_err(io("decompress"))?;
    let size = copy_limited(&mut reader, &mut plain, MAX_CONTROL).map_err(|(source, _)| io("decompress")(source))?;
    let size = size.ok_or_else(|| not_a_deb("its control archive is too large".to_owned()))?;
    let plain = HostFile::open(plain.path()).map_err(io("decompress"))?;
    let entries = tar_read::read_table(&plain, 0, size);
    let entries = entries.map_err(|source| DebError::Member { path: package.to_owned(), member: MEMBER, source })?;
    let control = entries.iter().find_map(|entry| match entry.kind {
        TarKind::File { offset, size } if matches!(&entry.path[..], b"./control" | b"control") => Some((offset, size)),
        _ => None,
    });
    let (offset, size) = control.ok_or_else(|| not_a_deb("it has no control file".to_owned()))?;
    let mut bytes = vec![0; size as usize];
    plain.read_exact_at(&mut bytes, offset).map_err(io("read"))?;
    Ok(bytes)
}

/// A member of an `ar` archive.
struct Member {
    name: Vec<u8>,
    offset: u64,
    size: u64,
}

/// Reads the members of a package; at most a handful are there.
fn members(file: &HostFile) -> io::Result<Vec<Member>> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).map_err(|_| invalid("it is shorter than any package"))?;
    if &magic != AR_MAGIC {
        return Err(invalid("it does not start as an ar archive"));
    }
    let mut members = Vec::new();
    let mut position = magic.len() as u64;
    while position < file.size() && members.len() < 64 {
        let mut header = [0; AR_HEADER as usize];
        file.read_exact_at(&mut header, position).map_err(|_| invalid("it ends within a member's header"))?;
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
        let (Some(size), b"`\n") = (size, &header[58..60]) else { return Err(invalid("a member's header is damaged")) };
        let offset = position + AR_HEADER;
        if size > file.size() - offset {
            return Err(invalid("it is cut short"));
        }
        let name = header[..16].trim_ascii_end();
        members.push(Member { name: name.strip_suffix(b"/").unwrap_or(name).to_vec(), offset, size });
        position = (offset + size).next_multiple_of(2);
    }
    Ok(members)
}

/// Writes the decompressed form of a package.
fn decompress(package: &Path, output: &mut File, entry: &Path) -> Result<(), DebError> {
    let reading = |source| DebError::Io { operation: "read", path: package.to_owned(), source };
    let writing = |source| DebError::Io { operation: "write", path: entry.to_owned(), source };
    let not_a_deb = |reason: String| DebError::NotADeb { path: package.to_owned(), reason };
    let file = HostFile::open(package).map_err(reading)?;
    let members = members(&file).map_err(|reason| not_a_deb(reason.to_string()))?;
    let version = members.first().filter(|member| member.name == b"debian-binary" && member.size < 64);
    let version = version.ok_or_else(|| not_a_deb("its first member is not `debian-binary`".to_owned()))?;
    let mut text = vec![0; version.size as usize];
    file.read_exact_at(&mut text, version.offset).map_err(reading)?;
    if !text.starts_with(b"2.") {
        return Err(not_a_deb(format!("it has format {}, only 2 is known", Shown(text.trim_ascii()))));
    }
    let mut output = BufWriter::with_capacity(256 * 1024, output);
    output.write_all(AR_MAGIC).map_err(writing)?;
    output.write_all(&member_header("debian-binary", 4)).and_then(|()| output.write_all(b"2.0\n")).map_err(writing)?;
    let mut position = AR_MAGIC.len() as u64 + AR_HEADER + 4;
    for (name, limit) in [("control.tar", MAX_CONTROL), ("data.tar", MAX_MEMBER)] {
        let member = members.iter().find(|member| member.name.starts_with(name.as_bytes()));
        let member = member.ok_or_else(|| not_a_deb(format!("it has no `{name}`")))?;
        let mut source = file.try_clone().map_err(reading)?;
        // The handle's position is shared by its clones, but this package is read by this thread alone.
        source.seek(SeekFrom::Start(member.offset)).map_err(reading)?;
        let mut reader = decoder(&member.name[name.len()..], source.take(member.size)).map_err(|reason| not_a_deb(reason.to_string()))?;
        output.write_all(&member_header(name, 0)).map_err(writing)?;
        let size = copy_limited(&mut reader, &mut output, limit)
            .map_err(|error| if error.1 { reading(error.0) } else { writing(error.0) })?
            .ok_or_else(|| not_a_deb(format!("its `{name}` is larger than {limit} bytes")))?;
        output.flush().map_err(writing)?;
        std::os::unix::fs::FileExt::write_all_at(&**output.get_ref(), &member_header(name, size), position).map_err(writing)?;
        position += AR_HEADER + size;
        if size % 2 == 1 {
            output.write_all(b"\n").map_err(writing)?;
            position += 1;
        }
    }
    output.flush().map_err(writing)
}

/// Returns an `ar` header with everything that is not the package's fixed.
fn member_header(name: &str, size: u64) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes()
}

/// Returns a decoder by the ending of a member's name.
fn decoder(ending: &[u8], source: Take<File>) -> io::Result<Box<dyn Read>> {
    let source = BufReader::with_capacity(256 * 1024, source);
    Ok(match ending {
        b"" => Box::new(source),
        b".xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_DECODER_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
        b".gz" => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        b".zst" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, format!("`{}` is not a known compression", Shown(ending)))),
    })
}

/// Copies everything, or returns none when that is more than `limit`. An error says whether reading failed.
fn copy_limited(reader: &mut dyn Read, output: &mut impl Write, limit: u64) -> Result<Option<u64>, (io::Error, bool)> {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(Some(total)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err((error, true)),
        };
        total += count as u64;
        if total > limit {
            return Ok(None);
        }
        output.write_all(&buffer[..count]).map_err(|error| (error, false))?;
    }
}
