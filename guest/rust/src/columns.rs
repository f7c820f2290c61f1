//! Reads columns row by row. Readers go forward only, so that a missing value costs one comparison, not a search.

use crate::Tag;
use crate::bindings::alertmill::rules::types::{IntegerColumn, TextColumn};

/// The positions without a value, in step with the rows.
pub(crate) struct Missing<'a> {
    next: u32,
    rest: std::slice::Iter<'a, u32>,
}

impl<'a> Missing<'a> {
    pub(crate) fn new(positions: &'a [u32]) -> Self {
        let mut rest = positions.iter();
        Missing { next: rest.next().copied().unwrap_or(u32::MAX), rest }
    }

    #[inline]
    pub(crate) fn contains(&mut self, row: u32) -> bool {
        if self.next != row {
            return false;
        }
        self.next = self.rest.next().copied().unwrap_or(u32::MAX);
        true
    }
}

/// Reads a text column.
pub struct TextReader<'a> {
    ends: std::slice::Iter<'a, u32>,
    heap: &'a [u8],
    start: usize,
    missing: Missing<'a>,
}

impl<'a> TextReader<'a> {
    pub(crate) fn new(column: &'a TextColumn) -> Self {
        TextReader { ends: column.ends.iter(), heap: &column.heap, start: 0, missing: Missing::new(&column.missing) }
    }

    #[inline]
    pub(crate) fn next(&mut self, row: u32) -> Option<&'a str> {
        let end = *self.ends.next()? as usize;
        let start = std::mem::replace(&mut self.start, end);
        if self.missing.contains(row) {
            return None;
        }
        let bytes = self.heap.get(start..end)?;
        // SAFETY: the host lowers columns from its own strings and puts an end after each whole one. Checking again costs
        // more than reading, and a host that lies could do worse than break a `str`.
        Some(unsafe { std::str::from_utf8_unchecked(bytes) })
    }
}

/// Reads an integer column.
pub struct IntegerReader<'a> {
    values: std::slice::Iter<'a, i64>,
    missing: Missing<'a>,
}

impl<'a> IntegerReader<'a> {
    pub(crate) fn new(column: &'a IntegerColumn) -> Self {
        IntegerReader { values: column.values.iter(), missing: Missing::new(&column.missing) }
    }

    #[inline]
    pub(crate) fn next(&mut self, row: u32) -> Option<i64> {
        let value = *self.values.next()?;
        (!self.missing.contains(row)).then_some(value)
    }
}

/// Reads the column of all tags.
pub struct TagsReader<'a> {
    rows: std::slice::Iter<'a, Vec<Tag>>,
}

impl<'a> TagsReader<'a> {
    pub(crate) fn new(column: &'a [Vec<Tag>]) -> Self {
        TagsReader { rows: column.iter() }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> &'a [Tag] {
        self.rows.next().map_or(&[], Vec::as_slice)
    }
}
