//! The raw shapes of `tests/corpus/http-raw.jsonl` and other unfriendly peers, on a real socket before the real listener.

use alertmill::doors::{DoorConfig, Doors, Intake};
use alertmill::http::{BodyLimits, Budget, HostPolicy, Listener, ListenerLimits, Problem, read_body};
use alertmill_core::item::{Item, parses};
use alertmill_core::ports::{Appended, PortError};
use alertmill_core::record::RecordBody;
use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use base64::Engine;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Requests that reached the end of their handler.
#[derive(Default)]
struct Handled {
    ingest: AtomicU64,
    root: AtomicU64,
    smuggled: AtomicU64,
}

impl Handled {
    fn total(&self) -> u64 {
        self.ingest.load(SeqCst) + self.root.load(SeqCst) + self.smuggled.load(SeqCst)
    }
}

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// Less than any time-out of the listener, which would end a connection too.
const SOON: Duration = Duration::from_secs(5);

/// Waits until something is so.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

struct Server {
    address: SocketAddr,
    handled: Arc<Handled>,
    listener: Listener,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(hosts: &[&str], limits: ListenerLimits, body: BodyLimits) -> Server {
        let handled = Arc::new(Handled::default());
        let count = |pick: fn(&Handled) -> &AtomicU64| {
            let handled = handled.clone();
            get(move || async move {
                pick(&handled).fetch_add(1, SeqCst);
            })
        };
        let budget = Budget::new(1 << 20);
        let ingest = {
            let handled = handled.clone();
            post(move |request: Request| async move {
                let (head, body_) = request.into_parts();
                let read = read_body(&head.headers, body_, &body, &budget).await?;
                handled.ingest.fetch_add(1, SeqCst);
                Ok::<_, Problem>(format!("{}", read.bytes.len()))
            })
        };
        let app = Router::new().route("/ingest", ingest).route("/", count(|h| &h.root)).route("/smuggled", count(|h| &h.smuggled));
        Server::serve(app, hosts, limits, handled).await
    }

    async fn serve(app: Router, hosts: &[&str], limits: ListenerLimits, handled: Arc<Handled>) -> Server {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener { hosts: HostPolicy::new(hosts.iter().copied()), limits, ..Listener::default() };
        let (stop, stopped) = oneshot::channel();
        let running = listener.clone();
        let task = tokio::spawn(async move { running.serve(socket, app, async { drop(stopped.await) }).await });
        Server { address, handled, listener, stop: Some(stop), task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, ends the sending side when asked to, and reads all answers until the server closes.
    async fn raw(&self, bytes: &[u8], end: bool) -> Answer {
        self.raw_until(bytes, end, |_| false).await
    }

    /// As [`raw`](Server::raw), but only until there is enough. Gives what there is when neither comes in time.
    async fn raw_until(&self, bytes: &[u8], end: bool, enough: impl Fn(&[u8]) -> bool) -> Answer {
        let mut stream = self.connect().await;
        let (mut reader, mut writer) = stream.split();
        let mut answer = Answer::default();
        let mut buffer = vec![0; 64 << 10];
        let write = async {
            // The server may close before it has taken everything.
            let _ = writer.write_all(bytes).await;
            if end {
                let _ = writer.shutdown().await;
            }
        };
        let until = Instant::now() + PATIENCE;
        let read = async {
            while !enough(&answer.bytes) {
                match timeout_at(until, reader.read(&mut buffer)).await {
                    Ok(Ok(0) | Err(_)) => {
                        answer.closed = true;
                        break;
                    }
                    Ok(Ok(n)) => answer.bytes.extend_from_slice(&buffer[..n]),
                    Err(_) => break,
                }
            }
        };
        tokio::join!(write, read);
        answer
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }
}

#[derive(Debug, Default)]
struct Answer {
    bytes: Vec<u8>,
    closed: bool,
}

impl Answer {
    fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).filter(|status| *status >= 200).collect()
    }
}

struct Case {
    id: String,
    expect: String,
    raw: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let cases: Vec<_> = include_str!("../../../tests/corpus/http-raw.jsonl")
        .lines()
        .map(|line| {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| case[key].as_str().unwrap().to_owned();
            Case { id: text("id"), expect: text("expect"), raw: base64::prelude::BASE64_STANDARD.decode(text("raw_b64")).unwrap() }
        })
        .collect();
    assert_eq!(cases.len(), 40);
    cases
}

#[tokio::test]
async fn corpus_of_raw_requests() {
    let server = Server::start(&["x"], ListenerLimits::default(), BodyLimits::default()).await;
    for Case { id, expect, raw } in cases() {
        let before = (server.handled.total(), server.handled.smuggled.load(SeqCst));
        let answer = server.raw(&raw, true).await;
        let handled = server.handled.total() - before.0;
        let smuggled = server.handled.smuggled.load(SeqCst) - before.1;
        let statuses = answer.statuses();
        let seen = format!("{id}: {handled} handled, {statuses:?}, closed {}", answer.closed);
        assert_eq!(smuggled, u64::from(id == "pipelined-2"), "{seen}");
        assert!(answer.closed, "{seen}");
        match expect.as_str() {
            "one-request" => assert!(handled == 1 && statuses == [200], "{seen}"),
            "two-requests" => assert!(handled == 2 && statuses == [200, 200], "{seen}"),
            "400-close" => assert!(handled == 0 && matches!(statuses[..], [] | [400]), "{seen}"),
            "400-or-one" | "400-or-one-close" => assert!((handled == 1 && statuses == [200]) || (handled == 0 && statuses == [400]), "{seen}"),
            "405-or-400" => assert!(handled == 0 && matches!(statuses[..], [405 | 400]), "{seen}"),
            "431" => assert!(handled == 0 && statuses == [431], "{seen}"),
            "host-check" => assert!(handled == 0 && matches!(statuses[..], [400 | 421]), "{seen}"),
            other => panic!("{id}: expectation {other} is not known"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn h26_a_400_ends_the_connection_although_the_sender_keeps_it_open() {
    let server = Server::start(&["x"], ListenerLimits::default(), BodyLimits::default()).await;
    for Case { id, expect, raw } in cases() {
        // Shapes that are whole requests; of the others the server rightly waits for the rest.
        let is_whole = !matches!(id.as_str(), "http09" | "tls-hello" | "chunk-neg");
        if matches!(expect.as_str(), "400-close" | "host-check" | "400-or-one-close") && is_whole {
            assert!(server.raw(&raw, false).await.closed, "{id}");
        }
    }
    assert_eq!(server.handled.smuggled.load(SeqCst), 0);
}

#[tokio::test]
async fn h31_h32_without_the_host_in_the_list_nothing_is_handled() {
    let server = Server::start(&[], ListenerLimits::default(), BodyLimits::default()).await;
    for Case { id, raw, .. } in cases() {
        let answer = server.raw(&raw, true).await;
        assert!(answer.statuses().iter().all(|status| *status >= 400), "{id}: {:?}", answer.statuses());
    }
    assert_eq!(server.handled.total(), 0);
    let answer = server.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false).await;
    assert!(answer.statuses() == [421] && answer.closed);
    let own = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Request-Id: my-id\r\n\r\n", server.address);
    let answer = server.raw(own.as_bytes(), true).await;
    assert_eq!(answer.statuses(), [200]);
    assert!(String::from_utf8_lossy(&answer.bytes).contains("x-request-id: my-id"));
}

#[tokio::test]
async fn h25_slow_peers_lose_their_connection() {
    let limits = ListenerLimits { header_timeout: Duration::from_millis(150), write_stall: Duration::from_millis(150), ..ListenerLimits::default() };
    let body = BodyLimits {
        idle: Duration::from_millis(150),
        total: Duration::from_millis(600),
        rate_min: 1024,
        rate_after: Duration::from_millis(250),
        ..BodyLimits::default()
    };
    let server = Server::start(&["x"], limits, body).await;
    let head = b"POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    for (what, first, drip, every, status) in [
        ("idle", &b""[..], &b""[..], 1_000, None),
        ("half a head", b"POST /ingest HTTP/1.1\r\nHo", b"", 1_000, None),
        ("a head that drips", b"POST /ingest HTTP/1.1\r\nX: ", b"y", 20, None),
        ("a body that stalls", head, b"", 1_000, Some(408)),
        ("a body that drips", head, b"1", 50, Some(408)),
        ("a body that is steady but never ends", head, &[b'1'; 120], 50, Some(408)),
    ] {
        let mut stream = server.connect().await;
        let start = Instant::now();
        let mut answer = Answer::default();
        let mut buffer = [0; 4096];
        let _ = stream.write_all(first).await;
        while !answer.closed {
            assert!(start.elapsed() < Duration::from_secs(5), "{what}: still open");
            match timeout(Duration::from_millis(every), stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => answer.closed = true,
                Ok(Ok(n)) => answer.bytes.extend_from_slice(&buffer[..n]),
                Err(_) => drop(stream.write_all(drip).await),
            }
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
        assert_eq!(answer.statuses().first().copied(), status, "{what}");
    }
    assert_eq!(server.handled.total(), 0);
}

#[tokio::test]
async fn h25_an_idle_connection_has_longer_than_a_head_has() {
    let limits = ListenerLimits { header_timeout: Duration::from_millis(150), ..ListenerLimits::default() };
    let server = Server::start(&["x"], limits, BodyLimits::default()).await;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = server.connect().await;
    let mut buffer = [0; 4096];
    for _ in 0..2 {
        stream.write_all(request).await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        let silence = timeout(Duration::from_millis(400), stream.read(&mut buffer)).await;
        assert!(silence.is_err(), "an idle connection was ended: {silence:?}");
    }
    // Once its head has begun, the head's time runs.
    let start = Instant::now();
    stream.write_all(&request[..9]).await.unwrap();
    assert!(!matches!(timeout(SOON, stream.read(&mut buffer)).await, Ok(Ok(1..)) | Err(_)), "no answer and no end");
    assert!(start.elapsed() >= Duration::from_millis(150));

    let limits = ListenerLimits { keep_alive: Duration::from_millis(150), ..ListenerLimits::default() };
    let server = Server::start(&["x"], limits, BodyLimits::default()).await;
    let answer = server.raw(request, false).await;
    assert!(answer.closed && answer.statuses() == [200], "idleness has an end too: {answer:?}");
}

#[tokio::test]
async fn h25_a_peer_that_does_not_read_its_answer_loses_the_connection() {
    let app = Router::new().route("/", get(|| async { vec![b'x'; 64 << 20] }));
    let limits = ListenerLimits { write_stall: Duration::from_millis(200), ..ListenerLimits::default() };
    let server = Server::serve(app, &[], limits, Arc::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let stats = &server.listener.stats;
    eventually("the connection is cut", || stats.errors.load(SeqCst) == 1 && stats.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn h27_chunked_bodies_are_bounded() {
    let server = Server::start(&["x"], ListenerLimits::default(), BodyLimits { sent_max: 64 << 10, ..BodyLimits::default() }).await;
    let chunked = |body: &[u8]| [b"POST /ingest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
    for (what, body, statuses) in [
        ("size overflow", b"FFFFFFFFFFFFFFFFF\r\n{}".to_vec(), vec![400]),
        ("no last chunk", b"2\r\n{}\r\n".to_vec(), vec![400]),
        ("extension of 1 MB", [b"2;", &vec![b'a'; 1 << 20][..], b"\r\n{}\r\n0\r\n\r\n"].concat(), vec![400]),
        ("chunks of one byte", [&b"1\r\n{\r\n".repeat(64 << 10)[..], b"0\r\n\r\n"].concat(), vec![200]),
        ("too many chunks of one byte", [&b"1\r\n{\r\n".repeat((64 << 10) + 1)[..], b"0\r\n\r\n"].concat(), vec![413]),
    ] {
        let before = server.handled.total();
        let answer = server.raw(&chunked(&body), true).await;
        // After a cut body the peer is gone, and hyper may close without a word.
        let closed_silently = answer.statuses().is_empty() && what == "no last chunk";
        assert!(answer.statuses() == statuses || closed_silently, "{what}: {:?}", answer.statuses());
        assert_eq!(server.handled.total() - before, u64::from(statuses == [200]), "{what}");
    }
}

#[tokio::test]
async fn h30_a_body_that_is_too_large_is_refused_before_it_is_asked_for() {
    let server = Server::start(&["x"], ListenerLimits::default(), BodyLimits::default()).await;
    let head = |length: u64| format!("POST /ingest HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
    let answer = server.raw(head(10_000_000_000).as_bytes(), false).await;
    assert!(answer.statuses() == [413] && answer.closed && !answer.bytes.starts_with(b"HTTP/1.1 100"), "{answer:?}");
    let answer = server.raw_until(head(2).as_bytes(), false, |bytes| bytes.len() >= 12).await;
    assert!(answer.bytes.starts_with(b"HTTP/1.1 100"), "{answer:?}");
}

#[tokio::test]
async fn a_refused_upload_still_gets_its_answer() {
    let server = Server::start(&["x"], ListenerLimits::default(), BodyLimits { sent_max: 64 << 10, ..BodyLimits::default() }).await;
    let body = vec![b'x'; 8 << 20];
    let known = [format!("POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let chunked = [b"POST /ingest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800000\r\n", &body[..]].concat();
    let foreign = [format!("POST /ingest HTTP/1.1\r\nHost: y\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    for (request, status) in [(known, 413), (chunked, 413), (foreign, 421)] {
        // A sender that reads only when it has sent everything.
        let mut stream = server.connect().await;
        stream.write_all(&request).await.unwrap();
        let mut answer = Answer::default();
        stream.read_to_end(&mut answer.bytes).await.unwrap();
        assert_eq!(answer.statuses(), [status]);
    }
}

#[tokio::test]
async fn connections_are_capped_and_come_free_again() {
    let limits = ListenerLimits { connections_max: 2, ..ListenerLimits::default() };
    let server = Server::start(&["x"], limits, BodyLimits::default()).await;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut a, mut b) = (server.connect().await, server.connect().await);
    for stream in [&mut a, &mut b] {
        stream.write_all(request).await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    }
    assert!(server.raw(request, false).await.bytes.is_empty());
    assert_eq!(server.listener.stats.refused.load(SeqCst), 1);
    drop(a);
    let start = Instant::now();
    while server.raw(request, true).await.statuses() != [200] {
        assert!(start.elapsed() < PATIENCE, "no connection comes free");
    }
}

#[tokio::test]
async fn stopping_lets_running_requests_end_and_idle_connections_go() {
    let server = Server::start(&["x"], ListenerLimits::default(), BodyLimits::default()).await;
    let stats = server.listener.stats.clone();
    let mut idle = server.connect().await;
    let mut running = server.connect().await;
    running.write_all(b"POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{").await.unwrap();
    eventually("one connection is idle and one in its handler", || stats.accepted.load(SeqCst) == 2 && stats.handled.load(SeqCst) == 1).await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(timeout(SOON, idle.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
    running.write_all(b"}").await.unwrap();
    let mut answer = Answer::default();
    running.read_to_end(&mut answer.bytes).await.unwrap();
    assert_eq!(answer.statuses(), [200]);
    timeout(SOON, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let limits = ListenerLimits { stop_grace: Duration::from_millis(200), ..ListenerLimits::default() };
    let server = Server::start(&["x"], limits, BodyLimits::default()).await;
    let mut running = server.connect().await;
    running.write_all(b"POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{").await.unwrap();
    eventually("the request is in its handler", || server.listener.stats.handled.load(SeqCst) == 1).await;
    timeout(SOON, server.stop()).await.unwrap();
}

struct Memory(Arc<AtomicU64>);

impl Intake for Memory {
    type Room = ();

    fn reserve(&self, _: usize) -> Result<(), PortError> {
        Ok(())
    }

    fn record_bytes_max(&self) -> usize {
        usize::MAX
    }

    async fn append_in(&self, (): &mut (), body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        assert_eq!(parsed.map(|parsed| parsed.len()), Some(body.items()));
        Ok(Appended { ordinal: self.0.fetch_add(body.items() as u64, SeqCst), received_at_ms: 0 })
    }

    async fn changed(&self) {}
}

/// The only test of this file that parses items, so that the process's counter is its own.
#[tokio::test]
async fn every_item_is_parsed_once_and_bodies_cut_off_leave_nothing() {
    let stored = Arc::new(AtomicU64::new(0));
    let doors = Doors::new(Memory(stored.clone()), Budget::new(64 << 20), DoorConfig::default());
    let server = Server::serve(alertmill::doors::router(&doors), &[], ListenerLimits::default(), Arc::default()).await;
    let items: Vec<_> = (0..1_000).map(|i| format!(r#"{{"alert_name":"a","event_id":"{i}","time":1700000000}}"#)).collect();
    let post = |kind: &str, body: &str| {
        let head = format!("POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        head + body
    };
    let array = post("application/json", &format!("[{}]", items.join(",")));
    let lines = post("application/x-ndjson", &items.join("\n"));
    for (n, request) in [array.clone(), lines, post("application/json", &items[0])].iter().enumerate() {
        assert_eq!(server.raw(request.as_bytes(), true).await.statuses(), [200]);
        let expected = [1_000, 2_000, 2_001][n];
        assert_eq!((parses(), stored.load(SeqCst)), (expected, expected));
    }
    let stats = &server.listener.stats;
    for cut in [array.len() - 1, array.len() / 2, 200] {
        let mut stream = server.connect().await;
        stream.write_all(&array.as_bytes()[..cut]).await.unwrap();
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    eventually("all connections have ended", || stats.accepted.load(SeqCst) == 6 && stats.open.load(SeqCst) == 0).await;
    assert_eq!((parses(), stored.load(SeqCst), doors.bytes_in_flight()), (2_001, 2_001, 0));
}
