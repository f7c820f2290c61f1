//! What goes, and when: ended alerts with all that belongs to them, event files and what names them. In bounded steps, called
//! by the thread that commits.

use super::event_list;
use super::outbox;
use super::read::storable;
use super::{EmbeddedReader, EmbeddedStore, noted_error};
use crate::durable::StoreError;
use crate::event_segments::{self, EventPlace, RetiredFiles};
use alertmill_core::pipeline::fold::REMEMBER_END_S;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::PathBuf;

/// Alerts that ended before a second, those that ended first before others.
pub(super) const ENDED: &str = "SELECT seq FROM alerts INDEXED BY alerts_by_end WHERE end_time IS NOT NULL AND end_time < ?1";
/// Whether an alert waits for one of the services: with its number first, as the key of the table has it.
pub(super) const WAITS: &str = "EXISTS (SELECT 1 FROM outbox WHERE outbox.service IN (1, 2) AND outbox.seq = alerts.seq)";

impl EmbeddedStore {
    /// Removes alerts that ended before `ended_before_s` (seconds), those that ended first before others, at most `alerts_max`
    /// in this step, with their logs and event lists. Alerts that wait in the outbox stay, and those whose end the fold goes on
    /// from. Gives the number removed.
    pub fn retire_alerts(&mut self, ended_before_s: i64, alerts_max: usize) -> Result<usize, StoreError> {
        let ended_before_s = ended_before_s.min(self.received_at_s - REMEMBER_END_S);
        let remove = |connection: &mut Connection| -> rusqlite::Result<usize> {
            let transaction = connection.transaction()?;
            let gone: Vec<u64> = transaction
                .prepare_cached(&format!("{ENDED} AND NOT {WAITS} ORDER BY end_time LIMIT ?2"))?
                .query_map(params![ended_before_s, alerts_max], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for seq in &gone {
                outbox::count_lost_logs(&transaction, *seq)?;
            }
            for statement in ["DELETE FROM logs WHERE seq = ?1", "DELETE FROM alert_events WHERE seq = ?1", "DELETE FROM alerts WHERE seq = ?1"] {
                let mut delete = transaction.prepare_cached(statement)?;
                for seq in &gone {
                    delete.execute([seq])?;
                }
            }
            transaction.commit()?;
            Ok(gone.len())
        };
        remove(&mut self.connection).map_err(noted_error("remove old alerts", &self.path))
    }

    /// As [`retire_alerts`](Self::retire_alerts), without regard to age, when more than `bytes_max` of the database are in use.
    pub fn shrink_state(&mut self, bytes_max: u64, alerts_max: usize) -> Result<usize, StoreError> {
        let used = pages(&self.connection).map_err(noted_error("measure", &self.path))?.used_bytes();
        let removed = if used > bytes_max { self.retire_alerts(i64::MAX, alerts_max)? } else { 0 };
        let held_back = used > bytes_max && removed < alerts_max && self.has_waiting_ends().map_err(noted_error("look for old alerts", &self.path))?;
        if held_back && !self.held_back {
            tracing::warn!("{} is over its bound: alerts that ended stay until the services that they wait for have them", self.path.display());
        }
        self.held_back = held_back;
        Ok(removed)
    }

    /// Whether the last [`shrink_state`](Self::shrink_state) left the state over its bound because alerts wait for services.
    pub fn is_held_back(&self) -> bool {
        self.held_back
    }

    fn has_waiting_ends(&self) -> rusqlite::Result<bool> {
        let mut waits = self.connection.prepare_cached(&format!("SELECT EXISTS ({ENDED} AND {WAITS})"))?;
        waits.query_row([self.received_at_s - REMEMBER_END_S], |row| row.get(0))
    }

    /// Removes dead letters received before `received_before_ms` (milliseconds), the oldest of all sources first, at most
    /// `letters_max` in this step. Gives the number removed.
    pub fn retire_dead_letters(&mut self, received_before_ms: i64, letters_max: usize) -> Result<usize, StoreError> {
        let old = |connection: &Connection| -> rusqlite::Result<Vec<u64>> {
            let mut oldest = connection.prepare_cached("SELECT id, received_at_ms FROM dead_letters ORDER BY id LIMIT ?1")?;
            let rows = oldest.query_map([letters_max], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
            // They come in the order of their times, so the first that stays is followed by others that stay.
            let found: Vec<(u64, i64)> = rows.collect::<Result<_, _>>()?;
            Ok(found.into_iter().take_while(|(_, at)| *at < received_before_ms).map(|(id, _)| id).collect())
        };
        let gone = old(&self.connection).map_err(noted_error("look for old dead letters", &self.path))?;
        if gone.is_empty() { Ok(0) } else { self.remove_dead_letters(&gone) }
    }

    /// Forgets rule-set generations that are neither among the newest `kept`, nor among the newest `kept_young` and begun since
    /// `begun_before_ms` (milliseconds), nor in the journal, whose first record is `journal_begins`, nor in force when it begins. Gives the number removed.
    pub fn retire_rule_sets(&mut self, kept: u64, kept_young: u64, begun_before_ms: i64, journal_begins: u64) -> Result<usize, StoreError> {
        let remove = || {
            let old = "DELETE FROM rule_sets WHERE ordinal < (SELECT max(ordinal) FROM rule_sets WHERE ordinal < ?4)
                 AND generation NOT IN (SELECT generation FROM rule_sets ORDER BY generation DESC LIMIT ?1)
                 AND (received_at_ms < ?3 OR generation NOT IN (SELECT generation FROM rule_sets ORDER BY generation DESC LIMIT ?2))";
            self.connection.prepare_cached(old)?.execute(params![storable(kept), storable(kept_young), begun_before_ms, storable(journal_begins)])
        };
        remove().map_err(noted_error("forget old rule sets", &self.path))
    }

    /// Removes the oldest event files while all are over `bytes_max`, and those whose last event was received before
    /// `older_than_s`. Files from which known uids would have to be read again stay. Entries of alerts' event lists that
    /// name nothing but removed files go in this and later calls, a bounded number at a time: an alert that stays open for
    /// years would otherwise keep one for every commit that it had a part in.
    pub fn retire_events(&mut self, bytes_max: u64, older_than_s: i64) -> Result<RetiredFiles, StoreError> {
        let keep_from = self.uids.lock().flushed().segment;
        let connection = &self.connection;
        let received_at_s = |number: u32| {
            let mut one = connection.prepare_cached("SELECT received_at_s FROM event_files WHERE number = ?1").ok()?;
            one.query_row([number], |row| row.get(0)).ok()
        };
        let unshipped = outbox::events_begin(&self.connection).map_err(noted_error("look for unshipped events", &self.path))?;
        let removed = self.events.retire(bytes_max, older_than_s, keep_from, received_at_s, |files| {
            let (Some(from), Some((last, _))) = (unshipped, files.last()) else { return Ok(()) };
            let lost = unshipped_events(files, from);
            // Before they are gone: a file whose events are counted and that stays is not counted again, since shipping passes it by.
            let behind = EventPlace { segment: last + 1, offset: 0 };
            outbox::lose_events(connection, lost, behind).map_err(noted_error("count unshipped events", &self.path))?;
            if lost > 0 {
                tracing::warn!("retention removes {lost} events before they were shipped");
            }
            Ok(())
        })?;
        self.reader.event_reader().forget_removed();
        if removed != RetiredFiles::default() {
            let oldest = self.reader.event_reader().numbers()?.first().copied().unwrap_or(u32::MAX);
            self.sweep.wanted = oldest.min(self.events.end().segment);
            let forgotten = self.connection.execute("DELETE FROM event_files WHERE number < ?1", [oldest]);
            forgotten.map_err(noted_error("forget event files", &self.path))?;
        }
        self.sweep.step(&mut self.connection).map_err(noted_error("shorten event lists", &self.path))?;
        Ok(removed)
    }
}

/// How many events behind `from` lie in these files, as far as they can be read.
fn unshipped_events(files: &[(u32, PathBuf)], from: EventPlace) -> usize {
    let to = EventPlace { segment: u32::MAX, offset: 0 };
    let mut found = 0;
    for (number, path) in files.iter().filter(|(number, _)| *number >= from.segment) {
        // One that nobody can read must not keep the others for ever.
        if let Err(error) = event_segments::scan_file(path, *number, from, to, |_, _| found += 1) {
            tracing::warn!("{error}; unshipped events in it are not counted");
        }
    }
    found
}

impl EmbeddedReader {
    /// Pages of the database, in use and free.
    pub fn pages(&self) -> Result<Pages, StoreError> {
        self.read("measure", pages)
    }

    /// Dead letters of all sources: how many are kept, how many went for newer ones, bytes of the items of those kept.
    pub fn dead_letter_sums(&self) -> Result<(u64, u64, u64), StoreError> {
        self.read("count dead letters", |connection| {
            let sums = "SELECT coalesce(sum(kept), 0), coalesce(sum(dropped), 0), coalesce(sum(bytes), 0) FROM dead_letter_counts";
            connection.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        })
    }
}

/// Pages of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// All.
    pub all: u64,
    /// Those that hold nothing and are used before the file grows.
    pub free: u64,
    /// Bytes of one.
    pub bytes: u64,
}

impl Pages {
    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        (self.all - self.free.min(self.all)) * self.bytes
    }
}

fn pages(connection: &Connection) -> rusqlite::Result<Pages> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get(0));
    Ok(Pages { all: number("page_count")?, free: number("freelist_count")?, bytes: number("page_size")? })
}

/// How far the walk over all event lists has come. It is not written down: what a restart interrupts is done by the next walk,
/// since each begins with the first alert.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Rows that one step looks at; a look is a jump in the index of some microseconds.
    pub looks_max: usize,
    /// Event files before this one are gone.
    wanted: u32,
    /// What the walk that runs removes, and where it goes on; `None` when none runs.
    running: Option<(u32, (i64, i64))>,
    /// What the last whole walk removed.
    done: u32,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep { looks_max: 5_000, wanted: 0, running: None, done: 0 }
    }
}

impl Sweep {
    fn step(&mut self, connection: &mut rusqlite::Connection) -> rusqlite::Result<()> {
        if self.running.is_none() && self.wanted > self.done {
            self.running = Some((self.wanted, (i64::MIN, i64::MIN)));
        }
        let Some((before, mut at)) = self.running else { return Ok(()) };
        let transaction = connection.transaction()?;
        let mut is_over = false;
        {
            let mut next =
                transaction.prepare_cached("SELECT seq, position, refs FROM alert_events WHERE (seq, position) > (?1, ?2) ORDER BY seq, position LIMIT 1")?;
            let mut delete = transaction.prepare_cached("DELETE FROM alert_events WHERE seq = ?1 AND position = ?2")?;
            for _ in 0..self.looks_max {
                let found = next.query_row([at.0, at.1], |row| {
                    let is_gone = event_list::entries(row.get_ref(2)?.as_blob()?).all(|(place, _)| place.segment < before);
                    Ok((row.get(0)?, row.get(1)?, is_gone))
                });
                let Some((seq, position, is_gone)) = found.optional()? else {
                    is_over = true;
                    break;
                };
                if is_gone {
                    delete.execute([seq, position])?;
                }
                // Later commits of an alert name later files, so its first entry that stays is followed by the next alert.
                at = (seq, if is_gone { position } else { i64::MAX });
            }
        }
        transaction.commit()?;
        self.running = (!is_over).then_some((before, at));
        self.done = if is_over { before } else { self.done };
        Ok(())
    }
}
