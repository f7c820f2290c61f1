//! Breaks the contract in the way that the tag `lie` names: for the host's checks of what comes back.
//!
//! `row`: a row that the batch does not have. `severity`: 99. `field`: a tag although `tags.*` is not in `writes`. `drop`: a drop
//! that is not in `writes` either. `column`: one column too few. `order`: the same row twice. `short`: a text that ends
//! beyond the heap. `utf8`: text that is none. `surrogate`: half of a pair of UTF-16, as some languages keep it. `unnamed`: no alert name.
//! `below` and `least`: the severities -1 and the least number that there is. An honest row gets severity 3, the tag `note` and a name.
//!
//! Lies about size: `many`: a million patched rows. `many-tags`: a million tags. `length`: a list of 2^32 - 1 elements. `outside`: a
//! list beyond the memory. `alias`: a text of 1 MiB, a thousand times over.

// Elsewhere than in a module nothing calls what it exports.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use alertmill_rule::bindings::alertmill::rules::types::TextColumn;
use alertmill_rule::glue::{Batch, Column, EnrichHook, Output, enrich_rule, lifecycle, manifest};
use alertmill_rule::prelude::*;
use alertmill_rule::row::Row;

reads! {
    struct Event {
        lie: Text = "tags.lie",
    }
}
writes! {
    struct Change {
        severity: Integer = "severity",
        note: Text = "tags.note",
        name: Text = "alert_name",
    }
}

const MANY: u32 = 1_000_000;

struct Honest;

impl Enrich for Honest {
    type Row<'a> = Event<'a>;
    type Change = Change;

    fn new(_config: &str) -> Result<Self, String> {
        Ok(Honest)
    }

    fn enrich(&self, _event: &Event, change: &mut Change) -> Result<(), String> {
        change.severity.set(3);
        change.note.set("seen");
        change.name.set("named");
        Ok(())
    }
}

/// By hand, because the SDK does not let a rule lie.
struct Module;

impl lifecycle::Guest for Module {
    fn describe() -> lifecycle::Manifest {
        manifest("lies", "0.1.0", "", vec![EnrichHook::<Honest>::describe(lifecycle::Hook::EnrichEvent)])
    }
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }
}

impl enrich_rule::Guest for Module {
    fn enrich(events: Batch) -> Output {
        let lies = lies(&events);
        let honest = EnrichHook::<Honest>::new("").expect("it takes any config");
        let mut output = honest.run(events);
        for (row, lie) in lies {
            tell(&lie, row, &mut output);
        }
        output
    }
}

fn lies(events: &Batch) -> Vec<(u32, String)> {
    let mut columns = Event::open(&events.columns).expect("one text column");
    let lies = (0..events.rows).filter_map(|row| Some((row, Event::next(&mut columns, row).lie?.to_string())));
    lies.collect()
}

fn tell(lie: &str, row: u32, output: &mut Output) {
    let patches = &mut output.patches;
    match (lie, patches.columns.as_mut_slice()) {
        ("row", _) => patches.rows[row as usize] = u32::MAX,
        ("order", _) => patches.rows[row as usize] = 0,
        ("field", _) => patches.more_tags.push((row, "undeclared".to_string(), "x".to_string())),
        ("drop", _) => patches.drops.push((row, "undeclared".to_string())),
        ("severity", [Column::Integer(severity), ..]) => severity.values[row as usize] = 99,
        ("below", [Column::Integer(severity), ..]) => severity.values[row as usize] = -1,
        ("least", [Column::Integer(severity), ..]) => severity.values[row as usize] = i64::MIN,
        ("unnamed", [.., Column::Text(name)]) => take_text(name, row),
        ("surrogate", [_, Column::Text(note), _]) => spoil(note, row, &[0xed, 0xa0, 0x80]),
        ("short", [_, Column::Text(note), _]) => note.ends[row as usize] = u32::MAX,
        ("utf8", [_, Column::Text(note), _]) => spoil(note, row, &[0xff]),
        ("column", _) => drop(patches.columns.pop()),
        ("many", _) => patches.rows = (0..MANY).collect(),
        ("many-tags", _) => patches.more_tags = (0..MANY).map(|_| (row, String::new(), String::new())).collect(),
        ("length", _) => patches.rows = list(std::mem::take(&mut patches.rows).leak().as_mut_ptr(), u32::MAX as usize),
        ("outside", _) => patches.rows = list(0xffff_0000_usize as *mut u32, 64),
        ("alias", _) => {
            let text = "x".repeat(1 << 20).leak();
            patches.more_tags = (0..1_000).map(|_| (row, "alias".to_string(), same(text))).collect();
        }
        _ => {}
    }
}

/// Other bytes where the row's text begins.
fn spoil(column: &mut TextColumn, row: u32, bytes: &[u8]) {
    let start = row.checked_sub(1).map_or(0, |before| column.ends[before as usize] as usize);
    column.heap[start..start + bytes.len()].copy_from_slice(bytes);
}

/// The row's text is empty then, and all others are as they were.
fn take_text(column: &mut TextColumn, row: u32) {
    let start = row.checked_sub(1).map_or(0, |before| column.ends[before as usize]);
    let end = column.ends[row as usize];
    column.heap.drain(start as usize..end as usize).for_each(drop);
    column.ends[row as usize..].iter_mut().for_each(|later| *later -= end - start);
}

fn list(at: *mut u32, length: usize) -> Vec<u32> {
    // SAFETY: none, on purpose; the host is told of a list that is not there.
    unsafe { Vec::from_raw_parts(at, length, length) }
}

/// Another owner of the same text.
fn same(text: &mut str) -> String {
    // SAFETY: none, on purpose.
    unsafe { String::from_raw_parts(text.as_mut_ptr(), text.len(), text.len()) }
}

alertmill_rule::export!(@section LIFECYCLE lifecycle __export_alertmill_rules_lifecycle_0_1_0_cabi);
alertmill_rule::export!(@section ENRICH_RULE enrich_rule __export_alertmill_rules_enrich_rule_0_1_0_cabi);
