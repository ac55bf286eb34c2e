//! A wish to stop, which every wait of this crate notices at once.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

/// A token that is passed to whatever can take long. Clones are the same token.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requested: AtomicBool,
    /// Becomes readable with the request and stays so, which ends every `poll` that includes it.
    signal: OwnedFd,
}

impl Cancel {
    /// Returns a token that nobody has cancelled.
    ///
    /// # Errors
    /// Fails when the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner { requested: AtomicBool::new(false), signal })))
    }

    /// Asks everything that holds this token to stop. Safe to call from any thread, any number of times.
    pub fn cancel(&self) {
        if !self.0.requested.swap(true, Ordering::AcqRel) {
            // An eventfd whose counter is 0 takes a 1, always.
            let _ = rustix::io::write(&self.0.signal, &1_u64.to_ne_bytes());
        }
    }

    /// Returns whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Returns a descriptor that becomes readable when it is cancelled.
    #[must_use]
    pub fn signal(&self) -> BorrowedFd<'_> {
        self.0.signal.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    #[test]
    fn a_cancelled_token_wakes_every_poll_for_good() {
        let cancel = Cancel::new().unwrap();
        let readable = |cancel: &Cancel| {
            let mut fds = [PollFd::from_borrowed_fd(cancel.signal(), PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
        };
        assert!(!readable(&cancel) && !cancel.is_cancelled());
        cancel.clone().cancel();
        cancel.cancel();
        assert!(readable(&cancel) && readable(&cancel) && cancel.is_cancelled());
    }
}
