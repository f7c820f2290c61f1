//! The ledger (I6): where every item went, per source, and what every rule did. Sums that must agree, kept in the fold's
//! transaction, so that a kill changes nothing.

use crate::ports::LedgerValue;
use crate::record::DoorCounts;
use crate::rules::RuleTally;
use crate::value::Text;
use std::collections::{BTreeMap, BTreeSet};

/// Why an event is stored but touched no alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoredOnly {
    /// Older than 24 h, or than the end of the alert before it.
    Expired,
    /// Milder than the open alert.
    LowerSeverity,
    /// An end event without an open alert.
    NoOpenAlert,
    /// A rule dropped it.
    RuleDropped,
}

/// Where one event, or an item that gave none, went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its uid was known.
    Duplicate,
    /// Not understood; in the dead letters.
    DeadLetter,
    /// A payload of which the rules made no event, and were right to.
    NoEvents,
    /// A re-send of what the alert had absorbed.
    Refreshed,
    /// Stored, no alert touched.
    StoredOnly(StoredOnly),
    /// Opened, updated, converged into or ended an alert.
    Folded,
}

/// Names each outcome's counter, once: an outcome that is missing here does not compile, and one that is here is part of
/// the sums.
macro_rules! counters {
    ($($outcome:ident $(($reason:ident))? $name:literal)*) => {
        impl Outcome {
            /// All of them.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$outcome $((StoredOnly::$reason))?),*];

            /// Name of its counter.
            pub const fn counter(self) -> &'static str {
                match self { $(Outcome::$outcome $((StoredOnly::$reason))? => $name),* }
            }
        }
    };
}

counters! {
    Duplicate "duplicates"
    DeadLetter "dead_letters"
    NoEvents "no_events"
    Refreshed "refreshed"
    StoredOnly(Expired) "stored_only.expired"
    StoredOnly(LowerSeverity) "stored_only.lower-severity"
    StoredOnly(NoOpenAlert) "stored_only.no-open-alert"
    StoredOnly(RuleDropped) "stored_only.rule-dropped"
    Folded "folded"
}

/// Counter of events that a rule's [budget of open keys](crate::row::DedupeRule::open_keys_max) had no room for.
pub const DEDUPE_OVERFLOW: &str = "dedupe_overflow";

type Key = (&'static str, Text, Text);

/// All counters, absolute, with those that changed since the last commit.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    values: BTreeMap<Key, u64>,
    changed: BTreeSet<Key>,
}

impl Ledger {
    /// Goes on from stored counters.
    pub fn restore(rows: &[(Text, Text, Text, u64)]) -> Ledger {
        let scope = |text: &str| if text == "rule" { "rule" } else { "source" };
        let values = rows.iter().map(|(s, name, counter, value)| ((scope(s), name.clone(), counter.clone()), *value)).collect();
        Ledger { values, changed: BTreeSet::new() }
    }

    /// One request's numbers and how many of its items were journaled in this record.
    pub fn door(&mut self, source: &Text, counts: DoorCounts, journaled: u64) {
        self.add("source", source, Text::new_static("received"), counts.received);
        self.add("source", source, Text::new_static("refused"), counts.refused);
        self.add("source", source, Text::new_static("duplicates_in_request"), counts.duplicates);
        self.add("source", source, Text::new_static("journaled"), journaled);
    }

    /// A dead letter was tried again: it has another outcome.
    pub fn redriven(&mut self, source: &Text) {
        self.add("source", source, Text::new_static("redriven"), 1);
    }

    /// One payload became so many things that each have an outcome: its events, or itself as a dead letter. What is beyond the
    /// one item that was journaled is counted apart; none at all is an outcome of its own.
    pub fn payload(&mut self, source: &Text, became: u64) {
        match became.checked_sub(1) {
            Some(extra) => self.add("source", source, Text::new_static("normalized_extra"), extra),
            None => self.outcome(source, Outcome::NoEvents, 1),
        }
    }

    /// Where one event went.
    pub fn outcome(&mut self, source: &Text, outcome: Outcome, n: u64) {
        self.add("source", source, Text::new_static(outcome.counter()), n);
    }

    /// What a rule did.
    pub fn rule(&mut self, tally: &RuleTally) {
        for (counter, n) in [("rows", tally.rows), ("changed", tally.changed), ("dropped", tally.dropped), ("failed", tally.failed)] {
            self.add("rule", &tally.rule, Text::new_static(counter), n);
        }
    }

    /// An event would have opened one alert too many under a key of this rule.
    pub fn dedupe_overflow(&mut self, rule: &Text) {
        self.add("rule", rule, Text::new_static(DEDUPE_OVERFLOW), 1);
    }

    /// The changed counters, absolute; forgets that they changed.
    pub fn take_changed(&mut self) -> Vec<LedgerValue> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|key| {
                let value = self.values.get(&key).copied().unwrap_or(0);
                LedgerValue { scope: key.0, name: key.1, counter: key.2, value }
            })
            .collect()
    }

    /// One counter; 0 if it never moved.
    pub fn get(&self, scope: &'static str, name: &str, counter: &str) -> u64 {
        self.values.get(&(scope, Text::new(name), Text::new(counter))).copied().unwrap_or(0)
    }

    /// Names of all sources seen.
    pub fn sources(&self) -> BTreeSet<Text> {
        self.values.keys().filter(|(scope, ..)| *scope == "source").map(|(_, name, _)| name.clone()).collect()
    }

    /// How far the sums of a source are apart: the door's (received - refused - journaled - duplicates) and the fold's
    /// (journaled + tried again + what rules made of payloads beyond one event each - everything an item can become). Both are 0
    /// between commits.
    pub fn imbalance(&self, source: &str) -> (i64, i64) {
        let n = |counter: &str| self.get("source", source, counter) as i64;
        let door = n("received") - n("refused") - n("journaled") - n("duplicates_in_request");
        let fold = n("journaled") + n("redriven") + n("normalized_extra") - Outcome::ALL.iter().map(|outcome| n(outcome.counter())).sum::<i64>();
        (door, fold)
    }

    fn add(&mut self, scope: &'static str, name: &Text, counter: Text, n: u64) {
        if n == 0 {
            return;
        }
        let key = (scope, name.clone(), counter);
        *self.values.entry(key.clone()).or_insert(0) += n;
        self.changed.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_in_the_sums() {
        let source = Text::new_static("web");
        for outcome in Outcome::ALL {
            let mut ledger = Ledger::default();
            ledger.door(&source, DoorCounts { received: 3, refused: 1, duplicates: 0 }, 2);
            ledger.outcome(&source, *outcome, 1);
            assert_eq!(ledger.imbalance("web"), (0, 1), "{outcome:?}");
            ledger.outcome(&source, *outcome, 1);
            assert_eq!(ledger.imbalance("web"), (0, 0), "{outcome:?}");
        }
    }

    #[test]
    fn redriven_letters_keep_the_sums() {
        let source = Text::new_static("grafana");
        let mut ledger = Ledger::default();
        ledger.door(&source, DoorCounts { received: 1, ..DoorCounts::default() }, 1);
        ledger.payload(&source, 1);
        ledger.outcome(&source, Outcome::DeadLetter, 1);
        assert_eq!(ledger.imbalance("grafana"), (0, 0));
        for became in [1, 3, 0] {
            ledger.redriven(&source);
            assert_eq!(ledger.imbalance("grafana"), (0, 1), "it needs an outcome again");
            ledger.payload(&source, became);
            ledger.outcome(&source, Outcome::Folded, became);
            assert_eq!(ledger.imbalance("grafana"), (0, 0));
        }
        let of = |counter| ledger.get("source", "grafana", counter);
        assert_eq!((of("journaled"), of("redriven"), of("dead_letters"), of("folded"), of("no_events")), (1, 3, 1, 4, 1));
    }

    #[test]
    fn a_payload_is_balanced_by_what_it_became() {
        let source = Text::new_static("grafana");
        let mut ledger = Ledger::default();
        for became in [0, 1, 3] {
            ledger.door(&source, DoorCounts { received: 1, ..DoorCounts::default() }, 1);
            ledger.payload(&source, became);
            assert_eq!(ledger.imbalance("grafana"), (0, became as i64), "each event still needs an outcome");
            ledger.outcome(&source, Outcome::Folded, became);
            assert_eq!(ledger.imbalance("grafana"), (0, 0));
        }
        let of = |counter| ledger.get("source", "grafana", counter);
        assert_eq!((of("journaled"), of("normalized_extra"), of("no_events"), of("folded")), (3, 2, 1, 4));
    }
}
