//! Alerts to Elasticsearch: whole documents under an external version, each into the index of its creation day. What the
//! service says of a version is never taken at its word: it is read back and compared.

use super::bulk::{Answer, bulk_in_pieces};
use super::version::base_above;
use super::{Surroundings, insist, put_off};
use crate::pipeline::conductor::Patience;
use crate::ports::PortError;
use crate::services::{
    AlertOutbox, AlertPage, BulkItem, DocumentPlace, Documents, Family, FoundDocument, ItemOutcome, QueuePlace, Refusal, Rest, SettledAlerts, ShipNews,
    ShipWatcher, WaitingAlert, WriteOp,
};

/// Ships alerts until the outbox fails for good. It walks the queue from end to end and begins anew, so that alerts that the
/// service puts off do not keep it from the others.
pub async fn ship_alerts<R: Rest, P: Patience, W: ShipWatcher>(
    outbox: &mut impl AlertOutbox,
    documents: &mut impl Documents,
    around: &mut Surroundings<R, P, W>,
) -> PortError {
    let mut walk = Walk::default();
    let mut tries = 0;
    loop {
        let page = match insist!(around.patience, outbox.waiting_alerts(walk.behind, around.page_bytes)) {
            Ok(page) => page,
            Err(fatal) => return fatal,
        };
        let Some(last) = page.alerts.last().map(|alert| QueuePlace { since: alert.since, seq: alert.seq }) else {
            if walk.begins_anew() {
                around.rest.rest(page.position).await;
            }
            continue;
        };
        let mut verdict = ship_page(documents, &page, around).await;
        if let Some(base) = verdict.base {
            match insist!(around.patience, outbox.raise_version_base(base, verdict.met_other_revision)) {
                Ok(()) => around.watcher.heard(ShipNews::BaseRaised(base)),
                Err(fatal) => return fatal,
            }
        }
        let is_progress = !verdict.settled.done.is_empty();
        if is_progress {
            if let Err(fatal) = insist!(around.patience, outbox.settle_alerts(&verdict.settled)) {
                return fatal;
            }
        } else {
            verdict.trouble.get_or_insert_with(|| put_off(page.alerts.len()));
        }
        walk.on(page.position, last, &verdict);
        tries = match verdict.trouble {
            Some(error) => {
                tries = if is_progress { 1 } else { tries + 1 };
                around.patience.pause(tries, &error).await;
                tries
            }
            None => 0,
        };
    }
}

/// The way through the queue. What a walk leaves behind, it meets again on the next.
#[derive(Default)]
struct Walk {
    behind: QueuePlace,
    /// What began to wait later than this is not waited for, or a walk would never end under load.
    until: Option<u64>,
    /// The page is sent a second time.
    is_second: bool,
}

impl Walk {
    /// At the end of the queue; true when nothing waits at all.
    fn begins_anew(&mut self) -> bool {
        std::mem::take(self).behind == QueuePlace::default()
    }

    fn on(&mut self, position: u64, last: QueuePlace, verdict: &Verdict) {
        let until = *self.until.get_or_insert(position);
        // Once more at once under a new base; whatever is found then, others have their turn. A service that is away is away
        // for the next page too.
        let is_once_more = verdict.base.is_some() && !self.is_second;
        if verdict.is_away || is_once_more {
            self.is_second = is_once_more;
        } else if last.since > until {
            *self = Walk::default();
        } else {
            (self.behind, self.is_second) = (last, false);
        }
    }
}

/// What became of a page.
#[derive(Default)]
struct Verdict {
    settled: SettledAlerts,
    /// What the base must rise to.
    base: Option<u64>,
    /// A revision of ours that the state never had was there: the state is older than what was shipped.
    met_other_revision: bool,
    /// Something waits on, and why.
    trouble: Option<PortError>,
    /// The service, not this page, is the trouble.
    is_away: bool,
}

async fn ship_page<R: Rest, P: Patience, W: ShipWatcher>(documents: &mut impl Documents, page: &AlertPage, around: &mut Surroundings<R, P, W>) -> Verdict {
    let version = |alert: &WaitingAlert| page.version_base + alert.revision;
    let items: Vec<BulkItem<'_>> = page
        .alerts
        .iter()
        .map(|alert| BulkItem { place: place_of(alert), op: WriteOp::Index { version: version(alert) }, document: &alert.document })
        .collect();
    let (answers, error) = bulk_in_pieces(documents, &items).await;
    let mut verdict = Verdict { is_away: error.is_some(), trouble: error, ..Verdict::default() };
    verdict.settled.position = page.position;
    let (mut stored, mut later, mut conflicts, mut is_unclear) = (0, 0, 0, false);
    let mut doubtful: Vec<(&WaitingAlert, bool)> = Vec::new();
    for (alert, answer) in page.alerts.iter().zip(answers) {
        match answer {
            Answer::Known(ItemOutcome::Stored) => {
                stored += 1;
                verdict.settled.done.push((alert.seq, alert.revision));
            }
            Answer::Known(ItemOutcome::VersionConflict | ItemOutcome::AlreadyThere) => {
                conflicts += 1;
                doubtful.push((alert, true));
            }
            Answer::Known(ItemOutcome::Refused(reason)) => verdict.refuse(alert, reason),
            Answer::Known(ItemOutcome::Later) => later += 1,
            Answer::Unclear => {
                is_unclear = true;
                doubtful.push((alert, false));
            }
            Answer::NotSent => {}
        }
    }
    if later > 0 {
        verdict.trouble.get_or_insert_with(|| put_off(later));
    }
    around.tell(stored, ShipNews::Stored);
    around.tell(later, ShipNews::Later);
    around.tell(conflicts, ShipNews::Conflicts);
    if is_unclear {
        around.watcher.heard(ShipNews::Unclear);
    }
    if !doubtful.is_empty() {
        verdict.read_back(documents, &doubtful, version).await;
    }
    around.tell(verdict.settled.refused.len(), ShipNews::Refused);
    verdict
}

impl Verdict {
    fn refuse(&mut self, alert: &WaitingAlert, reason: String) {
        self.settled.done.push((alert.seq, alert.revision));
        let (id, tenant, document) = (alert.id.clone(), alert.tenant.clone(), alert.document.clone());
        self.settled.refused.push(Refusal { family: Family::Alert, id, tenant, reason, document });
    }

    /// What is there decides, and what the state says is right.
    async fn read_back(&mut self, documents: &mut impl Documents, doubtful: &[(&WaitingAlert, bool)], version: impl Fn(&WaitingAlert) -> u64) {
        let places: Vec<DocumentPlace> = doubtful.iter().map(|(alert, _)| place_of(alert)).collect();
        let found = match documents.read_back(&places).await {
            Ok(found) if found.len() == places.len() => found,
            Ok(found) => return self.away(PortError::Unclear(format!("{} answers to {} documents", found.len(), places.len()))),
            Err(error) => return self.away(error),
        };
        for ((alert, is_conflict), found) in doubtful.iter().zip(found) {
            if found.as_ref().is_some_and(|found| found.is(&alert.document)) {
                self.settled.done.push((alert.seq, alert.revision));
                continue;
            }
            let is_ours = found.as_ref().is_some_and(|found| found.is_revision_of(&alert.id));
            let found = found.map(|FoundDocument { version, .. }| version);
            let ours = version(alert);
            // A conflict says that the version is taken, whatever is there by now: it may have been removed since.
            let taken = found.max(is_conflict.then_some(ours)).filter(|taken| *taken >= ours);
            match taken.map(|taken| (taken, base_above(taken))) {
                // What was lost on its way is sent again.
                None => {}
                Some((_, Some(base))) => {
                    self.base = self.base.max(Some(base));
                    self.met_other_revision |= is_ours;
                }
                Some((taken, None)) => self.refuse(alert, format!("a document of version {taken} is in its place, which no version can outdo; remove it")),
            }
        }
    }

    fn away(&mut self, error: PortError) {
        self.is_away = true;
        self.trouble.get_or_insert(error);
    }
}

fn place_of(alert: &WaitingAlert) -> DocumentPlace {
    DocumentPlace { index: Family::Alert.index(alert.create_time), id: alert.id.clone() }
}
