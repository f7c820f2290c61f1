//! Times as senders write them.

use serde_json::Value;

/// From here on a number is of milliseconds: as seconds it would lie in the year 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// Unix seconds, of seconds, milliseconds or RFC 3339. `Ok(None)` is a time that says nothing, as the year 1 in which some senders let
/// everything begin that has not begun.
pub fn seconds(value: &Value) -> Result<Option<u64>, String> {
    let number = match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|n| n as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let seconds = match (number, value) {
        (Some(n), _) if n.abs() >= MILLISECONDS_FROM => Some(n / 1_000),
        (Some(n), _) => Some(n),
        (None, Value::String(text)) => rfc3339(text),
        _ => None,
    };
    match seconds {
        Some(seconds) => Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)),
        None => Err(format!("{value} is no time: seconds or milliseconds since 1970, or as 2026-03-01T09:30:00Z")),
    }
}

fn rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-')?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    let is_good = year <= 9_999
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit());
    let of_day = hour * 3_600 + minute * 60 + second;
    is_good.then_some(days_since_1970(year, month, day) * 86_400 + of_day - offset(zone)?)
}

/// Seconds east of Greenwich: `Z`, `+08:00`, `-0530`.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return (zone.len() == 1).then_some(0),
    };
    let digits: String = zone[1..].split(':').collect();
    let is_good = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    let digits: i64 = digits.parse().ok().filter(|_| is_good)?;
    let (hours, minutes) = (digits / 100, digits % 100);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let parts = text.split(between).map(|part| part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit())));
    parts.collect::<Option<Vec<i64>>>()?.try_into().ok()
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

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let days_before_year = before * 365 + before / 4 - before / 100 + before / 400;
    let days_before_1970 = 719_162;
    let days_before_month: i64 = (1..month).map(|month| days_of(year, month)).sum();
    days_before_year - days_before_1970 + days_before_month + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_of_several_senders() {
        for (written, wanted) in [
            (json!(1_790_000_000), Some(1_790_000_000)),
            (json!(1_790_000_000_123_i64), Some(1_790_000_000)),
            (json!(1_790_000_000.75), Some(1_790_000_000)),
            (json!("1790000000"), Some(1_790_000_000)),
            (json!("1970-01-01T00:00:01Z"), Some(1)),
            (json!("2026-09-21T14:13:20Z"), Some(1_790_000_000)),
            (json!("2026-09-21T22:13:20.123456789+08:00"), Some(1_790_000_000)),
            (json!("2026-09-21 08:43:20-0530"), Some(1_790_000_000)),
            (json!("2024-02-29T00:00:00Z"), Some(1_709_164_800)),
            (json!("2000-03-01T00:00:00z"), Some(951_868_800)),
            (json!("0001-01-01T00:00:00Z"), None),
            (json!(0), None),
        ] {
            assert_eq!(seconds(&written), Ok(wanted), "{written}");
        }
    }

    #[test]
    fn what_is_no_time_is_said() {
        for bad in [
            "",
            "yesterday",
            "2026-09-21",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-09-21T24:00:00Z",
            "2026-09-21T14:13:20",
            "2026-09-21T14:13:20.Z",
            "+2026-09-21T14:13:20Z",
            "2026-09-21T14:13:20+8",
        ] {
            assert!(seconds(&json!(bad)).unwrap_err().contains("is no time"), "{bad}");
        }
        assert!(seconds(&json!([1])).is_err());
    }
}
