//! What versions of rules there are, what stands under a rule's name, and who changed it: the reading half of live versions.

use super::answer::{Paging, json};
use super::query::Query;
use super::rules_write::RulesApi;
use crate::http::{Problem, ProblemCode};
use crate::rules::Shown;
use crate::rules_folder::is_enabled;
use crate::signature::hex;
use alertmill_core::ports::VersionWrite;
use alertmill_core::rule_set::{RuleEntry, RuleVersion};
use alertmill_core::value::Text;
use alertmill_stores::StoreError;
use alertmill_stores::embedded::{AuditRow, EmbeddedReader};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};

/// Versions of one rule among which a prefix or a version text is looked for.
const SEARCHED_MAX: usize = 1_000;
/// Fewest hex digits that name a digest.
const PREFIX_MIN: usize = 12;

/// `GET /api/v1/rules/{rule}`
pub async fn slot(State(api): State<RulesApi>, Path(rule): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let shown = api.keeper.shown();
    let (slot, etag) = found(&shown, &rule)?;
    let mut answer = json(StatusCode::OK, &slot_as_json(slot, &shown));
    put_etag(&mut answer, &etag);
    Ok(answer)
}

fn found<'a>(shown: &'a Shown, rule: &str) -> Result<(&'a RuleEntry, String), Problem> {
    let slot = shown.set.rules.iter().find(|slot| slot.name == rule);
    let none = || ProblemCode::NotFound.problem(format!("no rule is named {rule:?}; `rule list` shows those that are"));
    slot.zip(shown.etag(rule)).ok_or_else(none)
}

/// Says which state of the slot an answer shows.
pub fn put_etag(answer: &mut Response, etag: &str) {
    if let Ok(value) = HeaderValue::from_str(etag) {
        answer.headers_mut().insert(header::ETAG, value);
    }
}

/// Where what runs came from, as the API words it.
pub fn source(slot: &RuleEntry) -> &'static str {
    match slot.origin {
        alertmill_core::rule_set::Origin::Folder => "folder",
        alertmill_core::rule_set::Origin::Upload => "upload",
    }
}

/// `active`, `quarantined` or `disabled`.
pub fn mode(slot: &RuleEntry) -> &'static str {
    match (is_enabled(slot), &slot.quarantine) {
        (false, _) => "disabled",
        (true, Some(_)) => "quarantined",
        (true, None) => "active",
    }
}

/// What the slot's file asks for and does not get, and why.
pub fn held(slot: &RuleEntry, shown: &Shown) -> Option<Value> {
    let (_, version, digest) = shown.offers.iter().find(|(name, ..)| *name == slot.name)?;
    let is_held = !slot.offered.is_empty() && crate::rules::slots::offer(&slot.running()) != slot.offered;
    is_held.then(|| json!({"version": version, "digest": full(digest), "why": if slot.pinned { "pinned" } else { "another version was activated" }}))
}

fn full(digest: &Text) -> String {
    format!("sha256:{digest}")
}

fn version_as_json(version: &RuleVersion) -> Value {
    json!({"version": version.version.as_str(), "digest": full(&version.digest), "config": parsed(&version.config), "options": parsed(&version.options)})
}

fn parsed(text: &Text) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// A slot, whole.
pub fn slot_as_json(slot: &RuleEntry, shown: &Shown) -> Value {
    json!({
        "name": slot.name.as_str(),
        "state": mode(slot),
        "order": slot.order.as_str(),
        "source": source(slot),
        "pinned": slot.pinned,
        "active": version_as_json(&slot.running()),
        "previous": slot.previous.as_ref().map(version_as_json),
        "held": held(slot, shown),
        "quarantine": slot.quarantine,
        "generation": shown.set.generation,
        "etag": shown.etag(&slot.name),
    })
}

/// `GET /api/v1/rules/{rule}/versions`
pub async fn list(State(api): State<RulesApi>, Path(rule): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "cursor"])?;
    let paging = Paging::of(&query, format!("rule-versions:{rule}"))?;
    let (name, limit, before) = (rule.clone(), paging.limit, paging.after.and_then(|after| u64::try_from(after).ok()));
    let rows = api.read(move |reader| reader.rule_versions(Some(&name), before, limit + 1)).await?;
    let shown = api.keeper.shown();
    if rows.is_empty() && before.is_none() && shown.etag(&rule).is_none() {
        return Err(ProblemCode::NotFound.problem(format!("no rule is named {rule:?}, and no version of one was uploaded")));
    }
    let (rows, next) = page(rows, limit, |row| row.ordinal);
    Ok(paging.answer(rows.iter().map(|row| row_as_json(row, &shown, false)).collect(), next, None))
}

fn page<T>(mut rows: Vec<T>, limit: usize, ordinal: impl Fn(&T) -> u64) -> (Vec<T>, Option<u128>) {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| u128::from(ordinal(row))).filter(|_| more);
    (rows, next)
}

/// What becomes of a version now.
fn state(change: &alertmill_core::version_change::VersionChange, shown: &Shown) -> &'static str {
    let slot = shown.set.rules.iter().find(|slot| slot.name == change.name);
    match slot {
        Some(slot) if slot.digest == change.digest => "active",
        Some(slot) if slot.previous.as_ref().is_some_and(|previous| previous.digest == change.digest) => "previous",
        Some(slot) if held(slot, shown).is_some_and(|held| held["digest"] == full(&change.digest)) => "held",
        _ => "ready",
    }
}

fn row_as_json(row: &VersionWrite, shown: &Shown, whole: bool) -> Value {
    let change = &row.change;
    let info: Value = parsed(&change.info);
    let mut value = json!({
        "name": change.name.as_str(),
        "version": change.version.as_str(),
        "digest": full(&change.digest),
        "state": state(change, shown),
        "size_bytes": change.size_bytes,
        "uploaded_at": row.received_at_ms,
        "operator": change.operator.as_str(),
        "comment": change.comment.as_str(),
        "source": change.source.as_str(),
        "signer": change.signature.as_ref().map(|signature| signature.signer.as_str()),
        "signature": change.signature.as_ref().map(|signature| full(&signature.digest)),
        "hooks": info["hooks"].as_array().map(|hooks| hooks.iter().map(|hook| hook["hook"].clone()).collect::<Vec<_>>()),
    });
    if whole {
        value["info"] = info;
    }
    value
}

/// `GET /api/v1/rules/{rule}/versions/{version}`
pub async fn one(State(api): State<RulesApi>, Path((rule, version)): Path<(String, String)>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let row = named(&api, &rule, &version).await?;
    Ok(json(StatusCode::OK, &row_as_json(&row, &api.keeper.shown(), true)))
}

/// `GET /api/v1/rules/{rule}/versions/{version}/module`
pub async fn module(State(api): State<RulesApi>, Path((rule, version)): Path<(String, String)>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let digest = named(&api, &rule, &version).await?.change.digest;
    let (modules, name) = (api.modules.clone(), digest.clone());
    let bytes = blocking(move || modules.get(&name)).await?;
    let Some(bytes) = bytes else { return Err(ProblemCode::Damaged.problem(format!("the file of sha256:{digest} is gone; upload the version again"))) };
    let mut answer = Response::new(Body::from(bytes));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/wasm"));
    put_etag(&mut answer, &format!("\"sha256:{digest}\""));
    Ok(answer)
}

/// The version that a digest, at least 12 digits of it, or a version text names.
pub async fn named(api: &RulesApi, rule: &str, version: &str) -> Result<VersionWrite, Problem> {
    let digits = version.strip_prefix("sha256:").unwrap_or(version);
    let is_hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let (name, digest) = (rule.to_owned(), digits.to_owned());
    let mut found = if is_hex && digits.len() == 64 {
        api.read(move |reader| reader.rule_version(&name, &digest)).await?.into_iter().collect()
    } else {
        let is_prefix = is_hex && digits.len() >= PREFIX_MIN;
        let mut all = api.read(move |reader| reader.rule_versions(Some(&name), None, SEARCHED_MAX)).await?;
        all.retain(|row| row.change.version == version || is_prefix && row.change.digest.starts_with(digits));
        all
    };
    if found.len() > 1 {
        let digests: Vec<String> = found.iter().map(|row| full(&row.change.digest)).collect();
        return Err(ProblemCode::AmbiguousVersion.problem(format!("{version:?} may be {}; name one by its digest", digests.join(" or "))));
    }
    let none = || ProblemCode::NotFound.problem(format!("rule {rule:?} has no version {version:?}; upload it, or see `rule versions {rule}`"));
    found.pop().ok_or_else(none)
}

/// `GET /api/v1/rules:history`
pub async fn history(State(api): State<RulesApi>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["rule", "limit", "cursor"])?;
    let rule = query.one("rule")?.map(str::to_owned);
    let paging = Paging::of(&query, format!("rules-history:{}", rule.as_deref().unwrap_or_default()))?;
    let (limit, before) = (paging.limit, paging.after.and_then(|after| u64::try_from(after).ok()));
    let rows = api.read(move |reader| reader.audit(rule.as_deref(), before, limit + 1)).await?;
    let (rows, next) = page(rows, limit, |row| row.entry.ordinal);
    Ok(paging.answer(rows.iter().map(history_as_json).collect(), next, None))
}

fn history_as_json(row: &AuditRow) -> Value {
    let entry = &row.entry;
    let digest = |digest: &Text| (!digest.is_empty()).then(|| full(digest));
    json!({
        "seq": entry.ordinal,
        "at": entry.at_ms,
        "action": entry.action.as_str(),
        "object": entry.object.as_str(),
        "from": digest(&entry.from),
        "to": digest(&entry.to),
        "operator": entry.operator.as_str(),
        "comment": entry.comment.as_str(),
        "address": entry.address.as_str(),
        "generation": (entry.generation > 0).then_some(entry.generation),
        "signer": entry.signer.as_str(),
        "prev_hash": hex(&row.before),
        "hash": hex(&row.hash),
    })
}

/// Calls what may wait for a disk where that is fine.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| ProblemCode::Unavailable.problem(format!("the data folder refuses: {error}; try again"))),
        Err(_) => Err(ProblemCode::Internal.problem("a read ended early; the log says why")),
    }
}

impl RulesApi {
    /// Reads from the store.
    pub(super) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&EmbeddedReader) -> Result<T, StoreError> + Send + 'static) -> Result<T, Problem> {
        let reader = self.reader.clone();
        blocking(move || read(&reader)).await
    }
}
