//! Items of the events door.

use crate::rng::Rng;
use crate::world::BEGIN_MS;

/// What a sender's items are like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Good events of a few hosts, out of order by some seconds.
    Hosts,
    /// Refused ones, dead letters, repeats, too old, too new, and rows that rules drop, fail on, grade or keep apart.
    Mixed,
    /// Good events without a time.
    Timeless,
}

impl Kind {
    /// Name of the source.
    pub const fn source(self) -> &'static str {
        match self {
            Kind::Hosts => "hosts",
            Kind::Mixed => "mixed",
            Kind::Timeless => "timeless",
        }
    }

    /// Item `k` of a sender, as JSON; `keyed`: its request has an idempotency key.
    pub fn item(self, rng: &mut Rng, sender: u64, k: u64, keyed: bool) -> String {
        let status = ["RECOVERED", "CLOSED", "ABNORMAL", "ABNORMAL", "ABNORMAL", "ABNORMAL"][rng.below(6) as usize];
        let time = BEGIN_MS / 1000 + k as i64 * 2 - rng.below(20) as i64;
        let good = Item {
            id: format!("s{sender}-{k}"),
            host: format!("web{}", rng.below(4)),
            status,
            severity: 1 + rng.below(3),
            time: time.to_string(),
            tag: "",
            extra: "",
        };
        match self {
            // Some take long to judge.
            Kind::Hosts => Item { tag: if rng.chance(12) { "slow" } else { "" }, ..good }.json(),
            Kind::Mixed => {
                let host = format!("db{}", rng.below(2));
                mixed(rng, Item { host, ..good }, time)
            }
            Kind::Timeless => {
                let id = if keyed { good.id } else { format!("{}-once", good.id) };
                Item { id, host: format!("job{}", rng.below(2)), time: "null".to_owned(), ..good }.json()
            }
        }
    }
}

fn mixed(rng: &mut Rng, good: Item, time: i64) -> String {
    let tagged = |tag| Item { tag, ..good.clone() }.json();
    let timed = |time: i64| Item { time: time.to_string(), ..good.clone() }.json();
    match rng.below(18) {
        0 => Item { time: r#""yesterday""#.to_owned(), ..good }.json(),
        1 => Item { extra: r#","extra_info":{"origin_alarm":{"data":{"access_time":"soon"}}}"#, ..good }.json(),
        2 => tagged("noise"),
        3 => tagged("poison"),
        4 => tagged("unique"),
        5 => tagged("grade"),
        6 => format!("{0},{0}", good.json()),
        7 => timed(time - 200_000),
        8 => timed(time + 5_000),
        9 | 10 => tagged("grade-alert"),
        11 => tagged("poison"),
        12..=14 => tagged("slow"),
        _ => good.json(),
    }
}

#[derive(Clone)]
struct Item {
    id: String,
    host: String,
    status: &'static str,
    severity: u64,
    time: String,
    tag: &'static str,
    extra: &'static str,
}

impl Item {
    fn json(&self) -> String {
        let Item { id, host, status, severity, time, tag, extra } = self;
        let tag = if tag.is_empty() { String::new() } else { format!(r#",{{"key":"{tag}","value":"yes"}}"#) };
        format!(
            r#"{{"event_id":"{id}","alert_name":"disk full","severity":{severity},"status":"{status}","time":{time},"bk_biz_id":2,"tags":[{{"key":"host","value":"{host}"}}{tag}],"dedupe_keys":["tags.host"]{extra}}}"#
        )
    }
}
