//! How long something took, and how much of that time the calling thread had a processor.

use rustix::time::{ClockId, clock_gettime};
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// A moment of the calling thread.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub at: Instant,
    ran: Duration,
}

/// Time since a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub wall: Duration,
    /// Of it, the thread had a processor.
    pub ran: Duration,
}

impl Moment {
    pub fn now() -> Moment {
        Moment { at: Instant::now(), ran: thread_time() }
    }

    pub fn took(&self) -> Took {
        Took { wall: self.at.elapsed(), ran: thread_time().saturating_sub(self.ran) }
    }
}

impl Took {
    /// The machine stood still for most of it, or had no processor for the thread.
    pub fn is_mostly_waiting(&self) -> bool {
        self.ran * 2 < self.wall
    }
}

impl AddAssign for Took {
    fn add_assign(&mut self, more: Took) {
        self.wall += more.wall;
        self.ran += more.ran;
    }
}

/// Since the thread began.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
