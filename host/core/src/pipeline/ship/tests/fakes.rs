//! A state, an Elasticsearch and a Redis in memory. Services outlive the process and do as they are told by a script, or as
//! chance wants it.

use crate::pipeline::conductor::Patience;
use crate::pipeline::ship::{Surroundings, log_id};
use crate::ports::PortError;
use crate::services::*;
use crate::value::Text;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

/// Milliseconds do not matter here; the day does.
pub const DAY_S: i64 = 1_790_000_000;

#[derive(Clone, Debug, PartialEq)]
pub struct FakeAlert {
    pub revision: u64,
    pub is_open: bool,
    pub fingerprint: u64,
    pub create_time: i64,
    pub document: Vec<u8>,
}

/// The local state; a copy of it is a copy of the data folder.
#[derive(Clone, Default)]
pub struct Local {
    pub position: u64,
    pub base: u64,
    pub alerts: BTreeMap<u64, FakeAlert>,
    /// service and seq -> since and revision
    pub queue: BTreeMap<(Service, u64), (u64, u64)>,
    pub streams: [Vec<Vec<u8>>; 2],
    pub shipped: [usize; 2],
    pub markers: Markers,
    pub refused: Vec<Refusal>,
}

impl Local {
    /// An alert changes, or begins.
    pub fn change(&mut self, seq: u64, fingerprint: u64, is_open: bool, salt: u64) {
        self.position += 1;
        let revision = self.alerts.get(&seq).map_or(1, |alert| alert.revision + 1);
        let create_time = DAY_S + seq as i64 * 40_000;
        let status = if is_open { "ABNORMAL" } else { "CLOSED" };
        let document = format!(
            "{{\"id\":\"{create_time}{seq}\",\"bk_tenant_id\":\"system\",\"strategy_id\":null,\"dedupe_md5\":\"{fingerprint:032x}\",\
             \"status\":\"{status}\",\"revision\":{revision},\"salt\":{salt}}}"
        )
        .into_bytes();
        self.alerts.insert(seq, FakeAlert { revision, is_open, fingerprint, create_time, document });
        for service in [Service::Documents, Service::Snapshots] {
            let since = self.position;
            self.queue.entry((service, seq)).and_modify(|entry| entry.1 = revision).or_insert((since, revision));
        }
        let text = |kind: &str| format!("{{\"{kind}\":\"{seq}-{revision}-{salt}\"}}").into_bytes();
        self.streams[0].push(text("event"));
        self.streams[1].push(text("log"));
    }

    fn page(&self, service: Service, behind: QueuePlace, bytes_max: usize) -> AlertPage {
        let mut rows: Vec<(u64, u64)> = self.queue.iter().filter(|((of, _), _)| *of == service).map(|((_, seq), (since, _))| (*since, *seq)).collect();
        rows.sort_unstable();
        let mut page = AlertPage { position: self.position, version_base: self.base, alerts: Vec::new() };
        let mut bytes = 0;
        for (since, seq) in rows.into_iter().filter(|row| *row > (behind.since, behind.seq)) {
            let alert = &self.alerts[&seq];
            page.alerts.push(WaitingAlert {
                since,
                seq,
                id: Text::from(format!("{}{seq}", alert.create_time)),
                tenant: "system".into(),
                create_time: alert.create_time,
                is_open: alert.is_open,
                revision: alert.revision,
                document: alert.document.clone(),
            });
            bytes += alert.document.len();
            if bytes >= bytes_max {
                break;
            }
        }
        page
    }

    fn settle(&mut self, service: Service, position: u64, done: &[(u64, u64)]) {
        for (seq, revision) in done {
            match self.queue.get_mut(&(service, *seq)) {
                Some(entry) if entry.1 > *revision => entry.0 = position,
                _ => drop(self.queue.remove(&(service, *seq))),
            }
        }
    }

    pub fn open_alerts_wait(&mut self, service: Service) {
        for (seq, alert) in self.alerts.iter().filter(|(_, alert)| alert.is_open) {
            self.queue.entry((service, *seq)).or_insert((self.position, alert.revision));
        }
    }
}

/// How the next bulk call goes.
pub enum Call {
    /// Each item by its kind; beyond, as it is.
    Items(Vec<Kind>),
    /// Nothing done.
    Fails(PortError),
    /// The answer is lost; these items are done, and the others later if told so.
    Lost { done: u32, rest_later: bool },
}

/// How one item goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AsItIs,
    /// An earlier call of ours had done it.
    DoneBefore,
    /// A stranger's document is there, of a higher version.
    Stranger,
    /// A conflict with a document that is gone.
    Ghost,
    Refuses,
    Busy,
}

pub const KINDS: [Kind; 6] = [Kind::AsItIs, Kind::DoneBefore, Kind::Stranger, Kind::Ghost, Kind::Refuses, Kind::Busy];

#[derive(Clone, Copy)]
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

#[derive(Default)]
pub struct Elastic {
    pub there: BTreeMap<DocumentPlace, (u64, Vec<u8>)>,
    pub script: VecDeque<Call>,
    /// Calls whose answer was lost, on their way.
    pub late: Vec<(DocumentPlace, WriteOp, Vec<u8>)>,
    pub bulks: u64,
    pub versions_gone_back: u64,
    /// Items of one call, at most; 0 for any number.
    pub items_max: usize,
}

impl Elastic {
    pub fn write(&mut self, place: &DocumentPlace, op: WriteOp, document: &[u8]) -> ItemOutcome {
        match (op, self.there.get(place)) {
            (WriteOp::Create, Some(_)) => ItemOutcome::AlreadyThere,
            (WriteOp::Create, None) => {
                self.there.insert(place.clone(), (1, document.to_vec()));
                ItemOutcome::Stored
            }
            (WriteOp::Index { version }, there) => {
                if there.is_some_and(|there| there.0 >= version) {
                    return ItemOutcome::VersionConflict;
                }
                self.there.insert(place.clone(), (version, document.to_vec()));
                ItemOutcome::Stored
            }
        }
    }
}

/// The cache: its keys, and its marker.
#[derive(Clone, Default)]
pub struct Cache {
    pub keys: BTreeMap<Text, Vec<u8>>,
    pub marker: Option<Marker>,
}

impl Cache {
    pub fn apply(&mut self, batch: &SnapshotBatch) -> Applied {
        if self.marker != Some(batch.expected) {
            return Applied::Otherwise(self.marker);
        }
        for write in &batch.writes {
            match write {
                SnapshotWrite::Set { key, document } => drop(self.keys.insert(key.clone(), document.clone())),
                SnapshotWrite::Remove { key } => drop(self.keys.remove(key)),
            }
        }
        self.marker = Some(batch.next);
        Applied::Done
    }
}

#[derive(Default)]
pub struct World {
    pub local: Local,
    pub elastic: Elastic,
    pub cache: Cache,
    /// Batches for the cache whose answer was lost, on their way.
    pub late_batches: Vec<SnapshotBatch>,
    /// Percent of calls that go wrong.
    pub faults: u64,
    pub chance: Option<Chance>,
    pub ticks: u64,
    pub heard: BTreeMap<String, u64>,
    pub pauses: u64,
}

impl World {
    pub fn chance(&mut self, percent: u64) -> bool {
        self.chance.as_mut().is_some_and(|chance| chance.below(100) < percent)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.chance.as_mut().map_or(0, |chance| chance.below(n))
    }
}

#[derive(Clone, Default)]
pub struct Fakes(Arc<Mutex<World>>);

impl Fakes {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn around(&self, page_bytes: usize) -> Surroundings<Fakes, Fakes, Fakes> {
        Surroundings { rest: self.clone(), patience: self.clone(), watcher: self.clone(), page_bytes }
    }

    /// A port call takes a while, sometimes. Gives how it goes: well, not at all, or without an answer.
    async fn call(&self) -> Fate {
        let mut waits = self.world().chance(50);
        poll_fn(|_| if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(()) }).await;
        let mut world = self.world();
        let faults = world.faults;
        match (world.chance(faults), world.chance(50)) {
            (false, _) => Fate::Well,
            (true, false) => Fate::NotAtAll,
            (true, true) => Fate::Unheard,
        }
    }
}

enum Fate {
    Well,
    NotAtAll,
    Unheard,
}

fn away() -> PortError {
    PortError::Unavailable("away".into())
}
fn lost() -> PortError {
    PortError::Unclear("lost".into())
}

impl Fakes {
    async fn local<T>(&self, act: impl FnOnce(&mut Local) -> T) -> Result<T, PortError> {
        match self.call().await {
            Fate::NotAtAll => Err(away()),
            fate => {
                let answer = act(&mut self.world().local);
                if matches!(fate, Fate::Unheard) { Err(lost()) } else { Ok(answer) }
            }
        }
    }
}

impl AlertOutbox for Fakes {
    async fn waiting_alerts(&mut self, behind: QueuePlace, bytes_max: usize) -> Result<AlertPage, PortError> {
        self.local(|local| local.page(Service::Documents, behind, bytes_max)).await
    }
    async fn settle_alerts(&mut self, settled: &SettledAlerts) -> Result<(), PortError> {
        self.local(|local| {
            local.settle(Service::Documents, settled.position, &settled.done);
            local.refused.extend(settled.refused.iter().cloned());
        })
        .await
    }
    async fn raise_version_base(&mut self, base: u64, open_wait: bool) -> Result<(), PortError> {
        self.local(|local| {
            local.base = local.base.max(base);
            if open_wait {
                local.open_alerts_wait(Service::Documents);
            }
        })
        .await
    }
}

impl StreamOutbox for Fakes {
    async fn next_documents(&mut self, stream: Stream, bytes_max: usize) -> Result<StreamPage, PortError> {
        self.local(|local| {
            let n = stream as usize;
            let from = local.shipped[n];
            let mut page = StreamPage { position: local.position, documents: Vec::new(), end: StreamPlace(from as u64, 0) };
            let mut bytes = 0;
            for document in local.streams[n][from..].iter().take_while(|document| {
                let fits = bytes < bytes_max;
                bytes += document.len();
                fits
            }) {
                page.documents.push(StreamDocument { id: log_id(document), tenant: Text::default(), index_time_s: DAY_S, document: document.clone() });
                page.end.0 += 1;
            }
            page
        })
        .await
    }
    async fn settle_documents(&mut self, stream: Stream, end: StreamPlace, refused: &[Refusal]) -> Result<(), PortError> {
        self.local(|local| {
            local.shipped[stream as usize] = end.0 as usize;
            local.refused.extend(refused.iter().cloned());
        })
        .await
    }
}

impl SnapshotOutbox for Fakes {
    async fn markers(&mut self) -> Result<Markers, PortError> {
        self.local(|local| local.markers).await
    }
    async fn rebuild(&mut self, next: Marker) -> Result<(), PortError> {
        self.local(|local| {
            local.queue.retain(|(service, _), _| *service != Service::Snapshots);
            local.open_alerts_wait(Service::Snapshots);
            local.markers = Markers { settled: None, in_flight: Some(next) };
        })
        .await
    }
    async fn announce(&mut self, next: Marker) -> Result<(), PortError> {
        self.local(|local| local.markers.in_flight = Some(next)).await
    }
    async fn waiting_snapshots(&mut self, bytes_max: usize) -> Result<AlertPage, PortError> {
        self.local(|local| local.page(Service::Snapshots, QueuePlace::default(), bytes_max)).await
    }
    async fn settle_snapshots(&mut self, position: u64, done: &[(u64, u64)], marker: Marker) -> Result<(), PortError> {
        self.local(|local| {
            local.settle(Service::Snapshots, position, done);
            local.markers = Markers { settled: Some(marker), in_flight: None };
        })
        .await
    }
}

impl Documents for Fakes {
    async fn bulk(&mut self, items: &[BulkItem<'_>]) -> Result<Vec<ItemOutcome>, PortError> {
        let fate = self.call().await;
        let mut guard = self.world();
        let world = &mut *guard;
        world.elastic.bulks += 1;
        if world.elastic.items_max > 0 && items.len() > world.elastic.items_max {
            return Err(PortError::TooLarge("too many bytes in one request".into()));
        }
        let call = match fate {
            Fate::NotAtAll => Call::Fails(away()),
            Fate::Unheard => Call::Lost { done: world.below(u64::from(u32::MAX)) as u32, rest_later: world.chance(50) },
            Fate::Well if world.chance.is_some() => {
                let some = [Kind::AsItIs, Kind::AsItIs, Kind::AsItIs, Kind::Busy, Kind::DoneBefore];
                let faults = world.faults;
                Call::Items(items.iter().map(|_| if world.chance(faults) { some[world.below(5) as usize] } else { Kind::AsItIs }).collect())
            }
            Fate::Well => world.elastic.script.pop_front().unwrap_or(Call::Items(Vec::new())),
        };
        let elastic = &mut world.elastic;
        let known = items.iter().map(|item| elastic.there.get(&item.place).map_or(0, |there| there.0)).collect::<Vec<_>>();
        let answer = match call {
            Call::Fails(error) => Err(error),
            Call::Lost { done, rest_later } => {
                for (n, item) in items.iter().enumerate() {
                    if done >> (n % 32) & 1 == 1 {
                        elastic.write(&item.place, item.op, item.document);
                    } else if rest_later {
                        elastic.late.push((item.place.clone(), item.op, item.document.to_vec()));
                    }
                }
                Err(lost())
            }
            Call::Items(kinds) => {
                let kinds = kinds.into_iter().chain(std::iter::repeat(Kind::AsItIs));
                Ok(items.iter().zip(kinds).map(|(item, kind)| elastic.item(item, kind)).collect())
            }
        };
        for (item, before) in items.iter().zip(known) {
            let now = elastic.there.get(&item.place).map_or(before, |there| there.0);
            elastic.versions_gone_back += u64::from(now < before);
        }
        answer
    }

    async fn read_back(&mut self, places: &[DocumentPlace]) -> Result<Vec<Option<FoundDocument>>, PortError> {
        match self.call().await {
            Fate::Well => {}
            _ => return Err(away()),
        }
        let world = self.world();
        let found = |place| world.elastic.there.get(place).map(|(version, document)| FoundDocument { version: *version, document: document.clone() });
        Ok(places.iter().map(found).collect())
    }
}

impl Elastic {
    fn item(&mut self, item: &BulkItem<'_>, kind: Kind) -> ItemOutcome {
        match (kind, item.op) {
            (Kind::DoneBefore, op) => {
                self.write(&item.place, op, item.document);
            }
            (Kind::Stranger, WriteOp::Index { version }) => {
                self.there.insert(item.place.clone(), (version + 7, b"{\"stranger\":true}".to_vec()));
            }
            (Kind::Ghost, WriteOp::Index { .. }) => {
                self.there.remove(&item.place);
                return ItemOutcome::VersionConflict;
            }
            (Kind::Refuses, _) => return ItemOutcome::Refused("no mapping".into()),
            (Kind::Busy, _) => return ItemOutcome::Later,
            _ => {}
        }
        self.write(&item.place, item.op, item.document)
    }
}

impl Snapshots for Fakes {
    async fn marker(&mut self) -> Result<Option<Marker>, PortError> {
        match self.call().await {
            Fate::Well => Ok(self.world().cache.marker),
            _ => Err(away()),
        }
    }
    async fn apply(&mut self, batch: &SnapshotBatch) -> Result<Applied, PortError> {
        let fate = self.call().await;
        let mut world = self.world();
        match fate {
            Fate::Well => Ok(world.cache.apply(batch)),
            Fate::NotAtAll => Err(away()),
            Fate::Unheard => {
                match world.below(3) {
                    0 => drop(world.cache.apply(batch)),
                    1 => world.late_batches.push(batch.clone()),
                    _ => {}
                }
                Err(lost())
            }
        }
    }
    async fn clear(&mut self, next: Marker) -> Result<(), PortError> {
        let fate = self.call().await;
        let mut world = self.world();
        match fate {
            Fate::NotAtAll => return Err(away()),
            // It stopped half-way: the marker went first.
            Fate::Unheard => {
                world.cache.marker = None;
                let half = world.cache.keys.len() / 2;
                let gone: Vec<Text> = world.cache.keys.keys().take(half).cloned().collect();
                gone.iter().for_each(|key| drop(world.cache.keys.remove(key)));
                return Err(lost());
            }
            Fate::Well => {}
        }
        world.cache = Cache { keys: BTreeMap::new(), marker: Some(next) };
        Ok(())
    }
}

impl Rest for Fakes {
    async fn rest(&mut self, _: u64) {
        let since = self.world().ticks;
        poll_fn(|_| if self.world().ticks > since { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Patience for Fakes {
    async fn pause(&mut self, _: u32, _: &PortError) {
        self.world().pauses += 1;
        let mut waits = self.world().chance.is_some();
        poll_fn(|_| if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

impl ShipWatcher for Fakes {
    fn heard(&mut self, news: ShipNews) {
        let text = format!("{news:?}");
        let name = text.split('(').next().unwrap_or_default().to_owned();
        let n = match news {
            ShipNews::Stored(n) | ShipNews::AlreadyThere(n) | ShipNews::Conflicts(n) | ShipNews::Refused(n) | ShipNews::Later(n) => n,
            ShipNews::Unclear | ShipNews::BaseRaised(_) | ShipNews::Rebuilt => 1,
        };
        *self.world().heard.entry(name).or_insert(0) += n;
    }
}
