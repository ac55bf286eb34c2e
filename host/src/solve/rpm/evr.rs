//! Versions as RPM compares them: epoch, version and release.
//!
//! `[EPOCH:]VERSION[-RELEASE]`; a missing epoch is 0. Segments are compared as `rpmvercmp` does (`~` before nothing, `^` after
//! nothing). A missing release matters: packages always have one, dependencies rarely, and one that has none means all of them.

use std::cmp::Ordering;

/// A version, split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Evr<'a> {
    /// Digits; empty when there is none, which means 0.
    pub epoch: &'a str,
    /// Version.
    pub version: &'a str,
    /// Release; `None` when there is none or it is empty.
    pub release: Option<&'a str>,
}

impl<'a> Evr<'a> {
    /// Splits a version. Any text is one.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
            _ => ("", text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release).filter(|release| !release.is_empty())),
            None => (rest, None),
        };
        Self { epoch, version, release }
    }

    /// Compares epoch and version.
    fn compare_upstream(&self, other: &Self) -> Ordering {
        compare_epochs(self.epoch, other.epoch).then_with(|| compare_segments(self.version, other.version))
    }

    /// Compares two packages' versions: no release is before any.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.compare_upstream(other).then_with(|| match (self.release, other.release) {
            (Some(own), Some(others)) => compare_segments(own, others),
            (own, others) => own.is_some().cmp(&others.is_some()),
        })
    }

    /// Compares a version that is offered with one that is asked for.
    fn against(&self, wanted: &Self) -> Against {
        match self.compare_upstream(wanted) {
            Ordering::Less => Against::Less,
            Ordering::Greater => Against::Greater,
            Ordering::Equal => match (self.release, wanted.release) {
                (Some(own), Some(others)) => match compare_segments(own, others) {
                    Ordering::Less => Against::Less,
                    Ordering::Equal => Against::Equal,
                    Ordering::Greater => Against::Greater,
                },
                (None, None) => Against::Equal,
                (None, Some(_)) => Against::AnyReleaseOffered,
                (Some(_), None) => Against::AnyReleaseWanted,
            },
        }
    }
}

/// How an offered version stands to a wanted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    Less,
    Equal,
    Greater,
    /// The same version; only the wanted one has a release.
    AnyReleaseOffered,
    /// The same version; only the offered one has a release.
    AnyReleaseWanted,
}

/// Compares two versions as written.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    if left == right { Ordering::Equal } else { Evr::parse(left).compare(&Evr::parse(right)) }
}

fn compare_epochs(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Compares two versions without epoch and release, or two releases.
fn compare_segments(left: &str, right: &str) -> Ordering {
    let whole = |version| rpm_version::Evr::new("", version, "");
    if left == right { Ordering::Equal } else { whole(left).cmp(&whole(right)) }
}

/// Which versions a dependency means: a set of `<`, `=` and `>`; the empty set: all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sense(u8);

impl Sense {
    /// All versions.
    pub const ANY: Self = Self(0);
    /// `<`
    pub const LESS: Self = Self(4);
    /// `=`
    pub const EQUAL: Self = Self(2);
    /// `>`
    pub const GREATER: Self = Self(1);
    /// `<=`
    pub const LESS_OR_EQUAL: Self = Self(6);
    /// `>=`
    pub const GREATER_OR_EQUAL: Self = Self(3);

    /// Spellings in dependencies and in `flags` attributes of the metadata.
    const SPELLINGS: [(Self, &'static str, &'static str); 6] = [
        (Self::LESS, "<", "LT"),
        (Self::EQUAL, "=", "EQ"),
        (Self::GREATER, ">", "GT"),
        (Self::LESS_OR_EQUAL, "<=", "LE"),
        (Self::GREATER_OR_EQUAL, ">=", "GE"),
        (Self::ANY, "", ""),
    ];

    /// Returns the sense of an operator: `<`, `<=`, `=`, `==`, `>=`, `>`.
    #[must_use]
    pub fn from_operator(text: &str) -> Option<Self> {
        let text = if text == "==" { "=" } else { text };
        Self::SPELLINGS.iter().find(|(sense, operator, _)| *operator == text && *sense != Self::ANY).map(|(sense, ..)| *sense)
    }

    /// Returns the sense of a `flags` attribute.
    #[must_use]
    pub fn from_flags(text: &str) -> Option<Self> {
        Self::SPELLINGS.iter().find(|(_, _, flags)| *flags == text).map(|(sense, ..)| *sense)
    }

    /// Returns the operator.
    #[must_use]
    pub fn operator(self) -> &'static str {
        Self::SPELLINGS.iter().find(|(sense, ..)| *sense == self).map_or("", |(_, operator, _)| operator)
    }

    /// Returns the number that stored indexes use.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// Returns the sense of a number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::SPELLINGS.iter().map(|(sense, ..)| *sense).find(|sense| sense.0 == number)
    }

    /// Returns whether it contains one of another one.
    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether it is exactly `=`, `<=` or `<`.
    pub(super) fn is_bounded_above(self) -> bool {
        [Self::EQUAL, Self::LESS, Self::LESS_OR_EQUAL].contains(&self)
    }
}

/// Returns whether what is offered and what is wanted have a version in common.
///
/// No version on either side means all versions.
#[must_use]
pub fn overlap(offered: (Sense, &str), wanted: (Sense, &str)) -> bool {
    let ((own, own_evr), (want, want_evr)) = (offered, wanted);
    if own == Sense::ANY || want == Sense::ANY {
        return true;
    }
    let directions = Sense(Sense::LESS.0 | Sense::GREATER.0);
    if Sense(own.0 & want.0).meets(directions) {
        return true;
    }
    match Evr::parse(own_evr).against(&Evr::parse(want_evr)) {
        Against::Less => want.meets(Sense::LESS) || own.meets(Sense::GREATER),
        Against::Equal => own.meets(Sense::EQUAL) && want.meets(Sense::EQUAL),
        Against::Greater => want.meets(Sense::GREATER) || own.meets(Sense::LESS),
        Against::AnyReleaseOffered => own.meets(Sense::EQUAL),
        Against::AnyReleaseWanted => want.meets(Sense::EQUAL),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_rpm_orders_them() {
        for (left, right, expected) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.0", "1.1", Ordering::Less),
            ("1:0.1", "2.0", Ordering::Greater),
            ("0:1.0-1", "1.0-1", Ordering::Equal),
            ("00:1.0-1", "1.0-1", Ordering::Equal),
            ("10:1", "9:1", Ordering::Greater),
            ("1.0~rc1-1", "1.0-1", Ordering::Less),
            ("1.0^git1-1", "1.0-1", Ordering::Greater),
            ("1.0^git1-1", "1.0.1-1", Ordering::Less),
            ("1.0-1.el9", "1.0-10.el9", Ordering::Less),
            ("1.0", "1.0-1", Ordering::Less),
            ("2a", "2.0", Ordering::Less),
            ("1.001", "1.1", Ordering::Equal),
            ("1.fc40", "1.fc9", Ordering::Greater),
        ] {
            assert_eq!(compare(left, right), expected, "{left} {right}");
            assert_eq!(compare(right, left), expected.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn a_missing_release_means_all_of_them() {
        let at = |operator, evr| (Sense::from_operator(operator).unwrap(), evr);
        for (offered, wanted, expected) in [
            (at("=", "1-1"), at("=", "1"), true),
            (at("=", "1"), at("=", "1-1"), true),
            (at("=", "1-1"), at("=", "1-"), true),
            (at("=", "1-1"), at("=", "1-2"), false),
            (at("=", "1-1"), at("<", "1"), false),
            (at("=", "1-1"), at(">", "1"), false),
            (at("=", "1-1"), at("<=", "1"), true),
            (at("<", "2"), at("=", "1-1"), true),
            (at("<", "2"), at("=", "2"), false),
            (at("<=", "2"), at("=", "2"), true),
            (at(">", "2"), at(">", "9"), true),
            (at(">", "2"), at("<", "2"), false),
            ((Sense::ANY, ""), at("=", "7"), true),
        ] {
            assert_eq!(overlap(offered, wanted), expected, "{offered:?} {wanted:?}");
        }
    }

    proptest! {
        #[test]
        fn comparing_is_an_order(versions in proptest::collection::vec("([0-9]:)?[0-9a-z.~^]{1,8}(-[0-9a-z.~^]{0,4})?", 3)) {
            let [a, b, c] = &versions[..] else { unreachable!("three were asked for") };
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b) != Ordering::Greater && compare(b, c) != Ordering::Greater {
                prop_assert_ne!(compare(a, c), Ordering::Greater, "{} {} {}", a, b, c);
            }
        }
    }
}
