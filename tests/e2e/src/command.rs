//! A command that has ended: what it said, and how.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a command left behind.
pub struct Done {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl Done {
    /// Runs it to its end, with nothing to read.
    #[track_caller]
    pub fn of(command: &mut Command) -> Done {
        Done::with_input(command, "")
    }

    /// Runs it to its end, with this on stdin.
    #[track_caller]
    pub fn with_input(command: &mut Command, stdin: &str) -> Done {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        // A command that does not read its input may be gone already.
        let _ = child.stdin.take().expect("stdin").write_all(stdin.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().expect("output");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Done { code: status.code().expect("an exit code"), out: text(stdout), err: text(stderr) }
    }

    /// Stdout of a command that ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// The same, as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    /// It ended with this code and these words on stderr.
    #[track_caller]
    pub fn ends(self, code: i32, words: &str) {
        assert!(self.code == code && self.err.contains(words), "{} instead of {code}, {words:?}\nstdout: {}\nstderr: {}", self.code, self.out, self.err);
    }
}
