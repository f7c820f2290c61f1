//! What the fold decided of commands, for the requests that wait for it.

use alertmill_core::command::{Decided, Decision};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Decisions of commits, as long as somebody who may want them waits.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// How many wait, by the position at which they began to: what they want was journaled behind it.
    since: BTreeMap<u64, usize>,
    /// By the ordinal of the command's record.
    decided: BTreeMap<u64, Vec<Decision>>,
}

/// A place among those who wait, taken before the record is appended: its commit may be quicker than the answer of the
/// journal.
#[derive(Debug)]
pub struct Place<'a> {
    decisions: &'a Decisions,
    since: u64,
}

impl Decisions {
    /// Begins to wait. `position` is the last commit's.
    pub fn wait(&self, position: u64) -> Place<'_> {
        *self.lock().since.entry(position).or_insert(0) += 1;
        Place { decisions: self, since: position }
    }

    /// A commit is in.
    pub fn committed(&self, commands: &[Decided]) {
        if commands.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        if let Some((&since, _)) = waiting.since.first_key_value() {
            let wanted = commands.iter().filter(|decided| decided.ordinal > since);
            waiting.decided.extend(wanted.map(|decided| (decided.ordinal, decided.decisions.clone())));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// What became of the command of this record, once its commit is in.
    pub fn take(&self, ordinal: u64) -> Option<Vec<Decision>> {
        self.decisions.lock().decided.remove(&ordinal)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.decisions.lock();
        if let Some(n) = waiting.since.get_mut(&self.since) {
            *n -= 1;
            if *n == 0 {
                waiting.since.remove(&self.since);
            }
        }
        // What only those wanted who have gone away is of no use.
        let oldest = waiting.since.first_key_value().map_or(u64::MAX, |(since, _)| *since);
        waiting.decided = waiting.decided.split_off(&oldest.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::command::Verdict;

    fn decided(ordinal: u64) -> Decided {
        Decided { ordinal, decisions: vec![Decision { verdict: Verdict::Done, alert: None }] }
    }

    #[test]
    fn whoever_waits_gets_what_was_decided_and_nothing_is_kept_for_nobody() {
        let decisions = Decisions::default();
        decisions.committed(&[decided(1)]);
        assert!(decisions.lock().decided.is_empty(), "nobody waited");
        let (first, gone) = (decisions.wait(1), decisions.wait(1));
        decisions.committed(&[decided(2), decided(3)]);
        let second = decisions.wait(3);
        assert_eq!((first.take(2), first.take(2)), (Some(decided(2).decisions), None));
        decisions.committed(&[decided(4)]);
        drop((first, gone));
        assert_eq!(decisions.lock().decided.keys().copied().collect::<Vec<_>>(), [4], "3 was for those who have gone");
        assert_eq!(second.take(4), Some(decided(4).decisions));
        decisions.committed(&[decided(5)]);
        drop(second);
        assert!(decisions.lock().decided.is_empty() && decisions.lock().since.is_empty());
    }
}
