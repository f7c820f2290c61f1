//! One batch on its way through the fold, in steps: it stops where alerts that it has just opened must go through their rules
//! before anything may look at them. Where it stops does not show in what is committed.

use super::Fold;
use super::batch::Batch;
use super::new_alerts::AlertBatch;
use crate::audit::AuditEntry;
use crate::ledger::Outcome;
use crate::letter::{DeadLetter, LetterFate, Redriven};
use crate::pipeline::prepare::{Prepared, PreparedBody, PreparedRecord};
use crate::pipeline::redrive::PreparedLetter;
use crate::ports::{Commit, VersionWrite};
use crate::row::Row;
use crate::rules::Generation;
use crate::value::Text;
use std::collections::BTreeSet;
use std::vec::IntoIter;

/// What a batch needs to go on.
#[derive(Debug)]
pub enum Step {
    /// These alerts go through their rules, and come back by [`Folding::enriched`].
    Enrich(AlertBatch),
    /// The commit is as large as it may be: it has the records up to its end, and the batch goes on behind it.
    Part(Commit),
    /// The commit of all that is left.
    Done(Commit),
}

/// A batch that is being folded.
pub struct Folding<'f> {
    fold: &'f mut Fold,
    records: IntoIter<PreparedRecord>,
    rows: IntoIter<Row>,
    known_until_s: IntoIter<Option<i64>>,
    /// The record in hand, if it has events left.
    items: Option<ItemsInHand>,
    batch: Batch,
    /// Generations that have alert rules.
    enriched: Vec<Generation>,
    bytes_max: usize,
}

/// What is left of a record of items.
struct ItemsInHand {
    ordinal: u64,
    generation: Generation,
    source: Text,
    rows: usize,
    /// Neighbours mostly end alike, so runs are counted, not rows.
    run: Option<(Outcome, u64)>,
    /// Where it is among dead letters that are tried again, one after the other: each is a few items of its own source.
    letters: Option<LettersInHand>,
}

/// What is left of a record of dead letters that are tried again.
struct LettersInHand {
    /// Behind the one in hand.
    left: IntoIter<PreparedLetter>,
    redriven: Redriven,
}

impl Fold {
    /// Begins a batch that passes [`check`](Fold::check). `known_until_s` is as in [`apply`](Fold::apply), `enriched` are the
    /// generations in it that have alert rules. A commit that holds more than `bytes_max` because of what those wrote ends with
    /// the record at which it does.
    pub fn begin(&mut self, prepared: Prepared, known_until_s: Vec<Option<i64>>, enriched: Vec<Generation>, bytes_max: usize) -> Folding<'_> {
        debug_assert_eq!(self.check(&prepared, &known_until_s), Ok(()));
        for tally in &prepared.tallies {
            self.ledger.rule(tally);
        }
        let mut batch = Batch::default();
        batch.commit.from = self.position;
        Folding {
            fold: self,
            records: prepared.records.into_iter(),
            rows: prepared.rows.into_iter(),
            known_until_s: known_until_s.into_iter(),
            items: None,
            batch,
            enriched,
            bytes_max,
        }
    }
}

impl Folding<'_> {
    /// Goes on until something is needed, or all is folded.
    pub fn run(&mut self) -> Step {
        loop {
            if !self.fold_items() {
                return Step::Enrich(self.batch.new.take());
            }
            let next = self.records.as_slice().first();
            let is_part = next.is_some() && self.is_large();
            let must_be_enriched = is_part || next.is_none_or(|next| self.fold.concerns_new(next, &self.batch.new));
            if must_be_enriched && !self.batch.new.is_empty() {
                return Step::Enrich(self.batch.new.take());
            }
            if is_part {
                return Step::Part(self.fold.take_commit(&mut self.batch));
            }
            match self.records.next() {
                Some(record) => self.begin_record(record),
                None => return Step::Done(self.fold.take_commit(&mut self.batch)),
            }
        }
    }

    /// Takes back what the last step handed out.
    pub fn enriched(&mut self, alerts: AlertBatch) {
        self.fold.place_new(alerts, &mut self.batch);
    }

    /// Only what alert rules wrote ends a commit here: the rest was counted when the batch was put together.
    fn is_large(&self) -> bool {
        self.batch.written_bytes > 0 && self.batch.written_bytes + self.batch.commit.event_heap.len() >= self.bytes_max
    }

    fn begin_record(&mut self, record: PreparedRecord) {
        let PreparedRecord { ordinal, received_at_ms, generation, body } = record;
        let (fold, batch) = (&mut *self.fold, &mut self.batch);
        fold.now_ms = received_at_ms;
        // Before the time-outs: those that became due while we were down wait for the grace.
        if matches!(body, PreparedBody::Start) {
            fold.started_at_ms = received_at_ms;
        }
        fold.fire_due(batch);
        fold.forget_ended();
        match body {
            PreparedBody::Items { source, counts, journaled, became, rows, dead_letters } => {
                fold.ledger.door(&source, counts, journaled);
                if let Some(became) = became {
                    fold.ledger.payload(&source, became);
                }
                fold.ledger.outcome(&source, Outcome::DeadLetter, dead_letters.len() as u64);
                batch.commit.dead_letters.extend(dead_letters);
                batch.new.generation = generation;
                batch.new.are_enriched = self.enriched.contains(&generation);
                self.items = Some(ItemsInHand { ordinal, generation, source, rows, run: None, letters: None });
                return;
            }
            PreparedBody::Redrive { letters, dead_letters } => {
                batch.new.generation = generation;
                batch.new.are_enriched = self.enriched.contains(&generation);
                self.begin_redrive(ordinal, generation, letters, dead_letters);
                return;
            }
            PreparedBody::RuleSet(set) => {
                batch.commit.audit.push(AuditEntry::of_rule_set(ordinal, received_at_ms, &set));
                fold.begin_generation(set, batch);
            }
            PreparedBody::Verdicts(found) => fold.keep_open_verdicts(found, batch),
            PreparedBody::RuleVersion(change) => {
                batch.commit.audit.push(AuditEntry::of_version(ordinal, received_at_ms, &change));
                batch.commit.rule_versions.push(VersionWrite { ordinal, received_at_ms, change: *change });
            }
            PreparedBody::Command(command) => fold.command(ordinal, &command, batch),
            PreparedBody::Start | PreparedBody::Clock => {}
        }
        fold.end_record(ordinal);
    }

    fn begin_redrive(&mut self, ordinal: u64, generation: Generation, letters: Vec<PreparedLetter>, dead_letters: Vec<DeadLetter>) {
        let done: BTreeSet<(u64, u32)> = letters.iter().map(|letter| (letter.ordinal, letter.index)).collect();
        self.batch.take_letters(done);
        dead_letters.into_iter().for_each(|letter| self.batch.bury(letter));
        let letters = LettersInHand { redriven: Redriven { ordinal, letters: Vec::with_capacity(letters.len()) }, left: letters.into_iter() };
        self.items = Some(ItemsInHand { ordinal, generation, source: Text::default(), rows: 0, run: None, letters: Some(letters) });
    }

    /// The events of the record in hand; false where one must wait for new alerts.
    fn fold_items(&mut self) -> bool {
        let Some(mut items) = self.items.take() else { return true };
        loop {
            while items.rows > 0 {
                let new = &self.batch.new;
                if !new.is_empty() && (new.is_full() || self.rows.as_slice().first().is_some_and(|row| self.fold.concerns_new_alert(row))) {
                    self.items = Some(items);
                    return false;
                }
                let (Some(row), Some(known_until_s)) = (self.rows.next(), self.known_until_s.next()) else { break };
                items.rows -= 1;
                let outcome = self.fold.row(row, known_until_s, items.generation, &mut self.batch);
                if let (Outcome::DeadLetter, Some(letters), Some(dead)) = (outcome, &mut items.letters, self.batch.commit.dead_letters.last()) {
                    letters.redriven.letters.last_mut().into_iter().for_each(|fate| fate.dead.push(dead.index));
                }
                match &mut items.run {
                    Some((same, n)) if *same == outcome => *n += 1,
                    _ => {
                        if let Some(before) = items.run.replace((outcome, 1)) {
                            self.ended_run(&mut items, before);
                        }
                    }
                }
            }
            if let Some(last) = items.run.take() {
                self.ended_run(&mut items, last);
            }
            if !self.next_letter(&mut items) {
                break;
            }
        }
        if let Some(letters) = items.letters {
            self.batch.commit.redriven.push(letters.redriven);
        }
        self.fold.end_record(items.ordinal);
        true
    }

    fn ended_run(&mut self, items: &mut ItemsInHand, (outcome, n): (Outcome, u64)) {
        self.fold.ledger.outcome(&items.source, outcome, n);
        if let Some(fate) = items.letters.as_mut().and_then(|letters| letters.redriven.letters.last_mut()) {
            fate.add(outcome, n);
        }
    }

    /// Takes the next dead letter of a record of them in hand, if there is one.
    fn next_letter(&mut self, items: &mut ItemsInHand) -> bool {
        let Some(letters) = &mut items.letters else { return false };
        let Some(PreparedLetter { ordinal, index, source, became, rows, dead }) = letters.left.next() else { return false };
        let ledger = &mut self.fold.ledger;
        let mut fate = LetterFate { ordinal, index, ..LetterFate::default() };
        ledger.redriven(&source);
        if let Some(became) = became {
            ledger.payload(&source, became);
            fate.add(Outcome::NoEvents, u64::from(became == 0));
        }
        ledger.outcome(&source, Outcome::DeadLetter, dead.len() as u64);
        fate.add(Outcome::DeadLetter, dead.len() as u64);
        fate.dead = dead;
        letters.redriven.letters.push(fate);
        (items.source, items.rows) = (source, rows);
        true
    }
}

/// The generations whose rules saw a batch, each once.
pub(crate) fn generations(prepared: &Prepared) -> Vec<Generation> {
    let mut generations: Vec<Generation> = prepared.records.iter().map(|record| record.generation).collect();
    generations.dedup();
    generations
}
