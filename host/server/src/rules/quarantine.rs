//! Rules that failed too often or too long go into quarantine, and out of it again by themselves after a pause that doubles.
//! Both are generations: the engine stops calling such a rule at once, and the record makes it so for everybody who reads the
//! journal, for the API, and over a restart.

use super::slots::What;
use super::{Ask, Condition, RuleKeeper, Who};
use crate::api::time::now_ms;
use alertmill_core::ports::Journal;
use alertmill_core::rule_set::{Quarantine, Released, RuleEntry, RuleSet};
use alertmill_core::value::Text;
use alertmill_engine::{Engine, RuleOptions, Struck};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How often the engine is asked. Meanwhile it does not call such a rule.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// Doubling makes no pause longer; one that the options want longer stays as it is.
const PAUSE_MAX_MS: i64 = 3_600_000;

/// Puts rules into quarantine and takes them out, until the process stops.
pub async fn keep(keeper: Arc<RuleKeeper>, engine: Engine, journal: impl Journal + Clone + 'static, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ASKED_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now_ms = now_ms();
        let shown = keeper.shown();
        for (rule, what) in due(&shown.set, &engine.struck(), now_ms) {
            let (keeper, journal, runtime) = (keeper.clone(), journal.clone(), Handle::current());
            // What an operator says meanwhile holds.
            let only_if = Condition::Tags(shown.etag(&rule).into_iter().collect());
            let ask = Ask { rule, what, only_if, who: Who::default() };
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

/// What is to be done now.
fn due(set: &RuleSet, struck: &[Struck], now_ms: i64) -> Vec<(Text, What)> {
    let due = |slot: &RuleEntry| match &slot.quarantine {
        Some(quarantine) => release(quarantine, now_ms),
        None => {
            let struck = struck.iter().find(|struck| struck.rule == slot.name && struck.digest == slot.digest)?;
            Some(What::Quarantine(again(slot, struck, now_ms), Some(slot.digest.clone())))
        }
    };
    set.rules.iter().filter_map(|slot| Some((slot.name.clone(), due(slot)?))).collect()
}

/// Out of it, when its time has come.
fn release(quarantine: &Quarantine, now_ms: i64) -> Option<What> {
    let retry_at_ms = quarantine.retry_at_ms.filter(|at_ms| *at_ms <= now_ms)?;
    Some(What::Release(Some(Released { times: quarantine.times, at_ms: now_ms, pause_ms: retry_at_ms - quarantine.since_ms })))
}

fn again(slot: &RuleEntry, struck: &Struck, now_ms: i64) -> Quarantine {
    let pause_s = RuleOptions::from_entry(slot).map_or(0, |options| options.quarantine_retry_s);
    // In a row: it did not even run for as long as it had been out.
    let before = slot.released.filter(|before| now_ms - before.at_ms <= before.pause_ms);
    let times = before.map_or(0, |before| before.times).saturating_add(1);
    let first_ms = (pause_s as i64).saturating_mul(1_000);
    let pause_ms = (first_ms << (times - 1).min(12)).min(PAUSE_MAX_MS.max(first_ms));
    Quarantine {
        kind: Text::new(struck.kind),
        message: Text::new(&struck.message),
        times,
        since_ms: now_ms,
        retry_at_ms: (pause_s > 0).then_some(now_ms + pause_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::slots::{Named, changed};
    use alertmill_core::record::RecordBody;

    const MINUTE_MS: i64 = 60_000;

    fn after(rules: &[RuleEntry], what: &What) -> RuleSet {
        RuleSet { rules: changed(rules, "r", what).unwrap(), ..RuleSet::default() }
    }

    /// As its record has it.
    fn reread(set: &RuleSet) -> RuleSet {
        let mut bytes = Vec::new();
        RecordBody::RuleSet(set.clone()).encode(&mut bytes);
        match RecordBody::decode(&bytes) {
            Ok(RecordBody::RuleSet(read)) => read,
            other => panic!("{other:?}"),
        }
    }

    fn activate(digest: &str) -> What {
        let version = Named { version: digest.into(), digest: digest.into() };
        What::Activate { version, options: None, order: None, allow_downgrade: true }
    }

    #[test]
    fn the_pause_doubles_as_long_as_it_fails_at_once() {
        let struck = [Struck { rule: "r".into(), version: "1".into(), digest: "1".into(), kind: "deadline", message: "too long".to_owned() }];
        let mut set = after(&[], &activate("1"));
        let mut now = 1_000;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let strikes = due(&set, &struck, now);
            set = after(&set.rules, &strikes[0].1);
            let quarantine = set.rules[0].quarantine.clone().unwrap();
            assert_eq!((quarantine.retry_at_ms, quarantine.kind.as_str()), (Some(now + minutes * MINUTE_MS), "deadline"));
            assert!(due(&set, &struck, now + minutes * MINUTE_MS - 1).is_empty(), "not before its time");
            now += minutes * MINUTE_MS;
            let ends = due(&set, &struck, now);
            assert!(matches!(ends[..], [(_, What::Release(Some(_)))]), "{ends:?}");
            // Whoever goes on from here knows what its record says, and nothing else.
            set = reread(&after(&set.rules, &ends[0].1));
            now += 1_000;
        }
        // It ran for as long as it had been out: that is another story.
        now += 60 * MINUTE_MS;
        let late = due(&set, &struck, now);
        assert!(matches!(&late[..], [(_, What::Quarantine(again, _))] if again.times == 1), "{late:?}");
        // What failed was replaced.
        let replaced = after(&set.rules, &activate("2"));
        assert!(due(&replaced, &struck, now).is_empty());
    }

    #[test]
    fn a_pause_of_more_than_an_hour_is_as_long_as_the_options_say_each_time() {
        let struck = [Struck { rule: "r".into(), version: "1".into(), digest: "1".into(), kind: "deadline", message: String::new() }];
        let options = RuleOptions { quarantine_retry_s: 86_400, ..RuleOptions::default() };
        let mut set = after(&after(&[], &activate("1")).rules, &What::Configure { options: Some(options), order: None });
        let mut now = 5;
        for times in 1..=3 {
            set = after(&set.rules, &due(&set, &struck, now)[0].1);
            let quarantine = set.rules[0].quarantine.clone().unwrap();
            assert_eq!((quarantine.times, quarantine.retry_at_ms), (times, Some(now + 86_400_000)));
            now += 86_400_000;
            set = after(&set.rules, &due(&set, &struck, now)[0].1);
        }
    }

    #[test]
    fn without_a_pause_only_an_operator_ends_it() {
        let struck = [Struck { rule: "r".into(), version: "1".into(), digest: "1".into(), kind: "deadline", message: String::new() }];
        let options = RuleOptions { quarantine_retry_s: 0, ..RuleOptions::default() };
        let set = after(&after(&[], &activate("1")).rules, &What::Configure { options: Some(options), order: None });
        let strikes = due(&set, &struck, 5);
        assert!(matches!(&strikes[..], [(_, What::Quarantine(quarantine, _))] if quarantine.retry_at_ms.is_none()), "{strikes:?}");
        assert!(due(&after(&set.rules, &strikes[0].1), &struck, i64::MAX).is_empty());
    }
}
