//! What the doors ask of the journal beyond core's port: room for a whole request before its first record is appended, so
//! that a request is never refused when half of it is durable.

use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, PortError};
use alertmill_core::record::RecordBody;
use std::future::Future;

/// Promise: an append under room that was given is never refused because of what other requests hold; what is appended is
/// as durable as [`Journal::append`](alertmill_core::ports::Journal::append) says.
pub trait Intake: Send + Sync + 'static {
    /// Room of one request. It is given back when what was appended under it is folded.
    type Room: Send;

    /// Takes room for a request of so many bytes in memory, its body counted once. When there is none, nothing of the request
    /// may be appended, and the sender comes again.
    fn reserve(&self, bytes: usize) -> Result<Self::Room, PortError>;

    /// Bytes that one record may have, encoded. A larger one would be refused for ever.
    fn record_bytes_max(&self) -> usize;

    /// Appends one of the request's records. Without `parsed` its items are parsed again where they are read.
    fn append_in(&self, room: &mut Self::Room, body: RecordBody, parsed: Option<Vec<Item>>) -> impl Future<Output = Result<Appended, PortError>> + Send;

    /// Comes back when an append that was refused is worth another try.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}
