//! What the exit status of `oic` means. `docs/cli.md` carries the same table, held in step by a test.

/// The exit status of `oic`: the one table that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done.
    Success = 0,
    /// A defect of `oic` itself, or something that no other status describes.
    Internal = 1,
    /// The command line, an environment variable or the global configuration is wrong.
    Usage = 2,
    /// The template has errors.
    Template = 3,
    /// No set of packages satisfies the template, or the lock does not fit it.
    Resolve = 4,
    /// Something could not be downloaded, or is not what its signature or digest says.
    Fetch = 5,
    /// This machine lacks something that the command needs, or the virtual machine does not start.
    Host = 6,
    /// A step inside the builder VM failed, or a booted image did not come up.
    Compose = 7,
    /// An output could not be made, signed or written.
    Output = 8,
    /// Things that were compared differ.
    Differences = 10,
    /// Ctrl-C, or a signal that asks to end.
    Interrupted = 130,
}

impl ExitCode {
    /// All of them, in ascending order.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::Internal,
        Self::Usage,
        Self::Template,
        Self::Resolve,
        Self::Fetch,
        Self::Host,
        Self::Compose,
        Self::Output,
        Self::Differences,
        Self::Interrupted,
    ];

    /// Returns the number that the process ends with.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns what it means, as the documentation has it.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "everything asked for was done",
            Self::Internal => "internal error: a defect of `oic`, or something that no other status describes",
            Self::Usage => "the command line, an environment variable or `oic.yml` is wrong",
            Self::Template => "the template has errors",
            Self::Resolve => "no set of packages satisfies the template, or the lock does not fit it",
            Self::Fetch => "a download failed, or its signature or digest is wrong",
            Self::Host => "this machine lacks something, or the virtual machine does not start",
            Self::Compose => "a step inside the builder VM failed, or a booted image did not come up",
            Self::Output => "an output could not be made, signed or written",
            Self::Differences => "things that were compared differ",
            Self::Interrupted => "interrupted by Ctrl-C or a signal",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete_and_ascending() {
        assert!(ExitCode::ALL.is_sorted_by(|left, right| left.number() < right.number()));
    }
}
