//! What holds for every answer of the listener: ids, security headers, and errors that are problems.

use crate::http::problem::Problem;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the last layer around all routes of the listener: 404 and 405 as problems, ids, headers. Call it once, after all
/// routers are merged.
pub fn finish(router: Router) -> Router {
    router.fallback(not_found).layer(from_fn(edge))
}

async fn not_found(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; GET /api lists the versions of the API", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing at this path", detail)
}

async fn edge(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(header::CONTENT_TYPE) {
        response = method_not_allowed(&method, &path, response.headers().get(header::ALLOW));
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn method_not_allowed(method: &axum::http::Method, path: &str, allow: Option<&HeaderValue>) -> Response {
    let allowed = allow.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let detail = format!("{path} does not take {method}; it takes {allowed}");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This path does not take this method", detail).into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// The trace id of a `traceparent`, else the sender's own id if it is short and plain, else a number.
fn request_id(request: &Request) -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let text = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let plain = |t: &&str| (1..=128).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    let trace = text("traceparent").and_then(|t| t.split('-').nth(1)).filter(|t| t.len() == 32);
    let given = trace.or_else(|| text("x-request-id")).filter(plain).and_then(|t| HeaderValue::from_str(t).ok());
    given.unwrap_or_else(|| HeaderValue::from(NEXT.fetch_add(1, Relaxed)))
}
