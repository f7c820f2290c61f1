//! Modules that mean harm and are never loaded, each by its number in the list of what a host of foreign code has to stand. Each
//! is refused by name, soon, with little memory, and what ran before goes on.

mod support;

use alertmill_core::rules::RuleSets;
use alertmill_engine::{Engine, Refusal};
use serde_json::json;
use std::sync::MutexGuard;
use std::time::Duration;
use support::bytes::{CORE, Function, HEAD, importing, leb, maimed, name, renamed, section, with_component, with_start};
use support::process::{Rise, alone, cpu_time};
use support::{Bench, enrich, fixture, module, options, rows_with, tag};

const MIB: u64 = 1 << 20;
const INIT: &str = "alertmill:rules/lifecycle@0.1.0#init";
/// `loop br 0 end unreachable end`, without locals.
const SPINS: [u8; 8] = [0, 0x03, 0x40, 0x0c, 0, 0x0b, 0, 0x0b];
/// `unreachable end`, without locals.
const TRAPS: [u8; 3] = [0, 0, 0x0b];

fn engine() -> Engine {
    Bench::new().engine
}

#[track_caller]
fn refused<T>(result: Result<T, Refusal>, code: &str, says: &[&str]) -> String {
    let Err(refusal) = result else { panic!("taken, wanted {code}") };
    let text = refusal.to_string();
    assert_eq!(refusal.code(), code, "{text}");
    says.iter().for_each(|part| assert!(text.contains(part), "`{part}` is not in: {text}"));
    text
}

/// The rule in force stays, by digest, and judges rows, whatever its new version does while it is loaded.
#[track_caller]
fn changes_nothing(bench: &mut Bench, bytes: &[u8], limits: serde_json::Value, code: &str, says: &[&str]) {
    let good = module("says");
    let active = bench.generation_of(&[(good.clone(), options(json!({})))], &[]);
    let mut chain = bench.engine.open(active).expect("a good generation");
    refused(bench.engine.load(bytes, Some("says"), &options(json!({ "limits": limits })), &[]), code, says);
    // Nor when a record names it.
    let digest = bench.keep(bytes);
    let mut entry = options(json!({ "limits": limits })).to_entry(&bench.engine.inspect(&good).expect("a good module"));
    entry.digest = digest.as_str().into();
    bench.engine.register(alertmill_core::record::RuleSet {
        generation: active + 1,
        rules: vec![entry],
        tables: Vec::new(),
        ..alertmill_core::record::RuleSet::default()
    });
    let why = bench.engine.open(active + 1).err().expect("no generation").to_string();
    assert!(why.contains(code) && why.contains(&digest), "{why}");
    let mut rows = rows_with(3, |_| false, "", "");
    enrich(&mut *chain, &mut rows);
    assert!(rows.iter().all(|row| tag(row, "version").as_deref() == Some("a")), "the chain that was open goes on");
    assert!(bench.engine.open(active).is_ok(), "and so does its generation");
    let digests: Vec<String> = bench.engine.stats().iter().map(|rule| rule.digest.to_string()).collect();
    assert_eq!(digests, [bench.keep(&good)], "no counters but those of the good one");
}

#[test]
fn m02_a_new_version_that_spins_in_init_leaves_the_old_one_in_force() {
    let _alone = alone();
    let started = cpu_time();
    changes_nothing(&mut Bench::new(), &maimed(&module("says"), INIT, &SPINS), json!({ "init_ms": 100 }), "init-timeout", &["`init`", "100 ms"]);
    // Twice its limit, and compiling.
    assert!(cpu_time() - started < Duration::from_secs(20), "{:?}", cpu_time() - started);
}

#[test]
fn m15_a_new_version_that_traps_in_init_or_at_its_start_leaves_the_old_one_in_force() {
    let _alone = alone();
    changes_nothing(&mut Bench::new(), &maimed(&module("says"), INIT, &TRAPS), json!({}), "init-trap", &["unreachable"]);
    changes_nothing(&mut Bench::new(), &with_start(&module("says"), INIT, &TRAPS), json!({}), "instantiate-failed", &["unreachable"]);
    changes_nothing(&mut Bench::new(), &with_start(&module("says"), INIT, &SPINS), json!({ "init_ms": 100 }), "init-timeout", &["its start code", "100 ms"]);
}

/// A component of one core module with these sections.
fn core_with(sections: &[Vec<u8>]) -> Vec<u8> {
    let core = [CORE.to_vec(), sections.concat()].concat();
    [HEAD.to_vec(), section(1, &core)].concat()
}

/// Inspects within these bounds; gives the words.
#[track_caller]
fn cheaply(alone: &MutexGuard<'static, ()>, engine: &Engine, what: &str, bytes: &[u8], code: &str, says: &[&str]) -> String {
    const CPU_MAX: Duration = Duration::from_millis(200);
    let rise = Rise::from_now(alone);
    let started = cpu_time();
    let judged = engine.inspect(bytes);
    let (cpu, peak, mapped) = (cpu_time() - started, rise.bytes(), rise.mapped_bytes());
    println!("{what}: {} KiB: {cpu:?}, {} KiB above before, {} KiB mapped", bytes.len() >> 10, peak >> 10, mapped >> 10);
    let text = refused(judged, code, says);
    assert!(cpu <= CPU_MAX, "{what}: {cpu:?}");
    assert!(peak <= 64 * MIB && mapped <= 64 * MIB, "{what}: {peak} bytes of memory, {mapped} bytes of address space");
    text
}

#[test]
fn m05_memory_of_four_gibibytes_is_refused_and_never_had() {
    let alone = alone();
    let engine = engine();
    let memory = |limits: &[u8]| core_with(&[section(5, &[vec![1], limits.to_vec()].concat())]);
    let pages = |kind: u8, pages: u64| memory(&[vec![kind], leb(pages)].concat());
    for (what, bytes, says) in [
        ("4 GiB", pages(0, 1 << 16), "4294967296"),
        ("64-bit memory, one page", pages(4, 1), "64-bit memory"),
        ("64-bit memory, 4 GiB", pages(4, 1 << 16), "64-bit memory"),
        ("64-bit memory, all of it", pages(4, 1 << 48), "64-bit memory"),
        ("64-bit memory, one page of four at most", memory(&[5, 1, 4]), "64-bit memory"),
    ] {
        cheaply(&alone, &engine, what, &bytes, "memory-minimum", &[says]);
    }
    // A good module with 4 GiB, and with as much as the largest limit lets it have.
    let limits = options(json!({ "limits": { "memory_bytes": 2_u64 << 30 } }));
    let rise = Rise::from_now(&alone);
    refused(engine.load(&pages(0, 1 << 16), None, &limits, &[]), "memory-minimum", &["4294967296", "2147483648"]);
    assert!(rise.bytes() <= MIB && rise.mapped_bytes() <= MIB, "{} and {}", rise.bytes(), rise.mapped_bytes());
}

#[test]
fn m13_text_that_is_not_utf_8_is_refused() {
    let engine = engine();
    for (option, says) in [(1, "passes text as UTF-16"), (2, "passes text as Latin-1 or UTF-16")] {
        // Lifted from function 0 with one option to type 0; lowered from function 0 with one option.
        let lift = [HEAD.to_vec(), section(8, &[1, 0, 0, 0, 1, option, 0])].concat();
        let lower = [HEAD.to_vec(), section(8, &[1, 1, 0, 0, 1, option])].concat();
        for bytes in [lift, lower] {
            refused(engine.inspect(&bytes), "string-encoding", &[says, "build it with UTF-8 strings"]);
        }
    }
    let utf8 = [HEAD.to_vec(), section(8, &[1, 0, 0, 0, 1, 0, 0])].concat();
    assert_ne!(engine.inspect(&utf8).expect_err("there is no function").code(), "string-encoding");
}

/// `func()`
const NOTHING: &[u8] = &[0x40, 0, 1, 0];
/// `func(text: string)`
const TAKES_TEXT: &[u8] = &[0x40, 1, 4, b't', b'e', b'x', b't', 0x73, 1, 0];

#[test]
fn m37_every_import_that_rules_do_not_get_is_named_at_once() {
    let alone = alone();
    let engine = engine();
    let family: [(&str, &str); 12] = [
        ("wasi:filesystem/types@0.2.6", "no files"),
        ("wasi:filesystem/preopens@0.2.0", "no files"),
        ("wasi:sockets/tcp@0.2.9", "no network"),
        ("wasi:sockets/ip-name-lookup@0.2.0", "no network"),
        ("wasi:http/outgoing-handler@0.2.0", "no network"),
        ("wasi:clocks/timezone@0.2.0", "all of them constant"),
        ("wasi:cli/stdout@0.3.0", "of WASI there is 0.2"),
        ("wasi:cli/stdout@0.2.0-rc-2023-12-05", "of WASI there is 0.2"),
        ("wasi:keyvalue/store@0.2.0", "of WASI there is 0.2"),
        ("alertmill:rules/counters@0.1.0", "this host offers `log` and `tables`"),
        ("acme:secrets/vault", "alertmill:rules/log and alertmill:rules/tables only"),
        ("wasi:io/poll", "of WASI there is 0.2"),
    ];
    for (import, hint) in family {
        let bytes = importing(&[("wasi:cli/exit@0.2.3", &[]), (import, &[("get", NOTHING)])]);
        let text = cheaply(&alone, &engine, import, &bytes, "import-refused", &[&format!("`{import}`"), hint]);
        assert!(!text.contains("wasi:cli/exit"), "what is offered is not named: {text}");
    }
    let all: Vec<(&str, &[Function<'_>])> = family.iter().map(|(import, _)| (*import, &[][..])).collect();
    let text = cheaply(&alone, &engine, "all at once", &importing(&all), "import-refused", &["no files", "no network", "--stub-wasi"]);
    family.iter().for_each(|(import, _)| assert!(text.contains(import), "{import} is not in: {text}"));
    // As a toolchain builds it; the name is of the length of the clock's that the module imports.
    let sockets = renamed(&module("undeclared-import"), "wasi:clocks/monotonic-clock@0.2.0", "wasi:sockets/ip-name-lookup@0.2.0");
    cheaply(&alone, &engine, "a whole module", &sockets, "import-refused", &["`wasi:sockets/ip-name-lookup@0.2.0`"]);
    // More than anyone reads, with names longer than anyone reads.
    let names: Vec<String> = (0..200).map(|i| format!("acme:a{i}{}/b", "x".repeat(1_000))).collect();
    let many: Vec<(&str, &[Function<'_>])> = names.iter().map(|import| (import.as_str(), &[][..])).collect();
    let text = cheaply(&alone, &engine, "200 long names", &importing(&many), "import-refused", &["136 more"]);
    assert!(text.len() < 16_384, "{}", text.len());
}

#[test]
fn functions_that_the_host_has_otherwise_or_not_at_all_are_named() {
    let engine = engine();
    let log: &[(&str, &[u8])] = &[("write", TAKES_TEXT)];
    let says = ["`alertmill:rules/log@0.1.0#write` as (string)", "this host has it as (enum { debug, info, warn, error }, string)"];
    refused(engine.inspect(&importing(&[("alertmill:rules/log@0.1.0", log)])), "import-type", &says);
    let log: &[(&str, &[u8])] = &[("shout", TAKES_TEXT), ("whisper", NOTHING)];
    let says = ["`alertmill:rules/log@0.1.7#shout`", "`alertmill:rules/log@0.1.7#whisper`", "built for another version"];
    refused(engine.inspect(&importing(&[("alertmill:rules/log@0.1.7", log)])), "import-refused", &says);
    let random: &[(&str, &[u8])] = &[("get-random-u64", NOTHING)];
    refused(engine.inspect(&importing(&[("wasi:random/random@0.2.4", random)])), "import-type", &["as ()", "() -> u64"]);
    let exit: &[(&str, &[u8])] = &[("exit-now", NOTHING)];
    refused(engine.inspect(&importing(&[("wasi:cli/exit@0.2.4", exit)])), "import-refused", &["`wasi:cli/exit@0.2.4#exit-now`"]);
    // A function of our own types, which have none.
    let types: &[(&str, &[u8])] = &[("now", NOTHING)];
    refused(engine.inspect(&importing(&[("alertmill:rules/types@0.1.0", types)])), "import-refused", &["`alertmill:rules/types@0.1.0#now`"]);
}

/// Before it is compiled, and in words: which function, what it is, what the contract has. Names are parts of types.
#[test]
fn functions_that_a_module_has_otherwise_or_not_at_all_are_named() {
    let engine = engine();
    let cases = [
        ("says", "max-batch", "max-botch", "lifecycle@0.1.0#describe"),
        ("says", "config-schema", "config-scheme", "lifecycle@0.1.0#describe"),
        ("normalizes", "bk-biz-id", "bk-bus-id", "normalize-rule@0.1.0#normalize"),
        ("says", "removed-tags", "reloved-tags", "enrich-rule@0.1.0#enrich"),
        ("dedupe-by-tags", "unique", "unikue", "dedupe-rule@0.1.0#dedupe"),
        ("alerts", "more-tags", "most-tags", "alert-rule@0.1.0#enrich-alerts"),
    ];
    for (name, ours, theirs, function) in cases {
        let refusal = engine.inspect(&renamed(&module(name), ours, theirs)).expect_err("another type").to_string();
        println!("{refusal}");
        let (found, wanted) = refusal.split_once(", and contract 0.1.0 has it as ").unwrap_or_else(|| panic!("{refusal}"));
        assert!(found.contains(&format!("`alertmill:rules/{function}` as ")) && found.contains(theirs) && !found.contains(ours), "{refusal}");
        assert!(wanted.contains(ours) && wanted.ends_with("; build the rule again with the SDK of this host"), "{refusal}");
        assert!(refusal.len() < 700, "as much as anyone reads: {refusal}");
        refused(engine.inspect(&renamed(&module(name), ours, theirs)), "export-type", &[]);
    }
    for (name, ours, theirs, function) in
        [("says", "describe", "descripe", "lifecycle@0.1.0#describe"), ("alerts", "enrich-alerts", "enrich-events", "alert-rule@0.1.0#enrich-alerts")]
    {
        let says = format!("does not export the function `alertmill:rules/{function}`");
        refused(engine.inspect(&renamed(&module(name), ours, theirs)), "export-missing", &[&says]);
    }
}

#[test]
fn m38_other_versions_of_the_contract_are_refused_with_both_named() {
    let engine = engine();
    for version in ["0.0.9", "1.0.0", "0.2.0"] {
        let says = [&format!("is of contract version {version}, this host offers 0.1.0") as &str, "build the rule again with the SDK of this host"];
        refused(engine.inspect(&renamed(&module("says"), "@0.1.0", &format!("@{version}"))), "wit-version", &says);
    }
    for version in ["0.1.0-rc1", "0.1.0-alpha", "0.1", "0.1.x", "01.1.0"] {
        let import = format!("alertmill:rules/log@{version}");
        // Some are no versions at all, which the format itself forbids.
        let refusal = engine.inspect(&importing(&[(&import, &[])])).expect_err("another version");
        assert!(["wit-version", "compile"].contains(&refusal.code()), "{version}: {refusal}");
        assert!(refusal.to_string().contains(version), "{refusal}");
    }
    refused(engine.inspect(&importing(&[("alertmill:rules/log", &[])])), "wit-version", &["version none", "0.1.0"]);
    let others = renamed(&module("says"), "alertmill:rules/", "alertmill:ruler/");
    let refusal = engine.inspect(&others).expect_err("another package").to_string();
    assert!(refusal.contains("alertmill:ruler/"), "{refusal}");
    // A later patch of the same version is taken, whichever of the two is older.
    assert!(engine.inspect(&renamed(&module("says"), "@0.1.0", "@0.1.9")).is_ok());
}

/// Types that double: number `n` is a pair of `n - 1`.
fn doubling(levels: u64) -> Vec<Vec<u8>> {
    let pair = |of: Vec<u8>| [vec![0x6f, 2], of.clone(), of].concat();
    // A type's number is written as a signed one.
    let number = |n: u64| if n & 0x40 == 0 && n < 0x80 { vec![n as u8] } else { [leb(n)[..1].iter().map(|b| b | 0x80).collect(), leb(n >> 7)].concat() };
    (0..levels).map(|n| pair(if n == 0 { vec![0x7d] } else { number(n - 1) })).collect()
}

#[test]
fn m40_component_bombs_are_refused_soon_and_in_little_memory() {
    let alone = alone();
    let engine = engine();
    let component = |sections: &[Vec<u8>]| [HEAD.to_vec(), sections.concat()].concat();
    let nested = (0..100).fold(HEAD.to_vec(), |inner, _| component(&[section(4, &inner)]));
    cheaply(&alone, &engine, "nested 100 deep", &nested, "too-complex", &["nesting"]);
    let modules = component(&[section(1, &CORE).repeat(1_000)]);
    cheaply(&alone, &engine, "1,000 inner modules", &modules, "too-complex", &["core modules, at most 64"]);
    let components = component(&[section(4, &HEAD).repeat(1_000)]);
    cheaply(&alone, &engine, "1,000 inner components", &components, "too-complex", &["inner components, at most 64"]);
    let custom = component(&[section(0, &[name("junk"), vec![0; 20 << 20]].concat())]);
    cheaply(&alone, &engine, "20 MiB that are no code", &custom, "too-complex", &["custom sections"]);
    // An import takes a type; all take the same.
    let imports: Vec<u8> = (0..100_000).flat_map(|i| [vec![0], name(&format!("acme:a/b{i}")), vec![5, 0]].concat()).collect();
    let imports = component(&[section(7, &[1, 0x42, 0]), section(10, &[leb(100_000), imports].concat())]);
    cheaply(&alone, &engine, "100,000 imports", &imports, "too-complex", &["100000 imports, at most 256"]);
    // Twice as large with each: some that the format itself refuses, some just below.
    for levels in [30, 60] {
        let types = component(&[section(7, &[leb(levels), doubling(levels).concat()].concat())]);
        cheaply(&alone, &engine, "types that double", &types, "compile", &["type size"]);
    }
    let small = component(&[section(7, &[leb(18), doubling(18).concat()].concat())]);
    cheaply(&alone, &engine, "types that double 18 times", &small, "export-missing", &["lifecycle"]);
    let types = component(&[section(7, &[leb(20_001), doubling(1).concat().repeat(20_001)].concat())]);
    cheaply(&alone, &engine, "20,001 types", &types, "too-complex", &["20001 types"]);
    // As the type of a function that the host has: shown, but not all of it.
    let mut declared: Vec<Vec<u8>> = doubling(18).into_iter().map(|ty| [vec![0x01], ty].concat()).collect();
    declared.push([vec![0x01, 0x40, 1], name("text"), vec![17, 1, 0]].concat());
    declared.push([vec![0x04, 0], name("write"), vec![0x01, 18]].concat());
    let instance = [vec![1, 0x42], leb(declared.len() as u64), declared.concat()].concat();
    let import = [vec![1, 0], name("alertmill:rules/log@0.1.0"), vec![5, 0]].concat();
    let bytes = component(&[section(7, &instance), section(10, &import)]);
    let text = cheaply(&alone, &engine, "a function of such a type", &bytes, "import-type", &["tuple<tuple<tuple<", "…"]);
    assert!(text.len() < 2_048, "{}", text.len());
}

#[test]
fn a_config_that_does_not_fit_is_refused_before_init() {
    let engine = engine();
    let load = |name: &str, config: serde_json::Value| engine.load(&module(name), None, &options(json!({ "config": config })), &[]);
    // It would refuse any config in its `init`, and takes none.
    refused(load("init-error", json!({ "a": 1 })), "config-invalid", &["takes no config"]);
    refused(load("init-error", json!({})), "init-failed", &["nothing fits"]);
    refused(load("spins-init", json!({ "a": 1 })), "config-invalid", &["takes no config"]);
    let says = ["`config.by[0]` is \"hosts\"", "allowed: \"alert_name\"", "`config.exakt` is no known key; did you mean `exact`?"];
    refused(load("dedupe-by-tags", json!({ "by": ["hosts"], "exakt": [] })), "config-invalid", &says);
    assert!(load("dedupe-by-tags", json!({ "by": ["host"] })).is_ok());
}

/// As wrappers of JavaScript and Python make them; wasmtime's compiler must not panic on what it makes itself.
#[test]
fn a_module_of_several_components_is_compiled_and_started() {
    let engine = engine();
    let two = with_component(&module("says"), &fixture("two-components"));
    let rule = engine.load(&two, None, &options(json!({})), &[]);
    assert_eq!(rule.map(|rule| rule.info().name.to_string()), Ok("says".to_owned()));
}

/// Asked before anything is compiled: of a module whose code the compiler would refuse, the imports are named.
#[test]
fn what_a_module_wants_is_judged_before_it_is_compiled() {
    let mut bytes = renamed(&module("undeclared-import"), "wasi:clocks/monotonic-clock@0.2.0", "wasi:sockets/ip-name-lookup@0.2.0");
    bytes = maimed(&bytes, INIT, &[0, 0x6a, 0x0b]);
    refused(engine().inspect(&bytes), "import-refused", &["wasi:sockets"]);
    let good_imports = maimed(&module("says"), INIT, &[0, 0x6a, 0x0b]);
    refused(engine().inspect(&good_imports), "compile", &[]);
}
