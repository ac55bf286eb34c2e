//! Debian version numbers and their order, as `dpkg` compares them.
//!
//! Compared in place on the text, because a solve compares some hundred thousand of them. The `debversion` crate was
//! tried: it runs a regular expression and allocates per version, and orders `1.` before `1.0`, which dpkg holds equal.

use std::cmp::Ordering;

/// A version in its parts. Ordered as dpkg orders, so versions that differ in text may be equal (`1.0` and `1.00`).
#[derive(Debug, Clone, Copy)]
pub struct DebVersion<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> DebVersion<'a> {
    /// Returns the parts of `text`. Never fails; [`is_well_formed`] says whether dpkg would take it.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let (epoch, rest) = text.split_once(':').unwrap_or(("", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream, revision }
    }

    /// Returns the part between epoch and revision.
    #[must_use]
    pub fn upstream(&self) -> &'a str {
        self.upstream
    }
}

impl Ord for DebVersion<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_part(self.epoch.as_bytes(), other.epoch.as_bytes())
            .then_with(|| compare_part(self.upstream.as_bytes(), other.upstream.as_bytes()))
            .then_with(|| compare_part(self.revision.as_bytes(), other.revision.as_bytes()))
    }
}

impl PartialOrd for DebVersion<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DebVersion<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DebVersion<'_> {}

/// Compares two versions given as text.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    if left == right { Ordering::Equal } else { DebVersion::new(left).cmp(&DebVersion::new(right)) }
}

/// Returns whether dpkg accepts `text` as a version.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) => (Some(epoch), rest),
        None => (None, text),
    };
    let (upstream, revision) = match rest.rsplit_once('-') {
        Some((upstream, revision)) => (upstream, Some(revision)),
        None => (rest, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+~".contains(&byte);
    epoch.is_none_or(|epoch| !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) && epoch.parse::<i32>().is_ok())
        && !upstream.is_empty()
        && upstream.bytes().all(|byte| plain(byte) || b"-:".contains(&byte))
        && revision.is_none_or(|revision| !revision.is_empty() && revision.bytes().all(plain))
}

/// Compares one part: runs of non-digits by weight, runs of digits by value, in turns.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !(left.is_empty() && right.is_empty()) {
        let (left_text, left_rest) = split_run(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split_run(right, |byte| !byte.is_ascii_digit());
        for at in 0..left_text.len().max(right_text.len()) {
            let ordering = weight(left_text.get(at)).cmp(&weight(right_text.get(at)));
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        let (left_number, left_next) = split_run(left_rest, |byte| byte.is_ascii_digit());
        let (right_number, right_next) = split_run(right_rest, |byte| byte.is_ascii_digit());
        let (left_number, right_number) = (without_zeros(left_number), without_zeros(right_number));
        let ordering = left_number.len().cmp(&right_number.len()).then_with(|| left_number.cmp(right_number));
        if ordering != Ordering::Equal {
            return ordering;
        }
        (left, right) = (left_next, right_next);
    }
    Ordering::Equal
}

/// Splits off the longest prefix whose bytes satisfy `belongs`.
fn split_run(text: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|&byte| !belongs(byte)).unwrap_or(text.len()))
}

/// Returns the digits without leading zeros.
fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len())..]
}

/// Returns the place of a byte in dpkg's order: `~`, then the end, then letters, then the rest.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Command};

    use proptest::prelude::*;

    use super::*;
    use crate::exec;

    #[test]
    fn versions_are_ordered_as_policy_says() {
        let ascending =
            ["0~~", "0~~a", "0~", "0", "0a", "0+b1", "1.0~rc1-1", "1.0", "1.0-1", "1.0-1+deb12u1", "1.0-2", "1.0.1", "1.10", "1:0.1"];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        for (left, right) in [("1.0", "1.00"), ("1.", "1.0"), ("0:1", "1"), ("1-0", "1"), ("007", "7")] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn well_formed_means_that_dpkg_takes_it() {
        for good in ["1", "1:2-3", "1.2-3-4", "2:1:3-1", "1+b~2"] {
            assert!(is_well_formed(good), "{good}");
        }
        for bad in ["", ":1", "a:1", "1:", "1-", "1 2", "1_2", "1/2", "9999999999:1", "1-é"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }

    fn any_version() -> impl Strategy<Value = String> {
        let upstream =
            proptest::string::string_regex("[0-9]{1,3}([0-9a-cA-C.+~]{0,6}|(\\.0{0,3}[0-9]{0,22}))").expect("a valid expression");
        (proptest::option::of(0..3_u8), upstream, proptest::option::of("[0-9a-c+.~]{1,4}")).prop_map(|(epoch, upstream, revision)| {
            let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
            epoch + &upstream + &revision.map(|revision| format!("-{revision}")).unwrap_or_default()
        })
    }

    /// Asks dpkg; none where there is no dpkg, which is said once.
    fn dpkgs_order(left: &str, right: &str) -> Option<Ordering> {
        static SAY: std::sync::Once = std::sync::Once::new();
        if !std::path::Path::new("/usr/bin/dpkg").exists() {
            // Written past the test harness, which would keep it to itself.
            SAY.call_once(|| drop(writeln!(std::io::stderr(), "skipped: the_order_is_dpkgs, for want of dpkg on this machine")));
            return None;
        }
        let holds = |relation: &str| exec::run(Command::new("dpkg").args(["--compare-versions", left, relation, right])).is_ok();
        Some(if holds("lt") {
            Ordering::Less
        } else if holds("gt") {
            Ordering::Greater
        } else {
            Ordering::Equal
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_order_is_dpkgs(left in any_version(), right in any_version()) {
            let Some(expected) = dpkgs_order(&left, &right) else { return Ok(()) };
            prop_assert_eq!(compare(&left, &right), expected, "{} {}", left, right);
        }

        #[test]
        fn any_text_compares_consistently(left in ".{0,12}", right in ".{0,12}") {
            prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
            prop_assert_eq!(compare(&left, &left), Ordering::Equal);
        }
    }
}
