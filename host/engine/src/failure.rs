//! A call into a rule that gave no usable answer: which kind, and in words.

use crate::limits::{Growth, Limit};
use crate::wasi::Misuse;
use wasmtime::{Trap, WasmBacktrace};

/// Kinds of failure, as rows, metrics and the API name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The code crashed.
    Trap,
    /// It used up its stack.
    Stack,
    /// It was still running at its time limit.
    Deadline,
    /// It crashed after it was refused more memory.
    Memory,
    /// Its answer is too large or contradicts itself.
    Output,
    /// Its answer is no value of the contract: bad text, bad pointer.
    Lift,
    /// The rows could not be handed over: its allocator misbehaved, or the host was about to mix tenants.
    Lower,
    /// Its answer names a row that is not there, or one twice.
    RowIndex,
    /// Not one dedupe answer per row.
    Arity,
    /// It said itself that it cannot judge the row.
    RowError,
    /// It changed what its manifest does not name.
    UndeclaredWrite,
    /// It wrote a value that the field cannot hold.
    PatchInvalid,
    /// It looked up more keys, longer ones or larger answers than it may.
    LookupBudget,
    /// It opened more tables than it may.
    Handles,
    /// No instance could be made ready.
    Init,
    /// Not called: it failed too often or too long.
    StruckOut,
    /// Not called: the generation holds it in quarantine.
    Quarantined,
}

impl FailureKind {
    /// All of them, as declared.
    pub const ALL: [FailureKind; 17] = [
        FailureKind::Trap,
        FailureKind::Stack,
        FailureKind::Deadline,
        FailureKind::Memory,
        FailureKind::Output,
        FailureKind::Lift,
        FailureKind::Lower,
        FailureKind::RowIndex,
        FailureKind::Arity,
        FailureKind::RowError,
        FailureKind::UndeclaredWrite,
        FailureKind::PatchInvalid,
        FailureKind::LookupBudget,
        FailureKind::Handles,
        FailureKind::Init,
        FailureKind::StruckOut,
        FailureKind::Quarantined,
    ];

    /// The word on rows and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Stack => "stack",
            FailureKind::Deadline => "deadline",
            FailureKind::Memory => "memory",
            FailureKind::Output => "output",
            FailureKind::Lift => "lift",
            FailureKind::Lower => "lower",
            FailureKind::RowIndex => "row-index",
            FailureKind::Arity => "arity",
            FailureKind::RowError => "row-error",
            FailureKind::UndeclaredWrite => "undeclared-write",
            FailureKind::PatchInvalid => "patch-invalid",
            FailureKind::LookupBudget => "lookup-budget",
            FailureKind::Handles => "handles",
            FailureKind::Init => "init",
            FailureKind::StruckOut => "struck-out",
            FailureKind::Quarantined => "quarantined",
        }
    }

    /// It rests on time or on the machine: asked again, the rule might judge the row. What is decided so is journaled.
    pub(crate) const fn may_pass(self) -> bool {
        // How large a frame of the stack is, the compiler decides.
        matches!(self, FailureKind::Deadline | FailureKind::Init | FailureKind::Stack | FailureKind::StruckOut)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallFailure {
    pub kind: FailureKind,
    pub message: String,
    /// The limit that it ran into, if it was one.
    pub limit: Option<Limit>,
}

impl CallFailure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> CallFailure {
        CallFailure { kind, message: message.into(), limit: None }
    }

    /// The same, because of that limit.
    pub fn at(self, limit: Limit) -> CallFailure {
        CallFailure { limit: Some(limit), ..self }
    }

    /// What the rule itself says of a row that it cannot judge.
    pub fn by_rule(message: &str) -> CallFailure {
        CallFailure::new(FailureKind::RowError, if message.is_empty() { "the rule gave no reason" } else { message })
    }

    /// Reads wasmtime's error. `growth` knows whether memory was refused during the call.
    pub fn of(error: &wasmtime::Error, growth: &mut Growth) -> CallFailure {
        let denied = growth.take_memory_denied();
        if let Some(budget) = error.downcast_ref::<Budget>() {
            return CallFailure::new(budget.kind(), budget.to_string()).at(budget.limit());
        }
        if let Some(misuse) = error.downcast_ref::<Misuse>() {
            return CallFailure::new(FailureKind::Trap, misuse.to_string());
        }
        let kind = match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => FailureKind::Deadline,
            Some(Trap::StackOverflow) => FailureKind::Stack,
            _ if denied => FailureKind::Memory,
            Some(_) => FailureKind::Trap,
            None => kind_of_host_error(error),
        };
        CallFailure { limit: limit_of(kind), ..CallFailure::new(kind, in_words(kind, error)) }
    }
}

/// The limit behind an error of wasmtime's.
const fn limit_of(kind: FailureKind) -> Option<Limit> {
    match kind {
        FailureKind::Deadline => Some(Limit::TimeMs),
        FailureKind::Memory => Some(Limit::MemoryBytes),
        FailureKind::Output => Some(Limit::OutputBytes),
        FailureKind::Stack => Some(Limit::Stack),
        _ => None,
    }
}

/// A rule used more of a host service than it may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Budget {
    #[error("more than {0} keys looked up in one call; raise limits.lookups or look up fewer")]
    Lookups(u32),
    #[error("a key of {0} bytes was looked up; a key has at most 1024")]
    Key(usize),
    #[error("a table's answer has more than {0} bytes; look up fewer keys at once, or open fewer columns")]
    TableAnswer(usize),
    #[error("more than {0} tables open at once; drop handles, or raise limits.table_handles")]
    Handles(u32),
}

impl Budget {
    const fn kind(self) -> FailureKind {
        match self {
            Budget::Lookups(_) | Budget::Key(_) | Budget::TableAnswer(_) => FailureKind::LookupBudget,
            Budget::Handles(_) => FailureKind::Handles,
        }
    }

    const fn limit(self) -> Limit {
        match self {
            Budget::Lookups(_) | Budget::Key(_) | Budget::TableAnswer(_) => Limit::Lookups,
            Budget::Handles(_) => Limit::TableHandles,
        }
    }
}

/// wasmtime has no public types for these. A module for each kind (`rules/misbehaving/src/exceeds.rs`) holds the texts to it.
fn kind_of_host_error(error: &wasmtime::Error) -> FailureKind {
    let text = error.root_cause().to_string();
    if text.contains("fuel allocated for hostcalls") {
        FailureKind::Output
    } else if text.contains("realloc") {
        FailureKind::Lower
    } else {
        FailureKind::Lift
    }
}

fn in_words(kind: FailureKind, error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    let mut text = match kind {
        FailureKind::Deadline => "still running at its time limit".to_owned(),
        FailureKind::Memory => format!("memory limit reached, then: {cause}"),
        FailureKind::Output => format!("its answer is too large: {cause}"),
        _ => cause,
    };
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        let frames: Vec<String> = trace.frames().iter().filter_map(|frame| frame.func_name()).map(demangled).filter(|name| !is_noise(name)).take(8).collect();
        if !frames.is_empty() {
            text.push_str(", in ");
            text.push_str(&frames.join(" < "));
        }
    }
    text
}

fn demangled(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    name.chars().take(120).collect()
}

/// Frames between a panic and the code that panicked.
fn is_noise(name: &str) -> bool {
    ["__rust", "rust_panic", "rust_begin_unwind", "core::panicking", "std::panicking", "std::process::abort", "abort", "std::sys"]
        .iter()
        .any(|noise| name.starts_with(noise))
}
