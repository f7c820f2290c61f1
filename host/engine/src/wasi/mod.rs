//! Stand-ins for what the runtimes of languages import of WASI 0.2, whether a rule needs it or not. All of them are constant,
//! so that a rule stays a function of its row, its tables and its config: no arguments and no environment, a clock that
//! stands at 0, the same "random" bytes whenever it asks, a standard input that is at its end. What is printed is kept for the
//! message of a failing call. They can do nothing, so that they need no grant.
//!
//! Files, sockets and HTTP have no stand-in: a rule that asks for them means it.

mod cli;
mod clocks;
mod io;
mod printed;
mod random;

use crate::host::Host;
use crate::interface::Offer;
pub(crate) use printed::{Output, Printed};
use wasmtime::component::{Linker, LinkerInstance};

/// What may be imported. The linker has exactly these.
pub(crate) const OFFERED: [Offer; 18] = [
    ("wasi:cli/environment", cli::ENVIRONMENT),
    ("wasi:cli/exit", cli::EXIT),
    ("wasi:cli/stderr", cli::STDERR),
    ("wasi:cli/stdin", cli::STDIN),
    ("wasi:cli/stdout", cli::STDOUT),
    ("wasi:cli/terminal-input", cli::TERMINAL_INPUT),
    ("wasi:cli/terminal-output", cli::TERMINAL_OUTPUT),
    ("wasi:cli/terminal-stderr", cli::TERMINAL_STDERR),
    ("wasi:cli/terminal-stdin", cli::TERMINAL_STDIN),
    ("wasi:cli/terminal-stdout", cli::TERMINAL_STDOUT),
    ("wasi:clocks/monotonic-clock", clocks::MONOTONIC),
    ("wasi:clocks/wall-clock", clocks::WALL),
    ("wasi:io/error", io::ERROR),
    ("wasi:io/poll", io::POLL),
    ("wasi:io/streams", io::STREAMS),
    ("wasi:random/insecure", random::INSECURE),
    ("wasi:random/insecure-seed", random::INSECURE_SEED),
    ("wasi:random/random", random::RANDOM),
];

/// Handles that one instance may hold; the host keeps a place for each.
const HANDLES_MAX: u32 = 256;

/// State of the stand-ins of one instance.
#[derive(Default)]
pub(crate) struct StandIns {
    pub printed: Printed,
    handles: u32,
}

impl StandIns {
    /// A call begins.
    pub fn begin_call(&mut self) {
        self.printed.forget();
    }

    fn opened(&mut self) -> Result<(), Misuse> {
        if self.handles >= HANDLES_MAX {
            return Err(Misuse::Handles);
        }
        self.handles += 1;
        Ok(())
    }

    fn closed(&mut self) {
        self.handles = self.handles.saturating_sub(1);
    }
}

/// A rule did with a stand-in what ends its call.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Misuse {
    #[error("the rule called `exit`; a rule returns from each call")]
    Exit,
    #[error("the rule holds {HANDLES_MAX} streams and pollables; it has to drop those that it does not use")]
    Handles,
    #[error("the rule wrote {0} bytes to a stream at once, which takes {max}", max = io::WRITE_BYTES_MAX)]
    Write(u64),
    #[error("the rule wanted {0} random bytes at once, and may have {max}", max = random::BYTES_MAX)]
    Random(u64),
    #[error("the rule waits for nothing: `poll` with an empty list")]
    Poll,
}

/// Adds all of them.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    io::link(linker)?;
    cli::link(linker)?;
    clocks::link(linker)?;
    random::link(linker)
}

/// wasmtime takes any 0.2 for any other; which ones a rule may ask for is for `interface` to say.
fn instance<'a>(linker: &'a mut Linker<Host>, name: &str) -> wasmtime::Result<LinkerInstance<'a, Host>> {
    linker.instance(&format!("{name}@0.2.0"))
}

type Cx<'a> = wasmtime::StoreContextMut<'a, Host>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_counted_until_they_are_dropped() {
        let mut stand_ins = StandIns::default();
        assert!((0..HANDLES_MAX).all(|_| stand_ins.opened().is_ok()));
        assert!(stand_ins.opened().is_err_and(|misuse| misuse.to_string().contains("256 streams")));
        stand_ins.begin_call();
        assert!(stand_ins.opened().is_err(), "an instance keeps them from call to call");
        stand_ins.closed();
        assert!(stand_ins.opened().is_ok());
    }

    #[test]
    fn no_interface_or_function_is_offered_twice() {
        for (i, (name, parts)) in OFFERED.iter().enumerate() {
            assert!(OFFERED[..i].iter().all(|(known, _)| known != name), "{name}");
            for (j, (part, _)) in parts.iter().enumerate() {
                assert!(parts[..j].iter().all(|(known, _)| known != part), "{name}#{part}");
            }
        }
    }
}
