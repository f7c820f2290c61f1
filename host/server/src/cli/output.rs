//! Data on stdout: aligned tables on a terminal, tab-separated ones in a pipe, JSON as the API gives it.

use super::exit::Failure;
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; tab-separated when it is piped
    #[default]
    Table,
    /// One JSON document, as the API gives it
    Json,
    /// One JSON object a line
    Ndjson,
    /// Only the names or ids, one a line
    Name,
}

/// A column of a table: its head, and what stands in it.
pub struct Column {
    /// Head.
    pub head: &'static str,
    /// Cell of a row.
    pub cell: fn(&Value) -> String,
}

/// Writes to stdout.
pub struct Output {
    format: Format,
    is_terminal: bool,
    out: std::io::BufWriter<std::io::Stdout>,
}

impl Output {
    /// To stdout.
    pub fn new(format: Format) -> Output {
        Output { format, is_terminal: std::io::stdout().is_terminal(), out: std::io::BufWriter::new(std::io::stdout()) }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// One line of text, safe for a terminal.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{}", plain(text))?)
    }

    /// Text as it is.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    /// One JSON document; indented on a terminal.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        let text = if self.is_terminal { format!("{value:#}") } else { value.to_string() };
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Rows in the chosen format. `whole` is the API's answer of which they are the items.
    pub fn rows(&mut self, whole: &Value, rows: &[Value], columns: &[Column], name: fn(&Value) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(whole),
            Format::Ndjson => rows.iter().try_for_each(|row| Ok(writeln!(self.out, "{row}")?)),
            Format::Name => rows.iter().try_for_each(|row| self.line(&name(row))),
            Format::Table => self.table(rows, columns),
        }
    }

    fn table(&mut self, rows: &[Value], columns: &[Column]) -> Result<(), Failure> {
        let heads = columns.iter().map(|c| c.head.to_owned()).collect();
        let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows.iter().map(|row| columns.iter().map(|c| plain(&(c.cell)(row))).collect())).collect();
        let widths: Vec<usize> = (0..columns.len()).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
        for line in &lines {
            let text = if self.is_terminal {
                let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
                cells.join("  ").trim_end().to_owned()
            } else {
                line.join("\t")
            };
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }

    /// Everything must be out before the end.
    pub fn finish(mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

/// Text whose control characters cannot command a terminal or break a line.
pub fn plain(text: &str) -> String {
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if is_bad(c) { '\u{fffd}' } else { c }).collect()
}

/// As [`plain`], keeping line breaks.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// A member as text; nothing for null.
pub fn text(value: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(value, |value, key| value.get(key));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

/// Seconds since 1970 as RFC 3339.
pub fn seconds(value: &Value, path: &str) -> String {
    let stamp = value.get(path).and_then(Value::as_i64).and_then(|s| jiff::Timestamp::from_second(s).ok());
    stamp.map_or_else(String::new, |stamp| stamp.to_string())
}

/// Milliseconds since 1970 as RFC 3339.
pub fn milliseconds(value: &Value, path: &str) -> String {
    let stamp = value.get(path).and_then(Value::as_i64).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(String::new, |stamp| stamp.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_data_can_command_a_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\r\n\u{202e}c\u{9b}é"), "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}é");
    }

    #[test]
    fn members_are_found_by_path() {
        let value = serde_json::json!({"a": {"b": [1, "x"]}, "t": 1763800000, "n": null});
        assert_eq!((text(&value, "a.b"), text(&value, "n"), text(&value, "zz.y")), ("1,x".to_owned(), String::new(), String::new()));
        assert_eq!((seconds(&value, "t"), seconds(&value, "n")), ("2025-11-22T08:26:40Z".to_owned(), String::new()));
    }
}
