//! What the end-to-end tests share: a scratch folder with a server in it ([`Site`]), the running process ([`Server`]), a
//! plain HTTP client ([`Http`]), commands that have ended ([`Done`]), the numbers of `/metrics` ([`Metrics`]) and what the API
//! shows ([`view`]); a data folder with a past ([`history`]); a disk that can lose its power ([`Site::with_disk`]); and load that
//! outlives kills, with its checks ([`storm`]).
//!
//! Nothing here sleeps for a fixed time: tests wait for a condition with [`until`], which has a deadline and says what it
//! waited for. The binary is `target/release/alertmill` of this workspace, or `ALERTMILL_BIN`.

mod command;
mod disk_image;
pub mod history;
mod http;
mod metrics;
mod random;
mod server;
mod site;
pub mod storm;
pub mod view;

pub use command::Done;
pub use disk_image::Unsynced;
pub use http::{Answer, Http};
pub use metrics::Metrics;
pub use random::Random;
pub use server::{Server, Syncs};
pub use site::{Site, free_port, prometheus, rule_file};

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a test waits for anything that should take a moment; generous, because builds may run beside it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` again and again until it answers, and gives the answer. Panics with `what` after `patience`.
#[track_caller]
pub fn until<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", patience.as_secs());
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// The binary under test.
pub fn binary() -> PathBuf {
    let built = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/alertmill"));
    let path = std::env::var_os("ALERTMILL_BIN").map_or_else(built, PathBuf::from);
    assert!(path.exists(), "{} is not there; run `cargo build --release -p alertmill`, or set ALERTMILL_BIN", path.display());
    path
}

/// An event that a rule of `rules/misbehaving` cannot judge: what they fail on is its tag.
pub fn poisoned(mut event: serde_json::Value) -> serde_json::Value {
    event["tags"].as_array_mut().expect("tags").push(serde_json::json!({"key": "poison", "value": "1"}));
    event
}

/// One event of `POST /api/v1/events`, with the fields that tests look at.
pub fn event(id: &str, name: &str, host: &str, time_s: u64, status: &str) -> serde_json::Value {
    serde_json::json!({
        "event_id": id, "alert_name": name, "severity": 2, "status": status, "time": time_s,
        "target_type": "HOST", "target": host, "tags": [{"key": "host", "value": host}], "dedupe_keys": ["tags.host"],
    })
}
