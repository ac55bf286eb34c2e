//! Sizes.
//!
//! `4GiB`, `4G`, `4096MiB`, `4096 MiB`: powers of 1024. `4GB`: powers of 1000. A bare number: bytes. Letters in either case, but the
//! `B` of a decimal unit must be there. A fraction (`1.5GiB`) is taken when it comes to whole bytes.

use std::fmt;

use serde::Serialize;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Returns that many MiB.
    ///
    /// # Panics
    /// Panics at compile time, or on 16 EiB and more.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        match count.checked_mul(1 << 20) {
            Some(bytes) => Self(bytes),
            None => panic!("size does not fit 64 bits"),
        }
    }

    /// Returns the sum, unless it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Returns the difference, unless it is negative.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Returns it rounded up to a multiple of `unit`, unless that does not fit or `unit` is 0.
    #[must_use]
    pub const fn align_up(self, unit: u64) -> Option<Self> {
        match self.0.checked_next_multiple_of(unit) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// Returns it rounded down to a multiple of `unit`; itself if `unit` is 0.
    #[must_use]
    pub const fn align_down(self, unit: u64) -> Self {
        match self.0.checked_rem(unit) {
            Some(rest) => Self(self.0 - rest),
            None => self,
        }
    }
}

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// It does not begin with a number.
    #[error("`{0}` does not begin with a number")]
    NoNumber(String),
    /// The number has a fraction that makes no whole bytes.
    #[error("`{0}` is not a whole number of bytes")]
    Fraction(String),
    /// What follows the number is no unit.
    #[error("`{unit}` in `{text}` is not a unit of size")]
    Unit {
        /// The whole text.
        text: String,
        /// What follows the number.
        unit: String,
    },
    /// It is 16 EiB or more.
    #[error("`{0}` is more than any disk holds")]
    TooLarge(String),
}

impl std::str::FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..end], trimmed[end..].trim());
        let factor = factor(unit).ok_or_else(|| ParseSizeError::Unit { text: text.to_owned(), unit: unit.to_owned() });
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(ParseSizeError::NoNumber(text.to_owned()));
        }
        let factor = factor?;
        let too_large = || ParseSizeError::TooLarge(text.to_owned());
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let bytes = whole.checked_mul(factor).ok_or_else(too_large)?;
        bytes
            .checked_add(fraction_of(fraction, factor).ok_or_else(|| ParseSizeError::Fraction(text.to_owned()))?)
            .map(Self)
            .ok_or_else(too_large)
    }
}

/// Returns how many bytes `unit` stands for.
fn factor(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "" | "b") {
        return Some(1);
    }
    let mut letters = unit.chars();
    let power = "kmgt".find(letters.next()?)? + 1;
    let base: u64 = match letters.as_str() {
        "" | "ib" | "i" => 1024,
        "b" => 1000,
        _ => return None,
    };
    base.checked_pow(u32::try_from(power).ok()?)
}

/// Returns how many bytes the digits after the point are, if that is a whole number.
fn fraction_of(digits: &str, factor: u64) -> Option<u64> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let product = digits.parse::<u128>().ok()?.checked_mul(u128::from(factor))?;
    if product.is_multiple_of(scale) { u64::try_from(product / scale).ok() } else { None }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_forms_that_templates_use() {
        for (text, bytes) in [
            ("4GiB", 4 << 30),
            ("4G", 4 << 30),
            ("4096MiB", 4 << 30),
            ("4096 MiB", 4 << 30),
            (" 4gib ", 4 << 30),
            ("4GB", 4_000_000_000),
            ("513MB", 513_000_000),
            ("1.5GiB", 3 << 29),
            ("512", 512),
            ("0", 0),
            ("10KiB", 10 << 10),
            ("2T", 2 << 40),
            ("7B", 7),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for (text, message) in [
            ("", "`` does not begin with a number"),
            ("GiB", "`GiB` does not begin with a number"),
            ("-1GiB", "`-1GiB` does not begin with a number"),
            ("4XiB", "`XiB` in `4XiB` is not a unit of size"),
            ("4 GiBs", "`GiBs` in `4 GiBs` is not a unit of size"),
            ("1.3B", "`1.3B` is not a whole number of bytes"),
            ("1.2.3G", "`1.2.3G` does not begin with a number"),
            ("99999999999T", "`99999999999T` is more than any disk holds"),
            ("18446744073709551616", "`18446744073709551616` is more than any disk holds"),
        ] {
            let error = text.parse::<ByteSize>().map(|size| size.0).map_err(|error| error.to_string());
            // A text without a number and with an unknown unit is wrong in both ways; either message will do.
            let alternative = format!("`{text}` in `{text}` is not a unit of size");
            assert!(error == Err(message.to_owned()) || error == Err(alternative), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn units_multiply(count in 0u64..1 << 20, power in 0usize..4) {
            let letter = ["K", "M", "G", "T"][power];
            let exponent = u32::try_from(power).unwrap() + 1;
            let size = |text: String| text.parse::<ByteSize>().unwrap().0;
            prop_assert_eq!(size(format!("{count}{letter}iB")), count * 1024u64.pow(exponent));
            prop_assert_eq!(size(format!("{count} {letter}")), count * 1024u64.pow(exponent));
            prop_assert_eq!(size(format!("{count}{letter}B")), count * 1000u64.pow(exponent));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
