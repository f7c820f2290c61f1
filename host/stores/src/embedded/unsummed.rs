//! What has no checksums: the schema, the counts of dead letters, the rows of what waits for services. All of it says again
//! what rows with checksums say, so it is compared with them. Whatever is found here, a state that is made again has it right.

use super::SCHEMA;
use super::check::FINDINGS_MAX;
use rusqlite::{Connection, Row};
use std::collections::BTreeMap;

/// Gives what is wrong.
type Look = fn(&Connection) -> rusqlite::Result<Vec<String>>;

/// What is wrong, each with its table; at most [`FINDINGS_MAX`] of a kind.
pub(super) fn check(connection: &Connection) -> Vec<String> {
    let looks: [(&str, Look); 3] = [("sqlite_master", check_schema), ("dead_letter_counts", check_letter_counts), ("outbox", check_outbox)];
    let mut findings = Vec::new();
    for (table, look) in looks {
        match look(connection) {
            Ok(found) => findings.extend(found.into_iter().take(FINDINGS_MAX)),
            Err(error) => findings.push(format!("{table}: {error}")),
        }
    }
    findings
}

/// A name with a turned bit is met by the first statement that uses it, which may be long after the start.
fn check_schema(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let written = Connection::open_in_memory()?;
    written.execute_batch(SCHEMA)?;
    let found = schema(connection)?;
    let differs = schema(&written)?.into_iter().filter(|(name, (of, sql))| found.get(name) != Some(&(of.clone(), sql.clone())));
    Ok(differs.map(|(name, _)| format!("{name}: what the schema says of it is not what was written")).collect())
}

/// Tables and indexes by name, each with its table and its statement without comments.
fn schema(connection: &Connection) -> rusqlite::Result<BTreeMap<String, (String, String)>> {
    let text =
        |row: &Row<'_>, i: usize| Ok::<_, rusqlite::Error>(String::from_utf8_lossy(row.get_ref(i)?.as_bytes_or_null()?.unwrap_or_default()).into_owned());
    let mut all = connection.prepare("SELECT name, tbl_name, sql FROM sqlite_master")?;
    let line = |row: &Row<'_>| {
        let sql = text(row, 2)?;
        let lines = sql.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
        Ok((text(row, 0)?, (text(row, 1)?, lines.collect::<Vec<_>>().join("\n"))))
    };
    all.query_map([], line)?.collect()
}

/// A count that is too high lets letters go that need not, one that is too low keeps too many; a negative one refuses commits.
fn check_letter_counts(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut letters = connection.prepare("SELECT source, count(*), sum(length(item)) FROM dead_letters GROUP BY source")?;
    let there = |row: &Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)));
    let mut there: BTreeMap<String, (i64, i64)> = letters.query_map([], there)?.collect::<Result<_, _>>()?;
    let mut counts = connection.prepare("SELECT source, kept, dropped, bytes FROM dead_letter_counts")?;
    let mut counts = counts.query([])?;
    let mut findings = Vec::new();
    while let Some(row) = counts.next()? {
        let (source, kept, dropped, bytes): (String, i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let (letters, letter_bytes) = there.remove(&source).unwrap_or_default();
        if (kept, bytes) != (letters, letter_bytes) {
            findings.push(format!("dead_letter_counts: {source} is to have {kept} letters of {bytes} bytes, there are {letters} of {letter_bytes}"));
        }
        if dropped < 0 {
            findings.push(format!("dead_letter_counts: {dropped} letters of {source} went for newer ones"));
        }
    }
    findings.extend(there.into_iter().map(|(source, (letters, _))| format!("dead_letter_counts: {source} is not there and has {letters} letters")));
    Ok(findings)
}

/// A row that names no alert, or a revision that its alert never had, would wait for ever, and all behind it.
fn check_outbox(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut wrong = connection.prepare(
        "SELECT outbox.service, outbox.seq, outbox.revision FROM outbox LEFT JOIN alerts ON alerts.seq = outbox.seq
         WHERE alerts.seq IS NULL OR outbox.revision NOT BETWEEN 0 AND alerts.revision OR since < 0 OR service NOT IN (1, 2) LIMIT ?1",
    )?;
    let line = |row: &Row<'_>| {
        let (service, seq, revision): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("outbox: revision {revision} of alert {seq} cannot wait for service {service}"))
    };
    wrong.query_map([FINDINGS_MAX], line)?.collect()
}
