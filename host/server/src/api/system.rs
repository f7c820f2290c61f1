//! Routes about the process: `/healthz`, `/readyz`, `/version`, `/metrics`, `/api`.

use super::answer::json;
use super::{Api, Dependency};
use crate::http::ProblemCode;
use crate::telemetry::{METRICS_CONTENT_TYPE, build_info};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;

/// `GET /healthz`: the process answers.
pub async fn healthz() -> Response {
    #[derive(Serialize)]
    struct Body {
        ok: bool,
    }
    json(StatusCode::OK, &Body { ok: true })
}

/// `GET /readyz`: every part does its work, or 503.
pub async fn readyz(State(api): State<Api>) -> Response {
    #[derive(Serialize)]
    struct Body {
        ready: bool,
        dependencies: Vec<Dependency>,
    }
    let dependencies = api.health.dependencies();
    let ready = dependencies.iter().all(|d| d.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = json(status, &Body { ready, dependencies });
    if !ready {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// `GET /version`
pub async fn version() -> Response {
    json(StatusCode::OK, &BTreeMap::from(build_info()))
}

/// `GET /api`: which versions there are.
pub async fn versions() -> Response {
    #[derive(Serialize)]
    struct Version {
        version: &'static str,
        base: &'static str,
    }
    #[derive(Serialize)]
    struct Body {
        versions: [Version; 1],
    }
    json(StatusCode::OK, &Body { versions: [Version { version: "v1", base: "/api/v1" }] })
}

/// `GET /metrics`
pub async fn metrics(State(api): State<Api>) -> Response {
    match api.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")], text).into_response(),
        Err(_) => ProblemCode::Internal.problem("the numbers could not be written").into_response(),
    }
}
