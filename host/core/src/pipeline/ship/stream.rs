//! Events and logs to Elasticsearch: each once, under an id that is the same however often it is sent. They never change, so
//! `create` and "already there" are the whole story.

use super::bulk::{Answer, bulk_in_pieces};
use super::{Surroundings, insist, put_off};
use crate::event::Uid;
use crate::pipeline::conductor::Patience;
use crate::ports::PortError;
use crate::services::{
    BulkItem, DocumentPlace, Documents, Family, ItemOutcome, Refusal, Rest, ShipNews, ShipWatcher, Stream, StreamDocument, StreamOutbox, WriteOp,
};
use crate::value::{Text, Value};
use sha2::{Digest, Sha256};

/// `_id` of a log document: a digest of the document. No two entries are equal: each names its alert, its operation and the
/// event that caused it, and those that no event caused end the alert, which happens once. It so does not depend on where
/// commits were cut, and an entry that a restored state makes again is the same document.
pub fn log_id(document: &[u8]) -> Text {
    let digest = Sha256::digest(document);
    Uid(std::array::from_fn(|i| digest[i])).to_hex()
}

/// Ships one stream until the outbox fails for good. A page is sent until the service has taken or refused all of it.
pub async fn ship_stream<R: Rest, P: Patience, W: ShipWatcher>(
    stream: Stream,
    outbox: &mut impl StreamOutbox,
    documents: &mut impl Documents,
    around: &mut Surroundings<R, P, W>,
) -> PortError {
    loop {
        let page = match insist!(around.patience, outbox.next_documents(stream, around.page_bytes)) {
            Ok(page) => page,
            Err(fatal) => return fatal,
        };
        if page.documents.is_empty() {
            around.rest.rest(page.position).await;
            continue;
        }
        let refused = ship_page(stream, documents, &page.documents, around).await;
        if let Err(fatal) = insist!(around.patience, outbox.settle_documents(stream, page.end, &refused)) {
            return fatal;
        }
    }
}

async fn ship_page<R: Rest, P: Patience, W: ShipWatcher>(
    stream: Stream,
    documents: &mut impl Documents,
    page: &[StreamDocument],
    around: &mut Surroundings<R, P, W>,
) -> Vec<Refusal> {
    let family = match stream {
        Stream::Events => Family::Event,
        Stream::Logs => Family::Log,
    };
    let mut refused = Vec::new();
    let mut open: Vec<&StreamDocument> = page.iter().collect();
    let mut tries = 0;
    while !open.is_empty() {
        let items: Vec<BulkItem<'_>> = open
            .iter()
            .map(|one| {
                let place = DocumentPlace { index: family.index(one.index_time_s), id: one.id.clone() };
                BulkItem { place, op: WriteOp::Create, document: &one.document }
            })
            .collect();
        let (answers, error) = bulk_in_pieces(documents, &items).await;
        let (sent, mut stored, mut there, mut later, before) = (open.len(), 0, 0, 0, refused.len());
        if answers.contains(&Answer::Unclear) {
            around.watcher.heard(ShipNews::Unclear);
        }
        let mut answers = answers.into_iter();
        open.retain(|one| match answers.next() {
            Some(Answer::Known(ItemOutcome::Stored)) => {
                stored += 1;
                false
            }
            Some(Answer::Known(ItemOutcome::AlreadyThere | ItemOutcome::VersionConflict)) => {
                there += 1;
                false
            }
            Some(Answer::Known(ItemOutcome::Refused(reason))) => {
                refused.push(refusal(family, one, reason));
                false
            }
            Some(Answer::Known(ItemOutcome::Later)) => {
                later += 1;
                true
            }
            // What may be done is sent again: then it is already there.
            Some(Answer::Unclear | Answer::NotSent) | None => true,
        });
        around.tell(stored, ShipNews::Stored);
        around.tell(there, ShipNews::AlreadyThere);
        around.tell(later, ShipNews::Later);
        around.tell(refused.len() - before, ShipNews::Refused);
        if !open.is_empty() {
            tries = if open.len() < sent { 1 } else { tries + 1 };
            around.patience.pause(tries, &error.unwrap_or_else(|| put_off(later))).await;
        }
    }
    refused
}

fn refusal(family: Family, one: &StreamDocument, reason: String) -> Refusal {
    let tenant = if one.tenant.is_empty() {
        let said = Value::from_json(&one.document).ok();
        said.as_ref().and_then(|value| value.get("bk_tenant_id")).and_then(Value::as_text).map(Text::new).unwrap_or_default()
    } else {
        one.tenant.clone()
    };
    Refusal { family, id: one.id.clone(), tenant, reason, document: one.document.clone() }
}
