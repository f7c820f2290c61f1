//! How many appends one fdatasync is worth waiting for. While it runs, the next group gathers by itself; on a fast disk it is
//! over before many have come, and a thousand senders would pay for a sync each. So the writer waits for as many as it had
//! lately: a lone sender never waits, and a few that send again at once are all in the next group.

use std::time::Duration;

/// More than these need no waiting: the sync is shared by enough.
const FULL: usize = 64;

/// A group waits for more at most so long, and ends at the first pause of [`PAUSE`] in which none came.
pub(super) const WINDOW: Duration = Duration::from_millis(4);
/// See [`WINDOW`].
pub(super) const PAUSE: Duration = Duration::from_micros(500);

/// What the sizes of the last groups say about the next one.
#[derive(Debug)]
pub(super) struct Gathering {
    expected: usize,
}

impl Default for Gathering {
    fn default() -> Gathering {
        Gathering { expected: 1 }
    }
}

impl Gathering {
    /// Appends that a group should have before it is written.
    pub fn wanted(&self) -> usize {
        self.expected
    }

    /// A group of this size was written. Rises at once, so that a burst is met by its second group, and halves the way
    /// down, so that the last of many senders soon waits no more.
    pub fn group_of(&mut self, appends: usize) {
        self.expected = appends.max(usize::midpoint(self.expected, appends)).clamp(1, FULL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_sender_never_waits() {
        let mut gathering = Gathering::default();
        for _ in 0..3 {
            assert_eq!(gathering.wanted(), 1);
            gathering.group_of(1);
        }
    }

    #[test]
    fn many_senders_are_waited_for_and_soon_forgotten() {
        let mut gathering = Gathering::default();
        gathering.group_of(8);
        assert_eq!(gathering.wanted(), 8, "those eight are expected again");
        gathering.group_of(10_000);
        assert_eq!(gathering.wanted(), FULL, "enough is enough");
        let alone = (1..=10).find(|_| {
            gathering.group_of(1);
            gathering.wanted() == 1
        });
        assert_eq!(alone, Some(6), "a lone sender waits for others six times, not for ever");
    }
}
