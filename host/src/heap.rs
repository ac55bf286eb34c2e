//! The size of this process's heap, and the only `unsafe` of the crate.
//!
//! Stages allocate very different things on many threads: indexes, the tables of packages, trees. The C library gives each thread a
//! heap of its own and keeps what has become free in all of them, mixed with what is still used: of 60 to 140 MB a build used 11 while
//! its builder VM ran. With one heap, which gives back what it does not use before a VM runs, 13 MB are left. The time that a
//! build takes is the same: threads have a small stock of free memory of their own in front of it.
//!
//! Other C libraries than glibc are left as they are.

#![expect(unsafe_code, reason = "the C library's settings of its heap have no safe interface")]

/// Gives all threads one heap. To be called before there are any.
#[cfg(target_env = "gnu")]
pub(crate) fn share() {
    // SAFETY: mallopt changes a setting of the C library and takes no pointer; no other thread runs yet.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives back the memory that is free.
#[cfg(target_env = "gnu")]
pub(crate) fn trim() {
    // SAFETY: malloc_trim takes no pointer, and locks the heap as any allocation does.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Gives all threads one heap. To be called before there are any.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share() {}

/// Gives back the memory that is free.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn trim() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    /// Returns the memory of this process that no file stands for, in kibibytes.
    fn resident() -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_free_between_what_is_used_is_given_back() {
        // Other tests use memory at the same time, so that one look may say nothing.
        let given_back = (0..8).any(|_| {
            let pieces: Vec<Vec<u8>> = (0..8192).map(|_| vec![1; 16 << 10]).collect();
            let full = resident();
            // One in 64 stays, so that the heap cannot simply end earlier.
            let kept: Vec<Vec<u8>> = pieces.into_iter().step_by(64).collect();
            trim();
            let left = resident();
            assert_eq!(kept.len(), 128);
            left + (64 << 10) < full
        });
        assert!(given_back);
    }
}
