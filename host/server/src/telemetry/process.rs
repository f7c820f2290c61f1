//! What the operating system knows about this process.

/// Version, target and compiler profile.
pub fn build_info() -> [(&'static str, &'static str); 4] {
    [
        ("version", env!("CARGO_PKG_VERSION")),
        ("os", std::env::consts::OS),
        ("arch", std::env::consts::ARCH),
        ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }),
    ]
}

/// Memory and files of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Resident bytes.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
}

impl Process {
    /// Reads `/proc`; where there is none, nothing is known.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        let files = std::fs::read_dir("/proc/self/fd").ok().map(|dir| dir.count() as u64);
        Process { resident_bytes: kib.map(|kib| kib << 10), open_files: files }
    }
}
