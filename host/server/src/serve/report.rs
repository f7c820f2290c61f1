//! What opening the data folder found, said once, with exact numbers.

use alertmill_stores::embedded::{EmbeddedReport, FenceReport};
use alertmill_stores::journal::JournalReport;

/// A damaged state is never left behind silently.
pub fn fenced(report: &FenceReport) {
    let made = match report.rebuilt.as_str() {
        "copy" => "an earlier whole commit goes on, and the journal is replayed behind it",
        "replay" => "the journal has every record and is replayed: nothing is lost",
        "rows" => "all rows that are whole go on; the report names the others",
        _ => "it begins anew with what the journal holds; the report says what is lost",
    };
    tracing::error!(
        findings = %report.findings.join("; "),
        set_aside = %report.set_aside.join(", "),
        report = %format!("quarantine/{}-state.json", report.at_ms),
        position = report.position,
        alerts = report.alerts,
        lost_open_alerts = %list(&report.lost_open_alerts),
        lost_alerts = %list(&report.lost_alerts),
        lost_parts_of = %list(&report.lost_parts_of),
        lost_rows = %report.lost_rows.join("; "),
        "the state was damaged and is made again: {made}"
    );
}

/// The first of them, and how many there are.
fn list(seqs: &[u64]) -> String {
    let first = seqs.iter().take(20).map(u64::to_string).collect::<Vec<_>>().join(",");
    if seqs.len() > 20 { format!("{first} and {} more", seqs.len() - 20) } else { first }
}

/// What recovery found is said once, at start, with exact numbers.
pub fn opened(report: &JournalReport, store: &EmbeddedReport) {
    if report.torn_bytes > 0 {
        tracing::info!(bytes = report.torn_bytes, "the journal ended in the middle of a write; nothing acknowledged was in it");
    }
    for gap in &report.gaps {
        tracing::error!(first = gap.first, last = gap.last, "journal records are lost; files that were damaged are in journal/quarantine");
    }
    for fenced in &report.fenced {
        tracing::error!(file = %fenced.quarantined.display(), "a damaged journal file was set aside; what could be read of it stays");
    }
    if report.watermark_missing {
        tracing::warn!(
            "journal/watermark was not there or damaged: had the last acknowledged records been lost, this start could not know. So once after an upgrade from a version without it"
        );
    }
    if report.behind_state {
        tracing::error!("the journal ends before the state: it was deleted, or an older copy was restored; new records go on behind the state");
    }
    if store.event_rows_missing {
        tracing::error!("event files end before the state says: events since then cannot be shown, their alerts are right");
    }
    if store.damaged_event_files > 0 {
        tracing::error!(files = store.damaged_event_files, "event files are damaged; retries of the events in them count again");
    }
    if store.uids_forgotten {
        tracing::error!("files of known uids are damaged or gone, and so are the event files to build them from: retries of events count again");
    }
    if report.identity_replaced {
        tracing::error!("journal/identity was lost and made anew: retries of events received before now count again");
    }
}
