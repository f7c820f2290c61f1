//! Outputs that no SDK makes, by hand.

use super::*;
use crate::condition::When;
use crate::contracts::{IntegerColumn, TextColumn};
use alertmill_core::event::{Event, Tag};
use alertmill_core::fields::{Field, RULE_TEXT_BYTES_MAX, TAGS_MAX};
use alertmill_core::row::Row;
use alertmill_core::value::Value as CoreValue;
use alertmill_core::verdict::Place;

/// As the options have it by default.
const EVENT_BYTES: usize = 256 << 10;

fn plan(writes: &[&str]) -> HookPlan<Field> {
    let fields: Vec<Field> = writes.iter().map(|name| Field::parse_write(name).unwrap()).collect();
    HookPlan {
        reads: Vec::new(),
        writes_tags: fields.contains(&Field::AllTags),
        drops: fields.contains(&Field::Drop),
        writes: fields.into_iter().filter(|field| !matches!(field, Field::AllTags | Field::Drop)).collect(),
        when: When::parse(&[]).unwrap(),
        batch_rows: 256,
    }
}

fn row(tags: usize) -> Row {
    let event = Event { tags: (0..tags).map(|i| Tag::new(format!("t{i}"), "v")).collect(), ..Event::default() };
    Row::new(event, Text::default(), 0, Place { ordinal: 0, index: 0 }, 0)
}

fn texts(values: &[Option<&str>]) -> Column {
    let mut column = TextColumn::default();
    for (at, value) in values.iter().enumerate() {
        column.heap.extend_from_slice(value.unwrap_or("").as_bytes());
        column.ends.push(column.heap.len() as u32);
        if value.is_none() {
            column.missing.push(at as u32);
        }
    }
    Column::Text(column)
}

fn integers(values: &[i64]) -> Column {
    Column::Integer(IntegerColumn { values: values.to_vec(), missing: Vec::new() })
}

fn patches(rows: &[u32], columns: Vec<Column>) -> Patches {
    Patches { rows: rows.to_vec(), columns, ..Patches::default() }
}

/// Checks and applies to rows that all have `tags` tags.
fn run(plan: &HookPlan<Field>, rows: &mut [Row], patches: Patches) -> Result<Applied, CallFailure> {
    let chosen: Vec<u32> = (0..rows.len() as u32).collect();
    let checked = check(plan, rows.len() as u32, Output { patches, errors: Vec::new() })?;
    Ok(apply(plan, EVENT_BYTES, &Text::new_static("r"), rows, &chosen, checked))
}

#[track_caller]
fn refused(writes: &[&str], patches: Patches, kind: FailureKind, says: &str) {
    let mut rows = vec![row(1), row(1), row(1)];
    let before = format!("{rows:?}");
    let failure = run(&plan(writes), &mut rows, patches).expect_err("a refusal");
    assert!(failure.kind == kind && failure.message.contains(says), "{failure:?}");
    assert_eq!(format!("{rows:?}"), before, "nothing of a refused output is applied");
}

#[test]
fn outputs_that_contradict_themselves_are_refused_whole() {
    let one = &["description"];
    let text = |ends: &[u32], heap: &[u8]| Column::Text(TextColumn { ends: ends.to_vec(), missing: vec![], heap: heap.to_vec() });
    for (rows, column, says) in [
        (vec![0, 1], texts(&[Some("x")]), "1 values for 2 patched rows"),
        (vec![0, 1], text(&[2, 1], b"a"), "rise to the end"),
        (vec![0], text(&[1], b"ab"), "rise to the end"),
        (vec![0], text(&[9], b"a"), "rise to the end"),
        (vec![0], text(&[1], b"\xff"), "not UTF-8 at byte 0"),
        (vec![0, 1], text(&[1, 2], "\u{e9}".as_bytes()), "middle of a character"),
        (vec![0], integers(&[1]), "integer values, the field takes text"),
        (vec![0], Column::Tags(vec![vec![]]), "tags values"),
    ] {
        refused(one, patches(&rows, vec![column]), FailureKind::Output, says);
    }
    refused(&["severity"], patches(&[0], vec![texts(&[Some("1")])]), FailureKind::Output, "takes integer");
    refused(one, patches(&[0], vec![]), FailureKind::Output, "0 columns for the 1 fields");
    refused(one, patches(&[0], vec![texts(&[None]), texts(&[None])]), FailureKind::UndeclaredWrite, "2 columns");
    for missing in [vec![1], vec![0, 0], vec![u32::MAX]] {
        let column = Column::Text(TextColumn { ends: vec![0], missing, heap: vec![] });
        refused(one, patches(&[0], vec![column]), FailureKind::Output, "`missing`");
    }
    for rows in [vec![3], vec![1, 1], vec![2, 0], vec![u32::MAX]] {
        refused(one, patches(&rows, vec![texts(&vec![Some("x"); rows.len()])]), FailureKind::RowIndex, "patches.rows");
    }
}

#[test]
fn tags_and_drops_need_their_declaration_and_a_row_that_is_there() {
    let more = |row, key: &str| Patches { more_tags: vec![(row, key.into(), "v".into())], ..Patches::default() };
    let removed = |row, key: &str| Patches { removed_tags: vec![(row, key.into())], ..Patches::default() };
    let drops = |row| Patches { drops: vec![(row, "why".into())], ..Patches::default() };
    refused(&[], more(0, "a"), FailureKind::UndeclaredWrite, "`tags.*`");
    refused(&["tags.*"], more(3, "a"), FailureKind::RowIndex, "row 3");
    refused(&["tags.b"], removed(0, "a\u{1b}"), FailureKind::UndeclaredWrite, "a\\u{1b}");
    refused(&["tags.*"], removed(7, "a"), FailureKind::RowIndex, "row 7");
    refused(&[], drops(0), FailureKind::UndeclaredWrite, "`drop`");
    refused(&["drop"], drops(3), FailureKind::RowIndex, "row 3");
    let mut rows = vec![row(2)];
    let applied = run(&plan(&["tags.t1"]), &mut rows, removed(0, "t1")).unwrap();
    assert_eq!((applied.changed, rows[0].event.tags.len()), (1, 1), "a declared tag may be removed");
}

/// M20, M21: each of these fails its own row and leaves it whole, though other values of the row were good.
#[test]
fn a_value_that_cannot_be_held_fails_its_row_alone() {
    let long = "x".repeat(RULE_TEXT_BYTES_MAX + 1);
    let key = "k".repeat(129);
    for (tags, more, says) in [
        (1, vec![("bk_tenant_id", "x")], "reserved"),
        (1, vec![("_id", "x")], "reserved"),
        (1, vec![("", "x")], "1 to 128"),
        (1, vec![(key.as_str(), "x")], "1 to 128"),
        (1, vec![("a\0b", "x")], "control"),
        (1, vec![("good", "x"), ("bad", long.as_str())], "at most 8192"),
        (TAGS_MAX, vec![("one-more", "x")], "256 tags"),
    ] {
        let mut rows = vec![row(tags), row(tags), row(0)];
        let before = rows[1].event.clone();
        let patch = Patches {
            more_tags: more.iter().map(|(key, value)| (1, (*key).into(), (*value).into())).collect(),
            ..patches(&[0, 1, 2], vec![texts(&[Some("a"), Some("b"), Some("c")])])
        };
        let applied = run(&plan(&["description", "tags.*"]), &mut rows, patch).unwrap();
        let [(1, failure)] = applied.failed.as_slice() else { panic!("{says}: {:?}", applied.failed) };
        assert!(failure.kind == FailureKind::PatchInvalid && failure.message.contains(says), "{failure:?}");
        assert_eq!(rows[1].event, before, "{says}: nothing of its patch is applied");
        assert_eq!((&rows[0].event.description, &rows[2].event.description), (&CoreValue::from("a"), &CoreValue::from("c")));
        assert_eq!(applied.changed, 2);
    }
}

#[test]
fn ranges_of_known_fields() {
    for (severity, name) in [(0, "n"), (4, "n"), (99, "n"), (255, "n"), (1, ""), (1, "a\0")] {
        let mut rows = vec![row(0), row(0)];
        let columns = vec![integers(&[2, severity]), texts(&[Some("fine"), Some(name)])];
        let applied = run(&plan(&["severity", "alert_name"]), &mut rows, patches(&[0, 1], columns)).unwrap();
        assert_eq!(applied.failed.len(), 1, "{severity} {name:?}");
        assert_eq!(rows[0].event.severity_level(), 2);
        assert_eq!(rows[1].event, Event::default(), "{severity} {name:?}");
    }
}

#[test]
fn missing_leaves_the_field_alone_and_refusals_do_not_shift_the_values_after_them() {
    let mut rows = vec![row(0), row(0), row(0)];
    let columns = vec![integers(&[1, 9, 3]), texts(&[None, Some("b"), Some("c")])];
    let applied = run(&plan(&["severity", "tags.a"]), &mut rows, patches(&[0, 1, 2], columns)).unwrap();
    assert_eq!(applied.failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
    let seen: Vec<_> = rows.iter().map(|row| (row.event.severity_level(), row.event.tag("a").and_then(CoreValue::as_text).map(str::to_owned))).collect();
    assert_eq!(seen, [(1, None), (3, None), (3, Some("c".into()))]);
}

#[test]
fn a_tag_can_be_renamed_in_one_patch_and_errors_win_over_patches() {
    let mut rows = vec![row(1), row(1)];
    let patch =
        Patches { more_tags: vec![(1, "new".into(), "v".into()), (0, "t0".into(), "w".into())], removed_tags: vec![(0, "t0".into())], ..Patches::default() };
    let plan = plan(&["tags.*"]);
    let errors = vec![RowError { row: 1, message: String::new() }, RowError { row: 1, message: "twice".into() }];
    let checked = check(&plan, 2, Output { patches: patch, errors }).unwrap();
    let applied = apply(&plan, EVENT_BYTES, &Text::new_static("r"), &mut rows, &[0, 1], checked);
    assert_eq!(rows[0].event.tags, [Tag::new("t0", "w")]);
    assert_eq!(rows[1].event.tags, [Tag::new("t0", "v")]);
    assert_eq!((applied.changed, applied.failed.len()), (1, 1));
    assert_eq!(applied.failed[0].1.message, "the rule gave no reason");
}

/// The SDK names a row that it only drops in `rows` too, with every column missing.
#[test]
fn a_drop_is_a_change_only_with_a_value_or_a_tag_beside_it() {
    let drops = |more_tags| Patches { drops: vec![(0, "why".into())], more_tags, ..patches(&[0], vec![texts(&[None])]) };
    for (more_tags, changed) in [(vec![], 0), (vec![(0, "a".to_owned(), "v".to_owned())], 1)] {
        let mut rows = vec![row(0)];
        let applied = run(&plan(&["description", "tags.*", "drop"]), &mut rows, drops(more_tags)).unwrap();
        assert_eq!((applied.changed, applied.dropped), (changed, 1));
    }
    let mut rows = vec![row(0)];
    let valued = Patches { drops: vec![(0, "why".into())], ..patches(&[0], vec![texts(&[Some("text")])]) };
    let applied = run(&plan(&["description", "drop"]), &mut rows, valued).unwrap();
    assert_eq!((applied.changed, applied.dropped), (1, 1));
}

/// Fields that take some texts and refuse others of the same length: whether they do shows only when they are written.
#[test]
fn a_list_that_is_none_leaves_no_row_half_written() {
    for field in ["assignee", "metric", "bk_topo_node", "dedupe_keys"] {
        for writes in [["description", field], [field, "description"]] {
            let mut rows = vec![row(1), row(1)];
            let before = rows[1].event.clone();
            let columns = writes.map(|written| texts(&if written == field { [Some("[]"), Some("[1]")] } else { [Some("new"), Some("new")] }));
            let applied = run(&plan(&writes), &mut rows, patches(&[0, 1], columns.into())).unwrap();
            let [(1, failure)] = applied.failed.as_slice() else { panic!("{writes:?}: {:?}", applied.failed) };
            assert_eq!(failure.kind, FailureKind::PatchInvalid, "{writes:?}: {failure:?}");
            assert_eq!(rows[1].event, before, "{writes:?}");
            assert_eq!(rows[0].event.description, CoreValue::from("new"), "{writes:?}");
        }
    }
}

#[test]
fn m20_what_a_rule_writes_into_one_row_is_bounded_in_all() {
    let text = "x".repeat(RULE_TEXT_BYTES_MAX);
    let fits = EVENT_BYTES / (text.len() + 3);
    let tags = |count: usize| (0..count).map(|i| (0, format!("{i:03}"), text.clone())).collect::<Vec<_>>();
    for (count, is_taken) in [(fits, true), (fits + 1, false)] {
        let mut rows = vec![row(0), row(0)];
        // Rows behind one that is refused get their own values.
        let patch = Patches { more_tags: tags(count), ..patches(&[0, 1], vec![texts(&[None, Some("second")])]) };
        let applied = run(&plan(&["description", "tags.*"]), &mut rows, patch).unwrap();
        assert_eq!((applied.failed.is_empty(), rows[0].event.tags.len()), (is_taken, if is_taken { count } else { 0 }));
        assert_eq!(rows[1].event.description, CoreValue::from("second"));
    }
    // The same in columns.
    let names: Vec<String> = (0..fits + 2).map(|i| format!("tags.{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut rows = vec![row(0), row(0)];
    let columns = (0..names.len()).map(|_| texts(&[Some(&text), Some("small")])).collect();
    let applied = run(&plan(&names), &mut rows, patches(&[0, 1], columns)).unwrap();
    assert_eq!(applied.failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0], "{:?}", applied.failed);
    assert_eq!((rows[0].event.tags.len(), rows[1].event.tags.len()), (0, names.len()));
}

/// Each text is one that a tag may have, and there are not too many of them: it is the sum that is too much. What other rows of
/// the batch have decides nothing about a row.
#[test]
fn m20_what_other_rows_of_the_batch_have_decides_nothing_about_a_row() {
    let columns = plan(&["tags.a", "tags.b", "description"]);
    let all_tags = plan(&["tags.*"]);
    let long = "x".repeat(6_000);
    for (tags, bytes, max, fits) in [(30, 8_000, EVENT_BYTES, true), (40, 8_000, EVENT_BYTES, false), (200, 100, EVENT_BYTES, true), (1, 8_000, 4_096, false)] {
        let more_tags = (0..tags).map(|n| (1, format!("k{n}"), "v".repeat(bytes))).collect();
        let mut rows = [row(3), row(3)];
        let checked = check(&all_tags, 2, Output { patches: Patches { more_tags, ..Patches::default() }, errors: Vec::new() }).unwrap();
        let applied = apply(&all_tags, max, &Text::new_static("r"), &mut rows, &[0, 1], checked);
        assert_eq!((applied.failed.len(), applied.changed), (usize::from(!fits), u64::from(fits)), "{tags} tags of {bytes} bytes");
        assert_eq!(rows[1].event.tags.len(), if fits { 3 + tags } else { 3 });
        if let [(1, failure)] = &*applied.failed {
            assert_eq!((failure.kind, failure.limit), (FailureKind::PatchInvalid, Some(Limit::EventBytes)));
            assert!(failure.message.contains("limits.event_bytes"), "{}", failure.message);
        }
    }
    // By columns: one long value makes the whole batch take the careful way, and the short rows are judged as if they were alone.
    for max in [400, 1_000, 7_000, 100_000] {
        let values = |of: &[Option<&str>]| vec![texts(of), texts(of), texts(&vec![None; of.len()])];
        let apply_to = |of: &[Option<&str>]| {
            let mut rows: Vec<Row> = of.iter().map(|_| row(1)).collect();
            let all: Vec<u32> = (0..of.len() as u32).collect();
            let output = Output { patches: patches(&all, values(of)), errors: Vec::new() };
            let applied = apply(&columns, max, &Text::new_static("r"), &mut rows, &all, check(&columns, of.len() as u32, output).unwrap());
            let failed: Vec<u32> = applied.failed.iter().map(|(row, _)| *row).collect();
            (0..of.len() as u32).map(|row| failed.contains(&row)).collect::<Vec<_>>()
        };
        let of = [Some("short"), Some(long.as_str()), None, Some("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")];
        let alone: Vec<bool> = of.iter().flat_map(|value| apply_to(&[*value])).collect();
        assert_eq!(apply_to(&of), alone, "at most {max} bytes");
        assert_eq!(alone[1], max < 12_000);
    }
}
