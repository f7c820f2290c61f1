use super::*;
use crate::audit::{AUDIT_BEGIN, AuditEntry};
use crate::event::Uid;
use crate::identity::{Algorithm, UidKey};
use crate::ledger::{Outcome, StoredOnly};
use crate::letter::{Arrival, LetterFate};
use crate::payload::{NewEvent, Payload};
use crate::pipeline::fold::{Fold, FoldConfig};
use crate::pipeline::prepare::{Prepared, prepare};
use crate::ports::{Commit, Restored};
use crate::record::{DoorCounts, Items, Journaled, RawPayload, Record, RecordBody};
use crate::rule_set::{Change, ChangeAction, RuleSet};
use crate::rules::{RuleChain, RuleTally};
use crate::verdict::{Halted, Hook, Policy};
use crate::version_change::VersionChange;
use std::collections::BTreeMap;

const T: i64 = 1_790_000_000;
const CONFIG: UnderstandConfig = UnderstandConfig { uid_key: UidKey([1; 16]), algorithm: Algorithm::Keyed };

/// Makes an event of each word, without a time unless the word ends with one; nothing while it is broken. Another one rejects
/// events whose name begins with `poison`, or does not.
#[derive(Default)]
struct Words {
    is_broken: bool,
    rejects: bool,
    seen: Vec<Payload>,
}

impl RuleChain for Words {
    fn normalize(&mut self, payloads: &[Payload], _: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        self.seen.extend(payloads.iter().cloned());
        let failure = || crate::row::RuleFailure {
            rule: "words".into(),
            version: "1".into(),
            kind: "trap".into(),
            message: "broken".into(),
            hook: Hook::Normalize,
            policy: Policy::DeadLetter,
            judged_by: None,
        };
        let event = |word: &str| NewEvent {
            alert_name: word.into(),
            severity: if word.starts_with("bad") { Some(9) } else { Some(2) },
            time: word.split_once('@').and_then(|(_, time)| time.parse().ok()),
            ..NewEvent::default()
        };
        let judged = |payload: &Payload| match self.is_broken {
            true => Normalized::Failed(failure()),
            false => Normalized::Events(String::from_utf8_lossy(&payload.body).split_whitespace().map(event).collect()),
        };
        Ok(payloads.iter().map(judged).collect())
    }
    fn enrich_events(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        let poison = |row: &&mut Row| self.rejects && row.event.alert_name.as_text().is_some_and(|name| name.starts_with("poison"));
        rows.iter_mut().filter(poison).for_each(|row| row.rejected = true);
        Ok(())
    }
    fn dedupe(&mut self, _: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        Ok(())
    }
}

fn payload(body: &str, key: Option<&str>) -> RecordBody {
    RecordBody::Payload(RawPayload {
        tenant: "system".into(),
        source: "hooks".into(),
        idempotency_key: key.map(Into::into),
        counts: DoorCounts { received: 1, ..DoorCounts::default() },
        content_type: "text/plain".into(),
        headers: vec![("x-event".into(), "push".into())],
        body: body.as_bytes().into(),
    })
}

fn journaled(ordinal: u64, at_s: i64, body: RecordBody) -> Journaled {
    Journaled { record: Record { ordinal, received_at_ms: at_s * 1_000, body }, parsed: None }
}

fn again(letters: &[DeadLetter]) -> RecordBody {
    let letter = |letter: &DeadLetter| RedrivenLetter {
        ordinal: letter.ordinal,
        index: letter.index,
        received_at_ms: letter.received_at_ms,
        source: letter.source.clone(),
        arrival: letter.arrival.clone().unwrap(),
        item: letter.item.as_slice().into(),
    };
    let letters = letters.iter().map(letter).collect();
    RecordBody::Redrive(Redrive { tenant: "system".into(), operator: "wang".into(), comment: "".into(), letters })
}

/// A fold over a store of what these tests ask for.
struct World {
    fold: Fold,
    rules: Words,
    known: BTreeMap<Uid, i64>,
    letters: Vec<DeadLetter>,
    fates: Vec<Vec<LetterFate>>,
    audit: Vec<AuditEntry>,
    last: u64,
}

impl World {
    fn new() -> World {
        let fold = Fold::restore(&Restored::default(), FoldConfig::default()).unwrap();
        World { fold, rules: Words::default(), known: BTreeMap::new(), letters: Vec::new(), fates: Vec::new(), audit: Vec::new(), last: 0 }
    }

    /// One record, one commit.
    fn record(&mut self, at_s: i64, body: RecordBody) -> Commit {
        self.last += 1;
        let prepared = prepare(&mut [journaled(self.last, at_s, body)], 1, &mut self.rules, &CONFIG).unwrap();
        self.apply(prepared)
    }

    fn apply(&mut self, prepared: Prepared) -> Commit {
        let known = prepared.rows.iter().map(|row| self.known.get(&row.event.uid).copied()).collect();
        let commit = self.fold.apply(prepared, known);
        self.known.extend(commit.events.iter().map(|event| (event.uid, event.known_until_s)));
        self.letters.retain(|letter| !commit.letters_done.contains(&(letter.ordinal, letter.index)));
        self.letters.extend(commit.dead_letters.iter().cloned());
        self.fates.extend(commit.redriven.iter().map(|redriven| redriven.letters.clone()));
        self.audit.extend(commit.audit.iter().cloned());
        for source in self.fold.ledger().sources() {
            assert_eq!(self.fold.ledger().imbalance(&source), (0, 0), "{source}");
        }
        commit
    }

    fn counted(&self, counter: &str) -> u64 {
        self.fold.ledger().get("source", "hooks", counter)
    }
}

#[test]
fn a_redriven_item_keeps_its_identity() {
    for (body, key) in [("a@1790000000 b@1790000001", None), ("a b", Some("k")), ("a b", None)] {
        let mut rules = Words::default();
        let first = prepare(&mut [journaled(5, T, payload(body, key))], 1, &mut rules, &CONFIG).unwrap();
        let mut broken = Words { is_broken: true, ..Words::default() };
        let mut world = World::new();
        let dead = world.apply(prepare(&mut [journaled(5, T, payload(body, key))], 1, &mut broken, &CONFIG).unwrap()).dead_letters;
        let later = prepare(&mut [journaled(9, T + 600, again(&dead))], 1, &mut rules, &CONFIG).unwrap();
        assert_eq!((first.rows.len(), later.rows.len()), (2, 2));
        for (first, later) in first.rows.iter().zip(&later.rows) {
            assert_eq!((first.event.uid, first.event.time_s()), (later.event.uid, later.event.time_s()), "{body} {key:?}");
            assert_eq!((later.ordinal, later.index, later.received_at_ms), (9, first.index, (T + 600) * 1_000), "its alert is of now");
            assert_ne!(first.seed, later.seed);
        }
        assert_eq!(rules.seen[0], Payload { ordinal: 5, ..rules.seen[1].clone() }, "the rule sees what it saw then");
    }
    // An item of a door, as a letter of an earlier version may be one.
    let mut rules = Words::default();
    let item = r#"{"alert_name":"a","severity":2}"#;
    let first = prepare(&mut [journaled(5, T, RecordBody::Items(Items::of_texts(Door::Events, &["{}", item])))], 1, &mut rules, &CONFIG).unwrap();
    let (ordinal, index, received_at_ms, source) = (5, 1, T * 1_000, "test".into());
    let arrival = Arrival { request_index: 1, ..Arrival::by(ArrivalBy::Events) };
    let letter = DeadLetter { ordinal, index, received_at_ms, source, arrival: Some(arrival), item: item.into(), ..DeadLetter::default() };
    let later = prepare(&mut [journaled(9, T + 600, again(&[letter]))], 1, &mut rules, &CONFIG).unwrap();
    assert_eq!(first.rows.last().unwrap().event.uid, later.rows[0].event.uid);
}

#[test]
fn a_payload_whose_rule_was_mended_counts_once() {
    let mut world = World::new();
    world.rules.is_broken = true;
    world.record(T, payload("a b bad", None));
    let letters = world.letters.clone();
    let arrival = letters[0].arrival.clone().unwrap();
    assert_eq!(
        (letters.len(), arrival.by, arrival.content_type.as_str(), arrival.headers.len(), arrival.redriven),
        (1, ArrivalBy::Payload, "text/plain", 1, 0)
    );
    // Still broken: another letter in its place.
    world.record(T + 10, again(&letters));
    assert_eq!((world.letters.len(), world.letters[0].arrival.as_ref().unwrap().redriven), (1, 1));
    assert_eq!((world.letters[0].ordinal, world.letters[0].received_at_ms), (1, T * 1_000), "where it first came");
    world.rules.is_broken = false;
    let commit = world.record(T + 20, again(&world.letters.clone()));
    assert_eq!((commit.events.len(), commit.alerts.len()), (2, 2));
    assert_eq!(commit.alerts[0].seq, crate::identity::alert_seq(3, 0));
    let codes: Vec<_> = world.letters.iter().map(|letter| (letter.ordinal, letter.index, letter.code.as_str())).collect();
    assert_eq!(codes, [(1, 2, "normalize-invalid")], "its third event is one that no sender could send");
    let fate = &world.fates[1][0];
    assert_eq!((&fate.outcomes[..], &fate.dead[..]), (&[(Outcome::DeadLetter, 1), (Outcome::Folded, 2)][..], &[2][..]));
    // From an old list, and the sender's own retry.
    assert_eq!(world.record(T + 30, again(&letters)).events.len(), 0);
    assert_eq!(world.fates[2][0].outcomes, [(Outcome::DeadLetter, 1), (Outcome::Duplicate, 2)]);
    let counted = ["journaled", "redriven", "normalized_extra", "folded", "duplicates", "dead_letters"].map(|counter| world.counted(counter));
    assert_eq!(counted, [1, 3, 4, 2, 2, 4]);
    assert_eq!(world.letters.len(), 1, "the bad event died in the same place");
}

#[test]
fn what_a_rule_rejected_counts_once_it_is_mended() {
    let item = r#"{"alert_name":"poison","severity":2}"#;
    let items = || RecordBody::Items(Items::of_texts(Door::Events, &[r#"{"alert_name":"a"}"#, item]));
    for (body, key) in [(payload("a poison", None), None), (payload("a poison", Some("k")), Some("k")), (items(), None)] {
        let mut world = World::new();
        let judged = prepare(&mut [journaled(1, T, body.clone())], 1, &mut world.rules, &CONFIG).unwrap();
        world.rules.rejects = true;
        world.record(T, body);
        let letter = world.letters[0].clone();
        let arrival = letter.arrival.clone().unwrap();
        assert_eq!((letter.ordinal, letter.index, letter.code.as_str(), arrival.by), (1, 1, "rule-failed", ArrivalBy::Events));
        assert_eq!((arrival.idempotency_key.as_deref(), arrival.request_index, arrival.redriven), (key, 1, 0));
        world.record(T + 10, again(std::slice::from_ref(&letter)));
        let places: Vec<_> = world.letters.iter().map(|letter| (letter.ordinal, letter.index, letter.arrival.as_ref().unwrap().redriven)).collect();
        assert_eq!((places, &world.fates[0][0].dead[..]), (vec![(1, 1, 1)], &[1][..]), "it died in its place");
        assert_eq!(world.letters[0].item, letter.item);
        world.rules.rejects = false;
        let commit = world.record(T + 20, again(&world.letters.clone()));
        assert_eq!(commit.events.iter().map(|event| event.uid).collect::<Vec<_>>(), [judged.rows[1].event.uid], "as if it had come then");
        assert!(world.letters.is_empty() && world.fates[1][0].outcomes == [(Outcome::Folded, 1)]);
        assert_eq!(world.record(T + 30, again(&[letter])).events.len(), 0, "from an old list");
    }
}

#[test]
fn what_is_rejected_among_many_payloads_keeps_its_own_bytes() {
    let mut world = World::new();
    world.rules.is_broken = true;
    world.record(T, payload("x poison1", None));
    let items = RecordBody::Items(Items::of_texts(Door::Events, &[r#"{"alert_name":"poison2"}"#]));
    let bodies = [payload("a poison3", None), items, again(&world.letters), RecordBody::Clock, payload("poison4 b poison5", None)];
    let mut records: Vec<_> = (2..).zip(bodies).map(|(ordinal, body)| journaled(ordinal, T, body)).collect();
    let mut rules = Words { rejects: true, ..Words::default() };
    let mut letters = |records: &mut [Journaled]| {
        let prepared = prepare(records, 1, &mut rules, &CONFIG).unwrap();
        prepared.rows.into_iter().filter_map(|row| row.dead_letter).collect::<Vec<_>>()
    };
    let alone: Vec<_> = records.chunks_mut(1).flat_map(&mut letters).collect();
    let at_once = letters(&mut records);
    assert_eq!(at_once, alone);
    let names = at_once.iter().map(|letter| serde_json::from_slice::<serde_json::Value>(&letter.item).unwrap()["alert_name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["poison3", "poison2", "poison1", "poison4", "poison5"]);
}

#[test]
fn where_commits_are_cut_does_not_show() {
    let bodies = |letters: &[DeadLetter]| [payload("a bad", None), again(letters), RecordBody::Clock, payload("c bad", None), again(letters)];
    let mut one_by_one = World::new();
    one_by_one.rules.is_broken = true;
    one_by_one.record(T, payload("a bad", None));
    let letters = one_by_one.letters.clone();
    let mut one_by_one = World::new();
    let mut records = Vec::new();
    for (ordinal, body) in (1..).zip(bodies(&letters)) {
        records.push(journaled(ordinal, T, body.clone()));
        one_by_one.record(T, body);
    }
    let mut at_once = World::new();
    let prepared = prepare(&mut records, 1, &mut at_once.rules, &CONFIG).unwrap();
    at_once.apply(prepared);
    assert_eq!(at_once.letters, one_by_one.letters);
    assert_eq!((at_once.fates, at_once.known), (one_by_one.fates, one_by_one.known));
    assert_eq!(one_by_one.letters.iter().map(|letter| letter.ordinal).collect::<Vec<_>>(), [4, 1]);
}

#[test]
fn what_is_a_day_old_is_stored_only() {
    let mut world = World::new();
    world.rules.is_broken = true;
    world.record(T, payload("a", None));
    world.rules.is_broken = false;
    let commit = world.record(T + 86_401, again(&world.letters.clone()));
    assert_eq!((commit.events.len(), commit.alerts.len()), (1, 0));
    assert_eq!(world.fates[0][0].outcomes, [(Outcome::StoredOnly(StoredOnly::Expired), 1)]);
}

#[test]
fn an_item_that_lasted_until_a_time_that_has_passed_ends_no_alert() {
    let item = |ends_s: i64| {
        let time = |s: i64| format!("2026-09-21T14:{:02}:{:02}Z", s / 60, s % 60);
        format!(r#"{{"labels":{{"alertname":"a","severity":"warning"}},"annotations":{{}},"startsAt":"{}","endsAt":"{}"}}"#, time(0), time(ends_s))
    };
    let start_s = 1_789_999_200;
    let letter = |ordinal: u64, ends_s: i64| DeadLetter {
        ordinal,
        received_at_ms: start_s * 1_000,
        source: "test".into(),
        arrival: Some(Arrival::by(ArrivalBy::Alertmanager)),
        item: item(ends_s).into(),
        ..DeadLetter::default()
    };
    let mut world = World::new();
    let opened = world.record(start_s + 600, RecordBody::Items(Items::of_texts(Door::Alertmanager, &[&item(1_200)])));
    assert_eq!(opened.alerts.len(), 1);
    // It died at the begin; the sender has said more since.
    world.record(start_s + 660, again(&[letter(1, 240)]));
    assert_eq!(world.fates[0][0].outcomes, [(Outcome::Duplicate, 1)]);
    assert!(world.record(start_s + 900, RecordBody::Clock).alerts.is_empty(), "it lasts as its sender said last");
    // Alone it opens an alert, which ends when it said.
    let mut world = World::new();
    world.record(start_s + 660, again(&[letter(1, 240)]));
    assert_eq!(world.fates[0][0].outcomes, [(Outcome::Folded, 1)]);
    let ended = world.record(start_s + 661, RecordBody::Clock);
    assert_eq!(ended.alerts.iter().map(|alert| alert.end_time).collect::<Vec<_>>(), [Some(start_s + 240)]);
}

#[test]
fn every_change_of_rules_of_one_commit_is_in_the_audit() {
    let set = |generation, action| {
        RecordBody::RuleSet(RuleSet {
            generation,
            change: Change { action, object: "owner".into(), operator: "wang".into(), ..Change::default() },
            ..RuleSet::default()
        })
    };
    let upload = RecordBody::RuleVersion(VersionChange { name: "owner".into(), digest: "d".into(), operator: "li".into(), ..VersionChange::default() });
    let records = [upload, set(1, ChangeAction::Activate), set(2, ChangeAction::Rollback)];
    let mut world = World::new();
    let mut prepared = Prepared::default();
    for (ordinal, body) in (1..).zip(records) {
        prepared.append(prepare(&mut [journaled(ordinal, T + ordinal as i64, body)], 1, &mut Words::default(), &CONFIG).unwrap());
    }
    let commit = world.apply(prepared);
    assert_eq!((commit.rule_sets.len(), commit.rule_versions.len(), commit.rule_versions[0].ordinal), (2, 1, 1));
    let seen: Vec<_> =
        world.audit.iter().map(|entry| (entry.ordinal, entry.at_ms / 1_000 - T, entry.action.as_str(), entry.operator.as_str(), entry.generation)).collect();
    assert_eq!(seen, [(1, 1, "upload", "li", 0), (2, 2, "activate", "wang", 1), (3, 3, "rollback", "wang", 2)]);
    assert_eq!((world.audit[0].to.as_str(), world.audit[0].from.as_str()), ("d", ""));
    assert_ne!(world.audit[0].hash(&AUDIT_BEGIN), world.audit[1].hash(&AUDIT_BEGIN));
}
