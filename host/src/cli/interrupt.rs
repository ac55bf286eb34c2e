//! Ctrl-C and its like. The first one asks everything to stop and clean up, the second one ends the program at once.

use std::{
    io,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use oic_builder_vm::Cancel;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    command_error::{CommandError, Hint},
    exit_code::ExitCode,
    printer::Printer,
};

/// How long work may go on after the wish to stop: what waits notices at once, what computes may take longer than a user will.
const GRACE: Duration = Duration::from_millis(700);

/// How often the wish to stop is looked for.
const POLL: Duration = Duration::from_millis(50);

/// The process cannot listen to signals.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen to signals")]
struct ListenError(#[source] io::Error);

impl Hint for ListenError {}

/// Starts listening, and returns the token that the first signal cancels.
///
/// # Errors
/// Fails when the process has no descriptor or thread left.
pub(crate) fn listen(printer: &Printer) -> Result<Cancel, CommandError> {
    let failed = |source| CommandError::new(ExitCode::Internal, ListenError(source));
    let cancel = Cancel::new().map_err(failed)?;
    let (token, printer) = (cancel.clone(), printer.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let signals = {
        let _context = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .map(signal)
            .into_iter()
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?
    };
    let wait = move || {
        let mut signals = signals;
        runtime.block_on(any(&mut signals));
        token.cancel();
        printer.note("interrupted: cleaning up (once more to end at once)");
        runtime.block_on(any(&mut signals));
        end_now();
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
    Ok(cancel)
}

/// Runs work that looks at the token from time to time. Returns nothing when it was asked to stop and did not in time: it
/// still runs then, and the program must end.
pub(crate) fn run<T: Send + 'static>(cancel: &Cancel, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Option<T>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("command".to_owned()).spawn(move || drop(sender.send(work())))?;
    let mut deadline: Option<Instant> = None;
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(outcome) => return Ok(Some(outcome)),
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Ok(None),
            },
            Err(RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
            Err(RecvTimeoutError::Timeout) => {
                if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + GRACE) {
                    return Ok(None);
                }
            }
        }
    }
}

/// Returns the error of a program that cannot start a thread.
pub(crate) fn no_thread(source: io::Error) -> CommandError {
    CommandError::new(ExitCode::Internal, ListenError(source))
}

/// Waits for one of the signals.
async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|context| {
        // Every one is polled, so that every one wakes this task.
        let mut ready = std::task::Poll::Pending;
        for signal in &mut *signals {
            if signal.poll_recv(context).is_ready() {
                ready = std::task::Poll::Ready(());
            }
        }
        ready
    })
    .await;
}

/// Ends the program. Children end with it: they are told by the kernel when their parent goes.
#[expect(clippy::exit, reason = "the user asked twice; nothing that still runs is waited for")]
fn end_now() {
    std::process::exit(ExitCode::Interrupted.number().into())
}
