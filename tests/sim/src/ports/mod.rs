//! Core's ports over the simulated world.

mod elasticsearch;
mod halts;
mod journal;
mod judge;
mod outbox;
mod queue;
mod records;
mod redis;
mod rules;
mod store;

pub use elasticsearch::FakeElasticsearch;
pub use halts::FakeHalts;
pub use journal::{FakeJournal, writer};
pub use judge::{known_of, policy};
pub use outbox::FakeOutbox;
pub use queue::{Channel, FakePatience, Receiver, Sender};
pub use records::FakeRecords;
pub use redis::{FakeRedis, FakeRest, News, forgetting};
pub use rules::{FakeAlertChain, FakeChain, FakeRules, JUDGED};
pub use store::{FakeStore, Watcher};
