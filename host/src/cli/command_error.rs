//! Where library errors become what the user reads: `error:`, `caused by:`, `hint:`, and an exit status.
//!
//! Libraries word what is wrong; what to do about it is a [`Hint`] and stands apart from the message. `From` impls give each
//! library error its exit status.

use std::error::Error;

use super::{
    config_file::ConfigFileError,
    exit_code::ExitCode,
    printer::{PrintError, Printer, Style, sanitized},
};

/// What a user can do about an error.
pub(crate) trait Hint {
    /// Returns what to do, one imperative sentence each, without a period; nothing when the message says it all.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct CommandError {
    code: ExitCode,
    kind: Kind,
    details: Vec<String>,
    hints: Vec<String>,
}

/// What there is left to tell.
#[derive(Debug)]
enum Kind {
    /// An error and its sources.
    Error(Box<dyn Error + Send + Sync>),
    /// A sentence that has no error type.
    Message(String),
    /// Nothing: the user has been told, or has gone.
    Told,
}

impl CommandError {
    /// Returns an error that ends the program with `code`, with the hints that it brings.
    pub(crate) fn new<E: Error + Hint + Send + Sync + 'static>(code: ExitCode, error: E) -> Self {
        let hints = error.hints();
        Self { code, kind: Kind::Error(Box::new(error)), details: Vec::new(), hints }
    }

    /// Returns an error about the command line or the configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::message(ExitCode::Usage, message)
    }

    /// Returns an error with a message of its own.
    pub(crate) fn message(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, kind: Kind::Message(message.into()), details: Vec::new(), hints: Vec::new() }
    }

    /// Returns an error whose message the user has seen already.
    pub(crate) fn told(code: ExitCode) -> Self {
        Self { code, kind: Kind::Told, details: Vec::new(), hints: Vec::new() }
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what a program printed last.
    #[must_use]
    pub(crate) fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// Returns what a program printed last.
    pub(crate) fn details(&self) -> &[String] {
        &self.details
    }

    /// Returns the status that the program ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.code
    }

    /// Returns what the user can do about it.
    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Returns the message and its causes, outermost first.
    pub(crate) fn chain(&self) -> Vec<String> {
        match &self.kind {
            Kind::Told => Vec::new(),
            Kind::Message(message) => vec![message.clone()],
            Kind::Error(error) => {
                let mut chain = vec![error.to_string()];
                let mut source = error.source();
                while let Some(cause) = source {
                    chain.push(cause.to_string());
                    source = cause.source();
                }
                // A transparent wrapper says the same as what it wraps.
                chain.dedup();
                chain
            }
        }
    }

    /// Tells the user.
    pub(crate) fn report(&self, printer: &Printer) {
        self.report_about("", printer);
    }

    /// Tells the user, with what the error is about in front; empty where that is clear.
    pub(crate) fn report_about(&self, subject: &str, printer: &Printer) {
        let mut chain = self.chain();
        if let (Some(first), false) = (chain.first_mut(), subject.is_empty()) {
            *first = format!("{subject}: {first}");
        }
        for (index, text) in chain.iter().enumerate() {
            let label =
                if index == 0 { printer.styled(Style::Error, "error:") } else { format!("  {}", printer.styled(Style::Dim, "caused by:")) };
            printer.message(&format!("{label} {}", sanitized(text)));
        }
        for line in &self.details {
            printer.message(&format!("  {} {}", printer.styled(Style::Dim, "|"), sanitized(line)));
        }
        for hint in &self.hints {
            printer.message(&format!("{} {}", printer.styled(Style::Accent, "hint:"), sanitized(hint)));
        }
    }
}

impl From<ConfigFileError> for CommandError {
    fn from(error: ConfigFileError) -> Self {
        Self::new(ExitCode::Usage, error)
    }
}

impl From<PrintError> for CommandError {
    fn from(error: PrintError) -> Self {
        match error {
            PrintError::Closed => Self::told(ExitCode::Success),
            PrintError::Failed(_) => Self::new(ExitCode::Output, error),
        }
    }
}

impl Hint for PrintError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read `{0}`")]
    struct Outer(&'static str, #[source] std::io::Error);

    impl Hint for Outer {
        fn hints(&self) -> Vec<String> {
            vec!["make it readable".into()]
        }
    }

    #[test]
    fn sources_follow_and_repetitions_do_not() {
        let error = CommandError::new(ExitCode::Output, Outer("a", std::io::Error::other("no luck"))).with_hint("or go without it");
        assert_eq!(error.chain(), ["cannot read `a`", "no luck"]);
        assert_eq!(error.hints, ["make it readable", "or go without it"]);
        assert_eq!(error.exit_code(), ExitCode::Output);
        assert!(CommandError::from(PrintError::Closed).chain().is_empty());
    }
}
