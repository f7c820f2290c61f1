//! Look-up tables: read once from CSV or JSON, then one read-only copy for all instances of all workers.
//!
//! A table has one form whatever it was read from: the key column first, the others by name, the rows by key, each by its bytes. So
//! content that says the same in another order has the same digest, and begins no generation.

mod csv;
mod json;
mod rows;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const COLUMNS_MAX: usize = 256;
/// Longest key that is looked up or stored, bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// A table. All cells are in one text, row by row, and the index holds row numbers only: what a look-up costs is misses of
/// the cache, and this way there are three instead of one for each key, row and cell.
pub struct Table {
    /// The key column first, then the others by name.
    columns: Vec<String>,
    index: Index,
    /// End of each cell in `heap`.
    ends: Vec<u32>,
    heap: String,
}

/// What content must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Lines of cells; the first line names the columns.
    Csv,
    /// A list of objects.
    Json,
    /// One object a line.
    Ndjson,
}

/// How large a table may be.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Rows.
    pub rows_max: usize,
    /// Bytes in memory, [`Table::bytes`].
    pub bytes_max: usize,
}

impl TableLimits {
    /// For content that was taken before: limits of today refuse nothing that is in force.
    pub const NONE: TableLimits = TableLimits { rows_max: usize::MAX, bytes_max: usize::MAX };
}

/// Why content is no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableRefusal {
    /// It cannot be read as one; the words say where and why.
    #[error("{0}")]
    Invalid(String),
    /// It is more than its limits allow.
    #[error("{0}")]
    TooLarge(String),
}

impl TableRefusal {
    /// Stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            TableRefusal::Invalid(_) => "table-invalid",
            TableRefusal::TooLarge(_) => "table-too-large",
        }
    }
}

fn invalid(why: impl Into<String>) -> TableRefusal {
    TableRefusal::Invalid(why.into())
}

/// Open addressing, at most half full. A slot is half of the key's hash and the number of its row plus one.
struct Index {
    hasher: RandomState,
    slots: Vec<(u32, u32)>,
}

/// Some columns of a table, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View(Box<[u32]>);

/// How often keys of a table were found and not found. It belongs to the table's name and outlives each content of it.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl LookUps {
    /// Adds what one call of a rule into the host looked up.
    pub fn add(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Relaxed);
        self.misses.fetch_add(misses, Relaxed);
    }

    /// Hits and misses so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }
}

/// A table as a rule has it.
#[derive(Clone)]
pub(crate) struct Granted {
    pub table: Arc<Table>,
    pub look_ups: Arc<LookUps>,
}

impl Table {
    /// Reads a table that was kept before, or one whose size is known: CSV, a list of JSON objects, or one object a line. The key
    /// column is `key`, or the first. `Err` says which line and why.
    pub fn parse(bytes: &[u8], key: Option<&str>) -> Result<Table, TableRefusal> {
        Table::read(bytes, key, None, TableLimits::NONE)
    }

    /// The same within limits; with a format it must look like that.
    pub fn read(bytes: &[u8], key: Option<&str>, format: Option<TableFormat>, limits: TableLimits) -> Result<Table, TableRefusal> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|e| invalid(format!("it is not UTF-8 at byte {}", e.valid_up_to())))?;
        let found = TableFormat::of(text).ok_or_else(|| invalid("it is empty; a header line or one object is needed"))?;
        if let Some(wanted) = format.filter(|wanted| *wanted != found) {
            return Err(invalid(format!("it looks like {}, not {}", found.name(), wanted.name())));
        }
        let rows = match found {
            TableFormat::Csv => csv::rows(text, key, limits)?,
            TableFormat::Json | TableFormat::Ndjson => json::rows(text, key, found, limits)?,
        };
        rows.into_table()
    }

    /// A table of rows in order, each key once.
    fn of_rows(columns: Vec<String>, ends: Vec<u32>, heap: String) -> Table {
        let rows = ends.len() / columns.len();
        let mut table = Table { index: Index::for_rows(rows), columns, ends, heap };
        for row in 0..rows {
            let key = table.cell(row * table.columns.len());
            let half = table.index.hash(key) as u32;
            if let Err(slot) = table.find(key) {
                table.index.slots[slot] = (half, row as u32 + 1);
            }
        }
        table
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len() / self.columns.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        rows::bytes(self.heap.len(), self.ends.len(), self.len())
    }

    /// Names of its columns: the key first, then by name.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The row of a key: columns and cells.
    pub fn row(&self, key: &str) -> Option<Vec<(&str, &str)>> {
        let first = self.find(key).ok()? * self.columns.len();
        Some(self.columns.iter().enumerate().map(|(at, column)| (column.as_str(), self.cell(first + at))).collect())
    }

    /// Its one form: CSV, every cell quoted. It says itself which column is the key, and reads back as the same table.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut csv = String::with_capacity(self.heap.len() + 3 * (self.ends.len() + self.columns.len()) + self.columns.iter().map(String::len).sum::<usize>());
        let cells = self.columns.iter().map(String::as_str).chain((0..self.ends.len()).map(|at| self.cell(at)));
        for (at, cell) in cells.enumerate() {
            csv.push('"');
            for (i, part) in cell.split('"').enumerate() {
                csv.push_str(if i == 0 { "" } else { "\"\"" });
                csv.push_str(part);
            }
            csv.push_str(if (at + 1).is_multiple_of(self.columns.len()) { "\"\n" } else { "\"," });
        }
        csv.into_bytes()
    }

    /// The view of these columns.
    pub(crate) fn view(&self, columns: &[String]) -> Result<View, String> {
        if columns.is_empty() || columns.len() > COLUMNS_MAX {
            return Err(format!("{} columns asked for; it may be 1 to {COLUMNS_MAX}", columns.len()));
        }
        // Otherwise a small table could be made to answer many times its size.
        if let Some((_, twice)) = columns.iter().enumerate().find(|(i, c)| columns[..*i].contains(c)) {
            return Err(format!("column `{}` is asked for twice", twice.escape_debug()));
        }
        let position = |name: &String| {
            let unknown = || format!("no column `{}`; there are {}", name.escape_debug(), self.columns.join(", "));
            self.columns.iter().position(|c| c == name).map(|at| at as u32).ok_or_else(unknown)
        };
        columns.iter().map(position).collect::<Result<_, _>>().map(View)
    }

    /// The cells of a key's row, as a view orders them.
    pub(crate) fn get<'a>(&'a self, view: &'a View, key: &str) -> Option<impl Iterator<Item = &'a str>> {
        let first = self.find(key).ok()? * self.columns.len();
        Some(view.0.iter().map(move |column| self.cell(first + *column as usize)))
    }

    /// The row of a key, or the free slot where it would be.
    fn find(&self, key: &str) -> Result<usize, usize> {
        let hash = self.index.hash(key);
        let mask = self.index.slots.len() - 1;
        let mut slot = (hash >> 32) as usize & mask;
        loop {
            match self.index.slots[slot] {
                (_, 0) => return Err(slot),
                (half, row) if half == hash as u32 && self.cell((row as usize - 1) * self.columns.len()) == key => return Ok(row as usize - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    #[inline]
    fn cell(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.heap[start as usize..self.ends[at] as usize]
    }
}

impl TableFormat {
    /// What a text looks like, by its first sign; none when it is empty.
    fn of(text: &str) -> Option<TableFormat> {
        Some(match text.trim_start().as_bytes().first()? {
            b'[' => TableFormat::Json,
            b'{' => TableFormat::Ndjson,
            _ => TableFormat::Csv,
        })
    }

    fn name(self) -> &'static str {
        match self {
            TableFormat::Csv => "CSV",
            TableFormat::Json => "a JSON list",
            TableFormat::Ndjson => "one JSON object a line",
        }
    }
}

impl Index {
    fn for_rows(rows: usize) -> Index {
        Index { hasher: RandomState::new(), slots: vec![(0, 0); Index::slots(rows)] }
    }

    fn slots(rows: usize) -> usize {
        (rows * 2).next_power_of_two().max(2)
    }

    fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }
}

impl View {
    /// Number of columns.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests;
