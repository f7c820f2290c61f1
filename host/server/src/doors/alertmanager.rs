//! `/am`: what Prometheus and vmalert need of an Alertmanager. Errors are JSON strings, as there; an alert that is refused
//! makes the answer 400 and the others are taken all the same, as there.
//!
//! Nothing else under `/am` answers 200: Grafana takes `/am/alertmanager/api/v2/status` for another product when it does.

use super::counters::DoorMetrics;
use super::events::{content_kind, refused_whole};
use super::plan::{Origin, Plan};
use super::{Doors, Intake, get_only, post_only};
use crate::http::problem::mark;
use crate::http::{Problem, ProblemCode, ReadBody, read_body};
use alertmill_core::decode::ContentKind;
use alertmill_core::record::Door;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;

/// The Alertmanager whose API this is; amtool and Karma read it.
const API_VERSION: &str = "0.33.0";
/// Refused alerts named in an answer.
const NAMED_MAX: usize = 20;

pub(super) fn router<J: Intake>(doors: Arc<Doors<J>>) -> Router {
    Router::new()
        .route("/am/api/v2/alerts", post(post_alerts::<J>).fallback(post_only))
        .route("/am/api/v2/status", get(status::<J>).fallback(get_only))
        .route("/am/-/healthy", get(|| async { "OK" }).fallback(get_only))
        .route("/am/-/ready", get(|| async { "OK" }).fallback(get_only))
        .with_state(doors)
}

async fn post_alerts<J: Intake>(State(doors): State<Arc<Doors<J>>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let metrics = match doors.source(Door::Alertmanager, &head.uri, &head.headers) {
        Ok(metrics) => metrics,
        Err(problem) => return text(problem.closing()),
    };
    let response = match take(&doors, &metrics, &head.headers, body).await {
        Ok(plan) if plan.refused.is_empty() => StatusCode::OK.into_response(),
        Ok(plan) => (StatusCode::BAD_REQUEST, Json(refusals(&plan))).into_response(),
        Err(problem) => text(problem),
    };
    metrics.answered(response.status());
    response
}

async fn take<J: Intake>(doors: &Arc<Doors<J>>, metrics: &Arc<DoorMetrics>, headers: &HeaderMap, body: Body) -> Result<Plan, Problem> {
    if content_kind(headers)? != ContentKind::Json {
        return Err(ProblemCode::ContentType.problem("alerts are posted as application/json").closing());
    }
    let ReadBody { bytes, sent, lease } = read_body(headers, body, &doors.config.body, &doors.budget).await?;
    metrics.read(sent);
    let origin =
        Origin { door: Door::Alertmanager, kind: ContentKind::Json, tenant: doors.tenant(headers), source: metrics.source().clone(), idempotency_key: None };
    match doors.plan(bytes, origin).await? {
        Ok(plan) => doors.submit(plan, metrics.clone(), lease).await,
        Err(refusal) => Err(refused_whole(metrics, refusal)),
    }
}

fn refusals(plan: &Plan) -> String {
    let mut named: Vec<_> = plan.refused.iter().take(NAMED_MAX).map(|(i, refusal)| format!("alert {i}: {refusal}")).collect();
    if plan.refused.len() > NAMED_MAX {
        named.push(format!("and {} more", plan.refused.len() - NAMED_MAX));
    }
    named.join("; ")
}

/// A problem as this API words it: a JSON string.
fn text(problem: Problem) -> Response {
    let mut response = (problem.status, Json(format!("{}: {}", problem.code, problem.detail))).into_response();
    mark(response.headers_mut(), problem.retry_after_s, problem.close);
    response
}

async fn status<J: Intake>(State(doors): State<Arc<Doors<J>>>) -> Response {
    let revision = concat!("alertmill-", env!("CARGO_PKG_VERSION"));
    let body = json!({
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": "route:\n  receiver: alertmill\nreceivers:\n- name: alertmill\n"},
        "uptime": doors.started.to_string(),
        "versionInfo": {"version": API_VERSION, "revision": revision, "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""},
    });
    Json(body).into_response()
}
