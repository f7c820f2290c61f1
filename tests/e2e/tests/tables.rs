//! Look-up tables on the real server: swapped under load, one from a file and one from a URL; a source that goes away; a kill
//! with the source gone; what the command line says and how it ends.

use alertmill_e2e::{Done, PATIENCE, Server, Site, binary, event, now_s, until, view};
use alertmill_proof::{Tier, record};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// A server of one document, which knows its own entity tag.
struct Inventory {
    port: u16,
    document: Arc<Mutex<(u16, String)>>,
    whole: Arc<AtomicU64>,
    unchanged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inventory {
    fn start(port: u16, document: &str) -> Inventory {
        let listener = until("the port is free", PATIENCE, || TcpListener::bind(("127.0.0.1", port)).ok());
        let port = listener.local_addr().expect("its address").port();
        let document = Arc::new(Mutex::new((200, document.to_owned())));
        let (whole, unchanged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (document, whole, unchanged, stop) = (document.clone(), whole.clone(), unchanged.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Relaxed) {
                        return;
                    }
                    // A client that goes away is no matter of ours.
                    let _ = serve(stream, &document, &whole, &unchanged);
                }
            })
        };
        Inventory { port, document, whole, unchanged, stop, thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hosts?token=hunter2", self.port)
    }

    fn say(&self, status: u16, document: &str) {
        *self.document.lock().expect("no panic") = (status, document.to_owned());
    }

    /// It goes away; nobody listens at its port.
    fn stop(mut self) -> u16 {
        self.stop.store(true, Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.thread.take().expect("once").join().expect("no panic");
        self.port
    }
}

/// One request of a connection, which then ends.
fn serve(stream: TcpStream, document: &Mutex<(u16, String)>, whole: &AtomicU64, unchanged: &AtomicU64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut known = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((_, tag)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("if-none-match")) {
            known = tag.trim().to_owned();
        }
    }
    let (status, text) = document.lock().expect("no panic").clone();
    let tag = format!("\"{:x}\"", text.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))));
    if status == 200 && known == tag {
        unchanged.fetch_add(1, Relaxed);
        return write!(reader.get_mut(), "HTTP/1.1 304 X\r\nconnection: close\r\netag: {tag}\r\n\r\n");
    }
    whole.fetch_add(1, Relaxed);
    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\nconnection: close\r\netag: {tag}\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

const HOSTS: u64 = 50;

/// A table in which every cell says the version: as CSV, or as a list of objects in which everything is the other way round.
fn hosts(version: u64, is_csv: bool) -> String {
    if is_csv {
        let rows: String = (0..HOSTS).map(|n| format!("h{n},v{version},v{version},v{version},v{version}\n")).collect();
        return format!("host,owner,team,service,tier\n{rows}");
    }
    let cell = format!("v{version}");
    let object = |n| json!({"tier": cell, "service": cell, "team": cell, "owner": cell, "host": format!("h{n}")});
    Value::Array((0..HOSTS).rev().map(object).collect()).to_string()
}

/// An event that is an alert of its own; every tenth is of a host that no table has.
fn event_of(n: u64) -> Value {
    let mut event = event(&format!("e{n}"), "Swapped", "x", now_s(), "ABNORMAL");
    let host = if n.is_multiple_of(10) { "nobody".to_owned() } else { format!("h{}", n % HOSTS) };
    event["tags"] = json!([{"key": "host", "value": host}, {"key": "n", "value": n.to_string()}]);
    event["dedupe_keys"] = json!(["tags.n"]);
    event
}

/// What a file holds is there in one step, as an operator should do it.
fn put(site: &Site, name: &str, content: &str) {
    let new = site.path().join(format!("{name}.new"));
    std::fs::write(&new, content).expect("written");
    std::fs::rename(new, site.path().join(name)).expect("renamed");
}

fn refresh(server: &mut Server, name: &str) -> (u16, Value) {
    let path = format!("/api/v1/tables/{name}:refresh");
    let answer = server.http.post_json(&path, b"").unwrap_or_else(|e| panic!("{path}: {e}\n{}", server.log()));
    (answer.status, answer.json())
}

fn table(server: &mut Server, name: &str) -> Value {
    server.json(&format!("/api/v1/tables/{name}"))
}

/// Posts events from several threads until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(port: u16) -> Load {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sender = |_| {
            let (stop, sent) = (stop.clone(), sent.clone());
            std::thread::spawn(move || {
                let mut http = alertmill_e2e::Http::new(port);
                while !stop.load(Relaxed) {
                    let first = sent.fetch_add(4, Relaxed);
                    let events: Vec<Value> = (first..first + 4).map(event_of).collect();
                    let answer = http.post_json("/api/v1/events", &serde_json::to_vec(&events).expect("json")).expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            })
        };
        let threads = (0..2).map(sender).collect();
        Load { stop, sent, threads }
    }

    /// How many events were sent.
    fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("every event was taken"));
        self.sent.load(Relaxed)
    }
}

/// Swaps `hosts` and a table that no rule reads in turn, under load. Gives the events, and which version each generation has.
fn swap_under_load(site: &Site, swaps: u64, mut say: impl FnMut(&str, &str)) -> (u64, u64) {
    let mut server = site.start();
    let load = Load::start(server.port);
    // Since which generation which version is in force, as the server answers.
    let first = table(&mut server, "hosts");
    let mut versions = BTreeMap::from([(first["generation"].as_u64().expect("a generation"), 0)]);
    let mut slowest_ms = 0;
    for version in 1..=swaps {
        for name in ["hosts", "other"] {
            let is_csv = version.is_multiple_of(2);
            say(name, &hosts(version, is_csv));
            let began = Instant::now();
            let (status, refreshed) = refresh(&mut server, name);
            assert_eq!(status, 200, "{refreshed}");
            slowest_ms = slowest_ms.max(began.elapsed().as_millis());
            let generation = refreshed["generation"].as_u64().expect("a generation");
            if name == "hosts" {
                versions.insert(generation, version);
            }
            say(name, &hosts(version, !is_csv));
            let (_, same) = refresh(&mut server, name);
            assert_eq!((&same["changed"], &same["generation"]), (&json!(false), &refreshed["generation"]), "the same in another order: {same}");
        }
    }
    let sent = load.stop();
    server.wait_folded();
    assert_eq!(versions.len() as u64, swaps + 1, "each swap is a generation of its own: {versions:?}");

    let (mut judged, mut unknown, mut generations) = (0, 0, BTreeMap::new());
    for alert in view::alerts(&mut server) {
        let generation = alert["rule_generation"].as_u64().expect("a generation");
        let tags: BTreeMap<&str, &str> =
            alert["event"]["tags"].as_array().expect("tags").iter().filter_map(|tag| Some((tag["key"].as_str()?, tag["value"].as_str()?))).collect();
        if tags["host"] == "nobody" {
            assert!(!tags.contains_key("owner"), "{alert}");
            unknown += 1;
            continue;
        }
        let (_, version) = versions.range(..=generation).next_back().expect("a generation that was begun");
        for tag in ["owner", "team", "service", "tier"] {
            assert_eq!(tags.get(tag).copied(), Some(format!("v{version}").as_str()), "generation {generation} of {versions:?}: {alert}");
        }
        *generations.entry(generation).or_insert(0u64) += 1;
        judged += 1;
    }
    assert_eq!(judged + unknown, sent, "every event that was taken is an alert");
    let row = table(&mut server, "hosts");
    assert_eq!((row["hits"].as_u64(), row["misses"].as_u64()), (Some(judged), Some(unknown)), "hits are look-ups, over all swaps: {row}");
    let metrics = server.metrics();
    assert_eq!(metrics.get("alertmill_table_hits_total{table=\"hosts\"}"), judged as f64);
    assert_eq!(metrics.get("alertmill_table_misses_total{table=\"hosts\"}"), unknown as f64);
    assert_eq!(metrics.get("alertmill_table_hits_total{table=\"other\"}"), 0.0);
    assert_eq!(metrics.get("alertmill_table_rows{table=\"hosts\"}"), HOSTS as f64);
    assert_eq!(metrics.get("alertmill_table_generation{table=\"hosts\"}"), *versions.keys().next_back().expect("one") as f64);
    view::ledger(&mut server);
    println!("tables: {sent} events under {} generations, slowest swap {slowest_ms} ms", generations.len());
    let (status, _) = server.stop();
    assert!(status.success());
    (sent, generations.len() as u64)
}

fn with_tables(hosts: &str, other: &str) -> Site {
    let config = format!("[tables.hosts]\nkey = \"host\"\n{hosts}\n[tables.other]\nkey = \"host\"\n{other}");
    Site::new().config(&config).rule("10-owner-from-table.wasm", "owner-from-table", "grants = [\"tables\"]")
}

/// Swaps with `hosts` from one kind of source and the other table from the other kind. Gives events and generations, and how
/// often the URL was answered whole, and that nothing has changed.
fn swaps_of(hosts_from_url: bool, swaps: u64) -> (u64, u64, u64, u64) {
    let inventory = Inventory::start(0, &hosts(0, true));
    let from_url = format!("url = \"{}\"\nrefresh_s = 0", inventory.url());
    let from_file = "file = \"table.csv\"";
    let (site, key) = match hosts_from_url {
        true => (with_tables(&from_url, from_file), "TABLES__OTHER__FILE"),
        false => (with_tables(from_file, &from_url), "TABLES__HOSTS__FILE"),
    };
    let file = site.path().join("table.csv").display().to_string();
    let site = site.set(key, file);
    put(&site, "table.csv", &hosts(0, true));
    let (events, generations) = swap_under_load(&site, swaps, |name, content| match (name == "hosts") == hosts_from_url {
        true => inventory.say(200, content),
        false => put(&site, "table.csv", content),
    });
    let (whole, unchanged) = (inventory.whole.load(Relaxed), inventory.unchanged.load(Relaxed));
    inventory.stop();
    (events, generations, whole, unchanged)
}

#[test]
fn every_event_is_judged_by_one_version_of_its_table() {
    const SWAPS: u64 = 4;
    // Tables are swapped once a second at most: the two sites wait at the same time.
    let both = std::thread::scope(|threads| {
        let both = [true, false].map(|hosts_from_url| threads.spawn(move || swaps_of(hosts_from_url, SWAPS)));
        both.map(|swapping| swapping.join().expect("no panic"))
    });
    for (_, _, whole, unchanged) in both {
        assert_eq!((whole, unchanged), (2 * SWAPS + 1, 0), "one fetch for each content");
    }
    let [by_url, by_file] = both;
    record(
        "tables-swapped",
        Tier::Ci,
        &[
            ("events", &(by_url.0 + by_file.0)),
            ("table_swaps", &(4 * SWAPS)),
            ("generations_with_events", &(by_url.1 + by_file.1)),
            ("events_of_two_versions", &0),
            ("look_ups_not_counted", &0),
        ],
    );
}

/// The owner that the rule gave an event that is sent now.
fn owner_now(server: &mut Server, name: &str) -> Option<String> {
    let mut sent = event(name, name, "h7", now_s(), "ABNORMAL");
    sent["dedupe_keys"] = json!(["alert_name"]);
    server.post_events(&[sent]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(server, name));
    let tags = alert["event"]["tags"].as_array().expect("tags").clone();
    tags.iter().find(|tag| tag["key"] == "owner").and_then(|tag| tag["value"].as_str().map(str::to_owned))
}

#[test]
fn a_source_that_goes_away_keeps_its_table_also_over_a_kill() {
    let inventory = Inventory::start(0, &hosts(2, true));
    let keys = format!("url = \"{}\"\nrefresh_s = 5\nstale_after_s = 1", inventory.url());
    let site = Site::new().config(&format!("[tables.hosts]\nkey = \"host\"\n{keys}"));
    let site = site.rule("10-owner-from-table.wasm", "owner-from-table", "grants = [\"tables\"]");
    let mut server = site.start();
    assert_eq!(owner_now(&mut server, "first").as_deref(), Some("v2"), "the first generation waited for the table");
    let before = table(&mut server, "hosts");
    let is_gone = |server: &mut Server| {
        until("the table is stale and says why", PATIENCE, || {
            let row = table(server, "hosts");
            (row["stale"] == true && row["problem"]["code"] == "table-fetch").then_some(row)
        })
    };
    // Within its interval nobody notices; who asks does.
    let port = inventory.stop();
    let (status, problem) = refresh(&mut server, "hosts");
    assert_eq!((status, &problem["code"]), (502, &json!("table-fetch")), "{problem}");
    let row = is_gone(&mut server);
    assert_eq!((&row["digest"], &row["generation"], &row["rows"]), (&before["digest"], &before["generation"], &before["rows"]));
    assert_eq!(server.metrics().get("alertmill_table_stale{table=\"hosts\"}"), 1.0);
    assert_eq!(server.json("/api/v1/rules")["items"][0]["degraded"], json!(["table hosts stale"]));
    assert_eq!(owner_now(&mut server, "while-gone").as_deref(), Some("v2"));
    assert!(server.is_ready(), "a table that is stale stops nothing");
    server.kill();

    let began = Instant::now();
    let mut server = site.start();
    let ready_ms = began.elapsed().as_millis();
    assert_eq!(owner_now(&mut server, "after-kill").as_deref(), Some("v2"), "the table is the one of before");
    let row = is_gone(&mut server);
    assert_eq!((&row["digest"], &row["generation"], &row["rows"]), (&before["digest"], &before["generation"], &before["rows"]), "and nothing was begun");
    assert!(!server.log().contains("hunter2") && !row.to_string().contains("hunter2"), "what is secret in a URL is shown nowhere");

    // It comes back with other content, and is asked again by itself.
    let inventory = Inventory::start(port, &hosts(4, true));
    until("the table is fetched again", PATIENCE, || (table(&mut server, "hosts")["digest"] != before["digest"]).then_some(()));
    assert_eq!(owner_now(&mut server, "back").as_deref(), Some("v4"));
    until("it says that nothing has changed", PATIENCE, || (inventory.unchanged.load(Relaxed) > 0).then_some(()));
    let row = table(&mut server, "hosts");
    assert_eq!((&row["problem"], row["generation"].as_u64()), (&Value::Null, before["generation"].as_u64().map(|generation| generation + 1)), "{row}");
    inventory.stop();
    println!("tables: ready {ready_ms} ms after a kill with the source gone");
}

/// The command line against this server: exit code, stdout, stderr.
fn alertmill(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let Done { code, out, err } = Done::of(Command::new(binary()).args(arguments).args(["--server", &server.url()]));
    (code, out, err)
}

#[test]
fn the_command_line_shows_and_refreshes_tables() {
    let inventory = Inventory::start(0, &hosts(2, true));
    let site = with_tables(&format!("url = \"{}\"\nrefresh_s = 0\nrows_max = {HOSTS}", inventory.url()), "file = \"other.csv\"");
    let other = site.path().join("other.csv");
    let site = site.set("TABLES__OTHER__FILE", other.display());
    put(&site, "other.csv", &hosts(0, true));
    let server = site.start();
    let run = |arguments: &[&str]| alertmill(&server, arguments);

    let (code, out, _) = run(&["table", "list"]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(code == 0 && lines.len() == 3 && lines[0].starts_with("NAME") && lines[1].starts_with("hosts") && lines[2].starts_with("other"), "{out}");
    let (code, out, _) = run(&["table", "show", "hosts", "-o", "json"]);
    let row: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &row["rows"], &row["columns"]), (0, &json!(HOSTS), &json!(["host", "owner", "service", "team", "tier"])));
    let (code, out, _) = run(&["table", "show", "hosts", "--key", "h7", "-o", "json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).expect("json")["owner"].as_str()), (0, Some("v2")));
    let (code, out, _) = run(&["table", "refresh", "hosts", "-o", "json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).expect("json")["items"][0]["changed"].as_bool()), (0, Some(false)), "{out}");
    inventory.say(200, &hosts(4, true));
    let (code, out, _) = run(&["table", "refresh", "--all", "-o", "ndjson"]);
    let changed: Vec<bool> = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("json")["changed"] == true).collect();
    assert_eq!((code, changed), (0, vec![true, false]), "{out}");

    let columns_missing = "host,team,service,tier\nh1,a,b,c\n";
    let too_many: String = format!("{}extra,a,b,c,d\n", hosts(4, true));
    for (status, document, code, says) in [
        (200, columns_missing, 5, "table-held-back"),
        (200, "host;owner\n", 1, "table-invalid"),
        (200, too_many.as_str(), 1, "table-too-large"),
        (500, "", 69, "table-fetch"),
    ] {
        inventory.say(status, document);
        let (found, out, err) = run(&["table", "refresh", "hosts"]);
        assert_eq!((found, out.as_str()), (code, ""), "{says}: {err}");
        assert!(err.contains(says) && !err.contains("hunter2"), "{says}: {err}");
        let (_, out, _) = run(&["table", "show", "hosts", "--key", "h7", "-o", "json"]);
        assert!(out.contains("v4"), "the last good one goes on: {out}");
        println!("tables: exit {found}: {}", err.trim_end());
    }
    let (code, out, err) = run(&["table", "refresh", "--all"]);
    assert!(code == 6 && out.contains("other") && err.contains("table-fetch"), "{code} {out} {err}");
    for (arguments, code) in [
        (&["table", "show", "none"][..], 3),
        (&["table", "show", "../rules"][..], 3),
        (&["table", "show", "hosts", "--key", "h99"][..], 3),
        (&["table", "refresh", "none"][..], 3),
        (&["table", "refresh"][..], 2),
        (&["table", "refresh", "hosts", "--all"][..], 2),
    ] {
        let (found, out, err) = run(arguments);
        assert!(found == code && out.is_empty() && !err.is_empty(), "{arguments:?}: {found} {out} {err}");
    }
    inventory.stop();
}
