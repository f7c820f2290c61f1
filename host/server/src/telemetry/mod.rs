//! What the process says about itself: its log on stderr, and numbers at `/metrics`.
//!
//! Numbers live where they arise, as atomics of doors, journal, pipeline and engine. [`Sources`] holds one function for each
//! of them, which is called when somebody asks; nothing is copied in between.

mod adapters;
pub mod histogram;
pub mod log;
mod metrics;
mod process;
mod sources;
#[cfg(test)]
mod tests;

pub use histogram::{Histogram, HistogramSnapshot};
pub use metrics::{CONTENT_TYPE as METRICS_CONTENT_TYPE, Metrics, imbalance};
pub use process::build_info;
pub use sources::{
    AlertsSnapshot, CommandsSnapshot, DoorSnapshot, EngineSnapshot, Handle, JournalSnapshot, ListenerSnapshot, PipelineSnapshot, Sources, handle,
};
