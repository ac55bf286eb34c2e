//! Which exit status and which hints each library error ends with.
//!
//! Every variant is named: a new one does not compile until somebody has decided what it means to a user.

use oic_builder_vm::{BootError, LaunchError, SessionError};

use super::{
    command_error::{CommandError, Hint},
    exit_code::ExitCode,
};
use crate::{
    artifact::convert::ConvertError,
    build::{BuildError, ComposeError, RootError, resolve::ResolveError, step_hint},
    disk::ext4::Ext4Error,
    fetch::FetchError,
    repository::RepositoryProblem,
    solve::{SolveError, rpm},
    store::StoreError,
    toolchain::{ToolError, VmImageError},
};

/// What helps when the disk with the work folder is full.
const WORK_HINT: &str = "free some space, or choose a work folder on another disk with `--work-dir`";

/// Lines shown of what a program or a console printed last.
const DETAIL_LINES: usize = 20;

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        let details = details(&error);
        Self::new(code(&error), error).with_details(details)
    }
}

/// Returns the exit status of a failed build.
fn code(error: &BuildError) -> ExitCode {
    match error {
        BuildError::Unsupported(_) | BuildError::LocalFile { .. } | BuildError::Lower(_) => ExitCode::Template,
        BuildError::Resolve(error) => resolve_code(error),
        BuildError::Lock(_) => ExitCode::Resolve,
        BuildError::Fetch(error) => fetch_code(error),
        BuildError::Tool(error) => tool_code(error),
        BuildError::Store(_) | BuildError::Agent(_) | BuildError::Work(_) | BuildError::NoWorkSpace { .. } => ExitCode::Host,
        BuildError::VmImage(error) => match error {
            VmImageError::Kernel(_) => ExitCode::Fetch,
            VmImageError::Write { .. } | VmImageError::Store(_) => ExitCode::Host,
        },
        BuildError::Root(error) => match error {
            RootError::Package(_) | RootError::Rpm(_) | RootError::Unnamed { .. } | RootError::Installer(_) => ExitCode::Fetch,
            RootError::Merge(_) => ExitCode::Resolve,
            RootError::Reserve { .. } | RootError::Filesystem { .. } | RootError::Store(_) => ExitCode::Host,
        },
        BuildError::Compose(error) => compose_code(error),
        BuildError::Finish(_) | BuildError::Output(_) => ExitCode::Output,
        BuildError::OwnProgram(_) | BuildError::Internal(_) => ExitCode::Internal,
        BuildError::Cancelled => ExitCode::Interrupted,
    }
}

fn resolve_code(error: &ResolveError) -> ExitCode {
    match error {
        ResolveError::Repository(error) => repository_code(&error.problem),
        ResolveError::Index(problem) => repository_code(problem),
        ResolveError::Parse { .. } | ResolveError::Checksum { .. } | ResolveError::Package { .. } => ExitCode::Fetch,
        ResolveError::Fetch(error) => fetch_code(error),
        ResolveError::Store(_) | ResolveError::NoTools { .. } => ExitCode::Host,
        ResolveError::Solve(SolveError::Unsound(_))
        | ResolveError::RpmSolve(rpm::SolveError::Unsound(_))
        | ResolveError::ToolsData { .. } => ExitCode::Internal,
        ResolveError::Unsupported { .. } => ExitCode::Template,
        ResolveError::TooLarge(_)
        | ResolveError::Solve(SolveError::Conflict(_))
        | ResolveError::RpmSolve(rpm::SolveError::Conflict(_))
        | ResolveError::NotLocked { .. }
        | ResolveError::LockOutdated { .. }
        | ResolveError::NoSuchRepository { .. }
        | ResolveError::UnknownRepository { .. } => ExitCode::Resolve,
    }
}

fn repository_code(problem: &RepositoryProblem) -> ExitCode {
    match problem {
        RepositoryProblem::Fetch(error) => fetch_code(error),
        RepositoryProblem::Store(_) => ExitCode::Host,
        RepositoryProblem::Trust(_)
        | RepositoryProblem::Release(_)
        | RepositoryProblem::OtherSuite { .. }
        | RepositoryProblem::Expired { .. }
        | RepositoryProblem::OfTheFuture { .. }
        | RepositoryProblem::NoIndex { .. }
        | RepositoryProblem::Index { .. }
        | RepositoryProblem::KeyChanged { .. }
        | RepositoryProblem::KeyFile { .. }
        | RepositoryProblem::Repomd(_)
        | RepositoryProblem::RepomdOfTheFuture { .. }
        | RepositoryProblem::Folder { .. }
        | RepositoryProblem::FolderPackage { .. }
        | RepositoryProblem::EmptyFolder { .. }
        | RepositoryProblem::UnsignedFolder { .. } => ExitCode::Fetch,
    }
}

/// A full disk of the cache is this machine's lack, whoever was writing.
fn fetch_code(error: &FetchError) -> ExitCode {
    match error {
        FetchError::Store { .. } | FetchError::Client { .. } | FetchError::Runtime { .. } => ExitCode::Host,
        FetchError::InvalidUrl { .. } | FetchError::Failed { .. } | FetchError::Offline { .. } => ExitCode::Fetch,
        FetchError::Lost { .. } => ExitCode::Internal,
        FetchError::Cancelled => ExitCode::Interrupted,
    }
}

fn tool_code(error: &ToolError) -> ExitCode {
    match error {
        ToolError::Package(_) | ToolError::Escape { .. } | ToolError::Missing { .. } => ExitCode::Fetch,
        ToolError::Unpack { .. } | ToolError::Store(_) => ExitCode::Host,
    }
}

/// What keeps the VM from running is this machine's lack; what goes wrong inside is the image's.
fn compose_code(error: &ComposeError) -> ExitCode {
    match error {
        ComposeError::Launch(_) | ComposeError::Console { .. } => ExitCode::Host,
        ComposeError::Step { .. } => ExitCode::Compose,
        ComposeError::Session(error) => match error {
            SessionError::NoHello { .. }
            | SessionError::VmmFailed { .. }
            | SessionError::ShareFailed { .. }
            | SessionError::Version { .. }
            | SessionError::Channel { .. } => ExitCode::Host,
            SessionError::KernelPanic { .. }
            | SessionError::OutOfMemory { .. }
            | SessionError::PoweredOff { .. }
            | SessionError::LostAgent { .. }
            | SessionError::Silent { .. }
            | SessionError::StepTooLong { .. }
            | SessionError::BadFrame { .. }
            | SessionError::Protocol { .. }
            | SessionError::NotPoweredOff { .. } => ExitCode::Compose,
            SessionError::Cancelled => ExitCode::Interrupted,
        },
    }
}

/// Returns what the failing program or the guest's console printed last.
fn details(error: &BuildError) -> Vec<String> {
    let lines = match error {
        BuildError::Compose(ComposeError::Step { source, .. }) => source.error.output.clone(),
        BuildError::Compose(ComposeError::Session(error)) => error.console().map(|console| console.0.clone()).unwrap_or_default(),
        _ => Vec::new(),
    };
    last(lines)
}

/// Returns the last lines that are shown.
fn last(mut lines: Vec<String>) -> Vec<String> {
    lines.split_off(lines.len().saturating_sub(DETAIL_LINES))
}

impl Hint for BuildError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Resolve(ResolveError::Solve(SolveError::Conflict(conflict))) => conflict.hints(),
            Self::Resolve(error) => error.hint().into_iter().collect(),
            Self::Lock(error) => error.hint().map(str::to_owned).into_iter().collect(),
            Self::Fetch(error) => error.hint().into_iter().collect(),
            Self::Store(error)
            | Self::Tool(ToolError::Store(error))
            | Self::VmImage(VmImageError::Store(error))
            | Self::Root(RootError::Store(error)) => error.hint().into_iter().collect(),
            Self::Agent(error) => vec![error.hint()],
            Self::Compose(error) => compose_hints(error),
            Self::Finish(error) => error.hint().into_iter().chain(full_hint(error)).collect(),
            Self::Output(error) => full_hint(error).into_iter().collect(),
            Self::NoWorkSpace { .. } => vec![WORK_HINT.into()],
            Self::Root(RootError::Filesystem { source: Ext4Error::TooSmall { needed, .. }, .. }) => {
                vec![format!("make `builder.disk` in the template larger than {needed}, with room for what scripts write, or leave it out")]
            }
            Self::Work(error) => work_hint(&error.source),
            Self::Unsupported(_) => vec!["remove these fields from the template, or override them with `--set`".into()],
            Self::Root(_)
            | Self::Tool(_)
            | Self::VmImage(_)
            | Self::Lower(_)
            | Self::LocalFile { .. }
            | Self::OwnProgram(_)
            | Self::Cancelled => Vec::new(),
            Self::Internal(_) => vec!["this is a defect of oic: please report it with build.log".into()],
        }
    }
}

/// Returns what helps when a disk of the host is full, wherever that was noticed.
fn full_hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let full = causes.any(|cause| match cause.downcast_ref::<std::io::Error>() {
        Some(cause) => matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded),
        // What a program of the tools said.
        None => cause.to_string().contains("No space left on device"),
    });
    full.then(|| "free some space, or choose folders on another disk with `--work-dir` and `--output`".to_owned())
}

fn compose_hints(error: &ComposeError) -> Vec<String> {
    let hint = match error {
        ComposeError::Step { source, .. } => step_hint(&source.error),
        ComposeError::Session(error) => error.hint(),
        ComposeError::Launch(_) => return launch_hints(),
        ComposeError::Console { .. } => None,
    };
    hint.map(str::to_owned).into_iter().collect()
}

fn launch_hints() -> Vec<String> {
    vec!["`oic doctor` shows what this machine lacks".into()]
}

/// Returns what helps against a work folder that cannot be used.
fn work_hint(source: &std::io::Error) -> Vec<String> {
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            vec![WORK_HINT.into()]
        }
        std::io::ErrorKind::PermissionDenied => vec!["choose a work folder that you may write with `--work-dir`".into()],
        _ => Vec::new(),
    }
}

impl Hint for ConvertError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Write(error) => full_hint(error).into_iter().collect(),
            Self::Open(error) => full_hint(error).into_iter().collect(),
            Self::NotAFile(_) => vec!["name a file with `--output`; `dd` writes an image to a disk".into()],
            Self::Cancelled => Vec::new(),
        }
    }
}

impl Hint for StoreError {
    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

impl From<BootError> for CommandError {
    fn from(error: BootError) -> Self {
        let code = match &error {
            BootError::Launch { .. } | BootError::Io { .. } => ExitCode::Host,
            BootError::TimedOut { .. } | BootError::Ended { .. } => ExitCode::Compose,
            BootError::Cancelled => ExitCode::Interrupted,
        };
        let details = last(error.console().map(|console| console.0.clone()).unwrap_or_default());
        Self::new(code, error).with_details(details)
    }
}

impl Hint for BootError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Launch { source: LaunchError::File { .. }, .. } | Self::Io { .. } | Self::Cancelled => Vec::new(),
            Self::Launch { .. } => launch_hints(),
            Self::TimedOut { .. } => vec!["wait longer with `--timeout`, or watch it without `--check`".into()],
            Self::Ended { .. } => vec!["watch it without `--check`".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oic_builder_vm::ConsoleTail;

    use super::*;
    use crate::{build::FinishError, disk::image::ImageError};

    #[test]
    fn a_guest_out_of_memory_is_the_images_affair_and_shows_the_console() {
        let console = ConsoleTail((0..50).map(|line| format!("line {line}")).collect());
        let error = SessionError::OutOfMemory { message: "killed dpkg".into(), memory_mib: 512, console };
        let error = CommandError::from(BuildError::Compose(ComposeError::Session(error)));
        assert_eq!(error.exit_code(), ExitCode::Compose);
        assert_eq!((error.details().len(), error.details()[DETAIL_LINES - 1].as_str()), (DETAIL_LINES, "line 49"));
        assert_eq!(error.hints(), ["give the builder VM more memory: `builder.memory` in the template"]);
        assert_eq!(error.chain(), ["the builder VM ran out of its 512 MiB of memory: killed dpkg"]);
    }

    #[test]
    fn a_vm_that_does_not_start_is_the_machines_affair() {
        let error = SessionError::NoHello { waited: Duration::from_secs(12), console: ConsoleTail(Vec::new()) };
        assert_eq!(CommandError::from(BuildError::Compose(ComposeError::Session(error))).exit_code(), ExitCode::Host);
    }

    #[test]
    fn a_full_disk_is_the_machines_affair_whoever_writes() {
        let full = || StoreError::Full { path: "/cache".into(), needed: 7, free: Some(0) };
        for error in [
            BuildError::Store(full()),
            BuildError::Fetch(FetchError::Store { what: "libc6".into(), source: full() }),
            BuildError::Resolve(ResolveError::Store(full())),
            BuildError::Root(RootError::Store(full())),
        ] {
            let error = CommandError::from(error);
            assert_eq!(error.exit_code(), ExitCode::Host, "{error:?}");
            assert_eq!(error.hints(), ["free some space, or choose a cache folder on another disk with --cache-dir"], "{error:?}");
        }
    }
    #[test]
    fn a_program_without_an_agent_says_how_to_add_it() {
        let error = CommandError::from(BuildError::Agent(crate::build::agents::agent("sparc").unwrap_err()));
        assert_eq!(error.exit_code(), ExitCode::Host);
        assert_eq!(error.hints(), ["run `cargo xtask agents sparc` in the source tree and build oic again"]);
    }

    #[test]
    fn a_full_disk_is_recognised_behind_every_wrapper() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = ImageError::File { path: "/build/disk.img".into(), source: full() };
        let error = CommandError::from(BuildError::Finish(FinishError::Image(error)));
        assert_eq!(error.exit_code(), ExitCode::Output);
        assert_eq!(error.hints(), ["free some space, or choose folders on another disk with `--work-dir` and `--output`"]);
        let other = ImageError::File { path: "/build/disk.img".into(), source: std::io::ErrorKind::PermissionDenied.into() };
        assert!(CommandError::from(BuildError::Finish(FinishError::Image(other))).hints().is_empty());
    }
}
