//! The two halves of the pipeline, in the order of the way of an event.
//!
//! *Prepare*: [`mod@normalize`] for raw payloads, [`understand`] ([`redrive`] for dead letters that are tried again), [`enrich_events`],
//! [`mod@dedupe`], put together in [`mod@prepare`]. *Fold*: [`fold`]. The loops that join both to journal and store are in
//! [`conductor`]; production and the simulator run the same ones. *Ship*: what was saved goes to services ([`ship`]).

pub mod clean;
pub mod clock_records;
pub mod conductor;
pub mod dedupe;
pub mod enrich_events;
pub mod expiry;
pub mod fingerprint;
pub mod fold;
pub mod in_flight;
pub mod normalize;
pub mod prepare;
pub mod redrive;
pub mod rekey;
pub mod ship;
pub mod understand;
