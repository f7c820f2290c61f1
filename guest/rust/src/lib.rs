//! Write rules for Alertmill: a struct, one trait, rows in, changes out.
//!
//! ```
//! use alertmill_rule::prelude::*;
//!
//! reads! { struct Event { level: Text = "tags.level" } }
//! writes! { struct Change { severity: Integer = "severity" } }
//!
//! struct Level;
//!
//! impl Enrich for Level {
//!     type Row<'a> = Event<'a>;
//!     type Change = Change;
//!     fn new(_config: &str) -> Result<Self, String> {
//!         Ok(Level)
//!     }
//!     fn enrich(&self, event: &Event, change: &mut Change) -> Result<(), String> {
//!         if event.level == Some("critical") {
//!             change.severity.set(1);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! export!(enrich: Level);
//! # fn main() {}
//! ```
//!
//! Fields are named once, in [`reads!`] and [`writes!`]; the compiler then knows them, and nothing looks a name up per row.
//! What crosses to the host are columns of a whole batch; this crate turns them into rows and back. The hooks are
//! [`Enrich`], [`Lookup`] (enrich with a table), [`Dedupe`] and [`Normalize`].
//!
//! **Imports are permissions.** A module imports `tables` only if it uses [`Lookup`], and `log` only if it calls [`log`]. So a
//! panic of a rule that does not log has no text: the host sees the trap, the row and the function names. Return `Err` for
//! what can be foreseen; call [`log::panics`] in `new` to have panics logged, at the price of the `log` permission.

// The generated code names this crate as its users do.
extern crate self as alertmill_rule;

#[cfg(all(target_arch = "wasm32", feature = "fast-alloc"))]
mod alloc;
mod columns;
mod dedupe;
mod enrich;
mod export;
pub mod log;
mod lookup;
mod manifest;
mod normalize;
pub mod patch;
pub mod row;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(test)]
mod tests;

#[doc(hidden)]
#[rustfmt::skip]
#[allow(missing_docs)]
#[path = "generated/rule.rs"]
pub mod bindings;

pub use bindings::alertmill::rules::types::Tag;
pub use dedupe::{Answer, Dedupe};
pub use enrich::Enrich;
pub use lookup::{Found, Lookup};
pub use manifest::When;
pub use normalize::{NewEvent, Normalize, Payload};
#[doc(hidden)]
pub use wit_bindgen;

/// What a rule's file needs: `use alertmill_rule::prelude::*;`.
pub mod prelude {
    pub use crate::{Answer, Dedupe, Enrich, Found, Lookup, NewEvent, Normalize, Payload, Tag, When};
    pub use crate::{export, reads, writes};
    pub use std::borrow::Cow;
}

/// What the macros expand to; not for use by hand.
#[doc(hidden)]
pub mod glue {
    pub use crate::bindings::alertmill::rules::types::{Batch, Column, Output, Patches};
    pub use crate::bindings::exports::alertmill::rules::{alert_rule, dedupe_rule, enrich_rule, lifecycle, normalize_rule};
    pub use crate::dedupe::DedupeHook;
    pub use crate::enrich::EnrichHook;
    pub use crate::export::{Slot, sections};
    pub use crate::lookup::LookupHook;
    pub use crate::manifest::{Hook, manifest};
    pub use crate::normalize::NormalizeHook;
}
