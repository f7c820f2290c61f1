//! A table that is a file: looked at with the rules folder, read when it has come to rest.

use super::{Offer, Source, Standing, Tables};
use crate::rules_folder::settling::{self, Settling, stamp};
use crate::rules_folder::{Problem, UNREADABLE};
use alertmill_engine::TableRefusal;
use std::fs::File;
use std::io::Read;
use std::time::SystemTime;

pub(super) type Stamp = settling::Stamp;

impl Tables {
    /// Reads a file that changed; whether another look is worth it, because it is being written.
    pub(super) fn look_at_file(&self, source: &Source, settling: &mut Settling, at: SystemTime) -> bool {
        let file = &source.config.file;
        let (now, is_whole) = settling.stamp(file);
        {
            let mut state = source.state();
            let is_known = state.stamp == Some(now) && !state.problem.as_ref().is_some_and(Problem::may_pass);
            if is_known || !is_whole {
                if is_known && state.problem.is_none() {
                    state.confirm(at);
                }
                return state.stamp != Some(now);
            }
        }
        let said = source.read();
        if stamp(file) != now {
            return true;
        }
        let mut state = source.state();
        state.stamp = Some(now);
        state.standing = Standing::Given;
        let outcome = state.heard(said.map(Some), at);
        tracing::debug!(table = %source.name, outcome = outcome.name(), "a table's file was read");
        false
    }
}

impl Source {
    fn read(&self) -> Result<Offer, Problem> {
        let size_max = self.config.size_max;
        let unreadable = |e: std::io::Error| self.problem(UNREADABLE, &e.to_string());
        let mut content = Vec::new();
        let read = File::open(&self.config.file).and_then(|file| file.take(size_max.0.saturating_add(1)).read_to_end(&mut content)).map_err(unreadable)?;
        if read as u64 > size_max.0 {
            return Err(self.problem(TableRefusal::TooLarge(String::new()).code(), &format!("the file has more than {size_max} (size_max)")));
        }
        self.parse(&content)
    }
}
