//! Contents by blocks, as filesystems store them.

use crate::rootfs::content::Content;

/// Returns the ranges of a content that are not holes, in whole blocks, ascending. The last one may go beyond the content's end.
#[must_use]
pub(super) fn pieces(content: &Content, block: u64) -> Vec<(u64, u64)> {
    let end = content.size().next_multiple_of(block);
    let Content::Extents { extents, .. } = content else { return vec![(0, end)] };
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    for extent in extents.iter() {
        let (from, to) = (extent.logical / block * block, (extent.logical + extent.length).next_multiple_of(block).min(end));
        match pieces.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(to),
            _ => pieces.push((from, to)),
        }
    }
    pieces
}
