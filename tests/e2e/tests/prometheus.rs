//! A real Prometheus scrapes our `/metrics` and has us as its Alertmanager: its alert opens one alert of ours, re-sends
//! refresh it and count nothing, and its resolution recovers it.

use alertmill_e2e::{Http, PATIENCE, Server, Site, event, free_port, now_s, prometheus, until, view};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn fires_is_resent_and_resolves() {
    let site = Site::new();
    let mut server = site.start();
    let port = free_port();
    let _running = start(site.path(), server.port, port);
    let mut http = Http::new(port);
    let scraped = r#"/api/v1/query?query=up%7Bjob%3D%22alertmill%22%7D"#;
    until("Prometheus scrapes us", PATIENCE, || (value(&mut http, scraped)? == "1").then_some(()));

    // An odd number of events of this source is the lamp on.
    press(&mut server, "on");
    let open = until("its alert arrives", PATIENCE, || view::alert_named(&mut server, "LampOn"));
    assert_eq!((&open["status"], &open["severity"], &open["event_count"]), (&"ABNORMAL".into(), &1.into(), &1.into()), "{open}");
    let labels = open["event"]["tags"].as_array().expect("tags");
    assert!(labels.iter().any(|tag| tag["key"] == "room" && tag["value"] == "hall"), "{open}");

    let refreshed = |server: &mut Server| server.metrics().sum("alertmill_events_refreshed_total", &[("source", "alertmanager")]);
    let before = refreshed(&mut server);
    until("it is re-sent three times", PATIENCE, || (refreshed(&mut server) >= before + 3.0).then_some(()));
    let still = view::alert_named(&mut server, "LampOn").expect("the same alert");
    assert_eq!((&still["id"], &still["event_count"], &still["status"]), (&open["id"], &1.into(), &"ABNORMAL".into()), "{still}");

    press(&mut server, "off");
    let ended = until("it resolves", PATIENCE, || view::alert_named(&mut server, "LampOn").filter(|alert| alert["status"] != "ABNORMAL"));
    assert_eq!((&ended["status"], &ended["id"], &ended["event_count"]), (&"RECOVERED".into(), &open["id"], &2.into()), "{ended}");
    // Prometheus tells the resolution for a while; telling it again changes nothing.
    let posts = |server: &mut Server| server.metrics().sum("alertmill_door_requests_total", &[("source", "alertmanager"), ("status", "200")]);
    let before = posts(&mut server);
    until("Prometheus tells more", PATIENCE, || (posts(&mut server) >= before + 2.0).then_some(()));
    server.wait_folded();
    assert_eq!(view::alert_named(&mut server, "LampOn").expect("the alert")["event_count"], 2);
    view::ledger(&mut server);
    let metrics = server.metrics();
    let refused = metrics.sum("alertmill_door_items_refused_total", &[]);
    println!("prometheus: {} posts, {} refreshed, {refused} refused", posts(&mut server), refreshed(&mut server));
    assert_eq!(refused, 0.0);
}

/// One more event of the source `lamp`.
fn press(server: &mut Server, id: &str) {
    let body = serde_json::to_vec(&event(id, "Switch", "hall", now_s(), "ABNORMAL")).expect("json");
    let headers = [("content-type", "application/json"), ("x-alertmill-source", "lamp")];
    let answer = server.http.post("/api/v1/events", &headers, &body).expect("answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The value of the only series of an instant query.
fn value(http: &mut Http, query: &str) -> Option<String> {
    let answer: Value = http.get(query).ok().filter(|answer| answer.status == 200)?.json();
    answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

fn start(dir: &Path, ours: u16, port: u16) -> Running {
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [lamp.yml]
alerting:
  alertmanagers:
    - {{api_version: v2, path_prefix: /am, static_configs: [{{targets: ['127.0.0.1:{ours}']}}]}}
scrape_configs:
  - {{job_name: alertmill, static_configs: [{{targets: ['127.0.0.1:{ours}']}}]}}
"
    );
    // `Watchdog` keeps Prometheus posting after the lamp is off.
    let rules = "groups:
  - name: lamp
    rules:
      - {alert: LampOn, expr: 'alertmill_events_folded_total{source=\"lamp\"} % 2 == 1', labels: {severity: critical, room: hall}, annotations: {summary: 'The lamp is on'}}
      - {alert: Watchdog, expr: 'vector(1)', labels: {severity: none}}
";
    std::fs::write(dir.join("prometheus.yml"), config).expect("config");
    std::fs::write(dir.join("lamp.yml"), rules).expect("rules");
    let log = std::fs::File::create(dir.join("prometheus.log")).expect("log");
    let child = Command::new(prometheus())
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--rules.alert.resend-delay=1s")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Prometheus runs");
    Running(child)
}
