//! Decode: the bytes of one protocol -> items, or refusals with a code. Pure; the strict half of understanding.
//!
//! A door hands over a whole body ([`decode_request`]) and gets the good items, each with the span of its own bytes, and
//! the refused ones, each with a [`Refusal`]. The good items' bytes are journaled as sent. On replay [`decode_item`] reads
//! the same bytes again and gives the same item: what an item means rests on its bytes and the tenant, on nothing else.
//!
//! What a normalize rule made of a raw body comes the same way ([`decode_event`]).
//!
//! One bad item never costs its neighbours anything. A body whose items cannot be told apart is refused as a whole.
//!
//! What is filled in here: `event_id` (digest of the item's bytes). What waits for `pipeline::understand`, because it
//! rests on the record: `plugin_id` (name of the source) and `time` (`received_at`).
//!
//! The rules field by field are in `docs/coercion.md` and in [`coerce`](self::coerce)'s code, in the same order.

mod alertmanager;
mod code;
mod coerce;
mod normalized;
mod request;
mod rfc3339;
mod syntax;
mod tags;
#[cfg(test)]
mod tests;

pub use code::{Code, Refusal};
pub use coerce::{EVENT_ID_BYTES_MAX, KEY_BYTES_MAX, OUR_MARKS, TEXT_BYTES_MAX, TIME_S_MAX};
pub use normalized::decode_event;
pub use request::{ContentKind, DecodedRequest, Form, GoodItem, ITEMS_PER_REQUEST_MAX, decode_request};
pub use rfc3339::parse_rfc3339_ms;

use crate::item::{Item, ItemLimits, parse_item};
use crate::record::Door;

/// Longest item, bytes.
pub const ITEM_BYTES_MAX: usize = 1024 * 1024;

/// Reads one journaled item. `tenant` is the record's; `bytes` are those that [`decode_request`] gave a span of.
pub fn decode_item(door: Door, bytes: &[u8], tenant: &str) -> Result<Item, Refusal> {
    if bytes.len() > ITEM_BYTES_MAX {
        return Err(Refusal::item_too_large(bytes.len()));
    }
    match parse_item(bytes, ItemLimits::STRICT) {
        Ok(item) => understand(door, item, bytes, tenant),
        Err(error) => Err(syntax::refusal(bytes, &error)),
    }
}

/// Gives the parsed fields of one item the meaning that its door defines.
fn understand(door: Door, item: Item, bytes: &[u8], tenant: &str) -> Result<Item, Refusal> {
    let mut item = match door {
        Door::Events => coerce::coerce(item, bytes, tenant),
        Door::Alertmanager => alertmanager::to_item(item, bytes),
    }?;
    item.weigh();
    Ok(item)
}
