//! Decode of a whole body, and the records that its good items become. CPU only: large bodies run on a thread of their own.

use super::{Doors, Intake};
use crate::http::Problem;
use alertmill_core::decode::{ContentKind, DecodedRequest, Form, Refusal, decode_request};
use alertmill_core::item::Item;
use alertmill_core::record::{Door, DoorCounts, ITEMS_PER_RECORD_MAX, ItemSpan, Items, RawPayload, RecordBody};
use alertmill_core::value::Text;
use std::sync::Arc;

/// Bodies above it are decoded on a thread where they delay nobody.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// How a request says what it is.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub door: Door,
    pub kind: ContentKind,
    pub tenant: Text,
    pub source: Text,
    pub idempotency_key: Option<Text>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(super) struct Plan {
    /// Records with their parsed items, in order; a raw payload has none.
    pub records: Vec<(RecordBody, Option<Vec<Item>>)>,
    pub form: Form,
    pub refused: Vec<(u32, Refusal)>,
    pub counts: DoorCounts,
    /// Bytes of the body, which all records share, with what is journaled of the headers.
    pub body_bytes: usize,
    /// Rough bytes of the parsed items.
    pub parsed_bytes: usize,
}

impl Plan {
    /// One raw payload, which nobody has read yet.
    pub fn of_payload(payload: RawPayload) -> Plan {
        let (counts, body_bytes) = (payload.counts, payload.size_bytes());
        Plan { records: vec![(RecordBody::Payload(payload), None)], form: Form::Lone, refused: Vec::new(), counts, body_bytes, parsed_bytes: 0 }
    }

    /// Items that will be journaled.
    pub fn good(&self) -> u64 {
        self.counts.received - self.counts.refused - self.counts.duplicates
    }
}

impl<J: Intake> Doors<J> {
    /// Decodes a body; the inner error is a body of which nothing is taken.
    pub(super) async fn plan(&self, body: Vec<u8>, origin: Origin) -> Result<Result<Plan, Refusal>, Problem> {
        let items_max = self.config.items_max;
        if body.len() <= INLINE_BYTES_MAX {
            return Ok(plan(body, &origin, items_max));
        }
        let faulty = || crate::http::ProblemCode::Internal.problem("decode did not end; nothing was taken");
        let _permit = self.decoders.acquire().await.map_err(|_| faulty())?;
        tokio::task::spawn_blocking(move || plan(body, &origin, items_max)).await.map_err(|_| faulty())
    }
}

fn plan(body: Vec<u8>, origin: &Origin, items_max: usize) -> Result<Plan, Refusal> {
    let DecodedRequest { form, good, refused, duplicates, received } = decode_request(origin.door, &body, origin.kind, &origin.tenant, items_max)?;
    let heap: Arc<[u8]> = body.into();
    let mut records = Vec::with_capacity(good.len().div_ceil(ITEMS_PER_RECORD_MAX));
    let (body_bytes, mut parsed_bytes) = (heap.len(), 0);
    let mut good = good.into_iter();
    while good.len() > 0 {
        let n = good.len().min(ITEMS_PER_RECORD_MAX);
        let (mut spans, mut parsed) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for good in good.by_ref().take(n) {
            spans.push(ItemSpan { bytes: good.bytes.start as u32..good.bytes.end as u32, request_index: good.index });
            parsed_bytes += good.item.size_bytes();
            parsed.push(good.item);
        }
        let items = Items {
            tenant: origin.tenant.clone(),
            source: origin.source.clone(),
            door: origin.door,
            idempotency_key: origin.idempotency_key.clone(),
            counts: DoorCounts { received: n as u64, ..DoorCounts::default() },
            heap: heap.clone(),
            spans,
        };
        records.push((RecordBody::Items(items), Some(parsed)));
    }
    let counts = DoorCounts { received: received.into(), refused: refused.len() as u64, duplicates: duplicates.len() as u64 };
    Ok(Plan { records, form, refused, counts, body_bytes, parsed_bytes })
}
