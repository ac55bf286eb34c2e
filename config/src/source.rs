//! Template files: reading them, and remembering which value came from where.
//!
//! A [`SourceMap`] owns one [`Source`] per file (or command-line assignment) that took part, in merge order. Values carry an
//! [`Origin`], which is five small numbers; [`SourceMap::location`] turns it into a [`Location`] for a message.
//!
//! Invariant: the text kept for messages has passwords masked, byte for byte, so that no renderer can show one.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Code, Finding, Location};

/// Largest template that is read. The largest known one has 12 KiB.
pub(crate) const MAX_TEMPLATE_SIZE: u64 = 1 << 20;

/// Name of the layer that `--set` and `--arch` make.
pub(crate) const COMMAND_LINE: &str = "command line";

/// The number of a source in its [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SourceId(pub(crate) u32);

/// The place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// File.
    pub(crate) source: SourceId,
    /// Line from 1; 0 for the file as a whole.
    pub(crate) line: u32,
    /// Column from 1.
    pub(crate) column: u32,
    /// Byte offset in the text.
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) len: u32,
}

impl Origin {
    /// Returns the origin that means the file as a whole.
    pub(crate) fn whole(source: SourceId) -> Self {
        Self { source, line: 0, column: 0, offset: 0, len: 0 }
    }
}

/// One file that took part.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What messages call it.
    pub(crate) name: String,
    /// Folder that relative paths in it start from; none for built-in data.
    pub(crate) base: Option<PathBuf>,
    /// Text with passwords masked.
    text: Arc<str>,
}

/// All files that took part.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceMap(Vec<Source>);

impl SourceMap {
    /// Adds a source and returns its number.
    pub(crate) fn add(&mut self, name: impl Into<String>, base: Option<PathBuf>, text: &str) -> SourceId {
        let id = SourceId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push(Source { name: name.into(), base, text: mask_secrets(text).into() });
        id
    }

    /// Returns the source with this number.
    pub(crate) fn get(&self, id: SourceId) -> Option<&Source> {
        self.0.get(usize::try_from(id.0).ok()?)
    }

    /// Returns the place for a message.
    pub(crate) fn location(&self, origin: Origin) -> Location {
        let (file, text) =
            self.get(origin.source).map_or((COMMAND_LINE, "".into()), |source| (source.name.as_str(), Arc::clone(&source.text)));
        let start = usize::try_from(origin.offset).unwrap_or(usize::MAX).min(text.len());
        let len = usize::try_from(origin.len).unwrap_or(0).min(text.len() - start);
        Location { file: file.to_owned(), line: origin.line, column: origin.column, span: (start, len), text }
    }

    /// Returns `path` against the folder of the source that `origin` is in.
    pub(crate) fn resolve_path(&self, origin: Origin, path: &str) -> PathBuf {
        let base = self.get(origin.source).and_then(|source| source.base.as_deref()).unwrap_or(Path::new(""));
        let joined = base.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}

/// Reads a template.
///
/// # Errors
/// Returns a finding when it is not a YAML file by name, not a regular file, larger than [`MAX_TEMPLATE_SIZE`], not UTF-8, or not there.
pub(crate) fn read_template(path: &Path) -> Result<String, Box<Finding>> {
    let shown = path.display();
    if !path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
        return Err(unreadable(format!(
            "{shown} is not a template: its name does not end in .yml or .yaml (or .json, for a config of the Azure Linux toolkit)"
        )));
    }
    read_text(path)
}

/// Reads a text file of at most [`MAX_TEMPLATE_SIZE`].
pub(crate) fn read_text(path: &Path) -> Result<String, Box<Finding>> {
    let shown = path.display();
    let failed = |error: std::io::Error| unreadable(format!("cannot read {shown}: {error}"));
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(unreadable(format!("{shown} is not a regular file")));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_TEMPLATE_SIZE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_TEMPLATE_SIZE {
        return Err(unreadable(format!("{shown} is larger than {} KiB, which no template is", MAX_TEMPLATE_SIZE >> 10)));
    }
    String::from_utf8(bytes)
        .map_err(|error| unreadable(format!("{shown} is not UTF-8 text: byte {} is not", error.utf8_error().valid_up_to())))
}

fn unreadable(message: String) -> Box<Finding> {
    Box::new(Finding::error(Code::Unreadable, message))
}

/// Returns `text` with what follows `password:` replaced by asterisks, byte for byte, so that offsets stay valid.
///
/// It works on lines rather than on parsed values, because it has to hold for text that does not parse.
fn mask_secrets(text: &str) -> String {
    const KEY: &str = "password";
    let mut masked = String::with_capacity(text.len());
    // The indentation of a key whose value goes on over the following, deeper lines.
    let mut block: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\n', '\r']);
        let indent = body.len() - body.trim_start().len();
        if block.is_some_and(|key| body.trim().is_empty() || indent > key) {
            mask_from(&mut masked, line, indent);
            continue;
        }
        block = None;
        let lower = body.to_ascii_lowercase();
        let value = lower.find(KEY).and_then(|at| {
            let rest = lower[at + KEY.len()..].trim_start_matches(['"', '\'']).trim_start();
            (rest.starts_with([':', '='])).then(|| body.len() - rest.len() + 1)
        });
        match value {
            Some(from) => {
                block = Some(body.find(|c: char| !(c.is_whitespace() || c == '-')).unwrap_or(indent));
                mask_from(&mut masked, line, from);
            }
            None => masked.push_str(line),
        }
    }
    masked
}

/// Appends `line`, every byte from `from` on that is not white space replaced by an asterisk.
fn mask_from(masked: &mut String, line: &str, from: usize) {
    masked.push_str(&line[..from]);
    for character in line[from..].chars() {
        if character.is_whitespace() {
            masked.push(character);
        } else {
            masked.extend(std::iter::repeat_n('*', character.len_utf8()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_every_form_of_a_password_and_keeps_offsets() {
        for text in [
            "- name: a\n  password: s3cret # why\n  sudo: true\n",
            "- {name: a, password: s3cret}\n",
            "  password: |\n    s3cret\n  sudo: true\n",
            "  \"password\": 's3cret\n    s3cret'\n  sudo: true\n",
            "password: s3crét",
            "systemConfig.users[0].password=s3cret",
        ] {
            let masked = mask_secrets(text);
            assert!(!masked.contains("s3cr"), "{masked}");
            assert_eq!(masked.len(), text.len());
            assert_eq!(masked.contains("sudo: true"), text.contains("sudo: true"), "{masked}");
        }
        assert_eq!(mask_secrets("passwordMaxAge: 5\n"), "passwordMaxAge: 5\n");
    }

    #[test]
    fn refuses_what_is_no_template() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yml");
        std::fs::write(&path, vec![b'a'; usize::try_from(MAX_TEMPLATE_SIZE).unwrap() + 1]).unwrap();
        assert!(read_template(&path).unwrap_err().message.contains("larger than 1024 KiB"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_template(&path).unwrap_err().message.contains("byte 0 is not"));
        assert!(read_template(folder.path()).unwrap_err().message.contains("does not end in .yml"));
        assert!(read_template(&folder.path().join("b.yml")).unwrap_err().message.contains("No such file"));
    }
}
