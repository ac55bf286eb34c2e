//! The wall clock. Only for what never reaches an output: validity of signatures and Release files, last use of cache
//! entries, times in logs. Outputs take their time from the lock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the seconds since 1970-01-01 UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
