//! `alert ack|unack|close`: commands to alerts, by their ids.

use super::Context;
use super::alert::id;
use super::event::Stamp;
use super::exit::{Exit, Failure};
use super::output::{Column, Format, plain, text};
use alertmill_core::command::{ALERTS_PER_COMMAND_MAX, Action, check_comment, check_operator};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::Read;

/// Failed items that are listed on stderr.
pub(super) const LISTED: usize = 100;

/// Which alerts, and what is said about it.
#[derive(Debug, Args)]
pub struct Operate {
    /// Ids of alerts; `-` reads them from stdin
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Why; it is in the alert's log
    #[arg(short = 'm', long, visible_alias = "message", value_parser = comment)]
    comment: Option<String>,
    /// Who says so; without it the name of the user who runs this
    #[arg(long, env = "ALERTMILL_OPERATOR", value_name = "NAME", value_parser = operator)]
    operator: Option<String>,
}

pub(super) fn comment(text: &str) -> Result<String, String> {
    check_comment(text).map(|()| text.to_owned()).map_err(|why| format!("a comment {why}"))
}

pub(super) fn operator(text: &str) -> Result<String, String> {
    check_operator(text).map(|()| text.to_owned()).map_err(|why| format!("a name {why}"))
}

/// `alert ack`, `alert unack`, `alert close`
pub async fn operate(action: Action, args: &Operate, context: &Context) -> Result<(), Failure> {
    let ids = ids(&args.ids, std::io::stdin())?;
    let path = format!("/api/v1/alerts:{}", action.name());
    let operator = args.operator.clone().or_else(user);
    let body = |ids: &[String]| {
        let mut body = json!({ "ids": ids });
        for (name, value) in [("comment", &args.comment), ("operator", &operator)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        body
    };
    let sent = Sent::of(context, &path, ids.chunks(ALERTS_PER_COMMAND_MAX).map(body)).await;
    print(&sent.sums, &sent.items, context)?;
    sent.end("alerts")
}

/// What was answered to the parts of a command, and what stopped it before the last one.
pub(super) struct Sent {
    pub sums: Sums,
    pub items: Vec<Value>,
    stopped: Option<Failure>,
}

impl Sent {
    /// Posts the parts one after the other until one is refused. Each has a key, so that a try that was done and not answered is not
    /// done again.
    pub async fn of(context: &Context, path: &str, parts: impl Iterator<Item = Value>) -> Sent {
        let (mut sent, stamp) = (Sent { sums: Sums::default(), items: Vec::new(), stopped: None }, Stamp::new());
        for (n, body) in (0..).zip(parts) {
            let key = stamp.key(n);
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            let answered = match context.client.post(path, &headers, Bytes::from(body.to_string())).await {
                Ok(answer) if matches!(answer.status, 200 | 202) => sent.sums.add(&answer.body, path),
                Ok(answer) => Err(answer.failure(path)),
                Err(failure) => Err(failure),
            };
            match answered {
                Ok(more) => sent.items.extend(more),
                Err(failure) => {
                    sent.stopped = Some(failure);
                    break;
                }
            }
        }
        sent
    }

    /// How the command ends. `what` are the items.
    pub fn end(self, what: &str) -> Result<(), Failure> {
        match self.stopped {
            None => self.sums.end(&self.items),
            Some(failure) if self.items.is_empty() => Err(failure),
            Some(failure) => Err(Failure::new(failure.exit, format!("{failure}; the first {} {what} were answered, the others were not", self.items.len()))),
        }
    }
}

/// The name of the user who runs this.
pub(super) fn user() -> Option<String> {
    ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|name| check_operator(name).is_ok()))
}

/// The ids, each once; the place of `-` is taken by what stdin has, separated by white space. Nothing is done when one of them is none.
pub(super) fn ids(args: &[String], mut stdin: impl Read) -> Result<Vec<String>, Failure> {
    let (mut ids, mut seen) = (Vec::new(), HashSet::new());
    for arg in args {
        let mut input = String::new();
        let these: Vec<&str> = match arg.as_str() {
            "-" => {
                stdin.read_to_string(&mut input).map_err(|e| Failure::new(Exit::Usage, format!("stdin cannot be read: {e}")))?;
                input.split_whitespace().collect()
            }
            one => vec![one],
        };
        for one in these {
            if seen.insert(id(one)?.to_owned()) {
                ids.push(one.to_owned());
            }
        }
    }
    Ok(ids)
}

#[derive(Default)]
pub(super) struct Sums {
    pub ok: u64,
    pub failed: u64,
    pub pending: u64,
}

impl Sums {
    /// Adds one answer and gives its items.
    pub fn add(&mut self, body: &[u8], path: &str) -> Result<Vec<Value>, Failure> {
        let unreadable = |why: String| Failure::new(Exit::Bug, format!("{path} answered something unexpected: {why}; is it an Alertmill server?"));
        let mut answer: Value = serde_json::from_slice(body).map_err(|e| unreadable(e.to_string()))?;
        let number = |name: &str| answer.get(name).and_then(Value::as_u64);
        let (Some(ok), Some(failed)) = (number("ok"), number("failed")) else { return Err(unreadable("no sums".to_owned())) };
        self.ok += ok;
        self.failed += failed;
        self.pending += number("pending").unwrap_or(0);
        super::alert::items_of(&mut answer, path)
    }

    pub fn end(&self, items: &[Value]) -> Result<(), Failure> {
        let all_unknown = items.iter().all(|item| item["status"] == "not-found");
        match self {
            Sums { pending: 1.., .. } => Err(Failure::new(Exit::Later, "the server has the command on disk and has not come to it yet; look again later")),
            Sums { failed: 0, .. } => Ok(()),
            Sums { ok: 1.., .. } => Err(Failure::silent(Exit::Partial)),
            _ if all_unknown => Err(Failure::silent(Exit::NotFound)),
            _ => Err(Failure::silent(Exit::No)),
        }
    }
}

fn print(sums: &Sums, items: &[Value], context: &Context) -> Result<(), Failure> {
    let failed = items.iter().filter(|item| !is_ok(item));
    for item in failed.take(LISTED) {
        context.say(&format!("{}: {}", plain(&text(item, "id")), plain(&text(item, "problem.detail"))));
    }
    let columns = [
        Column { head: "ID", cell: |row| text(row, "id") },
        Column { head: "RESULT", cell: |row| text(row, "status") },
        Column { head: "STATUS", cell: |row| text(row, "alert.status") },
        Column { head: "ACK", cell: |row| text(row, "alert.ack_operator") },
    ];
    let mut out = context.output();
    let named: Vec<Value> = match out.format() {
        // What goes on in a pipe is what was done.
        Format::Name => items.iter().filter(|item| is_ok(item)).cloned().collect(),
        _ => items.to_vec(),
    };
    let mut whole = json!({ "ok": sums.ok, "failed": sums.failed, "items": items });
    if sums.pending > 0 {
        whole["pending"] = json!(sums.pending);
    }
    if out.format() != Format::Table || !context.quiet {
        out.rows(&whole, &named, &columns, |row| text(row, "id"))?;
    }
    out.finish()
}

fn is_ok(item: &Value) -> bool {
    item["status"] == "done" || item["status"] == "unchanged"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_arguments_and_from_stdin_each_once() {
        let given = |args: &[&str], stdin: &str| ids(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(), stdin.as_bytes()).expect("ids");
        assert_eq!(given(&["1", "2", "1"], "9"), ["1", "2"]);
        assert_eq!(given(&["1", "-", "5"], "2\n3  4\n\n1\n"), ["1", "2", "3", "4", "5"]);
        assert_eq!(given(&["-", "-"], " \n"), [""; 0]);
        for (args, stdin) in [(&["1".to_owned(), "abc".to_owned()][..], ""), (&["-".to_owned()], "1 abc"), (&["".to_owned()], "")] {
            let refused = ids(args, stdin.as_bytes()).expect_err("no id");
            assert!(refused.exit == Exit::NotFound && refused.message.contains("is no id"), "{refused}");
        }
    }
}
