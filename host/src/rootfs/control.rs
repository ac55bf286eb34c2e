//! Control stanzas of Debian packages, read and written as dpkg does it.

use std::str::FromStr;

use debversion::Version;

/// Why a stanza cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The text is not one stanza.
    #[error("the control file is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A field that every package has is not there.
    #[error("the control file has no field `{field}`")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A relation cannot be understood.
    #[error("the field `{field}` has an unreadable relation: {relation}")]
    Relation {
        /// The field.
        field: String,
        /// The relation.
        relation: String,
    },
}

/// The fields that dpkg knows, in the order in which it writes them. Those that follow `Conffiles` come after it.
const FIELD_ORDER: [&str; 25] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
];

/// The fields with relations to other packages.
const RELATION_FIELDS: [&str; 9] =
    ["Replaces", "Provides", "Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks", "Conflicts", "Enhances"];

/// Fields that dpkg takes but never writes into its status file.
const NOT_IN_STATUS: [&str; 7] = ["Config-Version", "Filename", "Size", "MD5sum", "MSDOS-Filename", "Triggers-Pending", "Triggers-Awaited"];

/// One alternative of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package.
    pub name: String,
    /// `any` or an architecture, where the relation has one.
    pub qualifier: Option<String>,
    /// Operator as dpkg writes it, and version.
    pub version: Option<(&'static str, String)>,
}

impl Relation {
    /// Returns whether a version satisfies the relation.
    #[must_use]
    pub fn is_satisfied_by(&self, version: &str) -> bool {
        let Some((operator, wanted)) = &self.version else { return true };
        let (Ok(version), Ok(wanted)) = (Version::from_str(version), Version::from_str(wanted)) else { return false };
        match *operator {
            "<<" => version < wanted,
            "<=" => version <= wanted,
            "=" => version == wanted,
            ">=" => version >= wanted,
            _ => version > wanted,
        }
    }

    fn render(&self) -> String {
        let qualifier = self.qualifier.as_ref().map_or_else(String::new, |qualifier| format!(":{qualifier}"));
        let version = self.version.as_ref().map_or_else(String::new, |(operator, version)| format!(" ({operator} {version})"));
        format!("{}{qualifier}{version}", self.name)
    }
}

/// A control stanza.
#[derive(Debug, Clone)]
pub struct Stanza {
    /// Field names and values in the order of the file. Values keep their continuation lines.
    fields: Vec<(String, String)>,
}

impl Stanza {
    /// Parses the text of a control file.
    ///
    /// # Errors
    /// Fails when it is not exactly one stanza.
    pub fn parse(text: &[u8]) -> Result<Self, ControlError> {
        let malformed = |reason: String| ControlError::Malformed { reason };
        let text = std::str::from_utf8(text).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.trim_end().lines() {
            if line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or_else(|| malformed("it starts with a continuation line".to_owned()))?;
                value.push('\n');
                value.push_str(line);
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(format!("`{line}` is not a field")))?;
            if name.is_empty() || name.contains(char::is_whitespace) || fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                return Err(malformed(format!("the field `{name}` is misplaced")));
            }
            fields.push((name.to_owned(), value.trim_start().to_owned()));
        }
        // Blanks at the end of inner lines are part of a value, as dpkg keeps them.
        fields.iter_mut().for_each(|(_, value)| value.truncate(value.trim_end().len()));
        Ok(Self { fields })
    }

    /// Returns the value of a field, none when it is missing or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the value of a field that must be there.
    ///
    /// # Errors
    /// Fails when it is missing or empty.
    pub fn required(&self, name: &'static str) -> Result<&str, ControlError> {
        self.get(name).ok_or(ControlError::Missing { field: name })
    }

    /// Returns the relations of a field: all must hold, of each the first alternative that does.
    ///
    /// # Errors
    /// Fails when the field is unreadable.
    pub fn relations(&self, field: &str) -> Result<Vec<Vec<Relation>>, ControlError> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let parse = |text: &str| {
            parse_relation(text.trim()).ok_or_else(|| ControlError::Relation { field: field.to_owned(), relation: text.trim().to_owned() })
        };
        // dpkg takes a trailing comma.
        let groups = value.trim_end().trim_end_matches(',').split(',');
        groups.map(|group| group.split('|').map(parse).collect()).collect()
    }

    /// Writes the stanza as dpkg's status file has it. `conffiles` are lines of path and hash.
    ///
    /// # Errors
    /// Fails when a relation is unreadable.
    pub fn render_status(&self, status: &str, conffiles: &[String]) -> Result<String, ControlError> {
        let mut text = String::new();
        let mut put = |name: &str, value: &str| {
            text.push_str(name);
            // A value that starts on the next line has no space after the colon there, as dpkg writes it.
            text.push_str(if value.starts_with('\n') && name == "Conffiles" { ":" } else { ": " });
            text.push_str(value);
            text.push('\n');
        };
        for field in FIELD_ORDER {
            match (field, self.get(field)) {
                ("Status", _) => put(field, status),
                ("Conffiles", _) if conffiles.is_empty() => {}
                ("Conffiles", _) => put(field, &conffiles.iter().map(|line| format!("\n {line}")).collect::<String>()),
                (_, None) => {}
                ("Essential" | "Protected" | "Multi-Arch", Some(value)) if value.eq_ignore_ascii_case("no") => {}
                ("Version", Some(value)) => put(field, normal_version(value)),
                (_, Some(_)) if RELATION_FIELDS.contains(&field) => put(field, &render_relations(&self.relations(field)?)),
                (_, Some(value)) => put(field, value),
            }
        }
        let known = |name: &str| FIELD_ORDER.iter().chain(&NOT_IN_STATUS).any(|known| known.eq_ignore_ascii_case(name));
        for (name, value) in self.fields.iter().filter(|(name, _)| !known(name)) {
            put(name, value);
        }
        Ok(text)
    }
}

fn render_relations(groups: &[Vec<Relation>]) -> String {
    let group = |group: &Vec<Relation>| group.iter().map(Relation::render).collect::<Vec<_>>().join(" | ");
    groups.iter().map(group).collect::<Vec<_>>().join(", ")
}

/// Returns a version without an epoch of 0, as dpkg writes it.
fn normal_version(version: &str) -> &str {
    version.strip_prefix("0:").unwrap_or(version)
}

fn parse_relation(text: &str) -> Option<Relation> {
    let end = text.find(|c: char| c.is_whitespace() || c == ':' || c == '(').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
    let (qualifier, rest) = match rest.strip_prefix(':') {
        Some(rest) => {
            let end = rest.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(rest.len());
            (Some(rest[..end].to_owned()).filter(|qualifier| !qualifier.is_empty()), &rest[end..])
        }
        None => (None, rest),
    };
    let rest = rest.trim();
    let version = if rest.is_empty() {
        None
    } else {
        let inner = rest.strip_prefix('(')?.strip_suffix(')')?.trim();
        let operators = [("<<", "<<"), ("<=", "<="), (">=", ">="), (">>", ">>"), ("=", "="), ("<", "<="), (">", ">=")];
        let (operator, rest) =
            operators.iter().find_map(|(read, written)| Some((*written, inner.strip_prefix(read)?))).unwrap_or(("=", inner));
        let version = rest.trim();
        (!version.is_empty() && !version.contains(char::is_whitespace)).then_some(())?;
        Some((operator, normal_version(version).to_owned()))
    };
    is_name.then(|| Relation { name: name.to_owned(), qualifier, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_stanzas_have_dpkgs_order_and_form() {
        let control = b"Package: a\nVersion: 0:1.0-1\nArchitecture: all\nMulti-Arch: no\nX-Own: yes\nDepends: b(>=1) ,c:any|d ( << 2 ),\n\
            Description: short\n long\n .\n end\nPriority: optional\nMaintainer: M <m@example.org>\nEssential: no\n";
        let stanza = Stanza::parse(control).unwrap();
        let expected = "Package: a\nStatus: install ok unpacked\nPriority: optional\nMaintainer: M <m@example.org>\nArchitecture: all\n\
            Version: 1.0-1\nDepends: b (>= 1), c:any | d (<< 2)\nConffiles:\n /etc/a newconffile\nDescription: short\n long\n .\n end\nX-Own: yes\n";
        assert_eq!(stanza.render_status("install ok unpacked", &["/etc/a newconffile".to_owned()]).unwrap(), expected);
    }

    #[test]
    fn what_is_no_stanza_is_refused() {
        for bad in ["Package a\n", " continued\n", "A: 1\na: 2\n", "A: 1\n\nB: 2\n"] {
            assert!(Stanza::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Stanza::parse(b"Depends: a (>= \n").unwrap().relations("Depends").is_err());
    }

    #[test]
    fn versions_compare_as_dpkg_compares_them() {
        let relation = |text: &str| parse_relation(text).unwrap();
        for (text, version, holds) in
            [("a (<< 1.0)", "1.0~rc1", true), ("a (>= 1:0)", "2", false), ("a", "0", true), ("a (= 1)", "0:1", true)]
        {
            assert_eq!(relation(text).is_satisfied_by(version), holds, "{text} {version}");
        }
    }
}
