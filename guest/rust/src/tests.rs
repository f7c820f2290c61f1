//! The SDK as a rule sees it, on the author's machine: columns in, columns out.

use crate::bindings::alertmill::rules::types::{Batch, Column, TextColumn};
use crate::enrich::EnrichHook;
use crate::glue::dedupe_rule::DedupeKey;
use crate::glue::{DedupeHook, LookupHook, NormalizeHook, lifecycle};
use crate::patch::Change as _;
use crate::prelude::*;
use crate::row::Row;
use crate::testing::{Fields, MemoryTable, Value, batch, payload, set_tables};
use std::collections::BTreeMap;

reads! {
    struct Event {
        host: Text = "tags.host",
        severity: Integer = "severity",
        all: AllTags = "tags",
    }
}
writes! {
    struct Change {
        severity: Integer = "severity",
        owner: Text = "tags.owner",
        tags: Tags = "tags.*",
        drop: Drop = "drop",
    }
}

/// Does what the host's name says.
struct ByHost;

impl Enrich for ByHost {
    type Row<'a> = Event<'a>;
    type Change = Change;
    const WHEN: &'static [When] = &[When::NotEquals("status", "closed"), When::AnyOf("tags.env", &["a", "b"])];

    fn new(config: &str) -> Result<Self, String> {
        if config == "bad" { Err("bad config".to_string()) } else { Ok(ByHost) }
    }

    fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
        match event.host {
            Some("worse") => change.severity.set(event.severity.unwrap_or(3) - 1),
            Some("owned") => {
                change.owner.set("nobody");
                change.owner.set("alice");
            }
            Some("tags") => {
                change.tags.set("count", event.all.len().to_string());
                change.tags.remove("host");
            }
            Some("drop") => change.drop.because("not ours"),
            Some("fail") => {
                change.severity.set(1);
                change.owner.format(format_args!("{}", 7));
                change.tags.set("left", "over");
                change.drop.because("left over");
                return Err("cannot say".to_string());
            }
            Some("doubt") => {
                change.owner.set("bob");
                change.owner.leave();
            }
            _ => {}
        }
        Ok(())
    }
}

fn row(fields: &[(&str, Value)]) -> Fields {
    fields.iter().map(|(field, value)| (field.to_string(), value.clone())).collect()
}

fn host(name: &str) -> Fields {
    row(&[("tags.host", Value::Text(name.to_string()))])
}

fn texts(column: &Column) -> Vec<Option<String>> {
    let Column::Text(column) = column else { panic!("not text") };
    let start = |entry: usize| if entry == 0 { 0 } else { column.ends[entry - 1] as usize };
    let text = |entry: usize| String::from_utf8(column.heap[start(entry)..column.ends[entry] as usize].to_vec());
    let value = |entry: usize| (!column.missing.contains(&(entry as u32))).then(|| text(entry).unwrap());
    (0..column.ends.len()).map(value).collect()
}

fn run(hook: &EnrichHook<ByHost>, rows: &[Fields]) -> crate::glue::Output {
    hook.run(batch(Event::FIELDS, rows))
}

#[test]
fn only_rows_that_change_come_back() {
    let hook = EnrichHook::<ByHost>::new("").unwrap();
    let mut worse = host("worse");
    worse.insert("severity".to_string(), Value::Integer(2));
    let rows = [Fields::new(), worse, host("other"), host("owned"), host("doubt")];
    // A second batch must not see anything of the first.
    for _ in 0..2 {
        let output = run(&hook, &rows);
        assert_eq!(output.patches.rows, [1, 3]);
        let Column::Integer(severity) = &output.patches.columns[0] else { panic!("not integers") };
        assert_eq!((severity.values.as_slice(), severity.missing.as_slice()), (&[1, 0][..], &[1][..]));
        assert_eq!(texts(&output.patches.columns[1]), [None, Some("alice".to_string())]);
        assert_eq!(output.patches.columns.len(), 2, "`tags.*` and `drop` have no column");
    }
}

#[test]
fn tags_and_drops_name_their_row() {
    let hook = EnrichHook::<ByHost>::new("").unwrap();
    let output = run(&hook, &[host("other"), host("tags"), host("drop")]);
    assert_eq!(output.patches.rows, [1, 2]);
    assert_eq!(output.patches.more_tags, [(1, "count".to_string(), "1".to_string())]);
    assert_eq!(output.patches.removed_tags, [(1, "host".to_string())]);
    assert_eq!(output.patches.drops, [(2, "not ours".to_string())]);
}

#[test]
fn a_failed_row_leaves_nothing_behind() {
    let hook = EnrichHook::<ByHost>::new("").unwrap();
    let output = run(&hook, &[host("fail"), host("owned")]);
    assert_eq!(output.patches.rows, [1]);
    assert_eq!(texts(&output.patches.columns[1]), [Some("alice".to_string())]);
    assert!(output.patches.more_tags.is_empty() && output.patches.drops.is_empty());
    assert_eq!((output.errors[0].row, output.errors[0].message.as_str()), (0, "cannot say"));
}

#[test]
fn columns_that_do_not_fit_are_an_error_of_every_row() {
    let hook = EnrichHook::<ByHost>::new("").unwrap();
    let output = hook.run(Batch { rows: 2, columns: vec![] });
    assert_eq!(output.errors.len(), 2);
    assert!(output.errors[0].message.contains("tags.host"));
}

#[test]
fn a_column_shorter_than_the_batch_reads_as_missing() {
    reads! { struct Name { name: Text = "alert_name" } }
    let column = TextColumn { ends: vec![1, 9], missing: vec![], heap: b"ab".to_vec() };
    let columns = [Column::Text(column)];
    let mut open = Name::open(&columns).unwrap();
    let names: Vec<_> = (0..3).map(|row| Name::next(&mut open, row).name).collect();
    assert_eq!(names, [Some("a"), None, None]);
}

#[test]
fn the_manifest_says_what_the_rule_says() {
    assert!(EnrichHook::<ByHost>::new("bad").is_err());
    let hook = EnrichHook::<ByHost>::describe(lifecycle::Hook::EnrichEvent);
    let manifest = crate::glue::manifest("by-host", "1.0.0", "By host.", vec![hook]);
    let hook = &manifest.hooks[0];
    assert_eq!(hook.reads, ["tags.host", "severity", "tags"]);
    assert_eq!(hook.writes, Change::FIELDS);
    assert_eq!(hook.when[0].field, "status");
    assert_eq!(hook.when[1].values, ["a", "b"]);
    assert!(manifest.tables.is_empty() && manifest.config_schema.is_empty());
}

reads! {
    struct Host {
        host: Text = "tags.host",
    }
}
writes! {
    struct Owner {
        owner: Text = "tags.owner",
    }
}

struct OwnerOf;

impl Lookup for OwnerOf {
    type Row<'a> = Host<'a>;
    type Change = Owner;
    const TABLE: &'static str = "hosts";

    fn new(_config: &str) -> Result<Self, String> {
        Ok(OwnerOf)
    }
    fn columns(&self) -> Vec<&str> {
        vec!["owner"]
    }
    fn key<'a>(&'a self, row: &Host<'a>) -> Option<Cow<'a, str>> {
        row.host.map(|host| Cow::Owned(host.to_lowercase()))
    }
    fn enrich(&self, _row: &Host, found: Option<Found>, change: &mut Owner) -> Result<(), String> {
        change.owner.set(found.map_or("none", |found| found.get(0)));
        Ok(())
    }
}

#[test]
fn each_row_gets_what_was_found_for_its_own_key() {
    let alice = BTreeMap::from([("owner".to_string(), "alice".to_string())]);
    set_tables(BTreeMap::from([("hosts".to_string(), BTreeMap::from([("web".to_string(), alice)]))]));
    let hook = LookupHook::<OwnerOf, MemoryTable>::new("").unwrap();
    let output = hook.run(batch(Host::FIELDS, &[host("db"), Fields::new(), host("WEB")]));
    let expected = ["none", "none", "alice"].map(|owner| Some(owner.to_string()));
    assert_eq!(texts(&output.patches.columns[0]), expected);
    let manifest = LookupHook::<OwnerOf, MemoryTable>::describe(lifecycle::Hook::EnrichEvent);
    assert_eq!(crate::glue::manifest("owner", "1", "", vec![manifest]).tables, ["hosts"]);
}

#[test]
fn a_missing_table_shows_at_the_start() {
    set_tables(BTreeMap::new());
    assert!(LookupHook::<OwnerOf, MemoryTable>::new("").is_err_and(|error| error.contains("hosts")));
}

struct KeyOf;

impl Dedupe for KeyOf {
    type Row<'a> = Host<'a>;
    fn new(_config: &str) -> Result<Self, String> {
        Ok(KeyOf)
    }
    fn key(&self, row: &Host, key: &mut String) -> Result<Answer, String> {
        let Some(host) = row.host else { return Ok(Answer::Default) };
        key.push_str(host);
        match host {
            "alone" => Ok(Answer::Unique),
            "fail" => Err("no key".to_string()),
            _ => Ok(Answer::Key),
        }
    }
}

#[test]
fn keys_do_not_run_into_each_other() {
    let hook = DedupeHook::<KeyOf>::new("").unwrap();
    let answers = hook.run(batch(Host::FIELDS, &[host("alone"), host("a"), Fields::new(), host("fail"), host("b")]));
    let key = |answer: &DedupeKey| match answer {
        DedupeKey::Key(key) => key.clone(),
        DedupeKey::Default => "default".to_string(),
        DedupeKey::Unique => "unique".to_string(),
        DedupeKey::Error(message) => format!("error: {message}"),
    };
    assert_eq!(answers.iter().map(key).collect::<Vec<_>>(), ["unique", "a", "default", "error: no key", "b"]);
    let unfit = hook.run(Batch { rows: 2, columns: vec![] });
    assert!(unfit.len() == 2 && unfit.iter().all(|answer| key(answer).contains("tags.host")));
}

struct Lines;

impl Normalize for Lines {
    fn new(_config: &str) -> Result<Self, String> {
        Ok(Lines)
    }
    fn normalize(&self, payload: &Payload, events: &mut Vec<NewEvent>) -> Result<(), String> {
        let text = std::str::from_utf8(&payload.body).map_err(|error| error.to_string())?;
        events.extend(text.lines().map(|line| NewEvent::named(line).tag("source", payload.source.clone())));
        if text.ends_with('!') { Err("shouting".to_string()) } else { Ok(()) }
    }
}

#[test]
fn events_name_the_payload_they_are_of() {
    let payload = |body: &str| payload("hook", body);
    let hook = NormalizeHook::<Lines>::new("").unwrap();
    let normalized = hook.run(vec![payload("a\nb"), payload("lost!"), payload("c")]);
    let events: Vec<_> = normalized.events.iter().map(|event| (event.row, event.alert_name.as_str())).collect();
    assert_eq!(events, [(0, "a"), (0, "b"), (2, "c")]);
    assert_eq!(normalized.events[0].tags[0].value, "hook");
    assert_eq!(normalized.errors[0].row, 1);
}
