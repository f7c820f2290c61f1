//! Modules are compiled by a child: this same program, started again, within limits of memory and processor time that it sets
//! itself before it reads a byte ([`child`]). A module that costs more ends with its child. The limits bound what compiling
//! costs; the code that comes back runs in this process, so the child is no sandbox.

pub mod child;
mod kept;

use crate::config::types::ByteSize;
use crate::config::{Config, Rules};
use alertmill_engine::{CodeCache, Compile, CompileFailed, InProcess};
use alertmill_stores::compiled::CompiledFiles;
use child::{CODE, MEMORY, REFUSED};
use rustix::process::Signal;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

/// This program as it was when it started, which knows how to be the child: a file that is put in its place later would
/// compile for another version.
static THIS_PROGRAM: OnceLock<Program> = OnceLock::new();

/// A program that knows how to be the child.
#[derive(Clone, Debug)]
pub struct Program(Result<Arc<File>, String>);

impl Program {
    /// The program in this file, held open.
    pub fn at(path: impl Into<PathBuf>) -> Program {
        let path = path.into();
        Program(File::open(&path).map(Arc::new).map_err(|e| format!("{} cannot be opened: {e}", path.display())))
    }

    /// Holds the program that runs. Called by `main`: tests are other programs, and compile in their own process.
    pub fn hold_this_one() {
        let _ = THIS_PROGRAM.set(Program::at("/proc/self/exe"));
    }
}

/// The compiler that the configuration asks for.
pub fn compiler(rules: &Rules) -> Box<dyn Compile> {
    match THIS_PROGRAM.get() {
        Some(program) if rules.compile_processes > 0 => Box::new(Children::new(program.clone(), Limits::of(rules))),
        Some(_) => {
            tracing::warn!("rules.compile_processes = 0: modules are compiled in the server's own process, without limits of memory and time");
            Box::new(InProcess)
        }
        None => Box::new(InProcess),
    }
}

/// The compiled code that the configuration lets the data folder keep.
pub fn cache(config: &Config) -> Option<Box<dyn CodeCache>> {
    let bytes = config.rules.compiled_size.0;
    (bytes > 0).then(|| Box::new(kept::KeptCode(CompiledFiles::open(&config.data.dir, bytes))) as Box<dyn CodeCache>)
}

/// What children may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Address space of one.
    pub memory: ByteSize,
    /// Processor time of one, seconds.
    pub cpu_s: u32,
    /// Seconds that one may take in all: one that waits for something, or gets nothing of a busy machine, is ended too.
    pub wall_s: u64,
    /// How many at once; who comes later waits.
    pub processes: u32,
}

impl Limits {
    fn of(rules: &Rules) -> Limits {
        let cpu_s = rules.compile_cpu_s;
        Limits { memory: rules.compile_memory, cpu_s, wall_s: WALL_LEAST_S + 10 * u64::from(cpu_s), processes: rules.compile_processes }
    }
}

/// On a machine with other work a child, which stands behind, may get a tenth of a processor.
const WALL_LEAST_S: u64 = 60;
/// Code that is longer is refused.
const CODE_BYTES_MAX: u64 = 512 << 20;
/// What is kept of the child's words.
const WORDS_BYTES_MAX: u64 = 4 << 10;

/// Compiles in child processes.
pub struct Children {
    program: Program,
    limits: Limits,
    running: Mutex<u32>,
    ended: Condvar,
}

impl Children {
    /// Of this program, within these limits.
    pub fn new(program: Program, limits: Limits) -> Children {
        Children { program, limits, running: Mutex::new(0), ended: Condvar::new() }
    }

    fn start(&self) -> io::Result<Child> {
        let program = self.program.0.as_ref().map_err(|why| io::Error::other(why.clone()))?;
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg0(child::NAME).arg(self.limits.memory.0.to_string()).arg(self.limits.cpu_s.to_string()).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// What the child answered, or why it did not.
    fn judge(&self, ended: Ended) -> Result<Vec<u8>, CompileFailed> {
        let Ended { status, mut answer, words, is_late } = ended;
        let limit = |what: &str, key: &str| Err(CompileFailed::Limit(format!("{what} ({key}); make the module smaller, or raise the limit")));
        let memory = || limit(&format!("more than {} of memory", self.limits.memory), "rules.compile_memory");
        if is_late {
            return limit(&format!("more than {} s in all", self.limits.wall_s), "ten times rules.compile_cpu_s and a minute");
        }
        if answer.len() as u64 > CODE_BYTES_MAX {
            return Err(CompileFailed::Limit(format!("more than {} of code; make the module smaller", ByteSize(CODE_BYTES_MAX))));
        }
        if !status.success() {
            return match status.signal().and_then(Signal::from_named_raw) {
                Some(Signal::XCPU) => limit(&format!("more than {} s of processor time", self.limits.cpu_s), "rules.compile_cpu_s"),
                // Rust's words when there is no memory, and then it aborts.
                Some(Signal::ABORT) if words.contains("memory allocation") => memory(),
                Some(Signal::KILL) => Err(CompileFailed::Limit(
                    "the system killed the compiler, as it does where memory is short; make the module smaller, or give the machine more memory".to_owned(),
                )),
                Some(Signal::ABORT | Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE) => {
                    Err(CompileFailed::Refused(format!("the compiler crashed ({status}): {words}")))
                }
                _ => Err(CompileFailed::Unavailable(format!("the compiler's process ended with {status}: {words}"))),
            };
        }
        // Machine code may be long, and is not copied.
        let tag = (!answer.is_empty()).then(|| answer.remove(0));
        let said = || String::from_utf8_lossy(&answer).into_owned();
        match tag {
            Some(CODE) => Ok(answer),
            Some(REFUSED) => Err(CompileFailed::Refused(said())),
            Some(MEMORY) => memory(),
            _ => Err(CompileFailed::Unavailable(format!("the compiler's process answered nothing: {}{words}", said()))),
        }
    }
}

impl Compile for Children {
    fn compile(&self, component: &[u8]) -> Result<Vec<u8>, CompileFailed> {
        let _turn = Turn::take(self);
        let child = self.start().map_err(|e| {
            CompileFailed::Unavailable(format!("no compiler process can be started: {e}; where that is not allowed, set rules.compile_processes = 0"))
        })?;
        let ended = converse(child, component, Duration::from_secs(self.limits.wall_s));
        self.judge(ended.map_err(|e| CompileFailed::Unavailable(format!("the compiler's process cannot be spoken to: {e}")))?)
    }
}

/// One of the children that may run.
struct Turn<'a>(&'a Children);

impl Turn<'_> {
    fn take(children: &Children) -> Turn<'_> {
        let mut running = children.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= children.limits.processes.max(1) {
            running = children.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Turn(children)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}

struct Ended {
    status: ExitStatus,
    answer: Vec<u8>,
    words: String,
    is_late: bool,
}

/// Hands over the component, takes the answer, and waits for the end, which comes by force after `wall`. The child is reaped.
fn converse(mut child: Child, component: &[u8], wall: Duration) -> io::Result<Ended> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("a pipe is missing"));
    };
    std::thread::scope(|scope| {
        let words = scope.spawn(|| read_at_most(stderr, WORDS_BYTES_MAX));
        let (sender, receiver) = mpsc::channel();
        scope.spawn(move || {
            // A child that ends early closes the pipe; why it did is what it answers, or its status.
            let _ = stdin.write_all(component);
            drop(stdin);
            let _ = sender.send(read_at_most(stdout, CODE_BYTES_MAX + 1));
        });
        let answer = receiver.recv_timeout(wall);
        if answer.is_err() {
            child.kill()?;
        }
        // Its answer may be whole before it has ended; it has nothing else to do.
        let status = child.wait()?;
        let words = words.join().unwrap_or_default();
        Ok(Ended { status, is_late: answer.is_err(), answer: answer.unwrap_or_default(), words: String::from_utf8_lossy(&words).trim().to_owned() })
    })
}

/// The first bytes; the rest is read and thrown away, so that nobody waits.
fn read_at_most(mut from: impl Read, bytes: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    let _ = from.by_ref().take(bytes).read_to_end(&mut kept);
    let _ = io::copy(&mut from, &mut io::sink());
    kept
}
