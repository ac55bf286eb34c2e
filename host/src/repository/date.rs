//! Dates as Release files have them (RFC 5322, 3.3), and as messages do. Proleptic Gregorian calendar, no leap seconds.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns the seconds since 1970-01-01 UTC of `Sat, 08 Nov 2026 10:00:00 UTC`; none for what is no date, or one before 1970.
#[must_use]
pub(super) fn parse(text: &str) -> Option<u64> {
    let words: Vec<_> = text.split_whitespace().collect();
    let words = if words.first()?.ends_with(',') { &words[1..] } else { &words[..] };
    let [day, month, year, time, zone] = words else { return None };
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))?;
    let (day, year) = (number(day, 31)?, number(year, 9999)?);
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?, 23)?, number(parts.next()?, 59)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 60))?;
    if day < 1 || year < 1970 || parts.next().is_some() {
        return None;
    }
    let local = days(year, i64::try_from(month).ok()? + 1, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(local - offset(zone)?).ok()
}

/// Returns `2026-11-08 10:00:00 UTC`.
#[must_use]
pub(super) fn words(seconds: u64) -> String {
    let of_day = seconds % 86_400;
    let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2).min(1 << 40);
    // Years from March on, in eras of 400 years (146097 days), so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

fn number(text: &str, max: i64) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| is_number && *value <= max)
}

/// Returns the days from 1970-01-01 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Returns the seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if ["UTC", "GMT", "UT", "Z"].contains(&zone) {
        return Some(0);
    }
    let sign = match zone.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits = number(&zone[1..], 9999).filter(|_| zone.len() == 5)?;
    Some(sign * (digits / 100 * 3600 + digits % 100 * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_dates() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Sat, 08 Nov 2026 10:00:00 UTC", 1_794_132_000),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("08 Nov 2026 10:00:00 +0100", 1_794_128_400),
            ("Sat, 8 Nov 2026 10:00 -0130", 1_794_137_400),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
        assert_eq!(words(951_868_799), "2000-02-29 23:59:59 UTC");
        assert_eq!(words(1_794_132_000), "2026-11-08 10:00:00 UTC");
        for bad in ["", "Sat,", "2026-11-08", "Sat, 08 Nov 2026 10:00:00", "Sat, 08 Nov 1969 10:00:00 UTC", "x, 1 Jan 2026 1:1:1 é0000"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn words_and_parse_agree(seconds in 0_u64..253_402_300_800) {
            let text = words(seconds);
            let (date, time) = text.split_once(' ').unwrap();
            let parts: Vec<&str> = date.split('-').collect();
            let month = MONTHS[parts[1].parse::<usize>().unwrap() - 1];
            prop_assert_eq!(parse(&format!("{} {month} {} {time}", parts[2], parts[0])), Some(seconds));
        }

        #[test]
        fn anything_is_taken_without_panic(text in ".{0,60}", seconds: u64) {
            let _ = parse(&text);
            drop(words(seconds));
        }
    }
}
