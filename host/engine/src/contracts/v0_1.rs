//! Contract 0.1, `wit/v0.1/alertmill.wit`: its types, what the host offers of it, and the functions that a module exports.
//!
//! Own structs instead of `bindgen!`: what goes in borrows the worker's column buffers, so a batch is copied once, into
//! the guest. wasmtime checks each function's type against these when an instance is made.

use super::{Contract, Functions, HookExport};
use crate::host::{Host, Room, TableResource};
use crate::instance::{Exports, NotStarted};
use crate::interface::{Hook, Offer, Part};
use crate::signature::RESOURCE;
use std::sync::Arc;
use wasmtime::component::{ComponentType, Instance, Lift, Linker, Lower, Resource, ResourceType, TypedFunc, WasmList, WasmStr};
use wasmtime::{Store, StoreContextMut};

pub(crate) const CONTRACT: Contract =
    Contract { version: "0.1.0", patches_of: "0.1.", offered: &OFFERED, lifecycle: &LIFECYCLE, hooks: &HOOKS, link, functions };

const OFFERED: [Offer; 3] = [
    ("types", &[]),
    ("log", &[("write", "(enum { debug, info, warn, error }, string)")]),
    (
        "tables",
        &[
            ("table", RESOURCE),
            ("[static]table.open", "(string, list<string>) -> result<table, string>"),
            ("[method]table.get", "(borrow<table>, string) -> option<list<string>>"),
            ("[method]table.get-many", "(borrow<table>, list<string>) -> list<option<list<string>>>"),
            ("[method]table.get-columns", "(borrow<table>, list<string>) -> list<record { ends: list<u32>, missing: list<u32>, heap: list<u8> }>"),
        ],
    ),
];

const LIFECYCLE: [Part; 2] = [
    (
        "describe",
        "() -> record { name: string, version: string, description: string, hooks: list<record { \
         hook: enum { normalize, enrich-event, dedupe, enrich-alert }, reads: list<string>, writes: list<string>, when: list<record { field: string, \
         op: enum { equals, not-equals, any-of, none-of, prefix, suffix, contains, exists, missing }, values: list<string> }>, max-batch: u32 }>, \
         tables: list<string>, config-schema: string }",
    ),
    ("init", "(string) -> result<_, string>"),
];

const HOOKS: [HookExport; 4] = [
    HookExport { hook: Hook::Normalize, interface: "normalize-rule", function: ("normalize", NORMALIZE) },
    HookExport { hook: Hook::EnrichEvent, interface: "enrich-rule", function: ("enrich", ENRICH) },
    HookExport { hook: Hook::Dedupe, interface: "dedupe-rule", function: ("dedupe", DEDUPE) },
    HookExport { hook: Hook::EnrichAlert, interface: "alert-rule", function: ("enrich-alerts", ENRICH) },
];

const NORMALIZE: &str = "(list<record { source: string, content-type: string, headers: list<tuple<string, string>>, received-at-ms: u64, body: list<u8> }>) -> \
    record { events: list<record { row: u32, event-id: option<string>, plugin-id: option<string>, alert-name: string, description: string, \
    status: option<string>, time: option<u64>, anomaly-time: option<u64>, severity: option<u8>, category: option<string>, \
    target-type: option<string>, target: option<string>, bk-biz-id: option<s64>, metric: list<string>, tags: list<record { key: string, value: string }>, \
    dedupe-keys: list<string>, extra: option<string>, more: list<tuple<string, string>> }>, errors: list<record { row: u32, message: string }> }";

macro_rules! columns {
    () => {
        "list<variant { text(record { ends: list<u32>, missing: list<u32>, heap: list<u8> }), integer(record { values: list<s64>, missing: list<u32> }), \
         float(record { values: list<f64>, missing: list<u32> }), boolean(record { values: list<bool>, missing: list<u32> }), \
         tags(list<list<record { key: string, value: string }>>) }>"
    };
}

const ENRICH: &str = concat!(
    "(record { rows: u32, columns: ",
    columns!(),
    " }) -> record { patches: record { rows: list<u32>, columns: ",
    columns!(),
    ", more-tags: list<tuple<u32, string, string>>, removed-tags: list<tuple<u32, string>>, drops: list<tuple<u32, string>> }, ",
    "errors: list<record { row: u32, message: string }> }",
);

const DEDUPE: &str = concat!("(record { rows: u32, columns: ", columns!(), " }) -> list<variant { default, key(string), unique, error(string) }>");

/// A text column on its way in.
#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct TextColumnRef<'a> {
    pub ends: &'a [u32],
    pub missing: &'a [u32],
    pub heap: &'a [u8],
}

/// A text column that a host function returns. An answer's size is bounded far below what an end can say.
#[derive(ComponentType, Lower, Default)]
#[component(record)]
pub(crate) struct TableColumn {
    pub ends: Vec<u32>,
    pub missing: Vec<u32>,
    pub heap: Vec<u8>,
}

impl TableColumn {
    pub fn push(&mut self, text: &str) {
        self.heap.extend_from_slice(text.as_bytes());
        self.ends.push(self.heap.len() as u32);
    }

    pub fn push_missing(&mut self) {
        self.missing.push(self.ends.len() as u32);
        self.ends.push(self.heap.len() as u32);
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct IntegerColumnRef<'a> {
    pub values: &'a [i64],
    pub missing: &'a [u32],
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct FloatColumnRef<'a> {
    pub values: &'a [f64],
    pub missing: &'a [u32],
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct BooleanColumnRef<'a> {
    pub values: &'a [bool],
    pub missing: &'a [u32],
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct TagRef<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

/// A column on its way in.
#[derive(ComponentType, Lower, Clone, Copy)]
#[component(variant)]
#[allow(dead_code, reason = "no field of core is a float or a boolean today; the contract has them for fields to come")]
pub(crate) enum ColumnRef<'a> {
    #[component(name = "text")]
    Text(TextColumnRef<'a>),
    #[component(name = "integer")]
    Integer(IntegerColumnRef<'a>),
    #[component(name = "float")]
    Float(FloatColumnRef<'a>),
    #[component(name = "boolean")]
    Boolean(BooleanColumnRef<'a>),
    #[component(name = "tags")]
    Tags(&'a [Vec<TagRef<'a>>]),
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct BatchRef<'a> {
    pub rows: u32,
    pub columns: &'a [ColumnRef<'a>],
}

#[derive(ComponentType, Lift, Debug, Default)]
#[component(record)]
pub(crate) struct TextColumn {
    pub ends: Vec<u32>,
    pub missing: Vec<u32>,
    pub heap: Vec<u8>,
}

#[derive(ComponentType, Lift, Debug, Default)]
#[component(record)]
pub(crate) struct IntegerColumn {
    pub values: Vec<i64>,
    pub missing: Vec<u32>,
}

#[derive(ComponentType, Lift, Debug, Default)]
#[component(record)]
#[allow(dead_code, reason = "read by no field of core today; lifted because the contract has it")]
pub(crate) struct FloatColumn {
    pub values: Vec<f64>,
    pub missing: Vec<u32>,
}

#[derive(ComponentType, Lift, Debug, Default)]
#[component(record)]
#[allow(dead_code, reason = "read by no field of core today; lifted because the contract has it")]
pub(crate) struct BooleanColumn {
    pub values: Vec<bool>,
    pub missing: Vec<u32>,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
#[allow(dead_code, reason = "read by no field of core today; lifted because the contract has it")]
pub(crate) struct Tag {
    pub key: String,
    pub value: String,
}

/// A column of a patch.
#[derive(ComponentType, Lift, Debug)]
#[component(variant)]
#[allow(dead_code, reason = "read by no field of core today; lifted because the contract has it")]
pub(crate) enum Column {
    #[component(name = "text")]
    Text(TextColumn),
    #[component(name = "integer")]
    Integer(IntegerColumn),
    #[component(name = "float")]
    Float(FloatColumn),
    #[component(name = "boolean")]
    Boolean(BooleanColumn),
    #[component(name = "tags")]
    Tags(Vec<Vec<Tag>>),
}

#[derive(ComponentType, Lift, Debug, Default)]
#[component(record)]
pub(crate) struct Patches {
    pub rows: Vec<u32>,
    pub columns: Vec<Column>,
    #[component(name = "more-tags")]
    pub more_tags: Vec<(u32, String, String)>,
    #[component(name = "removed-tags")]
    pub removed_tags: Vec<(u32, String)>,
    pub drops: Vec<(u32, String)>,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct RowError {
    pub row: u32,
    pub message: String,
}

#[derive(ComponentType, Lift, Debug, Default)]
#[component(record)]
pub(crate) struct Output {
    pub patches: Patches,
    pub errors: Vec<RowError>,
}

/// A dedupe answer. The key is lifted into the form in which the row keeps it, so a long one is allocated once.
#[derive(ComponentType, Lift, Debug)]
#[component(variant)]
pub(crate) enum DedupeKey {
    #[component(name = "default")]
    Default,
    #[component(name = "key")]
    Key(Arc<str>),
    #[component(name = "unique")]
    Unique,
    #[component(name = "error")]
    Error(String),
}

/// A payload on its way in; its body is copied once, into the guest.
#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct PayloadRef<'a> {
    pub source: &'a str,
    #[component(name = "content-type")]
    pub content_type: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    #[component(name = "received-at-ms")]
    pub received_at_ms: u64,
    pub body: &'a [u8],
}

/// Texts are lifted into the form in which events keep them.
#[derive(ComponentType, Lift, Debug, Clone)]
#[component(record)]
pub(crate) struct NewTag {
    pub key: Arc<str>,
    pub value: Arc<str>,
}

#[derive(ComponentType, Lift, Debug, Clone)]
#[component(record)]
pub(crate) struct NewEvent {
    pub row: u32,
    #[component(name = "event-id")]
    pub event_id: Option<Arc<str>>,
    #[component(name = "plugin-id")]
    pub plugin_id: Option<Arc<str>>,
    #[component(name = "alert-name")]
    pub alert_name: Arc<str>,
    pub description: Arc<str>,
    pub status: Option<Arc<str>>,
    pub time: Option<u64>,
    #[component(name = "anomaly-time")]
    pub anomaly_time: Option<u64>,
    pub severity: Option<u8>,
    pub category: Option<Arc<str>>,
    #[component(name = "target-type")]
    pub target_type: Option<Arc<str>>,
    pub target: Option<Arc<str>>,
    #[component(name = "bk-biz-id")]
    pub bk_biz_id: Option<i64>,
    pub metric: Vec<Arc<str>>,
    pub tags: Vec<NewTag>,
    #[component(name = "dedupe-keys")]
    pub dedupe_keys: Vec<Arc<str>>,
    pub extra: Option<Arc<str>>,
    pub more: Vec<(Arc<str>, Arc<str>)>,
}

#[derive(ComponentType, Lift, Debug, Default)]
#[component(record)]
pub(crate) struct Normalized {
    pub events: Vec<NewEvent>,
    pub errors: Vec<RowError>,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by the derived lifting")]
pub(crate) enum Op {
    #[component(name = "equals")]
    Equals,
    #[component(name = "not-equals")]
    NotEquals,
    #[component(name = "any-of")]
    AnyOf,
    #[component(name = "none-of")]
    NoneOf,
    #[component(name = "prefix")]
    Prefix,
    #[component(name = "suffix")]
    Suffix,
    #[component(name = "contains")]
    Contains,
    #[component(name = "exists")]
    Exists,
    #[component(name = "missing")]
    Missing,
}

#[derive(ComponentType, Lift, Debug, Clone)]
#[component(record)]
pub(crate) struct Condition {
    pub field: String,
    pub op: Op,
    pub values: Vec<String>,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by the derived lifting")]
pub(crate) enum HookName {
    #[component(name = "normalize")]
    Normalize,
    #[component(name = "enrich-event")]
    EnrichEvent,
    #[component(name = "dedupe")]
    Dedupe,
    #[component(name = "enrich-alert")]
    EnrichAlert,
}

#[derive(ComponentType, Lift, Debug, Clone)]
#[component(record)]
pub(crate) struct HookManifest {
    pub hook: HookName,
    pub reads: Vec<String>,
    pub writes: Vec<String>,
    pub when: Vec<Condition>,
    #[component(name = "max-batch")]
    pub max_batch: u32,
}

#[derive(ComponentType, Lift, Debug, Clone)]
#[component(record)]
pub(crate) struct Manifest {
    pub name: String,
    pub version: String,
    pub description: String,
    pub hooks: Vec<HookManifest>,
    pub tables: Vec<String>,
    #[component(name = "config-schema")]
    pub config_schema: String,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by the derived lifting")]
pub(crate) enum LogLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut log = linker.instance("alertmill:rules/log@0.1.0")?;
    log.func_wrap("write", |mut cx: StoreContextMut<'_, Host>, (level, message): (LogLevel, WasmStr)| {
        // Cut while it is still the guest's: the host copies no more than it writes.
        let head = crate::log::head(&message.to_str(&cx)?).to_owned();
        cx.data_mut().log(level, &head);
        Ok(())
    })?;
    let mut tables = linker.instance("alertmill:rules/tables@0.1.0")?;
    tables.resource("table", ResourceType::host::<TableResource>(), |mut cx, at| {
        cx.data_mut().close(at);
        Ok(())
    })?;
    tables.func_wrap("[static]table.open", |mut cx: StoreContextMut<'_, Host>, (name, columns): (String, Vec<String>)| {
        Ok((cx.data_mut().open(&name, &columns)?,))
    })?;
    tables.func_wrap("[method]table.get", |mut cx: StoreContextMut<'_, Host>, (table, key): (Resource<TableResource>, WasmStr)| {
        cx.data_mut().spend(1)?;
        let key = key.to_str(&cx)?;
        let handle = cx.data().handle(&table)?;
        Ok((handle.get(&key, &mut Room::of(handle))?,))
    })?;
    tables.func_wrap("[method]table.get-many", |mut cx: StoreContextMut<'_, Host>, (table, keys): Keys| {
        let keys = taken(&mut cx, &keys)?;
        let handle = cx.data().handle(&table)?;
        let mut room = Room::of(handle);
        let rows: wasmtime::Result<Vec<_>> = keys.iter().map(|key| handle.get(&key.to_str(&cx)?, &mut room)).collect();
        Ok((rows?,))
    })?;
    tables.func_wrap("[method]table.get-columns", |mut cx: StoreContextMut<'_, Host>, (table, keys): Keys| {
        let keys = taken(&mut cx, &keys)?;
        let handle = cx.data().handle(&table)?;
        let mut room = Room::of(handle);
        let mut columns: Vec<TableColumn> = (0..handle.columns()).map(|_| TableColumn::default()).collect();
        for key in &keys {
            handle.add(&key.to_str(&cx)?, &mut columns, &mut room)?;
        }
        Ok((columns,))
    })
}

type Keys = (Resource<TableResource>, WasmList<WasmStr>);

/// The keys of a look-up, paid for but still in the guest's memory.
fn taken(cx: &mut StoreContextMut<'_, Host>, keys: &WasmList<WasmStr>) -> wasmtime::Result<Vec<WasmStr>> {
    cx.data_mut().spend(keys.len())?;
    keys.iter(cx)?.collect()
}

type NormalizeFunc<'a> = TypedFunc<(&'a [PayloadRef<'a>],), (Normalized,)>;
type EnrichFunc<'a> = TypedFunc<(BatchRef<'a>,), (Output,)>;
type DedupeFunc<'a> = TypedFunc<(BatchRef<'a>,), (Vec<DedupeKey>,)>;

struct Exported {
    describe: TypedFunc<(), (Manifest,)>,
    init: TypedFunc<(&'static str,), (Result<(), String>,)>,
    normalize: Option<NormalizeFunc<'static>>,
    enrich: Option<EnrichFunc<'static>>,
    dedupe: Option<DedupeFunc<'static>>,
    enrich_alerts: Option<EnrichFunc<'static>>,
}

fn functions(exports: &Exports, instance: Instance, store: &mut Store<Host>) -> Result<Box<dyn Functions>, NotStarted> {
    Ok(Box::new(Exported {
        describe: exports.describe(instance, store)?,
        init: exports.init(instance, store)?,
        normalize: exports.hook(Hook::Normalize, instance, store)?,
        enrich: exports.hook(Hook::EnrichEvent, instance, store)?,
        dedupe: exports.hook(Hook::Dedupe, instance, store)?,
        enrich_alerts: exports.hook(Hook::EnrichAlert, instance, store)?,
    }))
}

impl Functions for Exported {
    fn describe(&self, store: &mut Store<Host>) -> wasmtime::Result<Manifest> {
        one(self.describe.call(store, ()))
    }

    fn init(&self, store: &mut Store<Host>, config: &str) -> wasmtime::Result<Result<(), String>> {
        let init: TypedFunc<(&str,), (Result<(), String>,)> = self.init;
        one(init.call(store, (config,)))
    }

    fn normalize(&self, store: &mut Store<Host>, payloads: &[PayloadRef<'_>]) -> wasmtime::Result<Normalized> {
        let normalize: NormalizeFunc<'_> = exported(self.normalize)?;
        one(normalize.call(store, (payloads,)))
    }

    fn enrich(&self, store: &mut Store<Host>, batch: BatchRef<'_>) -> wasmtime::Result<Output> {
        let enrich: EnrichFunc<'_> = exported(self.enrich)?;
        one(enrich.call(store, (batch,)))
    }

    fn dedupe(&self, store: &mut Store<Host>, batch: BatchRef<'_>) -> wasmtime::Result<Vec<DedupeKey>> {
        let dedupe: DedupeFunc<'_> = exported(self.dedupe)?;
        one(dedupe.call(store, (batch,)))
    }

    fn enrich_alerts(&self, store: &mut Store<Host>, batch: BatchRef<'_>) -> wasmtime::Result<Output> {
        let enrich: EnrichFunc<'_> = exported(self.enrich_alerts)?;
        one(enrich.call(store, (batch,)))
    }
}

fn exported<F>(function: Option<F>) -> wasmtime::Result<F> {
    function.ok_or_else(|| wasmtime::Error::msg("the module does not export this hook"))
}

/// The one result that a function has.
fn one<R>(results: wasmtime::Result<(R,)>) -> wasmtime::Result<R> {
    results.map(|(result,)| result)
}
