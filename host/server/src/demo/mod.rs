//! `alertmill demo`: the whole system on a scratch folder. Real sample data goes in over HTTP as its senders would send it,
//! one rule is swapped live in the middle, and a summary says what happened, read back through the same API.

mod report;
mod samples;
mod scratch;

use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::serve::{self, Running};
use bytes::Bytes;
use clap::Args;
use samples::{Post, Samples};
use scratch::Scratch;
use std::io::Write;

/// How to run the demo.
#[derive(Debug, Args)]
pub struct Demo {
    /// End when everything is stored, instead of staying up
    #[arg(long)]
    once: bool,
}

/// Runs the demo. Exits 0 when every event that was acknowledged is accounted for.
pub fn run(args: &Demo, timeout: Option<std::time::Duration>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| bug("the runtime cannot start", e))?;
    let ended = runtime.block_on(async {
        let demo = whole(args.once);
        match timeout {
            None => demo.await,
            Some(limit) => {
                tokio::time::timeout(limit, demo).await.unwrap_or_else(|_| Err(Failure::new(Exit::Timeout, "not done in time (--timeout)".to_owned())))
            }
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended.map(|()| Exit::Done)
}

async fn whole(once: bool) -> Result<(), Failure> {
    let scratch = Scratch::new().map_err(|e| bug("the scratch folder cannot be made", e))?;
    say(&format!("scratch folder {}: journal, state and rules of this demo; it goes away at the end", scratch.path().display()));
    let running = serve::start(scratch.config()).await.map_err(|e| bug("the server does not start", format!("{e:#}")))?;
    let address = format!("http://{}", running.address());
    say(&format!("server on {address}; rules: {}", scratch.rules().join(", ")));
    let client = Client::new(&address, false, None);
    let sent = feed(&client, &running, &scratch).await?;
    running.all_folded().await;
    report::print(&client, &running, &sent).await?;
    if !once {
        report::three_things(&address, &scratch);
        let _ = tokio::signal::ctrl_c().await;
    }
    running.stop().await.map_err(|e| bug("the server did not end well", format!("{e:#}")))
}

/// What the senders were told.
#[derive(Debug, Default)]
struct Sent {
    requests: u64,
    items: u64,
    accepted: u64,
    refused: u64,
    refusals: Vec<String>,
    swapped_after_items: u64,
    generations: (u64, u64),
}

/// Sends everything in the order in which it was captured, and swaps a rule half way.
async fn feed(client: &Client, running: &Running, scratch: &Scratch) -> Result<Sent, Failure> {
    let samples = Samples::as_of(jiff::Timestamp::now().as_second()).map_err(|e| bug("the samples cannot be read", e))?;
    let half = samples.posts.len() / 2;
    let mut sent = Sent { generations: (1, 1), ..Sent::default() };
    say(&format!("sending {} requests: events of shell probes, a real Prometheus, amtool; with retries and bad items among them", samples.posts.len()));
    for (i, post) in samples.posts.iter().enumerate() {
        if i == half {
            scratch.swap_rule().map_err(|e| bug("the rule's options cannot be written", e))?;
            let generation = running.look_at_rules().await.map_err(|e| bug("the rule was not swapped", format!("{e:#}")))?;
            sent.swapped_after_items = sent.items;
            sent.generations.1 = generation;
            say(&format!(
                "swapped live after {} items: severity-by-labels now lifts what is in production; generation {} -> {}",
                sent.items, sent.generations.0, sent.generations.1
            ));
        }
        post_one(client, post, &mut sent).await?;
    }
    Ok(sent)
}

async fn post_one(client: &Client, post: &Post, sent: &mut Sent) -> Result<(), Failure> {
    let answer = client.post(post.path, &[("content-type", post.content_type)], Bytes::from(post.body.clone())).await?;
    sent.requests += 1;
    sent.items += post.items;
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (answer.status, told["rejected"].as_array()) {
        (200, Some(rejected)) => {
            sent.accepted += told["accepted"].as_u64().unwrap_or(0);
            sent.refused += rejected.len() as u64;
            sent.refusals.extend(rejected.iter().filter_map(|item| Some(format!("{}: {}", item["code"].as_str()?, item["detail"].as_str()?))));
        }
        (200, None) => sent.accepted += post.items,
        _ => return Err(answer.failure(post.path)),
    }
    Ok(())
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "demo: {text}");
}

fn bug(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Bug, format!("{what}: {why}"))
}
