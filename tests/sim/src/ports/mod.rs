//! Core's ports over the simulated world.

mod elasticsearch;
mod journal;
mod outbox;
mod queue;
mod records;
mod redis;
mod rules;
mod store;

pub use elasticsearch::FakeElasticsearch;
pub use journal::{FakeJournal, writer};
pub use outbox::FakeOutbox;
pub use queue::{Channel, FakePatience, Receiver, Sender};
pub use records::FakeRecords;
pub use redis::{FakeRedis, FakeRest, News, forgetting};
pub use rules::{FakeAlertChain, FakeChain, FakeRules};
pub use store::{FakeStore, Watcher};
