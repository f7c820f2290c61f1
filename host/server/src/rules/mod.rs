//! Live versions of rules: which version runs under which name, and who may change that.
//!
//! The rules folder, the API, tables that were refreshed and rules that failed too often all ask one place, the
//! [`RuleKeeper`]. It checks outside of any lock, decides in milliseconds, and writes each decision as one record: the next
//! generation. What a change makes of a set is in [`slots`], which neither waits nor reads.

mod keeper;
#[cfg(test)]
mod keeper_tests;
pub mod quarantine;
pub mod slots;
pub mod version;

pub use keeper::{Ask, Changed, Condition, RuleKeeper, Shown, Who};
