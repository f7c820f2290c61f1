//! `/api/v1/rules` and `/api/v1/pipeline/ledger`.

use super::Api;
use super::answer::json;
use super::query::Query;
use crate::http::Problem;
use alertmill_core::ledger::Ledger;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// `GET /api/v1/rules`
pub async fn rules(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    Ok(json(StatusCode::OK, &List { items: api.rules.rules(), next_cursor: None }))
}

#[derive(Default, Serialize)]
struct Counters {
    name: String,
    counters: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    imbalance: Option<Imbalance>,
}

#[derive(Serialize)]
struct Imbalance {
    /// received - refused - journaled - duplicates in the request.
    door: i64,
    /// journaled - everything that an item can become.
    fold: i64,
}

#[derive(Serialize)]
struct LedgerBody {
    sources: Vec<Counters>,
    rules: Vec<Counters>,
    balanced: bool,
}

/// `GET /api/v1/pipeline/ledger`
pub async fn ledger(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let values = api.read(|reads| reads.ledger()).await?;
    let mut by_scope: BTreeMap<(&str, String), Counters> = BTreeMap::new();
    for value in &values {
        let entry = by_scope.entry((value.scope, value.name.to_string())).or_default();
        entry.name = value.name.to_string();
        entry.counters.insert(value.counter.to_string(), value.value);
    }
    let rows: Vec<_> = values.iter().map(|v| (v.scope.into(), v.name.clone(), v.counter.clone(), v.value)).collect();
    let sums = Ledger::restore(&rows);
    let (mut sources, mut rules) = (Vec::new(), Vec::new());
    for ((scope, name), mut counters) in by_scope {
        if scope == "source" {
            let (door, fold) = sums.imbalance(&name);
            counters.imbalance = Some(Imbalance { door, fold });
            sources.push(counters);
        } else {
            rules.push(counters);
        }
    }
    let balanced = sources.iter().all(|s| s.imbalance.as_ref().is_none_or(|i| i.door == 0 && i.fold == 0));
    Ok(json(StatusCode::OK, &LedgerBody { sources, rules, balanced }))
}
