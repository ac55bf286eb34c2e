//! What a build says while it runs.
//!
//! Stages report [`Event`]s to an [`Observer`]; how, and whether, these are shown is the command line's business. Within a
//! stage the order is [`Event::StageStarted`], any number of [`Event::Progress`], [`Event::StageFinished`]; a stage that
//! fails ends without the last. [`Event::Message`] may come at any time. Stages may run at the same time, and events may come
//! from any thread.

use std::{fmt, time::Duration};

/// A stage of a build, in the order of their beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Repository metadata is fetched, verified and solved, or the lock is read.
    Resolve,
    /// Packages are downloaded and verified.
    Fetch,
    /// The programs that `oic` itself uses are made ready.
    Tools,
    /// Packages are unpacked natively.
    Unpack,
    /// The root disk is made from the unpacked packages.
    Root,
    /// The builder VM starts.
    Vm,
    /// The steps in the builder VM run; the item is the step.
    Compose,
    /// Partitions and the disk are made from the finished root.
    Disk,
    /// Output files are converted, compressed and hashed.
    Artifacts,
    /// Manifest, SBOM and package lists are written.
    Report,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Resolve,
        Self::Fetch,
        Self::Tools,
        Self::Unpack,
        Self::Root,
        Self::Vm,
        Self::Compose,
        Self::Disk,
        Self::Artifacts,
        Self::Report,
    ];

    /// Returns its name, one lowercase word, as machine-readable progress has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Fetch => "fetch",
            Self::Tools => "tools",
            Self::Unpack => "unpack",
            Self::Root => "root",
            Self::Vm => "vm",
            Self::Compose => "compose",
            Self::Disk => "disk",
            Self::Artifacts => "artifacts",
            Self::Report => "report",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What [`Event::Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Packages, steps, files …
    Items,
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only of use when something is being looked into.
    Detail,
    /// Good to know.
    Note,
    /// Something is not as the user may think.
    Warning,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A stage begins.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A stage has come further.
    Progress {
        /// Which.
        stage: Stage,
        /// How far; never falls within a stage.
        done: u64,
        /// The end, as far as it is known; it may still rise.
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
        /// What was worked on last: a package, a step, a file.
        item: &'a str,
    },
    /// Something to tell.
    Message {
        /// How much it matters.
        level: Level,
        /// One sentence fragment without a period, like error messages.
        text: &'a str,
    },
    /// It was decided whether something is made or taken from an earlier build.
    Decision {
        /// What: `outputs`, a layer, `initramfs`.
        subject: &'a str,
        /// Whether it is taken from an earlier build.
        reused: bool,
        /// Why, like messages.
        reason: &'a str,
    },
    /// A stage has ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took.
        elapsed: Duration,
        /// Whether nothing had to be done because the result was in the store.
        cached: bool,
    },
}

/// Takes events. Called often and from any thread: implementations are quick and do not fail.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// An observer that drops everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

/// Reports the beginning of a stage, runs it, and reports its end when it succeeds. `run` also says whether its result came
/// from the store.
///
/// # Errors
/// Fails when `run` does.
pub fn stage<T, E>(observer: &dyn Observer, stage: Stage, run: impl FnOnce() -> Result<(T, bool), E>) -> Result<T, E> {
    observer.event(&Event::StageStarted { stage });
    let start = std::time::Instant::now();
    let (value, cached) = run()?;
    observer.event(&Event::StageFinished { stage, elapsed: start.elapsed(), cached });
    Ok(value)
}
