//! Changes of rules over the API: uploads of versions, and what an operator does to a slot. The routes are here, the reading
//! half is in [`versions`](super::versions), and everything is decided by the [`RuleKeeper`].
//!
//! A change may say which state of the slot it means (`If-Match`: the ETag that was read). Of two operators that saw the same
//! only one then wins. A rollback must say it: done twice it is undone.

use super::answer::json;
use super::orphaned::{Orphaned, orphaned};
use super::query::Query;
use super::resume::{Resuming, resume};
use super::time::now_ms;
use super::versions::{self, blocking, named, put_etag};
use crate::http::{BodyLimits, Budget, Peer, Problem, ProblemCode, ReadBody, read_body, spool::spool};
use crate::rules::slots::{Named, What};
use crate::rules::{Ask, Changed, Condition, RuleKeeper, Who, version};
use crate::serve::{InFlightJournal, Progress};
use crate::signature::{self, Publishers};
use alertmill_core::command::{ANONYMOUS, TextRefused, check_comment, check_operator};
use alertmill_core::identity::Algorithm;
use alertmill_core::ports::Journal;
use alertmill_core::record::RecordBody;
use alertmill_core::rule_set::{Quarantine, RuleEntry};
use alertmill_core::value::Text;
use alertmill_core::version_change::{VersionAction, VersionChange};
use alertmill_engine::{Engine, HookInfo, RuleInfo, RuleOptions};
use alertmill_stores::embedded::EmbeddedReader;
use alertmill_stores::modules::{ModuleFiles, digest};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Bytes of a module at most.
const MODULE_MAX: usize = 64 << 20;
/// Bytes of a JSON body: the longest options are below it.
const BODY_MAX: usize = 512 << 10;
/// Modules that are checked at the same time, and that wait for it.
const CHECKED_AT_ONCE: usize = 2;
const WAITING_MAX: usize = 16;
/// Changes that are checked at the same time: they wait for no module that is only uploaded.
const CHANGED_AT_ONCE: usize = 4;
/// Header with the signature of an upload.
const SIGNATURE: &str = "x-alertmill-signature";
/// How long a request waits for the pipeline to come to its record.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// What the routes work with.
#[derive(Clone)]
pub struct RulesApi {
    /// Decides.
    pub keeper: Arc<RuleKeeper>,
    /// Where records go.
    pub journal: InFlightJournal,
    /// How far they are.
    pub progress: Arc<Progress>,
    /// Versions and history.
    pub reader: EmbeddedReader,
    /// The modules.
    pub modules: ModuleFiles,
    /// Checks them.
    pub engine: Engine,
    /// Bounds the bytes of JSON bodies.
    pub budget: Budget,
    /// Where uploads are received.
    pub uploads: PathBuf,
    /// Rows at which rules have halted.
    pub resuming: Resuming,
    /// Who may sign versions.
    pub publishers: Arc<Publishers>,
    /// What makes fingerprints.
    pub algorithm: Algorithm,
    /// Who is being checked.
    pub turns: Turns,
}

/// Bounds what is received, checked and changed at the same time.
#[derive(Clone)]
pub struct Turns {
    waiting: Arc<Semaphore>,
    checking: Arc<Semaphore>,
    changing: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Turns {
        let [waiting, checking, changing] = [WAITING_MAX, CHECKED_AT_ONCE, CHANGED_AT_ONCE].map(|most| Arc::new(Semaphore::new(most)));
        Turns { waiting, checking, changing }
    }
}

/// The routes.
pub fn router(api: RulesApi) -> Router {
    Router::new()
        .route("/api/v1/rules:history", get(versions::history))
        .route("/api/v1/rules/{rule}", get(versions::slot).post(act).delete(remove))
        .route("/api/v1/rules/{rule}/versions", get(versions::list).post(upload))
        .route("/api/v1/rules/{rule}/versions/{version}", get(versions::one).post(act_on_version).delete(remove_version))
        .route("/api/v1/rules/{rule}/versions/{version}/module", get(versions::module))
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

/// What a body may hold; which members a route takes it says itself.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    operator: Option<String>,
    comment: Option<String>,
    version: Option<String>,
    options: Option<Value>,
    order: Option<u32>,
    allow_downgrade: bool,
    dry_run: bool,
}

/// `POST /api/v1/rules/{rule}:{verb}`
async fn act(State(api): State<RulesApi>, Path(target): Path<String>, request: Request<Body>) -> Result<Response, Problem> {
    let unknown = || ProblemCode::NotFound.problem(format!("nothing can be done at {target:?}; POST takes NAME:VERB, such as owner:rollback"));
    let (rule, verb) = target.rsplit_once(':').ok_or_else(unknown)?;
    if verb == "resume" {
        return resume(&api.resuming, rule, request).await;
    }
    let takes: &[&str] = match verb {
        "pin" => &["version"],
        "configure" => &["options", "order"],
        "rollback" | "unpin" | "deactivate" | "quarantine" | "release" => &[],
        _ => return Err(unknown()),
    };
    let (head, body) = request.into_parts();
    let (asked, who) = asked(&api, &head, body, takes).await?;
    let only_if = condition(&head.headers)?;
    let what = match verb {
        "pin" => What::Pin(match &asked.version {
            Some(version) => Some(version_of(&api, rule, version).await?),
            None => None,
        }),
        "unpin" => What::Unpin,
        "deactivate" => What::Deactivate,
        "configure" => What::Configure { options: options(asked.options)?, order: asked.order.map(order) },
        "quarantine" => What::Quarantine(by_hand(&who), None),
        "release" => What::Release(None),
        _ if only_if == Condition::Any => {
            let why = "a rollback that is repeated undoes itself, so it says which state it means: send If-Match with the ETag of the rule";
            return Err(ProblemCode::IfMatchRequired.problem(why));
        }
        _ => What::Rollback,
    };
    change(api, Ask { rule: Text::new(rule), what, only_if, who }, asked.dry_run).await
}

/// `POST /api/v1/rules/{rule}/versions/{version}:activate`
async fn act_on_version(State(api): State<RulesApi>, Path((rule, target)): Path<(String, String)>, request: Request<Body>) -> Result<Response, Problem> {
    let unknown = || ProblemCode::NotFound.problem(format!("nothing can be done at {target:?}; POST takes VERSION:activate"));
    let version = target.strip_suffix(":activate").ok_or_else(unknown)?;
    let (head, body) = request.into_parts();
    let (asked, who) = asked(&api, &head, body, &["options", "order", "allow_downgrade"]).await?;
    let version = version_of(&api, &rule, version).await?;
    let allow_downgrade = asked.allow_downgrade;
    let what = What::Activate { version, options: options(asked.options)?, order: asked.order.map(order), allow_downgrade };
    let only_if = condition(&head.headers)?;
    change(api, Ask { rule: Text::from(rule), what, only_if, who }, asked.dry_run).await
}

/// `DELETE /api/v1/rules/{rule}`
async fn remove(State(api): State<RulesApi>, Path(rule): Path<String>, request: Request<Body>) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let (who, dry_run) = said(&Query::read(&head.uri, &["operator", "comment", "dry_run"])?, &head.extensions)?;
    let only_if = condition(&head.headers)?;
    change(api, Ask { rule: Text::from(rule), what: What::Remove, only_if, who }, dry_run).await
}

/// Does it, or says what it would do.
async fn change(api: RulesApi, ask: Ask, dry_run: bool) -> Result<Response, Problem> {
    let (runtime, inner) = (tokio::runtime::Handle::current(), api.clone());
    let permit = turn(&api.turns.changing).await?;
    // It is seen through when the caller hangs up: a record may be half on its way. Its turn lasts as long.
    let done = tokio::task::spawn_blocking(move || {
        let (_permit, api) = (permit, inner);
        if dry_run {
            let changed = api.keeper.try_change(&ask)?;
            let would = would(&api, &ask, &changed);
            return Ok((changed, Some(would), ask));
        }
        let changed = runtime.block_on(api.keeper.change(&api.journal, &ask))?;
        Ok((changed, None, ask))
    });
    let (changed, would, ask) = done.await.unwrap_or_else(|_| Err(ProblemCode::Internal.problem("the change ended early; the log says why")))?;
    if let Some(would) = would {
        return Ok(json(StatusCode::OK, &json!({ "would": would })));
    }
    let generation = changed.set.generation;
    let in_force = !changed.is_changed || timeout(SEEN_WITHIN, api.keeper.opened(generation)).await.is_ok();
    let etag = api.keeper.shown().etag(&ask.rule);
    let digest = |slot: &Option<RuleEntry>| slot.as_ref().map(|slot| format!("sha256:{}", slot.digest));
    let generation = if changed.is_changed { generation } else { api.keeper.shown().set.generation };
    let body = json!({
        "rule": ask.rule.as_str(),
        "action": ask.what.action().as_str(),
        "changed": changed.is_changed,
        "generation": generation,
        "from": digest(&changed.before),
        "to": digest(&changed.after),
        "version": changed.after.as_ref().map(|slot| slot.version.as_str()),
        "state": changed.after.as_ref().map(versions::mode),
        "etag": etag,
        "in_force": in_force,
    });
    let mut answer = json(if in_force { StatusCode::OK } else { StatusCode::ACCEPTED }, &body);
    if let Some(etag) = etag {
        put_etag(&mut answer, &etag);
    }
    Ok(answer)
}

/// What a change would do: which versions, and what the new one may that the old one may not.
fn would(api: &RulesApi, ask: &Ask, changed: &Changed) -> Value {
    let info = |slot: &Option<RuleEntry>| {
        let slot = slot.as_ref()?;
        let known = api.keeper.shown().infos.iter().find(|info| info.digest == slot.digest).cloned();
        known.or_else(|| api.engine.inspect(&api.modules.get(&slot.digest).ok()??).ok())
    };
    let (old, new) = (info(&changed.before), changed.info.clone().or_else(|| info(&changed.after)));
    let version = |slot: &Option<RuleEntry>| slot.as_ref().map(|slot| json!({"version": slot.version.as_str(), "digest": format!("sha256:{}", slot.digest)}));
    let differing = |of: &dyn Fn(&RuleInfo) -> BTreeSet<String>| {
        let (old, new) = (old.as_ref().map(of).unwrap_or_default(), new.as_ref().map(of).unwrap_or_default());
        json!({"added": new.difference(&old).collect::<Vec<_>>(), "removed": old.difference(&new).collect::<Vec<_>>()})
    };
    let of_hooks = |info: &RuleInfo, part: fn(&HookInfo) -> &Vec<String>| {
        info.hooks.iter().flat_map(|hook| part(hook).iter().map(move |text| format!("{}: {text}", hook.hook))).collect::<BTreeSet<String>>()
    };
    json!({
        "changed": changed.is_changed,
        "generation": changed.set.generation,
        "rules": [{"name": ask.rule.as_str(), "from": version(&changed.before), "to": version(&changed.after)}],
        "hooks": differing(&|info| info.hooks.iter().map(|hook| hook.hook.to_owned()).collect()),
        "imports": differing(&|info| info.imports.iter().cloned().collect()),
        "grants": differing(&|info| info.grants.iter().map(|grant| (*grant).to_owned()).collect()),
        "tables": differing(&|info| info.tables.iter().cloned().collect()),
        "reads": differing(&|info| of_hooks(info, |hook| &hook.reads)),
        "writes": differing(&|info| of_hooks(info, |hook| &hook.writes)),
        "when": differing(&|info| of_hooks(info, |hook| &hook.when)),
        "orphaned": orphans(api, changed),
    })
}

/// Null when it cannot be known.
fn orphans(api: &RulesApi, changed: &Changed) -> Option<Orphaned> {
    let (now, open) = (api.keeper.shown(), api.progress.open_alerts());
    orphaned(&api.engine, &api.reader, api.algorithm, (&now.set, &changed.set), open)
        .inspect_err(|why| tracing::warn!(why, "the open alerts that a change would orphan cannot be counted"))
        .ok()
}

/// `POST /api/v1/rules/{rule}/versions`
async fn upload(State(api): State<RulesApi>, Path(rule): Path<String>, request: Request<Body>) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let query = Query::read(&head.uri, &["operator", "comment", "source", "dry_run"])?;
    let (who, dry_run) = said(&query, &head.extensions)?;
    let source = query.one("source")?.unwrap_or("upload").to_owned();
    if let Err(why) = check_comment(&source) {
        return Err(super::query::bad_parameter("source", format!("`source` {why}")));
    }
    if head.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes() != b"application/wasm") {
        return Err(ProblemCode::ContentType.problem("send Content-Type: application/wasm, and the module's bytes").closing());
    }
    let signature = signature_of(&head.headers)?;
    let busy = || ProblemCode::ChecksBusy.problem(format!("{WAITING_MAX} modules are being received or checked; try again in a moment")).closing();
    let waiting = api.turns.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
    let limits = BodyLimits { sent_max: MODULE_MAX, decoded_max: MODULE_MAX, ..BodyLimits::default() };
    let file = spool(&head.headers, body, &limits, &api.uploads).await?;
    // From here on it is seen through, whether or not the caller waits: a module that is kept has a record. Its place lasts as long.
    let task = tokio::spawn(async move {
        let _waiting = waiting;
        take(api, rule, Received { file, signature, source }, who, dry_run).await
    });
    task.await.unwrap_or_else(|_| Err(ProblemCode::Internal.problem("the upload ended early; the log says why")))
}

/// What came with an upload.
struct Received {
    file: tempfile::NamedTempFile,
    signature: Option<Vec<u8>>,
    source: String,
}

/// The signature's file, base64 in the header.
fn signature_of(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let Some(value) = headers.get(SIGNATURE) else { return Ok(None) };
    let bytes = BASE64.decode(value.as_bytes()).ok().filter(|bytes| bytes.len() <= signature::FILE_MAX);
    let wrong = || ProblemCode::Header.problem(format!("{SIGNATURE} is the signature's file in base64, of at most {} bytes", signature::FILE_MAX));
    bytes.map(Some).ok_or_else(wrong)
}

/// Checks a module, keeps it, and says so in a record.
async fn take(api: RulesApi, rule: String, received: Received, who: Who, dry_run: bool) -> Result<Response, Problem> {
    let Received { file, signature, source } = received;
    let permit = turn(&api.turns.checking).await?;
    let unreadable = |e: std::io::Error| ProblemCode::Unavailable.problem(format!("the upload cannot be read again: {e}; try again"));
    let (engine, name) = (api.engine.clone(), rule.clone());
    let limits = api.keeper.shown().set.rules.iter().find(|slot| slot.name == rule).and_then(|slot| RuleOptions::from_entry(slot).ok()).unwrap_or_default();
    let checked = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(file.path()).map_err(unreadable)?;
        let known = digest(&bytes);
        Ok((engine.inspect_named(&bytes, &name, &limits), bytes, known))
    });
    let (info, bytes, digest) = checked.await.unwrap_or_else(|_| Err(ProblemCode::Internal.problem("the check ended early; the log says why")))?;
    let (name, wanted) = (rule.clone(), digest.clone());
    let known = api.read(move |reader| reader.rule_version(&name, &wanted)).await?.map(|row| row.change);
    let info = info.map_err(|why| ProblemCode::Rule(why.code()).problem(format!("the module is refused: {why}")))?;
    let row = |status: &str| {
        json!({"name": rule, "version": info.version.as_str(), "digest": format!("sha256:{digest}"), "size_bytes": info.size_bytes, "status": status,
               "hooks": info.hooks.iter().map(|hook| hook.hook).collect::<Vec<_>>(), "imports": info.imports, "tables": info.tables})
    };
    let signed = version::signed(&api.publishers, &info.name, &info.version, &digest, signature.as_deref()).map_err(|why| unsigned(&why))?;
    let status = match &known {
        None => "created",
        // It came before anybody had to sign it, or its key counts no more: the new signature is what counts from here on.
        Some(known) if signed.is_some() && known.signature != signed => "signed",
        Some(_) => "known",
    };
    if dry_run {
        return Ok(json(StatusCode::OK, &json!({ "would": row(status) })));
    }
    // Also of a version that is known: its file may have been lost.
    let modules = api.modules.clone();
    let beside = signature.filter(|_| signed.is_some());
    blocking(move || beside.map_or(Ok(String::new()), |beside| modules.put(&beside)).and_then(|_| modules.put(&bytes))).await?;
    // It is checked and out of memory; the pipeline may be long in coming to its record.
    drop(permit);
    if status == "known" {
        return Ok(json(StatusCode::OK, &row(status)));
    }
    let change = version::came(&info, who, &source, signed);
    tracing::info!(rule, version = %info.version, digest, status, operator = %change.operator, "a version was uploaded");
    let appended = api.journal.append(RecordBody::RuleVersion(change.clone()), None).await.map_err(crate::doors::refused_by_journal)?;
    api.keeper.knows(&change);
    let code = match is_seen(&api, appended.ordinal).await {
        false => StatusCode::ACCEPTED,
        true if known.is_some() => StatusCode::OK,
        true => StatusCode::CREATED,
    };
    let mut answer = json(code, &row(status));
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/rules/{rule}/versions/sha256:{digest}")) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    Ok(answer)
}

/// `DELETE /api/v1/rules/{rule}/versions/{version}`
async fn remove_version(State(api): State<RulesApi>, Path((rule, version)): Path<(String, String)>, request: Request<Body>) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let (who, dry_run) = said(&Query::read(&head.uri, &["operator", "comment", "dry_run"])?, &head.extensions)?;
    if condition(&head.headers)? != Condition::Any {
        return Err(ProblemCode::Header.problem("If-Match and If-None-Match are of the rule, not of a version of it; send none here"));
    }
    let row = named(&api, &rule, &version).await?;
    let body = json!({"name": rule, "version": row.change.version.as_str(), "digest": format!("sha256:{}", row.change.digest), "status": "removed"});
    let Who { operator, address, comment } = who;
    let change = VersionChange {
        action: VersionAction::Removed,
        name: row.change.name,
        version: row.change.version,
        digest: row.change.digest,
        operator,
        address,
        comment,
        ..VersionChange::default()
    };
    if dry_run {
        api.keeper.may_go(&change)?;
        return Ok(json(StatusCode::OK, &json!({ "would": body })));
    }
    let task = tokio::spawn(async move {
        let appended = api.keeper.remove_version(&api.journal, change).await?;
        Ok(is_seen(&api, appended.ordinal).await)
    });
    let is_seen = task.await.unwrap_or_else(|_| Err(ProblemCode::Internal.problem("the change ended early; the log says why")))?;
    Ok(json(if is_seen { StatusCode::OK } else { StatusCode::ACCEPTED }, &body))
}

/// Waits until a record is in the state, within bounds; whether it is.
async fn is_seen(api: &RulesApi, ordinal: u64) -> bool {
    timeout(SEEN_WITHIN, api.progress.reached(ordinal)).await.is_ok()
}

async fn turn(checking: &Arc<Semaphore>) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    checking.clone().acquire_owned().await.map_err(|_| ProblemCode::Internal.problem("the server is ending"))
}

/// The version to let run. Its signature is checked again: a key may have been revoked since it came.
async fn version_of(api: &RulesApi, rule: &str, version: &str) -> Result<Named, Problem> {
    let change = named(api, rule, version).await?.change;
    let file = match &change.signature {
        Some(signature) => {
            let (modules, digest) = (api.modules.clone(), signature.digest.clone());
            blocking(move || modules.get(&digest)).await?
        }
        None => None,
    };
    version::signed(&api.publishers, &change.name, &change.version, &change.digest, file.as_deref()).map_err(|why| unsigned(&why))?;
    Ok(Named { version: change.version, digest: change.digest })
}

fn unsigned(why: &signature::Refusal) -> Problem {
    ProblemCode::Publisher(why.code()).problem(why.to_string())
}

fn by_hand(who: &Who) -> Quarantine {
    Quarantine { kind: Text::new_static("by-hand"), message: who.comment.clone(), times: 1, since_ms: now_ms(), retry_at_ms: None }
}

fn order(number: u32) -> Text {
    Text::from(number.to_string())
}

fn options(value: Option<Value>) -> Result<Option<RuleOptions>, Problem> {
    let read = |value| RuleOptions::from_value(value).map_err(|why| ProblemCode::Rule(why.code()).problem(why.to_string()).at("/options"));
    value.map(read).transpose()
}

/// Reads the JSON body of a change; no body says nothing. What is said in the query is refused: a `dry_run` there must not be done.
async fn asked(api: &RulesApi, head: &Parts, body: Body, takes: &[&str]) -> Result<(Asked, Who), Problem> {
    let Parts { uri, headers, extensions, .. } = head;
    Query::read(uri, &[]).map_err(Problem::closing)?;
    super::commands::json_only(headers)?;
    let limits = BodyLimits { sent_max: BODY_MAX, decoded_max: BODY_MAX, total: Duration::from_secs(10), ..BodyLimits::default() };
    let ReadBody { bytes, lease: _lease, .. } = read_body(headers, body, &limits, &api.budget).await?;
    let bad = |why: String, pointer: String| ProblemCode::Command.problem(why).at(pointer);
    let text = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes[..] };
    let short = |error: serde_json::Error| error.to_string().chars().take(200).collect::<String>();
    let members: Map<String, Value> = serde_json::from_slice(text).map_err(|e| bad(format!("the body is no JSON object: {}", short(e)), String::new()))?;
    let common = ["operator", "comment", "dry_run"];
    if let Some(key) = members.keys().find(|key| !common.contains(&key.as_str()) && !takes.contains(&key.as_str())) {
        let key: String = key.chars().take(64).collect();
        let known = common.iter().chain(takes).copied().collect::<Vec<_>>().join(", ");
        return Err(bad(format!("unknown member `{key}`; taken here: {known}"), format!("/{key}")));
    }
    let asked = Asked::deserialize(Value::Object(members)).map_err(|e| bad(format!("the body cannot be read: {}", short(e)), String::new()))?;
    let refused = |name: &str, why: TextRefused| bad(format!("`{name}` {why}"), format!("/{name}"));
    let who = who(asked.operator.as_deref(), asked.comment.as_deref(), extensions, refused)?;
    Ok((asked, who))
}

/// Who asks and whether it is to be done, of a request that says it in its query.
fn said(query: &Query, extensions: &axum::http::Extensions) -> Result<(Who, bool), Problem> {
    let refused = |name: &str, why: TextRefused| super::query::bad_parameter(name, format!("`{name}` {why}"));
    let who = who(query.one("operator")?, query.one("comment")?, extensions, refused)?;
    match query.one("dry_run")? {
        None | Some("false") => Ok((who, false)),
        Some("true") => Ok((who, true)),
        Some(other) => Err(super::query::bad_parameter("dry_run", format!("{other:?} is neither `true` nor `false`"))),
    }
}

fn who(
    operator: Option<&str>,
    comment: Option<&str>,
    extensions: &axum::http::Extensions,
    refused: impl Fn(&str, TextRefused) -> Problem,
) -> Result<Who, Problem> {
    if let Some(operator) = operator {
        check_operator(operator).map_err(|why| refused("operator", why))?;
    }
    if let Some(comment) = comment {
        check_comment(comment).map_err(|why| refused("comment", why))?;
    }
    let address = extensions.get::<Peer>().map(|Peer(address)| Text::from(address.to_string())).unwrap_or_default();
    let operator = operator.map_or(Text::new_static(ANONYMOUS), |operator| Text::new(operator.trim()));
    Ok(Who { operator, address, comment: Text::new(comment.unwrap_or_default()) })
}

/// `If-Match` and `If-None-Match`.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let of = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    let wrong = |why: &str| Err(ProblemCode::Header.problem(why));
    match (of(header::IF_MATCH), of(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::Any),
        (None, Some("*")) => Ok(Condition::Missing),
        (Some("*"), None) => Ok(Condition::Exists),
        (Some(tags), None) => {
            let tags: Vec<String> = tags.split(',').map(|tag| tag.trim().to_owned()).collect();
            match tags.iter().all(|tag| tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"')) {
                true => Ok(Condition::Tags(tags)),
                false => wrong("If-Match is the ETag of the rule as it was read, with its quotes, or *"),
            }
        }
        _ => wrong("If-None-Match takes * only: the rule must not be there; and not together with If-Match"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_strictly() {
        let of = |name: header::HeaderName, value: &'static str| condition(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]));
        assert_eq!(condition(&HeaderMap::new()), Ok(Condition::Any));
        assert_eq!(of(header::IF_MATCH, "*"), Ok(Condition::Exists));
        assert_eq!(of(header::IF_NONE_MATCH, "*"), Ok(Condition::Missing));
        assert_eq!(of(header::IF_MATCH, "\"g7\", \"g9\""), Ok(Condition::Tags(vec!["\"g7\"".to_owned(), "\"g9\"".to_owned()])));
        for (name, value) in [(header::IF_MATCH, "g7"), (header::IF_MATCH, ""), (header::IF_MATCH, "\"g7\","), (header::IF_NONE_MATCH, "\"g7\"")] {
            assert_eq!(of(name, value).unwrap_err().code, "header", "{value}");
        }
    }
}
