//! Alerts whose newest document services do not have yet: read in pages, freed when a service confirmed a revision.

use super::read::{EmbeddedReader, storable};
use super::{EmbeddedStore, sqlite_error};
use crate::durable::StoreError;
use rusqlite::params;

impl EmbeddedReader {
    /// How many alerts wait.
    pub fn outbox_size(&self) -> Result<u64, StoreError> {
        self.read("count the outbox", |connection| connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)))
    }

    /// Waiting alerts as (seq, revision) with `seq` above `after`.
    pub fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, u64)>, StoreError> {
        self.read("read the outbox", |connection| {
            let mut page = connection.prepare_cached("SELECT seq, revision FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
            page.query_map(params![storable(after), limit], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }
}

impl EmbeddedStore {
    /// Frees alerts that a service has at these revisions; one that changed since stays.
    pub fn confirm_outbox(&mut self, confirmed: &[(u64, u64)]) -> Result<(), StoreError> {
        let free = |connection: &mut rusqlite::Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            {
                let mut delete = transaction.prepare_cached("DELETE FROM outbox WHERE seq = ?1 AND revision <= ?2")?;
                for (seq, revision) in confirmed {
                    delete.execute(params![seq, revision])?;
                }
            }
            transaction.commit()
        };
        free(&mut self.connection).map_err(sqlite_error("free the outbox", &self.path))
    }
}
