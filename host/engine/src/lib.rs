//! Runs rule components: the only crate that names wasmtime.
//!
//! The way of a module: `prescan` looks at the bytes, `interface` judges imports and exports, `cache` has its code or `compile`
//! makes it, `manifest` judges what it says of itself, `schema` its config, then `init` is tried in a scratch instance; every refusal is a [`Refusal`].
//! What language runtimes import of WASI is answered by `wasi`, with constants. `contracts` has a file for each version of the contract.
//!
//! The way of a batch: `condition` chooses rows, `lower` copies the declared fields into columns, `instance` makes the one
//! call, `patch`, `keys` and `normalize` check what came back and write it on the rows; `hooks` says which of these a hook takes.
//! `chain` has the rules in order; `runner` does this for one of them, with the instances of its `pool`, one for each tenant. It
//! halves a batch that fails until the poison row is alone, and does with that row what the rule's policy says. `strikes` bounds
//! what failing can cost, and `verdicts` holds what time has decided, which a replay must not decide again. `stats` and `watch`
//! count and look on.
//!
//! Not known here: what an alert is, the journal, files, the network. Modules and tables come by digest from [`Contents`].

mod batch_rows;
mod cache;
mod chain;
mod compile;
mod condition;
mod contracts;
mod cpu;
mod engine;
mod failure;
mod hooks;
mod host;
mod instance;
mod interface;
mod keys;
mod limits;
mod log;
mod lower;
mod manifest;
mod normalize;
mod options;
mod patch;
mod pool;
mod prescan;
mod probe;
mod refusal;
mod rule;
mod runner;
mod runtime;
mod schema;
mod signature;
mod standing;
mod stats;
mod strikes;
mod tables;
mod ticker;
mod verdicts;
mod wasi;
mod watch;

pub use cache::{Cached, CodeCache, CodeKey, LoadStats};
pub use compile::{Compile, CompileFailed, InProcess, compile_alone};
pub use contracts::WIT_VERSION;
pub use engine::{Contents, Engine, EngineUnavailable, LoadedRule};
pub use failure::FailureKind;
pub use limits::{COMPONENT_BYTES_MAX, Limits};
pub use manifest::{HookInfo, RuleInfo};
pub use options::{Grant, RuleOptions};
pub use probe::Difference;
pub use refusal::Refusal;
pub use standing::Struck;
pub use stats::{BATCH_ROWS_BOUNDS, CALL_NANOS_BOUNDS, RuleStatsSnapshot, Used};
pub use strikes::STRUCK_OUT_FOR;
pub use tables::{Table, TableFormat, TableLimits, TableRefusal};
