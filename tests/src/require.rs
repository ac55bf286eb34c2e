//! What a test needs of the machine. A test that lacks something says so where everybody sees it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// Tells that a test cannot run here, past the capture of the test harness.
pub fn skip(test: &str, reason: &str) {
    // Straight to the stream: what `eprintln!` writes is shown for failed tests only.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Returns a file or folder of the material beside the source tree; none, said aloud, when it is not there.
#[must_use]
pub fn shared(test: &str, path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    if found.exists() {
        return Some(found);
    }
    skip(test, &format!("{} is not there", found.display()));
    None
}

/// Tells whether tests run that take minutes each and are not run every time: with `OIC_TESTS=all`. Says aloud when they do not.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "who runs the tests says so in the environment")]
pub fn all_tests(test: &str) -> bool {
    let all = std::env::var_os("OIC_TESTS").is_some_and(|value| value == "all");
    if !all {
        skip(test, "it takes minutes, and runs with OIC_TESTS=all");
    }
    all
}
