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

/// The last clock record, as long as it is on its way: what is due by its time fires when it is folded, however long that
/// takes, and needs no other one.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnItsWay {
    ordinal: u64,
    record_ms: i64,
}

impl OnItsWay {
    /// A clock record was journaled.
    pub fn journaled(ordinal: u64, record_ms: i64) -> OnItsWay {
        OnItsWay { ordinal, record_ms }
    }

    /// The time-out for which another record is needed, if the state at `position` has its next one at `due_ms`. Behind the
    /// record that may also be one that was due before it: of an alert that a later event opened or moved.
    pub fn leaves(self, due_ms: Option<i64>, position: u64) -> Option<i64> {
        due_ms.filter(|due_ms| position >= self.ordinal || *due_ms > self.record_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_on_its_way_is_enough_and_one_that_is_folded_is_not() {
        let on_its_way = OnItsWay::journaled(7, 30_000);
        assert_eq!(on_its_way.leaves(Some(30_000), 6), None, "it fires when the record is folded");
        assert_eq!(on_its_way.leaves(Some(30_001), 6), Some(30_001), "due later");
        assert_eq!(on_its_way.leaves(Some(20_000), 7), Some(20_000), "an event behind the record whose time-out is over already");
        assert_eq!(OnItsWay::default().leaves(Some(5), 0), Some(5), "none");
        assert_eq!(on_its_way.leaves(None, 7), None);
    }

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
