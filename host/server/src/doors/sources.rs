//! `POST /api/v1/sources/{source}`: bodies of the sources that `[sources.NAME]` of the configuration names.
//!
//! With `decoder = "rules"` a body of any form is taken as it is, one item, and answered 200 `{accepted: 1, duplicates: 0,
//! rejected: []}` when it is durable; the normalize rules make events of it behind the answer, and what they cannot judge becomes
//! a dead letter. With `decoder = "events"` the door takes and answers what `POST /api/v1/events` does.
//!
//! Headers: those of that door without `X-Alertmill-Source`. `Idempotency-Key` makes a retry safe when rules give events no time.

use super::events::{answer, idempotency_key, is_source_name, refused_whole, take};
use super::plan::Plan;
use super::{Doors, Intake, post_only};
use crate::config::Source;
use crate::config::types::Decoder;
use crate::doors::DoorMetrics;
use crate::http::{BodyLimits, Problem, ProblemCode, ReadBody, read_body};
use alertmill_core::decode::{Code, Refusal};
use alertmill_core::record::{DoorCounts, RawPayload};
use alertmill_core::value::Text;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;

/// Name of this door in metrics.
pub(super) const DOOR: &str = "sources";

/// Largest raw body: a rule has to hold it, and what it makes of it, in its own memory.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// What is configured of one source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Who makes events of a body.
    pub decoder: Decoder,
    /// Content types that are taken, lower case.
    pub content_types: Vec<String>,
    /// Headers that are journaled with a raw body, lower case.
    pub headers: Vec<Text>,
}

impl SourceConfig {
    /// From a section that was checked.
    pub fn of(source: &Source) -> SourceConfig {
        let headers = source.headers.iter().map(|name| Text::from(name.to_ascii_lowercase())).collect();
        SourceConfig { decoder: source.decoder, content_types: source.content_types.clone(), headers }
    }
}

pub(super) fn router<J: Intake>(doors: Arc<Doors<J>>) -> Router {
    Router::new().route("/api/v1/sources/{source}", post(post_body::<J>).fallback(post_only)).with_state(doors)
}

async fn post_body<J: Intake>(State(doors): State<Arc<Doors<J>>>, Path(name): Path<String>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Some((source, config)) = doors.config.sources.get_key_value(name.as_str()) else {
        return unknown(&name).closing().into_response();
    };
    if head.uri.query().is_some_and(|query| !query.is_empty()) {
        return ProblemCode::UnknownParameter.problem("this path takes no query parameters").closing().into_response();
    }
    let metrics = match doors.counted(DOOR, source) {
        Ok(metrics) => metrics,
        Err(problem) => return problem.closing().into_response(),
    };
    let taken = match content_type(&head.headers, source, config) {
        Ok(kind) if config.decoder == Decoder::Rules => take_raw(&doors, &metrics, config, kind, &head.headers, body).await,
        Ok(_) => take(&doors, &metrics, &head.headers, body).await,
        Err(problem) => Err(problem),
    };
    let response = match taken {
        Ok(plan) => answer(&plan),
        Err(problem) => problem.into_response(),
    };
    metrics.answered(response.status());
    response
}

fn unknown(name: &str) -> Problem {
    if !is_source_name(name) {
        return ProblemCode::NotFound.problem("a source has a name of a-z, 0-9, `_` and `-`, at most 64 of them");
    }
    ProblemCode::NotFound.problem(format!("no source {name} is configured; add a section [sources.{name}] to the configuration and start the server again"))
}

/// The one content type of the request, if the source takes it.
fn content_type(headers: &HeaderMap, source: &str, config: &SourceConfig) -> Result<Text, Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let said = match (types.next(), types.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    };
    let kind = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if config.content_types.contains(&kind) {
        return Ok(Text::from(kind));
    }
    let taken = config.content_types.join(", ");
    Err(ProblemCode::ContentType.problem(format!("source {source} takes {taken}; send that, or add the type to sources.{source}.content_types")).closing())
}

async fn take_raw<J: Intake>(
    doors: &Arc<Doors<J>>,
    metrics: &Arc<DoorMetrics>,
    config: &SourceConfig,
    content_type: Text,
    headers: &HeaderMap,
    body: Body,
) -> Result<Plan, Problem> {
    let idempotency_key = idempotency_key(headers)?;
    let limits = doors.config.body;
    let limits = BodyLimits { sent_max: limits.sent_max.min(PAYLOAD_BYTES_MAX), decoded_max: limits.decoded_max.min(PAYLOAD_BYTES_MAX), ..limits };
    let ReadBody { bytes, sent, lease } = read_body(headers, body, &limits, &doors.budget).await?;
    metrics.read(sent);
    if bytes.is_empty() {
        return Err(refused_whole(metrics, Refusal::new(Code::Shape, "", "the body is empty; send what the rules of this source make events of")));
    }
    let payload = RawPayload {
        tenant: doors.tenant(headers),
        source: metrics.source().clone(),
        idempotency_key,
        counts: DoorCounts { received: 1, ..DoorCounts::default() },
        content_type,
        headers: kept(headers, &config.headers),
        body: bytes.into(),
    };
    doors.submit(Plan::of_payload(payload), metrics.clone(), lease).await
}

/// The headers that the rules of a source see; one that was sent several times stands there as often. Bytes that are no text are
/// replaced (U+FFFD).
fn kept(headers: &HeaderMap, names: &[Text]) -> Vec<(Text, Text)> {
    let text = |bytes: &[u8]| Text::from(String::from_utf8_lossy(bytes).into_owned());
    names.iter().flat_map(|name| headers.get_all(name.as_str()).iter().map(|value| (name.clone(), text(value.as_bytes())))).collect()
}

#[cfg(test)]
mod tests;
