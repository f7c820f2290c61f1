//! A scratch folder: data, `rules.d`, a config file, and the log of every server that ran in it.

use crate::disk_image::{DiskImage, Unsynced};
use crate::random::Random;
use crate::server::{Server, Syncs};
use std::cell::Cell;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where a server lives. It is removed with the value, unless a test fails with `ALERTMILL_KEEP` set.
#[derive(Debug)]
pub struct Site {
    /// Before the folder that it is mounted in: fields go in this order.
    disk: Option<DiskImage>,
    dir: TempDir,
    /// The port, the same one after a restart.
    pub port: u16,
    config: String,
    env: Vec<(String, String)>,
    data: PathBuf,
    syncs: Cell<Option<Syncs>>,
}

impl Site {
    /// An empty one: no rules, default configuration.
    pub fn new() -> Site {
        let mut dir = tempfile::Builder::new().prefix("alertmill-e2e-").tempdir().expect("a scratch folder");
        dir.disable_cleanup(std::env::var_os("ALERTMILL_KEEP").is_some());
        let data = dir.path().join("data");
        let site = Site { disk: None, dir, port: free_port(), config: String::new(), env: Vec::new(), data, syncs: Cell::new(None) };
        std::fs::create_dir_all(site.rules_dir()).expect("rules.d");
        site
    }

    /// Sets a key by its environment name, such as `ALERTS__THIRD_PARTY_CLOSE_AFTER_S`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Site {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_string()));
        self
    }

    /// Puts the data folder on a disk of its own, which can lose its power.
    pub fn with_disk(mut self, bytes: u64) -> Site {
        let disk = DiskImage::new(self.path(), bytes);
        self.data = disk.path().join("data");
        self.disk = Some(disk);
        self
    }

    /// The root of that disk.
    pub fn disk(&self) -> &Path {
        self.disk.as_ref().expect("the site has a disk").path()
    }

    /// Cuts the disk's power, as [`DiskImage::cut`]. Gives the blocks of unsynced writes that it has nevertheless.
    pub fn cut_power(&mut self, unsynced: Unsynced, random: &mut Random, stop: impl FnOnce()) -> u64 {
        let (disk, torn) = self.disk.take().expect("the site has a disk").cut(unsynced, random, stop);
        self.disk = Some(disk);
        torn
    }

    /// From the next start on, does this to every sync of a file.
    pub fn syncs(&self, syncs: Option<Syncs>) {
        self.syncs.set(syncs);
    }

    /// Adds lines to the config file.
    pub fn config(mut self, toml: &str) -> Site {
        let _ = writeln!(self.config, "{toml}");
        self
    }

    /// Puts a shipped or misbehaving rule into `rules.d` under this file name, with the options beside it.
    pub fn rule(self, file: &str, module: &str, options: &str) -> Site {
        self.put_rule(file, module);
        if !options.is_empty() {
            std::fs::write(self.rules_dir().join(file).with_extension("toml"), options).expect("options of a rule");
        }
        self
    }

    /// Puts the module there in one step, as an operator should: written beside, then renamed.
    pub fn put_rule(&self, file: &str, module: &str) {
        let new = self.rules_dir().join(format!("{file}.new"));
        std::fs::copy(rule_file(module), &new).unwrap_or_else(|e| panic!("{module}: {e}"));
        std::fs::rename(new, self.rules_dir().join(file)).expect("rename");
    }

    /// The scratch folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// `rules.d`.
    pub fn rules_dir(&self) -> PathBuf {
        self.path().join("rules.d")
    }

    /// Starts a server and waits until it is ready.
    pub fn start(&self) -> Server {
        let mut server = self.spawn();
        server.wait_ready();
        server
    }

    /// Starts a server and does not wait.
    pub fn spawn(&self) -> Server {
        let config = self.path().join("alertmill.toml");
        std::fs::write(&config, &self.config).expect("config file");
        let address = format!("127.0.0.1:{}", self.port);
        let fixed = [
            ("SERVER__LISTEN", address),
            ("DATA__DIR", self.data_dir().display().to_string()),
            ("RULES__DIR", self.rules_dir().display().to_string()),
            ("RULES__POLL_MS", "50".to_owned()),
            ("LOG__LEVEL", "info".to_owned()),
        ];
        let mut env: Vec<(String, String)> = fixed.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        env.extend(self.env.iter().cloned());
        let env = env.into_iter().map(|(key, value)| (format!("ALERTMILL__{key}"), value));
        Server::spawn(self.port, &config, env, &self.path().join("server.log"), self.syncs.get())
    }
}

impl Default for Site {
    fn default() -> Self {
        Site::new()
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A module of `rules/dist`, such as `owner-from-table` or `test/says`.
pub fn rule_file(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/dist").join(format!("{module}.wasm"))
}

/// A real Prometheus: `ALERTMILL_TEST_PROMETHEUS`, else the one that `cargo xtask test` fetches.
pub fn prometheus() -> PathBuf {
    let fetched = || PathBuf::from("/var/cache/testservices/prometheus/usr/bin/prometheus");
    let path = std::env::var_os("ALERTMILL_TEST_PROMETHEUS").map_or_else(fetched, PathBuf::from);
    assert!(path.exists(), "{} is not there; `cargo xtask test` fetches it, or set ALERTMILL_TEST_PROMETHEUS", path.display());
    path
}
