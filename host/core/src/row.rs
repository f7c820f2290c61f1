//! A row: one event on its way through the prepare half, with what the rules decided about it.

use crate::alert::Alert;
use crate::event::{Event, Fingerprint};
use crate::ports::DeadLetter;
use crate::value::{Text, text_bytes};
use crate::verdict::{Hook, Place, Policy};
use std::sync::Arc;

/// One event between "understood" and "folded".
#[derive(Clone, Debug)]
pub struct Row {
    /// The cleaned event; rules change it in place.
    pub event: Event,
    /// Name of the source it came from.
    pub source: Text,
    /// Milliseconds since 1970, of its record; monotone over the journal.
    pub received_at_ms: i64,
    /// Its record.
    pub ordinal: u64,
    /// Its place among the record's events.
    pub index: u32,
    /// 63 bits of a hash of (ordinal, index): the only randomness a rule can have.
    pub seed: i64,
    /// What dedupe rules said; `Default` until one answers.
    pub dedupe: DedupeAnswer,
    /// The rule that answered, when `dedupe` is not `Default`.
    pub dedupe_rule: Option<Arc<DedupeRule>>,
    /// Filled in by keying, after the rules.
    pub fingerprint: Fingerprint,
    /// Set by a rule: stored, but makes no alert.
    pub dropped: Option<Dropped>,
    /// A rule with the policy `dead-letter` could not judge it, the last of `failures` says which: no later rule is asked, and
    /// it becomes a dead letter unless its uid is known.
    pub rejected: bool,
    /// The letter that it then becomes; made when the rules are through.
    pub dead_letter: Option<Box<DeadLetter>>,
    /// Rules that could not judge this row, and what their policy made of it.
    pub failures: Vec<RuleFailure>,
    /// The episode that an abnormal event belongs to, if its sender re-sends while it lasts (Alertmanager).
    pub lasting: Option<Lasting>,
    /// The uid under which the fold counts a re-send whose alert has ended since.
    pub uid_if_reopened: Option<crate::event::Uid>,
}

impl Row {
    /// An event that no rule has seen yet.
    pub fn new(event: Event, source: Text, received_at_ms: i64, at: Place, seed: i64) -> Row {
        Row {
            event,
            source,
            received_at_ms,
            ordinal: at.ordinal,
            index: at.index,
            seed,
            dedupe: DedupeAnswer::Default,
            dedupe_rule: None,
            fingerprint: Fingerprint::default(),
            dropped: None,
            rejected: false,
            dead_letter: None,
            failures: Vec::new(),
            lasting: None,
            uid_if_reopened: None,
        }
    }

    /// Where it stands in the journal.
    pub fn place(&self) -> Place {
        Place { ordinal: self.ordinal, index: self.index }
    }

    /// Rough bytes held, for the bound of queues: what rules have written included.
    pub fn size_bytes(&self) -> usize {
        let of_dropped = self.dropped.as_ref().map_or(0, |dropped| text_bytes(&dropped.reason));
        let of_key = if let DedupeAnswer::Key(key) = &self.dedupe { text_bytes(key) } else { 0 };
        let of_letter = self.dead_letter.as_deref().map_or(0, DeadLetter::size_bytes);
        size_of::<Row>() + self.event.heap_bytes() + of_dropped + of_key + of_letter + self.failures.iter().map(RuleFailure::size_bytes).sum::<usize>()
    }
}

/// An alert that was just opened, on its way through the alert rules.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// The alert; rules change it in place.
    pub alert: Box<Alert>,
    /// Where the event stands in the journal that opened it.
    pub at: Place,
    /// Name of the source of the event that opened it.
    pub source: Text,
    /// Milliseconds since 1970, of the record that opened it.
    pub received_at_ms: i64,
    /// Of the event that opened it.
    pub seed: i64,
    /// Rules that could not judge it, and what their policy made of it.
    pub failures: Vec<RuleFailure>,
}

impl AlertRow {
    /// As it was opened.
    pub fn new(alert: Box<Alert>, at: Place, source: Text, received_at_ms: i64, seed: i64) -> AlertRow {
        AlertRow { alert, at, source, received_at_ms, seed, failures: Vec::new() }
    }
}

/// A condition that its sender repeats while it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// Seconds; identity of the episode.
    pub starts_at: i64,
    /// Seconds; without a re-send the alert recovers then.
    pub ends_at: Option<i64>,
}

/// An event that a rule took out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which rule.
    pub rule: Text,
    /// Its reason.
    pub reason: Text,
}

/// What a dedupe rule answers for a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DedupeAnswer {
    /// The event's own dedupe keys decide.
    #[default]
    Default,
    /// Hashed with tenant, strategy and the rule's name.
    Key(Text),
    /// Never merged.
    Unique,
}

/// A rule that makes keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupeRule {
    /// Which; part of the fingerprint.
    pub name: Text,
    /// Its version and digest, `1.2.0@sha256:..`.
    pub version: Text,
    /// Alerts that its keys may hold open at once: `limits.open_keys` of its options, which the record of its generation holds.
    pub open_keys_max: u32,
}

impl DedupeRule {
    /// Shared by the rows that it has keyed.
    pub fn new(name: impl Into<Text>, version: impl Into<Text>, open_keys_max: u32) -> Arc<DedupeRule> {
        Arc::new(DedupeRule { name: name.into(), version: version.into(), open_keys_max })
    }
}

/// A rule that failed on a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFailure {
    /// Which rule.
    pub rule: Text,
    /// Its version and digest, `1.2.0@sha256:..`.
    pub version: Text,
    /// `trap`, `deadline`, `memory`, `output`, `row-error`, `undeclared-write`, ...; `key-budget` for one whose key is beyond the rule's budget.
    pub kind: Text,
    /// What it said.
    pub message: Text,
    /// Asked what.
    pub hook: Hook,
    /// What was done with the row.
    pub policy: Policy,
    /// The version that judged the row instead, `1.1.0@sha256:..`.
    pub judged_by: Option<Text>,
}

impl RuleFailure {
    /// Rough bytes held, for bounds.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<RuleFailure>() + text_bytes(&self.version) + text_bytes(&self.message)
    }
}
