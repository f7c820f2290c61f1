//! `/metrics`: the numbers of [`Sources`] in OpenMetrics text, which Prometheus reads.

use super::process::{Process, build_info};
use super::{DoorSnapshot, EngineSnapshot, HistogramSnapshot, JournalSnapshot, ListenerSnapshot, PipelineSnapshot, Sources};
use crate::serve::{FamilyUse, StorageReport};
use crate::tables::TableRow;
use alertmill_core::ledger::{DEDUPE_OVERFLOW, Ledger};
use alertmill_core::ports::LedgerValue;
use alertmill_engine::{CALL_NANOS_BOUNDS, FailureKind, LoadStats, RuleStatsSnapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// Names of sources, rules or codes that get a label of their own; further ones are summed as `other`.
const LABELS_MAX: usize = 256;

/// Content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers, ready to be asked.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Numbers of these sources.
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix("alertmill");
        registry.register_collector(Box::new(Reading(sources)));
        Metrics { registry }
    }

    /// The text at this moment.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Reading(Sources);

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Writer(encoder);
        out.ledger(&(self.0.ledger)())?;
        out.doors(&(self.0.doors)())?;
        out.listener(&(self.0.listener)())?;
        out.journal(&(self.0.journal)())?;
        out.pipeline(&(self.0.pipeline)())?;
        out.engine(&(self.0.engine)())?;
        out.tables(&(self.0.tables)())?;
        out.storage(&(self.0.storage)())?;
        let alerts = (self.0.alerts)();
        out.gauge("open_alerts", "Open alerts", alerts.open)?;
        out.gauge("known_uids", "Uids of events that a retry would be recognised by", alerts.known_uids)?;
        out.gauge("state_losses", "Reports in quarantine of a damaged state that lost something; remove one when it is read", alerts.losses)?;
        let commands = (self.0.commands)();
        let rows = commands.iter().map(|c| ([("action", c.action), ("outcome", c.outcome)], c.alerts));
        out.counters("commands", "Alerts that operators' commands named since the process started", rows)?;
        out.process()
    }
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// Rows of one family: labels and value.
struct Rows<'a, const N: usize, T>(Vec<(Labels<'a, N>, T)>);

impl<'a, const N: usize, T: Copy + AddAssign> Rows<'a, N, T> {
    /// Sums equal labels, and all labels beyond the bound as `other`.
    fn of(rows: impl IntoIterator<Item = (Labels<'a, N>, T)>) -> Self {
        let mut kept: Vec<(Labels<'a, N>, T)> = Vec::new();
        for (labels, value) in rows {
            let labels = if kept.len() < LABELS_MAX || kept.iter().any(|(l, _)| *l == labels) { labels } else { labels.map(|(name, _)| (name, "other")) };
            match kept.iter_mut().find(|(l, _)| *l == labels) {
                Some((_, sum)) => *sum += value,
                None => kept.push((labels, value)),
            }
        }
        Rows(kept)
    }
}

/// A value of which the highest counts.
#[derive(Clone, Copy)]
struct Highest(f64);

impl AddAssign for Highest {
    fn add_assign(&mut self, other: Highest) {
        self.0 = self.0.max(other.0);
    }
}

/// Calls of a rule by how long they took.
#[derive(Clone, Copy)]
struct CallTimes {
    calls: [u64; CALL_NANOS_BOUNDS.len() + 1],
    seconds: f64,
}

impl CallTimes {
    fn of(rule: &RuleStatsSnapshot) -> CallTimes {
        let mut calls = [0; CALL_NANOS_BOUNDS.len() + 1];
        calls.iter_mut().zip(&rule.call_nanos).for_each(|(bucket, n)| *bucket = *n);
        CallTimes { calls, seconds: rule.nanos as f64 / 1e9 }
    }

    fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = CALL_NANOS_BOUNDS.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::INFINITY]);
        bounds.zip(self.calls).collect()
    }
}

impl AddAssign for CallTimes {
    fn add_assign(&mut self, other: CallTimes) {
        self.calls.iter_mut().zip(other.calls).for_each(|(bucket, n)| *bucket += n);
        self.seconds += other.seconds;
    }
}

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn family<const N: usize, T: Copy>(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        rows: Rows<'_, N, T>,
        write: impl Fn(MetricEncoder, T) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows.0 {
            write(metric.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    fn counters<'a, const N: usize>(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels<'a, N>, u64)>) -> fmt::Result {
        self.family((name, help, MetricType::Counter), Rows::of(rows), |mut m, n| m.encode_counter::<NoLabelSet, _, u64>(&n, None))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauge_f64(name, help, value as f64)
    }

    fn gauge_f64(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn histogram(&mut self, name: &str, help: &str, value: &HistogramSnapshot) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let top = [(f64::INFINITY, 0)];
        let buckets = if value.buckets.is_empty() { &top[..] } else { &value.buckets };
        metric.encode_histogram::<NoLabelSet>(value.sum, value.count(), buckets, None)
    }

    fn ledger(&mut self, values: &[LedgerValue]) -> fmt::Result {
        let of_sources = |counter: &'static str| {
            let rows = values.iter().filter(move |v| v.scope == "source" && v.counter == counter);
            rows.map(|v| ([("source", v.name.as_str())], v.value))
        };
        let split = |counter: &'static str, label: &'static str| {
            values.iter().filter(|v| v.scope == "source").filter_map(move |v| {
                let rest = v.counter.strip_prefix(counter)?;
                let rest = if rest.is_empty() { "any" } else { rest.strip_prefix('.')? };
                Some(([("source", v.name.as_str()), (label, rest)], v.value))
            })
        };
        for (name, counter, help) in [
            ("events_received", "received", "Items that doors received, as committed with the fold"),
            ("events_refused", "refused", "Items that doors refused, as committed with the fold"),
            ("events_request_duplicates", "duplicates_in_request", "Repeats within one request"),
            ("events_journaled", "journaled", "Items whose record is folded"),
            ("events_redriven", "redriven", "Dead letters that were tried again"),
            ("events_normalized_extra", "normalized_extra", "Events that rules made of payloads beyond one each"),
            ("events_none_made", "no_events", "Payloads of which rules made no event"),
            ("events_duplicates", "duplicates", "Events whose uid was known: retries"),
            ("events_refreshed", "refreshed", "Re-sends that only moved time-outs"),
            ("events_folded", "folded", "Events that opened, updated, converged into or ended an alert"),
        ] {
            self.counters(name, help, of_sources(counter))?;
        }
        self.counters("events_dead_letters", "Events that could not be understood or judged", split("dead_letters", "code"))?;
        self.counters("events_stored_only", "Events that are stored and touched no alert", split("stored_only", "reason"))?;
        for (name, counter, help) in [
            ("rule_event_rows", "rows", "Rows a rule was asked about, as committed with the fold"),
            ("rule_event_changed", "changed", "Rows a rule changed or keyed"),
            ("rule_event_dropped", "dropped", "Rows a rule took out"),
            ("rule_event_failed", "failed", "Rows a rule could not judge"),
            ("dedupe_overflow", DEDUPE_OVERFLOW, "Events whose rule's keys had as many alerts open as limits.open_keys allows: their own keys decided"),
        ] {
            let rows = values.iter().filter(|v| v.scope == "rule" && v.counter == counter);
            self.counters(name, help, rows.map(|v| ([("rule", v.name.as_str())], v.value)))?;
        }
        let (door, fold) = imbalance(values);
        let rows = Rows(vec![([("half", "door")], door as f64), ([("half", "fold")], fold as f64)]);
        let help = "How far the ledger's sums are apart, all sources together; anything but 0 is a bug";
        self.family(("ledger_imbalance", help, MetricType::Gauge), rows, |mut m, n| m.encode_gauge(&n))
    }

    fn doors(&mut self, doors: &[DoorSnapshot]) -> fmt::Result {
        let by_source = |value: fn(&DoorSnapshot) -> u64| doors.iter().map(move |d| ([("source", d.source.as_str())], value(d)));
        self.counters("door_items_received", "Items received since the process started", by_source(|d| d.received))?;
        self.counters("door_items_journaled", "Items journaled since the process started", by_source(|d| d.journaled))?;
        self.counters("door_items_duplicates", "Repeats within a request since the process started", by_source(|d| d.duplicates))?;
        let refused = doors.iter().flat_map(|d| d.refused.iter().map(|(code, n)| ([("source", d.source.as_str()), ("code", code.as_str())], *n)));
        self.counters("door_items_refused", "Items refused since the process started", refused)?;
        let requests: Vec<_> = doors.iter().flat_map(|d| d.requests.iter().map(|(status, n)| (d.source.as_str(), status.to_string(), *n))).collect();
        let rows = requests.iter().map(|(source, status, n)| ([("source", *source), ("status", status.as_str())], *n));
        self.counters("door_requests", "Requests answered since the process started", rows)
    }

    fn listener(&mut self, listener: &ListenerSnapshot) -> fmt::Result {
        self.counter("connections_accepted", "Connections accepted", listener.accepted)?;
        self.counter("connections_refused", "Connections closed at once: limits.connections or limits.connections_per_address", listener.refused)?;
        self.counter("connections_failed", "Connections that ended with an error: bad heads, time-outs, resets", listener.errors)?;
        self.counter("requests_refused_strictly", "Requests whose head breaks HTTP or names another host", listener.strict_refusals)?;
        self.gauge("connections_open", "Connections open now", listener.open)
    }

    fn journal(&mut self, journal: &JournalSnapshot) -> fmt::Result {
        self.counter("journal_fdatasyncs", "Calls of fdatasync", journal.fdatasyncs)?;
        self.counter("journal_groups", "Groups of records that were made durable together", journal.groups)?;
        self.counter("journal_records", "Records", journal.records)?;
        self.counter("journal_bytes", "Bytes written", journal.bytes)?;
        self.counter("journal_refused", "Appends refused because too many bytes waited for the disk", journal.refused)?;
        self.counter("journal_failed_syncs", "Writes and syncs that failed; each ended its file", journal.failed_syncs)?;
        self.histogram("journal_group_records", "Records of a group", &journal.group_sizes)?;
        self.gauge("journal_queue_bytes", "Bytes that wait to be written, or in memory to be read", journal.queue_bytes)?;
        self.gauge("journal_segment_bytes", "Bytes of all segment files", journal.segment_bytes)?;
        self.gauge("journal_segment_bytes_max", "data.journal_max", journal.segment_bytes_max)?;
        self.gauge("journal_failed", "1 while the disk or data.journal_max refuses, or the journal has stopped: nothing is accepted", u64::from(journal.failed))
    }

    fn pipeline(&mut self, pipeline: &PipelineSnapshot) -> fmt::Result {
        self.counter("items", "Items that entered the pipeline", pipeline.items)?;
        self.counter("item_parses", "How often an item's bytes were parsed", pipeline.item_parses)?;
        self.gauge("events_in_flight", "Journaled items whose fold is not committed yet", pipeline.in_flight)?;
        self.gauge("in_flight_bytes", "Bytes of requests that are journaled and not folded; beyond the limit senders get 429", pipeline.in_flight_bytes)?;
        self.gauge("in_flight_bytes_max", "limits.queue", pipeline.in_flight_bytes_max)?;
        self.gauge("unanswered_bytes", "Bytes of requests that are not answered yet; limits.queue bounds them too", pipeline.unanswered_bytes)?;
        self.histogram("prepare_batch_rows", "Rows of prepare batches", &pipeline.prepare_rows)?;
        self.histogram("fold_batch_rows", "Rows of fold batches", &pipeline.fold_rows)?;
        self.histogram("lag_milliseconds", "From received to folded and committed", &pipeline.lag_ms)?;
        let verdicts = FailureKind::ALL.iter().map(|kind| ([("kind", kind.as_str())], pipeline.verdicts.get(kind.as_str()).copied().unwrap_or(0)));
        self.counters("verdict_records", "Verdicts on rows that a rule did not judge, journaled since the process started", verdicts)?;
        let help = "1 while the pipeline waits at a row that a rule with the policy stop could not judge";
        self.gauge("pipeline_halted", help, u64::from(!pipeline.halted_by.is_empty()))?;
        let rules = Rows::of(pipeline.halted_by.iter().map(|rule| ([("rule", rule.as_str())], Highest(1.0))));
        self.family(("rule_halted", "1 while that rule is the one", MetricType::Gauge), rules, |mut m, n| m.encode_gauge(&n.0))
    }

    fn engine(&mut self, engine: &EngineSnapshot) -> fmt::Result {
        self.gauge("rule_generation", "The rule-set generation in force", engine.generation)?;
        self.histogram("engine_batch_rows", "Rows of one call of a rule", &engine.batch_rows)?;
        self.gauge_f64("engine_batch_rows_mean", "Mean of engine_batch_rows since the process started", engine.batch_rows.mean())?;
        self.rules(&engine.rules)?;
        self.loads(&engine.load)
    }

    /// Two versions of a rule are two rows, and those of a version are gone when it is.
    fn rules(&mut self, rules: &[RuleStatsSnapshot]) -> fmt::Result {
        let versions: Vec<String> = rules.iter().map(RuleStatsSnapshot::version_label).collect();
        let labelled = || rules.iter().zip(&versions).map(|(rule, version)| ([("rule", rule.rule.as_str()), ("version", version.as_str())], rule));
        for (name, help, value) in [
            ("rule_calls", "Calls into a rule", (|r| r.calls) as fn(&RuleStatsSnapshot) -> u64),
            ("rule_rows", "Rows a rule was given", |r| r.rows),
            ("rule_slow_calls", "Calls that took longer than the rule's limits.slow_ms", |r| r.slow_calls),
            ("rule_log_lines_dropped", "Log lines beyond the rule's share", |r| r.log_lines_dropped),
            ("rule_strikes", "Strikes; so many within a while as its options say put a rule out", |r| r.strikes),
        ] {
            self.counters(name, help, labelled().map(|(labels, rule)| (labels, value(rule))))?;
        }
        for (name, help, label, parts) in [
            ("rule_failures", "Rows a rule failed on", "kind", (|r| &r.failures) as fn(&RuleStatsSnapshot) -> &[(&'static str, u64)]),
            ("rule_policy_rows", "Rows a rule failed on, by what was done with them", "policy", |r| &r.rows_by_policy),
            ("rule_limit_hits", "How often a rule ran into a limit", "limit", |r| &r.limit_hits),
            ("rule_instances", "Instances made of a rule", "reason", |r| &r.instances_by_reason),
        ] {
            let rows = labelled().flat_map(|([rule, version], stats)| parts(stats).iter().map(move |(part, n)| ([rule, version, (label, *part)], *n)));
            self.counters(name, help, rows)?;
        }
        for (name, help, value) in [
            ("rule_memory_bytes_highest", "The most memory that an instance of a rule had", (|r| r.most.memory_bytes as f64) as fn(&RuleStatsSnapshot) -> f64),
            ("rule_call_seconds_highest", "The longest call of a rule", |r| r.most.nanos as f64 / 1e9),
            ("rule_output_bytes_highest", "The largest answer of a rule", |r| r.most.output_bytes as f64),
            ("rule_lookups_highest", "The most keys that one call of a rule looked up", |r| r.most.lookups as f64),
            ("rule_table_handles_highest", "The most tables that a rule had open at once", |r| r.most.handles as f64),
            ("rule_struck_out", "1 while a rule is not called because it failed too often or too long", |r| f64::from(u8::from(r.struck_out))),
            ("rule_quarantined", "1 while the generation in force holds a rule in quarantine", |r| f64::from(u8::from(r.quarantined))),
        ] {
            let rows = Rows::of(labelled().map(|(labels, rule)| (labels, Highest(value(rule)))));
            self.family((name, help, MetricType::Gauge), rows, |mut m, n| m.encode_gauge(&n.0))?;
        }
        let alarms = labelled().flat_map(|([rule, version], stats)| stats.alarms.iter().map(move |alarm| ([rule, version, ("alarm", *alarm)], Highest(1.0))));
        let help = "1 while what a rule did within the last minute looks wrong";
        self.family(("rule_alarm", help, MetricType::Gauge), Rows::of(alarms), |mut m, n| m.encode_gauge(&n.0))?;
        let times = Rows::of(labelled().map(|(labels, rule)| (labels, CallTimes::of(rule))));
        self.family(("rule_call_seconds", "How long calls of a rule took", MetricType::Histogram), times, |mut m, times| {
            m.encode_histogram::<NoLabelSet>(times.seconds, times.calls.iter().sum(), &times.buckets(), None)
        })
    }

    fn loads(&mut self, load: &LoadStats) -> fmt::Result {
        // Every outcome is there from the start, so that an alarm can rest on its rise.
        let known = |outcomes: &'static [&'static str], counts: &BTreeMap<&'static str, u64>| {
            outcomes.iter().map(|outcome| ([("outcome", *outcome)], counts.get(outcome).copied().unwrap_or(0))).collect::<Vec<_>>()
        };
        self.counters("rule_compiles", "Modules that were compiled, since the process started", known(&LoadStats::COMPILES, &load.compiles))?;
        let mut seconds =
            self.0.encode_descriptor("rule_compile_seconds", "Time that compiling took, waiting for a compiler included", None, MetricType::Counter)?;
        seconds.encode_counter::<NoLabelSet, _, u64>(&(load.compile_nanos as f64 / 1e9), None)?;
        let help = "Compiled code asked of the cache; what is distrusted may have been written by others, and is compiled again";
        self.counters("code_cache", help, known(&LoadStats::CACHE, &load.cache))?;
        let refusals = load.refusals.iter().map(|(code, n)| ([("code", *code)], *n));
        self.counters("rule_refusals", "Modules that were not taken, by the code of the refusal", refusals)
    }

    fn tables(&mut self, tables: &[TableRow]) -> fmt::Result {
        let in_force = |value: fn(&TableRow) -> Option<u64>| {
            Rows::of(tables.iter().filter_map(move |table| Some(([("table", table.name.as_str())], value(table)? as f64))))
        };
        for (name, help, value) in [
            ("table_rows", "Rows of a look-up table that is in force", (|t| t.rows.map(|n| n as u64)) as fn(&TableRow) -> Option<u64>),
            ("table_bytes", "Bytes that it takes in memory", |t| t.bytes.map(|n| n as u64)),
            ("table_age_seconds", "Seconds since its source said that what is in force is right", |t| t.age_s),
            ("table_generation", "The rule-set generation since which its content is in force", |t| t.generation),
            ("table_stale", "1 while it is older than stale_after_s", |t| Some(u64::from(t.stale))),
        ] {
            self.family((name, help, MetricType::Gauge), in_force(value), |mut m, n| m.encode_gauge(&n))?;
        }
        let of = |value: fn(&TableRow) -> u64| tables.iter().map(move |table| ([("table", table.name.as_str())], value(table)));
        self.counters("table_hits", "Keys that rules looked up and found since the process started", of(|t| t.hits))?;
        self.counters("table_misses", "Keys that rules looked up and did not find since the process started", of(|t| t.misses))?;
        let outcomes = tables.iter().flat_map(|t| t.refreshes.iter().map(|(outcome, n)| ([("table", t.name.as_str()), ("outcome", *outcome)], *n)));
        self.counters("table_refreshes", "How often its source was read since the process started, by what came of it", outcomes)
    }

    fn storage(&mut self, storage: &StorageReport) -> fmt::Result {
        let rows = |value: fn(&FamilyUse) -> u64| Rows::of(storage.families.iter().map(move |f| ([("family", f.name)], value(f) as f64)));
        self.family(("storage_bytes", "Bytes on disk, as of the last look", MetricType::Gauge), rows(|f| f.bytes), |mut m, n| m.encode_gauge(&n))?;
        self.family(("storage_files", "Files, or rows of the state, as of the last look", MetricType::Gauge), rows(|f| f.count), |mut m, n| {
            m.encode_gauge(&n)
        })?;
        let bounds = storage.families.iter().flat_map(|f| f.bounds.iter().map(|(key, bound)| ([("family", f.name), ("key", *key)], *bound as f64)));
        let help = "Bounds by their keys in the configuration: bytes, days or numbers";
        self.family(("storage_bound", help, MetricType::Gauge), Rows::of(bounds), |mut m, n| m.encode_gauge(&n))?;
        let removed = storage.families.iter().flat_map(|f| f.removed.iter().map(|(why, count)| ([("family", f.name), ("why", *why)], *count)));
        self.counters("storage_removed", "What retention removed since the process started: files, alerts or dead letters", removed)?;
        self.gauge("storage_damages", "Damaged files and reports of damage in quarantine", storage.damages.len() as u64)
    }

    fn process(&mut self) -> fmt::Result {
        let process = Process::now();
        if let Some(bytes) = process.resident_bytes {
            self.gauge("process_resident_bytes", "Resident memory", bytes)?;
        }
        if let Some(files) = process.open_files {
            self.gauge("process_open_files", "Open file descriptors", files)?;
        }
        self.0.encode_descriptor("build", "This build", None, MetricType::Info)?.encode_info(&build_info())
    }
}

/// The ledger's imbalance (door, fold), absolute values summed over all sources.
pub fn imbalance(values: &[LedgerValue]) -> (u64, u64) {
    let rows: Vec<_> = values.iter().map(|v| (v.scope.into(), v.name.clone(), v.counter.clone(), v.value)).collect();
    let ledger = Ledger::restore(&rows);
    ledger.sources().iter().map(|source| ledger.imbalance(source)).fold((0, 0), |(a, b), (door, fold)| (a + door.unsigned_abs(), b + fold.unsigned_abs()))
}
