//! The embedded store as the API reads it.

use super::reads::{AlertFilter, AlertReads, AlertRow, DeadLetterRow, EventRow, Page, ReadError};
use alertmill_core::ports::{EventRole, LedgerValue};
use alertmill_stores::StoreError;
use alertmill_stores::embedded::{self, EmbeddedReader};
use alertmill_stores::event_segments::EventRead;

impl AlertReads for EmbeddedReader {
    fn list_alerts(&self, filter: &AlertFilter, after: Option<u128>, limit: usize, documents: bool) -> Result<Page<AlertRow>, ReadError> {
        let filter = of_store(filter);
        let read = |after: Option<u128>, rows| EmbeddedReader::list_alerts(self, &filter, rows, after.map(low), documents);
        let bytes = |row: &embedded::AlertRow| row.document.as_ref().map_or(0, Vec::len);
        let chunk = if documents { DOCUMENTS_AT_ONCE } else { limit };
        page(after, limit, chunk, read, |row| u128::from(row.seq), bytes, alert)
    }

    fn count_alerts(&self, filter: &AlertFilter) -> Result<Option<u64>, ReadError> {
        if filter.from_s.is_some() || filter.to_s.is_some() {
            return Ok(None);
        }
        let fits = |count: &&embedded::AlertCount| {
            (filter.statuses.is_empty() || filter.statuses.contains(&count.status))
                && (filter.severities.is_empty() || filter.severities.contains(&count.severity))
        };
        Ok(Some(self.alert_counts(None)?.iter().filter(fits).map(|count| count.count).sum()))
    }

    fn alert(&self, seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(EmbeddedReader::alert(self, seq)?.map(|alert| alert.document))
    }

    fn alert_events(&self, seq: u64, after: Option<u128>, limit: usize) -> Result<Page<EventRow>, ReadError> {
        let read = |after: Option<u128>, rows| EmbeddedReader::alert_events(self, seq, after.map(place), rows);
        let bytes = |row: &embedded::AlertEvent| match &row.row {
            EventRead::Found(found) => found.document.len(),
            EventRead::Gone | EventRead::Damaged => 0,
        };
        let event = |row: embedded::AlertEvent| EventRow {
            role: role(row.role),
            document: match row.row {
                EventRead::Found(found) => Some(found.document),
                EventRead::Gone | EventRead::Damaged => None,
            },
        };
        page(after, limit, DOCUMENTS_AT_ONCE, read, |row| position(row.cursor), bytes, event)
    }

    fn alert_logs(&self, seq: u64, after: Option<u128>, limit: usize) -> Result<Page<Vec<u8>>, ReadError> {
        let read = |after: Option<u128>, rows| EmbeddedReader::alert_logs(self, seq, after.map(place), rows);
        page(after, limit, LOGS_AT_ONCE, read, |row| position(row.cursor), |row| row.document.len(), |row| row.document)
    }

    fn dead_letters(&self, source: Option<&str>, code: Option<&str>, after: Option<u128>, limit: usize) -> Result<Page<DeadLetterRow>, ReadError> {
        let rows = EmbeddedReader::dead_letters(self, source, code, after.map_or(0, low), limit + 1)?;
        Ok(cut(rows, limit, |row| u128::from(row.id), dead_letter))
    }

    fn dead_letter(&self, id: u64) -> Result<Option<DeadLetterRow>, ReadError> {
        Ok(EmbeddedReader::dead_letter(self, id)?.map(dead_letter))
    }

    fn dead_letters_of(&self, places: &[(u64, u32)]) -> Result<Vec<Option<u64>>, ReadError> {
        Ok(EmbeddedReader::dead_letters_of(self, places)?)
    }

    fn ledger(&self) -> Result<Vec<LedgerValue>, ReadError> {
        let scope = |text: &str| if text == "rule" { "rule" } else { "source" };
        let value = |row: embedded::LedgerRow| LedgerValue { scope: scope(&row.scope), name: row.name.into(), counter: row.counter.into(), value: row.value };
        Ok(EmbeddedReader::ledger(self)?.into_iter().map(value).collect())
    }
}

impl From<StoreError> for ReadError {
    fn from(e: StoreError) -> ReadError {
        ReadError(e.to_string())
    }
}

/// Bytes of the documents in one page; the row that would pass it begins the next one. `limit` alone would let a page of
/// the largest documents grow to a gigabyte.
const PAGE_BYTES: usize = 8 << 20;
/// Documents read before their bytes are looked at.
const DOCUMENTS_AT_ONCE: usize = 32;
/// Logs are small, and each read of them derives those of a whole commit.
const LOGS_AT_ONCE: usize = 256;

/// Reads a page chunk by chunk until it has `limit` rows or enough bytes; it always has one row when there is one.
fn page<R, T>(
    mut after: Option<u128>,
    limit: usize,
    chunk: usize,
    read: impl Fn(Option<u128>, usize) -> Result<Vec<R>, StoreError>,
    position: impl Fn(&R) -> u128,
    size: impl Fn(&R) -> usize,
    row: impl Fn(R) -> T,
) -> Result<Page<T>, ReadError> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    loop {
        let wanted = chunk.min(limit - items.len());
        let mut rows = read(after, wanted + 1)?;
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        for found in rows {
            bytes += size(&found);
            if bytes > PAGE_BYTES && !items.is_empty() {
                return Ok(Page { items, next: after });
            }
            after = Some(position(&found));
            items.push(row(found));
        }
        if !more || items.len() == limit {
            return Ok(Page { items, next: after.filter(|_| more) });
        }
    }
}

/// Cuts the row that only says that there are more.
fn cut<R, T>(mut rows: Vec<R>, limit: usize, position: impl Fn(&R) -> u128, row: impl Fn(R) -> T) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(position);
    Page { items: rows.into_iter().map(row).collect(), next }
}

fn low(position: u128) -> u64 {
    u64::try_from(position).unwrap_or(u64::MAX)
}

/// (commit, place in it) as one number in the same order.
fn position((commit, index): (u64, u32)) -> u128 {
    u128::from(commit) << 32 | u128::from(index)
}

fn place(position: u128) -> (u64, u32) {
    (low(position >> 32), position as u32)
}

fn of_store(filter: &AlertFilter) -> embedded::AlertFilter {
    embedded::AlertFilter { tenant: None, status: filter.statuses.clone(), severity: filter.severities.clone(), from_s: filter.from_s, to_s: filter.to_s }
}

fn alert(row: embedded::AlertRow) -> AlertRow {
    AlertRow {
        seq: row.seq,
        id: row.id,
        alert_name: row.alert_name,
        severity: row.severity,
        status: row.status.as_str(),
        event_count: row.event_count,
        rule_generation: row.rule_generation,
        revision: row.revision,
        create_time: row.create_time,
        begin_time: row.begin_time,
        latest_time: row.latest_time,
        end_time: row.end_time,
        is_ack: row.ack_operator.is_some(),
        ack_operator: row.ack_operator,
        target: None,
        document: row.document,
    }
}

fn dead_letter(row: embedded::DeadLetterRow) -> DeadLetterRow {
    DeadLetterRow {
        id: row.id,
        ordinal: row.ordinal,
        index: row.index,
        received_at_ms: row.received_at_ms,
        tenant: row.tenant,
        source: row.source,
        code: row.code,
        detail: row.detail,
        bytes: row.bytes,
        arrival: row.arrival,
        item: row.item,
    }
}

fn role(role: EventRole) -> &'static str {
    match role {
        EventRole::Opened => "opened",
        EventRole::Updated => "updated",
        EventRole::Late => "late",
        EventRole::Ended => "ended",
        EventRole::Milder => "milder",
        EventRole::RecoveryDelayed => "recovery-delayed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::event::{Fingerprint, Status, Uid};
    use alertmill_core::ports::{AlertEvents, AlertWrite, Commit, DeadLetter, LocalStore, LogWrite, StoredEvent};
    use alertmill_stores::EmbeddedStore;

    #[test]
    fn places_keep_their_order_as_numbers() {
        for (a, b) in [((1, u32::MAX), (2, 0)), ((7, 3), (7, 4)), ((0, 0), (u64::MAX, u32::MAX))] {
            assert!(position(a) < position(b));
            assert_eq!((place(position(a)), place(position(b))), (a, b));
        }
    }

    #[test]
    fn pages_end_at_their_bytes_and_lose_nothing() {
        // Newest first, as lists are; the first row alone is over the bound.
        let rows: Vec<(u128, usize)> = (0..100).map(|i| (100 - i, if i == 0 { PAGE_BYTES + 1 } else { 1 << 20 })).collect();
        let read = |after: Option<u128>, n: usize| Ok(rows.iter().filter(|row| after.is_none_or(|after| row.0 < after)).take(n).copied().collect());
        let next = |after, limit| page(after, limit, 32, read, |row| row.0, |row| row.1, |row| row.0).expect("a page");
        let pages = |limit: usize| {
            let (mut pages, mut after) = (Vec::new(), None);
            loop {
                let page: Page<u128> = next(after, limit);
                pages.push(page.items.len());
                after = page.next;
                if after.is_none() {
                    return pages;
                }
            }
        };
        assert_eq!(pages(1_000), [vec![1], vec![8; 12], vec![3]].concat());
        assert_eq!(pages(5), [vec![1], vec![5; 19], vec![4]].concat());
        assert_eq!(walk(|after| next(after, 1_000)), rows.iter().map(|row| row.0).collect::<Vec<_>>());
    }

    /// Three alerts, the second one ended; the first has five events in one commit.
    fn commit() -> Commit {
        let alert = |seq: u64, status, end_time| AlertWrite {
            seq,
            id: format!("1763800000{seq}").into(),
            tenant: "system".into(),
            status,
            severity: seq as u8,
            alert_name: "disk".into(),
            fingerprint: Fingerprint([seq as u8; 16]),
            create_time: 1_763_800_000,
            begin_time: 1_763_800_000,
            latest_time: 1_763_800_000,
            end_time,
            event_count: 5,
            revision: 1,
            rule_generation: 1,
            document: format!("{{\"id\":\"1763800000{seq}\"}}").into_bytes(),
            state: Vec::new(),
        };
        let document = br#"{"event_id":"e"}"#;
        let letter = |index: u32, code: &str| DeadLetter {
            ordinal: 1,
            index,
            received_at_ms: 1_763_800_000_000,
            tenant: "system".into(),
            source: "events".into(),
            code: code.into(),
            detail: "why".to_owned(),
            item: b"{}".to_vec(),
            arrival: None,
        };
        Commit {
            to: 1,
            received_at_ms: 1_763_800_000_000,
            events: (0..5)
                .map(|i| StoredEvent { uid: Uid([i; 16]), known_until_s: 1_763_900_000, index_time_s: 1_763_800_000, document: 0..document.len() as u32 })
                .collect(),
            event_heap: document.to_vec(),
            alerts: vec![alert(1, Status::Abnormal, None), alert(2, Status::Closed, Some(1_763_800_050)), alert(3, Status::Abnormal, None)],
            alert_events: vec![AlertEvents { seq: 1, events: (0..5).map(|i| (i, if i == 0 { EventRole::Opened } else { EventRole::Updated })).collect() }],
            logs: vec![LogWrite { seq: 1, op_type: "CREATE", create_time: 1_763_800_000, document: br#"{"op_type":"CREATE"}"#.to_vec() }],
            dead_letters: (0..7).map(|i| letter(i, if i % 2 == 0 { "even" } else { "odd" })).collect(),
            ledger: vec![LedgerValue { scope: "source", name: "events".into(), counter: "received".into(), value: 12 }],
            ..Commit::default()
        }
    }

    fn walk<T>(mut next_page: impl FnMut(Option<u128>) -> Page<T>) -> Vec<T> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = next_page(after);
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn the_real_store_answers_page_by_page() {
        let dir = tempfile::tempdir().expect("dir");
        let (mut store, _) = EmbeddedStore::open(dir.path()).expect("open");
        store.commit(&commit()).await.expect("commit");
        let reader = store.reader();
        let reads: &dyn AlertReads = &reader;
        let all = AlertFilter::default();
        let rows = walk(|after| reads.list_alerts(&all, after, 1, true).expect("list"));
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!((rows[1].status, rows[1].end_time, rows[0].document.as_deref()), ("CLOSED", Some(1_763_800_050), Some(&br#"{"id":"17638000003"}"#[..])));
        let closed = AlertFilter { statuses: vec![Status::Closed], ..AlertFilter::default() };
        assert_eq!((reads.count_alerts(&all).expect("count"), reads.count_alerts(&closed).expect("count")), (Some(3), Some(1)));
        let later = AlertFilter { from_s: Some(1_763_800_051), ..AlertFilter::default() };
        assert_eq!(reads.list_alerts(&later, None, 9, false).expect("list").items.len(), 2);
        assert_eq!(reads.alert(2).expect("read").as_deref(), Some(&br#"{"id":"17638000002"}"#[..]));
        assert_eq!(reads.alert(9).expect("read"), None);
        let events = walk(|after| reads.alert_events(1, after, 2).expect("events"));
        assert_eq!(events.iter().map(|event| event.role).collect::<Vec<_>>(), ["updated", "updated", "updated", "updated", "opened"]);
        assert_eq!(events[4].document.as_deref(), Some(&br#"{"event_id":"e"}"#[..]));
        let logs = walk(|after| reads.alert_logs(1, after, 2).expect("logs"));
        assert_eq!(logs.len(), 5);
        assert!(logs.iter().any(|log| log == br#"{"op_type":"CREATE"}"#));
        let odd = walk(|after| reads.dead_letters(Some("events"), Some("odd"), after, 2).expect("letters"));
        assert_eq!((odd.len(), walk(|after| reads.dead_letters(None, None, after, 3).expect("letters")).len()), (3, 7));
        let one = reads.dead_letter(odd[0].id).expect("letter").expect("it is there");
        assert_eq!((one.item.as_deref(), one.bytes, odd[0].bytes, &odd[0].item), (Some(&b"{}"[..]), 2, 2, &None));
        assert_eq!(reads.ledger().expect("ledger")[0].value, 12);
    }
}
