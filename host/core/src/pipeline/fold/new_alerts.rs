//! Alerts that were just opened, on their way through the rules of their generation. They have their place in the commit
//! already, so that it does not show when the rules are asked.

use super::batch::{Batch, log_write, write_alert_failures};
use super::{Fold, Slot};
use crate::event::Fingerprint;
use crate::pipeline::prepare::{PreparedBody, PreparedRecord};
use crate::row::{AlertRow, RuleFailure};
use crate::rules::{Generation, RuleTally};

/// New alerts that wait at most: a call into a rule costs nearly the same for one as for many, and what waits is in memory twice.
pub const NEW_ALERTS_MAX: usize = 256;

/// New alerts of one generation, in the order in which they were opened.
#[derive(Debug)]
pub struct AlertBatch {
    /// Whose rules they go through: those in force at the records that opened them.
    pub generation: Generation,
    /// The alerts; rules change them in place.
    pub rows: Vec<AlertRow>,
    /// What the rules did, filled in by whoever asks them.
    pub tallies: Vec<RuleTally>,
}

/// Those that wait.
#[derive(Default)]
pub(super) struct NewAlerts {
    /// The generation of the record in hand has alert rules.
    pub are_enriched: bool,
    pub generation: Generation,
    rows: Vec<AlertRow>,
    /// Where their first entries are among the commit's logs.
    logs_at: Vec<usize>,
    /// When the first of them can end by itself.
    due_ms: Option<i64>,
}

impl NewAlerts {
    pub fn push(&mut self, row: AlertRow, log_at: usize, due_ms: Option<i64>) {
        self.rows.push(row);
        self.logs_at.push(log_at);
        self.due_ms = self.due_ms.into_iter().chain(due_ms).min();
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.rows.len() >= NEW_ALERTS_MAX
    }

    /// Hands them out; their places stay here until they are back.
    pub fn take(&mut self) -> AlertBatch {
        AlertBatch { generation: self.generation, rows: std::mem::take(&mut self.rows), tallies: Vec::new() }
    }
}

impl Fold {
    /// Whether the alert of this fingerprint is new.
    pub(super) fn is_new(&self, fingerprint: &Fingerprint) -> bool {
        matches!(self.slot(fingerprint), Some(Slot::New { .. }))
    }

    /// Whether a record may look at an alert that is new: by a time-out or a command. Its events are asked one by one. One of
    /// another generation waits too, since all that are asked at once are asked of the same rules.
    pub(super) fn concerns_new(&self, record: &PreparedRecord, new: &NewAlerts) -> bool {
        let is_named = || match &record.body {
            PreparedBody::Command(command) => {
                command.alerts.iter().any(|alert| self.by_seq.get(&alert.seq).is_some_and(|fingerprint| self.is_new(fingerprint)))
            }
            _ => false,
        };
        !new.is_empty() && (record.generation != new.generation || new.due_ms.is_some_and(|due_ms| due_ms <= record.received_at_ms) || is_named())
    }

    /// Takes them in as their rules have left them.
    pub(super) fn place_new(&mut self, enriched: AlertBatch, batch: &mut Batch) {
        for tally in &enriched.tallies {
            self.ledger.rule(tally);
        }
        batch.new.due_ms = None;
        for (row, log_at) in enriched.rows.into_iter().zip(std::mem::take(&mut batch.new.logs_at)) {
            let AlertRow { mut alert, failures, .. } = row;
            write_alert_failures(&mut alert, &failures);
            alert.written_bytes += failures.iter().map(RuleFailure::size_bytes).sum::<usize>();
            batch.written_bytes += alert.written_bytes;
            batch.commit.logs[log_at] = log_write(alert.seq, alert.created());
            self.place_open(alert);
        }
    }
}
