//! How far both halves are: written by them after each batch, read by everyone.

use super::decisions::Decisions;
use crate::telemetry::PipelineSnapshot;
use crate::telemetry::histogram::{Histogram, MILLISECONDS, ROWS};
use alertmill_core::command::Decision;
use alertmill_core::letter::LetterFate;
use alertmill_core::ports::{Commit, LedgerValue, Restored};
use alertmill_core::value::Text;
use alertmill_core::verdict::Verdicts;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A part of the process that can be in trouble and come out of it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The journal does not take records.
    Journal,
    /// The prepare half cannot read on or cannot open its rules.
    Prepare,
    /// The store does not take commits.
    Fold,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 3] = [Part::Journal, Part::Prepare, Part::Fold];

    /// What operators know it as, in `/readyz` too.
    pub fn name(self) -> &'static str {
        match self {
            Part::Journal => "journal",
            Part::Prepare => "pipeline",
            Part::Fold => "state",
        }
    }
}

/// Shared by both halves, the journal's gate, the clock, health and telemetry.
pub struct Progress {
    position: watch::Sender<u64>,
    failure: watch::Sender<Option<String>>,
    troubles: Mutex<BTreeMap<Part, String>>,
    /// How many there are, so that a part that works need not look, and the clock hears of it.
    troubled: watch::Sender<usize>,
    received_at_ms: AtomicI64,
    next_due_ms: AtomicI64,
    open_alerts: AtomicU64,
    items_journaled: AtomicU64,
    items_folded: AtomicU64,
    replayed_items: AtomicU64,
    backlog_end: u64,
    ledger: Mutex<BTreeMap<(&'static str, Text, Text), u64>>,
    prepare_rows: Histogram,
    fold_rows: Histogram,
    lag_ms: Histogram,
    decisions: Decisions<Vec<Decision>>,
    redriven: Decisions<Vec<LetterFate>>,
    verdicts: Mutex<BTreeMap<Text, u64>>,
}

const NEVER: i64 = i64::MAX;

impl Progress {
    /// As the store left it. `backlog_end` is the last record that an earlier process journaled.
    pub fn new(restored: &Restored, open_alerts: usize, next_due_ms: Option<i64>, backlog_end: u64) -> Progress {
        let scope = |text: &str| if text == "rule" { "rule" } else { "source" };
        let ledger = restored.ledger.iter().map(|(s, name, counter, value)| ((scope(s), name.clone(), counter.clone()), *value)).collect();
        Progress {
            position: watch::Sender::new(restored.position),
            failure: watch::Sender::new(None),
            troubles: Mutex::default(),
            troubled: watch::Sender::new(0),
            received_at_ms: AtomicI64::new(restored.received_at_ms),
            next_due_ms: AtomicI64::new(next_due_ms.unwrap_or(NEVER)),
            open_alerts: AtomicU64::new(open_alerts as u64),
            items_journaled: AtomicU64::new(0),
            items_folded: AtomicU64::new(0),
            replayed_items: AtomicU64::new(0),
            backlog_end,
            ledger: Mutex::new(ledger),
            prepare_rows: Histogram::new(ROWS),
            fold_rows: Histogram::new(ROWS),
            lag_ms: Histogram::new(MILLISECONDS),
            decisions: Decisions::default(),
            redriven: Decisions::default(),
            verdicts: Mutex::default(),
        }
    }

    /// The last committed ordinal.
    pub fn position(&self) -> u64 {
        *self.position.borrow()
    }

    /// Comes back when the commit that covers an ordinal is in.
    pub async fn reached(&self, ordinal: u64) {
        let mut position = self.position.subscribe();
        let _ = position.wait_for(|position| *position >= ordinal).await;
    }

    /// Changes with every commit.
    pub fn positions(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// Time of the last committed record, milliseconds.
    pub fn received_at_ms(&self) -> i64 {
        self.received_at_ms.load(Relaxed)
    }

    /// When the next time-out may be due, milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        Some(self.next_due_ms.load(Relaxed)).filter(|due| *due != NEVER)
    }

    /// How many alerts are open.
    pub fn open_alerts(&self) -> u64 {
        self.open_alerts.load(Relaxed)
    }

    /// Records of an earlier process that are not folded yet.
    pub fn backlog(&self) -> u64 {
        self.backlog_end.saturating_sub(self.position())
    }

    /// Whether an earlier process journaled a record.
    pub fn is_backlog(&self, ordinal: u64) -> bool {
        ordinal <= self.backlog_end
    }

    /// Items that an earlier process journaled and this one prepared.
    pub fn replayed_items(&self) -> u64 {
        self.replayed_items.load(Relaxed)
    }

    /// Items that became durable in this process, or are replayed.
    pub fn journaled(&self, items: u64) {
        self.items_journaled.fetch_add(items, Relaxed);
    }

    /// A batch went through the prepare half.
    pub fn prepared(&self, rows: u64, replayed: u64) {
        self.replayed_items.fetch_add(replayed, Relaxed);
        self.items_journaled.fetch_add(replayed, Relaxed);
        if rows > 0 {
            self.prepare_rows.observe(rows);
        }
    }

    /// A commit is in. `now_ms` is the wall clock.
    pub fn committed(&self, commit: &Commit, now_ms: i64) {
        let mut journaled_before = 0;
        let mut journaled_after = 0;
        {
            let mut ledger = self.lock();
            for line in &commit.ledger {
                let slot = ledger.entry((line.scope, line.name.clone(), line.counter.clone())).or_insert(0);
                if line.scope == "source" && line.counter == "journaled" {
                    journaled_before += *slot;
                    journaled_after += line.value;
                }
                *slot = line.value;
            }
        }
        let items = journaled_after - journaled_before;
        if items > 0 {
            self.fold_rows.observe(items);
            self.lag_ms.observe((now_ms - commit.received_at_ms).max(0) as u64);
        }
        self.items_folded.fetch_add(items, Relaxed);
        self.received_at_ms.store(commit.received_at_ms, Relaxed);
        self.next_due_ms.store(commit.next_due_ms.unwrap_or(NEVER), Relaxed);
        self.open_alerts.store(commit.open_alerts, Relaxed);
        // Before the position, which those who wait look at.
        self.decisions.committed(commit.commands.iter().map(|decided| (decided.ordinal, &decided.decisions)));
        self.redriven.committed(commit.redriven.iter().map(|redriven| (redriven.ordinal, &redriven.letters)));
        self.position.send_replace(commit.to);
    }

    /// What became of commands.
    pub fn decisions(&self) -> &Decisions<Vec<Decision>> {
        &self.decisions
    }

    /// What became of dead letters that were tried again.
    pub fn redriven(&self) -> &Decisions<Vec<LetterFate>> {
        &self.redriven
    }

    /// Verdicts became durable.
    pub fn judged(&self, verdicts: &Verdicts) {
        let mut counts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        for verdict in &verdicts.verdicts {
            *counts.entry(verdict.kind.clone()).or_insert(0) += 1;
        }
    }

    /// A half has stopped for good.
    pub fn fail(&self, why: String) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(why);
            first
        });
    }

    /// Why a half has stopped, if one has.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Comes back when a half has stopped.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        let why = failure.wait_for(Option::is_some).await.map(|why| why.clone());
        match why {
            Ok(why) => why.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// A part was refused what it needs, and tries again.
    pub fn trouble(&self, part: Part, why: String) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.insert(part, why).is_none() {
            self.troubled.send_replace(troubles.len());
        }
    }

    /// A part got what it needs.
    pub fn works(&self, part: Part) {
        if *self.troubled.borrow() == 0 {
            return;
        }
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.remove(&part).is_some() {
            self.troubled.send_replace(troubles.len());
        }
    }

    /// Changes when a part gets into trouble or out of it.
    pub fn troubles(&self) -> watch::Receiver<usize> {
        self.troubled.subscribe()
    }

    /// What a part was refused last, unless it works again.
    pub fn troubled(&self, part: Part) -> Option<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).get(&part).cloned()
    }

    /// The committed ledger.
    pub fn ledger(&self) -> Vec<LedgerValue> {
        self.lock().iter().map(|((scope, name, counter), value)| LedgerValue { scope, name: name.clone(), counter: counter.clone(), value: *value }).collect()
    }

    /// Numbers of both halves; items, parses and halts are the caller's.
    pub fn pipeline(&self) -> PipelineSnapshot {
        let folded = self.items_folded.load(Relaxed);
        PipelineSnapshot {
            in_flight: self.items_journaled.load(Relaxed).saturating_sub(folded),
            prepare_rows: self.prepare_rows.snapshot(),
            fold_rows: self.fold_rows.snapshot(),
            lag_ms: self.lag_ms.snapshot(),
            verdicts: self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..PipelineSnapshot::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, Text, Text), u64>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
