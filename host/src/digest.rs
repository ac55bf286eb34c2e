//! SHA-256 digests, the only kind that anything is addressed or verified by.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    str::FromStr,
};

use rustix::fs::{SeekFrom, seek};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How much of a file is read at a time.
const CHUNK: usize = 256 * 1024;

/// A SHA-256 digest; text form is 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// Returns the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the digest of everything that `reader` yields.
    ///
    /// # Errors
    /// Fails when reading does.
    pub fn of_reader(reader: &mut impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the digest of a file. Its holes are never read: reading them would fill the host's memory with zeros.
    ///
    /// # Errors
    /// Fails when reading does.
    pub fn of_file(file: &File) -> io::Result<Self> {
        use std::os::unix::fs::FileExt as _;
        let size = file.metadata()?.len();
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; CHUNK];
        let mut position = 0;
        while position < size {
            // A filesystem that knows no holes has data everywhere; behind the last data is a hole.
            let data = match seek(file, SeekFrom::Data(position)) {
                Ok(data) => data.clamp(position, size),
                Err(rustix::io::Errno::NXIO) => size,
                Err(_) => position,
            };
            hasher.update_zeros(data - position);
            let end = seek(file, SeekFrom::Hole(data)).map_or(size, |hole| hole.min(size));
            position = data;
            while position < end {
                let count = usize::try_from(end - position).unwrap_or(CHUNK).min(CHUNK);
                file.read_exact_at(&mut buffer[..count], position)?;
                hasher.update(&buffer[..count]);
                position += count as u64;
            }
        }
        Ok(hasher.finish())
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// The text is not a SHA-256 digest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{text}` is not a SHA-256 digest: 64 hexadecimal digits are expected")]
pub struct ParseDigestError {
    text: String,
}

impl FromStr for Sha256Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseDigestError { text: text.to_owned() };
        if text.len() != 64 || !text.is_ascii() {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(invalid)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> Self {
        digest.to_string()
    }
}

/// Hashes as bytes pass by.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes that many zeros.
    fn update_zeros(&mut self, mut count: u64) {
        const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
        while count > 0 {
            let part = count.min(ZEROS.len() as u64);
            self.update(&ZEROS[..part as usize]);
            count -= part;
        }
    }

    /// Returns the digest of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_file_with_holes_has_the_digest_of_its_bytes() {
        for (size, data) in
            [(0, vec![]), (3 << 20, vec![]), ((3 << 20) + 5, vec![0]), (3 << 20, vec![1 << 20, (3 << 20) - 7]), (70_000, vec![0, 69_993])]
        {
            let file = tempfile::tempfile().unwrap();
            file.set_len(size).unwrap();
            for place in data {
                file.write_all_at(b"content", place).unwrap();
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(Sha256Digest::of_file(&file).unwrap(), Sha256Digest::of(&bytes));
        }
    }

    #[test]
    fn text_form_round_trips_and_rejects_everything_else() {
        let digest = Sha256Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse::<Sha256Digest>().unwrap(), digest);
        for bad in ["", "ba78", &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<Sha256Digest>().is_err(), "{bad}");
        }
        assert_eq!(Sha256Digest::of_reader(&mut &b"abc"[..]).unwrap(), digest);
    }
}
