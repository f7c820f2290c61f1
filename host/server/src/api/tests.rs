use super::*;
use crate::telemetry::Sources;
use alertmill_core::command::{AlertNow, Command, Decision, Verdict};
use alertmill_core::event::Status;
use alertmill_core::identity::alert_id;
use alertmill_core::ledger::Outcome;
use alertmill_core::letter::{Arrival, ArrivalBy, LetterFate, Redrive, RedrivenLetter};
use alertmill_core::ports::{LedgerValue, PortError};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tower::ServiceExt;

const ALERTS: u64 = 120;
const T0: i64 = 1_763_800_000;

/// 120 alerts; seq 1 is the oldest. Every third is closed, severity is seq mod 3 + 1. Those of which seq mod 7 is 0 somebody
/// has acknowledged.
#[derive(Default)]
struct Fake {
    broken: AtomicBool,
    /// Commands that were handed over.
    commanded: Mutex<Vec<Command>>,
    redriven: Mutex<Vec<Redrive>>,
    /// What is answered to them instead of decisions.
    refusal: Mutex<Option<Result<(), PortError>>>,
    counters: Arc<CommandCounters>,
    /// The budget of the last request.
    budget: Mutex<Option<Budget>>,
    /// Bytes of it that were taken while a command waited for its decision.
    held_while_waiting: Mutex<Option<usize>>,
}

fn row(seq: u64) -> AlertRow {
    let begin = T0 + seq as i64;
    let closed = seq.is_multiple_of(3);
    AlertRow {
        seq,
        id: alert_id(begin, seq).to_string(),
        alert_name: format!("alert {seq}"),
        severity: (seq % 3) as u8 + 1,
        status: if closed { "CLOSED" } else { "ABNORMAL" },
        event_count: seq,
        rule_generation: 1,
        revision: 2,
        create_time: begin,
        begin_time: begin,
        latest_time: begin,
        end_time: closed.then_some(begin + 10),
        is_ack: false,
        ack_operator: None,
        target: None,
        document: Some(
            serde_json::json!({
                "id": alert_id(begin, seq).as_str(), "seq_id": seq, "event_count": seq, "bk_tenant_id": "system", "revision": 2,
                "status": if closed { "CLOSED" } else { "ABNORMAL" }, "end_time": closed.then_some(begin + 10), "ack_operator": null,
            })
            .to_string()
            .into_bytes(),
        ),
    }
}

fn matches(row: &AlertRow, filter: &AlertFilter) -> bool {
    (filter.statuses.is_empty() || filter.statuses.iter().any(|s: &Status| s.as_str() == row.status))
        && (filter.severities.is_empty() || filter.severities.contains(&row.severity))
        && filter.from_s.is_none_or(|from| row.end_time.is_none_or(|end| end >= from))
        && filter.to_s.is_none_or(|to| row.begin_time <= to)
}

fn page<T>(all: impl Iterator<Item = (u128, T)>, limit: usize) -> Page<T> {
    let mut rows: Vec<(u128, T)> = all.take(limit + 1).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|(position, _)| *position).filter(|_| more);
    Page { items: rows.into_iter().map(|(_, row)| row).collect(), next }
}

impl AlertReads for Fake {
    fn list_alerts(&self, filter: &AlertFilter, after: Option<u128>, limit: usize, documents: bool) -> Result<Page<AlertRow>, ReadError> {
        if self.broken.load(Relaxed) {
            return Err(ReadError("disk I/O error".into()));
        }
        let all = (1..=ALERTS).rev().filter(|seq| after.is_none_or(|a| u128::from(*seq) < a)).map(row).filter(|row| matches(row, filter));
        Ok(page(all.map(|row| (u128::from(row.seq), AlertRow { document: row.document.filter(|_| documents), ..row })), limit))
    }
    fn count_alerts(&self, filter: &AlertFilter) -> Result<Option<u64>, ReadError> {
        Ok(Some((1..=ALERTS).map(row).filter(|row| matches(row, filter)).count() as u64))
    }
    fn alert(&self, seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if self.broken.load(Relaxed) {
            return Err(ReadError("disk I/O error".into()));
        }
        Ok((1..=ALERTS).contains(&seq).then(|| row(seq).document).flatten())
    }
    fn alert_events(&self, _: u64, after: Option<u128>, limit: usize) -> Result<Page<EventRow>, ReadError> {
        let first = after.map_or(0, |a| a + 1);
        let event = |i: u128| EventRow { role: "converged", document: (i != 1).then(|| format!("{{\"event_id\":\"e{i}\"}}").into_bytes()) };
        Ok(page((first..5).map(|i| (i, event(i))), limit))
    }
    fn alert_logs(&self, _: u64, _: Option<u128>, _: usize) -> Result<Page<Vec<u8>>, ReadError> {
        Ok(Page { items: vec![b"{\"op_type\":\"CREATE\"}".to_vec()], next: None })
    }
    fn dead_letters(&self, source: Option<&str>, code: Option<&str>, _: Option<u128>, _: usize) -> Result<Page<DeadLetterRow>, ReadError> {
        let fits = |d: &DeadLetterRow| source.is_none_or(|s| s == d.source) && code.is_none_or(|c| c == d.code);
        Ok(Page { items: [dead(1, b"{\"a\":1}"), dead(2, b"\xff{")].into_iter().filter(fits).collect(), next: None })
    }
    fn dead_letter(&self, id: u64) -> Result<Option<DeadLetterRow>, ReadError> {
        Ok([dead(1, b"{\"a\":1}"), dead(2, b"\xff{"), dead(3, b"{}"), dead(11, b"{}")].into_iter().find(|d| d.id == id))
    }
    fn dead_letters_of(&self, places: &[(u64, u32)]) -> Result<Vec<Option<u64>>, ReadError> {
        Ok(places.iter().map(|(ordinal, _)| (*ordinal == 11).then_some(11)).collect())
    }
    fn ledger(&self) -> Result<Vec<LedgerValue>, ReadError> {
        let value = |scope, name: &str, counter: &str, value| LedgerValue { scope, name: name.into(), counter: counter.into(), value };
        Ok(vec![
            value("rule", "owner", "rows", 3),
            value("source", "events", "folded", 2),
            value("source", "events", "journaled", 3),
            value("source", "events", "received", 3),
        ])
    }
}

fn dead(id: u64, item: &[u8]) -> DeadLetterRow {
    DeadLetterRow {
        id,
        ordinal: 10 + id,
        index: 0,
        received_at_ms: T0 * 1_000,
        tenant: "system".into(),
        source: "events".into(),
        code: if id == 1 { "clean-error" } else { "too-many-events" }.into(),
        detail: "why".into(),
        bytes: item.len() as u64,
        arrival: (id != 3).then(|| Arrival::by(if id == 2 { ArrivalBy::Payload } else { ArrivalBy::Events })),
        item: Some(item.to_vec()),
    }
}

impl RuleReads for Fake {
    fn rules(&self) -> Vec<RuleRow> {
        vec![RuleRow { name: "owner".into(), version: "1.0.0".into(), state: "active".into(), ..RuleRow::default() }]
    }
}

impl Health for Fake {
    fn dependencies(&self) -> Vec<Dependency> {
        let ok = !self.broken.load(Relaxed);
        vec![Dependency { name: "journal", ok, detail: if ok { "writes" } else { "a sync failed; restart" }.into() }]
    }
}

impl Commands for Fake {
    fn hand_over(&self, command: Command) -> Handed {
        let decide = |alert: &alertmill_core::command::AlertRef| {
            let open = (1..=ALERTS).contains(&alert.seq) && row(alert.seq).status == "ABNORMAL";
            let now = AlertNow { status: Status::Abnormal, ack_operator: Some("li".into()), end_time: None, revision: 3 };
            match (open, alert.seq % 7) {
                (false, _) => Decision { verdict: Verdict::NotOpen, alert: None },
                (true, 0) => Decision { verdict: Verdict::Unchanged, alert: Some(now) },
                (true, 1) => Decision { verdict: Verdict::Repeated, alert: Some(now) },
                (true, _) => Decision { verdict: Verdict::Done, alert: Some(now) },
            }
        };
        let decisions = command.alerts.iter().map(decide).collect();
        self.commanded.lock().expect("lock").push(command);
        let answer = match self.refusal.lock().expect("lock").clone() {
            None => Ok(Some(decisions)),
            Some(refused) => refused.map(|()| None),
        };
        let held = self.budget.lock().expect("lock").as_ref().map(Budget::used);
        *self.held_while_waiting.lock().expect("lock") = held;
        Box::pin(async move { answer })
    }

    fn redrive(&self, redrive: Redrive) -> Redriving {
        let fate = |letter: &RedrivenLetter| match letter.arrival.by {
            ArrivalBy::Payload => {
                let outcomes = vec![(Outcome::Folded, 2), (Outcome::Duplicate, 1)];
                LetterFate { ordinal: letter.ordinal, index: letter.index, outcomes, dead: Vec::new() }
            }
            _ => LetterFate { ordinal: letter.ordinal, index: letter.index, outcomes: vec![(Outcome::DeadLetter, 1)], dead: vec![0] },
        };
        let fates = redrive.letters.iter().map(fate).collect();
        self.redriven.lock().expect("lock").push(redrive);
        let answer = match self.refusal.lock().expect("lock").clone() {
            None => Ok(Some(fates)),
            Some(refused) => refused.map(|()| None),
        };
        Box::pin(async move { answer })
    }
}

async fn call(fake: &Arc<Fake>, method: &str, uri: &str) -> (StatusCode, HeaderMap, Value) {
    send(fake, Request::builder().method(method).uri(uri).body(Body::empty()).expect("request")).await
}

async fn send(fake: &Arc<Fake>, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    let budget = Budget::new(1 << 20);
    *fake.budget.lock().expect("lock") = Some(budget.clone());
    let operating = Operating { commands: fake.clone(), counters: fake.counters.clone(), budget };
    let api = Api::new(fake.clone(), fake.clone(), fake.clone(), Arc::new(Metrics::new(Sources::default())), operating);
    let response = finish(router(api)).oneshot(request).await.expect("answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("body").to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    (parts.status, parts.headers, value)
}

async fn get(uri: &str) -> (StatusCode, HeaderMap, Value) {
    call(&Arc::default(), "GET", uri).await
}

async fn problem(uri: &str) -> (u16, String, String) {
    let (status, headers, body) = get(uri).await;
    assert_eq!(headers["content-type"], "application/problem+json", "{uri}: {body}");
    assert_eq!(body["status"], status.as_u16());
    assert_eq!(body["type"], format!("/problems/{}", body["code"].as_str().expect("code")));
    (status.as_u16(), body["code"].as_str().expect("code").to_owned(), body["detail"].as_str().expect("detail").to_owned())
}

#[tokio::test]
async fn slim_rows_hold_the_fixed_fields() {
    let (status, headers, body) = get("/api/v1/alerts?limit=1").await;
    assert_eq!((status, headers["cache-control"].as_bytes()), (StatusCode::OK, &b"no-store"[..]));
    let row = &body["items"][0];
    assert_eq!(row["id"], format!("{}120", T0 + 120));
    for field in ["alert_name", "severity", "status", "event_count", "rule_generation", "begin_time", "latest_time", "revision", "create_time"] {
        assert!(!row[field].is_null(), "{field} in {row}");
    }
    assert_eq!(row["end_time"], T0 + 130);
    assert_eq!(body["total"], serde_json::json!({"value": 120, "relation": "eq"}));
    assert!(body["took_ms"].is_u64() && body["next_cursor"].is_string());
    assert!(serde_json::to_string(row).expect("json").len() <= 500);
}

#[tokio::test]
async fn the_cursor_walks_every_row_once() {
    let (mut uri, mut ids) = ("/api/v1/alerts?limit=50&status=abnormal".to_owned(), Vec::new());
    loop {
        let (status, _, body) = get(&uri).await;
        assert_eq!(status, StatusCode::OK);
        ids.extend(body["items"].as_array().expect("items").iter().map(|r| r["id"].as_str().expect("id").to_owned()));
        match body["next_cursor"].as_str() {
            Some(cursor) => uri = format!("/api/v1/alerts?limit=7&status=ABNORMAL&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 80);
    assert!(ids.is_sorted_by(|a, b| a > b));
}

#[tokio::test]
async fn a_cursor_of_another_filter_or_a_changed_one_is_refused() {
    let (_, _, body) = get("/api/v1/alerts?limit=5&severity=1").await;
    let cursor = body["next_cursor"].as_str().expect("cursor").to_owned();
    let expect = |uri: String, code: &'static str| async move {
        let (status, found, _) = problem(&uri).await;
        assert_eq!((status, found.as_str()), (400, code), "{uri}");
    };
    expect(format!("/api/v1/alerts?severity=2&cursor={cursor}"), "cursor-mismatch").await;
    expect(format!("/api/v1/alerts?cursor={cursor}"), "cursor-mismatch").await;
    expect(format!("/api/v1/alerts/{}1/events?cursor={cursor}", T0 + 1), "cursor-mismatch").await;
    expect(format!("/api/v1/alerts?severity=1&cursor={}", cursor.to_lowercase()), "cursor").await;
    expect("/api/v1/alerts?cursor=5".to_owned(), "cursor").await;
}

#[tokio::test]
async fn filters_take_lists_and_repeats() {
    for (query, count) in [
        ("severity=1", 40),
        ("severity=1,2", 80),
        ("severity=1&severity=2", 80),
        ("status=CLOSED&severity=1", 40),
        ("status=CLOSED&severity=2", 0),
        ("status=closed,abnormal", 120),
        ("to=1763800010000", 10),
        ("to=2025-11-22T08:26:50Z", 10),
        ("from=1763800100000&status=CLOSED", 11),
        ("from=now-1h&status=CLOSED", 0),
        ("status=", 120),
    ] {
        let (status, _, body) = get(&format!("/api/v1/alerts?{query}")).await;
        assert_eq!((status, body["total"]["value"].as_u64()), (StatusCode::OK, Some(count)), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_query_is_read_strictly() {
    for (query, code, word) in [
        ("stats=OPEN", "unknown-parameter", "did you mean `status`?"),
        ("xyz=1", "unknown-parameter", "known here: `status`"),
        ("status=OPEN", "bad-parameter", "ABNORMAL"),
        ("severity=0", "bad-parameter", "1 (fatal)"),
        ("limit=0", "bad-parameter", "1 to 1000"),
        ("limit=1001", "bad-parameter", "1 to 1000"),
        ("limit=5&limit=6", "bad-parameter", "given twice"),
        ("from=yesterday", "bad-parameter", "RFC 3339"),
        ("view=wide", "bad-parameter", "slim or full"),
    ] {
        let (status, found, detail) = problem(&format!("/api/v1/alerts?{query}")).await;
        assert_eq!((status, found.as_str()), (400, code), "{query}");
        assert!(detail.contains(word), "{query}: {detail}");
    }
    let (status, code, _) = problem("/api/v1/rules?x=1").await;
    assert_eq!((status, code.as_str()), (400, "unknown-parameter"));
}

#[tokio::test]
async fn full_view_and_one_alert_are_the_documents() {
    let (_, _, body) = get("/api/v1/alerts?view=full&limit=2").await;
    assert_eq!(body["items"][1]["seq_id"], 119);
    let id = alert_id(T0 + 7, 7);
    let (status, _, body) = get(&format!("/api/v1/alerts/{id}")).await;
    assert_eq!((status, body["seq_id"].as_u64()), (StatusCode::OK, Some(7)));
    assert_eq!(get(&format!("/api/v1/alerts/{id}?view=full")).await.0, StatusCode::OK);
    let (status, code, _) = problem(&format!("/api/v1/alerts/{id}?view=wide")).await;
    assert_eq!((status, code.as_str()), (400, "bad-parameter"));
    for wrong in [alert_id(T0 + 8, 7).to_string(), alert_id(T0, 999).to_string(), "x".into(), "0".into()] {
        for part in ["", "/events", "/logs"] {
            let (status, code, _) = problem(&format!("/api/v1/alerts/{wrong}{part}")).await;
            assert_eq!((status, code.as_str()), (404, "not-found"), "{wrong}{part}");
        }
    }
}

#[tokio::test]
async fn events_and_logs_of_an_alert() {
    let id = alert_id(T0 + 7, 7);
    let (_, _, first) = get(&format!("/api/v1/alerts/{id}/events?limit=3")).await;
    assert_eq!(first["items"][0]["event"]["event_id"], "e0");
    assert!(first["items"][1]["event"].is_null());
    let cursor = first["next_cursor"].as_str().expect("more");
    let (_, _, second) = get(&format!("/api/v1/alerts/{id}/events?cursor={cursor}")).await;
    assert_eq!((second["items"][0]["event"]["event_id"].as_str(), second["next_cursor"].is_null()), (Some("e3"), true));
    let (_, _, logs) = get(&format!("/api/v1/alerts/{id}/logs")).await;
    assert_eq!(logs["items"][0]["op_type"], "CREATE");
}

#[tokio::test]
async fn dead_letters_ledger_and_rules() {
    let (_, _, list) = get("/api/v1/dead-letters?code=clean-error").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!((list["items"][0]["id"].as_str(), list["items"][0]["item"].is_null()), (Some("1"), true));
    assert_eq!(get("/api/v1/dead-letters/1").await.2["item"]["a"], 1);
    assert_eq!(get("/api/v1/dead-letters/2").await.2["item_text"], "\u{fffd}{");
    assert_eq!(problem("/api/v1/dead-letters/4").await.1, "not-found");
    let (_, _, ledger) = get("/api/v1/pipeline/ledger").await;
    assert_eq!((&ledger["balanced"], &ledger["sources"][0]["imbalance"]), (&false.into(), &serde_json::json!({"door": 0, "fold": 1})));
    assert_eq!(ledger["rules"][0]["counters"]["rows"], 3);
    assert_eq!(get("/api/v1/rules").await.2["items"][0]["name"], "owner");
}

async fn redrive(fake: &Arc<Fake>, body: Value) -> (u16, Value) {
    let request = Request::post("/api/v1/dead-letters:redrive").header("content-type", "application/json");
    let (status, _, answer) = send(fake, request.body(Body::from(body.to_string())).expect("request")).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn a_redrive_answers_for_each_letter() {
    let fake = Arc::<Fake>::default();
    let body = json!({"ids": ["1", "9", "2", "3", "1", "x"], "operator": " wang ", "comment": "fixed"});
    let (status, answer) = redrive(&fake, body.clone()).await;
    assert_eq!((status, &answer["ok"], &answer["failed"]), (200, &1.into(), &4.into()), "{answer}");
    let items = answer["items"].as_array().expect("items");
    let of = |id: &str| items.iter().find(|item| item["id"] == id).expect("each id once");
    assert_eq!(items.len(), 5);
    assert_eq!((&of("9")["status"], &of("x")["status"], &of("3")["status"]), (&"not-found".into(), &"not-found".into(), &"not-redrivable".into()));
    assert_eq!((&of("1")["status"], &of("1")["letters"], &of("1")["problem"]["code"]), (&"dead-again".into(), &json!(["11"]), &"too-many-events".into()));
    assert_eq!((&of("2")["status"], &of("2")["events"]), (&"folded".into(), &json!({"folded": 2, "duplicates": 1})));
    {
        let handed = fake.redriven.lock().expect("lock");
        let first = &handed[0];
        assert_eq!((handed.len(), first.operator.as_str(), first.comment.as_str()), (2, "wang", "fixed"), "a payload is alone");
        assert_eq!((first.letters[0].ordinal, &first.letters[0].item[..], &handed[1].letters[0].item[..]), (11, &b"{\"a\":1}"[..], &b"\xff{"[..]));
    }
    let (status, answer) = redrive(&fake, json!({"source": "events", "code": "clean-error", "dry_run": true})).await;
    assert_eq!((status, &answer["items"]), (200, &json!([{"id": "1", "status": "would-expire"}])));
    assert_eq!(fake.redriven.lock().expect("lock").len(), 2, "a dry run does nothing");
    // A pipeline that is behind, and a journal that takes nothing.
    *fake.refusal.lock().expect("lock") = Some(Ok(()));
    let (status, answer) = redrive(&fake, body.clone()).await;
    let states: Vec<_> = answer["items"].as_array().expect("items").iter().map(|item| (item["id"].as_str(), item["status"].as_str())).collect();
    assert_eq!((status, &answer["pending"]), (202, &1.into()));
    assert!(states.contains(&(Some("1"), Some("pending"))) && states.contains(&(Some("2"), Some("not-tried"))), "{states:?}");
    *fake.refusal.lock().expect("lock") = Some(Err(PortError::Full("full".into())));
    assert_eq!(redrive(&fake, json!({"ids": ["1"]})).await.0, 429);
}

#[tokio::test]
async fn a_redrive_is_repeated_under_its_key_and_done_once() {
    let fake = Arc::<Fake>::default();
    let operating = Operating { commands: fake.clone(), counters: fake.counters.clone(), budget: Budget::new(1 << 20) };
    let router = router(Api::new(fake.clone(), fake.clone(), fake.clone(), Arc::new(Metrics::new(Sources::default())), operating));
    let ask = async |key: Option<&str>, body: &str| {
        let mut request = Request::post("/api/v1/dead-letters:redrive").header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = router.clone().oneshot(request.body(Body::from(body.to_owned())).expect("request")).await.expect("answer");
        (response.status().as_u16(), response.into_body().collect().await.expect("body").to_bytes())
    };
    let handed = || fake.redriven.lock().expect("lock").len();
    let body = r#"{"source": "events", "code": "clean-error"}"#;
    // What was not done to its end goes on.
    *fake.refusal.lock().expect("lock") = Some(Ok(()));
    assert_eq!((ask(Some("k"), body).await.0, handed()), (202, 1));
    *fake.refusal.lock().expect("lock") = Some(Err(PortError::Full("full".into())));
    assert_eq!((ask(Some("k"), body).await.0, handed()), (429, 2));
    *fake.refusal.lock().expect("lock") = None;
    let first = ask(Some("k"), body).await;
    assert_eq!((first.0, handed()), (200, 3));
    assert_eq!((ask(Some("k"), body).await, handed()), (first, 3));
    // Another key, none, or another body is another request.
    for (key, body) in [(Some("l"), body), (None, body), (None, body), (Some("k"), r#"{"ids": ["1"]}"#)] {
        let before = handed();
        assert_eq!((ask(key, body).await.0, handed()), (200, before + 1), "{key:?} {body}");
    }
}

#[tokio::test]
async fn a_redrive_that_cannot_be_read_does_nothing() {
    let fake = Arc::<Fake>::default();
    let many: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
    for (body, pointer) in [
        (json!({}), "/ids"),
        (json!({"ids": []}), "/ids"),
        (json!({"ids": many}), "/ids"),
        (json!({"ids": ["1"], "source": "s"}), "/ids"),
        (json!({"ids": ["1"], "limit": 1}), "/limit"),
        (json!({"source": "s", "limit": 0}), "/limit"),
        (json!({"source": "s", "operator": ""}), "/operator"),
        (json!({"code": "c", "comment": "\u{1b}"}), "/comment"),
        (json!({"ids": [1]}), ""),
        (json!({"all": true}), ""),
    ] {
        let (status, answer) = redrive(&fake, body.clone()).await;
        assert_eq!((status, answer["code"].as_str(), answer["errors"][0]["pointer"].as_str().unwrap_or("")), (400, Some("bad-command"), pointer), "{body}");
    }
    assert!(fake.redriven.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    for path in ["/", "/nothing", "/api/v1/", "/api/v1/alert", "/ui/x", "/am/alertmanager/api/v2/status"] {
        assert_eq!(problem(path).await.1, "not-found", "{path}");
    }
    let (status, headers, body) = call(&Arc::default(), "DELETE", "/api/v1/alerts").await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::METHOD_NOT_ALLOWED, Some("method-not-allowed")));
    assert!(headers["allow"].to_str().expect("text").contains("GET"));
    assert_eq!(call(&Arc::default(), "HEAD", "/api/v1/alerts").await.0, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    for path in ["/healthz", "/nothing", "/metrics", "/version", "/api", "/readyz"] {
        let (_, headers, _) = get(path).await;
        for name in ["content-security-policy", "x-frame-options", "referrer-policy", "cross-origin-opener-policy"] {
            assert!(headers.contains_key(name), "{path}: {name}");
        }
        assert_eq!((&headers["x-content-type-options"], &headers["cache-control"]), (&"nosniff".parse().expect("value"), &"no-store".parse().expect("value")));
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_broken_store_is_503_and_not_ready() {
    let fake = Arc::new(Fake::default());
    assert_eq!(call(&fake, "GET", "/readyz").await.2["ready"], true);
    fake.broken.store(true, Relaxed);
    let (status, headers, body) = call(&fake, "GET", "/api/v1/alerts").await;
    assert_eq!((status, body["code"].as_str(), body["retryable"].as_bool()), (StatusCode::SERVICE_UNAVAILABLE, Some("unavailable"), Some(true)));
    assert_eq!(headers["retry-after"], "5");
    let (status, _, body) = call(&fake, "GET", "/readyz").await;
    assert_eq!((status, body["dependencies"][0]["name"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("journal")));
    assert_eq!(call(&fake, "GET", "/healthz").await.0, StatusCode::OK);
}

async fn command(fake: &Arc<Fake>, action: &str, headers: &[(&str, &str)], body: &str) -> (u16, HeaderMap, Value) {
    let mut request = Request::builder().method("POST").uri(format!("/api/v1/alerts:{action}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, headers, body) = send(fake, request.body(Body::from(body.to_owned())).expect("request")).await;
    (status.as_u16(), headers, body)
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn id(seq: u64) -> String {
    alert_id(T0 + seq as i64, seq).to_string()
}

#[tokio::test]
async fn a_command_is_answered_id_by_id() {
    let fake = Arc::new(Fake::default());
    let unknown = alert_id(T0, 999).to_string();
    // Open, acknowledged already, a repeated request, ended, another second's, never there, no id; one of them twice.
    let wrong_second = alert_id(T0, 3).to_string();
    let ids = [id(2), id(7), id(8), id(3), wrong_second, unknown, "x".to_owned(), id(2)];
    let body = serde_json::json!({"ids": ids, "comment": "line one\nline two", "operator": " wang "}).to_string();
    let (status, _, answer) = command(&fake, "ack", &[JSON, ("idempotency-key", "k1")], &body).await;
    assert_eq!((status, &answer["ok"], &answer["failed"], answer.get("pending")), (200, &3.into(), &4.into(), None), "{answer}");
    let items = answer["items"].as_array().expect("items");
    let statuses: Vec<&str> = items.iter().map(|item| item["status"].as_str().expect("text")).collect();
    assert_eq!(statuses, ["done", "unchanged", "done", "ended", "not-found", "not-found", "not-found"]);
    assert!(items.iter().zip(&ids).all(|(item, id)| item["id"] == *id));
    let now = serde_json::json!({"status": "ABNORMAL", "is_ack": true, "ack_operator": "li", "end_time": null, "revision": 3});
    assert_eq!((&items[0]["alert"], items[0].get("problem")), (&now, None));
    assert_eq!((&items[3]["alert"]["status"], &items[3]["alert"]["end_time"]), (&"CLOSED".into(), &(T0 + 13).into()));
    assert_eq!((&items[3]["problem"]["code"], &items[6]["problem"]["code"]), (&"ended".into(), &"not-found".into()));
    let commands = fake.commanded.lock().expect("lock").clone();
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].alerts.iter().map(|alert| alert.id().to_string()).collect::<Vec<_>>(), ids[..6], "each once, and only what is an id");
    assert_eq!(
        (commands[0].operator.as_str(), commands[0].comment.as_str(), commands[0].idempotency_key.as_deref(), commands[0].tenant.as_str()),
        ("wang", "line one\nline two", Some("k1"), "system")
    );
    let counted: Vec<_> = fake.counters.snapshot().into_iter().filter(|c| c.alerts > 0).map(|c| (c.action, c.outcome, c.alerts)).collect();
    assert_eq!(counted, [("ack", "done", 1), ("ack", "repeated", 1), ("ack", "unchanged", 1), ("ack", "ended", 1), ("ack", "not-found", 3)]);
}

#[tokio::test]
async fn a_command_that_waits_for_its_decision_holds_nothing_of_the_budget() {
    let fake = Arc::new(Fake::default());
    let (status, _, _) = command(&fake, "ack", &[JSON], &serde_json::json!({"ids": [id(2)], "comment": "x".repeat(900)}).to_string()).await;
    assert_eq!((status, *fake.held_while_waiting.lock().expect("lock")), (200, Some(0)));
}

#[tokio::test]
async fn each_action_has_its_path_and_nobody_is_anonymous() {
    for (path, action) in [("ack", Action::Acknowledge), ("unack", Action::Unacknowledge), ("close", Action::Close)] {
        let fake = Arc::new(Fake::default());
        let (status, _, _) =
            command(&fake, path, &[("content-type", "application/json; charset=UTF-8")], &format!(r#"{{"ids":["{}"],"comment":null}}"#, id(2))).await;
        let commands = fake.commanded.lock().expect("lock").clone();
        assert_eq!((status, commands[0].action, commands[0].operator.as_str(), commands[0].comment.as_str()), (200, action, "anonymous", ""));
    }
    assert_eq!(command(&Arc::default(), "reopen", &[JSON], "{}").await.0, 404);
    let (status, headers, _) = call(&Arc::default(), "GET", "/api/v1/alerts:ack").await;
    assert_eq!((status, headers["allow"].as_bytes()), (StatusCode::METHOD_NOT_ALLOWED, &b"POST"[..]));
}

#[tokio::test]
async fn a_command_that_names_nothing_is_not_journaled() {
    let fake = Arc::new(Fake::default());
    let (status, _, answer) = command(&fake, "close", &[JSON], r#"{"ids":["", "nonsense", "0017"]}"#).await;
    assert_eq!((status, &answer["failed"], fake.commanded.lock().expect("lock").len()), (200, &3.into(), 0));
}

#[tokio::test]
async fn a_command_that_is_wrong_changes_nothing_and_says_why() {
    let many = |n: usize| serde_json::json!({"ids": (0..n).map(|n| n.to_string()).collect::<Vec<_>>()}).to_string();
    let long = |name: &str, n: usize| serde_json::json!({"ids": [id(2)], name: "x".repeat(n)}).to_string();
    let with = |name: &str, value: &str| format!(r#"{{"ids":["{}"],"{name}":{value}}}"#, id(2));
    let cases: Vec<(String, &str, &str)> = vec![
        ("".into(), "", "no JSON object"),
        ("[]".into(), "", "no JSON object"),
        (format!(r#"[["{}"],null,null]"#, id(2)), "", "no JSON object"),
        ("{".into(), "", "EOF"),
        ("{} x".into(), "", "missing field `ids`"),
        (format!(r#"{{"ids":["{}"]}} x"#, id(2)), "", "trailing"),
        (r#"{"ids":"1"}"#.into(), "", "expected a sequence"),
        (r#"{"ids":[1]}"#.into(), "", "expected a string"),
        (r#"{"ids":[null]}"#.into(), "", "expected a string"),
        (r#"{"ids":["1"],"ids":["2"]}"#.into(), "", "duplicate field `ids`"),
        (with("id", "1"), "", "unknown field `id`"),
        (with("comment", "5"), "", "expected a string"),
        (with("comment", "\"a\u{1}\""), "", "control character"),
        (r#"{"ids":[]}"#.into(), "/ids", "at least one"),
        (many(1_001), "/ids", "1001"),
        (with("comment", r#""\u001b[31m""#), "/comment", "control character"),
        (with("comment", r#""\u0000""#), "/comment", "control character"),
        (with("operator", r#""a\nb""#), "/operator", "control character"),
        (with("operator", r#"" ""#), "/operator", "empty"),
        (long("comment", 1_001), "/comment", "1000"),
        (long("operator", 65), "/operator", "64"),
        (with(&"k".repeat(5_000), "1"), "", "unknown field"),
    ];
    let fake = Arc::new(Fake::default());
    for (body, pointer, word) in cases {
        let (status, headers, answer) = command(&fake, "close", &[JSON], &body).await;
        assert_eq!(
            (status, &answer["code"], &headers["content-type"]),
            (400, &"bad-command".into(), &"application/problem+json".parse().expect("value")),
            "{body}"
        );
        assert_eq!(answer.pointer("/errors/0/pointer").and_then(Value::as_str).unwrap_or_default(), pointer, "{answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(word) && detail.len() < 400), "{word}: {answer}");
    }
    let good = format!(r#"{{"ids":["{}"]}}"#, id(2));
    let twice = [JSON, ("idempotency-key", "a"), ("idempotency-key", "b")];
    for (headers, body, expected) in [
        (&[][..], good.as_str(), (415, "content-type")),
        (&[("content-type", "text/plain")], &good, (415, "content-type")),
        (&[("content-type", "application/x-ndjson")], &good, (415, "content-type")),
        (&[("content-type", "application/x-www-form-urlencoded")], &good, (415, "content-type")),
        (&[JSON, ("idempotency-key", "")], &good, (400, "header")),
        (&twice, &good, (400, "header")),
        (&[JSON], &" ".repeat(200_000), (413, "body-too-large")),
    ] {
        let (status, _, answer) = command(&fake, "close", headers, body).await;
        assert_eq!((status, answer["code"].as_str()), (expected.0, Some(expected.1)), "{headers:?}");
    }
    let request = Request::builder().method("POST").uri("/api/v1/alerts:close?dry_run=true").header(JSON.0, JSON.1);
    let (status, _, answer) = send(&fake, request.body(Body::from(good)).expect("request")).await;
    assert_eq!((status.as_u16(), &answer["code"]), (400, &"unknown-parameter".into()));
    assert!(fake.commanded.lock().expect("lock").is_empty());
    // The largest that is allowed.
    let (status, _, answer) = command(&fake, "close", &[JSON], &many(1_000)).await;
    assert_eq!((status, &answer["failed"]), (200, &1_000.into()));
}

#[tokio::test]
async fn what_is_not_decided_yet_is_said_so() {
    let fake = Arc::new(Fake::default());
    let body = serde_json::json!({"ids": [id(2), "x"]}).to_string();
    *fake.refusal.lock().expect("lock") = Some(Ok(()));
    let (status, _, answer) = command(&fake, "ack", &[JSON], &body).await;
    assert_eq!((status, &answer["ok"], &answer["failed"], &answer["pending"]), (202, &0.into(), &1.into(), &1.into()), "{answer}");
    assert_eq!((&answer["items"][0]["status"], &answer["items"][1]["status"]), (&"pending".into(), &"not-found".into()));
    for (error, expected, retry) in [
        (PortError::Unavailable("full".into()), (429, "overloaded"), "1"),
        (PortError::DiskRefused("disk".into()), (503, "unavailable"), "5"),
        (PortError::Unclear("cut".into()), (503, "unclear"), "5"),
    ] {
        *fake.refusal.lock().expect("lock") = Some(Err(error));
        let (status, headers, answer) = command(&fake, "ack", &[JSON], &body).await;
        assert_eq!((status, answer["code"].as_str(), headers["retry-after"].to_str().expect("text")), (expected.0, Some(expected.1), retry));
    }
    // A store that cannot be read hides only what it alone knows.
    *fake.refusal.lock().expect("lock") = None;
    fake.broken.store(true, Relaxed);
    let (status, _, answer) = command(&fake, "ack", &[JSON], &serde_json::json!({"ids": [id(2), id(3)]}).to_string()).await;
    assert_eq!((status, &answer["items"][0]["status"], &answer["items"][1]["status"]), (200, &"done".into(), &"not-open".into()));
}
