//! Looks at what a rule does over the last minute and says when it looks wrong. Telemetry only: an alarm decides nothing.

use alertmill_core::value::Text;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The minute is watched in pieces of this length.
const BUCKET: Duration = Duration::from_secs(10);
const BUCKETS: usize = 6;
const WATCHED: Duration = Duration::from_secs(BUCKET.as_secs() * BUCKETS as u64);
/// Fewer rows in the minute say nothing.
const ROWS_MIN: u64 = 200;
/// Keys that are looked at in each piece; those beyond cost nothing.
const KEYS_MAX: usize = 4_096;
const MERGED_KEYS_MIN: u64 = 1_000;
const DISTINCT_KEYS_MIN: u64 = 10_000;

/// Something that looks wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// It drops more than half of its rows.
    DropRatio,
    /// It fails on more than a tenth of its rows.
    FailureRatio,
    /// Its keys are one or two, of more than 1,000 events: they all become one alert.
    MergeRatio,
    /// More than nine tenths of more than 10,000 keys are different: nearly each event becomes an alert.
    KeyCardinality,
    /// Its keys had as many alerts open as `limits.open_keys` allows, and an event would have opened one more.
    KeyBudget,
    /// More than half of its calls take longer than `limits.slow_ms`.
    Slow,
}

impl Alarm {
    const ALL: [Alarm; 6] = [Alarm::DropRatio, Alarm::FailureRatio, Alarm::MergeRatio, Alarm::KeyCardinality, Alarm::KeyBudget, Alarm::Slow];

    const fn name(self) -> &'static str {
        match self {
            Alarm::DropRatio => "drop-ratio",
            Alarm::FailureRatio => "failure-ratio",
            Alarm::MergeRatio => "merge-ratio",
            Alarm::KeyCardinality => "key-cardinality",
            Alarm::KeyBudget => "key-budget",
            Alarm::Slow => "slow",
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Alarm::DropRatio => "it drops more than half of its rows",
            Alarm::FailureRatio => "it fails on more than a tenth of its rows",
            Alarm::MergeRatio => "nearly all of its events get the same dedupe key, and so one alert",
            Alarm::KeyCardinality => "nearly each of its events gets a dedupe key of its own, and so an alert of its own",
            Alarm::KeyBudget => "its keys had as many alerts open as limits.open_keys allows; the keys of the events decided beyond that",
            Alarm::Slow => "more than half of its calls take longer than limits.slow_ms",
        }
    }
}

/// What one pass over some rows did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub rows: u64,
    pub dropped: u64,
    pub failed: u64,
    pub calls: u64,
    pub slow_calls: u64,
}

/// Of one module under one name, over all workers.
pub(crate) struct Watch {
    rule: Text,
    version: Text,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buckets: VecDeque<Bucket>,
    /// When the fold last had no room for a key of it.
    overflowed: Option<Instant>,
    on: [bool; Alarm::ALL.len()],
}

struct Bucket {
    began: Instant,
    seen: Seen,
    /// Keys looked at.
    keyed: usize,
    /// Hashes of them.
    keys: HashSet<u64>,
}

impl Watch {
    pub fn new(rule: Text, version: Text) -> Watch {
        Watch { rule, version, state: Mutex::default() }
    }

    /// Takes what a pass did, and the keys that it made of its rows.
    pub fn add<'a>(&self, now: Instant, seen: &Seen, keys: impl Iterator<Item = &'a str>) {
        let mut state = self.state();
        if state.rolled(now) {
            self.evaluate(&mut state, now);
        }
        let Some(bucket) = state.buckets.back_mut() else { return };
        bucket.seen.add(seen);
        for key in keys.take(KEYS_MAX - bucket.keyed) {
            bucket.keyed += 1;
            bucket.keys.insert(hash(key));
        }
    }

    /// The fold had no room for a key of it.
    pub fn overflowed(&self, now: Instant) {
        let mut state = self.state();
        state.overflowed = Some(now);
        if !state.on[Alarm::KeyBudget as usize] {
            state.rolled(now);
            self.evaluate(&mut state, now);
        }
    }

    /// Names of the alarms that are on.
    pub fn alarms(&self, now: Instant) -> Vec<&'static str> {
        let mut state = self.state();
        if !state.buckets.is_empty() {
            state.rolled(now);
            self.evaluate(&mut state, now);
        }
        Alarm::ALL.iter().zip(state.on).filter(|(_, on)| *on).map(|(alarm, _)| alarm.name()).collect()
    }

    /// Says once when an alarm goes on or off.
    fn evaluate(&self, state: &mut State, now: Instant) {
        let raised = state.raised(now);
        for ((alarm, was), is) in Alarm::ALL.iter().zip(state.on).zip(raised) {
            let (rule, version, alarm, words) = (self.rule.as_str(), self.version.as_str(), alarm.name(), alarm.in_words());
            match (was, is) {
                (false, true) => tracing::warn!(rule, version, alarm, "rule alarm: within the last minute {words}"),
                (true, false) => tracing::info!(rule, version, alarm, "rule alarm is over"),
                _ => {}
            }
        }
        state.on = raised;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins a new piece when the last one is full, and forgets what is older than a minute; whether anything of that happened.
    fn rolled(&mut self, now: Instant) -> bool {
        let age = |bucket: &Bucket| now.saturating_duration_since(bucket.began);
        let before = self.buckets.len();
        self.buckets.retain(|bucket| age(bucket) < WATCHED);
        let is_full = self.buckets.back().is_none_or(|last| age(last) >= BUCKET);
        if is_full {
            self.buckets.push_back(Bucket { began: now, seen: Seen::default(), keyed: 0, keys: HashSet::new() });
        }
        is_full || self.buckets.len() < before
    }

    fn raised(&self, now: Instant) -> [bool; Alarm::ALL.len()] {
        let mut seen = Seen::default();
        self.buckets.iter().for_each(|bucket| seen.add(&bucket.seen));
        let tells = seen.rows >= ROWS_MIN;
        let keyed: u64 = self.buckets.iter().map(|bucket| bucket.keyed as u64).sum();
        let distinct = || self.buckets.iter().flat_map(|bucket| &bucket.keys).collect::<HashSet<_>>().len() as u64;
        Alarm::ALL.map(|alarm| match alarm {
            Alarm::DropRatio => tells && seen.dropped * 2 > seen.rows,
            Alarm::FailureRatio => tells && seen.failed * 10 > seen.rows,
            Alarm::MergeRatio => keyed > MERGED_KEYS_MIN && distinct() <= 2,
            Alarm::KeyCardinality => keyed > DISTINCT_KEYS_MIN && distinct() * 10 > keyed * 9,
            Alarm::KeyBudget => self.overflowed.is_some_and(|at| now.saturating_duration_since(at) < WATCHED),
            Alarm::Slow => tells && seen.slow_calls * 2 > seen.calls,
        })
    }
}

impl Seen {
    fn add(&mut self, more: &Seen) {
        self.rows += more.rows;
        self.dropped += more.dropped;
        self.failed += more.failed;
        self.calls += more.calls;
        self.slow_calls += more.slow_calls;
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> (Watch, Instant) {
        (Watch::new("r".into(), "1.0.0".into()), Instant::now())
    }

    fn seen(rows: u64) -> Seen {
        Seen { rows, calls: 1, ..Seen::default() }
    }

    #[test]
    fn m24_each_ratio_has_its_alarm_and_its_bound() {
        let cases = [
            (Seen { dropped: 501, ..seen(1_000) }, Some("drop-ratio")),
            (Seen { dropped: 500, ..seen(1_000) }, None),
            (Seen { failed: 101, ..seen(1_000) }, Some("failure-ratio")),
            (Seen { failed: 100, ..seen(1_000) }, None),
            (Seen { calls: 7, slow_calls: 4, ..seen(1_000) }, Some("slow")),
            (Seen { calls: 8, slow_calls: 4, ..seen(1_000) }, None),
            (Seen { dropped: 199, failed: 199, slow_calls: 1, ..seen(199) }, None),
        ];
        for (seen, alarm) in cases {
            let (watch, now) = watch();
            watch.add(now, &seen, std::iter::empty());
            assert_eq!(watch.alarms(now), alarm.into_iter().collect::<Vec<_>>(), "{seen:?}");
        }
    }

    #[test]
    fn an_alarm_is_on_for_as_long_as_the_minute_shows_it() {
        let (watch, start) = watch();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        watch.add(at(0), &Seen { dropped: 300, ..seen(300) }, std::iter::empty());
        assert_eq!(watch.alarms(at(0)), ["drop-ratio"]);
        for seconds in [12, 24, 36] {
            watch.add(at(seconds), &seen(50), std::iter::empty());
        }
        assert_eq!(watch.alarms(at(59)), ["drop-ratio"], "300 of 450 rows");
        assert!(watch.alarms(at(60)).is_empty(), "too few rows are left");
        watch.add(at(61), &seen(10_000), std::iter::empty());
        assert!(watch.alarms(at(61)).is_empty());
        assert!(watch.state().buckets.len() <= BUCKETS);
    }

    /// Alarms after these pieces of ten seconds, in calls of 100 rows.
    fn alarms_of(pieces: &[Vec<String>]) -> Vec<&'static str> {
        let (watch, start) = watch();
        let mut at = start;
        for (n, piece) in (0..).zip(pieces) {
            at = start + BUCKET * n;
            for call in piece.chunks(100) {
                watch.add(at, &seen(call.len() as u64), call.iter().map(String::as_str));
            }
        }
        assert!(watch.state().buckets.iter().all(|bucket| bucket.keys.len() <= KEYS_MAX && bucket.keyed <= KEYS_MAX));
        watch.alarms(at)
    }

    #[test]
    fn m30_keys_that_are_all_alike_are_seen() {
        let keys = |count: usize, kinds: usize| (0..count).map(|n| format!("k{}", n % kinds)).collect::<Vec<_>>();
        assert_eq!(alarms_of(&[keys(1_001, 2)]), ["merge-ratio"]);
        assert!(alarms_of(&[keys(1_000, 2)]).is_empty(), "too few of them");
        assert!(alarms_of(&[keys(5_000, 3)]).is_empty(), "three are not one");
    }

    #[test]
    fn m29_a_key_beyond_the_budget_is_told_for_a_minute() {
        let (watch, start) = watch();
        assert!(watch.alarms(start).is_empty());
        watch.overflowed(start);
        assert_eq!(watch.alarms(start + Duration::from_secs(59)), ["key-budget"], "of one row, and of no call");
        assert!(watch.alarms(start + Duration::from_secs(60)).is_empty());
    }

    #[test]
    fn m29_keys_that_are_all_different_are_seen() {
        let different = |n: usize| (0..5_000).map(|i| format!("{n}-{i}")).collect::<Vec<_>>();
        assert!(alarms_of(&[different(1), different(2)]).is_empty(), "4,096 of each piece are looked at");
        assert_eq!(alarms_of(&[different(1), different(2), different(3)]), ["key-cardinality"]);
        assert!(alarms_of(&[different(1), different(1), different(1)]).is_empty(), "the same again");
    }
}
