//! Rows as they are read, counted against the limits while they come, and then brought into the table's one form.

use super::{COLUMNS_MAX, Index, KEY_BYTES_MAX, Table, TableLimits, TableRefusal, invalid};

/// Rows in the order of the source. Cells are in one text here too: many short cells take no more than they do in the table.
pub(super) struct Rows {
    columns: Vec<String>,
    /// Which of them is looked up.
    key: usize,
    limits: TableLimits,
    /// What a row's number counts: `line` or `object`.
    place: &'static str,
    /// Number of each row in the source.
    places: Vec<u32>,
    ends: Vec<u32>,
    heap: String,
}

/// Bytes of a table in memory: cells, their ends, the index.
pub(super) fn bytes(heap: usize, cells: usize, rows: usize) -> usize {
    heap + cells * size_of::<u32>() + Index::slots(rows) * size_of::<(u32, u32)>()
}

impl Rows {
    /// None yet. The key column is `key`, or the first.
    pub fn new(columns: Vec<String>, key: Option<&str>, limits: TableLimits, place: &'static str) -> Result<Rows, TableRefusal> {
        if columns.is_empty() || columns.len() > COLUMNS_MAX {
            return Err(invalid(format!("{} columns; it may have 1 to {COLUMNS_MAX}", columns.len())));
        }
        if let Some(twice) = columns.iter().enumerate().find(|(i, c)| columns[..*i].contains(c)) {
            return Err(invalid(format!("column `{}` is there twice", twice.1.escape_debug())));
        }
        let unknown = |name: &str| {
            let names: Vec<String> = columns.iter().map(|column| column.escape_debug().to_string()).collect();
            invalid(format!("key column `{name}` is not among {}", super::csv::head(&names.join(", "))))
        };
        let key = match key {
            None => 0,
            Some(name) => columns.iter().position(|c| c == name).ok_or_else(|| unknown(name))?,
        };
        Ok(Rows { columns, key, limits, place, places: Vec::new(), ends: Vec::new(), heap: String::new() })
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The next cell of the row that is being read.
    pub fn cell(&mut self, cell: &str) -> Result<(), TableRefusal> {
        self.heap.push_str(cell);
        let end = u32::try_from(self.heap.len()).map_err(|_| TableRefusal::TooLarge("its cells are more than 4 GiB".to_owned()))?;
        self.ends.push(end);
        Ok(())
    }

    /// The row that ends here began at `place` of the source.
    pub fn end_row(&mut self, place: usize) -> Result<(), TableRefusal> {
        let at = |why: String| invalid(format!("{} {place}: {why}", self.place));
        let cells = self.ends.len() - self.places.len() * self.width();
        if cells != self.width() {
            return Err(at(format!("{cells} cells, the header has {}", self.width())));
        }
        self.places.push(u32::try_from(place).unwrap_or(u32::MAX));
        let key = self.key_of(self.places.len() - 1);
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(at(format!("the key has {} bytes; it may have 1 to {KEY_BYTES_MAX}", key.len())));
        }
        let rows_max = self.limits.rows_max.min(u32::MAX as usize - 1);
        if self.places.len() > rows_max {
            return Err(TableRefusal::TooLarge(format!("it has more than {rows_max} rows (rows_max)")));
        }
        if bytes(self.heap.len(), self.ends.len(), self.places.len()) > self.limits.bytes_max {
            return Err(TableRefusal::TooLarge(format!("it takes more than {} bytes of memory (size_max)", self.limits.bytes_max)));
        }
        Ok(())
    }

    /// The table: columns and rows in their one order.
    pub fn into_table(self) -> Result<Table, TableRefusal> {
        let mut order: Vec<u32> = (0..self.places.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.key_of(*a as usize).cmp(self.key_of(*b as usize)).then(a.cmp(b)));
        let twice = order.windows(2).filter(|two| self.key_of(two[0] as usize) == self.key_of(two[1] as usize)).map(|two| two[1]).min();
        if let Some(row) = twice {
            let (place, key) = (self.places[row as usize], self.key_of(row as usize));
            return Err(invalid(format!("{} {place}: key `{}` is there twice", self.place, super::csv::head(&key.escape_debug().to_string()))));
        }
        let mut columns: Vec<usize> = (0..self.width()).collect();
        columns.sort_unstable_by(|a, b| (*a != self.key, &self.columns[*a]).cmp(&(*b != self.key, &self.columns[*b])));
        let (mut heap, mut ends) = (String::with_capacity(self.heap.len()), Vec::with_capacity(self.ends.len()));
        for row in order {
            for column in &columns {
                heap.push_str(self.at(row as usize * self.width() + column));
                ends.push(heap.len() as u32);
            }
        }
        Ok(Table::of_rows(columns.iter().map(|column| self.columns[*column].clone()).collect(), ends, heap))
    }

    fn key_of(&self, row: usize) -> &str {
        self.at(row * self.width() + self.key)
    }

    fn at(&self, cell: usize) -> &str {
        let start = if cell == 0 { 0 } else { self.ends[cell - 1] };
        &self.heap[start as usize..self.ends[cell] as usize]
    }
}
