//! Projection: the declared fields of the chosen rows, as columns. Texts are copied once, from the row into the column's
//! heap; the buffers stay with the worker from batch to batch.

use crate::contracts::{BatchRef, ColumnRef, IntegerColumnRef, TagRef, TextColumnRef};
use alertmill_core::fields::{FieldType, RuleField};
use std::borrow::Cow;

/// The columns of one hook.
#[derive(Default)]
pub(crate) struct Projection {
    columns: Vec<ColumnBuffer>,
    rows: u32,
}

enum ColumnBuffer {
    Text { ends: Vec<u32>, missing: Vec<u32>, heap: Vec<u8> },
    Integer { values: Vec<i64>, missing: Vec<u32> },
    Tags { heap: String, rows: Vec<Vec<TagSpan>> },
}

/// Ends of a tag's key and value in the heap; it starts where the one before ended.
struct TagSpan {
    key_end: usize,
    value_end: usize,
}

impl Projection {
    pub fn new<F: RuleField>(reads: &[F]) -> Projection {
        let columns = reads.iter().map(|field| match field.kind() {
            FieldType::Text => ColumnBuffer::Text { ends: Vec::new(), missing: Vec::new(), heap: Vec::new() },
            FieldType::Integer => ColumnBuffer::Integer { values: Vec::new(), missing: Vec::new() },
            FieldType::Tags => ColumnBuffer::Tags { heap: String::new(), rows: Vec::new() },
        });
        Projection { columns: columns.collect(), rows: 0 }
    }

    /// Fills the columns with the rows named by `chosen`; false as soon as their texts are longer than `bytes_max`. What is in
    /// the columns then is of no use.
    pub fn fill<F: RuleField>(&mut self, reads: &[F], rows: &[F::Row], chosen: &[u32], bytes_max: usize) -> bool {
        self.rows = chosen.len() as u32;
        let mut room = bytes_max;
        self.columns.iter_mut().zip(reads).all(|(column, field)| match column.fill(field, rows, chosen, room) {
            Some(bytes) => {
                room -= bytes;
                true
            }
            None => false,
        })
    }

    /// Lends the columns to a call.
    pub fn lend<R>(&self, call: impl FnOnce(BatchRef<'_>) -> R) -> R {
        let tags: Vec<Vec<Vec<TagRef<'_>>>> = self.columns.iter().map(ColumnBuffer::tag_rows).collect();
        let columns: Vec<ColumnRef<'_>> = self.columns.iter().zip(&tags).map(|(column, tags)| column.as_ref(tags)).collect();
        call(BatchRef { rows: self.rows, columns: &columns })
    }
}

impl ColumnBuffer {
    /// Bytes of text that it took; `None` when there is no room for them.
    fn fill<F: RuleField>(&mut self, field: &F, rows: &[F::Row], chosen: &[u32], room: usize) -> Option<usize> {
        match self {
            ColumnBuffer::Text { ends, missing, heap } => {
                ends.clear();
                missing.clear();
                heap.clear();
                for (at, index) in chosen.iter().enumerate() {
                    match field.text(&rows[*index as usize]) {
                        Some(text) => heap.extend_from_slice(text.as_bytes()),
                        None => missing.push(at as u32),
                    }
                    ends.push(heap.len() as u32);
                    if heap.len() > room {
                        return None;
                    }
                }
                Some(heap.len())
            }
            ColumnBuffer::Integer { values, missing } => {
                values.clear();
                missing.clear();
                for (at, index) in chosen.iter().enumerate() {
                    let value = field.integer(&rows[*index as usize]);
                    if value.is_none() {
                        missing.push(at as u32);
                    }
                    values.push(value.unwrap_or(0));
                }
                Some(0)
            }
            ColumnBuffer::Tags { heap, rows: spans } => {
                heap.clear();
                spans.truncate(chosen.len());
                spans.resize_with(chosen.len(), Vec::new);
                for (index, spans) in chosen.iter().zip(spans) {
                    spans.clear();
                    field.each_tag(&rows[*index as usize], |key, value| {
                        // A tag that is null has no text form, here as in a `tags.KEY` column.
                        let Some(value) = value.to_rule_text() else { return };
                        heap.push_str(key);
                        let key_end = heap.len();
                        heap.push_str(match &value {
                            Cow::Borrowed(text) => text,
                            Cow::Owned(text) => text,
                        });
                        spans.push(TagSpan { key_end, value_end: heap.len() });
                    });
                    if heap.len() > room {
                        return None;
                    }
                }
                Some(heap.len())
            }
        }
    }

    fn tag_rows(&self) -> Vec<Vec<TagRef<'_>>> {
        let ColumnBuffer::Tags { heap, rows } = self else { return Vec::new() };
        let mut start = 0;
        let mut tag = |span: &TagSpan| {
            let tag = TagRef { key: &heap[start..span.key_end], value: &heap[span.key_end..span.value_end] };
            start = span.value_end;
            tag
        };
        rows.iter().map(|spans| spans.iter().map(&mut tag).collect()).collect()
    }

    fn as_ref<'a>(&'a self, tags: &'a [Vec<TagRef<'a>>]) -> ColumnRef<'a> {
        match self {
            ColumnBuffer::Text { ends, missing, heap } => ColumnRef::Text(TextColumnRef { ends, missing, heap }),
            ColumnBuffer::Integer { values, missing } => ColumnRef::Integer(IntegerColumnRef { values, missing }),
            ColumnBuffer::Tags { .. } => ColumnRef::Tags(tags),
        }
    }
}
