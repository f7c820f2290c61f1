//! `backup` and `restore`.

use super::Context;
use super::exit::{Exit, Failure};
use super::output::{Column, Format, text};
use crate::config;
use alertmill_stores::StoreError;
use alertmill_stores::backup::{self, BackupError, Manifest, Snapshot};
use alertmill_stores::durable::FolderLock;
use alertmill_stores::folder::DataFolder;
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

/// What to back up, and where to.
#[derive(Debug, Args)]
pub struct Backup {
    /// Where it is kept: a folder that is not there yet, or a file that ends in .tar
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// The config file that names data folder and address: the folder is copied when no server works in it, else that server is asked
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A data folder in which no server works
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data_dir: Option<PathBuf>,
}

/// What to restore, and where to.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup: a folder or a .tar file
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    /// The data folder to make; it must be empty or not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// A newer copy of the same journal, such as DIR/journal of the lost data folder; its records behind the backup are replayed
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
}

/// Where the backup comes from.
pub enum Way {
    /// From this folder, which is locked meanwhile.
    Folder(PathBuf, FolderLock),
    /// From the server that the command line names.
    Server,
    /// From the server at this address.
    ServerAt(String),
}

impl Backup {
    /// Whether a server is asked, and which.
    pub fn way(&self) -> Result<Way, Failure> {
        let (dir, address) = match (&self.config, &self.data_dir) {
            (None, None) => return Ok(Way::Server),
            (_, Some(dir)) => (dir.clone(), None),
            (Some(file), None) => {
                let config = config::load(Some(file), std::env::vars())
                    .map_err(|problems| Failure::new(Exit::No, format!("the configuration has mistakes\n{problems}")))?;
                (config.data.dir.clone(), Some(config.server.listen.clone()))
            }
        };
        if !dir.join(DataFolder::STATE).exists() {
            return Err(Failure::new(Exit::NotFound, format!("{} is no data folder: it has no {}", dir.display(), DataFolder::STATE)));
        }
        match (FolderLock::take(&dir.join(DataFolder::LOCK)), address) {
            (Ok(lock), _) => Ok(Way::Folder(dir, lock)),
            (Err(StoreError::Locked { .. }), Some(listen)) => Ok(Way::ServerAt(url_of(&listen)?)),
            (Err(StoreError::Locked { .. }), None) => {
                let why = format!("a server works in {}; leave --data-dir away to ask it (--server), or stop it", dir.display());
                Err(Failure::new(Exit::Conflict, why))
            }
            (Err(error), _) => Err(Failure::new(Exit::Unreachable, error.to_string())),
        }
    }
}

/// Where a server that listens there is reached from this machine.
fn url_of(listen: &str) -> Result<String, Failure> {
    let Ok(mut address) = listen.parse::<SocketAddr>() else {
        return Err(Failure::new(Exit::No, format!("server.listen = {listen:?} is no address and port")));
    };
    if address.port() == 0 {
        let why = format!(
            "a server works in the data folder, and server.listen = {listen:?} does not say at which port; name it instead of the file: --server http://HOST:PORT"
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    // All addresses are none to connect to, and the server answers for no such host.
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() });
    }
    Ok(format!("http://{address}"))
}

/// Backs up a folder in which no server works.
pub fn of_folder(args: &Backup, dir: &Path, context: &Context) -> Result<(), Failure> {
    let snapshot = Snapshot::take(dir, || None).map_err(failure)?;
    backup::keep(&snapshot, &args.to).map_err(failure)?;
    say_backup(&snapshot.manifest, &args.to, context)
}

/// Backs up what the client's server works on.
pub async fn of_server(args: &Backup, context: &Context, client: &super::client::Client) -> Result<(), Failure> {
    let mut response = client.open(Method::POST, "/api/v1/backups").await?;
    let (sender, chunks) = sync_channel::<io::Result<Bytes>>(4);
    let to = args.to.clone();
    let keeping = tokio::task::spawn_blocking(move || backup::receive(Incoming { chunks, rest: Bytes::new() }, &to));
    while let Some(frame) = response.frame().await {
        let chunk = frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(|e| io::Error::other(e.to_string()));
        let is_over = chunk.is_err();
        let sender = sender.clone();
        // Disk and network take turns; a disk that refuses ends it.
        let sent = tokio::task::spawn_blocking(move || sender.send(chunk).is_ok()).await;
        if is_over || !sent.unwrap_or(false) {
            break;
        }
    }
    drop(sender);
    let manifest = keeping.await.map_err(|e| Failure::new(Exit::Bug, e.to_string()))?.map_err(failure)?;
    say_backup(&manifest, &args.to, context)
}

/// `restore`
pub fn restore(args: &Restore, context: &Context) -> Result<(), Failure> {
    // A wrong argument is no fault of a disk.
    for path in std::iter::once(&args.from).chain(&args.journal) {
        if path.metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Err(Failure::new(Exit::NotFound, format!("there is no file or folder {}; nothing was restored", path.display())));
        }
    }
    let restored = backup::restore(&args.from, &args.data_dir, args.journal.as_deref()).map_err(failure)?;
    let behind = restored.journal_last - restored.manifest.position;
    context.say(&format!(
        "restored {} from {}: the state at record {} of {}, {} alerts ({} open), {} events; the first start replays {behind} records",
        args.data_dir.display(),
        args.from.display(),
        restored.manifest.position,
        time(restored.manifest.received_at_ms),
        restored.manifest.alerts,
        restored.manifest.open_alerts,
        restored.manifest.events,
    ));
    print(&restored.manifest, restored.journal_last, &args.data_dir, context)
}

fn say_backup(manifest: &Manifest, to: &Path, context: &Context) -> Result<(), Failure> {
    context.say(&format!(
        "backed up to {}: the state at record {} of {}, {} alerts ({} open), {} events, and the {} records behind it; \
         restore with `alertmill restore --from {} --data-dir DIR`",
        to.display(),
        manifest.position,
        time(manifest.received_at_ms),
        manifest.alerts,
        manifest.open_alerts,
        manifest.events,
        manifest.journal_last - manifest.position,
        to.display(),
    ));
    print(manifest, manifest.journal_last, to, context)
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |stamp| stamp.to_string())
}

fn print(manifest: &Manifest, journal_last: u64, path: &Path, context: &Context) -> Result<(), Failure> {
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let row = serde_json::json!({
        "path": path.display().to_string(),
        "position": manifest.position,
        "received_at": manifest.received_at_ms,
        "journal_last": journal_last,
        "alerts": manifest.alerts,
        "open_alerts": manifest.open_alerts,
        "events": manifest.events,
        "files": manifest.files.len(),
        "bytes": bytes,
    });
    let columns = [
        Column { head: "PATH", cell: |row| text(row, "path") },
        Column { head: "POSITION", cell: |row| text(row, "position") },
        Column { head: "LAST", cell: |row| text(row, "journal_last") },
        Column { head: "ALERTS", cell: |row| text(row, "alerts") },
        Column { head: "OPEN", cell: |row| text(row, "open_alerts") },
        Column { head: "EVENTS", cell: |row| text(row, "events") },
        Column { head: "FILES", cell: |row| text(row, "files") },
        Column { head: "BYTES", cell: |row| text(row, "bytes") },
    ];
    let mut out = context.output();
    match out.format() {
        Format::Json | Format::Ndjson => out.json(&row)?,
        _ => out.rows(&row, std::slice::from_ref(&row), &columns, |row| text(row, "path"))?,
    }
    out.finish()
}

fn failure(error: BackupError) -> Failure {
    let exit = match &error {
        BackupError::Damaged(_) | BackupError::Refused(_) => Exit::No,
        BackupError::Moved => Exit::Later,
        BackupError::NoRoom { .. } | BackupError::Store(StoreError::Io { .. } | StoreError::Locked { .. }) => Exit::Unreachable,
        BackupError::Store(refused) if refused.is_full() => Exit::Unreachable,
        BackupError::Store(_) => Exit::No,
    };
    Failure::new(exit, error.to_string())
}

/// Chunks of an answer as one stream of bytes. When they end, so does it: whether all came, the archive says.
struct Incoming {
    chunks: Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.recv() {
                Ok(chunk) => self.rest = chunk?,
                Err(_) => return Ok(0),
            }
        }
        let n = buffer.len().min(self.rest.len());
        buffer[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_at_loopback_and_one_at_any_port_must_be_named() {
        for (listen, url) in [
            ("0.0.0.0:9280", "http://127.0.0.1:9280"),
            ("[::]:9280", "http://[::1]:9280"),
            ("192.0.2.7:80", "http://192.0.2.7:80"),
            ("[2001:db8::7]:80", "http://[2001:db8::7]:80"),
        ] {
            assert_eq!(url_of(listen).ok().as_deref(), Some(url), "{listen}");
        }
        let refused = url_of("0.0.0.0:0").expect_err("nobody can know the port");
        assert!(refused.to_string().contains("--server http://HOST:PORT"), "{refused}");
    }
}
