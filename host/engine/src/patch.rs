//! What came back: checked as a whole first, so that nothing of a refused output is applied; then applied row by row, so
//! that a value which its field cannot hold fails that row alone.

use crate::contract::{Column, Output, Patches};
use crate::failure::{CallFailure, FailureKind};
use crate::limits::DROP_REASON_CHARS_MAX;
use crate::log::one_line;
use crate::manifest::HookPlan;
use alertmill_core::fields::{ALERT_NAME_BYTES_MAX, Field, KnownField, RULE_TEXT_BYTES_MAX, TAGS_MAX, WriteError, remove_tag, write_tag};
use alertmill_core::row::{Dropped, Row};
use alertmill_core::value::Text;

/// Longest text of a failure on a row, bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 512;

/// What an output did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub changed: u64,
    pub dropped: u64,
    /// Rows (places in the batch) that failed alone.
    pub failed: Vec<(u32, CallFailure)>,
}

/// Checks an output of `rows` rows against what the hook declared.
pub(crate) fn check(plan: &HookPlan, rows: u32, output: &Output) -> Result<(), CallFailure> {
    let patches = &output.patches;
    ascending(&patches.rows, rows, "patches.rows")?;
    check_columns(plan, patches)?;
    if !plan.writes_tags && !patches.more_tags.is_empty() {
        return undeclared("it writes further tags, and `tags.*` is not in its `writes`");
    }
    let may_remove = |key: &str| plan.writes_tags || plan.writes.iter().any(|field| matches!(field, Field::Tag(tag) if tag == key));
    if let Some((_, key)) = patches.removed_tags.iter().find(|(_, key)| !may_remove(key)) {
        return undeclared(&format!("it removes tag `{}`, and neither it nor `tags.*` is in its `writes`", shown(key)));
    }
    if !plan.drops && !patches.drops.is_empty() {
        return undeclared("it drops events, and `drop` is not in its `writes`");
    }
    let tagged = patches.more_tags.iter().map(|(row, ..)| *row).chain(patches.removed_tags.iter().map(|(row, _)| *row));
    in_range(tagged, rows, "a tag")?;
    in_range(patches.drops.iter().map(|(row, _)| *row), rows, "a drop")?;
    in_range(output.errors.iter().map(|e| e.row), rows, "an error")
}

fn check_columns(plan: &HookPlan, patches: &Patches) -> Result<(), CallFailure> {
    if patches.rows.is_empty() && patches.columns.is_empty() {
        return Ok(());
    }
    let (has, wanted) = (patches.columns.len(), plan.writes.len());
    if has > wanted {
        return undeclared(&format!("it writes {has} columns, and its `writes` name {wanted}"));
    }
    if has < wanted {
        return output(format!("{has} columns for the {wanted} fields in its `writes`"));
    }
    for (field, column) in plan.writes.iter().zip(&patches.columns) {
        check_column(field, column, patches.rows.len()).or_else(|why| output(format!("column `{}`: {why}", field.name())))?;
    }
    Ok(())
}

fn check_column(field: &Field, column: &Column, patched: usize) -> Result<(), String> {
    let (len, missing) = match column {
        Column::Text(text) if !HookPlan::is_integer(field) => {
            check_heap(&text.ends, &text.heap)?;
            (text.ends.len(), &text.missing)
        }
        Column::Integer(integers) if HookPlan::is_integer(field) => (integers.values.len(), &integers.missing),
        other => {
            let wanted = if HookPlan::is_integer(field) { "integer" } else { "text" };
            return Err(format!("{} values, the field takes {wanted}", kind_of(other)));
        }
    };
    if len != patched {
        return Err(format!("{len} values for {patched} patched rows"));
    }
    match missing.is_sorted_by(|a, b| a < b) && missing.last().is_none_or(|last| (*last as usize) < patched) {
        true => Ok(()),
        false => Err("`missing` has to be ascending and within the patched rows".to_owned()),
    }
}

fn check_heap(ends: &[u32], heap: &[u8]) -> Result<(), String> {
    if ends.last().map_or(0, |end| *end as usize) != heap.len() || !ends.is_sorted() {
        return Err("`ends` have to rise to the end of the heap".to_owned());
    }
    let text = std::str::from_utf8(heap).map_err(|e| format!("text is not UTF-8 at byte {} of the heap", e.valid_up_to()))?;
    match ends.iter().all(|end| text.is_char_boundary(*end as usize)) {
        true => Ok(()),
        false => Err("an end is in the middle of a character".to_owned()),
    }
}

fn kind_of(column: &Column) -> &'static str {
    match column {
        Column::Text(_) => "text",
        Column::Integer(_) => "integer",
        Column::Float(_) => "float",
        Column::Boolean(_) => "boolean",
        Column::Tags(_) => "tags",
    }
}

fn ascending(rows: &[u32], count: u32, what: &str) -> Result<(), CallFailure> {
    if let Some(pair) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(CallFailure::new(FailureKind::RowIndex, format!("{what}: {} comes after {}; rows have to ascend, none twice", pair[1], pair[0])));
    }
    in_range(rows.iter().copied(), count, what)
}

fn in_range(mut rows: impl Iterator<Item = u32>, count: u32, what: &str) -> Result<(), CallFailure> {
    match rows.find(|row| *row >= count) {
        None => Ok(()),
        Some(row) => Err(CallFailure::new(FailureKind::RowIndex, format!("{what}: row {row} of a batch of {count}"))),
    }
}

fn undeclared(why: &str) -> Result<(), CallFailure> {
    Err(CallFailure::new(FailureKind::UndeclaredWrite, why))
}

fn output(why: String) -> Result<(), CallFailure> {
    Err(CallFailure::new(FailureKind::Output, why))
}

fn shown(text: &str) -> String {
    one_line(text).chars().take(64).collect()
}

/// Applies a checked output to the rows that `chosen` names.
pub(crate) fn apply(plan: &HookPlan, rule: &Text, rows: &mut [Row], chosen: &[u32], output: Output) -> Applied {
    let mut applied = Applied::default();
    let mut errors = output.errors;
    errors.sort_by_key(|e| e.row);
    errors.dedup_by_key(|e| e.row);
    for error in &errors {
        let message = if error.message.is_empty() { "the rule gave no reason" } else { &error.message };
        applied.failed.push((error.row, CallFailure::new(FailureKind::RowError, message)));
    }
    let mut more = Loose::new(output.patches);
    let columns = Columns::new(plan, std::mem::take(&mut more.patches.columns), more.patches.rows.len());
    let mut cursor = columns.cursor();
    let patched = std::mem::take(&mut more.patches.rows);
    let mut patched = patched.iter().copied().enumerate().peekable();
    loop {
        // The next row in ascending order, of the columns or of the loose lists.
        let of_columns = patched.peek().map(|(_, row)| *row);
        let Some(row) = of_columns.into_iter().chain(more.next_row()).min() else { break };
        let place = patched.next_if(|(_, at)| *at == row).map(|(place, _)| place);
        let loose = more.take(row);
        if errors.binary_search_by_key(&row, |e| e.row).is_ok() {
            place.inspect(|place| cursor.skip(*place));
            continue;
        }
        let target = &mut rows[chosen[row as usize] as usize];
        match apply_row(&columns, &mut cursor, place, &loose, rule, target) {
            Ok(()) if place.is_none() && loose.only_drops() => applied.dropped += 1,
            Ok(()) => {
                applied.changed += 1;
                applied.dropped += u64::from(loose.drops());
            }
            Err(why) => applied.failed.push((row, CallFailure::new(FailureKind::PatchInvalid, why))),
        }
    }
    applied
}

fn apply_row(columns: &Columns, cursor: &mut Cursor, place: Option<usize>, loose: &LooseRow, rule: &Text, row: &mut Row) -> Result<(), String> {
    // Nearly all patches are small texts and tags, which a field always takes. Only what might be refused half-way pays
    // for a copy to go back to.
    if columns.cannot_fail && loose.is_empty() && row.event.tags.len() + columns.tag_columns <= TAGS_MAX {
        return place.map_or(Ok(()), |place| cursor.write(place, row)).map_err(|e| e.to_string());
    }
    let before = row.clone();
    let written = write_all(cursor, place, loose, rule, row);
    if written.is_err() {
        *row = before;
    }
    written
}

fn write_all(cursor: &mut Cursor, place: Option<usize>, loose: &LooseRow, rule: &Text, row: &mut Row) -> Result<(), String> {
    // Removals first, so that a tag can be renamed or replaced in one patch.
    loose.removed.iter().for_each(|(_, key)| remove_tag(row, key));
    if let Some(place) = place {
        cursor.write(place, row).map_err(|e| e.to_string())?;
    }
    for (_, key, value) in loose.more {
        write_tag(row, key, value).map_err(|e| e.to_string())?;
    }
    for (_, reason) in loose.drops {
        let reason = one_line(reason);
        let chars = reason.chars().count();
        if !(1..=DROP_REASON_CHARS_MAX).contains(&chars) {
            return Err(format!("the reason of a drop has {chars} characters; it may have 1 to {DROP_REASON_CHARS_MAX}"));
        }
        if row.dropped.is_none() {
            row.dropped = Some(Dropped { rule: rule.clone(), reason: Text::new(reason) });
        }
    }
    Ok(())
}

/// The write columns, with what is known of all their values.
struct Columns<'a> {
    fields: &'a [Field],
    columns: Vec<Column>,
    tag_columns: usize,
    cannot_fail: bool,
}

impl<'a> Columns<'a> {
    fn new(plan: &'a HookPlan, columns: Vec<Column>, patched: usize) -> Columns<'a> {
        let fields = plan.writes.as_slice();
        let tag_columns = fields.iter().filter(|field| matches!(field, Field::Tag(_))).count();
        let cannot_fail = patched == 0 || fields.iter().zip(&columns).all(|(field, column)| always_taken(field, column));
        Columns { fields, columns, tag_columns, cannot_fail }
    }

    fn cursor(&self) -> Cursor<'_> {
        Cursor { columns: self, starts: vec![0; self.columns.len()], missing: vec![0; self.columns.len()], next: 0 }
    }
}

/// Whether a field takes every value of this column, whatever the row.
fn always_taken(field: &Field, column: &Column) -> bool {
    match (field, column) {
        (Field::Known(KnownField::Severity), Column::Integer(c)) => {
            c.values.iter().enumerate().all(|(i, n)| (1..=3).contains(n) || c.missing.binary_search(&(i as u32)).is_ok())
        }
        (Field::Known(KnownField::BkBizId), Column::Integer(_)) => true,
        (Field::Known(KnownField::DedupeKeys | KnownField::AlertName), _) | (Field::Extra(_), _) => false,
        (Field::Known(_) | Field::Tag(_), Column::Text(c)) => longest(&c.ends) <= RULE_TEXT_BYTES_MAX.min(ALERT_NAME_BYTES_MAX * 16),
        _ => false,
    }
}

fn longest(ends: &[u32]) -> usize {
    let mut start = 0;
    ends.iter().map(|end| (end - std::mem::replace(&mut start, *end)) as usize).max().unwrap_or(0)
}

/// Reads the columns forward, one patched row after the other.
struct Cursor<'a> {
    columns: &'a Columns<'a>,
    starts: Vec<u32>,
    missing: Vec<usize>,
    next: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, place: usize) {
        for at in 0..self.columns.columns.len() {
            self.value(at, place);
        }
        self.next = place + 1;
    }

    fn write(&mut self, place: usize, row: &mut Row) -> Result<(), WriteError> {
        debug_assert_eq!(self.next, place, "rows are patched in order");
        self.next = place + 1;
        let mut result = Ok(());
        for at in 0..self.columns.columns.len() {
            let field = &self.columns.fields[at];
            // After a refusal the cursor still has to pass the row's other values.
            match self.value(at, place) {
                Some(Value::Text(text)) if result.is_ok() => result = field.write_text(row, text),
                Some(Value::Integer(n)) if result.is_ok() => result = field.write_integer(row, n),
                _ => {}
            }
        }
        result
    }

    fn value(&mut self, at: usize, place: usize) -> Option<Value<'_>> {
        let column = &self.columns.columns[at];
        let missing = match column {
            Column::Text(c) => &c.missing,
            Column::Integer(c) => &c.missing,
            _ => return None,
        };
        let is_missing = missing.get(self.missing[at]).is_some_and(|m| *m as usize == place);
        self.missing[at] += usize::from(is_missing);
        match column {
            Column::Text(c) => {
                let end = c.ends[place];
                let start = std::mem::replace(&mut self.starts[at], end);
                let bytes = &c.heap[start as usize..end as usize];
                // `check` has seen that the heap is UTF-8 and that ends are between characters.
                (!is_missing).then(|| Value::Text(std::str::from_utf8(bytes).unwrap_or_default()))
            }
            Column::Integer(c) => (!is_missing).then(|| Value::Integer(c.values[place])),
            _ => None,
        }
    }
}

enum Value<'a> {
    Text(&'a str),
    Integer(i64),
}

/// Tags and drops, each with its row; sorted by row, order kept within one.
struct Loose {
    patches: Patches,
    at: [usize; 3],
}

/// Those of one row.
struct LooseRow<'a> {
    more: &'a [(u32, String, String)],
    removed: &'a [(u32, String)],
    drops: &'a [(u32, String)],
}

impl Loose {
    fn new(mut patches: Patches) -> Loose {
        patches.more_tags.sort_by_key(|(row, ..)| *row);
        patches.removed_tags.sort_by_key(|(row, _)| *row);
        patches.drops.sort_by_key(|(row, _)| *row);
        Loose { patches, at: [0; 3] }
    }

    fn next_row(&self) -> Option<u32> {
        let p = &self.patches;
        let more = p.more_tags.get(self.at[0]).map(|(row, ..)| *row);
        let removed = p.removed_tags.get(self.at[1]).map(|(row, _)| *row);
        let drops = p.drops.get(self.at[2]).map(|(row, _)| *row);
        more.into_iter().chain(removed).chain(drops).min()
    }

    fn take(&mut self, row: u32) -> LooseRow<'_> {
        let p = &self.patches;
        let more = &p.more_tags[self.at[0]..];
        let removed = &p.removed_tags[self.at[1]..];
        let drops = &p.drops[self.at[2]..];
        let taken = LooseRow {
            more: &more[..more.iter().take_while(|(at, ..)| *at == row).count()],
            removed: &removed[..removed.iter().take_while(|(at, _)| *at == row).count()],
            drops: &drops[..drops.iter().take_while(|(at, _)| *at == row).count()],
        };
        self.at = [self.at[0] + taken.more.len(), self.at[1] + taken.removed.len(), self.at[2] + taken.drops.len()];
        taken
    }
}

impl LooseRow<'_> {
    fn is_empty(&self) -> bool {
        self.more.is_empty() && self.removed.is_empty() && self.drops.is_empty()
    }
    fn drops(&self) -> bool {
        !self.drops.is_empty()
    }
    fn only_drops(&self) -> bool {
        self.drops() && self.more.is_empty() && self.removed.is_empty()
    }
}
