//! Why a solve has no result, for the solvers of both families.

use std::fmt;

/// Why there is no solution to hand out; `C` is the solver's explanation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SolveError<C: fmt::Display> {
    /// The requests cannot be met.
    #[error("{0}")]
    Conflict(Box<C>),
    /// The solver's own check of its result failed, which is a defect of the solver.
    #[error("the solver's result does not pass its check: {0}")]
    Unsound(String),
}

/// Writes one line, or several, for each of the problems of an explanation.
pub(super) fn write_problems(problems: &[impl fmt::Display], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, problem) in problems.iter().enumerate() {
        if at > 0 {
            writeln!(f)?;
        }
        write!(f, "{problem}")?;
    }
    Ok(())
}
