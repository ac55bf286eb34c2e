//! `oic config`: the global configuration.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
};

use oic_config::units::ByteSize;

use crate::cli::{
    command_error::{CommandError, Hint},
    exit_code::ExitCode,
    printer::{Printer, Style},
    settings::{ConfigInitSettings, GlobalSettings, Origin},
};

/// The file that `oic config init` writes: every key with its default, all commented out.
const COMMENTED: &str = include_str!("../oic.yml");

/// Why no configuration file was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigInitError {
    /// There is one already.
    #[error("`{}` exists", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write `{}`", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl Hint for ConfigInitError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Exists { .. } => vec!["replace it with `--force`, or name another file".into()],
            Self::Unwritable { .. } => Vec::new(),
        }
    }
}

/// Writes a commented configuration file.
pub(crate) fn config_init(settings: &ConfigInitSettings, printer: &Printer) -> Result<(), CommandError> {
    let file = settings.file.clone();
    let mut options = OpenOptions::new();
    options.write(true);
    if settings.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(&file).and_then(|mut output| output.write_all(COMMENTED.as_bytes()));
    match written {
        Ok(()) => {
            printer.note(&format!("wrote {}", file.display()));
            Ok(())
        }
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            Err(CommandError::new(ExitCode::Usage, ConfigInitError::Exists { file }))
        }
        Err(source) => Err(CommandError::new(ExitCode::Output, ConfigInitError::Unwritable { file, source })),
    }
}

/// Prints every setting as YAML, with its origin as a comment.
pub(crate) fn config_show(settings: &GlobalSettings, printer: &Printer) -> Result<(), CommandError> {
    let rows = rows(settings);
    let width = rows.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    for (text, origin) in rows {
        let line = match origin {
            Some(origin) => format!("{text:width$}  {}", printer.styled_result(Style::Dim, &format!("# {origin}"))),
            None => text,
        };
        printer.raw_result(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// Returns the lines of the YAML and the origin of each value.
fn rows(settings: &GlobalSettings) -> Vec<(String, Option<&Origin>)> {
    let path = |path: &PathBuf| scalar(&path.to_string_lossy());
    let mut rows = vec![
        (format!("workers: {}", settings.workers.value), Some(&settings.workers.origin)),
        (format!("cache_dir: {}", path(&settings.cache_dir.value)), Some(&settings.cache_dir.origin)),
        (format!("cache_max_size: {}", size_text(settings.cache_max_size.value)), Some(&settings.cache_max_size.origin)),
        (format!("work_dir: {}", path(&settings.work_dir.value)), Some(&settings.work_dir.origin)),
        (format!("temp_dir: {}", path(&settings.temp_dir.value)), Some(&settings.temp_dir.origin)),
    ];
    match &settings.config_dir {
        Some(dir) => rows.push((format!("config_dir: {}", path(&dir.value)), Some(&dir.origin))),
        None => rows.push(("config_dir: null".into(), Some(&Origin::Default))),
    }
    rows.push(("logging:".into(), None));
    rows.push((format!("  level: {}", settings.log_level.value.name()), Some(&settings.log_level.origin)));
    match &settings.log_file {
        Some(file) => rows.push((format!("  file: {}", path(&file.value)), Some(&file.origin))),
        None => rows.push(("  file: null".into(), Some(&Origin::Default))),
    }
    if settings.mirrors.is_empty() {
        rows.push(("mirrors: {}".into(), Some(&Origin::Default)));
    } else {
        rows.push(("mirrors:".into(), None));
    }
    for (name, url) in &settings.mirrors {
        rows.push((format!("  {}: {}", scalar(name), scalar(&url.value.to_string())), Some(&url.origin)));
    }
    rows
}

/// Returns a limit as the file has it.
fn size_text(size: Option<ByteSize>) -> String {
    size.map_or_else(|| "none".to_owned(), |size| size.to_string())
}

/// Returns text as a YAML scalar: bare where that is safe, else quoted as JSON, which YAML understands.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+~:".contains(c))
        && !text.ends_with(':');
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ffi::OsString};

    use super::*;
    use crate::cli::{
        args::{GlobalArgs, ProgressMode},
        config_file,
    };

    #[test]
    fn the_commented_file_is_valid_as_it_is_and_without_its_comment_signs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("oic.yml");
        let bare: String = COMMENTED.lines().map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line))).collect();
        for text in [COMMENTED, &bare] {
            std::fs::write(&file, text).unwrap();
            let document = config_file::load(&file).unwrap().document;
            assert_eq!(document.workers.is_some(), text != COMMENTED);
            assert_eq!(document.mirrors.is_some(), text != COMMENTED);
            assert_eq!(document.logging.is_some_and(|logging| logging.file.is_some()), text != COMMENTED);
        }
    }

    #[test]
    fn what_show_prints_is_a_configuration_with_the_same_values() {
        let variables: BTreeMap<String, OsString> =
            [("OIC_MIRROR_DEBIAN", "http://localhost/debian/"), ("OIC_CACHE_DIR", "/a folder/#1: x"), ("OIC_WORKERS", "3")]
                .map(|(name, value)| (name.to_owned(), value.into()))
                .into();
        let settings = GlobalSettings::resolve(&GlobalArgs::default(), &variables, &[]).unwrap();
        let text: String = rows(&settings).into_iter().map(|(line, _)| line + "\n").collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("oic.yml");
        std::fs::write(&file, text).unwrap();
        let again = GlobalSettings::resolve(&GlobalArgs::default(), &BTreeMap::new(), &[config_file::load(&file).unwrap()]).unwrap();
        assert_eq!(again.cache_dir.value, settings.cache_dir.value);
        assert_eq!(again.workers.value, settings.workers.value);
        assert_eq!(again.mirrors["debian"].value, settings.mirrors["debian"].value);
        assert!(again.config_dir.is_none() && again.log_file.is_none());
        // The progress mode is no key of the file: it belongs to a terminal, not to a user.
        assert_eq!(settings.progress.value, ProgressMode::Auto);
    }
}
