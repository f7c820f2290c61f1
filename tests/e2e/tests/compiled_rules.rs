//! Modules are compiled by a child within limits, and their code is kept: a start compiles nothing again, and takes nobody's code
//! but its own.

use alertmill_e2e::{PATIENCE, Server, Site, event, now_s, rule_file, until, view};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

/// The good rule `says`, with 16 MiB of functions inside that nobody calls and the compiler works on for long.
fn bomb() -> Vec<u8> {
    let mut body = vec![1, 100, 0x7e];
    let mut at = 1_u32;
    while body.len() < 256 << 10 {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c] = [8, 16, 24].map(|shift| (at >> shift) as u8 % 100);
        // local.get a, local.get b, i64.add, local.tee c, i64.eqz, if, local.get a, local.set b, end
        body.extend([0x20, a, 0x20, b, 0x7c, 0x22, c, 0x50, 0x04, 0x40, 0x20, a, 0x21, b, 0x0b]);
    }
    body.push(0x0b);
    let body = [leb(body.len()), body].concat();
    let code = [leb(64), body.repeat(64)].concat();
    let core = [b"\0asm\x01\0\0\0".to_vec(), section(1, &[1, 0x60, 0, 0]), section(3, &[leb(64), vec![0; 64]].concat()), section(10, &code)];
    [std::fs::read(rule_file("test/says")).expect("a module"), section(1, &core.concat())].concat()
}

fn compiles(server: &mut Server, outcome: &str) -> f64 {
    server.metrics().get(&format!("alertmill_rule_compiles_total{{outcome=\"{outcome}\"}}"))
}

fn cached(server: &mut Server, outcome: &str) -> f64 {
    server.metrics().get(&format!("alertmill_code_cache_total{{outcome=\"{outcome}\"}}"))
}

fn two_rules() -> Site {
    Site::new().rule("10-says.wasm", "test/says", "").rule("20-severity-by-labels.wasm", "severity-by-labels", "")
}

/// The code that is kept, by module.
fn code_files(site: &Site) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(site.data_dir().join("compiled")).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[track_caller]
fn judges(server: &mut Server, name: &str) {
    server.post_events(&[event(name, name, "web-1", now_s(), "ABNORMAL")]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(server, name));
    let tags = alert["event"]["tags"].as_array().expect("tags");
    assert!(tags.iter().any(|tag| tag["key"] == "version" && tag["value"] == "a"), "the rule saw it: {alert}");
}

/// A server whose rules have judged an event, so that all of them are loaded.
#[track_caller]
fn at_work(site: &Site, name: &str) -> Server {
    let mut server = site.start();
    judges(&mut server, name);
    server
}

#[test]
fn a_start_with_a_warm_cache_compiles_nothing() {
    let site = two_rules();
    let mut server = at_work(&site, "Cold");
    assert_eq!((compiles(&mut server, "ok"), cached(&mut server, "miss"), cached(&mut server, "hit")), (2.0, 2.0, 0.0));
    assert_eq!(code_files(&site).len(), 2);
    for name in ["Warm", "Warm again"] {
        server.kill();
        server = at_work(&site, name);
        assert_eq!((compiles(&mut server, "ok"), cached(&mut server, "hit"), cached(&mut server, "miss")), (0.0, 2.0, 0.0), "{}", server.log());
        assert_eq!(server.metrics().get("alertmill_rule_compile_seconds_total"), 0.0);
    }
}

#[test]
fn a_foreign_cached_file_is_refused_and_compiled_again() {
    let site = two_rules();
    at_work(&site, "First").kill();
    let files = code_files(&site);
    // Machine code of another module, well made by another installation; and one byte that differs.
    let other = two_rules();
    at_work(&other, "First").kill();
    std::fs::copy(&code_files(&other)[1], &files[0]).expect("a copy");
    let mut damaged = std::fs::read(&files[1]).expect("code");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&files[1], damaged).expect("written");
    let mut server = at_work(&site, "Foreign");
    assert_eq!((cached(&mut server, "distrusted"), compiles(&mut server, "ok")), (2.0, 2.0));
    assert!(server.log().contains("is not what this installation wrote"), "{}", server.log());
    server.kill();
    let mut server = at_work(&site, "Replaced");
    assert_eq!((cached(&mut server, "hit"), cached(&mut server, "distrusted")), (2.0, 0.0), "both were replaced");
}

#[test]
fn a_directory_that_others_may_write_is_not_used() {
    let site = two_rules();
    at_work(&site, "First").kill();
    std::fs::set_permissions(site.data_dir().join("compiled"), Permissions::from_mode(0o770)).expect("ours");
    let mut server = at_work(&site, "Open");
    assert_eq!((cached(&mut server, "distrusted"), cached(&mut server, "hit"), compiles(&mut server, "ok")), (2.0, 0.0, 2.0));
    assert!(server.log().contains("can be written by others (mode 770); remove it"), "{}", server.log());
    server.kill();
    // As the log says.
    std::fs::remove_dir_all(site.data_dir().join("compiled")).expect("removed");
    at_work(&site, "Anew").kill();
    let mut server = at_work(&site, "Trusted");
    assert_eq!((cached(&mut server, "hit"), cached(&mut server, "distrusted")), (2.0, 0.0));
}

#[test]
fn m41_a_bomb_ends_with_its_child_and_intake_goes_on() {
    let site = Site::new().rule("10-says.wasm", "test/says", "").set("RULES__COMPILE_CPU_S", 1);
    let mut server = at_work(&site, "Before");
    let (resident, peak_before) = (server.resident_bytes(), server.resident_peak_bytes());
    let bytes = put_bomb(&site);
    let (mut slowest, mut posts) = (Duration::ZERO, 0_u32);
    let began = Instant::now();
    let refused = until("the refusal is shown", 5 * PATIENCE, || {
        let asked = Instant::now();
        server.post_events(&[event(&format!("during-{posts}"), "During", "web-1", now_s(), "ABNORMAL")]);
        slowest = slowest.max(asked.elapsed());
        posts += 1;
        let rules = server.json("/api/v1/rules");
        let items = rules["items"].as_array()?;
        items.iter().find(|row| row["state"] == "refused").map(|row| row["detail"].as_str().expect("words").to_owned())
    });
    let rise = server.resident_peak_bytes().saturating_sub(peak_before);
    let took = began.elapsed();
    println!("m41: {} KiB of module refused after {took:?}, {posts} posts meanwhile, the slowest took {slowest:?}", bytes.len() >> 10);
    println!("m41: the server had {} KiB, its peak rose by {} KiB: {refused}", resident >> 10, rise >> 10);
    assert!(refused.contains("more than 1 s of processor time (rules.compile_cpu_s)"), "{refused}");
    assert_eq!((compiles(&mut server, "compile-limit"), server.metrics().sum("alertmill_rule_refusals_total", &[("code", "compile-limit")])), (1.0, 1.0));
    assert!(posts > 10, "events were taken meanwhile: {posts}");
    // The module itself is read, kept by the look and handed over: some copies of it, and nothing of what compiling takes.
    assert!(rise <= 6 * bytes.len() as u64, "{rise}");
    until("no child is left", PATIENCE, || children_of(&server).is_empty().then_some(()));
    judges(&mut server, "After");
}

/// Makes the bomb the next version of the rule.
fn put_bomb(site: &Site) -> Vec<u8> {
    let bytes = bomb();
    std::fs::write(site.path().join("bomb"), &bytes).expect("written");
    std::fs::rename(site.path().join("bomb"), site.rules_dir().join("10-says.wasm")).expect("renamed");
    bytes
}

/// What `/proc` says of a process, from its state on.
fn stat(process: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}

/// Processes that the server started and that are still there, as zombies too.
fn children_of(server: &Server) -> Vec<String> {
    let parent = server.id().to_string();
    let processes = std::fs::read_dir("/proc").expect("/proc").map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    processes.filter(|process| stat(process).is_some_and(|stat| stat[1] == parent)).collect()
}

#[test]
fn a_server_that_is_killed_takes_its_compiler_along() {
    let site = Site::new().rule("10-says.wasm", "test/says", "");
    let server = at_work(&site, "Before");
    put_bomb(&site);
    let child = until("the compiler works", PATIENCE, || children_of(&server).pop());
    server.kill();
    // Whoever takes over its children may leave it as a zombie.
    until("the compiler has ended", PATIENCE, || stat(&child).is_none_or(|stat| stat[0] == "Z").then_some(()));
}

#[test]
fn without_processes_of_its_own_it_compiles_and_says_so() {
    let site = two_rules().set("RULES__COMPILE_PROCESSES", 0).set("RULES__COMPILED_SIZE", 0);
    let mut server = at_work(&site, "Here");
    assert!(server.log().contains("rules.compile_processes = 0"), "{}", server.log());
    assert!(compiles(&mut server, "ok") == 2.0 && cached(&mut server, "miss") == 0.0);
    assert!(!site.data_dir().join("compiled").exists());
}
