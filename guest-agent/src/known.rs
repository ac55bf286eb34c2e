//! Scripts of the target that the agent knows word by word.

/// A script by its length and FNV-1a hash. That is enough to tell known from unknown; a package that wanted to deceive could do so in its own
/// scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// Its length in bytes.
    pub length: usize,
    /// Its hash.
    pub hash: u64,
}

impl Script {
    /// Tells whether these bytes are the script.
    #[must_use]
    pub fn is(self, bytes: &[u8]) -> bool {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        bytes.len() == self.length && bytes.iter().fold(0xcbf2_9ce4_8422_2325, step) == self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_every_byte() {
        let known = Script { length: 6, hash: 0x8594_4171_f739_67e8 };
        assert!(known.is(b"foobar"));
        assert!(!known.is(b"foobaz"));
        assert!(!known.is(b"foobar\n"));
    }
}
