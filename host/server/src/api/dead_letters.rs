//! `/api/v1/dead-letters`: what could not be understood or judged, with the reason.

use super::answer::{Paging, json};
use super::query::Query;
use super::{Api, DeadLetterRow};
use crate::http::{Problem, ProblemCode};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Slim {
    id: String,
    /// Milliseconds.
    received_at: i64,
    bk_tenant_id: String,
    source: String,
    code: String,
    detail: String,
    /// Of the item.
    bytes: u64,
    /// Whether it can be tried again.
    redrivable: bool,
    /// How often it was.
    redriven: u32,
}

#[derive(Serialize)]
struct Full {
    #[serde(flatten)]
    slim: Slim,
    /// The item, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Box<RawValue>>,
    /// The item as text, when it is not; bytes that are no UTF-8 show as U+FFFD.
    #[serde(skip_serializing_if = "Option::is_none")]
    item_text: Option<String>,
}

fn slim(row: DeadLetterRow) -> (Slim, Option<Vec<u8>>) {
    let slim = Slim {
        id: row.id.to_string(),
        received_at: row.received_at_ms,
        bk_tenant_id: row.tenant,
        source: row.source,
        code: row.code,
        detail: row.detail,
        bytes: row.bytes,
        redrivable: row.arrival.is_some(),
        redriven: row.arrival.map_or(0, |arrival| arrival.redriven),
    };
    (slim, row.item)
}

/// `GET /api/v1/dead-letters`
pub async fn list(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["source", "code", "limit", "cursor"])?;
    let (source, code) = (query.one("source")?.map(str::to_owned), query.one("code")?.map(str::to_owned));
    let paging = Paging::of(&query, format!("dead letters {source:?} {code:?}"))?;
    let (after, limit) = (paging.after, paging.limit);
    let page = api.read(move |reads| reads.dead_letters(source.as_deref(), code.as_deref(), after, limit)).await?;
    let items: Vec<Slim> = page.items.into_iter().map(|row| slim(row).0).collect();
    Ok(paging.answer(items, page.next, None))
}

/// `GET /api/v1/dead-letters/{id}`
pub async fn get(State(api): State<Api>, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let missing = || {
        let detail = format!("there is no dead letter {id:?}; the oldest of a source are removed first");
        ProblemCode::NotFound.problem(detail)
    };
    let number = id.parse().map_err(|_| missing())?;
    let row = api.read(move |reads| reads.dead_letter(number)).await?.ok_or_else(missing)?;
    let (slim, item) = slim(row);
    let item = item.unwrap_or_default();
    let raw = std::str::from_utf8(&item).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let item_text = raw.is_none().then(|| String::from_utf8_lossy(&item).into_owned());
    Ok(json(StatusCode::OK, &Full { slim, item: raw, item_text }))
}
