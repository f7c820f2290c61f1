//! The samples of `samples/` as requests, with their times moved to now (see `samples/README.md`).

use serde_json::Value;

const EVENTS: &str = include_str!("../../../../samples/events.ndjson");
const EVENTS_BAD: &str = include_str!("../../../../samples/events-bad.ndjson");
const PROMETHEUS: &str = include_str!("../../../../samples/prometheus.ndjson");
const AMTOOL: &str = include_str!("../../../../samples/amtool.json");

/// Nothing in the samples is later than this many seconds after their begin, so that nothing lies in the future.
const LAST_S: i64 = 1_700_000_200;
/// Events of one request, as a shipper would gather them.
const EVENTS_PER_REQUEST: usize = 12;

/// One request.
pub struct Post {
    /// Second of the capture; requests are sent in this order.
    at: i64,
    /// Path.
    pub path: &'static str,
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
    /// Items in it.
    pub items: u64,
}

/// All requests.
pub struct Samples {
    /// In the order of the capture.
    pub posts: Vec<Post>,
}

impl Samples {
    /// The samples as if they were captured just now.
    pub fn as_of(now_s: i64) -> Result<Samples, String> {
        let shift = now_s - LAST_S;
        let mut posts = Vec::new();
        let lines: Vec<&str> = EVENTS.lines().collect();
        for chunk in lines.chunks(EVENTS_PER_REQUEST) {
            posts.push(events(chunk, shift)?);
        }
        for line in PROMETHEUS.lines() {
            posts.push(alerts(line, shift, now_s)?);
        }
        posts.push(Post { at: LAST_S, path: "/am/api/v2/alerts", content_type: "application/json", items: items_of(AMTOOL)?, body: AMTOOL.to_owned() });
        let bad = EVENTS_BAD.lines().count() as u64;
        // Not last: the numbers of a request that is refused whole ride in the source's next record.
        posts.push(Post { at: LAST_S - 150, path: "/api/v1/events", content_type: "application/x-ndjson", items: bad, body: EVENTS_BAD.to_owned() });
        posts.sort_by_key(|post| post.at);
        Ok(Samples { posts })
    }
}

fn events(lines: &[&str], shift: i64) -> Result<Post, String> {
    let mut body = String::new();
    let mut at = 0;
    for line in lines {
        let mut event: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let time = event["time"].as_i64().ok_or("an event without a time")?;
        at = at.max(time);
        event["time"] = (time + shift).into();
        body.push_str(&event.to_string());
        body.push('\n');
    }
    Ok(Post { at, path: "/api/v1/events", content_type: "application/x-ndjson", body, items: lines.len() as u64 })
}

/// A post of Prometheus. What was firing when it was sent is firing now, for as long as it would have been.
fn alerts(line: &str, shift: i64, now_s: i64) -> Result<Post, String> {
    let mut post: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let at = post["at"].as_i64().ok_or("a post without a time")?;
    let mut body = post["body"].take();
    for alert in body.as_array_mut().ok_or("a post without alerts")? {
        let ends_at = second(&alert["endsAt"])?;
        let ends_now = if ends_at > at { now_s + ends_at - at } else { ends_at + shift };
        alert["startsAt"] = text(second(&alert["startsAt"])? + shift)?.into();
        alert["endsAt"] = text(ends_now)?.into();
    }
    let items = body.as_array().map_or(0, Vec::len) as u64;
    Ok(Post { at, path: "/am/api/v2/alerts", content_type: "application/json", body: body.to_string(), items })
}

fn second(value: &Value) -> Result<i64, String> {
    let timestamp: jiff::Timestamp = value.as_str().ok_or("a time that is no text")?.parse().map_err(|e: jiff::Error| e.to_string())?;
    Ok(timestamp.as_second())
}

fn text(second: i64) -> Result<String, String> {
    jiff::Timestamp::from_second(second).map(|t| t.to_string()).map_err(|e| e.to_string())
}

fn items_of(body: &str) -> Result<u64, String> {
    let value: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    Ok(value.as_array().map_or(0, Vec::len) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_samples_lies_in_the_future_but_what_still_fires() {
        let now = 1_800_000_000;
        let samples = Samples::as_of(now).expect("the samples");
        let times = |post: &Post| -> Vec<i64> {
            let lines = post.body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.filter_map(|event| event["time"].as_i64()).collect()
        };
        let shifted: Vec<i64> = samples.posts.iter().filter(|post| post.body != EVENTS_BAD).flat_map(times).collect();
        assert_eq!(shifted.len(), 289);
        assert!(shifted.iter().all(|time| (now - 201..=now).contains(time)));
        assert!(samples.posts.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}
