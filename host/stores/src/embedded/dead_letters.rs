//! Dead letters: written with their commit, bounded per source in number and bytes (I9), listed without their items.

use super::checksum::{LetterParts, checked};
use super::read::{EmbeddedReader, storable};
use super::{EmbeddedStore, noted_error};
use crate::durable::StoreError;
use alertmill_core::letter::{Arrival, DeadLetter};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Params, Row, params};

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Cursor of the list; rises.
    pub id: u64,
    /// Its record.
    pub ordinal: u64,
    /// Its place in the record.
    pub index: u32,
    /// Milliseconds.
    pub received_at_ms: i64,
    /// Tenant.
    pub tenant: String,
    /// Source.
    pub source: String,
    /// Stable code.
    pub code: String,
    /// What was wrong.
    pub detail: String,
    /// Bytes of the item.
    pub bytes: u64,
    /// How it came; none for what cannot be tried again.
    pub arrival: Option<Arrival>,
    /// The item as it was sent; lists leave it out.
    pub item: Option<Vec<u8>>,
}

/// What is kept for one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadLetterBounds {
    pub count: u64,
    pub bytes: u64,
}

const COLUMNS: &str = "id, ordinal, item_index, received_at_ms, tenant, source, code, detail, length(item), sum, arrival";

impl EmbeddedReader {
    /// Dead letters without their items, of one source or all, of one code or all, with ids above `after`.
    pub fn dead_letters(&self, source: Option<&str>, code: Option<&str>, after: u64, limit: usize) -> Result<Vec<DeadLetterRow>, StoreError> {
        self.read("list dead letters", |connection| {
            let of_source = if source.is_some() { "source = ?3" } else { "?3 IS NULL" };
            let mut list = connection.prepare_cached(&format!(
                "SELECT {COLUMNS}, NULL FROM dead_letters WHERE {of_source} AND id > ?1 AND (?4 IS NULL OR code = ?4) ORDER BY id LIMIT ?2"
            ))?;
            list.query_map(params![storable(after), limit, source, code], dead_letter)?.collect()
        })
    }

    /// One dead letter, with its item.
    pub fn dead_letter(&self, id: u64) -> Result<Option<DeadLetterRow>, StoreError> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        self.read("read a dead letter", |connection| {
            let mut one = connection.prepare_cached(&format!("SELECT {COLUMNS}, item FROM dead_letters WHERE id = ?1"))?;
            one.query_row([id], dead_letter).optional()
        })
    }

    /// The ids of the letters of these places, in their order: record, and place in it.
    pub fn dead_letters_of(&self, places: &[(u64, u32)]) -> Result<Vec<Option<u64>>, StoreError> {
        self.read("find dead letters", |connection| {
            let mut find =
                connection.prepare_cached("SELECT id FROM dead_letters WHERE ordinal = ?1 AND item_index = ?2 AND arrival <> '' ORDER BY id DESC")?;
            places.iter().map(|(ordinal, index)| find.query_row(params![storable(*ordinal), index], |row| row.get(0)).optional()).collect()
        })
    }

    /// Per source: dead letters kept, and those that went for newer ones.
    pub fn dead_letter_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        self.read("count dead letters", |connection| {
            let mut all = connection.prepare_cached("SELECT source, kept, dropped FROM dead_letter_counts")?;
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
    }
}

impl EmbeddedStore {
    /// Removes dead letters by id. Gives the number removed.
    pub fn remove_dead_letters(&mut self, ids: &[u64]) -> Result<usize, StoreError> {
        let remove = |connection: &mut Connection| -> rusqlite::Result<usize> {
            let transaction = connection.transaction()?;
            let mut removed = 0;
            for id in ids.iter().filter_map(|id| i64::try_from(*id).ok()) {
                removed += remove(&transaction, "id = ?1", [id])?;
            }
            transaction.commit()?;
            Ok(removed)
        };
        remove(&mut self.connection).map_err(noted_error("remove dead letters", &self.path))
    }
}

/// Removes those of these places that are there.
pub(super) fn remove_done(connection: &Connection, places: &[(u64, u32)]) -> rusqlite::Result<()> {
    places.iter().try_for_each(|(ordinal, index)| remove(connection, "ordinal = ?1 AND item_index = ?2 AND arrival <> ''", params![ordinal, index]).map(drop))
}

/// Removes letters and counts them no more; gives how many.
fn remove(connection: &Connection, which: &str, of: impl Params) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached(&format!("DELETE FROM dead_letters WHERE {which} RETURNING source, length(item)"))?;
    let gone: Vec<(String, u64)> = delete.query_map(of, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (source, bytes) in &gone {
        connection.prepare_cached("UPDATE dead_letter_counts SET kept = kept - 1, bytes = bytes - ?2 WHERE source = ?1")?.execute(params![source, bytes])?;
    }
    Ok(gone.len())
}

/// Writes the letters of a commit, and removes what they leave no room for.
pub(super) fn write(connection: &Connection, letters: &[DeadLetter], kept_max: DeadLetterBounds) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO dead_letters (ordinal, item_index, received_at_ms, tenant, source, code, detail, item, sum, arrival)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut sources: Vec<(&str, u64, u64)> = Vec::new();
    for letter in letters {
        let arrival = letter.arrival.as_ref().and_then(|arrival| serde_json::to_string(arrival).ok()).unwrap_or_default();
        let parts = LetterParts {
            ordinal: letter.ordinal,
            index: letter.index,
            received_at_ms: letter.received_at_ms,
            tenant: &letter.tenant,
            source: &letter.source,
            code: &letter.code,
            detail: &letter.detail,
            item_bytes: letter.item.len() as u64,
            arrival: &arrival,
        };
        insert.execute(params![
            letter.ordinal,
            letter.index,
            letter.received_at_ms,
            letter.tenant.as_str(),
            letter.source.as_str(),
            letter.code.as_str(),
            letter.detail,
            letter.item,
            parts.shown().with(parts.item(&letter.item)),
            arrival,
        ])?;
        let bytes = letter.item.len() as u64;
        match sources.iter_mut().find(|(source, ..)| *source == letter.source.as_str()) {
            Some((_, count, sum)) => (*count, *sum) = (*count + 1, *sum + bytes),
            None => sources.push((&letter.source, 1, bytes)),
        }
    }
    for (source, count, bytes) in sources {
        make_room(connection, source, (count, bytes), kept_max)?;
    }
    Ok(())
}

/// The oldest letters of a source make room for newer ones, and are counted.
fn make_room(connection: &Connection, source: &str, added: (u64, u64), kept_max: DeadLetterBounds) -> rusqlite::Result<()> {
    let (mut kept, mut bytes): (u64, u64) = connection
        .prepare_cached(
            "INSERT INTO dead_letter_counts (source, kept, dropped, bytes) VALUES (?1, ?2, 0, ?3)
             ON CONFLICT (source) DO UPDATE SET kept = kept + excluded.kept, bytes = bytes + excluded.bytes RETURNING kept, bytes",
        )?
        .query_row(params![source, added.0, added.1], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let before = (kept, bytes);
    let mut oldest = connection.prepare_cached("SELECT id, length(item) FROM dead_letters WHERE source = ?1 ORDER BY id")?;
    let mut delete = connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?;
    let mut gone = Vec::new();
    if kept > kept_max.count || bytes > kept_max.bytes {
        let mut rows = oldest.query([source])?;
        // The newest one stays, however large it is: it is the first that somebody will look for.
        while kept > kept_max.count || (bytes > kept_max.bytes && kept > 1) {
            let Some(row) = rows.next()? else { break };
            gone.push(row.get::<_, i64>(0)?);
            (kept, bytes) = (kept - 1, bytes.saturating_sub(row.get(1)?));
        }
    }
    for id in &gone {
        delete.execute([id])?;
    }
    if !gone.is_empty() {
        connection
            .prepare_cached("UPDATE dead_letter_counts SET kept = kept - ?2, dropped = dropped + ?2, bytes = bytes - ?3 WHERE source = ?1")?
            .execute(params![source, gone.len() as u64, before.1 - bytes])?;
    }
    Ok(())
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetterRow> {
    let arrival: String = row.get(10)?;
    let letter = DeadLetterRow {
        id: row.get(0)?,
        ordinal: row.get(1)?,
        index: row.get(2)?,
        received_at_ms: row.get(3)?,
        tenant: row.get(4)?,
        source: row.get(5)?,
        code: row.get(6)?,
        detail: row.get(7)?,
        bytes: row.get(8)?,
        arrival: None,
        item: row.get(11)?,
    };
    let parts = LetterParts {
        ordinal: letter.ordinal,
        index: letter.index,
        received_at_ms: letter.received_at_ms,
        tenant: &letter.tenant,
        source: &letter.source,
        code: &letter.code,
        detail: &letter.detail,
        item_bytes: letter.bytes,
        arrival: &arrival,
    };
    let sum: i64 = row.get(9)?;
    let is_whole = parts.shown().is_shown(sum) && letter.item.as_ref().is_none_or(|item| parts.item(item).is_content(sum));
    let id = letter.id;
    let letter = checked(letter, is_whole, || format!("dead letter {id}"))?;
    let read = |text: &str| serde_json::from_str(text).map_err(|error| Error::FromSqlConversionFailure(10, Type::Text, Box::new(error)));
    Ok(DeadLetterRow { arrival: (!arrival.is_empty()).then(|| read(&arrival)).transpose()?, ..letter })
}
