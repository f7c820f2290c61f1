//! What came back: checked as a whole first, so that nothing of a refused output is applied; then applied row by row, so
//! that a value which its field cannot hold fails that row alone.

use crate::contracts::{Column, Output, Patches, RowError};
use crate::failure::{CallFailure, FailureKind};
use crate::limits::{DROP_REASON_CHARS_MAX, Limit};
use crate::log::one_line;
use crate::manifest::HookPlan;
use alertmill_core::fields::{FieldType, RuleField, RuleRow, WriteError};
use alertmill_core::row::Dropped;
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

/// An output that may be applied.
pub(crate) struct Checked {
    rows: Vec<u32>,
    columns: Vec<CheckedColumn>,
    more_tags: Vec<(u32, String, String)>,
    removed_tags: Vec<(u32, String)>,
    drops: Vec<(u32, String)>,
    errors: Vec<RowError>,
}

/// A column of the type that its field takes: ends are on characters of the heap, `missing` is in range and ascending.
enum CheckedColumn {
    Text { ends: Vec<u32>, missing: Vec<u32>, heap: String },
    Integer { values: Vec<i64>, missing: Vec<u32> },
}

impl CheckedColumn {
    /// Bytes of its longest text.
    fn longest(&self) -> usize {
        let CheckedColumn::Text { ends, .. } = self else { return 0 };
        let mut start = 0;
        ends.iter().map(|end| (end - std::mem::replace(&mut start, *end)) as usize).max().unwrap_or(0)
    }
}

/// What an output holds, roughly, bytes.
pub(crate) fn bytes_of(output: &Output) -> usize {
    let of_column = |column: &Column| match column {
        Column::Text(text) => size_of_val(&*text.ends) + size_of_val(&*text.missing) + text.heap.len(),
        Column::Integer(integers) => size_of_val(&*integers.values) + size_of_val(&*integers.missing),
        // No field takes these.
        Column::Float(_) | Column::Boolean(_) | Column::Tags(_) => 0,
    };
    let patches = &output.patches;
    let tags = patches.more_tags.iter().map(|(_, key, value)| key.len() + value.len()).sum::<usize>();
    let loose = patches.removed_tags.iter().chain(&patches.drops).map(|(_, text)| text.len()).sum::<usize>();
    let errors = output.errors.iter().map(|error| error.message.len()).sum::<usize>();
    size_of_val(&*patches.rows) + patches.columns.iter().map(of_column).sum::<usize>() + tags + loose + errors
}

/// Checks an output of `rows` rows against what the hook declared.
pub(crate) fn check<F: RuleField>(plan: &HookPlan<F>, rows: u32, output: Output) -> Result<Checked, CallFailure> {
    let Output { patches, errors } = output;
    ascending(&patches.rows, rows, "patches.rows")?;
    if !plan.writes_tags && !patches.more_tags.is_empty() {
        return undeclared("it writes further tags, and `tags.*` is not in its `writes`");
    }
    let may_remove = |key: &str| plan.writes_tags || plan.writes.iter().any(|field| field.tag_key() == Some(key));
    if let Some((_, key)) = patches.removed_tags.iter().find(|(_, key)| !may_remove(key)) {
        return undeclared(&format!("it removes tag `{}`, and neither it nor `tags.*` is in its `writes`", shown(key)));
    }
    if !plan.drops && !patches.drops.is_empty() {
        return undeclared("it drops events, and `drop` is not in its `writes`");
    }
    let tagged = patches.more_tags.iter().map(|(row, ..)| *row).chain(patches.removed_tags.iter().map(|(row, _)| *row));
    in_range(tagged, rows, "a tag")?;
    in_range(patches.drops.iter().map(|(row, _)| *row), rows, "a drop")?;
    in_range(errors.iter().map(|e| e.row), rows, "an error")?;
    let Patches { rows, columns, more_tags, removed_tags, drops } = patches;
    let columns = check_columns(plan, columns, rows.len())?;
    Ok(Checked { rows, columns, more_tags, removed_tags, drops, errors })
}

fn check_columns<F: RuleField>(plan: &HookPlan<F>, columns: Vec<Column>, patched: usize) -> Result<Vec<CheckedColumn>, CallFailure> {
    if patched == 0 && columns.is_empty() {
        return Ok(Vec::new());
    }
    let (has, wanted) = (columns.len(), plan.writes.len());
    if has > wanted {
        return undeclared(&format!("it writes {has} columns, and its `writes` name {wanted}"));
    }
    if has < wanted {
        return output(format!("{has} columns for the {wanted} fields in its `writes`"));
    }
    let checked = plan.writes.iter().zip(columns).map(|(field, column)| {
        check_column(field, column, patched).map_err(|why| CallFailure::new(FailureKind::Output, format!("column `{}`: {why}", field.name())))
    });
    checked.collect()
}

fn check_column(field: &impl RuleField, column: Column, patched: usize) -> Result<CheckedColumn, String> {
    let is_integer = field.kind() == FieldType::Integer;
    let (len, checked) = match column {
        Column::Text(text) if !is_integer => {
            let heap = check_heap(&text.ends, text.heap)?;
            (text.ends.len(), CheckedColumn::Text { ends: text.ends, missing: text.missing, heap })
        }
        Column::Integer(integers) if is_integer => (integers.values.len(), CheckedColumn::Integer { values: integers.values, missing: integers.missing }),
        other => {
            let wanted = if is_integer { "integer" } else { "text" };
            return Err(format!("{} values, the field takes {wanted}", kind_of(&other)));
        }
    };
    if len != patched {
        return Err(format!("{len} values for {patched} patched rows"));
    }
    let missing = checked.missing();
    match missing.is_sorted_by(|a, b| a < b) && missing.last().is_none_or(|last| (*last as usize) < patched) {
        true => Ok(checked),
        false => Err("`missing` has to be ascending and within the patched rows".to_owned()),
    }
}

fn check_heap(ends: &[u32], heap: Vec<u8>) -> Result<String, String> {
    if ends.last().map_or(0, |end| *end as usize) != heap.len() || !ends.is_sorted() {
        return Err("`ends` have to rise to the end of the heap".to_owned());
    }
    let heap = String::from_utf8(heap).map_err(|e| format!("text is not UTF-8 at byte {} of the heap", e.utf8_error().valid_up_to()))?;
    match ends.iter().all(|end| heap.is_char_boundary(*end as usize)) {
        true => Ok(heap),
        false => Err("an end is in the middle of a character".to_owned()),
    }
}

impl CheckedColumn {
    fn missing(&self) -> &[u32] {
        let (CheckedColumn::Text { missing, .. } | CheckedColumn::Integer { missing, .. }) = self;
        missing
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

pub(crate) fn in_range(mut rows: impl Iterator<Item = u32>, count: u32, what: &str) -> Result<(), CallFailure> {
    match rows.find(|row| *row >= count) {
        None => Ok(()),
        Some(row) => Err(CallFailure::new(FailureKind::RowIndex, format!("{what}: row {row} of a batch of {count}"))),
    }
}

fn undeclared<T>(why: &str) -> Result<T, CallFailure> {
    Err(CallFailure::new(FailureKind::UndeclaredWrite, why))
}

fn output<T>(why: String) -> Result<T, CallFailure> {
    Err(CallFailure::new(FailureKind::Output, why))
}

fn shown(text: &str) -> String {
    one_line(text).chars().take(64).collect()
}

/// Applies a checked output to the rows that `chosen` names.
///
/// No row gets more than `event_bytes` of text: one that would fails alone.
pub(crate) fn apply<F: RuleField>(plan: &HookPlan<F>, event_bytes: usize, rule: &Text, rows: &mut [F::Row], chosen: &[u32], output: Checked) -> Applied {
    let mut applied = Applied::default();
    let Checked { rows: patched, columns, more_tags, removed_tags, drops, mut errors } = output;
    errors.sort_by_key(|e| e.row);
    errors.dedup_by_key(|e| e.row);
    for error in &errors {
        applied.failed.push((error.row, CallFailure::by_rule(&error.message)));
    }
    let mut more = Loose::new(more_tags, removed_tags, drops);
    let columns = Columns::new(plan, columns, event_bytes);
    let mut cursor = columns.cursor();
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
            Ok(written) => {
                applied.changed += u64::from(written || loose.tags());
                applied.dropped += u64::from(loose.drops());
            }
            Err(failure) => applied.failed.push((row, failure)),
        }
    }
    applied
}

/// Whether a value of a column was written.
fn apply_row<F: RuleField>(
    columns: &Columns<F>,
    cursor: &mut Cursor<F>,
    place: Option<usize>,
    loose: &LooseRow,
    rule: &Text,
    row: &mut F::Row,
) -> Result<bool, CallFailure> {
    let invalid = |why: String| CallFailure::new(FailureKind::PatchInvalid, why);
    // Nearly all patches are small texts and tags, which a field always takes. Only what might be refused half-way pays
    // for a copy to go back to.
    if columns.cannot_fail && loose.is_empty() && row.has_room_for_tags(columns.tag_columns) {
        return place.map_or(Ok(false), |place| cursor.write(place, row)).map_err(|e| invalid(e.to_string()));
    }
    let (bytes, max) = (loose.bytes() + place.map_or(0, |place| cursor.bytes_at(place)), columns.event_bytes);
    if bytes > max {
        place.inspect(|place| cursor.skip(*place));
        let why = format!("{bytes} bytes of text for one row; the rule may write {max}: write less, or raise limits.event_bytes");
        return Err(invalid(why).at(Limit::EventBytes));
    }
    let before = row.clone();
    let written = write_all(cursor, place, loose, rule, row).map_err(invalid);
    if written.is_err() {
        *row = before;
    }
    written
}

fn write_all<F: RuleField>(cursor: &mut Cursor<F>, place: Option<usize>, loose: &LooseRow, rule: &Text, row: &mut F::Row) -> Result<bool, String> {
    let mut written = false;
    // Removals first, so that a tag can be renamed or replaced in one patch.
    loose.removed.iter().for_each(|(_, key)| row.remove_tag(key));
    if let Some(place) = place {
        written = cursor.write(place, row).map_err(|e| e.to_string())?;
    }
    for (_, key, value) in loose.more {
        row.write_tag(key, value).map_err(|e| e.to_string())?;
    }
    for (_, reason) in loose.drops {
        let reason = one_line(reason);
        let chars = reason.chars().count();
        if !(1..=DROP_REASON_CHARS_MAX).contains(&chars) {
            return Err(format!("the reason of a drop has {chars} characters; it may have 1 to {DROP_REASON_CHARS_MAX}"));
        }
        row.drop_by(Dropped { rule: rule.clone(), reason: Text::new(reason) });
    }
    Ok(written)
}

/// The write columns, with what is known of all their values.
struct Columns<'a, F> {
    fields: &'a [F],
    columns: Vec<CheckedColumn>,
    tag_columns: usize,
    cannot_fail: bool,
    event_bytes: usize,
}

impl<'a, F: RuleField> Columns<'a, F> {
    fn new(plan: &'a HookPlan<F>, columns: Vec<CheckedColumn>, event_bytes: usize) -> Columns<'a, F> {
        let fields = plan.writes.as_slice();
        let tag_columns = fields.iter().filter(|field| field.tag_key().is_some()).count();
        let texts: usize = columns.iter().map(CheckedColumn::longest).sum();
        let cannot_fail = texts <= event_bytes && fields.iter().zip(&columns).all(|(field, column)| always_taken(field, column));
        Columns { fields, columns, tag_columns, cannot_fail, event_bytes }
    }

    fn cursor(&self) -> Cursor<'_, F> {
        let values = self.columns.iter().map(|column| ColumnCursor { column, start: 0, missing: column.missing() });
        Cursor { fields: self.fields, values: values.collect(), next: 0 }
    }
}

/// Whether a field takes every value of this column, whatever the row.
fn always_taken(field: &impl RuleField, column: &CheckedColumn) -> bool {
    match column {
        CheckedColumn::Integer { values, missing } => {
            values.iter().enumerate().all(|(at, n)| field.takes_integer(*n) || missing.binary_search(&(at as u32)).is_ok())
        }
        CheckedColumn::Text { .. } => field.takes_texts_of(column.longest()),
    }
}

/// Reads the columns forward, one patched row after the other.
struct Cursor<'a, F> {
    fields: &'a [F],
    values: Vec<ColumnCursor<'a>>,
    next: usize,
}

struct ColumnCursor<'a> {
    column: &'a CheckedColumn,
    start: usize,
    missing: &'a [u32],
}

impl<F: RuleField> Cursor<'_, F> {
    /// Texts for the row that comes next.
    fn bytes_at(&self, place: usize) -> usize {
        self.values.iter().map(|column| column.bytes_at(place)).sum()
    }

    fn skip(&mut self, place: usize) {
        for column in &mut self.values {
            let _ = column.next(place);
        }
        self.next = place + 1;
    }

    /// Whether there was a value to write. The SDK names each row that it has anything for, a drop too, in every column.
    fn write(&mut self, place: usize, row: &mut F::Row) -> Result<bool, WriteError> {
        debug_assert_eq!(self.next, place, "rows are patched in order");
        self.next = place + 1;
        let mut result = Ok(false);
        for (field, column) in self.fields.iter().zip(&mut self.values) {
            // After a refusal the cursor still has to pass the row's other values.
            match column.next(place) {
                Some(Value::Text(text)) if result.is_ok() => result = field.write_text(row, text).map(|()| true),
                Some(Value::Integer(n)) if result.is_ok() => result = field.write_integer(row, n).map(|()| true),
                _ => {}
            }
        }
        result
    }
}

impl<'a> ColumnCursor<'a> {
    fn bytes_at(&self, place: usize) -> usize {
        match self.column {
            CheckedColumn::Text { ends, .. } => ends[place] as usize - self.start,
            CheckedColumn::Integer { .. } => 0,
        }
    }

    #[inline]
    fn next(&mut self, place: usize) -> Option<Value<'a>> {
        let is_missing = match self.missing {
            [first, rest @ ..] if *first as usize == place => {
                self.missing = rest;
                true
            }
            _ => false,
        };
        match self.column {
            CheckedColumn::Text { ends, heap, .. } => {
                let end = ends[place] as usize;
                let start = std::mem::replace(&mut self.start, end);
                (!is_missing).then(|| Value::Text(&heap[start..end]))
            }
            CheckedColumn::Integer { values, .. } => (!is_missing).then(|| Value::Integer(values[place])),
        }
    }
}

enum Value<'a> {
    Text(&'a str),
    Integer(i64),
}

/// Tags and drops, each with its row; sorted by row, order kept within one.
struct Loose {
    more_tags: Vec<(u32, String, String)>,
    removed_tags: Vec<(u32, String)>,
    drops: Vec<(u32, String)>,
    at: [usize; 3],
}

/// Those of one row.
struct LooseRow<'a> {
    more: &'a [(u32, String, String)],
    removed: &'a [(u32, String)],
    drops: &'a [(u32, String)],
}

impl Loose {
    fn new(mut more_tags: Vec<(u32, String, String)>, mut removed_tags: Vec<(u32, String)>, mut drops: Vec<(u32, String)>) -> Loose {
        more_tags.sort_by_key(|(row, ..)| *row);
        removed_tags.sort_by_key(|(row, _)| *row);
        drops.sort_by_key(|(row, _)| *row);
        Loose { more_tags, removed_tags, drops, at: [0; 3] }
    }

    fn next_row(&self) -> Option<u32> {
        let more = self.more_tags.get(self.at[0]).map(|(row, ..)| *row);
        let removed = self.removed_tags.get(self.at[1]).map(|(row, _)| *row);
        let drops = self.drops.get(self.at[2]).map(|(row, _)| *row);
        more.into_iter().chain(removed).chain(drops).min()
    }

    fn take(&mut self, row: u32) -> LooseRow<'_> {
        let more = &self.more_tags[self.at[0]..];
        let removed = &self.removed_tags[self.at[1]..];
        let drops = &self.drops[self.at[2]..];
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
    fn bytes(&self) -> usize {
        self.more.iter().map(|(_, key, value)| key.len() + value.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.more.is_empty() && self.removed.is_empty() && self.drops.is_empty()
    }
    fn drops(&self) -> bool {
        !self.drops.is_empty()
    }
    fn tags(&self) -> bool {
        !self.more.is_empty() || !self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests;
