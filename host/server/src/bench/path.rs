//! `path-embedded`: events into durable alerts on the embedded stores, with the three shipped rules, against parsing the
//! same bytes and appending them durably. In process: requests go the way of a door from its decoded body on, without HTTP.
//!
//! What is compared is events per CPU second of the whole process (all threads, user and kernel), because the two sides use
//! the cores differently and the machine may have other work.

use super::samples::{Fleet, Request, hosts_csv};
use super::{GoalIs, Row, RowName};
use crate::config::types::ByteSize;
use crate::config::{Config, Table};
use crate::rules_folder::shipped;
use crate::serve::{self, Running};
use alertmill_core::decode::{ContentKind, ITEMS_PER_REQUEST_MAX, decode_request};
use alertmill_core::item::{ItemLimits, parse_item};
use alertmill_core::ports::Journal;
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, RecordBody};
use alertmill_core::value::Text;
use alertmill_stores::journal::JournalOptions;
use alertmill_stores::{JournalDir, JournalHandle, SyncedPosition};
use anyhow::{Context, Result, anyhow, ensure};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// Requests on their way at the same time, as of so many senders that wait for their answers.
const SENDERS: usize = 64;
/// Events of one request.
const EVENTS: usize = 100;
const SOURCE: &str = "bench";
const TENANT: &str = "system";

/// Measures the row in a scratch folder under `parent`.
pub fn measure(quick: bool, parent: Option<&Path>) -> Result<Row> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
    let dir = tempfile::tempdir_in(&parent).with_context(|| format!("no scratch folder can be made in {}", parent.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(windows(quick, dir.path()))
}

async fn windows(quick: bool, dir: &Path) -> Result<Row> {
    let (count, requests) = if quick { (2, 40) } else { (8, 500) };
    let running = serve::start(config(dir)?).await?;
    let rules = shipped::names().len();
    ensure!(running.engine().stats().len() == rules, "the server did not take over the {rules} shipped rules");
    // The reference keeps nothing in memory for a reader: it has none.
    let options = JournalOptions { live_bytes_max: 0, ..JournalOptions::default() };
    let (journal, _reader, _) = JournalDir::open(&dir.join("reference"), options)?;

    let mut fleet = Fleet::new();
    let (mut ours, mut reference, mut ratios) = (0f64, 0f64, Vec::new());
    for _ in 0..count {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        let a = whole_path(&running, fleet.requests(requests, EVENTS, now_s)).await?;
        let b = parse_and_append(&journal, fleet.requests(requests, EVENTS, now_s)).await?;
        (ours, reference) = (ours.max(a), reference.max(b));
        ratios.push(a / b);
    }
    let sent = (count * requests * EVENTS) as u64;
    let checked = check(&running, sent);
    running.stop().await?;
    checked?;
    Ok(Row::new(RowName::PathEmbedded, "events per CPU second", (ours, reference), ratios, 0.5, GoalIs::AtLeast))
}

fn config(dir: &Path) -> Result<Config> {
    let rules = dir.join("rules.d");
    std::fs::create_dir(&rules)?;
    shipped::write_to(&rules)?;
    let hosts = dir.join("hosts.csv");
    std::fs::write(&hosts, hosts_csv())?;
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".into();
    config.data.dir = dir.join("data");
    config.rules.dir = rules;
    // Nothing but the work itself in the windows.
    config.rules.poll_ms = 0;
    config.retention.events_size = ByteSize::mib(1 << 10);
    config.tables.insert("hosts".into(), Table { file: hosts, key: "host".into(), ..Table::default() });
    Ok(config)
}

/// Events per CPU second from decoded to committed.
async fn whole_path(running: &Running, requests: Vec<Request>) -> Result<f64> {
    let events = events_of(&requests);
    let (journal, progress) = (running.journal().clone(), running.progress().clone());
    // Beyond half of what may be in flight senders wait, instead of being refused and coming again.
    let in_flight_max = Config::default().limits.queue.as_usize() / 2;
    let before = cpu();
    feed(requests, move |request| {
        let (journal, progress) = (journal.clone(), progress.clone());
        async move {
            let mut positions = progress.positions();
            while journal.bytes() > in_flight_max {
                positions.changed().await?;
            }
            let (items, parsed) = decoded(request)?;
            journal.append(RecordBody::Items(items), Some(parsed)).await?;
            Ok(())
        }
    })
    .await?;
    tokio::select! {
        () = running.all_folded() => {}
        why = running.failed() => return Err(anyhow!("the pipeline stopped: {why}")),
    }
    // The state's sync belongs to the window too.
    running.sync().await?;
    Ok(events / (cpu() - before).as_secs_f64())
}

/// As a door plans a request (`doors/plan.rs`).
fn decoded(request: Request) -> Result<(Items, Vec<alertmill_core::item::Item>)> {
    let decoded = decode_request(Door::Events, &request.body, ContentKind::Json, TENANT, ITEMS_PER_REQUEST_MAX)
        .map_err(|refusal| anyhow!("a request was refused: {refusal}"))?;
    ensure!(decoded.refused.is_empty() && decoded.duplicates.is_empty(), "items were refused: {:?}", decoded.refused.first());
    let (mut spans, mut parsed) = (Vec::with_capacity(decoded.good.len()), Vec::with_capacity(decoded.good.len()));
    for good in decoded.good {
        spans.push(ItemSpan { bytes: good.bytes.start as u32..good.bytes.end as u32, request_index: good.index });
        parsed.push(good.item);
    }
    Ok((items(request.body, spans), parsed))
}

/// Events per CPU second when they are parsed and durable and nothing else.
async fn parse_and_append(journal: &JournalHandle, requests: Vec<Request>) -> Result<f64> {
    let events = events_of(&requests);
    let before = cpu();
    let appending = journal.clone();
    feed(requests, move |request| {
        let journal = appending.clone();
        async move {
            for span in &request.spans {
                let item = parse_item(&request.body[span.start as usize..span.end as usize], ItemLimits::STRICT)?;
                std::hint::black_box(&item);
            }
            let spans = request.spans.into_iter().zip(0..).map(|(bytes, request_index)| ItemSpan { bytes, request_index }).collect();
            journal.append(RecordBody::Items(items(request.body, spans)), None).await?;
            Ok(())
        }
    })
    .await?;
    let per_second = events / (cpu() - before).as_secs_f64();
    journal.release(SyncedPosition::vouched(journal.counts().last_ordinal))?;
    Ok(per_second)
}

fn items(body: Vec<u8>, spans: Vec<ItemSpan>) -> Items {
    Items {
        tenant: Text::new_static(TENANT),
        source: Text::new_static(SOURCE),
        door: Door::Events,
        idempotency_key: None,
        counts: DoorCounts { received: spans.len() as u64, ..DoorCounts::default() },
        heap: body.into(),
        spans,
    }
}

/// Sends all requests, [`SENDERS`] at a time.
async fn feed<F>(requests: Vec<Request>, send: impl Fn(Request) -> F + Clone + Send + 'static) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let queue = Arc::new(Mutex::new(requests.into_iter()));
    let mut senders: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..SENDERS {
        let (queue, send) = (queue.clone(), send.clone());
        senders.spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                match next {
                    Some(request) => send(request).await?,
                    None => return Ok(()),
                }
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.context("a sender did not end")??;
    }
    Ok(())
}

fn events_of(requests: &[Request]) -> f64 {
    requests.iter().map(|request| request.spans.len()).sum::<usize>() as f64
}

/// A figure of a path that lost something, or ran without its rules, means nothing.
fn check(running: &Running, sent: u64) -> Result<()> {
    let ledger = running.progress().ledger();
    let count = |scope: &str, name: &str, counter: &str| {
        let line = ledger.iter().find(|line| line.scope == scope && line.name == name && line.counter == counter);
        line.map_or(0, |line| line.value)
    };
    // A recovery may find that its alert has recovered already.
    let folded = count("source", SOURCE, "folded") + count("source", SOURCE, "stored_only.no-open-alert");
    ensure!(folded == sent, "{sent} events were sent and {folded} folded: {ledger:?}");
    for file in shipped::names() {
        let rule = &file[3..];
        let (rows, changed, failed) = (count("rule", rule, "rows"), count("rule", rule, "changed"), count("rule", rule, "failed"));
        ensure!(rows == sent && changed > 0 && failed == 0, "rule {rule} saw {rows} of {sent} events, changed {changed}, failed on {failed}");
    }
    let open = running.progress().open_alerts();
    ensure!((1..=super::samples::ALERTS).contains(&open), "{open} alerts are open");
    Ok(())
}

/// CPU time of this process so far, all threads, user and kernel.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
