//! Verdicts of one hook of one rule at one worker: those that are known, and those that it reaches.
//!
//! What is reached is known from then on, so that rows which are handed over again, as after a halt, are not decided twice.

use alertmill_core::row::RuleFailure;
use alertmill_core::value::Text;
use alertmill_core::verdict::{Hook, Place, Verdict};

/// In the order of their first places.
#[derive(Default)]
pub(crate) struct Verdicts {
    known: Vec<Verdict>,
    /// Those of `known` that nobody has taken yet.
    reached: usize,
}

impl Verdicts {
    /// Takes those that speak of this hook of this version.
    pub fn know(&mut self, rule: &Text, version: &Text, hook: Hook, verdicts: &[Verdict]) {
        let is_ours = |verdict: &&Verdict| verdict.hook == hook && verdict.rule == *rule && verdict.version == *version;
        for verdict in verdicts.iter().filter(is_ours) {
            if !self.known.contains(verdict) {
                // Before those that are still to be taken.
                self.known.insert(self.known.len() - self.reached, verdict.clone());
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The one about this place. A later one counts more: an operator decides about what time had decided before.
    pub fn about(&self, place: Place) -> Option<&Verdict> {
        self.known.iter().rev().find(|verdict| verdict.covers(place))
    }

    /// Forgets those that end before this place: rows come in the order of the journal.
    pub fn forget_before(&mut self, place: Place) {
        let to_take = self.known.len() - self.reached;
        let mut at = 0;
        self.known.retain(|verdict| {
            at += 1;
            at > to_take || verdict.until.is_none_or(|until| until >= place)
        });
    }

    /// Notes what this run has decided by time: the rows from `from` to `until`, or to the end of the generation. The same decision
    /// about the row that comes next makes one verdict with that before; `joins` says that it is the next.
    pub fn reach(&mut self, failure: &RuleFailure, from: Place, until: Option<Place>, joins: bool) {
        if joins
            && self.reached > 0
            && let Some(last) = self.known.last_mut()
            && (&last.kind, &last.message, last.policy) == (&failure.kind, &failure.message, failure.policy)
        {
            last.until = until;
            return;
        }
        self.known.push(Verdict {
            rule: failure.rule.clone(),
            version: failure.version.clone(),
            hook: failure.hook,
            kind: failure.kind.clone(),
            message: failure.message.clone(),
            policy: failure.policy,
            from,
            until,
        });
        self.reached += 1;
    }

    /// Hands out what was reached since the last time.
    pub fn take(&mut self, into: &mut Vec<Verdict>) {
        into.extend_from_slice(&self.known[self.known.len() - self.reached..]);
        self.reached = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::verdict::Policy;

    fn at(ordinal: u64, index: u32) -> Place {
        Place { ordinal, index }
    }

    fn failure(kind: &'static str) -> RuleFailure {
        RuleFailure {
            rule: "r".into(),
            version: "1@sha256:0".into(),
            kind: kind.into(),
            message: "m".into(),
            hook: Hook::Dedupe,
            policy: Policy::DeadLetter,
            judged_by: None,
        }
    }

    #[test]
    fn neighbours_are_one_verdict_and_what_is_taken_is_still_known() {
        let mut verdicts = Verdicts::default();
        verdicts.reach(&failure("deadline"), at(1, 2), Some(at(1, 2)), true);
        verdicts.reach(&failure("deadline"), at(1, 3), Some(at(1, 3)), true);
        verdicts.reach(&failure("deadline"), at(1, 9), Some(at(1, 9)), false);
        verdicts.reach(&failure("stack"), at(1, 10), Some(at(1, 10)), true);
        let mut taken = Vec::new();
        verdicts.take(&mut taken);
        let places: Vec<_> = taken.iter().map(|verdict| (verdict.from.index, verdict.until.map(|until| until.index))).collect();
        assert_eq!(places, [(2, Some(3)), (9, Some(9)), (10, Some(10))]);
        verdicts.take(&mut taken);
        assert_eq!(taken.len(), 3, "each once");
        verdicts.reach(&failure("stack"), at(1, 11), Some(at(1, 11)), true);
        assert_eq!(verdicts.known.len(), 4, "what is on its way to the journal is not changed any more");
        assert_eq!(verdicts.about(at(1, 3)).map(|verdict| verdict.kind.as_str()), Some("deadline"));
        assert_eq!(verdicts.about(at(1, 4)), None);
    }

    #[test]
    fn what_is_behind_is_forgotten_and_what_is_open_never() {
        let mut verdicts = Verdicts::default();
        verdicts.reach(&failure("deadline"), at(1, 0), Some(at(2, 5)), false);
        verdicts.reach(&failure("struck-out"), at(3, 0), None, false);
        verdicts.forget_before(at(9, 0));
        assert_eq!(verdicts.known.len(), 2, "nobody has taken them");
        verdicts.take(&mut Vec::new());
        verdicts.forget_before(at(2, 5));
        assert_eq!(verdicts.known.len(), 2, "the place is in it");
        verdicts.forget_before(at(2, 6));
        assert_eq!(verdicts.known.len(), 1);
        assert!(verdicts.about(at(u64::MAX, 0)).is_some() && verdicts.about(at(2, 9)).is_none());
    }
}
