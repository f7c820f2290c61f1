//! What a run did, in figures.

use crate::world::State;
use alertmill_core::record::RecordBody;

macro_rules! figures {
    ($($name:ident)*) => {
        /// What a run did.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Outcome {
            /// Hash of every port call and its moment; two runs of one seed have the same.
            pub trace: u64,
            $(pub $name: u64,)*
        }

        impl Outcome {
            /// Adds the figures of another run.
            pub fn add(&mut self, other: &Outcome) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

figures! {
    calls crashes faults checks merged acknowledged records starts clocks generations
    timed_out dead_letters refreshed duplicates refused expired rule_dropped rule_failed
}

impl Outcome {
    pub(crate) fn of(state: &State) -> Outcome {
        let tables = &state.disk.tables;
        let counted = |name: &str| tables.ledger.iter().filter(|((_, _, counter), _)| counter == name).map(|(_, n)| *n).sum();
        let mut outcome = Outcome {
            trace: state.trace,
            calls: state.calls,
            crashes: state.crashes,
            faults: state.faults,
            checks: state.checks,
            merged: state.merged,
            acknowledged: state.acknowledged.len() as u64,
            records: state.disk.journal.len() as u64,
            timed_out: tables.logs.iter().filter(|log| log.op_type.starts_with("SYSTEM_")).count() as u64,
            dead_letters: counted("dead_letters"),
            refreshed: counted("refreshed"),
            duplicates: counted("duplicates"),
            refused: counted("refused"),
            expired: counted("stored_only.expired"),
            rule_dropped: counted("stored_only.rule-dropped"),
            rule_failed: counted("failed"),
            ..Outcome::default()
        };
        for record in &state.disk.journal {
            match record.replayed().record.body {
                RecordBody::Start { .. } => outcome.starts += 1,
                RecordBody::Clock => outcome.clocks += 1,
                RecordBody::RuleSet(_) => outcome.generations += 1,
                RecordBody::Items(_) => {}
            }
        }
        outcome
    }
}
