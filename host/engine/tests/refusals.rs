//! What is not taken, with which code, and whether the text says what and why.

mod support;

use alertmill_core::rules::RuleSets;
use alertmill_core::verdict::Policy;
use alertmill_engine::{Engine, LoadedRule, Refusal, RuleOptions, Table};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::bytes::{CORE, HEAD, leb, section};
use support::{Bench, Random, module, options};

fn load(name: &str, options: &RuleOptions) -> Result<LoadedRule, Refusal> {
    let hosts = Arc::new(Table::parse(b"host,owner,team,service,tier\nweb-1,alice,web,shop,1\n", None).unwrap());
    engine().load(&module(name), None, options, &[("hosts".into(), hosts)])
}

fn engine() -> Engine {
    Bench::new().engine
}

#[track_caller]
fn refused<T>(result: Result<T, Refusal>, code: &str, says: &[&str]) {
    let Err(refusal) = result else { panic!("taken, wanted {code}") };
    let text = refusal.to_string();
    assert_eq!(refusal.code(), code, "{text}");
    says.iter().for_each(|part| assert!(text.contains(part), "`{part}` is not in: {text}"));
}

#[test]
fn m39_what_is_no_component_is_named() {
    let good = module("says");
    let engine = engine();
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"hello", "text file"),
        (b"  (component)", "wasm-tools parse"),
        (b"\x7fELF\x02\x01\x01", "ELF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"\0asm", "first 8 bytes"),
        (b"\0asm\x63\0\0\0", "version"),
        (b"\xff\xfe\0\0", "magic"),
        (&good[..good.len() / 2], "ends in the middle"),
    ];
    for (bytes, says) in cases {
        refused(engine.inspect(bytes), "not-a-component", &[says]);
    }
    refused(engine.inspect(&module("core-module")), "not-a-component", &["core module", "component"]);
    refused(engine.inspect(&vec![0; (64 << 20) + 1]), "too-large", &["67108865", "67108864"]);
}

#[test]
fn interfaces_that_do_not_fit_are_named() {
    let engine = engine();
    refused(engine.inspect(&module("no-lifecycle")), "export-missing", &["alertmill:rules/lifecycle@0.1.0", "enrich-rule"]);
    refused(engine.inspect(&module("wrong-version")), "wit-version", &["0.2.0", "0.1.0", "build the rule again"]);
    refused(load("owner-from-table", &RuleOptions::default()), "grant-missing", &["alertmill:rules/tables@0.1.0", "grants = [\"tables\"]"]);
}

#[test]
fn the_manifest_is_held_against_the_surroundings() {
    let bench = Bench::new();
    let none = bench.engine.load(&module("owner-from-table"), None, &options(json!({})), &[]);
    refused(none, "table-missing", &["`hosts`", "[tables.hosts]"]);
    let other = bench.engine.load(&module("says"), Some("speaks"), &options(json!({})), &[]);
    refused(other, "name-differs", &["`says`", "`speaks`"]);
    let small = load("says", &options(json!({ "limits": { "memory_bytes": 65_536 } })));
    refused(small, "memory-minimum", &["65536", "limits.memory_bytes"]);
    // Also when the module is compiled already.
    let small = options(json!({ "limits": { "memory_bytes": 65_536 } }));
    assert!(bench.engine.load(&module("says"), None, &options(json!({})), &[]).is_ok());
    refused(bench.engine.load(&module("says"), None, &small, &[]), "memory-minimum", &["65536"]);
}

#[test]
fn init_has_to_succeed_in_time() {
    refused(load("init-error", &options(json!({}))), "init-failed", &["nothing fits, least of all \"\""]);
    refused(load("traps-init", &options(json!({}))), "init-trap", &["unreachable"]);
    let started = Instant::now();
    refused(load("spins-init", &options(json!({ "limits": { "init_ms": 50 } }))), "init-timeout", &["`init`", "50 ms"]);
    assert!(started.elapsed() < Duration::from_secs(20), "the loop ended at its limit, not at the test's");
}

#[test]
fn options_are_strict() {
    let parse = |text: &str| RuleOptions::from_json(text);
    refused(parse("{\"grant\":[]}"), "options", &["grant"]);
    refused(parse("{\"grants\":[\"network\"]}"), "options", &["network", "log", "tables"]);
    refused(parse("{\"limits\":{\"time_ms\":0}}"), "options", &["limits.time_ms = 0", "1 to 60000"]);
    refused(parse("{\"limits\":{\"batch_rows\":257}}"), "options", &["limits.batch_rows"]);
    refused(parse("{\"config\":[1]}"), "options", &["config"]);
    for policy in Policy::ALL {
        let options = parse(&format!("{{\"on_failure\":\"{}\",\"strikes\":1,\"quarantine_retry_s\":0}}", policy.as_str()));
        assert_eq!(options.map(|options| (options.on_failure, options.strikes)), Ok((policy, 1)));
    }
    for bad in ["strikes\":0", "strikes\":101", "strike_window_s\":0", "quarantine_retry_s\":86401"] {
        refused(parse(&format!("{{\"{bad}}}")), "options", &[bad.split('"').next().unwrap(), "out of range"]);
    }
    refused(parse("{\"on_failure\":\"ignore\"}"), "options", &["ignore"]);
    assert_eq!(parse("").unwrap(), RuleOptions::default());
}

#[test]
fn options_survive_the_record() {
    let info = engine().inspect(&module("says")).unwrap();
    for keys in [json!({}), json!({ "config": {} }), json!({ "config": { "a": [1] }, "limits": { "time_ms": 7 }, "enabled": false })] {
        let options = options(keys);
        let entry = options.to_entry(&info);
        assert_eq!(RuleOptions::from_entry(&entry).unwrap(), options);
    }
}

#[test]
fn inspect_tells_what_a_module_is() {
    let info = engine().inspect(&module("owner-from-table")).unwrap();
    assert_eq!((info.name.as_str(), info.grants.as_slice()), ("owner-from-table", &["tables"][..]));
    assert_eq!(info.tables, ["hosts"]);
    assert_eq!(info.hooks.len(), 1);
    assert_eq!(info.hooks[0].hook, "enrich-event");
    assert!(info.hooks[0].writes.contains(&"tags.owner".to_owned()));
    assert!(serde_json::from_str::<serde_json::Value>(&info.config_schema).is_ok());
    assert_eq!(info.digest.len(), 64);
    assert!(serde_json::to_string(&info).unwrap().contains("alertmill:rules/enrich-rule@0.1.0"));
}

#[test]
fn a_generation_that_cannot_be_loaded_says_why_and_can_be_loaded_later() {
    let mut bench = Bench::new();
    let says = module("says");
    let generation = bench.generation(&[("says", options(json!({})))], &[]);
    let digest = bench.keep(&says);
    bench.forget(&digest);
    // Forgets also what was only inspected.
    bench.engine.retire_before(generation);
    let why = bench.engine.open(generation).err().unwrap().to_string();
    assert!(why.contains("`says`") && why.contains(&digest) && why.contains("content-missing"), "{why}");
    assert!(bench.engine.open(99).err().unwrap().to_string().contains("99"));
    bench.keep(&says);
    assert!(bench.engine.open(generation).is_ok());
}

#[test]
fn a_name_is_in_a_generation_once() {
    let mut bench = Bench::new();
    let generation = bench.generation(&[("says", options(json!({}))), ("says-b", options(json!({})))], &[]);
    let why = bench.engine.open(generation).err().unwrap().to_string();
    assert!(why.contains("`says` is there twice"), "{why}");
}

/// Limits without a maximum: their kind, then the minimum.
fn at_least(kind: u8, minimum: u64) -> Vec<u8> {
    [vec![kind], leb(minimum)].concat()
}

#[test]
fn m05_memory_that_no_rule_may_have_is_refused_before_it_is_made() {
    let engine = engine();
    let memory = |limits: Vec<u8>| inspect(&engine, &[section(5, &[vec![1], limits].concat())]);
    refused(memory(at_least(0, 1 << 16)), "memory-minimum", &["4294967296", "limits.memory_bytes"]);
    for pages in [1, 1 << 16, 1 << 48] {
        refused(memory(at_least(4, pages)), "memory-minimum", &["64-bit memory", "wasm32"]);
    }
    refused(memory([at_least(3, 1), leb(1)].concat()), "too-complex", &["shared memory"]);
    let two = section(5, &[leb(2), at_least(0, 1).repeat(2)].concat());
    refused(inspect(&engine, &[two]), "too-complex", &["2 memories of one core module, at most 1"]);
    let imported = section(2, &[vec![1], vec![1, b'a', 1, b'b', 2], at_least(0, 1)].concat());
    let own = section(5, &[vec![1], at_least(0, 1)].concat());
    refused(inspect(&engine, &[imported.clone(), own.clone()]), "too-complex", &["2 memories of one core module"]);
    // One each is what a component of several modules has.
    let module = |sections: &[u8]| section(1, &[CORE.to_vec(), sections.to_vec()].concat());
    refused(engine.inspect(&[HEAD.to_vec(), module(&imported), module(&own)].concat()), "export-missing", &["lifecycle"]);
}

#[test]
fn m06_tables_are_counted_with_what_they_have_at_start() {
    const FUNCREF: u8 = 0x70;
    let engine = engine();
    let tables = |limits: &[Vec<u8>]| {
        let each: Vec<u8> = limits.iter().flat_map(|limits| [vec![FUNCREF], limits.clone()].concat()).collect();
        inspect(&engine, &[section(4, &[leb(limits.len() as u64), each].concat())])
    };
    for elements in [20_001, u64::from(u32::MAX)] {
        refused(tables(&[at_least(0, elements)]), "too-complex", &[&format!("{elements} elements of tables"), "20000"]);
    }
    refused(tables(&[at_least(4, u64::MAX)]), "too-complex", &["18446744073709551615 elements"]);
    refused(tables(&vec![at_least(0, 5_000); 5]), "too-complex", &["25000 elements"]);
    refused(tables(&vec![at_least(0, 0); 65]), "too-complex", &["65 tables, at most 64"]);
    // Within the counts it gets as far as its interface.
    refused(tables(&[at_least(0, 20_000)]), "export-missing", &["lifecycle"]);
}

#[test]
fn m41_few_bytes_that_are_much_work_are_counted() {
    const I32: u8 = 0x7f;
    let engine = engine();
    let no_type = section(1, &[1, 0x60, 0, 0]);
    // 10,000 functions of 8 bytes with 50,000 locals each.
    let functions = |count: u64, locals: u64| {
        let body = [vec![1], leb(locals), vec![I32, 0x0b]].concat();
        let body = [leb(body.len() as u64), body].concat();
        let declared = section(3, &[leb(count), vec![0; count as usize]].concat());
        [no_type.clone(), declared, section(10, &[leb(count), body.repeat(count as usize)].concat())]
    };
    let started = Instant::now();
    refused(inspect(&engine, &functions(10_000, 50_000)), "too-complex", &["locals of functions, at most 4000000"]);
    refused(inspect(&engine, &functions(1, u64::from(u32::MAX))), "too-complex", &["4294967295 locals"]);
    let globals = section(6, &[leb(20_001), [I32, 0, 0x41, 0, 0x0b].repeat(20_001)].concat());
    refused(inspect(&engine, &[globals]), "too-complex", &["20001 globals, at most 20000"]);
    let data = section(11, &[leb(20_001), [1, 0].repeat(20_001)].concat());
    refused(inspect(&engine, &[data]), "too-complex", &["20001 data and element segments"]);
    let elements = section(9, &[leb(20_001), [1, 0, 0].repeat(20_001)].concat());
    refused(inspect(&engine, &[elements]), "too-complex", &["20001 data and element segments"]);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    refused(inspect(&engine, &functions(10, 1_000)), "export-missing", &["lifecycle"]);
    let large = [no_type.clone(), section(3, &[1, 0]), section(10, &[vec![1], leb(7 << 20), vec![0; 7 << 20]].concat())];
    refused(inspect(&engine, &large), "too-complex", &["bytes in one function, at most 4194304"]);
}

/// A component of one core module with these sections.
fn inspect(engine: &Engine, sections: &[Vec<u8>]) -> Result<alertmill_engine::RuleInfo, Refusal> {
    let core = [CORE.to_vec(), sections.concat()].concat();
    engine.inspect(&[HEAD.to_vec(), section(1, &core)].concat())
}

/// No cut and no damaged byte panics; most are refused. Damage inside a function is for the compiler to find.
#[test]
fn m39_damage_is_refused_and_never_panics() {
    let engine = engine();
    let good = module("says");
    for cut in (0..good.len()).step_by(1024) {
        refused(engine.inspect(&good[..cut]), "not-a-component", &[]);
    }
    let mut random = Random(11);
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..120 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let code = engine.inspect(&bytes).map_or_else(|refusal| refusal.code(), |_| "taken");
        *codes.entry(code).or_insert(0) += 1;
    }
    let taken = codes.get("taken").copied().unwrap_or(0);
    assert!(taken <= 60, "of 120: {codes:?}");
}
