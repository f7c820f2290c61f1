//! The outboxes over the simulated store. What they hand out is read first and synced after, as the port promises.

use crate::check;
use crate::disk::Outbox;
use crate::faults::FaultKind;
use crate::plant::Plant;
use crate::weather::Part;
use crate::world::{Call, State, World};
use alertmill_core::pipeline::ship::log_id;
use alertmill_core::ports::PortError;
use alertmill_core::services::{
    AlertOutbox, AlertPage, Marker, Markers, QueuePlace, Refusal, Service, SettledAlerts, SnapshotOutbox, Stream, StreamDocument, StreamOutbox, StreamPage,
    StreamPlace, WaitingAlert,
};
use alertmill_core::value::Text;

pub struct FakeOutbox<'w>(pub &'w World);

impl FakeOutbox<'_> {
    /// Reads something as of one position, and waits until that is safe.
    async fn read<T>(&self, tag: u64, read: impl FnOnce(&State) -> T) -> Result<T, PortError> {
        self.ask(tag).await?;
        let (position, page) = {
            let state = self.0.state();
            (state.disk.tables.position, read(&state))
        };
        let is_synced = self.0.state().disk.synced_position() >= position;
        if !is_synced && !self.0.has(Plant::ShipBeforeSync) {
            self.sync().await?;
        }
        Ok(page)
    }

    async fn ask(&self, tag: u64) -> Result<(), PortError> {
        match self.0.call(Part::Outbox, tag).await == Call::Refused || self.0.draws(FaultKind::OutboxBefore) {
            true => Err(self.0.refusal("no outbox")),
            false => Ok(()),
        }
    }

    async fn sync(&self) -> Result<(), PortError> {
        let position = self.0.state().disk.tables.position;
        if self.0.call(Part::Checkpoint, 21).await == Call::Refused || self.0.draws(FaultKind::CheckpointBefore) {
            return Err(self.0.refusal("the state cannot be synced"));
        }
        self.0.state().disk.checkpoint(position);
        self.0.moved();
        Ok(())
    }

    async fn write(&self, tag: u64, write: impl FnOnce(&mut Outbox, &State) + Send) -> Result<(), PortError> {
        self.ask(tag).await?;
        {
            let mut state = self.0.state();
            let mut outbox = std::mem::take(&mut state.disk.outbox);
            write(&mut outbox, &state);
            state.disk.outbox = outbox;
            state.progress = true;
        }
        match self.0.draws(FaultKind::OutboxAfter) {
            true => Err(PortError::Unclear("simulated: answer lost".to_owned())),
            false => Ok(()),
        }
    }
}

fn page(state: &State, service: Service, behind: QueuePlace, bytes_max: usize) -> AlertPage {
    let (tables, outbox) = (&state.disk.tables, &state.disk.outbox);
    let mut page = AlertPage { position: tables.position, version_base: outbox.version_base, alerts: Vec::new() };
    let mut bytes = 0;
    for (since, alert) in outbox.waiting(service, behind, tables) {
        if bytes >= bytes_max {
            break;
        }
        bytes += alert.document.len();
        page.alerts.push(WaitingAlert {
            since,
            seq: alert.seq,
            id: alert.id.clone(),
            tenant: alert.tenant.clone(),
            create_time: alert.create_time,
            is_open: alert.end_time.is_none(),
            revision: alert.revision,
            document: alert.document.clone(),
        });
    }
    page
}

impl AlertOutbox for FakeOutbox<'_> {
    async fn waiting_alerts(&mut self, behind: QueuePlace, bytes_max: usize) -> Result<AlertPage, PortError> {
        self.read(20, |state| page(state, Service::Documents, behind, bytes_max)).await
    }

    async fn settle_alerts(&mut self, settled: &SettledAlerts) -> Result<(), PortError> {
        let forgets_newer = self.0.has(Plant::ConfirmsNewer);
        self.write(22, |outbox, state| {
            outbox.settle(Service::Documents, settled.position, &settled.done, forgets_newer);
            for refusal in &settled.refused {
                let revision = state.disk.history.revision_of(&refusal.id, &refusal.document, u64::MAX);
                outbox.refused.push((revision, refusal.clone()));
            }
        })
        .await
    }

    async fn raise_version_base(&mut self, base: u64, open_wait: bool) -> Result<(), PortError> {
        self.write(23, |outbox, state| {
            outbox.version_base = outbox.version_base.max(base);
            if open_wait {
                outbox.open_alerts_wait(Service::Documents, &state.disk.tables);
            }
        })
        .await?;
        self.sync().await
    }
}

impl StreamOutbox for FakeOutbox<'_> {
    async fn next_documents(&mut self, stream: Stream, bytes_max: usize) -> Result<StreamPage, PortError> {
        self.read(24, |state| {
            let (tables, outbox) = (&state.disk.tables, &state.disk.outbox);
            let from = if stream == Stream::Events { outbox.events } else { outbox.logs };
            let mut page = StreamPage { position: tables.position, documents: Vec::new(), end: StreamPlace(from as u64, 0) };
            let document = |n: usize| match stream {
                Stream::Events => tables.events.get(n).map(|row| StreamDocument {
                    id: row.uid.to_hex(),
                    tenant: Text::default(),
                    index_time_s: row.index_time_s,
                    document: row.document().as_bytes().to_vec(),
                }),
                Stream::Logs => tables.logs.get(n).map(|log| StreamDocument {
                    id: log_id(&log.document),
                    tenant: Text::default(),
                    index_time_s: log.create_time,
                    document: log.document.clone(),
                }),
            };
            let mut bytes = 0;
            while let Some(next) = document(page.end.0 as usize).filter(|_| bytes < bytes_max) {
                bytes += next.document.len();
                page.documents.push(next);
                page.end.0 += 1;
            }
            page
        })
        .await
    }

    async fn settle_documents(&mut self, stream: Stream, end: StreamPlace, refused: &[Refusal]) -> Result<(), PortError> {
        self.write(25, |outbox, _| {
            let cursor = if stream == Stream::Events { &mut outbox.events } else { &mut outbox.logs };
            *cursor = end.0 as usize;
            outbox.refused.extend(refused.iter().map(|refusal| (None, refusal.clone())));
        })
        .await
    }
}

impl SnapshotOutbox for FakeOutbox<'_> {
    async fn markers(&mut self) -> Result<Markers, PortError> {
        self.ask(26).await?;
        Ok(self.0.state().disk.outbox.markers)
    }

    async fn rebuild(&mut self, next: Marker) -> Result<(), PortError> {
        self.write(27, |outbox, state| {
            outbox.queue.retain(|(service, _), _| *service != Service::Snapshots);
            outbox.open_alerts_wait(Service::Snapshots, &state.disk.tables);
            outbox.markers = Markers { settled: None, in_flight: Some(next) };
        })
        .await
    }

    async fn announce(&mut self, next: Marker) -> Result<(), PortError> {
        self.write(28, |outbox, _| outbox.markers.in_flight = Some(next)).await
    }

    async fn waiting_snapshots(&mut self, bytes_max: usize) -> Result<AlertPage, PortError> {
        self.read(29, |state| page(state, Service::Snapshots, QueuePlace::default(), bytes_max)).await
    }

    async fn settle_snapshots(&mut self, position: u64, done: &[(u64, u64)], marker: Marker) -> Result<(), PortError> {
        self.write(30, |outbox, _| {
            outbox.settle(Service::Snapshots, position, done, false);
            outbox.markers = Markers { settled: Some(marker), in_flight: None };
        })
        .await?;
        let mut state = self.0.state();
        if let Err(failure) = check::after_batch(&mut state) {
            state.broken.get_or_insert(failure);
        }
        Ok(())
    }
}
