//! From a component's bytes to machine code. Where that is done is the host's choice ([`Compile`]): it costs what the author of
//! the module makes it cost, and `prescan` bounds only what can be counted.

use crate::refusal::Refusal;
use crate::runtime::{self, Runtime};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Makes machine code of components, for this build on this machine.
pub trait Compile: Send + Sync {
    /// The machine code of a component, as [`compile_alone`] makes it. It is run as it is. May take minutes.
    fn compile(&self, component: &[u8]) -> Result<Vec<u8>, CompileFailed>;
}

/// Why there is no machine code; each in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileFailed {
    /// The compiler does not take the component.
    Refused(String),
    /// It costs more than it may: which limit, and its key.
    Limit(String),
    /// The compiler cannot be asked; another time it may.
    Unavailable(String),
}

impl From<CompileFailed> for Refusal {
    fn from(failed: CompileFailed) -> Refusal {
        match failed {
            CompileFailed::Refused(why) => Refusal::Compile(why),
            CompileFailed::Limit(why) => Refusal::CompileLimit(why),
            CompileFailed::Unavailable(why) => Refusal::CompileUnavailable(why),
        }
    }
}

/// Compiles in the process that asks, on all of its cores and without limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

impl Compile for InProcess {
    fn compile(&self, component: &[u8]) -> Result<Vec<u8>, CompileFailed> {
        compile_with(Runtime::get().map_err(CompileFailed::Unavailable)?.engine(), component)
    }
}

/// Compiles on the thread that asks, for a process that does nothing else and has limits of its own: memory that it is not
/// given is [`CompileFailed::Limit`], as far as it is not the end of the process.
pub fn compile_alone(component: &[u8]) -> Result<Vec<u8>, CompileFailed> {
    let engine = runtime::single_threaded().map_err(|e| CompileFailed::Unavailable(format!("{e:#}")))?;
    compile_with(&engine, component)
}

/// A compiler that panics on a module costs that module, not the process.
fn compile_with(engine: &wasmtime::Engine, component: &[u8]) -> Result<Vec<u8>, CompileFailed> {
    let compiled = catch_unwind(AssertUnwindSafe(|| engine.precompile_component(component)));
    let compiled = compiled.map_err(|_| CompileFailed::Refused("the compiler broke off; what it said is on standard error".to_owned()))?;
    compiled.map_err(|e| if e.is::<wasmtime::OutOfMemory>() { CompileFailed::Limit(format!("{e:#}")) } else { CompileFailed::Refused(format!("{e:#}")) })
}
