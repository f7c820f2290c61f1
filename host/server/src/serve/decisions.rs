//! What the fold decided of commands, or made of dead letters that were tried again, for the requests that wait for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Decisions of commits, as long as somebody who may want them waits.
#[derive(Debug)]
pub struct Decisions<T>(Mutex<Waiting<T>>);

impl<T> Default for Decisions<T> {
    fn default() -> Decisions<T> {
        Decisions(Mutex::new(Waiting { since: BTreeMap::new(), decided: BTreeMap::new() }))
    }
}

#[derive(Debug)]
struct Waiting<T> {
    /// How many wait, by the position at which they began to: what they want was journaled behind it.
    since: BTreeMap<u64, usize>,
    /// By the ordinal of the record that was decided.
    decided: BTreeMap<u64, T>,
}

/// A place among those who wait, taken before the record is appended: its commit may be quicker than the answer of the
/// journal.
#[derive(Debug)]
pub struct Place<'a, T> {
    decisions: &'a Decisions<T>,
    since: u64,
}

impl<T: Clone> Decisions<T> {
    /// Begins to wait. `position` is the last commit's.
    pub fn wait(&self, position: u64) -> Place<'_, T> {
        *self.lock().since.entry(position).or_insert(0) += 1;
        Place { decisions: self, since: position }
    }

    /// A commit is in that decided these records.
    pub fn committed<'t>(&self, decided: impl Iterator<Item = (u64, &'t T)>)
    where
        T: 't,
    {
        let mut decided = decided.peekable();
        if decided.peek().is_none() {
            return;
        }
        let mut waiting = self.lock();
        if let Some((&since, _)) = waiting.since.first_key_value() {
            waiting.decided.extend(decided.filter(|(ordinal, _)| *ordinal > since).map(|(ordinal, decided)| (ordinal, decided.clone())));
        }
    }
}

impl<T> Decisions<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Place<'_, T> {
    /// What was decided of this record, once its commit is in.
    pub fn take(&self, ordinal: u64) -> Option<T> {
        self.decisions.lock().decided.remove(&ordinal)
    }
}

impl<T> Drop for Place<'_, T> {
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

    fn commit(decisions: &Decisions<&str>, decided: &[(u64, &'static str)]) {
        decisions.committed(decided.iter().map(|(ordinal, decided)| (*ordinal, decided)));
    }

    #[test]
    fn whoever_waits_gets_what_was_decided_and_nothing_is_kept_for_nobody() {
        let decisions = Decisions::default();
        commit(&decisions, &[(1, "one")]);
        assert!(decisions.lock().decided.is_empty(), "nobody waited");
        let (first, gone) = (decisions.wait(1), decisions.wait(1));
        commit(&decisions, &[(2, "two"), (3, "three")]);
        let second = decisions.wait(3);
        assert_eq!((first.take(2), first.take(2)), (Some("two"), None));
        commit(&decisions, &[(4, "four")]);
        drop((first, gone));
        assert_eq!(decisions.lock().decided.keys().copied().collect::<Vec<_>>(), [4], "3 was for those who have gone");
        assert_eq!(second.take(4), Some("four"));
        commit(&decisions, &[(5, "five")]);
        drop(second);
        assert!(decisions.lock().decided.is_empty() && decisions.lock().since.is_empty());
    }
}
