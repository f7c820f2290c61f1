//! R1 and R2 as an Extism plugin of the usual kind: JSON in, JSON out, one event a call. The table is loaded once and stays in the
//! plugin's memory, so that a look-up never leaves it.

use bench_logic::{TAGS, r1_severity, r2_key};
use extism_pdk::{FnResult, Json, json, plugin_fn};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::OnceLock;

static HOSTS: OnceLock<HashMap<String, [String; 5]>> = OnceLock::new();

/// What R1 reads of an event. Other fields may be there and are passed over.
#[derive(Deserialize)]
struct Enriched<'a> {
    #[serde(borrow)]
    ip: &'a str,
    severity: i64,
    #[serde(borrow)]
    tags: HashMap<&'a str, &'a str>,
}

/// What R2 reads.
#[derive(Deserialize)]
struct Keyed<'a> {
    #[serde(borrow)]
    alert_name: &'a str,
    #[serde(borrow)]
    tags: HashMap<&'a str, &'a str>,
}

/// What R1 changes; nothing, on a host that is not in the table.
#[derive(Serialize)]
struct Change {
    severity: Option<i64>,
    tags: Vec<(&'static str, &'static str)>,
}

#[plugin_fn]
pub fn load(Json(hosts): Json<HashMap<String, [String; 5]>>) -> FnResult<()> {
    HOSTS.get_or_init(|| hosts);
    Ok(())
}

#[plugin_fn]
pub fn enrich(input: String) -> FnResult<Json<Change>> {
    let event: Enriched = json::from_str(&input)?;
    let Some(host) = HOSTS.get().and_then(|hosts| hosts.get(event.ip)) else {
        return Ok(Json(Change { severity: None, tags: Vec::new() }));
    };
    let severity = r1_severity(event.severity, event.tags.get("service").copied(), &host[4]);
    let tags = TAGS.into_iter().zip(host.iter().map(String::as_str)).collect();
    Ok(Json(Change { severity, tags }))
}

#[plugin_fn]
pub fn dedupe(input: String) -> FnResult<String> {
    let event: Keyed = json::from_str(&input)?;
    Ok(r2_key(event.alert_name, event.tags.get("host").copied(), event.tags.get("service").copied()))
}
