//! Decisions of Alertmill. Nothing here waits on a socket, reads a clock or names the WASM engine: time, randomness and
//! storage come in as arguments or behind the traits of [`ports`] and [`rules`].
//!
//! The way of one event, in order:
//! 1. [`decode`]: bytes of one protocol -> items, or refusals with a code;
//! 2. [`record`]: good items become a journal record, and the sender is answered when it is durable;
//! 3. [`pipeline::understand`]: item -> cleaned [`event::Event`], uid, or a dead letter;
//! 4. [`pipeline::enrich_events`], [`pipeline::dedupe`]: user rules ([`rules`]), then the fingerprint;
//! 5. [`alert`]: open alerts + events + time -> alerts, logs, timers;
//! 6. [`ports`]: one commit of state, position, ledger, event lists and outbox;
//! 7. [`pipeline::ship`]: what was committed, on its way to Elasticsearch and Redis ([`services`]).

pub mod alert;
pub mod alert_fields;
pub mod audit;
pub mod command;
pub mod decode;
pub mod event;
pub mod fields;
pub mod identity;
pub mod item;
pub mod ledger;
pub mod letter;
pub mod payload;
pub mod pipeline;
pub mod ports;
pub mod python;
pub mod record;
pub mod row;
pub mod rule_set;
pub mod rules;
pub mod services;
pub mod value;
pub mod verdict;
pub mod version_change;
