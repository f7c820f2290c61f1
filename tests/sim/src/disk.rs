//! What survives a crash: the journal's synced records and the store's tables.

use crate::rng::Rng;
use alertmill_core::event::Uid;
use alertmill_core::pipeline::fold::REMEMBER_END_S;
use alertmill_core::ports::{AlertWrite, Commit, DeadLetter, EventRole, LogWrite, Restored, RestoredAlert};
use alertmill_core::record::{Journaled, Record, RecordBody, RuleSet};
use std::collections::{BTreeMap, BTreeSet};

/// A journal record on the simulated disk.
#[derive(Clone)]
pub struct DiskRecord {
    pub ordinal: u64,
    pub received_at_ms: i64,
    pub payload: Vec<u8>,
}

impl DiskRecord {
    /// The record as it is read again after a restart.
    pub fn replayed(&self) -> Journaled {
        let body = RecordBody::decode(&self.payload).expect("our own payload");
        Journaled { record: Record { ordinal: self.ordinal, received_at_ms: self.received_at_ms, body }, parsed: None }
    }
}

/// A stored event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub uid: Uid,
    pub known_until_s: i64,
    pub index_time_s: i64,
    pub document: String,
}

/// The store's tables.
#[derive(Clone, Default)]
pub struct Tables {
    pub position: u64,
    pub received_at_ms: i64,
    pub started_at_ms: i64,
    /// Position and time before the last commit; only a planted bug asks for it.
    pub before: (u64, i64),
    pub alerts: BTreeMap<u64, AlertWrite>,
    /// Seconds at which an open alert closes when nothing more is heard of it.
    pub closes_at_s: BTreeMap<u64, i64>,
    pub events: Vec<EventRow>,
    pub stored: BTreeSet<Uid>,
    pub stored_twice: Option<Uid>,
    /// What the store answers from when asked for known uids.
    pub uids: BTreeMap<Uid, i64>,
    pub lists: BTreeMap<u64, Vec<(Uid, EventRole)>>,
    pub logs: Vec<LogWrite>,
    pub dead_letters: Vec<DeadLetter>,
    pub ledger: BTreeMap<(String, String, String), u64>,
    pub rule_set: RuleSet,
}

impl Tables {
    /// Applies a commit whole.
    pub fn apply(&mut self, commit: &Commit) {
        for alert in &commit.alerts {
            self.closes_at_s.remove(&alert.seq);
            if let Some(at) = number_after(&alert.document, "\"next_status_time\":").filter(|_| alert.end_time.is_none()) {
                self.closes_at_s.insert(alert.seq, at);
            }
            self.alerts.insert(alert.seq, alert.clone());
        }
        for event in &commit.events {
            let document = &commit.event_heap[event.document.start as usize..event.document.end as usize];
            let document = String::from_utf8_lossy(document).into_owned();
            self.events.push(EventRow { uid: event.uid, known_until_s: event.known_until_s, index_time_s: event.index_time_s, document });
            self.uids.insert(event.uid, event.known_until_s);
            if !self.stored.insert(event.uid) {
                self.stored_twice = Some(event.uid);
            }
        }
        for list in &commit.alert_events {
            let uids = list.events.iter().map(|(at, role)| (commit.events[*at as usize].uid, *role));
            self.lists.entry(list.seq).or_default().extend(uids);
        }
        self.logs.extend(commit.logs.iter().cloned());
        self.dead_letters.extend(commit.dead_letters.iter().cloned());
        for value in &commit.ledger {
            self.ledger.insert((value.scope.to_owned(), value.name.to_string(), value.counter.to_string()), value.value);
        }
        if let Some(set) = &commit.rule_set {
            self.rule_set = set.clone();
        }
        self.before = (self.position, self.received_at_ms);
        self.position = commit.to;
        self.received_at_ms = commit.received_at_ms;
        self.started_at_ms = commit.started_at_ms;
    }

    /// What the store gives back at start.
    pub fn restored(&self) -> Restored {
        let since_s = self.received_at_ms.div_euclid(1000) - REMEMBER_END_S;
        // As far back as the port promises, and no further.
        let wanted = self.alerts.values().filter(|alert| alert.end_time.is_none_or(|end| end >= since_s));
        Restored {
            position: self.position,
            received_at_ms: self.received_at_ms,
            started_at_ms: self.started_at_ms,
            alerts: wanted.map(|a| RestoredAlert { seq: a.seq, document: a.document.clone(), state: a.state.clone(), revision: a.revision }).collect(),
            ledger: self.ledger.iter().map(|((s, n, c), v)| (s.as_str().into(), n.as_str().into(), c.as_str().into(), *v)).collect(),
            rule_set: self.rule_set.clone(),
        }
    }
}

/// The number behind a key in JSON text of ours.
pub fn number_after(json: &[u8], key: &str) -> Option<i64> {
    let at = json.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let digits = json[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&json[at..at + digits]).ok()?.parse().ok()
}

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    /// Synced records.
    pub journal: Vec<DiskRecord>,
    /// Written, not synced: a crash keeps a random part of the front.
    pub journal_unsynced: Vec<DiskRecord>,
    /// The store as its last commit left it: what a kill leaves.
    pub tables: Tables,
    /// The store as its last synced checkpoint left it, and the commits since: power loss keeps some of the front.
    synced: Tables,
    since: Vec<Commit>,
}

impl Disk {
    /// The last generation that was written to the journal, folded or not.
    pub fn newest_generation(&self) -> u64 {
        let rule_set = |record: &DiskRecord| match RecordBody::decode(&record.payload) {
            Ok(RecordBody::RuleSet(set)) => Some(set.generation),
            _ => None,
        };
        self.journal.iter().chain(&self.journal_unsynced).rev().find_map(rule_set).unwrap_or(0)
    }

    /// Takes a commit.
    pub fn commit(&mut self, commit: &Commit) {
        self.tables.apply(commit);
        self.since.push(commit.clone());
    }

    /// Syncs all commits so far.
    pub fn checkpoint(&mut self) {
        for commit in self.since.drain(..) {
            self.synced.apply(&commit);
        }
    }

    /// The machine crashed: what was written to the journal and not synced is there in part.
    pub fn lose_journal_tail(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.journal_unsynced.len() as u64 + 1) as usize;
        self.journal.extend(self.journal_unsynced.drain(..).take(kept));
    }

    /// The power failed: commits behind the last synced one are there in part.
    pub fn lose_commits(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.since.len() as u64 + 1) as usize;
        self.since.truncate(kept);
        self.checkpoint();
        self.tables = self.synced.clone();
    }
}
