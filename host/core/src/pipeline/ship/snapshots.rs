//! Open alerts to Redis: a cache, never a witness. It may forget anything at any moment; each batch moves a marker, and a cache
//! that does not hold the marker that we left there is emptied and filled again from the state.

use super::{SnapshotKeys, Surroundings, insist};
use crate::pipeline::conductor::Patience;
use crate::ports::PortError;
use crate::services::{AlertPage, Applied, Marker, Rest, ShipNews, ShipWatcher, SnapshotBatch, SnapshotOutbox, Snapshots};

/// Keeps the cache until the outbox fails for good. `life` is a random number that no earlier life had.
pub async fn ship_snapshots<R: Rest, P: Patience, W: ShipWatcher>(
    life: u64,
    outbox: &mut impl SnapshotOutbox,
    cache: &mut impl Snapshots,
    around: &mut Surroundings<R, P, W>,
) -> PortError {
    let mut batch = 0;
    let mut next = || {
        batch += 1;
        Marker { life, batch }
    };
    let mut left = match adopt(outbox, cache, around).await {
        Ok(left) => left,
        Err(fatal) => return fatal,
    };
    loop {
        let Some(expected) = left else {
            match rebuild(next(), outbox, cache, around).await {
                Ok(marker) => left = Some(marker),
                Err(fatal) => return fatal,
            }
            continue;
        };
        let page = match insist!(around.patience, outbox.waiting_snapshots(around.page_bytes)) {
            Ok(page) => page,
            Err(fatal) => return fatal,
        };
        if page.alerts.is_empty() {
            around.rest.rest(page.position).await;
            left = read_marker(cache, around).await.filter(|found| *found == expected);
            continue;
        }
        match send(next(), expected, &page, outbox, cache, around).await {
            Ok(settled) => left = settled,
            Err(fatal) => return fatal,
        }
    }
}

/// The marker at the start of a life, if the cache holds one that the state knows. A batch of the life before may have been
/// applied without our hearing of it: its alerts wait still, and are sent again.
async fn adopt<R: Rest, P: Patience, W: ShipWatcher>(
    outbox: &mut impl SnapshotOutbox,
    cache: &mut impl Snapshots,
    around: &mut Surroundings<R, P, W>,
) -> Result<Option<Marker>, PortError> {
    let known = insist!(around.patience, outbox.markers())?;
    match read_marker(cache, around).await {
        Some(found) if known.in_flight == Some(found) => {
            insist!(around.patience, outbox.settle_snapshots(0, &[], found))?;
            Ok(Some(found))
        }
        found => Ok(found.filter(|found| known.settled == Some(*found))),
    }
}

/// Empties the cache and lets all open alerts wait anew. In this order: what the state says of the cache is never better than
/// what the cache is.
async fn rebuild<R: Rest, P: Patience, W: ShipWatcher>(
    next: Marker,
    outbox: &mut impl SnapshotOutbox,
    cache: &mut impl Snapshots,
    around: &mut Surroundings<R, P, W>,
) -> Result<Marker, PortError> {
    insist!(around.patience, outbox.rebuild(next))?;
    let mut tries = 0;
    while let Err(error) = cache.clear(next).await {
        tries += 1;
        around.patience.pause(tries, &error).await;
    }
    insist!(around.patience, outbox.settle_snapshots(0, &[], next))?;
    around.watcher.heard(ShipNews::Rebuilt);
    Ok(next)
}

/// One batch, the same one until it is known whether it was applied. Gives the marker that the cache holds then; none when it
/// is not ours.
async fn send<R: Rest, P: Patience, W: ShipWatcher>(
    next: Marker,
    expected: Marker,
    page: &AlertPage,
    outbox: &mut impl SnapshotOutbox,
    cache: &mut impl Snapshots,
    around: &mut Surroundings<R, P, W>,
) -> Result<Option<Marker>, PortError> {
    insist!(around.patience, outbox.announce(next))?;
    let writes = page.alerts.iter().flat_map(|alert| SnapshotKeys::writes(&alert.document, alert.is_open)).collect();
    let batch = SnapshotBatch { expected, next, writes };
    let mut tries = 0;
    loop {
        let error = match cache.apply(&batch).await {
            Ok(Applied::Done) => break,
            // A try before this one was.
            Ok(Applied::Otherwise(found)) if found == Some(next) => break,
            Ok(Applied::Otherwise(_)) => return Ok(None),
            Err(error) => error,
        };
        if matches!(error, PortError::Unclear(_)) {
            around.watcher.heard(ShipNews::Unclear);
        }
        tries += 1;
        around.patience.pause(tries, &error).await;
    }
    let done: Vec<(u64, u64)> = page.alerts.iter().map(|alert| (alert.seq, alert.revision)).collect();
    insist!(around.patience, outbox.settle_snapshots(page.position, &done, next))?;
    around.tell(done.len(), ShipNews::Stored);
    Ok(Some(next))
}

async fn read_marker<R: Rest, P: Patience, W: ShipWatcher>(cache: &mut impl Snapshots, around: &mut Surroundings<R, P, W>) -> Option<Marker> {
    let mut tries = 0;
    loop {
        match cache.marker().await {
            Ok(found) => return found,
            Err(error) => {
                tries += 1;
                around.patience.pause(tries, &error).await;
            }
        }
    }
}
