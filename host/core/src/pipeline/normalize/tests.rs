use super::*;
use crate::identity::{Algorithm, EVENTS_PER_RECORD_MAX, UidKey};
use crate::ledger::Ledger;
use crate::pipeline::fold::{Fold, FoldConfig};
use crate::pipeline::prepare::{Prepared, prepare};
use crate::ports::Restored;
use crate::record::{Door, DoorCounts, Items, RawPayload, Record};
use std::sync::Arc;

const T: i64 = 1_790_000_000;
const CONFIG: UnderstandConfig = UnderstandConfig { uid_key: UidKey([1; 16]), algorithm: Algorithm::Keyed };

/// Makes an event of each word of a body: `bad` is one that no sender could send, `fail` fails for the whole payload, a number
/// makes so many. It is for the source `hooks` alone.
#[derive(Default)]
struct Words {
    calls: Vec<(usize, usize)>,
    is_silent: bool,
}

impl RuleChain for Words {
    fn normalize(&mut self, payloads: &[Payload], tally: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
        self.calls.push((payloads.len(), payloads.iter().map(|payload| payload.body.len()).sum()));
        tally.push(RuleTally { rule: "words".into(), rows: payloads.len() as u64, calls: 1, ..RuleTally::default() });
        let judged = payloads.iter().map(words);
        Ok(if self.is_silent { judged.take(1).collect() } else { judged.collect() })
    }
    fn enrich_events(&mut self, _: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        Ok(())
    }
    fn dedupe(&mut self, _: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
        Ok(())
    }
}

fn words(payload: &Payload) -> Normalized {
    if payload.source != "hooks" {
        return Normalized::Unclaimed;
    }
    let body = std::str::from_utf8(&payload.body).unwrap();
    if body.contains("fail") {
        return Normalized::Failed(RuleFailure {
            rule: "words".into(),
            version: "1.0.0".into(),
            kind: "row-error".into(),
            message: "said so".into(),
            hook: Hook::Normalize,
            policy: Policy::PassThrough,
            judged_by: None,
        });
    }
    let named = |name: &str| NewEvent { alert_name: name.into(), ..NewEvent::default() };
    let of_word = |word: &str| match (word.parse::<usize>(), word.split_once('@')) {
        (Ok(n), _) => (0..n).map(|i| named(&format!("e{i}"))).collect(),
        (_, Some((name, time))) => vec![NewEvent { time: time.parse().ok(), ..named(name) }],
        _ if word == "bad" => vec![NewEvent { severity: Some(9), ..named(word) }],
        _ => vec![named(word)],
    };
    Normalized::Events(body.split_whitespace().flat_map(of_word).collect())
}

fn raw(source: &str, body: &str, key: Option<&str>) -> RawPayload {
    RawPayload {
        tenant: "system".into(),
        source: source.into(),
        idempotency_key: key.map(Into::into),
        counts: DoorCounts { received: 1, ..DoorCounts::default() },
        content_type: "text/plain".into(),
        headers: Vec::new(),
        body: body.as_bytes().into(),
    }
}

fn journaled(ordinal: u64, body: RecordBody) -> Journaled {
    Journaled { record: Record { ordinal, received_at_ms: T * 1_000, body }, parsed: None }
}

fn prepared(ordinal: u64, payload: RawPayload) -> Prepared {
    prepare(&mut [journaled(ordinal, RecordBody::Payload(payload))], 1, &mut Words::default(), &CONFIG).unwrap()
}

fn letters(prepared: &Prepared) -> Vec<(u32, String, String)> {
    let of_record = |record: &crate::pipeline::prepare::PreparedRecord| match &record.body {
        crate::pipeline::prepare::PreparedBody::Items { dead_letters, .. } => {
            dead_letters.iter().map(|letter| (letter.index, letter.code.to_string(), String::from_utf8_lossy(&letter.item).into_owned())).collect()
        }
        _ => Vec::new(),
    };
    prepared.records.iter().flat_map(of_record).collect()
}

/// Folds a batch from the begin and gives the ledger.
fn ledger(prepared: Prepared) -> Ledger {
    let mut fold = Fold::restore(&Restored::default(), FoldConfig::default()).unwrap();
    let unknown = vec![None; prepared.rows.len()];
    let commit = fold.apply(prepared, unknown);
    let rows: Vec<_> = commit.ledger.iter().map(|value| (value.scope.into(), value.name.clone(), value.counter.clone(), value.value)).collect();
    Ledger::restore(&rows)
}

#[test]
fn a_payload_gives_none_one_many_and_too_many() {
    let most = EVENTS_PER_RECORD_MAX as usize;
    for (body, rows, dead, extra, none) in [("", 0, 0, 0, 1), ("a", 1, 0, 0, 0), ("a b c", 3, 0, 2, 0), (&*format!("{}", most + 7), most, 7, most + 6, 0)] {
        let prepared = prepared(1, raw("hooks", body, None));
        assert_eq!(prepared.rows.len(), rows);
        assert!(prepared.rows.iter().zip(0..).all(|(row, i)| (row.index, row.source.as_str()) == (i, "hooks")), "in the rule's order");
        let letters = letters(&prepared);
        assert_eq!(letters.len(), dead);
        assert!(letters.iter().all(|(_, code, _)| code == "too-many-events"));
        assert!(letters.iter().zip(most..).all(|((index, ..), place)| *index as usize == place), "dead letters have their own places");
        let ledger = ledger(prepared);
        let of = |counter| ledger.get("source", "hooks", counter) as usize;
        assert_eq!((of("received"), of("journaled"), of("dead_letters"), of("folded")), (1, 1, dead, rows), "{body}");
        assert_eq!((of("normalized_extra"), of("no_events"), ledger.imbalance("hooks")), (extra, none, (0, 0)), "{body}");
        assert_eq!(ledger.get("rule", "words", "rows"), 1);
    }
}

#[test]
fn what_no_rule_could_judge_is_a_dead_letter_with_its_own_bytes() {
    for (source, body, code) in [("others", "a b", "no-normalize-rule"), ("hooks", "a fail b", "normalize-failed")] {
        let prepared = prepared(1, raw(source, body, None));
        assert_eq!((prepared.rows.len(), letters(&prepared)), (0, vec![(0, code.to_owned(), body.to_owned())]));
        let ledger = ledger(prepared);
        assert_eq!((ledger.get("source", source, "dead_letters"), ledger.imbalance(source)), (1, (0, 0)));
    }
}

#[test]
fn one_bad_event_costs_its_neighbours_nothing() {
    let prepared = prepared(1, raw("hooks", "a bad c", None));
    let names: Vec<_> = prepared.rows.iter().map(|row| (row.index, row.event.alert_name.as_text().unwrap_or_default().to_owned())).collect();
    assert_eq!(names, [(0, "a".to_owned()), (2, "c".to_owned())]);
    let event = r#"{"alert_name":"bad","severity":9}"#;
    assert_eq!(letters(&prepared), [(1, "normalize-invalid".to_owned(), event.to_owned())], "the event alone, as a sender would post it");
    assert_eq!(ledger(prepared).imbalance("hooks"), (0, 0));
}

#[test]
fn a_retry_of_a_payload_is_the_same_events_by_time_or_key() {
    let uids = |ordinal, body, key| prepared(ordinal, raw("hooks", body, key)).rows.iter().map(|row| row.event.uid).collect::<Vec<_>>();
    let timed = format!("a@{} b@{}", T - 5, T - 4);
    assert_eq!(uids(1, &timed, None), uids(2, &timed, None), "by the time that the rule gave");
    assert_eq!(uids(1, "a a", Some("k")), uids(2, "a a", Some("k")), "by the key");
    assert_ne!(uids(1, "a a", Some("k"))[0], uids(1, "a a", Some("k"))[1], "which goes with the place in the payload");
    assert_ne!(uids(1, "a", Some("k")), uids(1, "a", Some("l")));
    assert_ne!(uids(1, "a", None), uids(2, "a", None), "without either each post is new");
    assert_ne!(uids(1, "a a", None)[0], uids(1, "a a", None)[1]);
}

#[test]
fn events_of_payloads_default_as_those_of_senders() {
    let sent = Items { source: "hooks".into(), ..Items::of_texts(Door::Events, &[r#"{"alert_name":"a","time":1789999999}"#]) };
    let sent = prepare(&mut [journaled(1, RecordBody::Items(sent))], 1, &mut Words::default(), &CONFIG).unwrap();
    let made = prepared(1, raw("hooks", &format!("a@{}", T - 1), None));
    let of = |prepared: &Prepared| {
        let mut event = prepared.rows[0].event.clone();
        // The digests are of other bytes: a rule's object has its members in its own order.
        let id = std::mem::take(&mut event.event_id);
        event.uid = Default::default();
        (event, id.as_text().map(str::len))
    };
    assert_eq!(of(&made), of(&sent));
    assert_eq!(made.rows[0].event.plugin_id.as_text(), Some("hooks"));
}

/// Payloads and items in turns, some of them failing, one larger than a call.
fn mixed() -> Vec<Journaled> {
    let large = "x ".repeat(300_000);
    let body = |n: u64| match n % 7 {
        0 => RecordBody::Items(Items::of_texts(Door::Events, &[r#"{"alert_name":"i"}"#, r#"{"alert_name":"#])),
        1 => RecordBody::Payload(raw("others", "a", None)),
        2 => RecordBody::Payload(raw("hooks", "fail", None)),
        3 => RecordBody::Clock,
        4 if n == 11 => RecordBody::Payload(raw("hooks", &large, None)),
        _ => RecordBody::Payload(raw("hooks", &format!("a{n} bad b{n}"), Some("k"))),
    };
    (1..=80).map(|n| journaled(n, body(n))).collect()
}

/// All batches that the records become.
fn all(records: &mut [Journaled], chain: &mut Words) -> Vec<Prepared> {
    let (mut all, mut left) = (Vec::new(), records);
    while !left.is_empty() {
        let prepared = prepare(left, 1, chain, &CONFIG).unwrap();
        assert!(!prepared.records.is_empty(), "each call takes some");
        left = &mut left[prepared.records.len()..];
        all.push(prepared);
    }
    all
}

/// Bodies that are small beside what becomes of them: what is in memory at once is bounded by what was made, not by the bodies.
#[test]
fn what_rules_make_of_payloads_is_bounded_in_each_batch() {
    const PAYLOADS: u64 = 64;
    const EVENTS: usize = 200;
    // Calls of four payloads each.
    let body = format!("{EVENTS}{}", " ".repeat(PAYLOAD_BYTES_MAX / 4 - 3));
    let mut records: Vec<Journaled> = (1..=PAYLOADS).map(|n| journaled(n, RecordBody::Payload(raw("hooks", &body, None)))).collect();
    let one = all(&mut records[..1], &mut Words::default());
    let of_payload = one[0].rows.iter().map(|_| NewEvent { alert_name: "e0".into(), ..NewEvent::default() }.size_bytes() + size_of::<Row>()).sum::<usize>();
    let mut chain = Words::default();
    let batches = all(&mut records, &mut chain);
    assert!(chain.calls.iter().all(|call| *call == (4, PAYLOAD_BYTES_MAX)), "{:?}", chain.calls);
    let made: Vec<usize> = batches.iter().map(|batch| batch.records.len() * of_payload).collect();
    println!("{PAYLOADS} payloads of {} bytes in batches of {made:?} bytes", body.len());
    assert!(batches.len() > 1 && made.iter().all(|made| *made < MADE_BYTES_MAX + 4 * of_payload), "{made:?}");
    assert!(made[..made.len() - 1].iter().all(|made| *made >= MADE_BYTES_MAX), "and no batch is smaller than it need be: {made:?}");
    let ordinals: Vec<u64> = batches.iter().flat_map(|batch| &batch.records).map(|record| record.ordinal).collect();
    assert_eq!(ordinals, (1..=PAYLOADS).collect::<Vec<_>>());
    assert!(batches.iter().flat_map(|batch| &batch.records).all(|record| record.body.rows() == EVENTS));
}

#[test]
fn where_batches_are_cut_shows_nowhere() {
    let seen = |cut: usize| {
        let (mut rows, mut dead, mut chain) = (Vec::new(), Vec::new(), Words::default());
        for records in mixed().chunks_mut(cut) {
            for prepared in all(records, &mut chain) {
                dead.extend(letters(&prepared));
                rows.extend(prepared.rows.iter().map(|row| (row.ordinal, row.index, row.event.uid, row.event.clone())));
            }
        }
        (rows, dead, chain.calls)
    };
    let (rows, dead, _) = seen(1);
    for cut in [2, 3, 5, 31, 80] {
        let (rows_then, dead_then, calls) = seen(cut);
        assert!(rows_then == rows && dead_then == dead, "cut into {cut}");
        assert!(calls.iter().all(|(n, bytes)| *n <= PAYLOADS_MAX && (*bytes <= PAYLOAD_BYTES_MAX || *n == 1)), "{calls:?}");
    }
    assert!(seen(80).2.len() < 6, "payloads go in batches: {:?}", seen(80).2);
}

#[test]
fn an_answer_that_is_missing_shifts_no_other() {
    let mut records = [("a", 1), ("b", 2), ("c", 3)].map(|(body, n)| journaled(n, RecordBody::Payload(raw("hooks", body, None))));
    let prepared = prepare(&mut records, 1, &mut Words { is_silent: true, ..Words::default() }, &CONFIG).unwrap();
    assert_eq!(prepared.rows.len(), 1);
    let codes: Vec<_> = letters(&prepared).into_iter().map(|(_, code, item)| (code, item)).collect();
    assert_eq!(codes, [("normalize-failed".to_owned(), "b".to_owned()), ("normalize-failed".to_owned(), "c".to_owned())]);
}

#[test]
fn bodies_are_shared_not_copied() {
    let raw = raw("hooks", "a", None);
    let body: Arc<[u8]> = raw.body.clone();
    let seen = payloads(&journaled(1, RecordBody::Payload(raw))).remove(0);
    assert!(Arc::ptr_eq(&seen.body, &body));
}
