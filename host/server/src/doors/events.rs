//! `POST /api/v1/events`: one event, a JSON array of events, or NDJSON.
//!
//! Answers 200 `{accepted, duplicates, rejected: [{index, code, pointer, detail}]}` when the items are durable; `rejected`
//! shows the first 1,000, with `rejected_total` and `X-Alertmill-Limit` beyond. A lone event that is refused, and a body that
//! cannot be read, is a problem of status 4xx and nothing of it is taken. 429 and 503 come with `Retry-After`.
//!
//! Headers: `X-Alertmill-Source` (or `?source=`) names the source, `[a-z0-9._-]{1,64}`; `Idempotency-Key` makes a retry
//! safe for events without `time`; `Content-Encoding: gzip`.

use super::counters::DoorMetrics;
use super::plan::{Origin, Plan};
use super::{Doors, Intake, post_only};
use crate::http::{Problem, ProblemCode, ReadBody, read_body};
use alertmill_core::decode::{Code, ContentKind, Form, Refusal};
use alertmill_core::record::{Door, DoorCounts};
use alertmill_core::value::Text;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

/// Refusals listed in an answer.
const REJECTED_LISTED_MAX: usize = 1_000;
const SOURCE_HEADER: &str = "x-alertmill-source";
const IDEMPOTENCY_HEADER: &str = "idempotency-key";

pub(super) fn router<J: Intake>(doors: Arc<Doors<J>>) -> Router {
    Router::new().route("/api/v1/events", post(post_events::<J>).fallback(post_only)).with_state(doors)
}

#[derive(Serialize)]
struct Answer<'a> {
    accepted: u64,
    duplicates: u64,
    rejected: Vec<Rejected<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_total: Option<u64>,
}

#[derive(Serialize)]
struct Rejected<'a> {
    index: u32,
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pointer: &'a str,
    detail: &'a str,
}

async fn post_events<J: Intake>(State(doors): State<Arc<Doors<J>>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let metrics = match doors.source(Door::Events, &head.uri, &head.headers) {
        Ok(metrics) => metrics,
        Err(problem) => return problem.closing().into_response(),
    };
    let response = match take(&doors, &metrics, &head.headers, body).await {
        Ok(plan) => answer(&plan),
        Err(problem) => problem.into_response(),
    };
    metrics.answered(response.status());
    response
}

pub(super) async fn take<J: Intake>(doors: &Arc<Doors<J>>, metrics: &Arc<DoorMetrics>, headers: &HeaderMap, body: Body) -> Result<Plan, Problem> {
    let kind = content_kind(headers)?;
    let idempotency_key = idempotency_key(headers)?;
    let ReadBody { bytes, sent, lease } = read_body(headers, body, &doors.config.body, &doors.budget).await?;
    metrics.read(sent);
    let origin = Origin { door: Door::Events, kind, tenant: doors.tenant(headers), source: metrics.source().clone(), idempotency_key };
    let mut plan = match doors.plan(bytes, origin).await? {
        Ok(plan) => plan,
        Err(refusal) => return Err(refused_whole(metrics, refusal)),
    };
    if plan.form == Form::Lone
        && let Some((_, refusal)) = plan.refused.pop()
    {
        return Err(refused_whole(metrics, refusal));
    }
    doors.submit(plan, metrics.clone(), lease).await
}

/// Counts a body or lone item of which nothing is taken, as one item.
pub(super) fn refused_whole(metrics: &DoorMetrics, refusal: Refusal) -> Problem {
    let counts = DoorCounts { received: 1, refused: 1, duplicates: 0 };
    metrics.settled(counts, [refusal.code]);
    metrics.keep(counts);
    refusal.into()
}

pub(super) fn answer(plan: &Plan) -> Response {
    let rejected = plan.refused.iter().take(REJECTED_LISTED_MAX).map(|(index, refusal)| Rejected {
        index: *index,
        code: Code::as_str(refusal.code),
        pointer: &refusal.pointer,
        detail: &refusal.detail,
    });
    let total = plan.counts.refused;
    let cut = total > REJECTED_LISTED_MAX as u64;
    let body = Answer { accepted: plan.good(), duplicates: plan.counts.duplicates, rejected: rejected.collect(), rejected_total: cut.then_some(total) };
    let mut response = Json(body).into_response();
    if cut && let Ok(limit) = HeaderValue::try_from(format!("rejected; {REJECTED_LISTED_MAX}; {total}")) {
        response.headers_mut().insert("x-alertmill-limit", limit);
    }
    response
}

impl<J: Intake> Doors<J> {
    /// The source that a request names, or the door's own.
    pub(super) fn source(&self, door: Door, uri: &Uri, headers: &HeaderMap) -> Result<Arc<DoorMetrics>, Problem> {
        let named = match (query_source(uri.query().unwrap_or_default())?, header_source(headers)?) {
            (Some(a), Some(b)) if a != b => {
                return Err(ProblemCode::Header.problem("X-Alertmill-Source and ?source= name different sources"));
            }
            (a, b) => a.or(b),
        };
        let own = match door {
            Door::Events => &self.config.events_source,
            Door::Alertmanager => &self.config.alertmanager_source,
        };
        let source = named.or_else(|| own.clone()).unwrap_or(Text::new_static(door.name()));
        self.counted(door.name(), &source)
    }

    /// The numbers of a source at a door.
    pub(super) fn counted(&self, door: &'static str, source: &Text) -> Result<Arc<DoorMetrics>, Problem> {
        self.counters.of(door, source).ok_or_else(|| {
            let why = format!("this process already counts {} sources; use one of those in /metrics", super::counters::SOURCES_MAX);
            ProblemCode::Header.problem(why)
        })
    }
}

/// A parameter that is not known may be one that the sender relies on, such as `dry_run`, so it is refused.
fn query_source(query: &str) -> Result<Option<Text>, Problem> {
    let mut source = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("source", name)) if source.is_none() && is_source_name(name) => source = Some(Text::new(name)),
            Some(("source", _)) => return Err(ProblemCode::Parameter.problem("`source` is one name of a-z, 0-9, `.`, `_`, `-`, at most 64 of them")),
            _ => return Err(ProblemCode::UnknownParameter.problem("the only query parameter here is `source`")),
        }
    }
    Ok(source)
}

fn header_source(headers: &HeaderMap) -> Result<Option<Text>, Problem> {
    let mut values = headers.get_all(SOURCE_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(name) if is_source_name(name) && values.next().is_none() => Ok(Some(Text::new(name))),
        _ => Err(ProblemCode::Header.problem("X-Alertmill-Source is one name of a-z, 0-9, `.`, `_`, `-`, at most 64 of them")),
    }
}

/// `[a-z0-9._-]{1,64}`.
pub fn is_source_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// The request's `Idempotency-Key`, if it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Text>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && values.next().is_none() => Ok(Some(Text::new(key))),
        _ => Err(ProblemCode::Header.problem("Idempotency-Key is one text of 1 to 255 visible ASCII characters").closing()),
    }
}

/// What the body is. Types that a page of another site may send without asking are refused with the rest.
pub(crate) fn content_kind(headers: &HeaderMap) -> Result<ContentKind, Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let refuse = |why: &str| Err(ProblemCode::ContentType.problem(why).closing());
    let remedy = "send Content-Type: application/json (one event or an array) or application/x-ndjson (one event a line), in UTF-8";
    let (Some(value), None) = (types.next(), types.next()) else { return refuse(remedy) };
    let Ok(value) = value.to_str() else { return refuse(remedy) };
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    let is_utf8 = parameters.split(';').map(str::trim).filter(|p| !p.is_empty()).all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => value.trim_matches('"').eq_ignore_ascii_case("utf-8"),
        _ => true,
    });
    match kind.trim() {
        kind if kind.eq_ignore_ascii_case("application/json") && is_utf8 => Ok(ContentKind::Json),
        kind if kind.eq_ignore_ascii_case("application/x-ndjson") && is_utf8 => Ok(ContentKind::Ndjson),
        _ => refuse(remedy),
    }
}
