//! `event send`: items from a file, a pipe or flags; every one gets `time` and `event_id`, every request an
//! `Idempotency-Key`, so that sending again never counts twice.

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{Format, plain};
use bytes::Bytes;
use clap::{ArgGroup, Args};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json, value::RawValue};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

const PATH: &str = "/api/v1/events";
/// Items and bytes of one request.
const BATCH_ITEMS: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;
/// Refused items that are listed on stderr.
const LISTED: u64 = 100;

/// What to send.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["file", "name"]).required(true))]
pub struct Send {
    /// Events from a file: one JSON object, an array, or NDJSON; `-` is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["target", "severity", "tag", "status", "description"])]
    file: Option<PathBuf>,
    /// Name of the alert
    #[arg(long)]
    name: Option<String>,
    /// What it is about, such as an address
    #[arg(long)]
    target: Option<String>,
    /// 1 (fatal), 2 (warning) or 3 (reminder), which is what the server takes when it is not given
    #[arg(long, value_parser = severity)]
    severity: Option<u8>,
    /// A tag; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// What it says about the alert
    #[arg(long, value_parser = ["ABNORMAL", "RECOVERED", "CLOSED"], ignore_case = true, default_value = "ABNORMAL")]
    status: String,
    /// More words
    #[arg(long)]
    description: Option<String>,
    /// Name of the source, instead of the door's own
    #[arg(long)]
    source: Option<String>,
}

/// A severity by its number.
pub fn severity(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|n| (1..=3).contains(n)).ok_or_else(|| "write 1 (fatal), 2 (warning) or 3 (reminder)".to_owned())
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Sends; the answer's numbers are the output.
pub async fn send(args: &Send, context: &Context) -> Result<(), Failure> {
    let mut sender = Sender { context, source: args.source.as_deref(), stamp: Stamp::new(), batch: Vec::new(), bytes: 0, sums: Sums::default() };
    match &args.file {
        None => sender.push(of_flags(args).to_string().into_bytes()).await?,
        Some(path) => sender.read(path).await?,
    }
    sender.flush().await?;
    sender.end()
}

fn of_flags(args: &Send) -> Value {
    let mut event = json!({
        "alert_name": args.name,
        "status": args.status.to_ascii_uppercase(),
        "tags": args.tag.iter().map(|(key, value)| json!({"key": key, "value": value})).collect::<Vec<_>>(),
    });
    for (field, value) in [("target", &args.target), ("description", &args.description)] {
        if let Some(value) = value {
            event[field] = json!(value);
        }
    }
    if let Some(severity) = args.severity {
        event["severity"] = json!(severity);
    }
    event
}

#[derive(Default)]
struct Sums {
    sent: u64,
    accepted: u64,
    duplicates: u64,
    rejected: u64,
}

#[derive(Deserialize)]
struct Answered {
    accepted: u64,
    duplicates: u64,
    rejected: Vec<Rejected>,
    rejected_total: Option<u64>,
}

#[derive(Deserialize)]
struct Rejected {
    index: u64,
    code: String,
    detail: String,
}

struct Sender<'a> {
    context: &'a Context,
    source: Option<&'a str>,
    stamp: Stamp,
    batch: Vec<Vec<u8>>,
    bytes: usize,
    sums: Sums,
}

impl Sender<'_> {
    async fn read(&mut self, path: &Path) -> Result<(), Failure> {
        let unreadable = |e: std::io::Error| Failure::of_file(path, &e);
        let input: Box<dyn Read> = if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(path).map_err(unreadable)?) };
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        let mut is_first = true;
        while input.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
            let text = line.trim_ascii();
            if !text.is_empty() {
                if std::mem::take(&mut is_first) && serde_json::from_slice::<IgnoredAny>(text).is_err_and(|e| e.is_eof()) || text[0] == b'[' {
                    // A document that goes on over several lines, or an array: it is read as a whole.
                    input.read_to_end(&mut line).map_err(unreadable)?;
                    return self.document(&line).await;
                }
                self.push(text.to_vec()).await?;
            }
            line.clear();
        }
        Ok(())
    }

    async fn document(&mut self, text: &[u8]) -> Result<(), Failure> {
        let invalid = |e: serde_json::Error| Failure::new(Exit::No, format!("this is not JSON: {e}; nothing was sent of it"));
        if text.trim_ascii_start().first() == Some(&b'[') {
            for item in serde_json::from_slice::<Vec<&RawValue>>(text).map_err(invalid)? {
                self.push(item.get().as_bytes().to_vec()).await?;
            }
            return Ok(());
        }
        for item in serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>() {
            // A line break inside an object would end it in NDJSON.
            let item: Value = serde_json::from_str(item.map_err(invalid)?.get()).map_err(invalid)?;
            self.push(item.to_string().into_bytes()).await?;
        }
        Ok(())
    }

    async fn push(&mut self, item: Vec<u8>) -> Result<(), Failure> {
        let item = self.stamp.complete(item);
        if self.batch.len() == BATCH_ITEMS || self.bytes + item.len() > BATCH_BYTES {
            self.flush().await?;
        }
        self.bytes += item.len() + 1;
        self.batch.push(item);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let items = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if items.is_empty() {
            return Ok(());
        }
        let (first, count) = (self.sums.sent, items.len() as u64);
        self.sums.sent += count;
        let key = self.stamp.key(first);
        let mut headers = vec![("content-type", "application/x-ndjson"), ("idempotency-key", key.as_str())];
        headers.extend(self.source.map(|source| ("x-alertmill-source", source)));
        let body = Bytes::from(items.join(&b'\n'));
        let answer = self.context.client.post(PATH, &headers, body).await?;
        if answer.status == 200 {
            return self.answered(first, &answer.body);
        }
        let failure = answer.failure(PATH);
        if answer.status / 100 != 4 || matches!(answer.status, 401 | 403 | 404 | 429) {
            return Err(self.stopped(first, count, answer.may_be_done, failure));
        }
        self.sums.rejected += count;
        self.context.say(&format!("events {} to {} refused: {failure}", first + 1, first + count));
        Ok(())
    }

    fn answered(&mut self, first: u64, body: &[u8]) -> Result<(), Failure> {
        let answered: Answered = serde_json::from_slice(body)
            .map_err(|e| Failure::new(Exit::Bug, format!("the server's answer cannot be read: {e}; is it an Alertmill server?")))?;
        for rejected in &answered.rejected {
            if self.sums.rejected < LISTED {
                self.context.say(&format!("event {} refused: {} ({})", first + rejected.index + 1, plain(&rejected.detail), rejected.code));
            }
            self.sums.rejected += 1;
        }
        self.sums.rejected += answered.rejected_total.map_or(0, |total| total.saturating_sub(answered.rejected.len() as u64));
        self.sums.accepted += answered.accepted;
        self.sums.duplicates += answered.duplicates;
        Ok(())
    }

    /// The end of it all, with what became of the events before `first`, of these `count`, and of the rest.
    fn stopped(&self, first: u64, count: u64, is_unclear: bool, failure: Failure) -> Failure {
        let so_far = match (first, is_unclear) {
            (0, false) => "nothing was sent".to_owned(),
            (_, false) => format!("events 1 to {first} were sent, the others were not"),
            (0, true) => format!("whether events 1 to {count} were sent is not known, the others were not"),
            (_, true) => format!("events 1 to {first} were sent, whether {} to {} were is not known, the others were not", first + 1, first + count),
        };
        Failure::new(failure.exit, format!("{failure}; {so_far}"))
    }

    fn end(self) -> Result<(), Failure> {
        let Sums { accepted, duplicates, rejected, .. } = self.sums;
        let mut out = self.context.output();
        match out.format() {
            Format::Json | Format::Ndjson => out.json(&json!({"accepted": accepted, "duplicates": duplicates, "rejected": rejected}))?,
            _ if self.context.quiet => {}
            _ => out.line(&format!("accepted {accepted}, duplicates {duplicates}, rejected {rejected}"))?,
        }
        out.finish()?;
        match (rejected, accepted + duplicates) {
            (0, _) => Ok(()),
            (_, 0) => Err(Failure::silent(Exit::No)),
            _ => Err(Failure::silent(Exit::Partial)),
        }
    }
}

/// Gives events what they lack. All events of one call have the same random part.
pub(super) struct Stamp {
    random: String,
    made: u64,
}

impl Stamp {
    pub(super) fn new() -> Stamp {
        let seed = (jiff::Timestamp::now().as_nanosecond(), std::process::id());
        Stamp { random: format!("{:016x}{:016x}", RandomState::new().hash_one(seed), RandomState::new().hash_one(seed)), made: 0 }
    }

    /// An `Idempotency-Key` for the request that begins with item `first`.
    pub(super) fn key(&self, first: u64) -> String {
        format!("alertmill-cli-{}-{first}", self.random)
    }

    /// Puts the missing members at the object's beginning and leaves its own bytes as they are. What is no object goes as
    /// it is: the server says what is wrong with it.
    fn complete(&mut self, item: Vec<u8>) -> Vec<u8> {
        #[derive(Deserialize)]
        struct Has {
            time: Option<IgnoredAny>,
            event_id: Option<IgnoredAny>,
        }
        self.made += 1;
        let Ok(has) = serde_json::from_slice::<Has>(&item) else { return item };
        let Some(rest) = item.trim_ascii_start().strip_prefix(b"{") else { return item };
        let mut members = Vec::new();
        if has.time.is_none() {
            members.push(format!("\"time\":{}", jiff::Timestamp::now().as_second()));
        }
        if has.event_id.is_none() {
            members.push(format!("\"event_id\":\"{}-{}\"", self.random, self.made));
        }
        if members.is_empty() {
            return item;
        }
        let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
        let mut complete = format!("{{{}{comma}", members.join(",")).into_bytes();
        complete.extend_from_slice(rest);
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> String {
        let mut stamp = Stamp { random: "r".into(), made: 0 };
        String::from_utf8(stamp.complete(text.as_bytes().to_vec())).expect("text")
    }

    #[test]
    fn only_what_is_missing_is_added_and_the_rest_keeps_its_bytes() {
        let full = r#"{ "time": 1.0e3, "event_id": "x", "n": 12345678901234567890123 }"#;
        assert_eq!(complete(full), full);
        let text = complete(r#"{"time":5,"n":1e400}"#);
        assert_eq!(text, r#"{"event_id":"r-1","time":5,"n":1e400}"#);
        let empty: Value = serde_json::from_str(&complete(" { }")).expect("json");
        assert!(empty["time"].is_i64() && empty["event_id"] == "r-1");
        for other in ["[]", "5", "{", "{\"time\":1,\"time\":2}", "null"] {
            assert_eq!(complete(other), other);
        }
    }

    #[test]
    fn keys_differ_between_calls_and_requests() {
        let (a, b) = (Stamp::new(), Stamp::new());
        assert_ne!(a.key(0), b.key(0));
        assert_ne!(a.key(0), a.key(1_000));
        assert!(a.key(u64::MAX).len() <= 255);
    }
}
