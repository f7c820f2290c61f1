//! What the API asks of the store, the engine and the process. `api/embedded.rs` answers for the embedded store, `api/rules.rs`
//! for the engine, `serve/health.rs` for the process; tests use fakes.

use alertmill_core::event::Status;
use alertmill_core::letter::Arrival;
use alertmill_core::ports::LedgerValue;
use alertmill_core::rule_set::Quarantine;
use alertmill_engine::Limits;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Which alerts are asked for. An alert matches when it satisfies every part that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// One of these; empty: any.
    pub statuses: Vec<Status>,
    /// One of these; empty: any.
    pub severities: Vec<u8>,
    /// Seconds: still open, or ended at or after it.
    pub from_s: Option<i64>,
    /// Seconds: begun at or before it.
    pub to_s: Option<i64>,
}

/// One alert as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertRow {
    /// `seq_id`: rises with creation.
    #[serde(skip)]
    pub seq: u64,
    /// Text: it does not fit a JavaScript number.
    pub id: String,
    /// Name.
    pub alert_name: String,
    /// 1 to 3.
    pub severity: u8,
    /// `ABNORMAL`, `RECOVERED` or `CLOSED`.
    pub status: &'static str,
    /// Distinct events.
    pub event_count: u64,
    /// Generation of its last event.
    pub rule_generation: u64,
    /// Rises by one with every change.
    pub revision: u64,
    /// Seconds.
    pub create_time: i64,
    /// Seconds.
    pub begin_time: i64,
    /// Seconds.
    pub latest_time: i64,
    /// Seconds; only ended alerts have one.
    pub end_time: Option<i64>,
    /// Whether somebody has acknowledged it.
    pub is_ack: bool,
    /// Who.
    pub ack_operator: Option<String>,
    /// What it is about, where the store knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The whole document, JSON, when it was asked for.
    #[serde(skip)]
    pub document: Option<Vec<u8>>,
}

/// Some rows, and the position to go on after when there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Rows.
    pub items: Vec<T>,
    /// Give this back for the next page.
    pub next: Option<u128>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Page { items: Vec::new(), next: None }
    }
}

/// One event of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// What it did: `opened`, `updated`, `late`, `ended`, `milder`, `recovery-delayed`.
    pub role: &'static str,
    /// The document, JSON; `None` when retention has removed it, or the disk has spoiled it.
    pub document: Option<Vec<u8>>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Identity; rises with time.
    pub id: u64,
    /// The record in which it first came.
    pub ordinal: u64,
    /// Its place in that record.
    pub index: u32,
    /// Milliseconds.
    pub received_at_ms: i64,
    /// Tenant.
    pub tenant: String,
    /// Source.
    pub source: String,
    /// Stable code.
    pub code: String,
    /// What was wrong, where, what to do.
    pub detail: String,
    /// Bytes of the item.
    pub bytes: u64,
    /// How it came; none for what cannot be tried again.
    pub arrival: Option<Arrival>,
    /// The item as it was sent; lists leave it out.
    pub item: Option<Vec<u8>>,
}

/// A read that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// The store. Calls may wait for a disk; the API makes them on threads for that. Lists are newest first; `after` is the
/// `next` of the page before. A page has at most `limit` rows, and fewer when their documents are large.
pub trait AlertReads: Send + Sync + 'static {
    /// Alerts, newest created first; with their documents when `documents`.
    fn list_alerts(&self, filter: &AlertFilter, after: Option<u128>, limit: usize, documents: bool) -> Result<Page<AlertRow>, ReadError>;
    /// How many alerts match, when that is cheap to know.
    fn count_alerts(&self, filter: &AlertFilter) -> Result<Option<u64>, ReadError>;
    /// One alert's document, JSON.
    fn alert(&self, seq: u64) -> Result<Option<Vec<u8>>, ReadError>;
    /// Its events.
    fn alert_events(&self, seq: u64, after: Option<u128>, limit: usize) -> Result<Page<EventRow>, ReadError>;
    /// Its log documents, JSON, CONVERGE ones included.
    fn alert_logs(&self, seq: u64, after: Option<u128>, limit: usize) -> Result<Page<Vec<u8>>, ReadError>;
    /// Dead letters without their items, of one source and code when given.
    fn dead_letters(&self, source: Option<&str>, code: Option<&str>, after: Option<u128>, limit: usize) -> Result<Page<DeadLetterRow>, ReadError>;
    /// One dead letter, with its item.
    fn dead_letter(&self, id: u64) -> Result<Option<DeadLetterRow>, ReadError>;
    /// The ids of the dead letters of these places, in their order: record, and place in it.
    fn dead_letters_of(&self, places: &[(u64, u32)]) -> Result<Vec<Option<u64>>, ReadError>;
    /// All counters of the ledger.
    fn ledger(&self) -> Result<Vec<LedgerValue>, ReadError>;
}

/// One rule of the generation in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RuleRow {
    /// Name.
    pub name: String,
    /// Version of its manifest.
    pub version: String,
    /// `sha256:..` of the component.
    pub digest: String,
    /// Generation it runs in.
    pub generation: u64,
    /// Where it takes part: `enrich-event`, `dedupe`.
    pub hooks: Vec<String>,
    /// `active`, `struck-out`, `quarantined`, `disabled` or `refused`.
    pub state: String,
    /// Imports of WASI that constants stand in for.
    pub stand_ins: Vec<String>,
    /// Grants that it has and does not need.
    pub unneeded_grants: Vec<String>,
    /// What becomes of a row that it fails on.
    pub on_failure: String,
    /// The version before, if rows that it fails on go there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<RuleFallback>,
    /// Its place among the others.
    pub order: String,
    /// Where what runs came from: `folder` or `upload`.
    pub source: String,
    /// Whether version and options are pinned.
    pub pinned: bool,
    /// What its file asks for and does not get, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Value>,
    /// What a rollback goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<RuleFallback>,
    /// Tag of this state of the rule, for `If-Match`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub etag: String,
    /// Why it is not called, since when, and when it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Its limits, those that nobody set among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What is not as it should be with a rule that runs: `table NAME stale`, `unsigned`.
    pub degraded: Vec<String>,
    /// What looks wrong about what it did within the last minute: `drop-ratio`, `failure-ratio`, `merge-ratio`, `key-cardinality`, `key-budget`, `slow`.
    pub alarms: Vec<&'static str>,
    /// Why it does not run, or what is to be put right with one that does, with the remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since the process started.
    pub stats: RuleStats,
}

/// Numbers of one rule since the process started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RuleStats {
    /// Calls into it.
    pub calls: u64,
    /// Rows it was given.
    pub rows: u64,
    /// Rows it failed on.
    pub failures: u64,
    /// Seconds inside it.
    pub seconds: f64,
    /// Calls that took longer than `limits.slow_ms`.
    pub slow_calls: u64,
    /// The failed rows by kind.
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// The failed rows by what was done with them.
    pub rows_by_policy: BTreeMap<&'static str, u64>,
    /// How often a limit was hit, by its key.
    pub limit_hits: BTreeMap<&'static str, u64>,
    /// The most that one call used.
    pub most: RuleUse,
    /// Instances made, by reason: `start`, `failed`, `calls`, `growth`.
    pub instances: BTreeMap<&'static str, u64>,
    /// Log lines beyond its share.
    pub log_lines_dropped: u64,
    /// Strikes, which put it out for a minute when there are three within one.
    pub strikes: u64,
}

/// A version that stands in.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RuleFallback {
    /// Version of its manifest.
    pub version: String,
    /// `sha256:..` of the component.
    pub digest: String,
}

/// What one call of a rule used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RuleUse {
    /// Of its instance.
    pub memory_bytes: u64,
    /// Milliseconds.
    pub time_ms: f64,
    /// What its answer held, roughly.
    pub output_bytes: u64,
    /// Keys looked up in tables.
    pub lookups: u64,
    /// Tables open at once.
    pub table_handles: u64,
}

/// The rules, as the engine knows them. Calls do not wait.
pub trait RuleReads: Send + Sync + 'static {
    /// All rules in the order in which they run, and then those that were refused.
    fn rules(&self) -> Vec<RuleRow>;
}

/// Whether one part of the process does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// `journal`, `state`, `pipeline`, `replay`.
    pub name: &'static str,
    /// Whether it does.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// The state of the process. Calls do not wait.
pub trait Health: Send + Sync + 'static {
    /// All parts; the process is ready when all are.
    fn dependencies(&self) -> Vec<Dependency>;
}
