//! Items in groups that are numbered from 0: one list for all of them.

use std::ops::Range;

/// Items in groups, all in one list.
#[derive(Debug)]
pub(super) struct Groups<T> {
    /// Where each group begins; one more than there are groups.
    starts: Vec<u32>,
    items: Vec<T>,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self { starts: vec![0], items: Vec::new() }
    }
}

impl<T: Copy> Groups<T> {
    /// Sorts items into `count` groups, keeping their order within each.
    pub(super) fn new(count: usize, items: impl Iterator<Item = (usize, T)> + Clone) -> Self {
        let mut starts = vec![0_u32; count + 1];
        for (group, _) in items.clone() {
            starts[group + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut sorted: Vec<Option<T>> = vec![None; starts[count] as usize];
        for (group, item) in items {
            let place = &mut next[group];
            sorted[*place as usize] = Some(item);
            *place += 1;
        }
        Self { starts, items: sorted.into_iter().flatten().collect() }
    }

    /// Returns the items of a group.
    pub(super) fn get(&self, group: usize) -> &[T] {
        let range: Range<usize> = self.starts[group] as usize..self.starts[group + 1] as usize;
        &self.items[range]
    }
}
