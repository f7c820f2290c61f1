//! Modules that mean harm, each by its number in the list of what a host of foreign code has to stand. What they ask for they do
//! not get, and the rule beside them does not notice. What is about the host's memory is in `host_memory.rs`, what is never
//! loaded in `refusals.rs`, and faults that need no intent in `misbehaving.rs`.

mod support;

use alertmill_core::event::Event;
use alertmill_core::fields::write_tag;
use alertmill_core::identity::fingerprint_of_rule;
use alertmill_core::row::{DedupeAnswer, Row};
use alertmill_core::rules::{RuleChain, RuleSets};
use alertmill_core::value::Value;
use alertmill_engine::{Difference, Table};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::bytes::maimed;
use support::process::cpu_time;
use support::{Bench, Random, dedupe, enrich, kinds, module, options, rows_with, tag, tagged};
use wasmparser::{Operator, Parser, Payload};

/// The neighbour's answer is on every row.
#[track_caller]
fn neighbour_judged(rows: &[Row]) {
    assert!(rows.iter().all(|row| tag(row, "version").as_deref() == Some("a")), "the neighbour's answer");
}

/// The deadline is looked at between instructions: one that moves 60 MiB must not carry the call far beyond it.
#[test]
fn m03_a_loop_of_bulk_instructions_ends_at_its_limit() {
    const LIMIT_MS: u64 = 250;
    const BEYOND: Duration = Duration::from_millis(20);
    assert!(has_instruction("fills", |operator| matches!(operator, Operator::MemoryFill { .. })), "it is about memory.fill");
    assert!(has_instruction("fills", |operator| matches!(operator, Operator::MemoryCopy { .. })), "it is about memory.copy");
    for how in ["fill", "copy"] {
        let mut tries: Vec<(Duration, Duration)> = Vec::new();
        let limit = Duration::from_millis(LIMIT_MS);
        // A busy machine may take the processor away at the wrong moment; what the rule takes shows in the best of some tries.
        while tries.len() < 4 || tries.len() < 40 && tries.iter().all(|(call, _)| *call > limit + BEYOND) {
            let fills = options(json!({ "limits": { "memory_bytes": 128 << 20, "time_ms": LIMIT_MS } }));
            let mut bench = Bench::new();
            let mut chain = bench.chain(&[("fills", fills), ("says", options(json!({})))], &[]);
            enrich(&mut *chain, &mut rows_with(1, |_| false, "", ""));
            let mut rows = vec![tagged(0, "poison", how)];
            let (started, cpu) = (Instant::now(), cpu_time());
            let tally = enrich(&mut *chain, &mut rows);
            let (wall, cpu) = (started.elapsed(), cpu_time() - cpu);
            let calls = tally[0].calls;
            assert_eq!(kinds(&rows[0]), ["deadline"]);
            assert!(calls <= 2, "asked once more if the machine had no time for it: {calls}");
            assert!(wall >= Duration::from_millis(LIMIT_MS), "{how}: {wall:?}");
            neighbour_judged(&rows);
            tries.push((Duration::from_nanos(tally[0].nanos / calls), cpu / calls as u32));
        }
        println!("memory.{how}: {tries:?}");
        assert!(tries.iter().all(|(_, cpu)| *cpu <= limit + 2 * BEYOND), "{how}: {tries:?}");
        assert!(tries.iter().any(|(call, _)| *call <= limit + BEYOND), "{how}: {tries:?}");
    }
}

fn has_instruction(name: &str, wanted: impl Fn(&Operator) -> bool) -> bool {
    Parser::new(0).parse_all(&module(name)).any(|payload| match payload.expect("a good module") {
        Payload::CodeSectionEntry(body) => {
            let operators = body.get_operators_reader().expect("a good function");
            operators.into_iter().any(|operator| wanted(&operator.expect("a good instruction")))
        }
        _ => false,
    })
}

/// The answer of `exceeds` for 16 rows of which the sixth does what `what` names.
fn exceeding(what: &str, limits: serde_json::Value) -> Vec<Row> {
    let hosts = format!("host,owner\nbig,{}\n", "x".repeat(100));
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("exceeds", options(json!({ "limits": limits }))), ("says", options(json!({})))], &[("hosts", &hosts)]);
    let mut rows = rows_with(16, |i| i == 5, "exceeds", what);
    enrich(&mut *chain, &mut rows);
    neighbour_judged(&rows);
    rows
}

#[track_caller]
fn only_row_5(rows: &[Row], kind: &str, says: &str) {
    for row in rows {
        assert_eq!(kinds(row), if row.index == 5 { vec![kind] } else { vec![] }, "row {}: {:?}", row.index, row.failures);
        assert_eq!(tag(row, "note").is_some(), row.index != 5);
    }
    let message = &rows[5].failures[0].message;
    assert!(message.contains(says), "{message}");
}

/// The process that this test runs in is the host: it goes on.
#[test]
fn m07_a_rule_without_a_floor_falls_alone() {
    only_row_5(&exceeding("stack", json!({})), "stack", "stack");
}

#[test]
fn m35_a_flood_of_look_ups_ends_at_the_budget() {
    only_row_5(&exceeding("lookups", json!({ "time_ms": 20_000 })), "lookup-budget", "more than 10000 keys");
    only_row_5(&exceeding("key", json!({})), "lookup-budget", "a key of 2000 bytes");
    // One of 10 MiB is more than a rule may hand over at all.
    only_row_5(&exceeding("long-key", json!({ "time_ms": 20_000 })), "output", "copied between the host and the guest");
}

#[test]
fn m45_tables_that_are_never_closed_are_counted() {
    only_row_5(&exceeding("handles", json!({})), "handles", "more than 256 tables");
}

/// What `lies` answers for 64 rows of which the eighteenth lies, and how often it was called.
fn lied(lie: &str) -> (Vec<Row>, u64) {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("lies", options(json!({}))), ("says", options(json!({})))], &[]);
    let mut rows = rows_with(64, |i| i == 17, "lie", lie);
    let tally = enrich(&mut *chain, &mut rows);
    neighbour_judged(&rows);
    (rows, tally[0].calls)
}

/// The row that lies has this failure and nothing of the answer; all others have what they were answered.
#[track_caller]
fn only_the_liar_fails(lie: &str, kind: &str, wanted_calls: u64) {
    let (rows, calls) = lied(lie);
    for row in &rows {
        let wanted = if row.index == 17 { (vec![kind], None, "CPU") } else { (vec![], Some("seen"), "named") };
        let found = (kinds(row), tag(row, "note"), row.event.alert_name.as_text().unwrap_or(""));
        assert_eq!((found.0.iter().map(String::as_str).collect(), found.1.as_deref(), found.2), wanted, "{lie}, row {}: {:?}", row.index, row.failures);
        assert!(row.dropped.is_none() && tag(row, "undeclared").is_none(), "{lie}");
    }
    let before = rows_with(64, |i| i == 17, "lie", lie).swap_remove(17);
    assert_eq!(rows[17].event.severity, before.event.severity, "{lie}");
    assert_eq!(calls, wanted_calls, "{lie}");
}

/// 64 rows, two halves at each of six levels, and the row once more on a fresh instance.
const CALLS_TO_FIND_IT: u64 = 14;

#[test]
fn m12_text_that_is_none_fails_its_row_and_no_other() {
    for lie in ["utf8", "surrogate"] {
        only_the_liar_fails(lie, "output", CALLS_TO_FIND_IT);
    }
}

#[test]
fn m14_a_row_that_is_not_there_makes_the_whole_answer_none() {
    only_the_liar_fails("row", "row-index", CALLS_TO_FIND_IT);
}

#[test]
fn m18_an_alert_keeps_its_name() {
    only_the_liar_fails("unnamed", "patch-invalid", 1);
}

#[test]
fn m19_a_severity_that_there_is_not_is_refused() {
    for lie in ["severity", "below", "least"] {
        only_the_liar_fails(lie, "patch-invalid", 1);
    }
}

#[test]
fn m22_what_the_manifest_does_not_name_is_not_written() {
    for lie in ["field", "drop"] {
        only_the_liar_fails(lie, "undeclared-write", CALLS_TO_FIND_IT);
    }
}

/// However often it traps: those rows fail, and no others. A rule that fails nearly always may be put out on the way.
#[test]
fn m16_every_nth_row_traps_and_fails_alone() {
    const ROWS: u32 = 7_000;
    for n in [1, 2, 7, 1_000] {
        let mut bench = Bench::new();
        // Time for all of them, on a busy machine too: what is not judged for want of it is said by other tests.
        let traps = options(json!({ "limits": { "time_ms": 20_000 } }));
        let mut chain = bench.chain(&[("traps", traps), ("says", options(json!({})))], &[]);
        let mut rows = rows_with(ROWS, |i| i % n == 0, "poison", "x");
        let tally = enrich(&mut *chain, &mut rows);
        neighbour_judged(&rows);
        let trapped = rows.iter().filter(|row| kinds(row) == ["trap"]).count();
        println!("every {n}: {trapped} trapped, {} failed, {} judged, {} calls", tally[0].failed, tally[0].changed, tally[0].calls);
        assert_eq!(tally[0].failed + tally[0].changed, u64::from(ROWS));
        if n > 1 {
            assert_eq!((tally[0].failed, trapped), (u64::from(ROWS.div_ceil(n)), ROWS.div_ceil(n) as usize), "every {n}");
        }
        for row in &rows {
            assert_eq!(tag(row, "note").is_none(), row.index % n == 0, "every {n}, row {}", row.index);
            assert!(row.index % n != 0 || matches!(kinds(row).as_slice(), [kind] if kind == "trap" || kind == "struck-out"), "{:?}", row.failures);
        }
    }
}

#[test]
fn m20_an_event_that_a_rule_would_make_large_stays_as_it_was() {
    for (what, says) in [("value", "262144"), ("tags", "256"), ("name", "262144"), ("all", "262144")] {
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("bloats", options(json!({ "limits": { "time_ms": 20_000 } }))), ("says", options(json!({})))], &[]);
        let mut rows = rows_with(8, |i| i == 5, "bloats", what);
        let before = rows[5].clone();
        let tally = enrich(&mut *chain, &mut rows);
        neighbour_judged(&rows);
        assert_eq!((tally[0].failed, tally[0].changed, tally[0].calls), (1, 7, 1), "{what}: {:?}", rows[5].failures);
        assert_eq!(kinds(&rows[5]), ["patch-invalid"], "{what}");
        assert!(rows[5].failures[0].message.contains(says), "{what}: {}", rows[5].failures[0].message);
        let added = rows[5].size_bytes() - before.size_bytes();
        assert!(added < 1_024, "{what}: {added} bytes more");
    }
}

/// The stored reason is one line that does nothing to a terminal.
#[test]
fn m25_a_drop_has_a_reason_of_bounded_length() {
    let (most, long, huge) = ("x".repeat(512), "x".repeat(513), "x".repeat(1 << 20));
    for (reason, taken) in [
        ("maintenance\u{1b}[2J", Some("maintenance\\u{1b}[2J")),
        ("a\0b\u{202e}c\nd", Some("a\\u{0}b\\u{202e}c\\nd")),
        (most.as_str(), Some(most.as_str())),
        ("", None),
        (long.as_str(), None),
        (huge.as_str(), None),
    ] {
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("drops", options(json!({}))), ("says", options(json!({})))], &[]);
        let mut rows = vec![tagged(0, "drop", reason), tagged(1, "quiet", "yes")];
        let tally = enrich(&mut *chain, &mut rows);
        assert_eq!(rows[0].dropped.as_ref().map(|dropped| dropped.reason.as_str()), taken, "{reason:.20}");
        assert_eq!(kinds(&rows[0]), if taken.is_some() { vec![] } else { vec!["patch-invalid"] });
        assert_eq!((tally[0].dropped, tally[0].changed), (u64::from(taken.is_some()), 0), "a drop is no change");
        assert!(rows[1].dropped.is_none());
        // A dropped event is out: later rules are not asked.
        assert_eq!(tally[1].rows, if taken.is_some() { 1 } else { 2 });
    }
}

#[track_caller]
fn alarms_of(bench: &Bench, rule: &str) -> Vec<&'static str> {
    bench.engine.stats().into_iter().find(|stats| stats.rule == rule).expect("a rule of the chain").alarms
}

#[test]
fn m24_who_drops_everything_is_seen_at_once() {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("drops", options(json!({})))], &[]);
    let mut rows = rows_with(400, |_| true, "drop", "maintenance");
    let tally = enrich(&mut *chain, &mut rows);
    assert_eq!(tally[0].dropped, 400, "the ledger's share of the rule");
    assert!(rows.iter().all(|row| row.dropped.as_ref().is_some_and(|dropped| dropped.rule == "drops" && dropped.reason == "maintenance")));
    assert_eq!(alarms_of(&bench, "drops"), ["drop-ratio"]);
}

/// What was good before does not hide what is not good now.
#[test]
fn m44_a_rule_that_turns_is_seen() {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("drops", options(json!({})))], &[]);
    enrich(&mut *chain, &mut rows_with(2_000, |_| false, "", ""));
    assert_eq!(alarms_of(&bench, "drops"), [""; 0]);
    enrich(&mut *chain, &mut rows_with(2_500, |_| true, "drop", "all"));
    assert_eq!(alarms_of(&bench, "drops"), ["drop-ratio"]);
}

#[test]
fn m30_who_makes_one_alert_of_everything_is_seen() {
    let keyed = |shard: fn(u32) -> String| {
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("by-hand", options(json!({})))], &[]);
        let mut rows: Vec<Row> = (0..2_000).map(|i| tagged(i, "shard", &shard(i))).collect();
        let tally = dedupe(&mut *chain, &mut rows);
        assert!(rows.iter().all(|row| matches!(row.dedupe, DedupeAnswer::Key(_))) && tally[0].failed == 0);
        alarms_of(&bench, "by-hand")
    };
    assert_eq!(keyed(|_| "one".to_owned()), ["merge-ratio"]);
    assert_eq!(keyed(|i| (i % 40).to_string()), [""; 0]);
}

fn probe(name: &str) -> Option<Difference> {
    let hosts = Table::parse(b"host,owner,team,service,tier\nweb-1,alice,web,shop,1\n", None).unwrap();
    let tables = [("hosts".into(), Arc::new(hosts))];
    Bench::new().engine.probe(&module(name), &options(json!({})), &tables).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn m26_answers_that_rest_on_addresses_are_found() {
    let found = probe("addresses").expect("a difference");
    println!("{found}");
    assert_eq!((found.hook, found.what.as_str()), ("enrich-event", "tags.note"), "{found}");
    // Of a NaN the host lets a rule see one form.
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("addresses", options(json!({})))], &[]);
    let mut rows = rows_with(3, |_| false, "", "");
    enrich(&mut *chain, &mut rows);
    assert!(rows.iter().all(|row| tag(row, "nan").as_deref() == Some("7ff8000000000000")), "{:?}", tag(&rows[0], "nan"));
}

#[test]
fn m27_what_a_rule_remembers_is_found() {
    let found = probe("remembers").expect("a difference");
    println!("{found}");
    assert_eq!((found.hook, found.what.as_str(), found.how), ("enrich-event", "tags.note", "in another order"), "{found}");
}

/// Of all the others, also of those that fail, none answers otherwise when it is asked otherwise.
#[test]
fn rules_that_keep_the_contract_pass_the_probe() {
    let shipped = ["owner-from-table", "severity-by-labels", "dedupe-by-tags"];
    for name in shipped.into_iter().chain(["says", "traps", "errors", "drops", "all-hooks", "alerts", "normalizes", "by-hand"]) {
        assert_eq!(probe(name).map(|found| found.to_string()), None, "{name}");
    }
}

/// A line costs 64 bytes at the least, so that the share of a second is as many lines as it has 64ths.
#[test]
fn m34_a_flood_of_lines_is_cut_to_its_share_and_counted() {
    const LINES: u64 = 100_000;
    let limits = json!({ "limits": { "time_ms": 20_000, "log_bytes_per_second": 65_536 } });
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("floods", options(limits)), ("says", options(json!({})))], &[]);
    let mut rows = vec![tagged(0, "flood", "lines")];
    let started = Instant::now();
    enrich(&mut *chain, &mut rows);
    let seconds = started.elapsed().as_secs() + 1;
    neighbour_judged(&rows);
    assert!(rows[0].failures.is_empty() && tag(&rows[0], "note").is_some(), "{:?}", rows[0].failures);
    let stats = bench.engine.stats().into_iter().find(|stats| stats.rule == "floods").unwrap();
    let written = LINES - stats.log_lines_dropped;
    println!("{written} of {LINES} lines written");
    assert!((1..=1_024 * (seconds + 1)).contains(&written), "{written} lines in {seconds} s");
}

#[test]
fn m10_a_list_that_is_not_there_is_not_looked_for() {
    for lie in ["length", "outside"] {
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("lies", options(json!({}))), ("says", options(json!({})))], &[]);
        let mut rows = rows_with(64, |i| i == 17, "lie", lie);
        enrich(&mut *chain, &mut rows);
        for row in &rows {
            assert_eq!(kinds(row), if row.index == 17 { vec!["lift"] } else { vec![] }, "{lie}, row {}: {:?}", row.index, row.failures);
        }
        neighbour_judged(&rows);
    }
}

/// Keys of tags as somebody writes them who wants them taken for something else.
fn key(random: &mut Random) -> String {
    const ODD: [&str; 20] = [
        "a.b",
        "_id",
        "__proto__",
        "bk_tenant_id",
        "dedupe_md5",
        "_index",
        "_source",
        "_",
        "",
        "\0",
        "a\0b",
        "\u{202e}gpj",
        "\u{200b}",
        "\u{feff}key",
        "\"",
        "\\",
        "\u{7f}",
        "\u{85}",
        "\u{fffd}",
        "key",
    ];
    const LETTERS: [char; 16] = ['a', 'Z', '0', '.', '_', ':', '/', '-', ' ', '"', '\\', '\n', '\0', 'é', '磁', '𝄞'];
    match random.below(8) {
        0 => ODD[random.below(ODD.len())].to_owned(),
        1 => LETTERS[random.below(LETTERS.len())].to_string().repeat(100 + random.below(80)),
        2 => format!("{}{}", ODD[random.below(ODD.len())], ODD[random.below(ODD.len())]),
        3 => (0..random.below(12)).map(|_| char::from_u32(random.below(0x11_0000) as u32).unwrap_or('?')).collect(),
        _ => (0..random.below(40)).map(|_| LETTERS[random.below(LETTERS.len())]).collect(),
    }
}

/// The rule for keys, said once more in other words than the host's.
fn may_be_a_key(key: &str) -> bool {
    let control = |c: char| matches!(c as u32, 0..=0x1f | 0x7f..=0x9f);
    (1..=128).contains(&key.len()) && !key.chars().any(control) && !["bk_tenant_id", "_id", "_index", "_source", "dedupe_md5"].contains(&key)
}

#[test]
fn m21_no_key_of_a_tag_is_taken_for_something_else() {
    const KEYS: usize = 100_000;
    let mut random = Random(21);
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("writes-tags", options(json!({})))], &[]);
    let (mut written, mut refused) = (0, 0);
    while written + refused < KEYS {
        let mut rows: Vec<Row> = (0..256).map(|i| tagged(i, "key", &key(&mut random))).collect();
        let before = rows.clone();
        // So that it does not fail on most of its rows: it would be put out for that.
        enrich(&mut *chain, &mut rows_with(256, |_| false, "", ""));
        enrich(&mut *chain, &mut rows);
        for (row, mut before) in rows.iter().zip(before) {
            let key = tag(&before, "key").unwrap();
            let taken = may_be_a_key(&key);
            assert_eq!(write_tag(&mut before.clone(), &key, "by rule").is_ok(), taken, "{key:?}");
            if !taken {
                refused += 1;
                assert_eq!(kinds(row), ["patch-invalid"], "{key:?}");
                assert_eq!(row.event, before.event, "{key:?}: nothing of it is there");
                continue;
            }
            written += 1;
            assert!(row.failures.is_empty(), "{key:?}: {:?}", row.failures);
            write_tag(&mut before, &key, "by rule").unwrap();
            assert_eq!(row.event, before.event, "{key:?}");
            let text = serde_json::to_string(&row.event.document()).unwrap();
            let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{key:?}: {e}"));
            let tags = document["tags"].as_array().unwrap();
            let of_key: Vec<_> = tags.iter().filter(|tag| tag["key"] == key.as_str()).collect();
            assert!(of_key.len() == 1 && of_key[0]["value"] == "by rule", "{key:?}: {text}");
            assert_eq!(tags.len(), if key == "key" { 1 } else { 2 }, "{key:?}: {text}");
            assert_eq!(document["bk_tenant_id"], row.event.tenant.as_str(), "{key:?}: {text}");
            assert!(!text.contains(char::is_control), "{key:?}: one line, and nothing for a terminal");
        }
    }
    println!("{written} keys written, {refused} refused");
    assert!(written > 10_000 && refused > 10_000, "the sample has of both: {written} {refused}");
}

/// What a key's fingerprint is of, beside the rule's code.
#[derive(Clone, Debug, PartialEq)]
struct Keyed {
    tenant: String,
    strategy: Value,
    rule: String,
    key: String,
}

fn keyed(random: &mut Random) -> Keyed {
    let mut text = |most: usize| (0..1 + random.below(most)).map(|_| ['a', 'b', '1', '2', '|', '\0', 'é'][random.below(7)]).collect::<String>();
    let (tenant, rule, key) = (text(6), text(6), text(12));
    let number = random.below(100) as i64;
    let strategy = [Value::Int(number), Value::from(number.to_string().as_str()), Value::Null, Value::from("")];
    Keyed { tenant, strategy: strategy[random.below(4)].clone(), rule, key }
}

/// Nearly the same: what joins its parts without saying where they end, or forgets what they are, takes the two for one.
fn alike(of: &Keyed, random: &mut Random) -> Keyed {
    let mut other = of.clone();
    match random.below(8) {
        0 => other.key.insert(0, other.rule.pop().unwrap_or('x')),
        1 => std::mem::swap(&mut other.key, &mut other.rule),
        2 => std::mem::swap(&mut other.tenant, &mut other.rule),
        3 => other.key.push('\0'),
        4 => other.key.push(' '),
        5 => other.key = other.key.replace('a', "\u{430}"),
        6 => {
            other.strategy = match &of.strategy {
                Value::Int(n) => Value::from(n.to_string().as_str()),
                Value::Null => Value::from(""),
                _ => Value::Null,
            }
        }
        _ => other = keyed(random),
    }
    other
}

#[test]
fn m31_a_million_pairs_of_keys_never_meet() {
    const PAIRS: usize = 1_000_000;
    let mut random = Random(31);
    let mut event = Event::default();
    let mut fingerprint = |of: &Keyed| {
        event.tenant = of.tenant.as_str().into();
        event.strategy_id = of.strategy.clone();
        fingerprint_of_rule(&event, &of.rule, &of.key)
    };
    let mut pairs = 0;
    while pairs < PAIRS {
        let one = keyed(&mut random);
        let other = alike(&one, &mut random);
        if one == other {
            continue;
        }
        pairs += 1;
        let (a, b) = (fingerprint(&one), fingerprint(&other));
        assert_ne!(a, b, "{one:?} and {other:?}");
        if pairs % 16 == 0 {
            assert_eq!(a, fingerprint(&one), "the same gives the same");
        }
    }
}

fn keys_told(lie: &str) -> (Vec<Row>, u64) {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("lies-dedupe", options(json!({ "limits": { "time_ms": 20_000 } }))), ("says", options(json!({})))], &[]);
    let mut rows = rows_with(64, |i| i == 17, "lie", lie);
    enrich(&mut *chain, &mut rows);
    let tally = dedupe(&mut *chain, &mut rows);
    neighbour_judged(&rows);
    (rows, tally[0].calls)
}

#[track_caller]
fn only_row_17(rows: &[Row], kind: &str) {
    for row in rows {
        let (failures, answer) = if row.index == 17 { (vec![kind], DedupeAnswer::Default) } else { (vec![], DedupeAnswer::Key("honest".into())) };
        assert_eq!((kinds(row), row.dedupe.clone()), (failures.into_iter().map(str::to_owned).collect(), answer), "row {}: {:?}", row.index, row.failures);
    }
}

#[test]
fn m31_a_key_that_can_be_none_fails_its_row_alone() {
    for (lie, kind, is_one_call) in [("empty", "patch-invalid", true), ("long", "patch-invalid", true), ("huge", "output", false)] {
        let (rows, calls) = keys_told(lie);
        only_row_17(&rows, kind);
        assert_eq!(calls == 1, is_one_call, "{lie}: {calls} calls");
    }
    let (rows, _) = keys_told("nul");
    assert!(rows[17].failures.is_empty());
    assert_eq!(rows[17].dedupe, DedupeAnswer::Key("a\0b".into()), "a key is bytes to the host; the fingerprint is of all of them");
}

#[test]
fn m32_fewer_or_more_keys_than_rows_are_no_answer() {
    for lie in ["fewer", "more"] {
        let (rows, calls) = keys_told(lie);
        only_row_17(&rows, "arity");
        assert_eq!(calls, 14, "{lie}: looked for until it was alone");
    }
}

/// The module `traps` with another body for one of the functions by which host and rule hand things over.
fn maimed_traps(export: &str, body: &[u8]) -> Result<(Bench, Box<dyn RuleChain>), String> {
    let limits = json!({ "limits": { "time_ms": 20 } });
    let mut bench = Bench::new();
    let rules = [(maimed(&module("traps"), export, body), options(limits)), (module("says"), options(json!({})))];
    let generation = bench.generation_of(&rules, &[]);
    let chain = bench.engine.open(generation).map_err(|e| e.to_string())?;
    Ok((bench, chain))
}

/// No locals, then the code.
const TRAP: &[u8] = &[0, 0x00, 0x0b];
const LOOP: &[u8] = &[0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b];
const NULL: &[u8] = &[0, 0x41, 0, 0x0b];
/// `i32.const 65536`
const ALWAYS_THE_SAME: &[u8] = &[0, 0x41, 0x80, 0x80, 0x04, 0x0b];
/// `i32.const -8`, at the end of what 32 bits can name.
const OUTSIDE: &[u8] = &[0, 0x41, 0x78, 0x0b];

#[test]
fn m46_an_allocator_that_fails_at_once_is_refused_at_load() {
    for (body, why) in [(TRAP, "cabi_realloc"), (OUTSIDE, "realloc return")] {
        let refused = maimed_traps("cabi_realloc", body).map(|_| ()).expect_err("`init` is handed a text");
        assert!(refused.contains("init-trap") && refused.contains(why), "{refused}");
    }
}

/// Where such an allocator says to write is the rule's own memory: what it makes of that counts as its answer or its failure.
#[test]
fn m46_an_allocator_that_lies_hurts_its_own_rule() {
    for body in [NULL, ALWAYS_THE_SAME] {
        let (bench, mut chain) = maimed_traps("cabi_realloc", body).unwrap_or_else(|e| panic!("{e}"));
        for _ in 0..3 {
            let mut rows = rows_with(8, |i| i % 2 == 1, "poison", "x");
            let before = rows.clone();
            enrich(&mut *chain, &mut rows);
            neighbour_judged(&rows);
            for (row, mut before) in rows.iter().zip(before) {
                // All that this rule and its neighbour may write.
                for key in ["note", "version"] {
                    tag(row, key).iter().for_each(|value| write_tag(&mut before, key, value).unwrap());
                }
                assert_eq!(row.event, before.event);
                assert!(row.dropped.is_none() && row.failures.iter().all(|failure| failure.rule == "traps"));
            }
        }
        assert_eq!(bench.engine.stats().iter().find(|stats| stats.rule == "says").map(|stats| stats.failures.len()), Some(0));
    }
}

#[test]
fn m47_cleaning_up_is_part_of_the_call() {
    const POST: &str = "cabi_post_alertmill:rules/enrich-rule@0.1.0#enrich";
    for (body, kind) in [(TRAP, "trap"), (LOOP, "deadline")] {
        let (_bench, mut chain) = maimed_traps(POST, body).unwrap_or_else(|e| panic!("{e}"));
        let mut rows = rows_with(2, |_| false, "", "");
        let calls = enrich(&mut *chain, &mut rows)[0].calls;
        neighbour_judged(&rows);
        for row in &rows {
            assert_eq!(kinds(row), [kind], "{:?}", row.failures);
            assert!(tag(row, "note").is_none(), "what was answered before counts for nothing");
        }
        assert!(calls <= 4, "{kind}: {calls} calls");
    }
}
