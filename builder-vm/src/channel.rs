//! The host's end of the control channel: reads and writes that end in time.
//!
//! The socket never blocks. Every wait polls it together with the [`Cancel`] token, until the deadline that is set at that
//! moment. Reasons to stop travel inside [`io::Error`], as the codec knows no other way, and [`stop_reason`] takes them out.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Cancel;

/// Why a wait ended without the socket being ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("cancelled")]
    Cancelled,
    #[error("the deadline has passed")]
    Deadline,
}

/// A socket with a deadline.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    cancel: Cancel,
    deadline: Instant,
}

impl Channel {
    /// Takes over a connected socket. The first deadline has passed already.
    pub(crate) fn new(stream: UnixStream, cancel: Cancel) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, cancel, deadline: Instant::now() })
    }

    /// Sets until when reads and writes may wait.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Waits until the socket is ready.
    fn wait(&self, ready: PollFlags) -> io::Result<()> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other(Stop::Cancelled));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::other(Stop::Deadline));
            }
            let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::new(&self.stream, ready), PollFd::from_borrowed_fd(self.cancel.signal(), PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::IN)?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // QEMU closing a socket with unread bytes in it is an end like any other.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                result => return result,
            }
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::OUT)?;
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns why a wait ended, when `error` comes from one that did.
pub(crate) fn stop_reason(error: &io::Error) -> Option<Stop> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Stop>()).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn channel() -> (UnixStream, Channel, Cancel) {
        let (guest, host) = UnixStream::pair().unwrap();
        let cancel = Cancel::new().unwrap();
        (guest, Channel::new(host, cancel.clone()).unwrap(), cancel)
    }

    #[test]
    fn a_read_ends_at_its_deadline() {
        let (_guest, mut channel, _) = channel();
        channel.set_deadline(Instant::now() + Duration::from_millis(50));
        let error = channel.read(&mut [0; 4]).unwrap_err();
        assert_eq!(stop_reason(&error), Some(Stop::Deadline));
    }

    #[test]
    fn a_write_that_nobody_reads_ends_at_its_deadline() {
        let (_guest, mut channel, _) = channel();
        channel.set_deadline(Instant::now() + Duration::from_millis(100));
        let error = channel.write_all(&vec![0; 4 * 1024 * 1024]).unwrap_err();
        assert_eq!(stop_reason(&error), Some(Stop::Deadline));
    }

    #[test]
    fn cancelling_ends_a_read_within_100_ms() {
        let (_guest, mut channel, cancel) = channel();
        channel.set_deadline(Instant::now() + Duration::from_secs(60));
        let reader = std::thread::spawn(move || (channel.read(&mut [0; 4]).unwrap_err(), Instant::now()));
        std::thread::sleep(Duration::from_millis(50));
        let cancelled = Instant::now();
        cancel.cancel();
        let (error, ended) = reader.join().unwrap();
        assert_eq!(stop_reason(&error), Some(Stop::Cancelled));
        assert!(ended - cancelled < Duration::from_millis(100));
    }
}
