//! Frames: a little-endian `u32` length, then that many bytes of postcard.

use std::io::{Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// The largest payload that either side accepts, in bytes.
///
/// Plans carry small files inline; anything larger travels through a share or a disk.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Why a frame could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The peer closed the channel between two frames.
    #[error("the other side closed the channel")]
    Closed,
    /// The channel failed, or ended inside a frame.
    #[error("the channel failed")]
    Io(#[source] std::io::Error),
    /// The peer announced a frame beyond [`MAX_FRAME`].
    #[error("a frame of {length} bytes exceeds the limit of {MAX_FRAME}")]
    TooLong {
        /// The announced length.
        length: usize,
    },
    /// The bytes are not the message that is due.
    #[error("a frame of {length} bytes is not a valid message: {reason}")]
    Invalid {
        /// The length of the payload.
        length: usize,
        /// What the decoder said.
        reason: postcard::Error,
    },
}

/// Writes one message and flushes.
///
/// # Errors
/// Fails when the message exceeds [`MAX_FRAME`] or the channel fails.
pub fn write_message<T: Serialize>(channel: &mut impl Write, message: &T) -> Result<(), CodecError> {
    let payload = postcard::to_stdvec(message).map_err(|reason| CodecError::Invalid { length: 0, reason })?;
    if payload.len() > MAX_FRAME {
        return Err(CodecError::TooLong { length: payload.len() });
    }
    let length = u32::try_from(payload.len()).map_err(|_| CodecError::TooLong { length: payload.len() })?;
    let mut frame = Vec::with_capacity(payload.len() + 4);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&payload);
    channel.write_all(&frame).and_then(|()| channel.flush()).map_err(CodecError::Io)
}

/// Reads one message.
///
/// # Errors
/// Fails when the channel ends or fails, and when the frame is too long or not a `T`.
pub fn read_message<T: DeserializeOwned>(channel: &mut impl Read) -> Result<T, CodecError> {
    let mut header = [0; 4];
    read_header(channel, &mut header)?;
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME {
        return Err(CodecError::TooLong { length });
    }
    let mut payload = Vec::new();
    let read = channel.take(length as u64).read_to_end(&mut payload).map_err(CodecError::Io)?;
    if read < length {
        return Err(CodecError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    match postcard::take_from_bytes(&payload) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(CodecError::Invalid { length, reason: postcard::Error::DeserializeBadEncoding }),
        Err(reason) => Err(CodecError::Invalid { length, reason }),
    }
}

/// Fills `header`, telling an orderly end of the channel from one inside a frame.
fn read_header(channel: &mut impl Read, header: &mut [u8; 4]) -> Result<(), CodecError> {
    let mut filled = 0;
    while filled < header.len() {
        match channel.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Err(CodecError::Closed),
            Ok(0) => return Err(CodecError::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CodecError::Io(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{AgentEvent, AgentMessage, LogLevel};

    fn message() -> AgentMessage {
        AgentMessage::Event(AgentEvent::Log { step: 3, level: LogLevel::Info, line: "Setting up libc6".into() })
    }

    #[test]
    fn a_message_survives_the_trip() {
        let mut wire = Vec::new();
        write_message(&mut wire, &message()).unwrap();
        assert_eq!(wire[..4], u32::try_from(wire.len() - 4).unwrap().to_le_bytes());
        let mut channel = wire.as_slice();
        assert_eq!(read_message::<AgentMessage>(&mut channel).unwrap(), message());
        assert!(matches!(read_message::<AgentMessage>(&mut channel), Err(CodecError::Closed)));
    }

    #[test]
    fn a_frame_cut_short_is_not_an_orderly_end() {
        let mut wire = Vec::new();
        write_message(&mut wire, &message()).unwrap();
        for cut in 1..wire.len() {
            let mut channel = &wire[..cut];
            assert!(matches!(read_message::<AgentMessage>(&mut channel), Err(CodecError::Io(_))), "cut at {cut}");
        }
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused_before_reading_it() {
        let mut channel = &[0xff_u8; 4][..];
        assert!(matches!(read_message::<AgentMessage>(&mut channel), Err(CodecError::TooLong { .. })));
    }

    #[test]
    fn bytes_after_a_message_are_refused() {
        let mut wire = Vec::new();
        write_message(&mut wire, &message()).unwrap();
        wire.push(0);
        let length = u32::try_from(wire.len() - 4).unwrap();
        wire[..4].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(read_message::<AgentMessage>(&mut wire.as_slice()), Err(CodecError::Invalid { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut channel = bytes.as_slice();
            while read_message::<AgentMessage>(&mut channel).is_ok() {}
        }
    }
}
