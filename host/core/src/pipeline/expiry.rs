//! When an event is too old to touch an alert, and which daily index its document belongs to (docs/semantics.md, Expiry).

use crate::event::Event;
use crate::value::{Text, Value};

/// A day in seconds.
const DAY_S: i64 = 86_400;

/// True if the event is only stored: older than a day, or than `bound` if that is later. The bound is 60 s before the
/// end of the last alert of its fingerprint.
pub fn is_expired(event: &Event, now_s: i64, bound: Option<i64>) -> bool {
    let day_ago = now_s.saturating_sub(DAY_S);
    // A bound of 0 is none, as in upstream.
    let limit = bound.filter(|bound| *bound != 0).map_or(day_ago, |bound| bound.max(day_ago));
    match event.access_time() {
        Value::Int(n) => *n < limit,
        Value::Float(f) => *f < limit as f64,
        // A rule wrote something else there.
        _ => event.time_s() < limit,
    }
}

/// The time that the event's document is indexed under: its own, or when it was received if the two are over a day apart.
pub fn index_time_s(event: &Event) -> i64 {
    let time = event.time_s();
    if event.create_time.abs_diff(time) > DAY_S.unsigned_abs() { event.create_time } else { time }
}

/// The alias that the event's document is written to.
pub fn write_index(event: &Event) -> Text {
    Text::from(format!("write_{}_bkfta_event", day_utc(index_time_s(event))))
}

/// `YYYYMMDD` of a Unix second, in UTC; years are held between 0 and 9999.
pub fn day_utc(unix_s: i64) -> Text {
    // Days since 0000-03-01, in eras of 400 years.
    let days = unix_s.div_euclid(DAY_S).clamp(-719_468, 2_932_896) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let mut digits = *b"00000000";
    let mut left = year * 10_000 + month * 100 + day;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    Text::new(std::str::from_utf8(&digits).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: Value, create_time: i64) -> Event {
        Event { time, create_time, ..Event::default() }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "19700101"),
            (86_399, "19700101"),
            (86_400, "19700102"),
            (-1, "19691231"),
            (951_782_400, "20000229"),
            (951_868_800, "20000301"),
            (1_700_000_000, "20231114"),
            (4_107_542_400, "21000301"),
            (4_107_542_399, "21000228"),
            (i64::MAX, "99991231"),
            (i64::MIN, "00000301"),
        ] {
            assert_eq!(day_utc(unix_s), expected, "{unix_s}");
        }
    }

    #[test]
    fn a_day_and_the_bound_limit_the_age() {
        let now = 1_700_000_000;
        let at = |time| event(Value::Int(time), now);
        assert!(!is_expired(&at(now - DAY_S), now, None));
        assert!(is_expired(&at(now - DAY_S - 1), now, None));
        assert!(is_expired(&at(now - 100), now, Some(now - 99)));
        assert!(!is_expired(&at(now - 99), now, Some(now - 99)));
        assert!(!is_expired(&at(now - 100), now, Some(0)));
        assert!(!is_expired(&at(now - DAY_S), now, Some(now - 2 * DAY_S)));
        assert!(is_expired(&event(Value::Float(1.5), now), now, None));
    }

    #[test]
    fn any_time_has_an_index() {
        for time in [Value::Int(i64::MIN), Value::Int(i64::MAX), Value::Float(1e300), Value::Null, Value::literal("x")] {
            for now in [i64::MIN, 0, i64::MAX] {
                let event = event(time.clone(), now);
                assert!(write_index(&event).len() == 26);
                is_expired(&event, now, Some(i64::MIN));
            }
        }
    }
}
