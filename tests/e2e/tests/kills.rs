//! Promises I1, I2, I6, I7, I8: whatever is killed whenever, every acknowledged event counts exactly once, and the documents
//! are byte for byte those of a server that read the same journal and was never killed.

use alertmill_e2e::{Http, PATIENCE, Random, Server, Site, event, now_s, until, view};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Senders at the same time. Each has hosts of its own, so that the order of one fingerprint's events is its own.
const CLIENTS: u64 = 4;
const HOSTS_PER_CLIENT: u64 = 12;
/// Events of the one large request that a rule-set generation has to wait behind.
const BACKLOG: usize = 30_000;

#[test]
fn kills_at_20_points() {
    kills(20);
}

#[test]
#[ignore = "long: 100 kills"]
fn kills_at_100_points() {
    kills(100);
}

fn kills(count: u64) {
    let mut random = Random::of("kills");
    let site = site().rule("10-says.wasm", "test/says", "").rule("20-severity-by-labels.wasm", "severity-by-labels", "");
    let began = Instant::now();
    let (acknowledged, swaps, backlogs) = storm(&site, &mut random, count);
    println!(
        "kills: {count} kills and {swaps} rule swaps in {:.1} s, {} events acknowledged, {backlogs} kills with a backlog behind a generation switch",
        began.elapsed().as_secs_f64(),
        acknowledged.len()
    );
    assert_eq!(backlogs, count / 5, "every fifth kill has one");

    let mut server = site.start();
    server.wait_folded();
    counted_once(&mut server, &acknowledged);
    let killed = view::documents(&mut server);
    let generations: HashSet<u64> = killed.values().map(|text| parse(text)["rule_generation"].as_u64().expect("a number")).collect();
    println!("kills: {} alerts of {} generations", killed.len(), generations.len());
    assert!(server.stop().0.success());
    never_killed(&site, &killed);
}

/// Small journal segments, so that kills also fall between them, and nothing of it thrown away, so that it can be read again.
fn site() -> Site {
    Site::new().set("DATA__JOURNAL_SEGMENT", "1MiB").set("DATA__JOURNAL_KEEP", "4GiB")
}

/// Sends, kills, swaps. Gives the ids of all acknowledged events, and how often rules were swapped and a kill left records
/// of two generations unfolded.
fn storm(site: &Site, random: &mut Random, count: u64) -> (HashSet<String>, u64, u64) {
    let (done, hold, taken) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let start = now_s() - 600;
    let (mut swaps, mut backlogs, mut acknowledged) = (Swaps { site, count: 0 }, 0, HashSet::new());
    std::thread::scope(|scope| {
        let _stopping = Stopping(&done);
        let senders: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (done, hold, taken, random) = (&done, &hold, &taken, random.split());
                scope.spawn(move || send_until((site.port, client), start, random, (done, hold), taken))
            })
            .collect();
        for round in 0..count {
            let mut server = site.spawn();
            match round % 5 {
                // While it starts, perhaps in the middle of the replay.
                3 => std::thread::sleep(Duration::from_millis(random.below(150))),
                // With a generation's record in the middle of a backlog.
                1 => {
                    server.wait_ready();
                    let mut attempt = 0;
                    // A machine that folds faster than it looks at the folder has nothing left; then once more.
                    until("a backlog spans a generation switch", PATIENCE, || {
                        attempt += 1;
                        let batch: Vec<Value> = (0..BACKLOG)
                            .map(|i| {
                                event(&format!("backlog-{round}-{attempt}-{i}"), "Backlog", &format!("many-{}", i % 300), start + i as u64 / 100, "ABNORMAL")
                            })
                            .collect();
                        acknowledged.extend(batch.iter().map(|event| view::text(event, "event_id")));
                        (swap_behind(&mut swaps, &mut server, &batch, &hold) > 0).then_some(())
                    });
                    backlogs += 1;
                }
                // In the middle of the stream, a random number of requests further, some of them with new rules.
                _ => {
                    server.wait_ready();
                    if round % 5 == 0 {
                        swaps.swap();
                    }
                    let target = taken.load(Ordering::Relaxed) + 1 + random.below(40);
                    until("senders get on", PATIENCE, || (taken.load(Ordering::Relaxed) >= target).then_some(()));
                    std::thread::sleep(Duration::from_micros(random.below(5_000)));
                }
            }
            server.kill();
            if round % 5 == 2 {
                // Replaced while nobody looks.
                swaps.swap();
            }
        }
        let mut last = site.start();
        let target = taken.load(Ordering::Relaxed) + CLIENTS * 5;
        until("senders get on after the last kill", PATIENCE, || (taken.load(Ordering::Relaxed) >= target).then_some(()));
        done.store(true, Ordering::Relaxed);
        for sender in senders {
            acknowledged.extend(sender.join().expect("a sender"));
        }
        last.wait_folded();
        assert!(last.stop().0.success());
    });
    (acknowledged, swaps.count, backlogs)
}

/// Ends the senders however the storm ends.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts the other version of the rule into the folder.
struct Swaps<'a> {
    site: &'a Site,
    count: u64,
}

impl Swaps<'_> {
    fn swap(&mut self) {
        self.count += 1;
        self.site.put_rule("10-says.wasm", ["test/says", "test/says-b"][(self.count % 2) as usize]);
    }

    /// What the folder asks for now.
    fn version(&self) -> &'static str {
        ["1.0.0", "1.1.0"][(self.count % 2) as usize]
    }
}

/// Puts a large request into the journal and a generation's record behind its beginning, and says how many items were not
/// folded when both were there.
fn swap_behind(swaps: &mut Swaps, server: &mut Server, batch: &[Value], hold: &AtomicBool) -> u64 {
    until("the folder's rules are in force", PATIENCE, || {
        let rules = server.json("/api/v1/rules");
        let says = rules["items"].as_array()?.iter().find(|rule| rule["name"] == "says")?;
        (says["version"] == swaps.version()).then_some(())
    });
    let begun = |server: &Server| server.log().matches("rule-set generation begun").count();
    let before = begun(server);
    let body = serde_json::to_vec(batch).expect("json");
    let port = server.port;
    std::thread::scope(|scope| {
        let posting = scope.spawn(move || {
            let mut http = Http::new(port);
            until("the backlog is acknowledged", PATIENCE, || {
                let answer = http.post_json("/api/v1/events", &body).expect("answer");
                assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
                // It needs room for all of it, which the others' requests fill up first on a slow machine.
                hold.store(answer.status == 429, Ordering::Relaxed);
                (answer.status == 200).then_some(())
            });
        });
        swaps.swap();
        posting.join().expect("posted");
    });
    until("the generation is begun", PATIENCE, || (begun(server) > before).then_some(()));
    server.metrics().get("alertmill_events_in_flight") as u64
}

/// Posts until `done`, each request again and again with the same events until it is acknowledged. Gives all event ids.
/// While `hold`, others go first.
fn send_until((port, client): (u16, u64), start: u64, mut random: Random, (done, hold): (&AtomicBool, &AtomicBool), taken: &AtomicU64) -> Vec<String> {
    let mut http = Http::new(port);
    let mut ids = Vec::new();
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        until("a sender may go on", PATIENCE, || (!hold.load(Ordering::Relaxed) || done.load(Ordering::Relaxed)).then_some(()));
        let batch: Vec<Value> = (0..1 + random.below(20))
            .map(|_| {
                number += 1;
                let host = format!("c{client}-h{}", random.below(HOSTS_PER_CLIENT));
                let status = if random.below(10) == 0 { "RECOVERED" } else { "ABNORMAL" };
                let mut event = event(&format!("c{client}-{number}"), "Storm", &host, start + number / 20, status);
                event["severity"] = (1 + random.below(3)).into();
                event
            })
            .collect();
        let body = serde_json::to_vec(&batch).expect("json");
        until("a request is acknowledged", PATIENCE, || match http.post_json("/api/v1/events", &body) {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.json::<Value>()["rejected"].as_array().map(Vec::len), Some(0), "{}", answer.text());
                Some(())
            }
            Ok(answer) => {
                assert!(matches!(answer.status, 429 | 503), "{} {}", answer.status, answer.text());
                None
            }
            Err(_) => {
                assert!(!done.load(Ordering::Relaxed), "the storm is over, and not well");
                None
            }
        });
        ids.extend(batch.iter().map(|event| view::text(event, "event_id")));
        taken.fetch_add(1, Ordering::Relaxed);
    }
    ids
}

/// I2 and I6: the ledger adds up to what was acknowledged, and every event that an alert counts is in exactly one list.
fn counted_once(server: &mut Server, acknowledged: &HashSet<String>) {
    let ledger = view::ledger(server);
    let n = |name: &str| ledger.get(name).copied().unwrap_or(0);
    let stored_only: u64 = ledger.iter().filter(|(name, _)| name.starts_with("stored_only.")).map(|(_, value)| value).sum();
    assert_eq!((n("dead_letters"), n("refused"), n("refreshed")), (0, 0, 0), "{ledger:?}");
    assert_eq!(n("folded") + stored_only, acknowledged.len() as u64, "{ledger:?}");
    assert_eq!(n("journaled"), acknowledged.len() as u64 + n("duplicates"), "{ledger:?}");
    let (mut counted, mut sum) = (HashSet::new(), 0);
    let mut versions = BTreeMap::new();
    for alert in view::alerts(server) {
        let events = view::events(server, &view::text(&alert, "id"));
        let own = events.iter().filter(|(role, _)| view::counts(role)).count() as u64;
        assert_eq!(alert["event_count"], own, "{alert}");
        sum += own;
        for (_, event) in events.iter().filter(|(role, _)| view::counts(role)) {
            let id = view::text(event, "event_id");
            assert!(acknowledged.contains(&id), "{id} was never sent");
            let version = event["tags"].as_array().and_then(|tags| tags.iter().find(|tag| tag["key"] == "version")).map(|tag| tag["value"].to_string());
            *versions.entry(version).or_insert(0u64) += 1;
            assert!(counted.insert(id.clone()), "{id} counts twice");
        }
    }
    assert_eq!(sum, n("folded"), "{ledger:?}");
    println!("kills: {ledger:?}; events by the version that saw them: {versions:?}");
    assert!(versions.len() == 2 && !versions.contains_key(&None), "every event is seen by one of the two versions: {versions:?}");
}

/// I8: a server that is given only the journal and the modules, and is left alone, makes the same documents.
fn never_killed(site: &Site, killed: &BTreeMap<String, String>) {
    let fresh = self::site();
    for part in ["journal", "modules"] {
        copy(&site.data_dir().join(part), &fresh.data_dir().join(part));
    }
    copy(&site.rules_dir(), &fresh.rules_dir());
    let mut server = fresh.start();
    server.wait_folded();
    let again = view::documents(&mut server);
    assert_eq!(killed.len(), again.len());
    let differing: Vec<_> = killed.iter().filter(|(id, document)| again.get(*id) != Some(document)).collect();
    if let Some((id, document)) = differing.first() {
        panic!("{} of {} documents differ, first {id}:\nkilled:       {document}\nnever killed: {:?}", differing.len(), killed.len(), again.get(*id));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("json")
}
