//! What a rule can call does here: `log` and `tables`; `contracts` links it, and `wasi` answers what its language's runtime may call. State of one instance.

use crate::contracts::{LogLevel, TableColumn};
use crate::failure::{Budget, CallFailure, FailureKind};
use crate::limits::{Growth, Limits, TABLE_ANSWER_BYTES_MAX};
use crate::log::LogGate;
use crate::stats::Used;
use crate::tables::{Granted, KEY_BYTES_MAX, LookUps, View};
use crate::wasi::{self, StandIns};
use std::collections::HashMap;
use std::sync::Arc;
use wasmtime::component::Resource;

/// Tables that one rule may open, by name.
pub(crate) type GrantedTables = HashMap<String, Granted>;

/// Of an error line, what a failure repeats.
const LAST_ERROR_BYTES_MAX: usize = 256;

/// What a cell costs beside its text when it is a text of its own.
const CELL_BYTES: usize = size_of::<String>();

/// State of one instance.
pub(crate) struct Host {
    pub growth: Growth,
    tables: Arc<GrantedTables>,
    log: Option<Arc<LogGate>>,
    log_bytes_per_second: u64,
    /// The last error line of this call: what a rule that logs its panics says before it crashes.
    last_error: Option<String>,
    pub stand_ins: StandIns,
    handles: Vec<Option<Handle>>,
    handles_open: u32,
    /// The most that were open at once.
    handles_peak: u32,
    handles_max: u32,
    lookups_left: u32,
    lookups_max: u32,
}

/// A table that an instance has open.
pub(crate) struct Handle {
    granted: Granted,
    view: View,
}

/// Marks the resource type; its number is a place in `Host::handles`.
pub(crate) struct TableResource;

impl Host {
    pub fn new(limits: &Limits, tables: Arc<GrantedTables>, log: Option<Arc<LogGate>>) -> Host {
        Host {
            growth: Growth::new(limits.memory_bytes),
            tables,
            log,
            log_bytes_per_second: limits.log_bytes_per_second,
            last_error: None,
            stand_ins: StandIns::default(),
            handles: Vec::new(),
            handles_open: 0,
            handles_peak: 0,
            handles_max: limits.table_handles,
            lookups_left: limits.lookups,
            lookups_max: limits.lookups,
        }
    }

    /// A call begins: its budgets are whole again.
    pub fn begin_call(&mut self) {
        self.lookups_left = self.lookups_max;
        self.growth.take_memory_denied();
        self.last_error = None;
        self.end_printing();
        self.stand_ins.begin_call();
    }

    /// What the last call used of what it may.
    pub fn used(&self) -> Used {
        Used {
            memory_bytes: self.growth.memory(),
            lookups: u64::from(self.lookups_max - self.lookups_left),
            handles: u64::from(self.handles_peak),
            ..Used::default()
        }
    }

    /// Reads wasmtime's error, with what the rule itself said last.
    pub fn failure_of(&mut self, error: &wasmtime::Error) -> CallFailure {
        let mut failure = CallFailure::of(error, &mut self.growth);
        self.end_printing();
        let logged = self.last_error.take().filter(|_| failure.kind == FailureKind::Trap);
        for said in logged.into_iter().chain(self.stand_ins.printed.said()) {
            failure.message = format!("{said}; {}", failure.message);
        }
        failure
    }

    /// What the rule writes to its standard output or error; whole lines go to the log, if it may write one.
    pub fn print(&mut self, to: wasi::Output, text: &[u8]) {
        self.stand_ins.printed.add(to, text, line_to(&self.log, self.log_bytes_per_second));
    }

    fn end_printing(&mut self) {
        self.stand_ins.printed.end(line_to(&self.log, self.log_bytes_per_second));
    }

    pub fn log(&mut self, level: LogLevel, message: &str) {
        if let Some(log) = &self.log {
            log.write(level, message, self.log_bytes_per_second);
        }
        if level == LogLevel::Error {
            self.last_error = Some(message[..message.floor_char_boundary(LAST_ERROR_BYTES_MAX)].to_owned());
        }
    }

    pub fn open(&mut self, name: &str, columns: &[String]) -> wasmtime::Result<Result<Resource<TableResource>, String>> {
        let Some(granted) = self.tables.get(name).cloned() else {
            return Ok(Err(format!("table `{}` is not in this rule's manifest or not granted", name.escape_debug())));
        };
        let view = match granted.table.view(columns) {
            Ok(view) => view,
            Err(why) => return Ok(Err(why)),
        };
        if self.handles_open >= self.handles_max {
            return Err(wasmtime::Error::from(Budget::Handles(self.handles_max)));
        }
        self.handles_open += 1;
        self.handles_peak = self.handles_peak.max(self.handles_open);
        let handle = Some(Handle { granted, view });
        let at = match self.handles.iter().position(Option::is_none) {
            Some(free) => {
                self.handles[free] = handle;
                free
            }
            None => {
                self.handles.push(handle);
                self.handles.len() - 1
            }
        };
        Ok(Ok(Resource::new_own(at as u32)))
    }

    pub fn close(&mut self, at: u32) {
        if let Some(Some(_)) = self.handles.get_mut(at as usize).map(Option::take) {
            self.handles_open -= 1;
        }
    }

    pub fn handle(&self, table: &Resource<TableResource>) -> wasmtime::Result<&Handle> {
        // wasmtime gives only numbers that `open` returned and that are not dropped.
        self.handles.get(table.rep() as usize).and_then(Option::as_ref).ok_or_else(|| wasmtime::Error::msg("table handle is not open"))
    }

    pub fn spend(&mut self, lookups: usize) -> wasmtime::Result<()> {
        match u32::try_from(lookups).ok().and_then(|n| self.lookups_left.checked_sub(n)) {
            Some(left) => {
                self.lookups_left = left;
                Ok(())
            }
            None => Err(wasmtime::Error::from(Budget::Lookups(self.lookups_max))),
        }
    }
}

impl Handle {
    /// How many columns it was opened with.
    pub fn columns(&self) -> usize {
        self.view.len()
    }

    /// The cells of a key's row, as texts.
    pub fn get(&self, key: &str, room: &mut Room<'_>) -> wasmtime::Result<Option<Vec<String>>> {
        check_key(key)?;
        room.take(CELL_BYTES)?;
        let Some(cells) = room.counted(self.granted.table.get(&self.view, key)) else { return Ok(None) };
        let cells = cells.map(|cell| room.take(CELL_BYTES + cell.len()).map(|()| cell.to_owned()));
        Ok(Some(cells.collect::<Result<_, _>>()?))
    }

    /// Adds one entry to each column.
    pub fn add(&self, key: &str, columns: &mut [TableColumn], room: &mut Room<'_>) -> wasmtime::Result<()> {
        check_key(key)?;
        // An end, and for a key that is not there its place.
        room.take(columns.len() * 2 * size_of::<u32>())?;
        let Some(cells) = room.counted(self.granted.table.get(&self.view, key)) else {
            columns.iter_mut().for_each(TableColumn::push_missing);
            return Ok(());
        };
        for (column, cell) in columns.iter_mut().zip(cells) {
            room.take(cell.len())?;
            column.push(cell);
        }
        Ok(())
    }
}

/// What one answer of a table may still take. It is counted while the answer is built, because it is the host's memory that
/// it is built in. Look-ups are counted here too, and go to the table's counters in one step when the answer is done or breaks off.
pub(crate) struct Room<'a> {
    left: usize,
    look_ups: &'a LookUps,
    hits: u64,
    misses: u64,
}

impl<'a> Room<'a> {
    /// For one answer of this table.
    pub fn of(handle: &'a Handle) -> Room<'a> {
        Room { left: TABLE_ANSWER_BYTES_MAX, look_ups: &handle.granted.look_ups, hits: 0, misses: 0 }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Budget> {
        self.left = self.left.checked_sub(bytes).ok_or(Budget::TableAnswer(TABLE_ANSWER_BYTES_MAX))?;
        Ok(())
    }

    fn counted<T>(&mut self, found: Option<T>) -> Option<T> {
        self.hits += u64::from(found.is_some());
        self.misses += u64::from(found.is_none());
        found
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.look_ups.add(self.hits, self.misses);
    }
}

fn line_to(log: &Option<Arc<LogGate>>, bytes_per_second: u64) -> impl FnMut(LogLevel, &str) {
    move |level, line| {
        if let Some(log) = log {
            log.write(level, line, bytes_per_second);
        }
    }
}

fn check_key(key: &str) -> wasmtime::Result<()> {
    if key.len() <= KEY_BYTES_MAX { Ok(()) } else { Err(wasmtime::Error::from(Budget::Key(key.len()))) }
}
