//! Findings: what is wrong with a template, where, and what to do about it.
//!
//! Validation never stops at the first mistake: every check adds a [`Finding`] to a [`Findings`] list, and the list becomes a
//! [`Report`]. A finding is self-contained (it carries its place and, for renderers that show source, the text around it), so
//! that it can be printed long after the loader is gone. The [`fmt::Display`] here is the plain form; coloured rendering belongs
//! to the caller, which finds byte offsets in [`Location::span`] and text in [`Location::text`].
//!
//! Texts that a finding carries never hold a password: [`crate::source::SourceMap`] masks them first.

use std::fmt;
use std::sync::Arc;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The template works, and something about it should be known.
    Warning,
    /// The template cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The kind of a finding, stable across versions: what scripts and documentation refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A file cannot be read.
    Unreadable,
    /// The text is not YAML.
    Syntax,
    /// A key that no template has.
    UnknownField,
    /// A key that every template must have.
    MissingField,
    /// A key that is given twice.
    Duplicate,
    /// A value of the wrong kind: a list for a text, say.
    WrongType,
    /// A value that is not one of those allowed.
    InvalidValue,
    /// Two values that cannot both hold.
    Contradiction,
    /// A `<PLACEHOLDER>` that nobody has filled in.
    Placeholder,
    /// A variable that is not set, or set and not used.
    Variable,
    /// An `extends` chain that cannot be followed.
    Extends,
    /// A local file that is not there.
    MissingFile,
    /// A distribution, architecture or image type that there is no data for.
    Target,
    /// A value of which the effect may surprise.
    Notice,
}

impl Code {
    /// Returns the name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Syntax => "syntax",
            Self::UnknownField => "unknown-field",
            Self::MissingField => "missing-field",
            Self::Duplicate => "duplicate",
            Self::WrongType => "wrong-type",
            Self::InvalidValue => "invalid-value",
            Self::Contradiction => "contradiction",
            Self::Placeholder => "placeholder",
            Self::Variable => "variable",
            Self::Extends => "extends",
            Self::MissingFile => "missing-file",
            Self::Target => "target",
            Self::Notice => "notice",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// File as the user named it, `builtin:…` for the distribution data inside the program, or `command line`.
    pub file: String,
    /// Line, from 1; 0 when the place is the file as a whole.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Byte offset and length in [`Self::text`].
    pub span: (usize, usize),
    /// The file's text with secrets masked by asterisks of the same length.
    pub text: Arc<str>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// One thing that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its kind.
    pub code: Code,
    /// Where it is; none where no file is concerned.
    pub location: Option<Location>,
    /// Path of the field, `disk.partitions[rootfs].fsType`; empty when the file as a whole is meant.
    pub field: String,
    /// What is wrong, a fragment in lower case.
    pub message: String,
    /// What was found.
    pub found: Option<String>,
    /// What is allowed, or the closest of it.
    pub allowed: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    /// Returns an error.
    #[must_use]
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// Returns a warning.
    #[must_use]
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: Code, message: String) -> Self {
        Self { severity, code, location: None, field: String::new(), message, found: None, allowed: Vec::new(), hint: None }
    }

    /// Returns it with its place.
    #[must_use]
    pub fn at(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }

    /// Returns it with the path of its field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// Returns it with what was found.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(shorten(&found.into()));
        self
    }

    /// Returns it with what is allowed.
    #[must_use]
    pub fn allowed<I: IntoIterator<Item = S>, S: Into<String>>(mut self, allowed: I) -> Self {
        self.allowed = allowed.into_iter().map(Into::into).collect();
        self
    }

    /// Returns it with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Returns `text` on one line and cut to a length that fits a message.
fn shorten(text: &str) -> String {
    const LIMIT: usize = 120;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= LIMIT { line } else { line.chars().take(LIMIT).chain(['…']).collect() }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        if let Some(location) = &self.location {
            write!(f, "\n  at {location}")?;
        }
        if !self.field.is_empty() {
            write!(f, "\n  field: {}", self.field)?;
        }
        if let Some(found) = &self.found {
            write!(f, "\n  found: {found}")?;
        }
        if !self.allowed.is_empty() {
            write!(f, "\n  allowed: {}", self.allowed.join(", "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// A growing list of findings.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds `finding` unless the same was said before.
    pub(crate) fn push(&mut self, finding: Finding) {
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Tells whether any finding is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Returns the findings as a report, errors before warnings, each group in the order of discovery.
    pub(crate) fn into_report(mut self) -> Report {
        // A text with a variable that is not set fails other checks, too, and those would only distract.
        let unset = |finding: &Finding| finding.code == Code::Variable && finding.location.is_some();
        let places: Vec<Option<Location>> =
            self.0.iter().filter(|finding| unset(finding)).map(|finding| finding.location.clone()).collect();
        self.0.retain(|finding| finding.code == Code::Variable || !places.contains(&finding.location));
        self.0.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Report { findings: self.0 }
    }

    /// Returns the findings.
    pub(crate) fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}

/// Everything that is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Report {
    /// The findings, errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns how many findings are errors.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}
