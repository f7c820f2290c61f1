//! The HTTP listener and what stands before every route: [`listener`] (sockets, time-outs, caps), [`strict`] (what hyper
//! lets through and we do not), [`body`] (bounded reading), [`problem`] (how errors look).
//!
//! hyper alone is not a hardened door: it takes missing and doubled `Host` headers, any method, `gzip, chunked`, and waits
//! for ever for a stalled body. `tests/corpus.rs` posts the raw shapes to a real socket.

pub mod body;
pub mod budget;
pub mod code;
mod framing;
pub mod guard;
pub mod listener;
pub mod problem;
pub mod spool;
pub mod strict;

pub use body::{BodyLimits, ReadBody, read_body};
pub use budget::{Budget, Lease};
pub use code::ProblemCode;
pub use listener::{Listener, ListenerLimits, ListenerStats, Peer};
pub use problem::Problem;
pub use strict::HostPolicy;
