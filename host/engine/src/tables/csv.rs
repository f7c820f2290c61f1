//! CSV as RFC 4180: commas, quotes doubled inside quotes, line breaks allowed inside quotes. Empty lines are skipped.

use super::rows::Rows;
use super::{COLUMNS_MAX, TableLimits, TableRefusal, invalid};
use std::borrow::Cow;

/// Rows of a text whose first line names the columns.
pub(super) fn rows(text: &str, key: Option<&str>, limits: TableLimits) -> Result<Rows, TableRefusal> {
    let mut reader = Reader { text, at: 0, line: 1 };
    let mut header = Vec::new();
    reader.record(|cell| {
        header.push(cell.into_owned());
        if header.len() > COLUMNS_MAX { Err(invalid(format!("more than {COLUMNS_MAX} columns"))) } else { Ok(()) }
    })?;
    let mut rows = Rows::new(header, key, limits, "line")?;
    while let Some(line) = reader.record(|cell| rows.cell(&cell))? {
        rows.end_row(line)?;
    }
    Ok(rows)
}

/// The first bytes of what an error repeats.
pub(super) fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Gives the cells of the next record, and the line where it begins; none at the end.
    fn record(&mut self, mut cell: impl FnMut(Cow<'a, str>) -> Result<(), TableRefusal>) -> Result<Option<usize>, TableRefusal> {
        while let Some(rest) = self.text[self.at..].strip_prefix("\r\n").or_else(|| self.text[self.at..].strip_prefix('\n')) {
            self.at = self.text.len() - rest.len();
            self.line += 1;
        }
        if self.at == self.text.len() {
            return Ok(None);
        }
        let line = self.line;
        loop {
            cell(self.cell()?)?;
            let rest = &self.text[self.at..];
            if rest.starts_with(',') {
                self.at += 1;
                continue;
            }
            self.at += rest.len().min(if rest.starts_with("\r\n") { 2 } else { 1 });
            self.line += 1;
            return Ok(Some(line));
        }
    }

    fn cell(&mut self) -> Result<Cow<'a, str>, TableRefusal> {
        let rest = &self.text[self.at..];
        if !rest.starts_with('"') {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            let cell = match rest[end..].starts_with(',') {
                true => &rest[..end],
                false => rest[..end].strip_suffix('\r').unwrap_or(&rest[..end]),
            };
            self.at += cell.len();
            // What is behind it is a comma or the end of the line: of a file that ends with a bare CR, that is its end.
            if self.text[self.at..] == *"\r" {
                self.at = self.text.len();
            }
            return Ok(Cow::Borrowed(cell));
        }
        let (mut cell, mut from) = (Cow::Borrowed(""), 1);
        loop {
            let Some(quote) = rest[from..].find('"') else { return Err(invalid(format!("line {}: a quote is not closed", self.line))) };
            let part = &rest[from..from + quote];
            if cell.is_empty() {
                cell = Cow::Borrowed(part)
            } else {
                cell.to_mut().push_str(part)
            }
            from += quote + 1;
            if !rest[from..].starts_with('"') {
                break;
            }
            cell.to_mut().push('"');
            from += 1;
        }
        let after = &rest[from..];
        if !(after.is_empty() || after.starts_with([',', '\n']) || after.starts_with("\r\n")) {
            return Err(invalid(format!("line {}: text after a closing quote", self.line)));
        }
        self.line += cell.matches('\n').count();
        self.at += from;
        Ok(cell)
    }
}
