//! Events and a host table for the benches: the same on every machine, about 1 KB and 8 to 15 tags an event, four in five
//! hosts known to the table.

/// An event as plain values; the bench makes its own kind of event of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Id, 32 hex digits.
    pub event_id: String,
    /// Kind of sender.
    pub plugin_id: &'static str,
    /// One of 4,000 names.
    pub alert_name: String,
    /// Some 150 bytes.
    pub description: String,
    /// Unix seconds.
    pub time: u64,
    /// 1 to 3.
    pub severity: i64,
    /// `ip|cloud`.
    pub target: String,
    /// Two metrics.
    pub metric: Vec<String>,
    /// Group of alerts.
    pub category: &'static str,
    /// The key of R1's look-up.
    pub ip: String,
    /// Business.
    pub bk_biz_id: i64,
    /// 8 to 15 tags; `host` and `service` are among them, somewhere.
    pub tags: Vec<(String, String)>,
}

const NAMES: [&str; 8] = [
    "CPU usage above threshold",
    "Disk usage high on /data",
    "Process port not listening",
    "Ping unreachable",
    "API error rate elevated",
    "Memory usage above threshold",
    "Custom event: deploy failed",
    "Trace p99 latency high",
];
const OTHER_TAGS: [&str; 12] =
    ["bcs_cluster_id", "namespace", "pod", "container", "device", "region", "env", "app", "version", "zone", "bk_cloud_id", "instance"];

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len() as u64) as usize]
    }
}

fn ip(i: u64) -> String {
    format!("10.{}.{}.{}", 10 + i / 65536, (i / 256) % 256, i % 256)
}

/// R1's table: key, and the values of [`COLUMNS`](crate::COLUMNS).
pub fn table(rows: u64) -> Vec<(String, [String; 5])> {
    let mut random = Random(77);
    let mut row = |i: u64| {
        let module = random.pick(&["gateway", "login", "battle", "match", "pay"]);
        let values = [
            format!("module-{module}-{}", random.below(40)),
            format!("set-{:03}", random.below(200)),
            random.pick(&["shenzhen-idc-1", "shanghai-idc-4", "tianjin-idc-2", "sg-idc-9"]).to_string(),
            format!("ops-{}", random.below(60)),
            random.below(4).to_string(),
        ];
        (ip(i * 3), values)
    };
    (0..rows).map(&mut row).collect()
}

/// `count` events; with [`table`]`(10_000)` four in five of their hosts are known.
pub fn events(count: usize) -> Vec<Sample> {
    let mut random = Random(4242);
    (0..count).map(|i| event(&mut random, i as u64)).collect()
}

fn event(random: &mut Random, i: u64) -> Sample {
    let host_id = random.below(12_500);
    // Known hosts are the multiples of three.
    let ip = if host_id < 10_000 { ip(host_id * 3) } else { ip(host_id * 3 + 1) };
    let host = format!("srv-{}-{host_id}", random.pick(&["sz", "sh", "tj", "sg"]));
    Sample {
        event_id: format!("{:016x}{:016x}", random.next(), random.next()),
        plugin_id: random.pick(&["bkmonitor", "zabbix", "prometheus", "rest_api"]),
        alert_name: format!("{} #{}", random.pick(&NAMES), random.below(500)),
        description: description(random, &host, &ip),
        time: 1_790_000_000 + i,
        severity: 1 + random.below(3) as i64,
        target: format!("{ip}|0"),
        metric: vec![format!("bk_monitor.system.cpu_{}.usage", random.below(30)), "bk_monitor.system.load.load5".to_string()],
        category: random.pick(&["os", "host_process", "service_module", "apm"]),
        ip,
        bk_biz_id: 2 + random.below(100) as i64,
        tags: tags(random, &host),
    }
}

fn description(random: &mut Random, host: &str, ip: &str) -> String {
    let what = match random.below(10) {
        0 => format!("connection timed out after {}ms, port={}", random.below(9000), 1000 + random.below(60000)),
        1 => format!("connect to {ip} refused, errno=111 port={}", 1000 + random.below(60000)),
        2 => "host is unreachable from the probe".to_string(),
        _ => format!("current value is {}.{} which is above the threshold", random.below(100), random.below(100)),
    };
    format!("AVG(usage) over the last 5 cycles met the detection rule for 3 times; {what} ({host})")
}

fn tags(random: &mut Random, host: &str) -> Vec<(String, String)> {
    let service_kind = random.pick(&["core", "edge", "batch", "core"]);
    let service = format!("{service_kind}-{}", random.pick(&["login", "pay", "match", "chat", "gateway"]));
    let others = 6 + random.below(8);
    let (host_at, service_at) = (random.below(others), random.below(others));
    let mut tags = Vec::with_capacity(others as usize + 2);
    for i in 0..others {
        if i == host_at {
            tags.push(("host".to_string(), host.to_string()));
        }
        if i == service_at {
            tags.push(("service".to_string(), service.clone()));
        }
        let key = OTHER_TAGS.get(i as usize).map_or_else(|| format!("label_{i}"), |key| key.to_string());
        let kind = random.pick(&["prod", "stage", "bk", "k8s", "node"]);
        tags.push((key, format!("{kind}-{:x}", random.below(0xff_ffff))));
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_in_five_hosts_are_known() {
        let known: std::collections::BTreeSet<String> = table(10_000).into_iter().map(|(key, _)| key).collect();
        let found = events(5_000).iter().filter(|event| known.contains(&event.ip)).count();
        assert!((3_800..4_200).contains(&found), "{found}");
    }

    #[test]
    fn every_event_has_both_tags() {
        for event in events(200) {
            assert!((8..=15).contains(&event.tags.len()));
            assert!(["host", "service"].iter().all(|key| event.tags.iter().any(|(k, _)| k == key)));
        }
    }
}
