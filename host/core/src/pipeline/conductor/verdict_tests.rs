//! What the loops do with verdicts and with rows at which a rule halts: what comes before what.

use super::*;
use crate::identity::{Algorithm, UidKey};
use crate::payload::{NewEvent, Normalized, Payload};
use crate::pipeline::fold::FoldConfig;
use crate::pipeline::normalize::{MADE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::ports::{Appended, Restored};
use crate::record::{Door, DoorCounts, Items, RawPayload, Record};
use crate::row::{AlertRow, Row, RuleFailure};
use crate::rules::{RuleSetUnavailable, RuleTally};
use crate::verdict::{Hook, Place, Policy};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// What was done, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn name(verdict: &Verdict) -> String {
    let Verdict { from, policy, kind, until, .. } = verdict;
    let until = until.map_or("..".to_owned(), |until| format!("-{}.{}", until.ordinal, until.index));
    format!("{kind} {}.{}{until} {}", from.ordinal, from.index, policy.as_str())
}

struct FakeJournal {
    log: Log,
    /// What the next appends answer, before they are taken.
    errors: Mutex<VecDeque<PortError>>,
}

impl Journal for FakeJournal {
    async fn append(&self, body: RecordBody, _: Option<Vec<crate::item::Item>>) -> Result<Appended, PortError> {
        let RecordBody::Verdicts(Verdicts { generation, verdicts }) = body else { panic!("{body:?}") };
        let verdicts: Vec<String> = verdicts.iter().map(name).collect();
        self.log.add(format!("journal of {generation}: {}", verdicts.join(", ")));
        match self.errors.lock().unwrap().pop_front() {
            Some(error) => Err(error),
            None => Ok(Appended { ordinal: 9, received_at_ms: 0 }),
        }
    }
}

struct Operator(Log, VecDeque<Resume>);

impl Halts for Operator {
    async fn decide(&mut self, halted: &Halted) -> Resume {
        self.0.add(format!("decide on {}.{}", halted.at.ordinal, halted.at.index));
        self.1.pop_front().expect("something to decide")
    }
}

struct Pauses(Log);

impl Patience for Pauses {
    async fn pause(&mut self, _: u32, error: &PortError) {
        self.0.add(format!("pause: {error}"));
    }
}

/// A rule: names that begin with `poison` halt it, those with `slow` run into its time limit.
struct Judge {
    hook: Hook,
    log: Log,
    known: Vec<Verdict>,
    found: Vec<Verdict>,
}

impl Judge {
    fn ask(&mut self, at: Place, name: &str) -> Result<Option<RuleFailure>, Halted> {
        let verdict = self.known.iter().find(|known| known.hook == self.hook && known.covers(at)).cloned();
        let verdict = match verdict {
            Some(known) => known,
            None => {
                self.log.add(format!("ask about {name}"));
                let (rule, version, hook, message) = ("judge".into(), "1.0.0".into(), self.hook, "simulated".into());
                if name.starts_with("poison") {
                    return Err(Halted { rule, version, hook, at, kind: "trap".into(), message, may_pass: false });
                }
                if !name.starts_with("slow") {
                    return Ok(None);
                }
                let verdict = Verdict { rule, version, hook, kind: "deadline".into(), message, policy: Policy::PassThrough, from: at, until: Some(at) };
                self.found.push(verdict.clone());
                verdict
            }
        };
        let Verdict { rule, version, hook, kind, message, policy, .. } = verdict;
        Ok(Some(RuleFailure { rule, version, kind, message, hook, policy, judged_by: None }))
    }
}

impl RuleChain for Judge {
    /// An event of each payload that is more than a batch has room for.
    fn normalize(&mut self, payloads: &[Payload], _: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        let large = || NewEvent { alert_name: "large".into(), description: "x".repeat(MADE_BYTES_MAX).into(), ..NewEvent::default() };
        Ok(payloads.iter().map(|_| Normalized::Events(vec![large()])).collect())
    }
    fn enrich_events(&mut self, rows: &mut [Row], tallies: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for row in rows.iter_mut() {
            let failure = self.ask(row.place(), row.event.alert_name.as_text().unwrap())?;
            row.rejected = failure.as_ref().is_some_and(|failure| failure.policy == Policy::DeadLetter);
            row.failures.extend(failure);
        }
        tallies.push(RuleTally { rule: "judge".into(), rows: rows.len() as u64, ..RuleTally::default() });
        Ok(())
    }
    fn dedupe(&mut self, _: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        Ok(())
    }
    fn know(&mut self, verdicts: &[Verdict]) {
        self.known.extend_from_slice(verdicts);
    }
    fn take_verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.found)
    }
}

impl AlertChain for Judge {
    fn enrich_alerts(&mut self, rows: &mut [AlertRow], tallies: &mut Vec<RuleTally>) -> Result<(), Halted> {
        for row in rows.iter_mut() {
            assert!(row.failures.is_empty(), "after a halt they are as they were opened");
            let at = Place { ordinal: row.alert.seq >> 14, index: (row.alert.seq & 0x3fff) as u32 };
            let failure = self.ask(at, &row.alert.alert_name.to_rule_text().unwrap())?;
            row.failures.extend(failure);
        }
        tallies.push(RuleTally { rule: "judge".into(), rows: rows.len() as u64, ..RuleTally::default() });
        Ok(())
    }
    fn know(&mut self, verdicts: &[Verdict]) {
        self.known.extend_from_slice(verdicts);
    }
    fn take_verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.found)
    }
}

/// Rules over events, or over alerts only.
struct Rules(Log, Hook);

impl Rules {
    fn judge(&self) -> Judge {
        Judge { hook: self.1, log: self.0.clone(), known: Vec::new(), found: Vec::new() }
    }
}

impl RuleSets for Rules {
    fn open(&self, _: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        Ok(Box::new(self.judge()))
    }
    fn open_alerts(&self, _: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable> {
        Ok((self.1 == Hook::EnrichAlert).then(|| Box::new(self.judge()) as Box<dyn AlertChain>))
    }
}

struct Reader(VecDeque<Vec<Journaled>>);

impl Records for Reader {
    async fn next_records(&mut self, _: usize) -> Result<Vec<Journaled>, PortError> {
        self.0.pop_front().ok_or_else(|| PortError::Fatal("the end".to_owned()))
    }
}

struct Out(Log, Vec<Prepared>);

impl HandOver for Out {
    async fn hand_over(&mut self, prepared: Prepared) -> bool {
        self.0.add(format!("hand over {}", prepared.records.last().unwrap().ordinal));
        self.1.push(prepared);
        true
    }
}

impl Incoming for Out {
    async fn next_prepared(&mut self, changes_max: usize) -> Option<Prepared> {
        self.ready_prepared(changes_max)
    }
    fn ready_prepared(&mut self, _: usize) -> Option<Prepared> {
        (!self.1.is_empty()).then(|| self.1.remove(0))
    }
}

/// Notes commits, and begins each.
struct Store(Log, Vec<Commit>);

impl LocalStore for Store {
    fn begin(&mut self, _: &Commit) -> bool {
        true
    }
    async fn commit(&mut self, commit: &Commit) -> Result<(), PortError> {
        self.0.add(format!("commit {}", commit.to));
        self.1.push(commit.clone());
        Ok(())
    }
}

impl KnownUids for Store {
    fn known_until_s(&mut self, uids: &[Uid]) -> Result<Vec<Option<i64>>, PortError> {
        Ok(vec![None; uids.len()])
    }
}

impl Committed for Store {
    fn committed(&mut self, _: &Commit) {}
}

fn record(ordinal: u64, names: &[&str]) -> Journaled {
    let item = |name: &&str| format!(r#"{{"event_id":"{name}","alert_name":"{name}","severity":2,"status":"ABNORMAL","time":1790000000,"target":"{name}"}}"#);
    let items: Vec<String> = names.iter().map(item).collect();
    let items = Items::of_texts(Door::Events, &items.iter().map(String::as_str).collect::<Vec<_>>());
    Journaled { record: Record { ordinal, received_at_ms: 1_790_000_000_000, body: RecordBody::Items(items) }, parsed: None }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing waits here"),
    }
}

const CONFIG: UnderstandConfig = UnderstandConfig { uid_key: UidKey([0; 16]), algorithm: Algorithm::Keyed };

/// Runs records through the prepare half: how it ended, what was done, what was handed over.
fn prepared(
    hook: Hook,
    batches: Vec<Vec<Journaled>>,
    known: &[Verdicts],
    decisions: &[Resume],
    errors: &[PortError],
) -> (PortError, Vec<String>, Vec<Prepared>) {
    let log = Log::default();
    let journal = FakeJournal { log: log.clone(), errors: Mutex::new(errors.to_vec().into()) };
    let mut judging = Judging { journal: &journal, known, halts: Operator(log.clone(), decisions.to_vec().into()), patience: Pauses(log.clone()) };
    let mut out = Out(log.clone(), Vec::new());
    let in_force = RuleSet { generation: 3, ..RuleSet::default() };
    let ended = now(prepare_half(&mut Reader(batches.into()), &Rules(log.clone(), hook), &in_force, &CONFIG, &mut out, &mut judging));
    (ended, log.take(), out.1)
}

/// The same for the fold half, of batches that nothing was found about.
fn folded(batches: Vec<Vec<Journaled>>, known: &[Verdicts], decisions: &[Resume]) -> (Vec<String>, Vec<Commit>) {
    let log = Log::default();
    let journal = FakeJournal { log: log.clone(), errors: Mutex::default() };
    let mut judging = Judging { journal: &journal, known, halts: Operator(log.clone(), decisions.to_vec().into()), patience: Pauses(log.clone()) };
    let prepare = |mut records: Vec<Journaled>| prepare(&mut records, 3, &mut crate::rules::NoRules, &CONFIG).unwrap();
    let mut incoming = Out(log.clone(), batches.into_iter().map(prepare).collect());
    let mut fold = Fold::restore(&Restored::default(), FoldConfig::default()).unwrap();
    let (mut store, mut watcher) = (Store(log.clone(), Vec::new()), Store(log.clone(), Vec::new()));
    now(fold_half(&mut fold, &Rules(log.clone(), Hook::EnrichAlert), &mut store, &mut incoming, &mut watcher, &mut judging)).unwrap();
    (log.take(), store.1)
}

const LETTER: Resume = Resume::As { policy: Policy::DeadLetter, to_the_end: false };

/// Records that a batch has no room for come in the next one, and the generation that begins behind them still does.
#[test]
fn payloads_that_become_large_are_handed_over_in_several_batches() {
    let payload = |ordinal| {
        RecordBody::Payload(RawPayload {
            tenant: "system".into(),
            source: "hooks".into(),
            idempotency_key: None,
            counts: DoorCounts { received: 1, ..DoorCounts::default() },
            content_type: "text/plain".into(),
            headers: Vec::new(),
            // One is a call.
            body: vec![b'x'; PAYLOAD_BYTES_MAX + ordinal as usize].into(),
        })
    };
    let begins = RecordBody::RuleSet(RuleSet { generation: 4, ..RuleSet::default() });
    let bodies = [payload(1), RecordBody::Clock, payload(3), begins];
    let records = (1..).zip(bodies).map(|(ordinal, body)| Journaled { record: Record { ordinal, received_at_ms: 1_790_000_000_000, body }, parsed: None });
    let (_, log, out) = prepared(Hook::Normalize, vec![records.collect(), vec![record(5, &["good"])]], &[], &[], &[]);
    assert_eq!(log.iter().filter(|line| line.starts_with("hand over")).collect::<Vec<_>>(), ["hand over 2", "hand over 4", "hand over 5"]);
    let generations: Vec<Vec<Generation>> = out.iter().map(|batch| batch.records.iter().map(|record| record.generation).collect()).collect();
    assert_eq!(generations, [vec![3, 3], vec![3, 3], vec![4]]);
}

#[test]
fn verdicts_are_journaled_before_hand_over() {
    let batches = vec![vec![record(1, &["good", "slow"])], vec![record(2, &["good"])]];
    let (_, log, _) = prepared(Hook::EnrichEvent, batches, &[], &[], &[PortError::Unclear("no answer".into()), PortError::Full("full".into())]);
    let journal = "journal of 3: deadline 1.1-1.1 pass-through";
    let wanted =
        ["ask about good", "ask about slow", journal, "pause: no answer", journal, "pause: full", journal, "hand over 1", "ask about good", "hand over 2"];
    assert_eq!(log, wanted);
}

#[test]
fn halted_then_decided() {
    let batches = vec![vec![record(1, &["slow", "poison", "poison-too"])], vec![record(2, &["poison"])]];
    let to_the_end = Resume::As { policy: Policy::PassThrough, to_the_end: true };
    let (ended, log, out) = prepared(Hook::EnrichEvent, batches, &[], &[Resume::Retry, LETTER, to_the_end], &[]);
    let wanted = [
        "ask about slow",
        "ask about poison",
        // What was found on the way is not asked again: it might be found otherwise.
        "decide on 1.1",
        "journal of 3: deadline 1.0-1.0 pass-through",
        "ask about poison",
        "decide on 1.1",
        "journal of 3: trap 1.1-1.1 dead-letter",
        "ask about poison-too",
        "decide on 1.2",
        "journal of 3: trap 1.2.. pass-through",
        "hand over 1",
        // The rule is not asked about anything behind it.
        "hand over 2",
    ];
    assert_eq!(log, wanted);
    assert_eq!(ended, PortError::Fatal("the end".to_owned()));
    let policies: Vec<Vec<Policy>> = out[0].rows.iter().map(|row| row.failures.iter().map(|failure| failure.policy).collect()).collect();
    assert_eq!(policies, [[Policy::PassThrough], [Policy::DeadLetter], [Policy::PassThrough]], "each is judged once");
    assert_eq!(out[0].tallies[0].rows, 3, "and counted once");
    let letter = out[0].rows[1].dead_letter.as_deref().unwrap();
    assert_eq!((letter.code.as_str(), letter.detail.as_str()), ("rule-failed", "rule judge 1.0.0 (enrich-event): trap: simulated"));
    assert!(letter.item.starts_with(br#"{"event_id":"poison""#), "{:?}", String::from_utf8_lossy(&letter.item));
    assert!(out[0].rows[0].dead_letter.is_none() && out[0].rows[2].dead_letter.is_none(), "nothing is kept of the others");
}

#[test]
fn what_is_known_is_not_asked_again() {
    let at = |ordinal| Place { ordinal, index: 0 };
    let verdict = |hook, from, until: Option<u64>| Verdict {
        rule: "judge".into(),
        version: "1.0.0".into(),
        hook,
        kind: "deadline".into(),
        message: "then".into(),
        policy: Policy::DeadLetter,
        from: at(from),
        until: until.map(at),
    };
    let known = |hook| {
        let of = |generation, verdicts| Verdicts { generation, verdicts };
        [of(2, vec![verdict(hook, 1, None)]), of(3, vec![verdict(hook, 2, Some(2))]), of(3, vec![verdict(hook, 4, None)])]
    };
    let batches = || (1..=5).map(|ordinal| vec![record(ordinal, &[format!("good{ordinal}").as_str()])]).collect::<Vec<_>>();
    let (_, log, out) = prepared(Hook::EnrichEvent, batches(), &known(Hook::EnrichEvent), &[], &[]);
    let asked = |log: &[String]| log.iter().filter_map(|line| line.strip_prefix("ask about good").map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(asked(&log), ["1", "3"]);
    assert!(!log.iter().any(|line| line.starts_with("journal")), "it is in the journal already");
    assert_eq!(out.iter().map(|prepared| prepared.rows[0].rejected).collect::<Vec<_>>(), [false, true, false, true, true]);
    let (log, commits) = folded(batches(), &known(Hook::EnrichAlert), &[]);
    assert_eq!((asked(&log), commits.len()), (vec!["1".to_owned(), "3".to_owned()], 5));
}

#[test]
fn a_journal_that_has_ended_ends_the_half_and_nothing_is_handed_over() {
    let (ended, log, out) = prepared(Hook::EnrichEvent, vec![vec![record(1, &["slow"])]], &[], &[], &[PortError::Fatal("closed".into())]);
    assert_eq!((ended, out.len()), (PortError::Fatal("closed".into()), 0));
    assert_eq!(log.last().unwrap(), "journal of 3: deadline 1.0-1.0 pass-through");
}

#[test]
fn verdicts_of_alerts_are_journaled_before_the_commit_and_what_is_begun_does_not_wait() {
    let batches = vec![vec![record(1, &["good"])], vec![record(2, &["slow", "poison"])], vec![record(3, &["good-too"])]];
    let (log, commits) = folded(batches, &[], &[Resume::Retry, LETTER]);
    let wanted = [
        "ask about good",
        "ask about slow",
        "ask about poison",
        "commit 1",
        "decide on 2.1",
        "journal of 3: deadline 2.0-2.0 pass-through",
        "ask about poison",
        "decide on 2.1",
        "journal of 3: trap 2.1-2.1 dead-letter",
        "ask about good-too",
        "commit 2",
        "commit 3",
    ];
    assert_eq!(log, wanted);
    assert_eq!(commits.iter().map(|commit| commit.alerts.len()).collect::<Vec<_>>(), [1, 2, 1], "an alert whose event is counted goes on");
    let rows = commits[1].ledger.iter().find(|line| line.scope == "rule" && line.counter == "rows").unwrap();
    assert_eq!(rows.value, 3, "what was asked again is counted once");
}
