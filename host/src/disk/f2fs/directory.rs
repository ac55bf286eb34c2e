//! Directories: entries in buckets by the hash of their names, and small directories in their inodes.
//!
//! ```text
//! level 0   1 bucket of 2 blocks │ level 1   2 buckets │ level 2   4 buckets │ …
//! block     bitmap of slots │ unused │ hash, inode, length, kind of each │ names, 8 bytes to a slot
//! ```

use std::collections::BTreeMap;

use super::Put as _;

/// Size of a name's part in one slot.
const SLOT: usize = 8;
/// Size of what an entry says beside its name.
const ENTRY: usize = 11;
/// Blocks of a bucket; there are more from a level on that no directory here has.
const BUCKET: u64 = 2;

/// Where the parts of a block of entries are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    slots: usize,
    entries: usize,
    names: usize,
    pub(super) size: usize,
}

/// A block of its own, and the room for entries in an inode.
pub(super) const FULL: Form = Form { slots: 214, entries: 30, names: 30 + 214 * ENTRY, size: 4096 };
pub(super) const INLINE: Form = Form { slots: 182, entries: 30, names: 30 + 182 * ENTRY, size: 3488 };

/// An entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'a> {
    pub(super) name: &'a [u8],
    pub(super) number: u32,
    pub(super) kind: u8,
}

impl Child<'_> {
    fn slots(&self) -> usize {
        self.name.len().div_ceil(SLOT).max(1)
    }
}

/// Entries being put into one block.
#[derive(Debug, Clone)]
struct Block {
    form: Form,
    bytes: Vec<u8>,
    used: usize,
}

impl Block {
    fn new(form: Form) -> Self {
        Self { form, bytes: vec![0; form.size], used: 0 }
    }

    /// Adds an entry; false: it has no room.
    fn add(&mut self, child: &Child<'_>, hash: u32) -> bool {
        let (slot, count) = (self.used, child.slots());
        if slot + count > self.form.slots {
            return false;
        }
        for slot in slot..slot + count {
            self.bytes[slot / 8] |= 1 << (slot % 8);
        }
        let at = self.form.entries + slot * ENTRY;
        self.bytes.put32(at, hash);
        self.bytes.put32(at + 4, child.number);
        self.bytes.put16(at + 8, child.name.len() as u16);
        self.bytes[at + 10] = child.kind;
        self.bytes.put(self.form.names + slot * SLOT, child.name);
        self.used += count;
        true
    }
}

/// The blocks of a directory by their place in it, and how many levels there are.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) blocks: BTreeMap<u64, Vec<u8>>,
    pub(super) depth: u32,
}

/// Returns the entries of a directory as an inode holds them; none: they are too many.
pub(super) fn inline(children: &[Child<'_>]) -> Option<Vec<u8>> {
    let mut block = Block::new(INLINE);
    children.iter().all(|child| block.add(child, hash(child.name))).then_some(block.bytes)
}

/// Returns the entries of a directory as blocks. Each is in the first bucket by its hash that has room, as the kernel puts it.
pub(super) fn blocks(children: &[Child<'_>]) -> Blocks {
    let mut blocks: BTreeMap<u64, Block> = BTreeMap::new();
    let mut depth = 0;
    for child in children {
        let hash = hash(child.name);
        for level in 0_u32.. {
            let first = BUCKET * ((1 << level) - 1) + BUCKET * (u64::from(hash) % (1 << level));
            let added = (first..first + BUCKET).any(|index| blocks.entry(index).or_insert_with(|| Block::new(FULL)).add(child, hash));
            if added {
                depth = depth.max(level + 1);
                break;
            }
        }
    }
    blocks.retain(|_, block| block.used > 0);
    Blocks { blocks: blocks.into_iter().map(|(index, block)| (index, block.bytes)).collect(), depth }
}

/// Returns the hash of a name: a few rounds of TEA over 16 bytes at a time. The two dots have none.
pub(super) fn hash(name: &[u8]) -> u32 {
    if matches!(name, b"." | b"..") {
        return 0;
    }
    let mut state = [0x6745_2301_u32, 0xefcd_ab89];
    let mut rest = name;
    loop {
        mix(&mut state, words(rest));
        if rest.len() <= 16 {
            return state[0];
        }
        rest = &rest[16..];
    }
}

/// Returns the first 16 bytes of a name as numbers, filled up with its length.
fn words(name: &[u8]) -> [u32; 4] {
    let length = name.len() as u32;
    let pad = (length | length << 8) | (length | length << 8) << 16;
    let mut words = [pad; 4];
    for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
        *word = bytes.iter().fold(pad, |value, byte| u32::from(*byte).wrapping_add(value << 8));
    }
    words
}

fn mix(state: &mut [u32; 2], key: [u32; 4]) {
    let [mut left, mut right] = *state;
    let mut sum = 0_u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        let round = |half: u32, first: u32, second: u32| {
            (half << 4).wrapping_add(first) ^ half.wrapping_add(sum) ^ (half >> 5).wrapping_add(second)
        };
        left = left.wrapping_add(round(right, key[0], key[1]));
        right = right.wrapping_add(round(left, key[2], key[3]));
    }
    *state = [state[0].wrapping_add(left), state[1].wrapping_add(right)];
}
