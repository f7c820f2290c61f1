//! The running process, seen from outside.

use crate::http::{Answer, Http};
use crate::metrics::Metrics;
use crate::{PATIENCE, binary, until, view};
use alertmill_proof::processes::strace;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What happens to the syncs of a server under test, all of them seen by `strace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// They are only looked at, which costs a little.
    Seen,
    /// Each takes so much longer.
    Delayed(Duration),
    /// They do nothing, and claim success.
    Swallowed,
}

impl Syncs {
    /// `strace` before a command that it runs; only syncs stop there.
    fn command(self) -> Command {
        let mut command = Command::new(strace());
        command.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "signal=none", "-e", "trace=fdatasync,fsync"]);
        match self {
            Syncs::Seen => {}
            Syncs::Delayed(by) => {
                command.args(["-e", &format!("inject=fdatasync,fsync:delay_exit={}", by.as_micros())]);
            }
            Syncs::Swallowed => {
                command.args(["-e", "inject=fdatasync,fsync:retval=0"]);
            }
        }
        command
    }
}

/// An `alertmill serve`. It is killed when the value goes away.
#[derive(Debug)]
pub struct Server {
    /// The server, or the tracer that ends with it.
    child: Child,
    pid: Pid,
    /// Its port.
    pub port: u16,
    /// A client of it.
    pub http: Http,
    log: PathBuf,
}

impl Server {
    pub(crate) fn spawn(port: u16, config: &Path, env: impl Iterator<Item = (String, String)>, log: &Path, syncs: Option<Syncs>) -> Server {
        let stderr = OpenOptions::new().create(true).append(true).open(log).expect("log file");
        let binary = binary();
        let mut command = match syncs {
            None => Command::new(&binary),
            Some(syncs) => {
                let mut command = syncs.command();
                command.arg(&binary);
                command
            }
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ALERTMILL__")) {
            command.env_remove(name);
        }
        command.arg("serve").arg("--config").arg(config).envs(env);
        command.stdin(Stdio::null()).stdout(stderr.try_clone().expect("log file")).stderr(stderr);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let own = Pid::from_child(&child);
        let pid = if syncs.is_some() { until("the tracer runs the server", PATIENCE, || traced_by(own, &binary)) } else { own };
        Server { child, pid, port, http: Http::new(port), log: log.to_path_buf() }
    }

    /// Waits for `/readyz` to say 200. Panics with the log when the process ends instead.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("the server ended with {status} instead of becoming ready:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not ready within {} s:\n{}", PATIENCE.as_secs(), self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it is ready now.
    pub fn is_ready(&mut self) -> bool {
        self.http.get("/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until `/readyz` says 503 because this part is not well, and gives its words.
    #[track_caller]
    pub fn not_well(&mut self, part: &str) -> String {
        until(&format!("{part} is not well"), PATIENCE, || {
            let answer = self.http.get("/readyz").ok()?;
            let found: serde_json::Value = answer.json();
            let parts = found["dependencies"].as_array().unwrap_or_else(|| panic!("{found}"));
            let found = parts.iter().find(|found| found["name"] == part && found["ok"] == false)?;
            assert_eq!(answer.status, 503);
            Some(view::text(found, "detail"))
        })
    }

    /// kill -9. Panics if it ended by itself before.
    #[track_caller]
    pub fn kill(mut self) {
        if let Some(status) = self.child.try_wait().expect("wait") {
            panic!("the server ended with {status} before it was killed");
        }
        self.end();
    }

    /// Stops all of its threads where they are, as SIGSTOP does; a sync that has begun comes to its end.
    #[track_caller]
    pub fn freeze(&self) {
        kill_process(self.pid, Signal::STOP).expect("the process is there");
        until("every thread has stopped", PATIENCE, || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid.as_raw_pid())).expect("/proc of the server");
            let mut states = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
            states.all(|stat| stat.rsplit(')').next().is_some_and(|rest| matches!(rest.trim_start().chars().next(), Some('T' | 't')))).then_some(())
        });
    }

    fn end(&mut self) {
        if self.pid != Pid::from_child(&self.child) && matches!(self.child.try_wait(), Ok(None)) {
            // A tracer that is killed lets its process go on; this one ends with it.
            let _ = kill_process(self.pid, Signal::KILL);
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    /// SIGTERM; gives the exit status and how long it took.
    #[track_caller]
    pub fn stop(self) -> (ExitStatus, Duration) {
        self.ask_to_stop();
        self.wait_end()
    }

    /// SIGTERM.
    #[track_caller]
    pub fn ask_to_stop(&self) {
        kill_process(self.pid, Signal::TERM).expect("the process is there");
    }

    /// Waits for the end of a process that was asked to stop; gives its status and how long it took.
    #[track_caller]
    pub fn wait_end(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let status = until("the server stops after SIGTERM", PATIENCE, || self.child.try_wait().expect("wait"));
        (status, began.elapsed())
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// GET, which must be answered; a connection that was closed meanwhile is opened again.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        let first = self.http.get(path);
        first.or_else(|_| self.http.get(path)).unwrap_or_else(|e| panic!("GET {path}: {e}\n{}", self.log()))
    }

    /// GET of JSON, which must be 200.
    #[track_caller]
    pub fn json(&mut self, path: &str) -> serde_json::Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    /// Posts events, which must all be taken.
    #[track_caller]
    pub fn post_events(&mut self, events: &[serde_json::Value]) {
        let body = serde_json::to_vec(events).expect("json");
        let answer = self.http.post_json("/api/v1/events", &body).unwrap_or_else(|e| panic!("POST: {e}\n{}", self.log()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let taken: serde_json::Value = answer.json();
        assert_eq!(taken["accepted"], events.len(), "{taken}");
    }

    /// The numbers now.
    #[track_caller]
    pub fn metrics(&mut self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        Metrics::parse(&answer.text())
    }

    /// Waits until everything that is journaled is folded and committed.
    #[track_caller]
    pub fn wait_folded(&mut self) {
        until("everything acknowledged is folded", PATIENCE, || (self.metrics().get("alertmill_events_in_flight") == 0.0).then_some(()));
    }

    /// Its number among the processes.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Everything that servers in this folder have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in bytes, as the kernel counts it.
    pub fn resident_bytes(&self) -> u64 {
        self.proc_kib("VmRSS:") * 1024
    }

    /// The highest that resident memory ever was.
    pub fn resident_peak_bytes(&self) -> u64 {
        self.proc_kib("VmHWM:") * 1024
    }

    /// CPU time that the process has used, user and kernel, in steps of the kernel's tick (10 ms).
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_pid())).expect("/proc of the server");
        // The name of the process may hold anything; what follows its closing parenthesis is numbers.
        let numbers: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|i| numbers[*i].parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    fn proc_kib(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_pid())).expect("/proc of the server");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says it");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }
}

/// The child of this process that runs `binary`.
fn traced_by(tracer: Pid, binary: &Path) -> Option<Pid> {
    let binary = binary.canonicalize().ok()?;
    let tracer = tracer.as_raw_pid().to_string();
    std::fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let is_child = stat.rsplit(')').next()?.split_whitespace().nth(1)? == tracer;
        (is_child && std::fs::read_link(entry.path().join("exe")).ok()? == binary).then(|| Pid::from_raw(pid)).flatten()
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- end of the server's log ---\n{}",
                self.log().lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        self.end();
    }
}
