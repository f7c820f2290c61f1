//! What holds for every answer of the routes: security headers, and errors that are problems. The listener adds the id.

use crate::http::{Problem, ProblemCode};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// Puts the last layer around all routes of the listener: 404 and 405 as problems, headers. Call it once, after all
/// routers are merged.
pub fn finish(router: Router) -> Router {
    router.fallback(not_found).layer(from_fn(edge))
}

async fn not_found(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; GET /api lists the versions of the API", uri.path());
    ProblemCode::NotFound.problem(detail)
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
