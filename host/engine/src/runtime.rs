//! The one wasmtime engine of the process and its configuration.

use crate::contracts;
use crate::host::Host;
use crate::limits::STACK_BYTES;
use crate::ticker::Ticker;
use crate::wasi;
use alertmill_core::value::Text;
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use wasmtime::component::Linker;
use wasmtime::{Config, OptLevel, Strategy};

/// Engine, clock and linker; one of each a process (two engines side by side have mixed up indices before:
/// RUSTSEC-2026-0222).
#[derive(Clone)]
pub(crate) struct Runtime(Arc<Inner>);

struct Inner {
    engine: wasmtime::Engine,
    ticker: Ticker,
    linker: Linker<Host>,
    compat: Text,
}

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();

impl Runtime {
    /// The runtime of this process; made at the first call.
    pub fn get() -> Result<Runtime, String> {
        RUNTIME.get_or_init(|| Runtime::make().map_err(|e| format!("{e:#}"))).clone()
    }

    fn make() -> wasmtime::Result<Runtime> {
        let engine = wasmtime::Engine::new(&config())?;
        let ticker = Ticker::start(engine.clone())?;
        // Every rule is bound by this one. What a rule may not have is refused before, by name.
        let mut linker = Linker::new(&engine);
        contracts::link(&mut linker)?;
        wasi::link(&mut linker)?;
        let compat = compat(&engine);
        Ok(Runtime(Arc::new(Inner { engine, ticker, linker, compat })))
    }

    pub fn engine(&self) -> &wasmtime::Engine {
        &self.0.engine
    }

    pub fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }

    pub fn linker(&self) -> &Linker<Host> {
        &self.0.linker
    }

    /// What compiled code has to be made for to run here.
    pub fn compat(&self) -> &Text {
        &self.0.compat
    }
}

/// An engine that compiles on the thread that asks; code from it fits the one of [`Runtime`].
pub(crate) fn single_threaded() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(config().parallel_compilation(false))
}

/// Version, settings and processor features in 16 hex digits. SHA-256, as the hashers of the standard library may change.
fn compat(engine: &wasmtime::Engine) -> Text {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Text::from(format!("{:016x}", hasher.finish()))
}

struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.clone().finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// Few features, so that little of wasmtime can be reached; the same answer on every machine.
fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(STACK_BYTES)
        .concurrency_support(false)
        .wasm_component_model(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // The code that wasmtime makes to pass texts between the components of a module has two memories, and wasmtime panics where it
        // may not; `prescan` sees to it that no module of a rule has more than one.
        .wasm_multi_memory(true)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    config
}
