//! RFC 3339 times, as Go's JSON writes them.

/// Milliseconds since 1970 of `YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm|-hh:mm)`; a fraction finer than milliseconds is cut.
/// Years 0000 to 9999; no leap seconds, no 24:00. None for anything else.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes.len() > 64 {
        return None;
    }
    let (head, rest) = bytes.split_at(19);
    let marks_hold = head[4] == b'-' && head[7] == b'-' && matches!(head[10], b'T' | b't') && head[13] == b':' && head[16] == b':';
    let (year, month, day) = (number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..19])?);
    if !marks_hold || !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (milliseconds, zone) = match rest.strip_prefix(b".") {
        None => (0, rest),
        Some(fraction) => {
            let n = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if n == 0 {
                return None;
            }
            let digit = |i: usize| if i < n { i64::from(fraction[i] - b'0') } else { 0 };
            (digit(0) * 100 + digit(1) * 10 + digit(2), &fraction[n..])
        }
    };
    let offset_minutes = match zone {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * 1_000 + milliseconds)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar: whole years first, then months.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Days from 0000-01-01 to the year's first day; year 0 is a leap year.
    let before_year = |y: i64| if y == 0 { 0 } else { y * 365 + (y - 1) / 4 - (y - 1) / 100 + (y - 1) / 400 + 1 };
    let before_month: i64 = (1..month).map(|m| days_of(year, m)).sum();
    before_year(year) - before_year(1970) + before_month + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-22T20:00:00+08:00", 1_795_348_800_000),
            ("2026-11-22T12:00:00.123456789Z", 1_795_348_800_123),
            ("2026-11-22T12:00:00.5-00:30", 1_795_350_600_500),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("0000-01-01T00:00:00z", -62_167_219_200_000),
        ] {
            assert_eq!(parse_rfc3339_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut last = days_since_1970(0, 1, 1) - 1;
        for year in 0..=2400 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    let today = days_since_1970(year, month, day);
                    assert_eq!(today, last + 1, "{year}-{month}-{day}");
                    last = today;
                }
            }
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T20:00:00",
            "2026-11-22 20:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T23:59:60Z",
            "2026-11-22T20:00:00.Z",
            "2026-11-22T20:00:00+8:00",
            "2026-11-22T20:00:00+24:00",
            "10000-01-01T00:00:00Z",
            "2026-11-22T20:00:00Zx",
            "-026-11-22T20:00:00Z",
        ] {
            assert_eq!(parse_rfc3339_ms(text), None, "{text}");
        }
    }
}
