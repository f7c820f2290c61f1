//! Shipping: what the local state holds, on its way to Elasticsearch and Redis. Behind the ports of
//! [`services`](crate::services); production and the simulator run the same loops.
//!
//! Four loops, each with one call in flight, so that nobody overtakes itself and one that is stuck holds up no other:
//! [`ship_alerts`] (whole, under an external version), [`ship_stream`] for events and for logs (once, op `create`), and
//! [`ship_snapshots`] (open alerts, to Redis). Every write can be repeated without harm. Loops keep one page in memory and
//! nothing else: what waits is in the state, and a page is read anew for each try where it may change.

mod alerts;
mod bulk;
mod keys;
mod snapshots;
mod stream;
#[cfg(test)]
mod tests;
mod version;

pub use alerts::ship_alerts;
pub use keys::SnapshotKeys;
pub use snapshots::ship_snapshots;
pub use stream::{log_id, ship_stream};
pub use version::{VERSION_MAX, base_above};

use super::conductor::Patience;
use crate::ports::PortError;
use crate::services::{Rest, ShipNews, ShipWatcher};

/// Bytes of documents in one call, about: Elasticsearch likes 5 to 15 MB.
pub const PAGE_BYTES: usize = 5 << 20;

/// What a loop waits for and tells of.
pub struct Surroundings<R, P, W> {
    /// Waiting for work.
    pub rest: R,
    /// Waiting between tries.
    pub patience: P,
    /// Counters.
    pub watcher: W,
    /// Bytes of documents in one call, about; [`PAGE_BYTES`] in production.
    pub page_bytes: usize,
}

impl<R: Rest, P: Patience, W: ShipWatcher> Surroundings<R, P, W> {
    /// Tells `n` of something, if there is any.
    fn tell(&mut self, n: usize, news: fn(u64) -> ShipNews) {
        if n > 0 {
            self.watcher.heard(news(n as u64));
        }
    }
}

/// Asks a port of ours until it answers; only an error that will never pass comes back. A macro, since what is asked borrows
/// the port anew for each try.
macro_rules! insist {
    ($patience:expr, $call:expr) => {{
        let mut tries = 0;
        loop {
            match $call.await {
                Ok(answer) => break Ok(answer),
                Err(error @ $crate::ports::PortError::Fatal(_)) => break Err(error),
                Err(error) => {
                    tries += 1;
                    $patience.pause(tries, &error).await;
                }
            }
        }
    }};
}
use insist;

/// The error that a pause names when a service put items off.
fn put_off(items: usize) -> PortError {
    PortError::Unavailable(format!("the service put off {items} items"))
}
