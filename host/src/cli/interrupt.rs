//! Ctrl-C and its like. The first one asks everything to stop and clean up, the second one ends the program at once.

use std::io;

use oic_builder_vm::Cancel;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    command_error::{CommandError, Hint},
    exit_code::ExitCode,
    printer::Printer,
};

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
