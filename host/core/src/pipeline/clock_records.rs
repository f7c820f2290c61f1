//! When a clock record is to be written: time goes by in records, so a time-out that is due waits for one if nothing else is
//! received. What decides is the journal's clock, which nobody can read without writing to it.

/// Between two clock records at least, milliseconds.
pub const PAUSE_MS: i64 = 50;
/// And at most, while the journal's clock is behind.
pub const PAUSE_MAX_MS: i64 = 1_000;

/// Milliseconds until a clock record may find a time-out due: by the wall clock, or by the last record's time and the time
/// that went by since it was seen, whichever is sooner. The wall clock alone would not do: when it is set back the journal's
/// clock goes on, at half speed. Too soon does no harm; the record tells how far the journal's clock is.
pub fn ask_in_ms(due_ms: i64, wall_ms: i64, last_record_ms: i64, since_seen_ms: i64) -> i64 {
    let by_journal = last_record_ms.saturating_add(since_seen_ms);
    due_ms.saturating_sub(wall_ms.max(by_journal)).max(0)
}

/// Milliseconds to wait behind a clock record of this time. After a step of the wall clock the journal's own is behind for a
/// while: no use in asking twenty times a second.
pub fn pause_ms(due_ms: Option<i64>, record_ms: i64) -> i64 {
    due_ms.map_or(0, |due_ms| due_ms.saturating_sub(record_ms)).clamp(PAUSE_MS, PAUSE_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_was_set_back_puts_nothing_off() {
        assert_eq!(ask_in_ms(30_000, 10_000, 9_000, 1_000), 20_000, "in step");
        assert_eq!(ask_in_ms(30_000, 10_000 - 3_600_000, 9_000, 1_000), 20_000, "set back by an hour");
        assert_eq!(ask_in_ms(30_000, 10_000 + 3_600_000, 9_000, 1_000), 0, "set ahead: the record will tell");
    }

    #[test]
    fn the_pause_is_what_is_left_within_bounds() {
        assert_eq!([pause_ms(None, 5), pause_ms(Some(5_300), 5_000), pause_ms(Some(90_000), 5_000), pause_ms(Some(1), 5)], [50, 300, 1_000, 50]);
    }
}
