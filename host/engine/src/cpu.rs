//! How much of a processor the calling thread has had.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Since the thread began.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
