//! What this process and this thread have had of the machine. Figures are Linux's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static ALONE: Mutex<()> = Mutex::new(());

/// Held by each test of a file that measures memory: the figures are of the whole process.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What this thread has had of the processors.
pub fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("these figures are Linux's");
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds"))
}

/// A line of `/proc/self/status`, bytes.
pub fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("these figures are Linux's");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a line of that name");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
}

/// How far memory rises above what it is now.
pub struct Rise<'a> {
    before: u64,
    mapped_before: u64,
    _alone: &'a MutexGuard<'static, ()>,
}

impl<'a> Rise<'a> {
    pub fn from_now(alone: &'a MutexGuard<'static, ()>) -> Rise<'a> {
        std::fs::write("/proc/self/clear_refs", "5").expect("the peak can be set back (Linux 4.0)");
        Rise { before: status("VmRSS"), mapped_before: status("VmSize"), _alone: alone }
    }

    /// The highest point since, in bytes above the beginning.
    pub fn bytes(&self) -> u64 {
        status("VmHWM").saturating_sub(self.before)
    }

    /// Address space taken since and not given back, bytes.
    pub fn mapped_bytes(&self) -> u64 {
        status("VmSize").saturating_sub(self.mapped_before)
    }
}
