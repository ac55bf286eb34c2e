//! Errors with their causes in one line, where an error is part of a message rather than the message.

use std::error::Error;

/// Returns an error with its causes, each after a colon.
pub(crate) fn in_one_line(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", in_one_line(source)))
}
