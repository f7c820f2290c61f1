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
use serde_json::json;
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
        let mut tries = Vec::new();
        // A busy machine may take the processor away at the wrong moment; what the rule takes shows in the best of a few tries.
        for _ in 0..4 {
            let fills = options(json!({ "limits": { "memory_bytes": 128 << 20, "time_ms": LIMIT_MS } }));
            let mut bench = Bench::new();
            let mut chain = bench.chain(&[("fills", fills), ("says", options(json!({})))], &[]);
            enrich(&mut *chain, &mut rows_with(1, |_| false, "", ""));
            let mut rows = vec![tagged(0, "poison", how)];
            let (started, cpu) = (Instant::now(), cpu_time());
            let tally = enrich(&mut *chain, &mut rows);
            let (wall, cpu) = (started.elapsed(), cpu_time() - cpu);
            assert_eq!((kinds(&rows[0]), tally[0].calls), (vec!["deadline".to_owned()], 1));
            assert!(wall >= Duration::from_millis(LIMIT_MS), "{how}: {wall:?}");
            neighbour_judged(&rows);
            tries.push((Duration::from_nanos(tally[0].nanos), cpu));
        }
        println!("memory.{how}: {tries:?}");
        let limit = Duration::from_millis(LIMIT_MS);
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
