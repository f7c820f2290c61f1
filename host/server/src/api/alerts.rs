//! `/api/v1/alerts` and below.

use super::answer::{Paging, json_bytes, raw};
use super::query::{Query, bad_parameter};
use super::{AlertFilter, AlertRow, Api, time};
use crate::http::{Problem, ProblemCode};
use alertmill_core::event::Status;
use alertmill_core::identity::parse_alert_id;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `GET /api/v1/alerts`
pub async fn list(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["status", "severity", "from", "to", "limit", "cursor", "view"])?;
    let (filter, spelt) = filter(&query, time::now_ms())?;
    let full = view(&query)? == Some("full");
    let paging = Paging::of(&query, spelt)?;
    let (after, limit) = (paging.after, paging.limit);
    let (page, total) = api
        .read(move |reads| {
            let total = if after.is_none() { reads.count_alerts(&filter)? } else { None };
            Ok((reads.list_alerts(&filter, after, limit, full)?, total))
        })
        .await?;
    if full {
        let documents = page.items.into_iter().filter_map(|row| row.document).map(raw).collect::<Result<Vec<_>, _>>()?;
        return Ok(paging.answer(documents, page.next, total));
    }
    Ok(paging.answer::<AlertRow>(page.items, page.next, total))
}

/// `view`, which is `slim` or `full`.
fn view(query: &Query) -> Result<Option<&str>, Problem> {
    match query.one("view")? {
        view @ (None | Some("slim" | "full")) => Ok(view),
        Some(other) => Err(bad_parameter("view", format!("{other:?} is no view; write slim or full"))),
    }
}

/// The filter, and its one spelling for cursors: as it was written, so that `now-6h` stays the same from page to page.
fn filter(query: &Query, now_ms: i64) -> Result<(AlertFilter, String), Problem> {
    let mut filter = AlertFilter::default();
    for text in query.many("status") {
        let status = Status::parse(&text.to_ascii_uppercase())
            .ok_or_else(|| bad_parameter("status", format!("{text:?} is no status; write ABNORMAL, RECOVERED or CLOSED")))?;
        if !filter.statuses.contains(&status) {
            filter.statuses.push(status);
        }
    }
    for text in query.many("severity") {
        match text.parse() {
            Ok(n @ 1..=3) if filter.severities.contains(&n) => {}
            Ok(n @ 1..=3) => filter.severities.push(n),
            _ => return Err(bad_parameter("severity", format!("{text:?} is no severity; write 1 (fatal), 2 (warning) or 3 (reminder)"))),
        }
    }
    filter.statuses.sort_by_key(|s| s.as_str());
    filter.severities.sort_unstable();
    let (from, to) = (query.one("from")?, query.one("to")?);
    let seconds = |name: &str, text: Option<&str>| match text.map(|t| time::parse(t, now_ms)).transpose() {
        Ok(ms) => Ok(ms.map(|ms| ms.div_euclid(1_000))),
        Err(why) => Err(bad_parameter(name, why)),
    };
    filter.from_s = seconds("from", from)?;
    filter.to_s = seconds("to", to)?;
    let spelt = format!("alerts {:?} {:?} {from:?} {to:?}", filter.statuses, filter.severities);
    Ok((filter, spelt))
}

/// `GET /api/v1/alerts/{id}`
pub async fn get(State(api): State<Api>, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    // One alert is always shown whole; only a slip of the pen is refused.
    view(&Query::read(&uri, &["view"])?)?;
    let (_, document) = find(&api, &id).await?;
    Ok(json_bytes(StatusCode::OK, document))
}

/// The alert of an id, or 404.
async fn find(api: &Api, id: &str) -> Result<(u64, Vec<u8>), Problem> {
    #[derive(Deserialize)]
    struct Identified<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    let missing = || {
        let detail = format!("there is no alert {id:?}; it may have been removed after its retention");
        ProblemCode::NotFound.problem(detail)
    };
    if !id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ProblemCode::NotFound.problem(format!("{id:?} is no id; ids are digits, as GET /api/v1/alerts shows them")));
    }
    let (_, seq) = parse_alert_id(id).ok_or_else(missing)?;
    let document = api.read(move |reads| reads.alert(seq)).await?.ok_or_else(missing)?;
    match serde_json::from_slice::<Identified<'_>>(&document) {
        Ok(found) if found.id == id => Ok((seq, document)),
        _ => Err(missing()),
    }
}

#[derive(Serialize)]
struct EventOfAlert {
    role: &'static str,
    event: Option<Box<RawValue>>,
}

/// `GET /api/v1/alerts/{id}/events`
pub async fn events(State(api): State<Api>, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "cursor"])?;
    let paging = Paging::of(&query, format!("events of {id}"))?;
    let (after, limit) = (paging.after, paging.limit);
    let (seq, _) = find(&api, &id).await?;
    let page = api.read(move |reads| reads.alert_events(seq, after, limit)).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        items.push(EventOfAlert { role: row.role, event: row.document.map(raw).transpose()? });
    }
    Ok(paging.answer(items, page.next, None))
}

/// `GET /api/v1/alerts/{id}/logs`
pub async fn logs(State(api): State<Api>, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "cursor"])?;
    let paging = Paging::of(&query, format!("logs of {id}"))?;
    let (after, limit) = (paging.after, paging.limit);
    let (seq, _) = find(&api, &id).await?;
    let page = api.read(move |reads| reads.alert_logs(seq, after, limit)).await?;
    let documents = page.items.into_iter().map(raw).collect::<Result<Vec<_>, _>>()?;
    Ok(paging.answer(documents, page.next, None))
}
