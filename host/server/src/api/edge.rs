//! What holds for every answer of the routes: security headers, and errors that are problems. The listener adds the id.

use crate::http::{Problem, ProblemCode};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A sender that posts to a wrong path does so every few seconds for ever: one line of it is enough for a while.
const SAY_EVERY: Duration = Duration::from_secs(60);
static SAID: Mutex<Option<Instant>> = Mutex::new(None);

/// Puts the last layer around all routes of the listener: 404 and 405 as problems, headers. Call it once, after all
/// routers are merged.
pub fn finish(router: Router) -> Router {
    router.fallback(not_found).layer(from_fn(edge))
}

async fn not_found(uri: Uri) -> Problem {
    let path = uri.path();
    if !is_alertmanager(path) {
        return ProblemCode::NotFound.problem(format!("there is nothing at {path}; GET /api lists the versions of the API"));
    }
    // Prometheus logs the status only, so the words have to be in our log too.
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
        *said = Some(Instant::now());
        tracing::warn!(path, "a request was answered 404: {ALERTMANAGER_HINT}; not said again for a while");
    }
    ProblemCode::NotFound.problem(format!("there is nothing at {path}; {ALERTMANAGER_HINT}"))
}

const ALERTMANAGER_HINT: &str = "the Alertmanager API is /am/api/v2: in Prometheus set path_prefix: /am and api_version: v2";

/// Where Prometheus posts when its prefix or version is not ours.
fn is_alertmanager(path: &str) -> bool {
    path == "/api/v2" || path.starts_with("/api/v2/") || path.starts_with("/am/api/v1/")
}

async fn edge(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(header::CONTENT_TYPE) {
        response = method_not_allowed(&method, &path, response.headers().get(header::ALLOW));
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn method_not_allowed(method: &axum::http::Method, path: &str, allow: Option<&HeaderValue>) -> Response {
    let detail = match allow.and_then(|v| v.to_str().ok()) {
        Some(allowed) => format!("{path} does not take {method}; it takes {allowed}"),
        // The router adds the header outside of this layer.
        None => format!("{path} does not take {method}; the header `allow` of this answer names what it takes"),
    };
    let mut response = ProblemCode::Method.problem(detail).into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_looks_for_an_alertmanager_is_told_where_it_is() {
        for path in ["/api/v2/alerts", "/api/v2/status", "/am/api/v1/alerts"] {
            let problem = not_found(Uri::from_static(path)).await;
            assert!(problem.detail.contains("path_prefix: /am") && problem.detail.contains("api_version: v2"), "{path}: {}", problem.detail);
        }
        for path in ["/api/v2x", "/am/api/v2/silences", "/x"] {
            assert!(!not_found(Uri::from_static(path)).await.detail.contains("path_prefix"), "{path}");
        }
    }
}
