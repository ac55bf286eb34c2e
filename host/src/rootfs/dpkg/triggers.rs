//! The triggers that packages are interested in.

use std::collections::BTreeMap;

use super::{MergeError, Package};

/// The content of `/var/lib/dpkg/triggers`.
#[derive(Debug, Default)]
pub(super) struct Interests {
    /// File triggers in the order of registration: path, package, options.
    files: Vec<(String, String, &'static str)>,
    /// Named triggers: lines of package and options.
    named: BTreeMap<String, Vec<(String, &'static str)>>,
}

impl Interests {
    /// Registers what a package's `triggers` file says.
    pub(super) fn register(&mut self, package: &Package) -> Result<(), MergeError> {
        let Some(text) = package.input.deb.control_file("triggers") else { return Ok(()) };
        let malformed = |reason: String| MergeError::ControlFile { package: package.name.clone(), file: "triggers", reason };
        for line in String::from_utf8_lossy(text).lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (directive, name) = line.split_once(char::is_whitespace).ok_or_else(|| malformed(format!("`{line}` names no trigger")))?;
            let name = name.trim();
            let options = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                "activate" | "activate-await" | "activate-noawait" => continue,
                _ => return Err(malformed(format!("`{directive}` is not a directive"))),
            };
            self.interest(name, package.database_name(), options).ok_or_else(|| malformed(format!("`{name}` cannot be a trigger")))?;
        }
        Ok(())
    }

    /// Registers one interest. Returns none when dpkg would not take the trigger's name.
    fn interest(&mut self, trigger: &str, package: String, options: &'static str) -> Option<()> {
        if trigger.starts_with('/') {
            if trigger.contains("//") || trigger.len() > 1 && trigger.ends_with('/') || trigger.contains(char::is_whitespace) {
                return None;
            }
            match self.files.iter_mut().find(|(path, owner, _)| path == trigger && *owner == package) {
                Some((_, _, known)) => *known = options,
                None => self.files.push((trigger.to_owned(), package, options)),
            }
            return Some(());
        }
        let is_name = trigger.starts_with(|c: char| c.is_ascii_alphanumeric())
            && trigger.chars().all(|c| c.is_ascii_alphanumeric() || "-+.".contains(c));
        if !is_name || ["File", "Unincorp", "Lock"].contains(&trigger) {
            return None;
        }
        let lines = self.named.entry(trigger.to_owned()).or_default();
        lines.retain(|(owner, _)| *owner != package);
        lines.push((package, options));
        Some(())
    }

    /// Returns the files of the folder by name.
    pub(super) fn render(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        if !self.files.is_empty() {
            let lines = self.files.iter().map(|(path, package, options)| format!("{path} {package}{options}\n"));
            files.insert("File".to_owned(), lines.collect());
        }
        for (name, lines) in &self.named {
            files.insert(name.clone(), lines.iter().map(|(package, options)| format!("{package}{options}\n")).collect());
        }
        files
    }
}
