//! The prepare half: understood, enriched, keyed. It has no state but the rules of the generation it is in, so any worker
//! may do any batch; batches are handed over in journal order.

use super::dedupe::dedupe;
use super::enrich_events::enrich_events;
use super::understand::{UnderstandConfig, understand};
use crate::command::Command;
use crate::ports::DeadLetter;
use crate::record::{DoorCounts, Journaled, RecordBody, RuleSet};
use crate::row::Row;
use crate::rules::{Generation, RuleChain, RuleTally};
use crate::value::Text;

/// Records of one generation, ready to be folded.
#[derive(Debug, Default)]
pub struct Prepared {
    /// In the order of ordinals.
    pub records: Vec<PreparedRecord>,
    /// The rows of all records, in order.
    pub rows: Vec<Row>,
    /// What the rules did.
    pub tallies: Vec<RuleTally>,
}

impl Prepared {
    /// Rows, and alerts that commands name: what a commit of it may write, for bounds.
    pub fn changes(&self) -> usize {
        let commanded = |record: &PreparedRecord| if let PreparedBody::Command(command) = &record.body { command.alerts.len() } else { 0 };
        self.rows.len() + self.records.iter().map(commanded).sum::<usize>()
    }

    /// Puts the batch that follows behind this one, so that one commit takes both.
    pub fn append(&mut self, next: Prepared) {
        self.records.extend(next.records);
        self.rows.extend(next.rows);
        self.tallies.extend(next.tallies);
    }
}

/// One record of a prepared batch.
#[derive(Debug)]
pub struct PreparedRecord {
    /// Its ordinal.
    pub ordinal: u64,
    /// Its time, milliseconds.
    pub received_at_ms: i64,
    /// The generation whose rules saw it.
    pub generation: Generation,
    /// Content.
    pub body: PreparedBody,
}

/// What a prepared record holds.
#[derive(Debug)]
pub enum PreparedBody {
    /// Items that were received.
    Items {
        /// From where.
        source: Text,
        /// The door's numbers.
        counts: DoorCounts,
        /// How many items the record had.
        journaled: u64,
        /// How many of the batch's rows are this record's.
        rows: usize,
        /// Items that were not understood.
        dead_letters: Vec<DeadLetter>,
    },
    /// A rule-set generation begins.
    RuleSet(RuleSet),
    /// Time went by.
    Clock,
    /// The process started.
    Start,
    /// An operator commands.
    Command(Box<Command>),
}

/// Prepares records that all belong to one generation (a record that begins the next one may come last).
pub fn prepare(records: Vec<Journaled>, generation: Generation, chain: &mut dyn RuleChain, config: &UnderstandConfig) -> Prepared {
    let mut prepared = Prepared::default();
    for mut journaled in records {
        let (ordinal, received_at_ms) = (journaled.record.ordinal, journaled.record.received_at_ms);
        let body = match &mut journaled.record.body {
            RecordBody::Items(items) => {
                let (source, counts, journaled_items) = (items.source.clone(), items.counts, items.spans.len() as u64);
                let (mut dead_letters, before) = (Vec::new(), prepared.rows.len());
                understand(journaled, config, &mut prepared.rows, &mut dead_letters);
                let rows = prepared.rows.len() - before;
                PreparedBody::Items { source, counts, journaled: journaled_items, rows, dead_letters }
            }
            RecordBody::RuleSet(set) => PreparedBody::RuleSet(std::mem::take(set)),
            RecordBody::Clock => PreparedBody::Clock,
            RecordBody::Start { .. } => PreparedBody::Start,
            RecordBody::Command(command) => PreparedBody::Command(Box::new(command.clone())),
        };
        prepared.records.push(PreparedRecord { ordinal, received_at_ms, generation, body });
    }
    enrich_events(&mut prepared.rows, chain, &mut prepared.tallies);
    dedupe(&mut prepared.rows, chain, config.algorithm, &mut prepared.tallies);
    prepared
}

/// Cuts records where the next generation begins, so that no batch crosses it (I7). The record that begins it is the last
/// of its piece.
pub fn cut_at_generations(records: Vec<Journaled>) -> Vec<Vec<Journaled>> {
    let mut pieces = vec![Vec::new()];
    for journaled in records {
        let begins = matches!(journaled.record.body, RecordBody::RuleSet(_));
        if let Some(piece) = pieces.last_mut() {
            piece.push(journaled);
        }
        if begins {
            pieces.push(Vec::new());
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}
