//! The queue between the halves, bounded in changes and in bytes: batches are of one row or of ten thousand, and rules add to
//! them. It decides how much goes into one commit: what waits, but not more than a quick disk needs; and more where a sync takes
//! long.

use alertmill_core::pipeline::conductor::{COMMIT_BYTES_MAX, FOLD_ROWS_MAX};
use alertmill_core::pipeline::prepare::Prepared;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Rows of a commit on a disk that is quick: they are seen soon, and share their sync well.
const ROWS_QUICK: usize = 4_096;
/// Rows of a commit on the slowest disk.
const ROWS_SLOW: usize = FOLD_ROWS_MAX;
/// A sync that takes longer than the rows of a quick disk's commit take to fold is worth sharing among more of them.
const SYNC_IS_SLOW: Duration = Duration::from_millis(50);
/// Full commits with slow syncs before a larger one is tried again, when the last did not make a row's part of a sync cheaper:
/// what is slow is then the bytes.
const TRY_AGAIN_AFTER: u32 = 16;

/// Both ends of a new queue.
pub fn queue() -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender(shared.clone()), Receiver { shared })
}

/// The prepare half's end.
pub struct Sender(Arc<Shared>);

/// The fold half's end.
pub struct Receiver {
    shared: Arc<Shared>,
}

/// Learns from the store how long syncs take. Only they are asked: rows, retention and pauses cost the same in commits of any
/// size, and a commit that grew for them would only be seen later.
pub struct Pacer(Arc<Shared>);

impl Pacer {
    /// A commit stored so many events, and its sync took so long.
    pub fn synced(&self, events: usize, took: Duration) {
        self.0.lock().pace.synced(events, took);
    }
}

/// How large the next commit may be.
struct Pace {
    /// Changes, at most. Twice as many may wait.
    rows: usize,
    /// How large commits were before they last grew, and what a row's part of a sync cost then.
    before: Option<(usize, Duration)>,
    /// Full commits until they may grow again.
    rests: u32,
}

impl Pace {
    fn of(rows: usize, rests: u32) -> Pace {
        Pace { rows, before: None, rests }
    }

    fn synced(&mut self, events: usize, took: Duration) {
        if took < SYNC_IS_SLOW / 2 {
            *self = Pace::of((self.rows / 2).max(ROWS_QUICK), 0);
        }
        // A commit that was not full would have been no larger.
        if took < SYNC_IS_SLOW || events * 2 <= self.rows {
            return;
        }
        let cost = took / u32::try_from(events).unwrap_or(u32::MAX);
        match self.before {
            Some((rows, before)) if cost * 4 > before * 3 => *self = Pace::of(rows, TRY_AGAIN_AFTER),
            _ if self.rests > 0 => self.rests -= 1,
            _ if self.rows < ROWS_SLOW => {
                let times = if took >= SYNC_IS_SLOW * 4 { 4 } else { 2 };
                *self = Pace { rows: (self.rows * times).min(ROWS_SLOW), before: Some((self.rows, cost)), rests: 0 };
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    batches: VecDeque<Prepared>,
    /// Rows, dead letters and alerts of commands in `batches`.
    changes: usize,
    /// Bytes of `batches`. As much may wait as a commit may take.
    bytes: usize,
    pace: Pace,
    /// One end is gone.
    closed: bool,
    /// How often a sender found no room.
    #[cfg(test)]
    found_full: usize,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting {
            batches: VecDeque::new(),
            changes: 0,
            bytes: 0,
            pace: Pace::of(ROWS_QUICK, 0),
            closed: false,
            #[cfg(test)]
            found_full: 0,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(&'a self, waiting: MutexGuard<'a, Waiting>, condition: impl FnMut(&mut Waiting) -> bool) -> MutexGuard<'a, Waiting> {
        self.changed.wait_while(waiting, condition).unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

impl Sender {
    /// Waits for room; `false` when the fold is gone.
    pub fn send(&self, batch: Prepared) -> bool {
        let is_full = |waiting: &mut Waiting| {
            let is_full = !waiting.closed && !waiting.has_room_for(&batch);
            #[cfg(test)]
            {
                waiting.found_full += usize::from(is_full);
            }
            is_full
        };
        let mut waiting = self.0.wait_while(self.0.lock(), is_full);
        if waiting.closed {
            return false;
        }
        waiting.changes += batch.changes();
        waiting.bytes += batch.size_bytes();
        waiting.batches.push_back(batch);
        drop(waiting);
        self.0.changed.notify_all();
        true
    }
}

impl Receiver {
    /// Waits for a batch and takes along what is there, at most `changes_max` changes, and fewer while commits are quick, and not
    /// more bytes than a commit may have, unless the first batch alone has more. `None` when the prepare half is gone and nothing is left.
    pub fn receive(&mut self, changes_max: usize) -> Option<Prepared> {
        let mut waiting = self.shared.wait_while(self.shared.lock(), |waiting| !waiting.closed && waiting.batches.is_empty());
        let taken = waiting.take(changes_max);
        drop(waiting);
        self.shared.changed.notify_all();
        taken
    }

    /// Whom the store tells how long its syncs take.
    pub fn pacer(&self) -> Pacer {
        Pacer(self.shared.clone())
    }

    /// As [`receive`](Self::receive), but `None` also when no batch is there.
    pub fn receive_ready(&mut self, changes_max: usize) -> Option<Prepared> {
        if self.shared.lock().batches.is_empty() { None } else { self.receive(changes_max) }
    }
}

impl Waiting {
    /// One batch alone always fits.
    fn has_room_for(&self, batch: &Prepared) -> bool {
        let fits = self.changes + batch.changes() <= 2 * self.pace.rows && self.bytes + batch.size_bytes() <= COMMIT_BYTES_MAX;
        self.batches.is_empty() || fits
    }

    fn take(&mut self, changes_max: usize) -> Option<Prepared> {
        let mut taken = self.batches.pop_front()?;
        let changes_max = changes_max.min(self.pace.rows);
        while let Some(next) = self.batches.pop_front_if(|next| taken.has_room_for(next, changes_max)) {
            taken.append(next);
        }
        self.changes -= taken.changes();
        self.bytes -= taken.size_bytes();
        Some(taken)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::command::{Action, AlertRef, Command};
    use alertmill_core::identity::{Algorithm, UidKey};
    use alertmill_core::pipeline::prepare::prepare;
    use alertmill_core::pipeline::understand::UnderstandConfig;
    use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, Journaled, Record, RecordBody};
    use alertmill_core::rules::NoRules;
    use std::time::Instant;

    fn batch(ordinal: u64, rows: u32) -> Prepared {
        batch_of(ordinal, br#"{"alert_name":"a"}"#, rows)
    }

    fn batch_of(ordinal: u64, item: &[u8], rows: u32) -> Prepared {
        let items = Items {
            tenant: "system".into(),
            source: "events".into(),
            door: Door::Events,
            idempotency_key: None,
            counts: DoorCounts { received: rows.into(), ..DoorCounts::default() },
            heap: item.to_vec().into(),
            spans: (0..rows).map(|i| ItemSpan { bytes: 0..item.len() as u32, request_index: i }).collect(),
        };
        batch_with(ordinal, RecordBody::Items(items))
    }

    fn batch_with(ordinal: u64, body: RecordBody) -> Prepared {
        let record = Record { ordinal, received_at_ms: 1_763_800_000_000, body };
        let config = UnderstandConfig { uid_key: UidKey([0; 16]), algorithm: Algorithm::Keyed };
        prepare(&mut [Journaled { record, parsed: None }], 1, &mut NoRules, &config).unwrap()
    }

    #[test]
    fn a_commit_takes_what_waits_but_no_more_rows_than_it_may() {
        let (sender, mut receiver) = queue();
        for (ordinal, rows) in [(1, 3), (2, 4), (3, 5), (4, 30), (5, 1)] {
            assert!(sender.send(batch(ordinal, rows)));
        }
        drop(sender);
        let mut taken = Vec::new();
        while let Some(prepared) = receiver.receive(10) {
            taken.push((prepared.records[0].ordinal, prepared.rows.len()));
        }
        assert_eq!(taken, [(1, 7), (3, 5), (4, 30), (5, 1)]);
    }

    /// Syncs of full commits, one after the other.
    fn syncs(pacer: &Pacer, n: usize, took: impl Fn(usize) -> Duration) {
        for _ in 0..n {
            let rows = pacer.0.lock().pace.rows;
            pacer.synced(rows, took(rows));
        }
    }

    #[test]
    fn commits_grow_while_syncs_are_slow_and_shrink_when_they_are_not() {
        let (sender, mut receiver) = queue();
        let pacer = receiver.pacer();
        let taken = |receiver: &mut Receiver| receiver.receive(usize::MAX).expect("a batch").rows.len();
        syncs(&pacer, 1, |_| SYNC_IS_SLOW * 4);
        for ordinal in 1..=4 {
            assert!(sender.send(batch(ordinal, 6_000)), "there is room for all");
        }
        assert_eq!(taken(&mut receiver), 12_000, "four times as much as on a quick disk, so not the third");
        syncs(&pacer, 3, |_| SYNC_IS_SLOW / 4);
        assert_eq!(taken(&mut receiver), 6_000, "with the next it would be more than a quick disk's commit");
        syncs(&pacer, 20, |_| SYNC_IS_SLOW * 4);
        assert_eq!(pacer.0.lock().pace.rows, ROWS_SLOW);
    }

    #[test]
    fn commits_do_not_grow_when_it_helps_nobody() {
        let (_sender, receiver) = queue();
        let pacer = receiver.pacer();
        let mut largest = 0;
        for _ in 0..1_000 {
            // A disk on which each row costs its bytes, as one that is nearly full of other work.
            syncs(&pacer, 1, |rows| Duration::from_micros(25) * rows as u32);
            largest = largest.max(pacer.0.lock().pace.rows);
        }
        assert_eq!(largest, 2 * ROWS_QUICK, "twice is tried, and not kept");
        for _ in 0..20 {
            pacer.synced(ROWS_QUICK / 2, SYNC_IS_SLOW * 10);
        }
        assert!(pacer.0.lock().pace.rows <= 2 * ROWS_QUICK, "who has little to write needs no more room");
        syncs(&pacer, 5, |_| Duration::ZERO);
        for _ in 0..20 {
            pacer.synced(ROWS_QUICK / 2, SYNC_IS_SLOW * 10);
        }
        assert_eq!(pacer.0.lock().pace.rows, ROWS_QUICK);
    }

    /// Sends until a batch waits for room, then takes all commits. Gives how many batches waited, and how many each commit had.
    fn until_full(batches: impl Fn(u64) -> Prepared, at_most: u64) -> (usize, Vec<usize>) {
        let (sender, mut receiver) = queue();
        let mut sent = 0;
        while sent < at_most && sender.0.lock().has_room_for(&batches(sent + 1)) {
            sent += 1;
            assert!(sender.send(batches(sent)));
        }
        drop(sender);
        let commits = std::iter::from_fn(|| receiver.receive(usize::MAX).map(|prepared| prepared.records.len())).collect();
        (sent as usize, commits)
    }

    #[test]
    fn what_waits_and_what_a_commit_takes_is_bounded_in_bytes() {
        let large = format!(r#"{{"alert_name":"a","description":"{}"}}"#, "x".repeat(1 << 20));
        let of_rows = |ordinal| batch_of(ordinal, large.as_bytes(), 10);
        let (waited, commits) = until_full(of_rows, 100);
        assert_eq!((waited, commits), (6, vec![6]), "of ten MiB each");
        // One that is larger than all that may wait goes alone.
        let (waited, commits) = until_full(|ordinal| batch_of(ordinal, large.as_bytes(), 70), 100);
        assert_eq!((waited, commits), (1, vec![1]));
        // Items that are not understood make no rows, and are held and written nevertheless.
        let (waited, commits) = until_full(|ordinal| batch_of(ordinal, &large.as_bytes()[1..], 10), 100);
        assert_eq!((waited, commits), (6, vec![6]));
    }

    #[test]
    fn batches_without_rows_and_commands_have_their_bounds_too() {
        let (waited, commits) = until_full(|ordinal| batch_with(ordinal, RecordBody::Clock), 1_000_000);
        assert_eq!((waited, commits), (2 * ROWS_QUICK, vec![ROWS_QUICK; 2]), "a record counts as one at least");
        let command = |alerts: usize| Command {
            tenant: "system".into(),
            action: Action::Close,
            alerts: vec![AlertRef { create_time: 1, seq: 1 }; alerts],
            operator: "wang".into(),
            comment: "".into(),
            idempotency_key: None,
        };
        let (waited, commits) = until_full(|ordinal| batch_with(ordinal, RecordBody::Command(command(1_000))), 100);
        assert_eq!((waited, commits), (1, vec![1]), "a thousand alerts are written whole");
        let (waited, commits) = until_full(|ordinal| batch_with(ordinal, RecordBody::Command(command(100))), 100);
        assert_eq!((waited, commits), (10, vec![10]));
    }

    #[test]
    fn a_full_queue_waits_for_the_fold_and_ends_with_it() {
        let (sender, mut receiver) = queue();
        let full = 2 * ROWS_QUICK as u32;
        assert!(sender.send(batch(1, full + 1)), "one batch always fits");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| sender.send(batch(2, 1)));
            let until = Instant::now() + Duration::from_secs(30);
            while sender.0.lock().found_full == 0 {
                assert!(Instant::now() < until && !second.is_finished(), "it waits for room");
                std::thread::yield_now();
            }
            assert!(!second.is_finished() && sender.0.lock().batches.len() == 1);
            assert_eq!(receiver.receive(1).expect("the first").rows.len(), full as usize + 1);
            assert!(second.join().expect("no panic"), "then there is room");
            assert!(sender.send(batch(3, full - 1)));
            let third = scope.spawn(|| sender.send(batch(4, 1)));
            drop(receiver);
            assert!(!third.join().expect("no panic"), "the fold is gone");
        });
    }
}
