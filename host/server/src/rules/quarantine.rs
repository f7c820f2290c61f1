//! Rules that failed too often or too long go into quarantine, and out of it again by themselves after a pause that doubles.
//! Both are generations: the engine stops calling such a rule at once, and the record makes it so for everybody who reads the
//! journal, for the API, and over a restart.

use super::slots::What;
use super::{Ask, Condition, RuleKeeper, Who};
use alertmill_core::ports::Journal;
use alertmill_core::rule_set::{Quarantine, RuleSet};
use alertmill_core::value::Text;
use alertmill_engine::{Engine, RuleOptions, Struck};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How often the engine is asked. Meanwhile it does not call such a rule.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// No pause is longer.
const PAUSE_MAX_MS: i64 = 3_600_000;

/// Puts rules into quarantine and takes them out, until the process stops.
pub async fn keep(keeper: Arc<RuleKeeper>, engine: Engine, journal: impl Journal + Clone + 'static, mut stop: watch::Receiver<bool>) {
    let mut retries = Retries::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ASKED_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        for (rule, what) in retries.due(&keeper.shown().set, &engine.struck(), now_ms) {
            let (keeper, journal, runtime) = (keeper.clone(), journal.clone(), Handle::current());
            let ask = Ask { rule, what, only_if: Condition::Any, who: Who::default() };
            let changed = tokio::task::spawn_blocking(move || (runtime.block_on(keeper.change(&journal, &ask)), ask)).await;
            match changed {
                Ok((Ok(_), Ask { rule, what: What::Quarantine(why, _), .. })) => {
                    tracing::error!(%rule, kind = %why.kind, times = why.times, "a rule is in quarantine: {}", why.message);
                }
                Ok((Ok(_), Ask { rule, .. })) => tracing::warn!(%rule, "a rule is out of quarantine, and is tried again"),
                // Asked again in a moment.
                Ok((Err(problem), Ask { rule, .. })) => tracing::debug!(%rule, code = problem.code, "{}", problem.detail),
                Err(error) => tracing::warn!(%error, "a change of a rule ended early"),
            }
        }
    }
}

/// What became of rules that were let out.
#[derive(Default)]
struct Retries(BTreeMap<Text, Release>);

struct Release {
    digest: Text,
    times: u32,
    at_ms: i64,
    pause_ms: i64,
}

impl Retries {
    /// What is to be done now.
    fn due(&mut self, set: &RuleSet, struck: &[Struck], now_ms: i64) -> Vec<(Text, What)> {
        let mut due = Vec::new();
        for slot in &set.rules {
            match &slot.quarantine {
                Some(quarantine) if quarantine.retry_at_ms.is_some_and(|at_ms| at_ms <= now_ms) => {
                    let pause_ms = quarantine.retry_at_ms.unwrap_or(now_ms) - quarantine.since_ms;
                    self.0.insert(slot.name.clone(), Release { digest: slot.digest.clone(), times: quarantine.times, at_ms: now_ms, pause_ms });
                    due.push((slot.name.clone(), What::Release));
                }
                Some(_) => {}
                None => {
                    let Some(struck) = struck.iter().find(|struck| struck.rule == slot.name && struck.digest == slot.digest) else { continue };
                    let pause_s = RuleOptions::from_entry(slot).map_or(0, |options| options.quarantine_retry_s);
                    // In a row: it did not even run for as long as it had been out.
                    let before = self.0.get(&slot.name).filter(|before| before.digest == slot.digest && now_ms - before.at_ms <= before.pause_ms);
                    let times = before.map_or(0, |before| before.times) + 1;
                    let pause_ms = ((pause_s as i64).saturating_mul(1_000) << (times - 1).min(12)).min(PAUSE_MAX_MS);
                    let quarantine = Quarantine {
                        kind: Text::new(struck.kind),
                        message: Text::new(&struck.message),
                        times,
                        since_ms: now_ms,
                        retry_at_ms: (pause_s > 0).then_some(now_ms + pause_ms),
                    };
                    due.push((slot.name.clone(), What::Quarantine(quarantine, Some(slot.digest.clone()))));
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::slots::{Named, changed};
    use alertmill_core::rule_set::RuleEntry;

    const MINUTE_MS: i64 = 60_000;

    fn after(rules: &[RuleEntry], what: &What) -> RuleSet {
        RuleSet { rules: changed(rules, "r", what).unwrap(), ..RuleSet::default() }
    }

    fn activate(digest: &str) -> What {
        let version = Named { version: digest.into(), digest: digest.into() };
        What::Activate { version, options: None, order: None, allow_downgrade: true }
    }

    #[test]
    fn the_pause_doubles_as_long_as_it_fails_at_once() {
        let struck = [Struck { rule: "r".into(), version: "1".into(), digest: "1".into(), kind: "deadline", message: "too long".to_owned() }];
        let mut retries = Retries::default();
        let mut set = after(&[], &activate("1"));
        let mut now = 1_000;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let due = retries.due(&set, &struck, now);
            let (_, what) = &due[0];
            set = after(&set.rules, what);
            let quarantine = set.rules[0].quarantine.clone().unwrap();
            assert_eq!((quarantine.retry_at_ms, quarantine.kind.as_str()), (Some(now + minutes * MINUTE_MS), "deadline"));
            assert!(retries.due(&set, &struck, now + minutes * MINUTE_MS - 1).is_empty(), "not before its time");
            now += minutes * MINUTE_MS;
            let due = retries.due(&set, &struck, now);
            assert!(matches!(due[..], [(_, What::Release)]), "{due:?}");
            set = after(&set.rules, &due[0].1);
            now += 1_000;
        }
        // It ran for as long as it had been out: that is another story.
        now += 60 * MINUTE_MS;
        let due = retries.due(&set, &struck, now);
        assert!(matches!(&due[..], [(_, What::Quarantine(again, _))] if again.times == 1), "{due:?}");
        // What failed was replaced.
        let replaced = after(&set.rules, &activate("2"));
        assert!(retries.due(&replaced, &struck, now).is_empty());
    }

    #[test]
    fn without_a_pause_only_an_operator_ends_it() {
        let struck = [Struck { rule: "r".into(), version: "1".into(), digest: "1".into(), kind: "deadline", message: String::new() }];
        let options = RuleOptions { quarantine_retry_s: 0, ..RuleOptions::default() };
        let set = after(&after(&[], &activate("1")).rules, &What::Configure { options: Some(options), order: None });
        let due = Retries::default().due(&set, &struck, 5);
        assert!(matches!(&due[..], [(_, What::Quarantine(quarantine, _))] if quarantine.retry_at_ms.is_none()), "{due:?}");
        assert!(Retries::default().due(&after(&set.rules, &due[0].1), &struck, i64::MAX).is_empty());
    }
}
