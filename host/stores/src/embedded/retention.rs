//! What goes, and when: ended alerts with all that belongs to them, event files and what names them. In bounded steps, called
//! by the thread that commits.

use super::event_list;
use super::{EmbeddedStore, sqlite_error};
use crate::durable::StoreError;
use rusqlite::{OptionalExtension, params};

impl EmbeddedStore {
    /// Removes alerts that ended before `ended_before_s` (seconds), oldest of each status first, at most `alerts_max` in
    /// this step, with their logs and event lists. Alerts that wait in the outbox stay. Gives the number removed.
    pub fn retire_alerts(&mut self, ended_before_s: i64, alerts_max: usize) -> Result<usize, StoreError> {
        let remove = |connection: &mut rusqlite::Connection| -> rusqlite::Result<usize> {
            let transaction = connection.transaction()?;
            let gone: Vec<u64> = transaction
                .prepare_cached(
                    "SELECT seq FROM alerts INDEXED BY alerts_by_status WHERE status > 0 AND end_time < ?1
                     AND seq NOT IN (SELECT seq FROM outbox) LIMIT ?2",
                )?
                .query_map(params![ended_before_s, alerts_max], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for statement in ["DELETE FROM logs WHERE seq = ?1", "DELETE FROM alert_events WHERE seq = ?1", "DELETE FROM alerts WHERE seq = ?1"] {
                let mut delete = transaction.prepare_cached(statement)?;
                for seq in &gone {
                    delete.execute([seq])?;
                }
            }
            transaction.commit()?;
            Ok(gone.len())
        };
        remove(&mut self.connection).map_err(sqlite_error("remove old alerts", &self.path))
    }

    /// Removes the oldest event files while all are over `bytes_max`, and those last written before `older_than_s`. Files
    /// from which known uids would have to be read again stay. Gives the number removed. Entries of alerts' event lists that
    /// name nothing but removed files go in this and later calls, a bounded number at a time: an alert that stays open for
    /// years would otherwise keep one for every commit that it had a part in.
    pub fn retire_events(&mut self, bytes_max: u64, older_than_s: i64) -> Result<usize, StoreError> {
        let keep_from = self.uids.lock().flushed().segment;
        let removed = self.events.retire(bytes_max, older_than_s, keep_from)?;
        self.reader.event_reader().forget_removed();
        if removed > 0 {
            let oldest = self.reader.event_reader().numbers()?.first().copied().unwrap_or(u32::MAX);
            self.sweep.wanted = oldest.min(self.events.end().segment);
        }
        self.sweep.step(&mut self.connection).map_err(sqlite_error("shorten event lists", &self.path))?;
        Ok(removed)
    }
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
