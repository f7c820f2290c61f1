//! The summary: read back through the API and the ledger, and checked against what the senders were told.

use super::scratch::Scratch;
use super::{Sent, bug};
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::serve::Running;
use alertmill_core::ports::LedgerValue;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// Sums of the ledger over all sources.
struct Sums(Vec<LedgerValue>);

impl Sums {
    fn of(&self, counter: &str) -> u64 {
        self.0.iter().filter(|line| line.scope == "source" && line.counter == counter).map(|line| line.value).sum()
    }
    fn stored_only(&self) -> u64 {
        self.0.iter().filter(|line| line.scope == "source" && line.counter.starts_with("stored_only.")).map(|line| line.value).sum()
    }
    fn rule(&self, rule: &str, counter: &str) -> u64 {
        self.0.iter().filter(|line| line.scope == "rule" && line.name == rule && line.counter == counter).map(|line| line.value).sum()
    }
}

/// Prints the table; fails when the sums do not agree, or an acknowledged event is missing.
pub(super) async fn print(client: &Client, running: &Running, sent: &Sent) -> Result<(), Failure> {
    let sums = Sums(running.progress().ledger());
    let alerts = all_alerts(client).await?;
    let rules: Value = client.get_json("/api/v1/rules").await?;
    let text = table(sent, &sums, &alerts, &rules);
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(Failure::from)?;
    check(sent, &sums, &alerts)
}

async fn all_alerts(client: &Client) -> Result<Vec<Value>, Failure> {
    let (mut alerts, mut path) = (Vec::new(), "/api/v1/alerts?limit=1000".to_owned());
    loop {
        let mut page: Value = client.get_json(&path).await?;
        if let Some(items) = page["items"].as_array_mut() {
            alerts.append(items);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/alerts?limit=1000&cursor={cursor}"),
            None => return Ok(alerts),
        }
    }
}

fn table(sent: &Sent, sums: &Sums, alerts: &[Value], rules: &Value) -> String {
    let mut by: BTreeMap<(String, String), u64> = BTreeMap::new();
    for alert in alerts {
        let of = |name: &str| alert[name].as_str().map_or_else(|| alert[name].to_string(), str::to_owned);
        *by.entry((of("status"), of("severity"))).or_default() += 1;
    }
    let status = |wanted: &str| by.iter().filter(|((status, _), _)| status == wanted).map(|(_, n)| n).sum::<u64>();
    let mut t = String::new();
    let mut row = |name: &str, n: u64, what: &str| {
        let _ = writeln!(t, "  {name:<22} {n:>6}  {what}");
    };
    row("requests", sent.requests, "");
    row("items received", sums.of("received"), "");
    row("  refused", sums.of("refused"), "answered with a code, not taken");
    row("  journaled", sums.of("journaled"), "durable before the sender was answered");
    row("  repeats in a request", sums.of("duplicates_in_request"), "");
    row("events", sums.of("journaled"), "each ended up in exactly one of:");
    row("  folded", sums.of("folded"), "opened, updated or ended an alert");
    row("  duplicates", sums.of("duplicates"), "retries that were known");
    row("  refreshed", sums.of("refreshed"), "re-sends of what the alert had absorbed");
    row("  stored only", sums.stored_only(), "expired, milder, or no open alert");
    row("  dead letters", sums.of("dead_letters"), "");
    row("alerts opened", alerts.len() as u64, "");
    row("  still open", status("ABNORMAL"), "");
    row("  recovered", status("RECOVERED"), "");
    row("  closed", status("CLOSED"), "by a worse event that took their place, or by their sender");
    let updates: u64 = alerts.iter().map(|alert| alert["event_count"].as_u64().unwrap_or(0).saturating_sub(1)).sum();
    row("alert updates", updates, "events beyond the first of each alert");
    let before = alerts.iter().filter(|alert| alert["rule_generation"].as_u64() == Some(sent.generations.0)).count() as u64;
    row("alerts of generation", before, &format!("{} (last event before the swap)", sent.generations.0));
    row("alerts of generation", alerts.len() as u64 - before, &format!("{} (last event after it)", sent.generations.1));
    for rule in rules["items"].as_array().into_iter().flatten() {
        let name = rule["name"].as_str().unwrap_or_default();
        let (rows, changed, failed) = (sums.rule(name, "rows"), sums.rule(name, "changed"), sums.rule(name, "failed"));
        let _ = writeln!(t, "  rule {name:<20} saw {rows:>4}, changed or keyed {changed:>4}, failed {failed}");
    }
    for refusal in sent.refusals.iter().take(3) {
        let _ = writeln!(t, "  refused, for example: {refusal}");
    }
    t
}

fn check(sent: &Sent, sums: &Sums, alerts: &[Value]) -> Result<(), Failure> {
    let went = sums.of("folded") + sums.of("duplicates") + sums.of("refreshed") + sums.stored_only() + sums.of("dead_letters");
    let counted: u64 = alerts.iter().map(|alert| alert["event_count"].as_u64().unwrap_or(0)).sum();
    let pairs = [
        ("acknowledged items and journaled ones", sent.accepted, sums.of("journaled")),
        ("refused items and those counted so", sent.refused, sums.of("refused")),
        ("journaled events and what became of them", sums.of("journaled"), went),
        ("folded events and the alerts' event counts", sums.of("folded"), counted),
    ];
    match pairs.iter().find(|(_, a, b)| a != b) {
        Some((what, a, b)) => Err(bug("the sums do not agree", format!("{what}: {a} and {b}"))),
        None => Ok(()),
    }
}

/// What to do next, for people.
pub(super) fn three_things(address: &str, scratch: &Scratch) {
    let _ = writeln!(
        std::io::stdout(),
        "\nThe server stays up at {address} until Ctrl-C. Three things to try:\n\
         1. alertmill --server {address} alert list --status ABNORMAL\n\
         2. curl -H 'content-type: application/json' {address}/api/v1/events -d '{{\"alert_name\":\"Disk full\",\"severity\":1,\"tags\":[{{\"key\":\"host\",\"value\":\"web-1\"}}]}}'\n\
         3. take a rule out while it runs: rm {}/30-dedupe-by-tags.wasm; then look at {address}/api/v1/rules",
        scratch.rules_dir().display()
    );
}
