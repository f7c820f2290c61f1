//! Core's ports over the simulated world.

mod journal;
mod queue;
mod records;
mod rules;
mod store;

pub use journal::{FakeJournal, writer};
pub use queue::{Channel, FakePatience, Receiver, Sender};
pub use records::FakeRecords;
pub use rules::{FakeChain, FakeRules};
pub use store::{FakeStore, Watcher};
