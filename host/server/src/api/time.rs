//! Points in time as queries write them: epoch milliseconds, RFC 3339, or `now-6h`.

/// Milliseconds of a text; the error says what is accepted.
pub fn parse(text: &str, now_ms: i64) -> Result<i64, String> {
    let help = || format!("{text:?} is no point in time; write epoch milliseconds, RFC 3339 such as 2026-11-21T08:00:00Z, or now-6h");
    if let Some(rest) = text.strip_prefix("now") {
        return relative(rest, now_ms).ok_or_else(help);
    }
    if let Ok(ms) = text.parse::<i64>() {
        return if (0..=MAX_MS).contains(&ms) { Ok(ms) } else { Err(help()) };
    }
    // A `+` of the zone arrives as a blank when the sender did not encode it.
    let unblanked = text.replacen(' ', "+", usize::from(text.contains('T')));
    let stamp: jiff::Timestamp = unblanked.parse().map_err(|_| help())?;
    Ok(stamp.as_millisecond())
}

/// The end of the year 9999.
const MAX_MS: i64 = 253_402_300_799_999;

fn relative(rest: &str, now_ms: i64) -> Option<i64> {
    if rest.is_empty() {
        return Some(now_ms);
    }
    let ms = duration_ms(rest.get(1..)?)?;
    match rest.as_bytes()[0] {
        b'-' => now_ms.checked_sub(ms),
        b'+' => now_ms.checked_add(ms).filter(|t| *t <= MAX_MS),
        _ => None,
    }
}

/// Milliseconds of `90s`, `15m`, `6h`, `7d`, `2w`.
pub fn duration_ms(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let factor = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        'w' => 7 * 86_400_000,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

/// Milliseconds now.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_800_000_000;

    #[test]
    fn all_three_forms() {
        for (text, ms) in [
            ("1763800000000", NOW),
            ("0", 0),
            ("now", NOW),
            ("now-6h", NOW - 6 * 3_600_000),
            ("now-90s", NOW - 90_000),
            ("now-2w", NOW - 14 * 86_400_000),
            ("now+5m", NOW + 300_000),
            ("2025-11-22T08:26:40Z", NOW),
            ("2025-11-22T16:26:40+08:00", NOW),
            ("2025-11-22T16:26:40 08:00", NOW),
            ("2025-11-22T08:26:40.5Z", NOW + 500),
        ] {
            assert_eq!(parse(text, NOW), Ok(ms), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_help() {
        for text in [
            "",
            "yesterday",
            "now-",
            "now-h",
            "now-6",
            "now-6y",
            "now*6h",
            "now-6h-1h",
            "-1",
            "1e3",
            "2025-11-22",
            "now-99999999999999999w",
            "9999999999999999",
        ] {
            let error = parse(text, NOW).expect_err(text);
            assert!(error.contains("RFC 3339"), "{error}");
        }
    }
}
