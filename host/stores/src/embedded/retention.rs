//! What goes, and when: ended alerts with all that belongs to them, dead letters, event files. In bounded steps, called by
//! the thread that commits.

use super::{EmbeddedStore, sqlite_error};
use crate::durable::StoreError;
use rusqlite::params;

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

    /// Removes dead letters by id, after a redrive or by hand. Gives the number removed.
    pub fn remove_dead_letters(&mut self, ids: &[u64]) -> Result<usize, StoreError> {
        let remove = |connection: &mut rusqlite::Connection| -> rusqlite::Result<usize> {
            let transaction = connection.transaction()?;
            let mut removed = 0;
            for id in ids {
                let source: Option<String> = transaction
                    .prepare_cached("DELETE FROM dead_letters WHERE id = ?1 RETURNING source")?
                    .query_map([id], |row| row.get(0))?
                    .next()
                    .transpose()?;
                let Some(source) = source else { continue };
                transaction.prepare_cached("UPDATE dead_letter_counts SET kept = kept - 1 WHERE source = ?1")?.execute([source])?;
                removed += 1;
            }
            transaction.commit()?;
            Ok(removed)
        };
        remove(&mut self.connection).map_err(sqlite_error("remove dead letters", &self.path))
    }

    /// Removes the oldest event files while all are over `bytes_max`, and those last written before `older_than_s`. Files
    /// from which known uids would have to be read again stay. Gives the number removed.
    pub fn retire_events(&mut self, bytes_max: u64, older_than_s: i64) -> Result<usize, StoreError> {
        let keep_from = self.uids.lock().flushed().segment;
        let removed = self.events.retire(bytes_max, older_than_s, keep_from)?;
        self.reader.event_reader().forget_removed();
        Ok(removed)
    }
}
