//! The journal behind the doors, with the bound of what is in flight (I9): what is journaled and not yet folded, in bytes.
//! Over it, requests are refused before their first record is appended and senders get 429.

use super::progress::{Part, Progress};
use crate::doors::Intake;
use alertmill_core::item::Item;
use alertmill_core::pipeline::in_flight::{Held, InFlight};
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::RecordBody;
use alertmill_stores::JournalHandle;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A journal without room is asked again after so long, also when nothing was committed.
const CHANGED_AFTER: Duration = Duration::from_millis(200);

/// Clones share journal and bound.
#[derive(Clone)]
pub struct InFlightJournal {
    handle: JournalHandle,
    progress: Arc<Progress>,
    waiting: Arc<Mutex<InFlight>>,
}

impl InFlightJournal {
    /// Bounds what is in flight to `bytes_max`.
    pub fn new(handle: JournalHandle, bytes_max: usize, progress: Arc<Progress>) -> InFlightJournal {
        InFlightJournal { handle, progress, waiting: Arc::new(Mutex::new(InFlight::new(bytes_max))) }
    }

    /// The journal itself.
    pub fn handle(&self) -> &JournalHandle {
        &self.handle
    }

    /// The bound.
    pub fn bytes_max(&self) -> usize {
        lock(&self.waiting).bytes_max()
    }

    /// Bytes that are journaled, or on the way to it, and not folded.
    pub fn bytes(&self) -> usize {
        self.settle().bytes()
    }

    /// Gives back what commits have passed.
    fn settle(&self) -> MutexGuard<'_, InFlight> {
        let position = self.progress.position();
        let mut waiting = lock(&self.waiting);
        waiting.settle(position);
        waiting
    }

    fn room(&self, bytes: usize) -> Result<Room, PortError> {
        if let Some(why) = self.progress.failure() {
            return Err(PortError::Fatal(why));
        }
        let held = self.settle().take(bytes)?;
        Ok(Room { waiting: self.waiting.clone(), held })
    }

    async fn append_one(&self, room: &mut Room, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let items = body.items() as u64;
        let bytes = parsed_bytes(parsed.as_deref());
        let answer = self.handle.append(body, parsed).await;
        match &answer {
            Ok(appended) => {
                room.appended(appended.ordinal, bytes);
                self.progress.journaled(items);
                self.progress.works(Part::Journal);
            }
            Err(error) if is_trouble(error) => self.progress.trouble(Part::Journal, error.to_string()),
            Err(_) => {}
        }
        answer
    }
}

/// Whether an answer says something of the journal: not that a record is too large, and not that many wait for the next sync.
fn is_trouble(error: &PortError) -> bool {
    match error {
        PortError::Full(_) | PortError::DiskRefused(_) | PortError::Unclear(_) | PortError::Fatal(_) => true,
        PortError::Unavailable(_) | PortError::TooLarge(_) => false,
    }
}

fn parsed_bytes(parsed: Option<&[Item]>) -> usize {
    parsed.unwrap_or_default().iter().map(Item::size_bytes).sum()
}

/// Bytes of one request in the bound.
#[derive(Debug)]
pub struct Room {
    waiting: Arc<Mutex<InFlight>>,
    held: Held,
}

impl Room {
    fn appended(&mut self, ordinal: u64, bytes: usize) {
        lock(&self.waiting).appended(&mut self.held, ordinal, bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        lock(&self.waiting).ended(&self.held);
    }
}

fn lock(waiting: &Mutex<InFlight>) -> MutexGuard<'_, InFlight> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal for InFlightJournal {
    async fn append(&self, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        let bytes = match &body {
            RecordBody::Items(items) => items.heap.len() + parsed_bytes(parsed.as_deref()),
            RecordBody::Command(command) => command.size_bytes(),
            RecordBody::Payload(payload) => payload.size_bytes(),
            RecordBody::Redrive(redrive) => redrive.size_bytes(),
            RecordBody::RuleVersion(change) => change.size_bytes(),
            RecordBody::RuleSet(_) | RecordBody::Clock | RecordBody::Start { .. } | RecordBody::Verdicts(_) => 0,
        };
        let mut room = self.room(bytes)?;
        self.append_one(&mut room, body, parsed).await
    }
}

impl Intake for InFlightJournal {
    type Room = Room;

    fn reserve(&self, bytes: usize) -> Result<Room, PortError> {
        self.room(bytes)
    }

    fn record_bytes_max(&self) -> usize {
        self.handle.record_bytes_max()
    }

    async fn append_in(&self, room: &mut Room, body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        self.append_one(room, body, parsed).await
    }

    async fn changed(&self) {
        let mut positions = self.progress.positions();
        tokio::select! {
            _ = positions.changed() => {}
            // Segments are removed a moment after the commit that no longer needs them.
            () = tokio::time::sleep(CHANGED_AFTER) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::decode::decode_item;
    use alertmill_core::ports::{Commit, Restored};
    use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items};
    use alertmill_stores::journal::{JournalDir, JournalOptions};

    fn items(heap: &Arc<[u8]>) -> Items {
        Items {
            tenant: "system".into(),
            source: "web".into(),
            door: Door::Events,
            idempotency_key: None,
            counts: DoorCounts { received: 1, ..DoorCounts::default() },
            heap: heap.clone(),
            spans: vec![ItemSpan { bytes: 0..2, request_index: 0 }],
        }
    }

    #[tokio::test]
    async fn a_request_takes_room_once_and_holds_it_until_it_is_folded() {
        let dir = tempfile::tempdir().unwrap();
        let (handle, _reader, _) = JournalDir::open(dir.path(), JournalOptions::default()).unwrap();
        let progress = Arc::new(Progress::new(&Restored::default(), 0, None, 0));
        let journal = InFlightJournal::new(handle, 1_000, progress);
        let small = journal.reserve(600).unwrap();
        let mut large = journal.reserve(5_000).expect("what never fits is let in on top");
        assert!(matches!(journal.reserve(1), Err(PortError::Unavailable(_))), "clones and requests share one bound");
        let heap: Arc<[u8]> = b"{}".repeat(100).into();
        for _ in 0..2 {
            journal.append_in(&mut large, RecordBody::Items(items(&heap)), None).await.expect("room was given");
        }
        journal.append(RecordBody::Clock, None).await.expect("time goes on");
        assert_eq!(journal.bytes(), 5_600);
        drop((small, large));
        assert_eq!(journal.bytes(), 5_000, "what is appended is held until it is folded, the rest is not");
    }

    /// A commit that covers all records up to this one.
    fn commit(journal: &InFlightJournal, to: u64) {
        journal.progress.committed(&Commit { to, ..Commit::default() }, 0);
    }

    #[tokio::test]
    async fn parsed_items_leave_with_their_record_and_the_body_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let (handle, _reader, _) = JournalDir::open(dir.path(), JournalOptions::default()).unwrap();
        let journal = InFlightJournal::new(handle, 100_000, Arc::new(Progress::new(&Restored::default(), 0, None, 0)));
        let item = decode_item(Door::Events, br#"{"alert_name":"a"}"#, "system").unwrap();
        let (parsed, body) = (item.size_bytes(), 1_000);
        let heap: Arc<[u8]> = b"{}".to_vec().into();
        let mut room = journal.reserve(body + 3 * parsed).unwrap();
        let mut ordinals = Vec::new();
        for count in [2, 1] {
            let appended = journal.append_in(&mut room, RecordBody::Items(items(&heap)), Some(vec![item.clone(); count])).await.unwrap();
            ordinals.push(appended.ordinal);
        }
        drop(room);
        assert_eq!(journal.bytes(), body + 3 * parsed);
        commit(&journal, ordinals[0]);
        assert_eq!(journal.bytes(), body + parsed, "the first record took its items along");
        commit(&journal, ordinals[1]);
        assert_eq!(journal.bytes(), 0);
    }

    #[tokio::test]
    async fn one_senders_record_and_a_passing_queue_are_no_trouble_of_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions { segment_bytes: 1 << 20, disk_bytes_max: 2 << 20, ..JournalOptions::default() };
        let (handle, _reader, _) = JournalDir::open(dir.path(), options).unwrap();
        let journal = InFlightJournal::new(handle, 100 << 20, Arc::new(Progress::new(&Restored::default(), 0, None, 0)));
        let mut room = journal.reserve(1).unwrap();
        let mut large = items(&vec![b' '; 3 << 20].into());
        large.spans[0].bytes = 0..3 << 20;
        assert!(matches!(journal.append_in(&mut room, RecordBody::Items(large), None).await, Err(PortError::TooLarge(_))));
        assert_eq!(journal.progress.troubled(Part::Journal), None);

        assert!(!is_trouble(&PortError::Unavailable("journal queue full".into())) && is_trouble(&PortError::DiskRefused("disk".into())));
        let mut half = items(&vec![b' '; 900 << 10].into());
        half.spans[0].bytes = 0..900 << 10;
        let refused = loop {
            if let Err(refused) = journal.append_in(&mut room, RecordBody::Items(half.clone()), None).await {
                break refused;
            }
        };
        assert_eq!(journal.progress.troubled(Part::Journal), Some(refused.to_string()), "a full journal is");
    }
}
