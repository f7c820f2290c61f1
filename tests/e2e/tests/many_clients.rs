//! A thousand clients with one event a request: one sync covers many requests, the rules see full batches, and each item is
//! parsed once. The figures are those of `/metrics`.

use alertmill_e2e::{Metrics, Random, Site, event, now_s, rule_file, view};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENTS: u64 = 1_000;

#[test]
fn one_event_a_request() {
    run(20);
}

#[test]
#[ignore = "long: 200 events of each client"]
fn one_event_a_request_for_longer() {
    run(200);
}

fn run(requests: u64) {
    allow_files(CLIENTS + 500);
    let hosts: String =
        std::iter::once("host,owner,team,service,tier\n".to_owned()).chain((0..200).map(|i| format!("h{i},owner-{i},team-{},shop,1\n", i % 7))).collect();
    let site = Site::new();
    std::fs::write(site.path().join("hosts.csv"), hosts).expect("table");
    let table = format!("[tables.hosts]\nfile = \"{}\"\nkey = \"host\"", site.path().join("hosts.csv").display());
    assert!(rule_file("owner-from-table").exists());
    let site = site
        .config(&table)
        .rule("10-owner-from-table.wasm", "owner-from-table", "grants = [\"tables\"]")
        .rule("20-severity-by-labels.wasm", "severity-by-labels", "")
        .rule("30-dedupe-by-tags.wasm", "dedupe-by-tags", "");
    let mut server = site.start();
    let rules = server.json("/api/v1/rules");
    let active = rules["items"].as_array().expect("items").iter().filter(|rule| rule["state"] == "active").count();
    assert_eq!(active, 3, "{rules}");

    let before = server.metrics();
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(everyone(server.port, requests));
    let took = began.elapsed();
    server.wait_folded();
    let after = server.metrics();
    let figures = Figures::of(&before, &after);
    println!(
        "many_clients: {CLIENTS} clients, {} requests in {:.1} s ({:.0}/s): {figures:?}",
        CLIENTS * requests,
        took.as_secs_f64(),
        (CLIENTS * requests) as f64 / took.as_secs_f64()
    );

    assert_eq!(figures.items, (CLIENTS * requests) as f64);
    assert_eq!(figures.parses_per_item, 1.0, "each item is parsed once");
    assert!(figures.rows_per_call >= 64.0, "{figures:?}");
    assert!(figures.syncs_per_request <= 1.0 / 16.0, "{figures:?}");
    let ledger = view::ledger(&mut server);
    let folded = ledger.get("folded").copied().unwrap_or(0) + ledger.get("stored_only.lower-severity").copied().unwrap_or(0);
    assert_eq!(folded, CLIENTS * requests, "{ledger:?}");
    let alert = view::alerts(&mut server).pop().expect("alerts");
    let tags = alert["event"]["tags"].as_array().expect("tags");
    assert!(tags.iter().any(|tag| tag["key"] == "owner"), "the table's owner is there: {alert}");
}

#[derive(Debug)]
#[allow(dead_code, reason = "read by its Debug form")]
struct Figures {
    items: f64,
    parses_per_item: f64,
    rows_per_call: f64,
    rows_per_prepare_batch: f64,
    syncs_per_request: f64,
    requests_per_group: f64,
}

impl Figures {
    fn of(before: &Metrics, after: &Metrics) -> Figures {
        let rise = |name: &str| after.get(name) - before.get(name);
        let items = rise("alertmill_items_total");
        Figures {
            items,
            parses_per_item: rise("alertmill_item_parses_total") / items,
            rows_per_call: rise("alertmill_engine_batch_rows_sum") / rise("alertmill_engine_batch_rows_count"),
            rows_per_prepare_batch: rise("alertmill_prepare_batch_rows_sum") / rise("alertmill_prepare_batch_rows_count"),
            syncs_per_request: rise("alertmill_journal_fdatasyncs_total") / items,
            requests_per_group: rise("alertmill_journal_records_total") / rise("alertmill_journal_groups_total"),
        }
    }
}

/// All clients connect first; then each sends its events one after the other over its own connection.
async fn everyone(port: u16, requests: u64) {
    let start = now_s() - 60;
    let mut random = Random::of("many_clients");
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        let stream = tokio::time::timeout(Duration::from_secs(30), TcpStream::connect(("127.0.0.1", port))).await;
        connections.push(stream.expect("a connection in time").expect("a connection"));
    }
    let clients = connections.into_iter().enumerate().map(|(client, stream)| tokio::spawn(one(stream, client, requests, start, random.split())));
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
}

async fn one(mut stream: TcpStream, client: usize, requests: u64, start: u64, mut random: Random) {
    stream.set_nodelay(true).expect("option");
    let mut answer = Vec::new();
    for number in 0..requests {
        let body = event(&format!("{client}-{number}"), "Many", &format!("h{}", random.below(200)), start + number / 10, "ABNORMAL").to_string();
        let request =
            format!("POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        tokio::time::timeout(Duration::from_secs(60), async {
            stream.write_all(request.as_bytes()).await.expect("sent");
            answer.clear();
            while !is_whole(&answer) {
                assert_ne!(stream.read_buf(&mut answer).await.expect("read"), 0, "closed: {}", String::from_utf8_lossy(&answer));
            }
        })
        .await
        .expect("an answer in time");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>().expect("a length")));
    body.len() >= length.expect("answers have a length")
}

/// The server inherits it too.
fn allow_files(wanted: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        assert!(limit.maximum.is_none_or(|most| most >= wanted), "this test needs {wanted} open files; raise `ulimit -Hn`");
        limit.current = Some(wanted);
        setrlimit(Resource::Nofile, limit).expect("soft limit of open files");
    }
}
