//! Numbers for people.

use std::time::Duration;

use crate::build::progress::Unit;

/// Returns a duration: `0.04 s`, `12.3 s`, `2 min 5 s`.
#[must_use]
pub(crate) fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else if seconds < 99.95 {
        format!("{seconds:.1} s")
    } else {
        let whole = elapsed.as_secs();
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// Returns a number of bytes with three digits that count: `312 B`, `1.41 MiB`, `20.0 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Returns how far something is: `3/160`, `12`, `1.41 MiB/20.0 MiB`.
#[must_use]
pub(crate) fn count(done: u64, total: Option<u64>, unit: Unit) -> String {
    let number = |value: u64| match unit {
        Unit::Bytes => bytes(value),
        Unit::Items => value.to_string(),
    };
    match total {
        Some(total) => format!("{}/{}", number(done), number(total)),
        None => number(done),
    }
}

/// Returns how many bytes come per second; none while that means nothing.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "three digits are shown, of a number that is not negative"
)]
pub(crate) fn rate(done: u64, unit: Unit, elapsed: Duration) -> Option<String> {
    let seconds = elapsed.as_secs_f64();
    if unit != Unit::Bytes || done == 0 || seconds < 0.5 {
        return None;
    }
    Some(format!("{}/s", bytes((done as f64 / seconds) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_023_999, "0.98 MiB"),
            (20 << 20, "20.0 MiB"),
            (999 << 20, "999 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (millis, text) in [(40, "0.04 s"), (1_000, "1.0 s"), (99_949, "99.9 s"), (99_950, "1 min 39 s"), (125_000, "2 min 5 s")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(count(3, Some(160), Unit::Items), "3/160");
        assert_eq!(count(2048, None, Unit::Bytes), "2.00 KiB");
        assert_eq!(rate(10 << 20, Unit::Bytes, Duration::from_secs(2)).as_deref(), Some("5.00 MiB/s"));
        assert_eq!(rate(10, Unit::Items, Duration::from_secs(2)), None);
    }
}
