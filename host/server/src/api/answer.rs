//! How answers are written: JSON, pages, and reads on threads that may wait.

use super::cursor::{self, CursorError};
use super::query::Query;
use super::{AlertReads, Api, ReadError};
use crate::http::{Problem, ProblemCode};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::Instant;

/// JSON that is never cached.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(e) => internal(&format!("an answer has no JSON form: {e}")).into_response(),
    }
}

/// As [`json`], for bytes that are JSON already.
pub fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = (status, bytes).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn internal(why: &str) -> Problem {
    tracing::error!(why, "an answer could not be made");
    ProblemCode::Internal.problem("the answer could not be made; the log says why")
}

impl Api {
    /// Reads from the store on a thread that may wait; only so many at a time.
    pub(super) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&dyn AlertReads) -> Result<T, ReadError> + Send + 'static) -> Result<T, Problem> {
        let permit = self.readers.clone().acquire_owned().await.map_err(|e| internal(&e.to_string()))?;
        let reads = self.reads.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&*reads)
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(ReadError(why))) => {
                tracing::warn!(why, "the store cannot be read");
                let detail = format!("the store cannot be read: {why}; try again");
                Err(ProblemCode::Unavailable.problem(detail))
            }
            Err(e) => Err(internal(&format!("a read ended early: {e}"))),
        }
    }
}

/// Which page of a list is asked for.
pub struct Paging {
    filter: String,
    /// Rows.
    pub limit: usize,
    /// Where to go on.
    pub after: Option<u128>,
    begun: Instant,
}

impl Paging {
    /// Reads `limit` and `cursor`; `filter` spells out the list and everything that narrows it.
    pub fn of(query: &Query, filter: String) -> Result<Paging, Problem> {
        let problem = |code: ProblemCode, detail: &str| code.problem(detail).at("?cursor");
        let after = match query.one("cursor")? {
            None => None,
            Some(text) => match cursor::decode(&filter, text) {
                Ok(position) => Some(position),
                Err(CursorError::Mismatch) => {
                    let detail = "this cursor belongs to another list or filter; repeat the parameters of the first page or leave the cursor out";
                    return Err(problem(ProblemCode::CursorMismatch, detail));
                }
                Err(CursorError::Invalid) => {
                    let detail = "this is no cursor of ours; give `next_cursor` of a page as it is, or leave the cursor out";
                    return Err(problem(ProblemCode::Cursor, detail));
                }
            },
        };
        Ok(Paging { filter, limit: query.limit()?, after, begun: Instant::now() })
    }

    /// The answer.
    pub fn answer<T: Serialize>(&self, items: Vec<T>, next: Option<u128>, total: Option<u64>) -> Response {
        let body = PageBody {
            items,
            next_cursor: next.map(|position| cursor::encode(&self.filter, position)),
            total: total.map(|value| Total { value, relation: "eq" }),
            took_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        json(StatusCode::OK, &body)
    }
}

#[derive(Serialize)]
struct PageBody<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Total>,
    took_ms: u64,
}

#[derive(Serialize)]
struct Total {
    value: u64,
    relation: &'static str,
}

/// A stored document as part of an answer, byte for byte.
pub fn raw(document: Vec<u8>) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(document).map_err(|e| internal(&format!("a stored document is not UTF-8: {e}")))?;
    RawValue::from_string(text).map_err(|e| internal(&format!("a stored document is not JSON: {e}")))
}
