//! Events that a rule with the policy `dead-letter` could not judge.

use super::bench::{Life, Rules, T, firing};
use crate::record::{RecordBody, RuleSet};
use crate::row::{Row, RuleFailure};
use crate::value::Text;
use crate::verdict::{Hook, Place, Policy, Verdict, Verdicts};

const MINUTE: i64 = 60;

fn reject(row: &mut Row) {
    row.rejected = true;
    row.failures.push(RuleFailure {
        rule: "owner".into(),
        version: "1.2.0@sha256:00".into(),
        kind: "trap".into(),
        message: "says \"why\"".into(),
        hook: Hook::EnrichEvent,
        policy: Policy::DeadLetter,
        judged_by: None,
    });
}

fn event(id: &str, status: &str, time: i64) -> String {
    format!(r#"{{"event_id":"{id}","alert_name":"cpu","severity":2,"status":"{status}","time":{time}}}"#)
}

/// What the source's items have become: letters, duplicates, refreshed, folded.
fn became(life: &Life) -> [u64; 4] {
    let sum: u64 = crate::ledger::Outcome::ALL.iter().map(|outcome| life.count(outcome.counter())).sum();
    assert_eq!(sum, life.count("journaled"), "every item is accounted for");
    assert_eq!(life.tables.dead_letters.len() as u64, life.count("dead_letters"));
    ["dead_letters", "duplicates", "refreshed", "folded"].map(|counter| life.count(counter))
}

#[test]
fn a_rejected_event_is_a_dead_letter_with_its_bytes_and_counts_when_it_comes_again() {
    let mut life = Life::new();
    life.rules.enrich = reject;
    let sent = event("a", "ABNORMAL", T);
    life.events(T, &[&sent, &sent]);
    assert_eq!((became(&life), life.tables.alerts.len(), life.tables.uids.len()), ([2, 0, 0, 0], 0, 0), "its uid is not remembered, in its own batch neither");
    let letter = &life.tables.dead_letters[1];
    assert_eq!((letter.ordinal, letter.index, letter.code.as_str()), (1, 1, "rule-failed"));
    assert_eq!(letter.detail, "rule owner 1.2.0@sha256:00 (enrich-event): trap: says \"why\"");
    assert_eq!(letter.item, sent.as_bytes());
    life.rules = Rules::default();
    life.events(T + 1, &[&sent]);
    assert_eq!((became(&life), life.statuses()), ([2, 0, 0, 1], vec!["ABNORMAL"]));
}

#[test]
fn a_rejected_retry_is_a_duplicate() {
    let mut life = Life::new();
    life.events(T, &[&event("a", "ABNORMAL", T)]);
    life.rules.enrich = reject;
    life.events(T + 1, &[&event("a", "ABNORMAL", T)]);
    assert_eq!(became(&life), [0, 1, 0, 1]);
    // When it is not known any more nobody can tell.
    life.events(T + 30 * 3600, &[&event("a", "ABNORMAL", T)]);
    assert_eq!(became(&life), [1, 1, 0, 1]);
}

#[test]
fn a_rejected_end_ends_nothing() {
    let mut life = Life::new();
    life.events(T, &[&event("a", "ABNORMAL", T)]);
    life.rules.enrich = reject;
    life.events(T + 1, &[&event("b", "RECOVERED", T + 1)]);
    assert_eq!((became(&life), life.statuses()), ([1, 0, 0, 1], vec!["ABNORMAL"]));
}

#[test]
fn a_rejected_resend_refreshes_nothing() {
    let mut life = Life::new();
    life.alertmanager(T, &[&firing("", T, Some(T + 4 * MINUTE))]);
    life.rules.enrich = reject;
    life.alertmanager(T + MINUTE, &[&firing("", T, Some(T + 5 * MINUTE))]);
    // Another one that nothing was heard of before.
    life.alertmanager(T + MINUTE, &[&firing(r#","instance":"b""#, T, Some(T + 5 * MINUTE))]);
    assert_eq!(became(&life), [1, 1, 0, 1]);
    life.clock(T + 4 * MINUTE);
    assert_eq!((life.statuses(), life.alert(0).end_time), (vec!["RECOVERED"], Some(T + 4 * MINUTE)), "nobody held it open");
    life.rules = Rules::default();
    life.alertmanager(T + 4 * MINUTE, &[&firing(r#","instance":"b""#, T, Some(T + 9 * MINUTE))]);
    assert_eq!((became(&life), life.statuses()), ([1, 1, 0, 2], vec!["RECOVERED", "ABNORMAL"]), "what was rejected counts when it is judged");
}

fn verdict(rule: &str, until: Option<u64>) -> Verdict {
    let at = |ordinal| Place { ordinal, index: 0 };
    let (rule, policy) = (Text::from(rule), Policy::PassThrough);
    let (version, hook, kind, message) = ("1".into(), Hook::Dedupe, "deadline".into(), "too long".into());
    Verdict { rule, version, hook, kind, message, policy, from: at(1), until: until.map(at) }
}

#[test]
fn verdicts_without_an_end_are_kept_until_the_next_generation() {
    let mut life = Life::new();
    let set = |generation| RecordBody::RuleSet(RuleSet { generation, ..RuleSet::default() });
    let verdicts = |generation, verdicts: &[Verdict]| RecordBody::Verdicts(Verdicts { generation, verdicts: verdicts.to_vec() });
    life.record(T, set(2));
    assert_eq!(life.tables.open_verdicts, []);
    let (open, other, closed) = (verdict("owner", None), verdict("team", None), verdict("owner", Some(1)));
    life.record(T, verdicts(2, &[closed, open.clone()]));
    // Its append was in doubt.
    life.record(T, verdicts(2, std::slice::from_ref(&open)));
    assert_eq!(life.tables.open_verdicts, std::slice::from_ref(&open));
    life.restart();
    life.record(T, verdicts(2, std::slice::from_ref(&other)));
    assert_eq!(life.tables.open_verdicts, [open.clone(), other]);
    life.record(T, set(3));
    assert_eq!(life.tables.open_verdicts, []);
    // A verdict of records that had been read before the set.
    life.record(T, verdicts(2, &[open]));
    life.restart();
    assert_eq!(life.tables.open_verdicts, []);
}
