//! What a run did, in figures.

use crate::disk::{RecordKind, verdicts_of};
use crate::failure::Checked;
use crate::faults::Injected;
use crate::world::{BEGIN_MS, State};
use alertmill_core::ledger::DEDUPE_OVERFLOW;

macro_rules! figures {
    ($($name:ident)*) => {
        /// What a run did.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Outcome {
            /// Hash of all that the ports were asked and answered; two runs of one seed have the same.
            pub trace: u64,
            /// Faults by kind, with what followed from them.
            pub injected: Injected,
            /// How often faults of each kind could have happened.
            pub chances: Injected,
            /// Checks by promise.
            pub checked: Checked,
            $(pub $name: u64,)*
        }

        impl Outcome {
            /// Adds the figures of another run.
            pub fn add(&mut self, other: &Outcome) {
                self.injected.add_all(&other.injected);
                self.chances.add_all(&other.chances);
                self.checked.add_all(&other.checked);
                $(self.$name += other.$name;)*
            }

            /// Every figure with its name.
            pub fn figures(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

figures! {
    calls steps commits crashes faults merged folded_ahead acknowledged records starts clocks generations commands commands_done redrives letters_done rule_versions
    payloads normalized_extra no_events unjudged_payloads invalid_events
    timed_out dead_letters refreshed duplicates refused expired rule_dropped rule_failed overflowed enriched severity_by_rule simulated_ms
    verdicts halted rejected struck_out
    shipped already_there conflicts bases_raised rebuilt
}

impl Outcome {
    pub(crate) fn of(state: &State) -> Outcome {
        let tables = &state.disk.tables;
        let counted = |name: &str| tables.ledger.iter().filter(|((_, _, counter), _)| counter == name).map(|(_, n)| *n).sum();
        let letters = |codes: &[&str]| tables.dead_letters.iter().filter(|letter| codes.contains(&letter.code.as_str())).count() as u64;
        let mut outcome = Outcome {
            trace: state.trace.value(),
            injected: state.injected,
            chances: state.chances,
            checked: state.checked,
            calls: state.calls,
            steps: state.steps,
            commits: state.commits,
            crashes: state.crashes,
            faults: state.faults,
            merged: state.merged,
            folded_ahead: state.folded_ahead,
            acknowledged: state.acknowledged.len() as u64,
            commands_done: state.operators.told.len() as u64,
            records: state.disk.journal.records.len() as u64,
            timed_out: tables.logs.iter().filter(|log| log.op_type.starts_with("SYSTEM_")).count() as u64,
            normalized_extra: counted("normalized_extra"),
            no_events: counted("no_events"),
            letters_done: tables.letters_done.values().sum(),
            unjudged_payloads: letters(&["no-normalize-rule", "normalize-failed"]),
            invalid_events: letters(&["normalize-invalid"]),
            dead_letters: counted("dead_letters"),
            halted: state.halted,
            rejected: letters(&["rule-failed"]),
            refreshed: counted("refreshed"),
            duplicates: counted("duplicates"),
            refused: counted("refused"),
            expired: counted("stored_only.expired"),
            rule_dropped: counted("stored_only.rule-dropped"),
            rule_failed: counted("failed"),
            overflowed: counted(DEDUPE_OVERFLOW),
            enriched: tables.ledger.get(&("rule", "stamp-alerts".into(), "changed".into())).copied().unwrap_or_default(),
            severity_by_rule: tables.ledger.get(&("rule", "grade-alerts".into(), "changed".into())).copied().unwrap_or_default(),
            shipped: state.services.stored,
            already_there: state.services.already_there,
            conflicts: state.services.conflicts,
            bases_raised: state.services.bases_raised,
            rebuilt: state.services.rebuilt,
            simulated_ms: (state.now_ms() - BEGIN_MS) as u64,
            ..Outcome::default()
        };
        let verdicts = verdicts_of(&state.disk.journal.records);
        outcome.struck_out = verdicts.iter().flat_map(|verdicts| &verdicts.verdicts).filter(|verdict| verdict.kind == "struck-out").count() as u64;
        for record in &state.disk.journal.records {
            match record.kind {
                RecordKind::Start => outcome.starts += 1,
                RecordKind::Clock => outcome.clocks += 1,
                RecordKind::RuleSet(_) => outcome.generations += 1,
                RecordKind::Command => outcome.commands += 1,
                RecordKind::Payload => outcome.payloads += 1,
                RecordKind::Verdicts => outcome.verdicts += 1,
                RecordKind::Redrive => outcome.redrives += 1,
                RecordKind::RuleVersion => outcome.rule_versions += 1,
                RecordKind::Items => {}
            }
        }
        outcome
    }
}
