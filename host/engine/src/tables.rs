//! Look-up tables: read once from CSV or JSON, then one read-only copy for all instances of all workers.

use std::hash::{BuildHasher, RandomState};

const COLUMNS_MAX: usize = 256;
/// Longest key that is looked up or stored, bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// A table. All cells are in one text, row by row, and the index holds row numbers only: what a look-up costs is misses of
/// the cache, and this way there are three instead of one for each key, row and cell.
pub struct Table {
    columns: Vec<String>,
    key: usize,
    index: Index,
    /// End of each cell in `heap`.
    ends: Vec<u32>,
    heap: String,
}

/// Open addressing, at most half full. A slot is half of the key's hash and the number of its row plus one.
struct Index {
    hasher: RandomState,
    slots: Vec<(u32, u32)>,
}

/// Some columns of a table, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View(Box<[u32]>);

impl Table {
    /// Reads CSV with a header line, a JSON array of objects, or one JSON object a line. The key column is `key`, or the
    /// first. `Err` says which line and why.
    pub fn parse(bytes: &[u8], key: Option<&str>) -> Result<Table, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8 at byte {}", e.valid_up_to()))?;
        let (columns, records) = match text.trim_start().as_bytes().first() {
            None => return Err("it is empty; a header line or one object is needed".to_owned()),
            Some(b'[' | b'{') => from_json(text)?,
            Some(_) => from_csv(text)?,
        };
        Table::build(columns, records, key)
    }

    fn build(columns: Vec<String>, records: Vec<Record>, key: Option<&str>) -> Result<Table, String> {
        if columns.is_empty() || columns.len() > COLUMNS_MAX {
            return Err(format!("{} columns; it may have 1 to {COLUMNS_MAX}", columns.len()));
        }
        if let Some(twice) = columns.iter().enumerate().find(|(i, c)| columns[..*i].contains(c)) {
            return Err(format!("column `{}` is there twice", twice.1));
        }
        let key = match key {
            None => 0,
            Some(name) => columns.iter().position(|c| c == name).ok_or_else(|| format!("key column `{name}` is not among {}", columns.join(", ")))?,
        };
        let mut table = Table { index: Index::for_rows(records.len()), key, ends: Vec::new(), heap: String::new(), columns };
        for (at, record) in records.into_iter().enumerate() {
            let found = &record.cells[key];
            if found.is_empty() || found.len() > KEY_BYTES_MAX {
                return Err(format!("line {}: the key has {} bytes; it may have 1 to {KEY_BYTES_MAX}", record.line, found.len()));
            }
            let Err(slot) = table.find(found) else { return Err(format!("line {}: key `{found}` is there twice", record.line)) };
            table.index.slots[slot] = (table.index.hash(found) as u32, at as u32 + 1);
            for cell in record.cells {
                table.heap.push_str(&cell);
                table.ends.push(u32::try_from(table.heap.len()).map_err(|_| format!("line {}: the table is larger than 4 GiB", record.line))?);
            }
        }
        Ok(table)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len() / self.columns.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Names of its columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The table as CSV with the key column first, every cell quoted: a form that says itself which column is the key.
    pub fn to_csv(&self) -> Vec<u8> {
        let order: Vec<usize> = std::iter::once(self.key).chain((0..self.columns.len()).filter(|at| *at != self.key)).collect();
        let mut csv = String::with_capacity(self.heap.len() * 2);
        let mut line = |cell: &dyn Fn(usize) -> String| {
            let cells: Vec<String> = order.iter().map(|at| format!("\"{}\"", cell(*at).replace('"', "\"\""))).collect();
            csv.push_str(&cells.join(","));
            csv.push('\n');
        };
        line(&|at| self.columns[at].clone());
        for row in 0..self.len() {
            line(&|at| self.cell(row * self.columns.len() + at).to_owned());
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
                (half, row) if half == hash as u32 && self.cell((row as usize - 1) * self.columns.len() + self.key) == key => return Ok(row as usize - 1),
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

impl Index {
    fn for_rows(rows: usize) -> Index {
        Index { hasher: RandomState::new(), slots: vec![(0, 0); (rows * 2).next_power_of_two().max(2)] }
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

struct Record {
    line: usize,
    cells: Vec<String>,
}

fn from_csv(text: &str) -> Result<(Vec<String>, Vec<Record>), String> {
    let mut reader = Csv { text, at: 0, line: 1 };
    let header = reader.record()?.map(|r| r.cells).unwrap_or_default();
    let mut records = Vec::new();
    while let Some(record) = reader.record()? {
        if record.cells.len() != header.len() {
            return Err(format!("line {}: {} cells, the header has {}", record.line, record.cells.len(), header.len()));
        }
        records.push(record);
    }
    Ok((header, records))
}

/// CSV as RFC 4180: commas, quotes doubled inside quotes, line breaks allowed inside quotes. Empty lines are skipped.
struct Csv<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Csv<'_> {
    fn record(&mut self) -> Result<Option<Record>, String> {
        while let Some(rest) = self.text[self.at..].strip_prefix("\r\n").or_else(|| self.text[self.at..].strip_prefix('\n')) {
            self.at = self.text.len() - rest.len();
            self.line += 1;
        }
        if self.at == self.text.len() {
            return Ok(None);
        }
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            cells.push(self.cell()?);
            let rest = &self.text[self.at..];
            if rest.starts_with(',') {
                self.at += 1;
                continue;
            }
            self.at += rest.len().min(if rest.starts_with("\r\n") { 2 } else { 1 });
            self.line += 1;
            return Ok(Some(Record { line, cells }));
        }
    }

    fn cell(&mut self) -> Result<String, String> {
        let rest = &self.text[self.at..];
        if !rest.starts_with('"') {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            let cell = rest[..end].strip_suffix('\r').unwrap_or(&rest[..end]);
            self.at += cell.len();
            return Ok(cell.to_owned());
        }
        let (mut cell, mut from) = (String::new(), 1);
        loop {
            let Some(quote) = rest[from..].find('"') else { return Err(format!("line {}: a quote is not closed", self.line)) };
            cell.push_str(&rest[from..from + quote]);
            from += quote + 1;
            if !rest[from..].starts_with('"') {
                break;
            }
            cell.push('"');
            from += 1;
        }
        let after = &rest[from..];
        if !(after.is_empty() || after.starts_with([',', '\n']) || after.starts_with("\r\n")) {
            return Err(format!("line {}: text after a closing quote", self.line));
        }
        self.line += cell.matches('\n').count();
        self.at += from;
        Ok(cell)
    }
}

fn from_json(text: &str) -> Result<(Vec<String>, Vec<Record>), String> {
    type Object = serde_json::Map<String, serde_json::Value>;
    let mut objects: Vec<(usize, Object)> = Vec::new();
    if text.trim_start().starts_with('[') {
        let list: Vec<Object> = serde_json::from_str(text).map_err(|e| format!("wanted is a list of objects: {e}"))?;
        objects.extend(list.into_iter().enumerate().map(|(i, object)| (i + 1, object)));
    } else {
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            objects.push((i + 1, serde_json::from_str(line).map_err(|e| format!("line {}: wanted is one object a line: {e}", i + 1))?));
        }
    }
    let Some((_, first)) = objects.first() else { return Err("it has no object, so no columns".to_owned()) };
    let columns: Vec<String> = first.keys().cloned().collect();
    let mut records = Vec::with_capacity(objects.len());
    for (line, mut object) in objects {
        let cells = columns.iter().map(|column| match object.remove(column) {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text)) => text,
            Some(other) => other.to_string(),
        });
        let cells = cells.collect();
        if let Some(more) = object.keys().next() {
            return Err(format!("object {line}: `{more}` is not among the columns of the first object"));
        }
        records.push(Record { line, cells });
    }
    Ok((columns, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_form_has_the_key_first_and_reads_back() {
        let table = Table::parse(b"owner,host\n\"a \"\"b\"\"\",h1\n\"x,\ny\",h2\n", Some("host")).expect("a table");
        let csv = table.to_csv();
        assert_eq!(String::from_utf8_lossy(&csv), "\"host\",\"owner\"\n\"h1\",\"a \"\"b\"\"\"\n\"h2\",\"x,\ny\"\n");
        let again = Table::parse(&csv, None).expect("its own form");
        let view = again.view(&["owner".to_owned()]).expect("the column");
        assert_eq!(again.get(&view, "h2").expect("the row").collect::<Vec<_>>(), ["x,\ny"]);
    }

    fn row(table: &Table, columns: &[&str], key: &str) -> Option<Vec<String>> {
        let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
        let view = table.view(&columns).unwrap();
        table.get(&view, key).map(|row| row.map(str::to_owned).collect())
    }

    #[test]
    fn csv_with_quotes_and_crlf() {
        let table = Table::parse(b"host,owner,note\r\nweb-1,\"Li, Na\",\"says \"\"hi\"\"\nthere\"\r\n\r\nweb-2,Bo,\r\n", None).unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(row(&table, &["note", "owner"], "web-1"), Some(vec!["says \"hi\"\nthere".into(), "Li, Na".into()]));
        assert_eq!(row(&table, &["owner", "note"], "web-2"), Some(vec!["Bo".into(), String::new()]));
        assert_eq!(row(&table, &["owner"], "web-3"), None);
    }

    #[test]
    fn json_list_and_lines_give_the_same_table() {
        for text in ["[{\"host\":\"a\",\"n\":1},{\"host\":\"b\",\"n\":null}]", "{\"host\":\"a\",\"n\":1}\n\n{\"host\":\"b\"}\n"] {
            let table = Table::parse(text.as_bytes(), Some("host")).unwrap();
            assert_eq!(row(&table, &["n"], "a"), Some(vec!["1".into()]), "{text}");
            assert_eq!(row(&table, &["n"], "b"), Some(vec![String::new()]), "{text}");
        }
    }

    #[test]
    fn faults_name_their_line() {
        for (text, says) in [
            ("", "empty"),
            ("a,b\n1\n", "line 2: 1 cells, the header has 2"),
            ("a,b\n1,2\n1,3\n", "line 3: key `1` is there twice"),
            ("a,a\n", "column `a` is there twice"),
            ("a\n\"x\n", "line 2: a quote is not closed"),
            ("a\n\"x\"y\n", "line 2: text after"),
            ("a,b\n,2\n", "line 2: the key has 0 bytes"),
            ("[{\"a\":1},{\"b\":1}]", "object 2: `b` is not among"),
            ("[]", "no object"),
        ] {
            let why = Table::parse(text.as_bytes(), None).err().unwrap_or_default();
            assert!(why.contains(says), "{text:?} -> {why}");
        }
        assert!(Table::parse(b"a\n1\n", Some("b")).is_err());
        assert!(Table::parse(b"\xff", None).is_err());
    }

    #[test]
    fn an_unknown_column_is_an_error_that_lists_the_known() {
        let table = Table::parse(b"host,owner\na,b\n", None).unwrap();
        assert_eq!(table.view(&["nope".to_owned()]).err().unwrap(), "no column `nope`; there are host, owner");
        assert_eq!(table.view(&["owner", "host", "owner"].map(str::to_owned)).err().unwrap(), "column `owner` is asked for twice");
    }
}
