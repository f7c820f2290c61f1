//! Requests as a fleet sends them: about 1.1 KB and 11 to 15 tags an event, 500 things that go wrong, each with its host,
//! cluster and service, values and pods that change from event to event, one event in 64 a recovery.

use std::fmt::Write;
use std::ops::Range;

/// Things that can be wrong at the same time, so open alerts at most.
pub const ALERTS: u64 = 500;
/// Rows of the table of hosts; every host of an event is in it.
const HOSTS: u64 = 1_000;

const NAMES: [&str; 8] = [
    "CPU usage above threshold",
    "Disk usage high on /data",
    "Process port not listening",
    "Ping unreachable",
    "API error rate elevated",
    "Memory usage above threshold",
    "Deployment has unavailable replicas",
    "Trace p99 latency high",
];
const SERVICES: [&str; 5] = ["core-login", "core-pay", "edge-gateway", "batch-report", "edge-chat"];
const REGIONS: [&str; 4] = ["shenzhen", "shanghai", "tianjin", "singapore"];
const WORDS: [&str; 3] = ["critical", "warning", "info"];

/// A body as a sender posts it, with the place of each item.
pub struct Request {
    /// A JSON array.
    pub body: Vec<u8>,
    /// Its items.
    pub spans: Vec<Range<u32>>,
}

/// Makes requests; never the same event twice.
pub struct Fleet {
    random: u64,
    made: u64,
}

impl Fleet {
    /// The same events on every machine, but for their times.
    pub fn new() -> Fleet {
        Fleet { random: 4242, made: 0 }
    }

    /// So many requests of so many events, observed at `now_s`.
    pub fn requests(&mut self, count: usize, events: usize, now_s: i64) -> Vec<Request> {
        (0..count).map(|_| self.request(events, now_s)).collect()
    }

    fn request(&mut self, events: usize, now_s: i64) -> Request {
        let mut body = String::with_capacity(events * 1_200);
        let mut spans = Vec::with_capacity(events);
        for i in 0..events {
            body.push(if i == 0 { '[' } else { ',' });
            let start = body.len() as u32;
            // Writing to a String does not fail.
            let _ = self.event(&mut body, now_s);
            spans.push(start..body.len() as u32);
        }
        body.push(']');
        Request { body: body.into_bytes(), spans }
    }

    fn event(&mut self, out: &mut String, now_s: i64) -> std::fmt::Result {
        self.made += 1;
        let alert = self.below(ALERTS);
        let (host, name) = (alert * 7 % HOSTS, NAMES[(alert % 8) as usize]);
        let (service, region) = (SERVICES[(alert % 5) as usize], REGIONS[(alert % 4) as usize]);
        let ip = ip(host);
        let id = (u128::from(self.next()) << 64) | u128::from(self.next());
        let (whole, part) = (self.below(100), self.below(100));
        write!(
            out,
            r#"{{"event_id":"{id:032x}","alert_name":"{name} #{}","description":"AVG(usage) over the last 5 cycles met the detection rule for 3 times; current value is {whole}.{part:02} which is above the threshold of 80 ({} {ip})","severity":2,"time":{now_s},"target_type":"HOST","target":"{ip}|0","ip":"{ip}","bk_cloud_id":"0","bk_biz_id":{},"metric":["bk_monitor.system.cpu_{}.usage"],"category":"os""#,
            alert / 8,
            host_name(host),
            2 + alert % 10,
            alert % 30,
        )?;
        if self.made.is_multiple_of(64) {
            out.push_str(r#","status":"RECOVERED""#);
        }
        write!(
            out,
            r#","tags":[{{"key":"host","value":"{}"}},{{"key":"cluster","value":"{region}-prod-{}"}},{{"key":"namespace","value":"{service}"}},{{"key":"severity","value":"{}"}}"#,
            host_name(host),
            alert % 3,
            WORDS[(alert % 3) as usize],
        )?;
        if alert.is_multiple_of(2) {
            write!(out, r#",{{"key":"service","value":"{service}"}}"#)?;
        }
        for (key, values) in [("device", 6), ("mountpoint", 9), ("app", 12), ("version", 40), ("zone", 5), ("job", 20), ("instance", 100)] {
            write!(out, r#",{{"key":"{key}","value":"{key}-{:x}"}}"#, self.below(values))?;
        }
        for i in 0..self.below(4) {
            write!(out, r#",{{"key":"label_{i}","value":"{:x}"}}"#, self.next())?;
        }
        write!(
            out,
            r#"],"extra_info":{{"cycle_s":60,"values":{{"avg":{whole}.{part:02},"samples":5}},"link":"https://monitor.example.com/strategy/{}?from={now_s}"}}}}"#,
            alert + 1_000,
        )
    }

    /// SplitMix64: small, and the same everywhere.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn host_name(host: u64) -> String {
    format!("srv-{}-{host}", &REGIONS[(host % 4) as usize][..2])
}

fn ip(host: u64) -> String {
    format!("10.12.{}.{}", host / 256, host % 256)
}

/// The table of hosts that `owner-from-table` looks up.
pub fn hosts_csv() -> String {
    let mut csv = "host,owner,team,service,tier\n".to_owned();
    for host in 0..HOSTS {
        let service = SERVICES[(host % 5) as usize];
        csv.push_str(&format!("{},ops-{},team-{},{service},{}\n", host_name(host), host % 60, host % 12, host % 4));
    }
    csv
}

#[cfg(test)]
mod tests {
    use super::*;
    use alertmill_core::decode::{ContentKind, decode_request};
    use alertmill_core::item::ItemField;
    use alertmill_core::record::Door;
    use alertmill_core::value::Value;

    #[test]
    fn events_are_good_distinct_and_of_the_promised_shape() {
        let requests = Fleet::new().requests(4, 100, 1_790_000_000);
        let mut ids = std::collections::BTreeSet::new();
        for Request { body, spans } in &requests {
            let decoded = decode_request(Door::Events, body, ContentKind::Json, "system", 1_000).expect("a good body");
            assert_eq!((decoded.good.len(), decoded.refused.len()), (100, 0));
            assert!(decoded.good.iter().zip(spans).all(|(good, span)| good.bytes == (span.start as usize..span.end as usize)));
            assert!((1_000..1_300).contains(&(body.len() / 100)), "{} bytes an event", body.len() / 100);
            for good in &decoded.good {
                let Value::List(tags) = good.item.get(ItemField::Tags) else { panic!("no tags") };
                assert!((11..=15).contains(&tags.len()), "{}", tags.len());
                ids.extend(good.item.get(ItemField::EventId).as_text().map(str::to_owned));
            }
        }
        assert_eq!(ids.len(), 400);
    }
}
