//! The child: `alertmill` under another name. It limits itself, reads a component, compiles it, answers and ends.
//!
//! stdin: the component. stdout: one byte that says what follows, then machine code or words. stderr: whatever Rust says when it
//! breaks off. Arguments: bytes of memory, seconds of processor time.

use alertmill_engine::{CompileFailed, compile_alone};
use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
use std::io::{self, Read, Write};
use std::process::ExitCode;

/// What the program is called when it is to be the child.
pub const NAME: &str = "alertmill-compile";
/// Machine code follows.
pub const CODE: u8 = b'c';
/// Words of the compiler, which refuses the component.
pub const REFUSED: u8 = b'r';
/// There was no memory.
pub const MEMORY: u8 = b'm';
/// Words: the child cannot do its work.
const FAILED: u8 = b'f';

/// Behind what the server does, and not so far that a busy machine leaves it nothing.
const NICE: i32 = 5;
const FILES: u64 = 8;

/// Is the child, if that is what this process was started as.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().map(|arg| arg.into_string().unwrap_or_default());
    if args.next()? != NAME {
        return None;
    }
    let mut number = || args.next().and_then(|arg| arg.parse().ok());
    let (tag, content) = match (number(), number()) {
        (Some(memory), Some(cpu_s)) => answer(memory, cpu_s),
        _ => (FAILED, format!("{NAME} is a part of `alertmill serve`: it wants bytes of memory and seconds of processor time").into_bytes()),
    };
    let written = io::stdout().write_all(&[tag]).and_then(|()| io::stdout().write_all(&content)).and_then(|()| io::stdout().flush());
    Some(if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn answer(memory: u64, cpu_s: u64) -> (u8, Vec<u8>) {
    if let Err(e) = limit(memory, cpu_s) {
        return (FAILED, format!("its limits cannot be set: {e}").into_bytes());
    }
    let mut component = Vec::new();
    if let Err(e) = io::stdin().read_to_end(&mut component) {
        let tag = if e.kind() == io::ErrorKind::OutOfMemory { MEMORY } else { FAILED };
        return (tag, format!("the component cannot be read: {e}").into_bytes());
    }
    match compile_alone(&component) {
        Ok(code) => (CODE, code),
        Err(CompileFailed::Refused(why)) => (REFUSED, why.into_bytes()),
        Err(CompileFailed::Limit(why)) => (MEMORY, why.into_bytes()),
        Err(CompileFailed::Unavailable(why)) => (FAILED, why.into_bytes()),
    }
}

fn limit(memory: u64, cpu_s: u64) -> rustix::io::Result<()> {
    let both = |n: u64| Rlimit { current: Some(n), maximum: Some(n) };
    // Where memory is short for everybody, the child goes before the server does; nobody may be there to be told.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // Early, so that a parent that ends now takes the child along.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    setrlimit(Resource::Core, both(0))?;
    setrlimit(Resource::Fsize, both(0))?;
    setrlimit(Resource::Nofile, both(FILES))?;
    // At the first the kernel sends a signal that names the cause, at the second it kills.
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu_s), maximum: Some(cpu_s + 1) })?;
    setrlimit(Resource::As, both(memory))?;
    nice(NICE)?;
    Ok(())
}
