//! Promise I7 while versions are swapped live, by the API and by the folder, under a steady stream: nothing is lost, nothing
//! counts twice, every event was judged by the one version that the history names for its generation, and a server that reads
//! the same journal without any swap happening around it makes the same documents.

use alertmill_e2e::storm::{Sent, count, digests, never_killed};
use alertmill_e2e::{Http, PATIENCE, Server, Site, event, now_s, rule_file, until, view};
use alertmill_proof::{Tier, record};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SENDERS: u64 = 8;
/// Events of a request, each an alert of its own, so that the alert names the event's generation.
const EVENTS: u64 = 4;
/// What a sender leaves between two requests: the stream is steady, not as fast as it can be.
const PACE: Duration = Duration::from_millis(10);
/// Requests that are answered between two swaps.
const BETWEEN: u64 = 60;

#[test]
fn swaps_20_times_under_a_stream() {
    swaps(20, Tier::Ci);
}

#[test]
#[ignore = "long: 500 swaps"]
fn swaps_500_times_under_a_stream() {
    swaps(500, Tier::Hand);
}

fn swaps(wanted: u64, tier: Tier) {
    let site = site().rule("10-says.wasm", "test/says", "");
    let mut server = site.start();
    let versions = ["test/says", "test/says-b"].map(|module| upload(&mut server, module));
    let stream = Stream::start(site.port);
    stream.wait_answered(5 * BETWEEN);
    let before_swaps = Instant::now();

    let mut swapping = Vec::new();
    let mut by = BTreeMap::new();
    for n in 0..wanted {
        let target = &versions[((n + 1) % 2) as usize];
        let began = Instant::now();
        let way = ["activate", "file", "activate", "rollback"][(n % 4) as usize];
        match way {
            "file" => by_file(&site, &mut server, target, n),
            way => by_api(&mut server, target, way),
        }
        swapping.push((began, Instant::now()));
        *by.entry(way).or_insert(0u64) += 1;
        stream.wait_answered(BETWEEN);
    }
    let (sent, answers) = stream.finish();
    server.wait_folded();

    let counted = count(&mut server, &sent);
    assert_eq!(counted.lost, 0, "{:?}", counted.ledger);
    assert!(counted.versions.len() == 2 && !counted.versions.contains_key(""), "both versions saw events, and one of them each: {:?}", counted.versions);
    let generations = versions_by_generation(&mut server, &versions);
    let mixed = view::alerts(&mut server).iter().filter(|alert| !is_of_its_generation(alert, &generations)).count();
    assert_eq!(mixed, 0, "{generations:?}");
    let documents = digests(&mut server);
    assert!(server.stop().0.success());
    never_killed(&site, &self::site(), &documents);

    let is_swapping = |answer: &&Answer| swapping.iter().any(|(from, to)| answer.at >= *from && answer.at - answer.took <= *to);
    let calm: Vec<Duration> = answers.iter().filter(|answer| answer.at < before_swaps).map(|answer| answer.took).collect();
    let swaps: Vec<Duration> = answers.iter().filter(is_swapping).map(|answer| answer.took).collect();
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let pause = |from: Instant, to: Instant| {
        let mut at: Vec<Instant> = answers.iter().map(|answer| answer.at).filter(|at| (from..to).contains(at)).collect();
        at.sort();
        at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    };
    let last = swapping.last().expect("a swap").1;
    record(
        "swaps",
        tier,
        &[
            ("swaps", &wanted),
            ("by_activate", &by["activate"]),
            ("by_rollback", &by["rollback"]),
            ("by_file", &by["file"]),
            ("generations_begun", &generations.len()),
            ("events", &sent.acknowledged.len()),
            ("lost", &0),
            ("doubled", &0),
            ("events_of_another_version_than_their_generation", &mixed),
            ("alerts_equal_to_a_run_without_swaps", &documents.len()),
            ("intake_p50_before_ms", &ms(nth(&calm, 50))),
            ("intake_p99_before_ms", &ms(nth(&calm, 99))),
            ("intake_p50_during_ms", &ms(nth(&swaps, 50))),
            ("intake_p99_during_ms", &ms(nth(&swaps, 99))),
            ("longest_pause_between_answers_before_ms", &ms(pause(answers[0].at, before_swaps))),
            ("longest_pause_between_answers_during_ms", &ms(pause(before_swaps, last))),
        ],
    );
}

fn site() -> Site {
    Site::new().set("DATA__JOURNAL_KEEP", "16GiB").set("DATA__JOURNAL_MAX", "32GiB")
}

/// A version, as the API and as the tag of its events name it.
#[derive(Debug)]
struct Version {
    module: &'static str,
    version: String,
    digest: String,
    tag: &'static str,
}

fn upload(server: &mut Server, module: &'static str) -> Version {
    let bytes = std::fs::read(rule_file(module)).expect("a module");
    let answer = server.http.post("/api/v1/rules/says/versions", &[("content-type", "application/wasm")], &bytes).expect("an answer");
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    let row: Value = answer.json();
    let tag = if module.ends_with("-b") { "b" } else { "a" };
    Version { module, version: view::text(&row, "version"), digest: view::text(&row, "digest"), tag }
}

fn by_api(server: &mut Server, target: &Version, way: &str) {
    let slot = server.get("/api/v1/rules/says");
    let tag = slot.header("etag").expect("an ETag").to_owned();
    let headers = [("content-type", "application/json"), ("if-match", tag.as_str())];
    let (path, body) = match way {
        "rollback" => ("/api/v1/rules/says:rollback".to_owned(), json!({"operator": "test"})),
        _ => (format!("/api/v1/rules/says/versions/{}:activate", target.digest), json!({"operator": "test", "allow_downgrade": true})),
    };
    let answer = server.http.post(&path, &headers, body.to_string().as_bytes()).expect("an answer");
    let done: Value = answer.json();
    assert_eq!((answer.status, &done["changed"], &done["to"]), (200, &json!(true), &json!(target.digest)), "{way}: {done}");
}

/// Module and options, so that the offer is another one each time.
fn by_file(site: &Site, server: &mut Server, target: &Version, n: u64) {
    std::fs::write(site.rules_dir().join("10-says.toml"), format!("[limits]\ntime_ms = {}\n", 200 + n % 50)).expect("options");
    site.put_rule("10-says.wasm", target.module);
    until("the file's version runs", PATIENCE, || {
        let slot = server.json("/api/v1/rules/says");
        (slot["active"]["version"] == target.version && slot["source"] == "folder").then_some(())
    });
}

/// Which version each generation ran, as the history has it.
fn versions_by_generation(server: &mut Server, versions: &[Version; 2]) -> BTreeMap<u64, &'static str> {
    let mut tags = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = server.json(&format!("/api/v1/rules:history?rule=says&limit=1000{cursor}"));
        for row in page["items"].as_array().expect("items") {
            if let Some(generation) = row["generation"].as_u64() {
                let version = versions.iter().find(|version| row["to"] == version.digest).unwrap_or_else(|| panic!("{row}"));
                tags.insert(generation, version.tag);
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return tags,
        }
    }
}

/// Whether the alert's event has the tag of the version that its generation ran.
fn is_of_its_generation(alert: &Value, generations: &BTreeMap<u64, &'static str>) -> bool {
    let tags = alert["event"]["tags"].as_array().expect("tags");
    let tag = tags.iter().find(|tag| tag["key"] == "version").and_then(|tag| tag["value"].as_str());
    let generation = alert["rule_generation"].as_u64().expect("a generation");
    tag.is_some() && generations.get(&generation).copied() == tag
}

/// The smallest time that so many of a hundred do not exceed.
fn nth(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// An acknowledged request.
struct Answer {
    at: Instant,
    took: Duration,
}

/// Senders that repeat each request until it is acknowledged.
struct Stream {
    answered: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    all: Arc<Mutex<(HashSet<String>, Vec<Answer>)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    fn start(port: u16) -> Stream {
        let (answered, done, all) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Arc::default());
        let threads = (0..SENDERS).map(|sender| {
            let (answered, done, all) = (answered.clone(), done.clone(), Arc::clone(&all));
            std::thread::spawn(move || send(port, sender, &answered, &done, &all))
        });
        let threads = threads.collect();
        Stream { answered, done, all, threads }
    }

    fn wait_answered(&self, more: u64) {
        let target = self.answered.load(SeqCst) + more;
        until("the stream goes on", PATIENCE, || {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a sender has failed");
            (self.answered.load(SeqCst) >= target).then_some(())
        });
    }

    fn finish(self) -> (Sent, Vec<Answer>) {
        self.done.store(true, SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a sender"));
        let (acknowledged, answers) = std::mem::take(&mut *self.all.lock().expect("no sender panicked"));
        (Sent { acknowledged, unclear: Vec::new() }, answers)
    }
}

fn send(port: u16, sender: u64, answered: &AtomicU64, done: &AtomicBool, all: &Mutex<(HashSet<String>, Vec<Answer>)>) {
    let (mut http, time) = (Http::new(port), now_s() - 60);
    for request in 0.. {
        let ids: Vec<String> = (0..EVENTS).map(|i| format!("s{sender}-{request}-{i}")).collect();
        let events: Vec<Value> = ids.iter().map(|id| event(id, "Swap", id, time, "ABNORMAL")).collect();
        let body = serde_json::to_vec(&events).expect("json");
        let began = Instant::now();
        until("a request is acknowledged", PATIENCE, || {
            let answer = http.post_json("/api/v1/events", &body).expect("an answer: the server is never stopped");
            assert!(matches!(answer.status, 200 | 429), "{} {}", answer.status, answer.text());
            (answer.status == 200).then_some(())
        });
        let at = Instant::now();
        let mut all = all.lock().expect("no sender panicked");
        all.0.extend(ids);
        all.1.push(Answer { at, took: at - began });
        drop(all);
        answered.fetch_add(1, SeqCst);
        if done.load(SeqCst) {
            return;
        }
        std::thread::sleep(PACE);
    }
}
