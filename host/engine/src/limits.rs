//! What one rule may use: the numbers, their ceilings, and the part that wasmtime asks for at run time.

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// Largest component file, bytes.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// Rows of one call at most.
pub const BATCH_ROWS_MAX: u32 = 256;
/// Payloads of one call at most: each may make as many events as a record holds.
pub(crate) const PAYLOADS_MAX: usize = 64;
/// Texts of one call's rows; more are cut into several calls.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;
/// What a table may answer at once. A batch that looks up more is cut like any that fails, so few rows can have large cells.
pub(crate) const TABLE_ANSWER_BYTES_MAX: usize = 8 << 20;
/// Longest dedupe key, bytes.
pub const DEDUPE_KEY_BYTES_MAX: usize = 1024;
/// Longest drop reason, characters.
pub const DROP_REASON_CHARS_MAX: usize = 512;
/// Elements of all tables of an instance.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Core instances of a component; wit-component makes four of one module.
const CORE_INSTANCES_MAX: usize = 64;
const MEMORIES_MAX: usize = 4;
const TABLES_MAX: usize = 8;
/// Stack of a rule's code.
pub(crate) const STACK_BYTES: usize = 512 << 10;

/// Limits of one rule, in its options under `limits`. What is left out keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of an instance, bytes. Default 64 MiB.
    pub memory_bytes: u64,
    /// Time of one call, milliseconds. Default 250.
    pub time_ms: u64,
    /// Time of `describe` and `init`, milliseconds. Default 1,000.
    pub init_ms: u64,
    /// What a rule may hand to the host at once, bytes: the answer of a call, and likewise what it passes to one call of a
    /// host function. Default 8 MiB.
    pub output_bytes: u64,
    /// Keys looked up in tables during one call. Default 10,000.
    pub lookups: u32,
    /// Open table handles of an instance. Default 256.
    pub table_handles: u32,
    /// Log text, bytes a second. Default 64 KiB.
    pub log_bytes_per_second: u64,
    /// Rows of one call. Default 256; a module's `max-batch` may lower it.
    pub batch_rows: u32,
    /// Text that the rule may write into one event or alert, bytes. Default 256 KiB: small beside what a sender may send, large beside
    /// what an event needs.
    pub event_bytes: u64,
    /// Alerts that the rule's dedupe keys may hold open at once; beyond, an event's own keys decide. Default 100,000.
    pub open_keys: u32,
    /// Calls that take longer are counted as slow, milliseconds; nothing else comes of it. Default 50.
    pub slow_ms: u64,
    /// An instance is made anew after so many calls; 0: never. Default 100,000.
    pub recycle_calls: u64,
    /// An instance is made anew once its memory has grown by so much since `init`, bytes; 0: never. Default 16 MiB.
    pub recycle_growth_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 64 << 20,
            time_ms: 250,
            init_ms: 1_000,
            output_bytes: 8 << 20,
            lookups: 10_000,
            table_handles: 256,
            log_bytes_per_second: 64 << 10,
            batch_rows: BATCH_ROWS_MAX,
            event_bytes: 256 << 10,
            open_keys: 100_000,
            slow_ms: 50,
            recycle_calls: 100_000,
            recycle_growth_bytes: 16 << 20,
        }
    }
}

impl Limits {
    /// Refuses what no operator can mean. `Err` names the key and its range.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("memory_bytes", self.memory_bytes, 1 << 16, 2 << 30),
            ("time_ms", self.time_ms, 1, 60_000),
            ("init_ms", self.init_ms, 1, 60_000),
            ("output_bytes", self.output_bytes, 1 << 10, 256 << 20),
            ("lookups", u64::from(self.lookups), 0, 10_000_000),
            ("table_handles", u64::from(self.table_handles), 0, 65_536),
            ("log_bytes_per_second", self.log_bytes_per_second, 0, 64 << 20),
            ("batch_rows", u64::from(self.batch_rows), 1, u64::from(BATCH_ROWS_MAX)),
            ("event_bytes", self.event_bytes, 0, 64 << 20),
            ("open_keys", u64::from(self.open_keys), 1, 10_000_000),
            ("slow_ms", self.slow_ms, 1, 60_000),
            ("recycle_calls", self.recycle_calls, 0, 1_000_000_000_000),
            ("recycle_growth_bytes", self.recycle_growth_bytes, 0, 2 << 30),
        ];
        for (key, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return Err(format!("limits.{key} = {value} is out of range; it may be {min} to {max}"));
            }
        }
        Ok(())
    }
}

/// A limit that a call can run into, as metrics and the API name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    MemoryBytes,
    TimeMs,
    InitMs,
    OutputBytes,
    /// Keys, their length and the answer of a table.
    Lookups,
    TableHandles,
    EventBytes,
    /// The stack of its code, which is the same for all.
    Stack,
}

impl Limit {
    /// All of them, as declared.
    pub const ALL: [Limit; 8] =
        [Limit::MemoryBytes, Limit::TimeMs, Limit::InitMs, Limit::OutputBytes, Limit::Lookups, Limit::TableHandles, Limit::EventBytes, Limit::Stack];

    /// Its key in options.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::MemoryBytes => "memory_bytes",
            Limit::TimeMs => "time_ms",
            Limit::InitMs => "init_ms",
            Limit::OutputBytes => "output_bytes",
            Limit::Lookups => "lookups",
            Limit::TableHandles => "table_handles",
            Limit::EventBytes => "event_bytes",
            Limit::Stack => "stack",
        }
    }
}

/// wasmtime asks this before it grows anything of an instance.
#[derive(Debug)]
pub(crate) struct Growth {
    memory_max: usize,
    memory: usize,
    memory_at_ready: usize,
    table_left: usize,
    /// A memory was refused since the flag was last taken.
    memory_denied: bool,
}

impl Growth {
    pub fn new(memory_bytes: u64) -> Growth {
        Growth { memory_max: memory_bytes as usize, memory: 0, memory_at_ready: 0, table_left: TABLE_ELEMENTS_MAX, memory_denied: false }
    }

    pub fn take_memory_denied(&mut self) -> bool {
        std::mem::take(&mut self.memory_denied)
    }

    /// Bytes of all memories of the instance; they never shrink.
    pub fn memory(&self) -> u64 {
        self.memory as u64
    }

    /// `init` is through: what comes on top from here is growth.
    pub fn ready(&mut self) {
        self.memory_at_ready = self.memory;
    }

    /// Bytes that the memories grew by since then.
    pub fn since_ready(&self) -> u64 {
        (self.memory - self.memory_at_ready) as u64
    }
}

impl ResourceLimiter for Growth {
    // One sum over all memories of the instance: several small ones do not get more than one large one.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let granted = more <= self.memory_max - self.memory;
        if granted {
            self.memory += more;
        } else {
            self.memory_denied = true;
        }
        Ok(granted)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let granted = more <= self.table_left;
        if granted {
            self.table_left -= more;
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }
    fn tables(&self) -> usize {
        TABLES_MAX
    }
    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
