//! The store's tables: whole commits, each of which can be taken back until it is synced.

use alertmill_core::audit::AuditEntry;
use alertmill_core::event::{Fingerprint, Uid};
use alertmill_core::ledger::Outcome;
use alertmill_core::pipeline::fold::REMEMBER_END_S;
use alertmill_core::ports::{AlertWrite, Commit, DeadLetter, EventRole, LogWrite, Restored, RestoredAlert, VersionWrite};
use alertmill_core::record::RuleSet;
use alertmill_core::value::Text;
use alertmill_core::verdict::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stored event.
#[derive(Clone, Debug)]
pub struct EventRow {
    pub uid: Uid,
    pub known_until_s: i64,
    pub index_time_s: i64,
    /// When its record was received, as its document says.
    pub received_s: i64,
    heap: Arc<[u8]>,
    place: std::ops::Range<u32>,
}

impl EventRow {
    /// Its document, JSON.
    pub fn document(&self) -> &str {
        let bytes = &self.heap[self.place.start as usize..self.place.end as usize];
        std::str::from_utf8(bytes).unwrap_or("not UTF-8")
    }
}

impl PartialEq for EventRow {
    fn eq(&self, other: &EventRow) -> bool {
        let plain = |row: &EventRow| (row.uid, row.known_until_s, row.index_time_s);
        plain(self) == plain(other) && self.document() == other.document()
    }
}

/// The events of one alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// Places in [`Tables::events`].
    pub events: Vec<(usize, EventRole)>,
    /// How many of them the alert must have counted.
    pub counted: u64,
}

/// Scope, name and counter.
pub type LedgerKey = (&'static str, Text, Text);

/// The store's tables.
#[derive(Clone, Default)]
pub struct Tables {
    pub position: u64,
    pub received_at_ms: i64,
    pub started_at_ms: i64,
    /// Position and time before the last commit; only a planted bug asks for it.
    pub before: (u64, i64),
    pub alerts: BTreeMap<u64, Arc<AlertWrite>>,
    /// Seconds at which an open alert closes when nothing more is heard of it.
    pub closes_at_s: BTreeMap<u64, i64>,
    /// The open alert of each fingerprint, and one that has two.
    pub open: BTreeMap<Fingerprint, u64>,
    pub open_twice: Option<Fingerprint>,
    pub events: Vec<EventRow>,
    /// Every uid that is stored, with the last second at which it is known; what was stored again before that.
    pub stored: BTreeMap<Uid, i64>,
    pub stored_twice: Option<Uid>,
    /// What the store answers from when asked for known uids.
    pub uids: BTreeMap<Uid, i64>,
    pub lists: BTreeMap<u64, List>,
    pub logs: Vec<LogWrite>,
    pub dead_letters: Vec<DeadLetter>,
    /// Of each source: letters that were taken out to be tried again.
    pub letters_done: BTreeMap<Text, u64>,
    pub ledger: BTreeMap<LedgerKey, u64>,
    /// Every generation that began, the last one in force.
    pub rule_sets: Vec<RuleSet>,
    /// Verdicts of the last one that have no end.
    pub open_verdicts: Vec<Verdict>,
    /// Every version of a rule that came or went.
    pub rule_versions: Vec<VersionWrite>,
    pub audit: Vec<AuditEntry>,
}

/// What takes a commit back.
pub struct Undo {
    position: u64,
    received_at_ms: i64,
    started_at_ms: i64,
    before: (u64, i64),
    alerts: Vec<(u64, Option<Arc<AlertWrite>>)>,
    /// Alert, and how long its list was.
    lists: Vec<(u64, usize)>,
    events: usize,
    /// Uids as they were known before, in the order of events.
    stored: Vec<(Uid, Option<i64>)>,
    logs: usize,
    dead_letters: usize,
    /// Where they were.
    letters_done: Vec<(usize, DeadLetter)>,
    ledger: Vec<(LedgerKey, Option<u64>)>,
    rule_sets: usize,
    open_verdicts: Vec<Verdict>,
    rule_versions: usize,
    audit: usize,
}

impl Undo {
    /// The position that it leads back to.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The time that it leads back to.
    pub fn received_at_ms(&self) -> i64 {
        self.received_at_ms
    }
}

impl Tables {
    /// Applies a commit whole.
    pub fn apply(&mut self, commit: &Commit) -> Undo {
        let mut undo = Undo {
            position: self.position,
            received_at_ms: self.received_at_ms,
            started_at_ms: self.started_at_ms,
            before: self.before,
            alerts: Vec::with_capacity(commit.alerts.len()),
            lists: Vec::with_capacity(commit.alert_events.len()),
            events: self.events.len(),
            stored: Vec::with_capacity(commit.events.len()),
            logs: self.logs.len(),
            dead_letters: 0,
            letters_done: self.take_letters(&commit.letters_done),
            ledger: Vec::with_capacity(commit.ledger.len()),
            rule_sets: self.rule_sets.len(),
            open_verdicts: self.open_verdicts.clone(),
            rule_versions: self.rule_versions.len(),
            audit: self.audit.len(),
        };
        // What ends gives its fingerprint free before what opens takes it: a commit is one moment.
        let (open, ended): (Vec<_>, Vec<_>) = commit.alerts.iter().partition(|alert| alert.end_time.is_none());
        for alert in ended.into_iter().chain(open) {
            let before = self.put_alert(Arc::new(alert.clone()));
            undo.alerts.push((alert.seq, before));
        }
        let heap: Arc<[u8]> = commit.event_heap.as_slice().into();
        for event in &commit.events {
            let (uid, known_until_s, index_time_s) = (event.uid, event.known_until_s, event.index_time_s);
            let place = event.document.clone();
            let received_s = last_number_after(&heap[place.start as usize..place.end as usize], br#""create_time":"#).unwrap_or_default();
            self.events.push(EventRow { uid, known_until_s, index_time_s, received_s, heap: heap.clone(), place });
            self.uids.insert(event.uid, event.known_until_s);
            let before = self.stored.insert(event.uid, event.known_until_s);
            if before.is_some_and(|until_s| received_s <= until_s) {
                self.stored_twice = Some(event.uid);
            }
            undo.stored.push((event.uid, before));
        }
        for listed in &commit.alert_events {
            let list = self.lists.entry(listed.seq).or_default();
            undo.lists.push((listed.seq, list.events.len()));
            for (at, role) in &listed.events {
                list.events.push((undo.events + *at as usize, *role));
                list.counted += u64::from(*role != EventRole::Milder);
            }
        }
        self.logs.extend(commit.logs.iter().cloned());
        undo.dead_letters = self.dead_letters.len();
        self.dead_letters.extend(commit.dead_letters.iter().cloned());
        for value in &commit.ledger {
            let key = (value.scope, value.name.clone(), value.counter.clone());
            let before = self.ledger.insert(key.clone(), value.value);
            undo.ledger.push((key, before));
        }
        self.rule_sets.extend(commit.rule_sets.iter().cloned());
        commit.open_verdicts.iter().for_each(|open| self.open_verdicts.clone_from(open));
        self.rule_versions.extend(commit.rule_versions.iter().cloned());
        self.audit.extend(commit.audit.iter().cloned());
        self.before = (self.position, self.received_at_ms);
        self.position = commit.to;
        self.received_at_ms = commit.received_at_ms;
        self.started_at_ms = commit.started_at_ms;
        undo
    }

    /// Takes out the letters of these places that are there, one by one, each with where it was then.
    fn take_letters(&mut self, places: &[(u64, u32)]) -> Vec<(usize, DeadLetter)> {
        let mut taken = Vec::new();
        for place in places {
            let at = self.dead_letters.iter().position(|letter| (letter.ordinal, letter.index) == *place && letter.arrival.is_some());
            if let Some(at) = at {
                let letter = self.dead_letters.remove(at);
                *self.letters_done.entry(letter.source.clone()).or_default() += 1;
                taken.push((at, letter));
            }
        }
        taken
    }

    /// Forgets the uids that were known until a second before this.
    pub fn forget_uids_before(&mut self, now_ms: i64) {
        self.uids.retain(|_, until_s| *until_s >= now_ms.div_euclid(1_000));
    }

    /// Takes back the last commit that is not taken back yet.
    pub fn take_back(&mut self, undo: Undo) {
        for (seq, _) in &undo.alerts {
            if let Some(written) = self.alerts.remove(seq) {
                self.closes_at_s.remove(seq);
                if self.open.get(&written.fingerprint) == Some(seq) {
                    self.open.remove(&written.fingerprint);
                }
            }
        }
        for alert in undo.alerts.into_iter().filter_map(|(_, before)| before) {
            self.put_alert(alert);
        }
        for (seq, length) in undo.lists {
            let list = self.lists.entry(seq).or_default();
            list.counted -= list.events.drain(length..).filter(|(_, role)| *role != EventRole::Milder).count() as u64;
            if length == 0 {
                self.lists.remove(&seq);
            }
        }
        self.events.truncate(undo.events);
        for (uid, before) in undo.stored.into_iter().rev() {
            for uids in [&mut self.stored, &mut self.uids] {
                match before {
                    Some(until_s) => uids.insert(uid, until_s),
                    None => uids.remove(&uid),
                };
            }
        }
        self.logs.truncate(undo.logs);
        self.dead_letters.truncate(undo.dead_letters);
        for (at, letter) in undo.letters_done.into_iter().rev() {
            *self.letters_done.entry(letter.source.clone()).or_default() -= 1;
            self.dead_letters.insert(at, letter);
        }
        for (key, before) in undo.ledger {
            match before {
                Some(value) => self.ledger.insert(key, value),
                None => self.ledger.remove(&key),
            };
        }
        self.rule_sets.truncate(undo.rule_sets);
        self.open_verdicts = undo.open_verdicts;
        self.rule_versions.truncate(undo.rule_versions);
        self.audit.truncate(undo.audit);
        (self.position, self.received_at_ms, self.started_at_ms, self.before) = (undo.position, undo.received_at_ms, undo.started_at_ms, undo.before);
    }

    fn put_alert(&mut self, alert: Arc<AlertWrite>) -> Option<Arc<AlertWrite>> {
        let (seq, fingerprint) = (alert.seq, alert.fingerprint);
        match alert.end_time {
            None => {
                match last_number_after(&alert.document, br#""next_status_time":"#) {
                    Some(at_s) => self.closes_at_s.insert(seq, at_s),
                    None => self.closes_at_s.remove(&seq),
                };
                if self.open.insert(fingerprint, seq).is_some_and(|other| other != seq) {
                    self.open_twice = Some(fingerprint);
                }
            }
            Some(_) => {
                self.closes_at_s.remove(&seq);
                if self.open.get(&fingerprint) == Some(&seq) {
                    self.open.remove(&fingerprint);
                }
            }
        }
        self.alerts.insert(seq, alert)
    }

    /// One counter of a source; 0 if it never moved.
    pub fn counter(&self, source: &Text, counter: &'static str) -> u64 {
        self.ledger.get(&("source", source.clone(), Text::new_static(counter))).copied().unwrap_or(0)
    }

    /// How far a source's sums are apart: at the door and in the fold.
    pub fn imbalance(&self, source: &Text) -> (i64, i64) {
        let n = |counter| self.counter(source, counter) as i64;
        let journaled = n("journaled");
        let door = n("received") - n("refused") - journaled - n("duplicates_in_request");
        (door, journaled + n("redriven") + n("normalized_extra") - Outcome::ALL.iter().map(|outcome| n(outcome.counter())).sum::<i64>())
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
            ledger: self.ledger.iter().map(|((s, n, c), v)| (Text::new_static(s), n.clone(), c.clone(), *v)).collect(),
            rule_set: self.rule_sets.last().cloned().unwrap_or_default(),
            open_verdicts: self.open_verdicts.clone(),
        }
    }
}

/// The number behind the last place of a key in JSON text of ours; it is near the end.
fn last_number_after(json: &[u8], key: &[u8]) -> Option<i64> {
    let at = (0..=json.len().checked_sub(key.len())?).rev().find(|at| json[*at..].starts_with(key))? + key.len();
    let digits = json[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&json[at..at + digits]).ok()?.parse().ok()
}
