//! Errors as RFC 9457 says them: `application/problem+json` with our `code`, `retryable` and, for fields, `errors`.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer that says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable code; `type` is made of it.
    pub code: &'static str,
    /// The same for every problem of the code.
    pub title: &'static str,
    /// What is wrong with this request, and what to do.
    pub detail: String,
    /// Which part of the request, as a JSON pointer or `?name` for a query parameter.
    pub pointer: Option<String>,
    /// Seconds after which to try again.
    pub retry_after_s: Option<u64>,
    /// End the connection: what follows on it cannot be trusted, or is not wanted.
    pub close: bool,
}

impl Problem {
    /// A problem without pointer and retry.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Problem { status, code, title, detail: detail.into(), pointer: None, retry_after_s: None, close: false }
    }

    /// Says which part of the request is meant.
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// Ends the connection after the answer.
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[FieldError<'a>; 1]>,
    retryable: bool,
}

#[derive(Serialize)]
struct FieldError<'a> {
    pointer: &'a str,
    message: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("/problems/{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: self.pointer.as_deref().map(|pointer| [FieldError { pointer, message: &self.detail }]),
            retryable: self.retry_after_s.is_some(),
        };
        // A struct of texts and numbers always has a JSON form.
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        mark(headers, self.retry_after_s, self.close);
        response
    }
}

/// Sets the headers that go with a refusal of any form.
pub(crate) fn mark(headers: &mut HeaderMap, retry_after_s: Option<u64>, close: bool) {
    if let Some(seconds) = retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
