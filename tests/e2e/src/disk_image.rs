//! A disk that can lose its power: ext4 in a file, mounted as a loop device. What programs wrote and did not sync is in the
//! kernel's memory only; a copy of the file, taken while it is mounted, holds what had reached the device, as a real disk
//! does when the power goes. Needs root, and `mkfs.ext4`, `e2fsck`, `mount` and `umount` of Debian's e2fsprogs and mount.

use crate::{PATIENCE, Random, until};
use rustix::fs::{SeekFrom, seek};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// How much a disk may write without being asked: hours, where a default is seconds. And no rename waits for data.
const MOUNT_OPTIONS: &str = "loop,noatime,commit=9000,noauto_da_alloc";

/// A mounted disk. It is unmounted, and its file removed, with the value.
#[derive(Debug)]
pub struct DiskImage {
    file: PathBuf,
    dir: PathBuf,
    number: u32,
    is_mounted: bool,
}

/// What of the writes that nobody synced is on the disk after a cut. A disk may write any of them, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Gone,
    /// A random half of the blocks of so many bytes; what lies between them is as it was before, or zeros.
    Torn(usize),
}

impl DiskImage {
    /// An empty one of so many bytes, mounted at `dir`/`disk`.
    pub fn new(dir: &Path, bytes: u64) -> DiskImage {
        let image = DiskImage { file: dir.join("disk.1.image"), dir: dir.join("disk"), number: 1, is_mounted: false };
        File::create(&image.file).and_then(|file| file.set_len(bytes)).expect("an image file");
        // Nothing is left for the kernel to make ready later by itself.
        run(command("mkfs.ext4").args(["-q", "-F", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]).arg(&image.file));
        std::fs::create_dir_all(&image.dir).expect("a folder to mount it at");
        image.mounted()
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn mounted(mut self) -> DiskImage {
        run(command("mount").args(["-t", "ext4", "-o", MOUNT_OPTIONS]).arg(&self.file).arg(&self.dir));
        self.is_mounted = true;
        self
    }

    fn unmount(&mut self) {
        // A process that was killed a moment ago may still be there.
        let done = || command("umount").arg(&self.dir).output().expect("umount runs").status.success();
        until("the disk is unmounted, no file on it is open", PATIENCE, || done().then_some(()));
        self.is_mounted = false;
    }

    /// Cuts the power. `stop` must end whoever writes to it; nobody may write before, while this copies. Gives the disk as it
    /// is found afterwards, at the same place, and how many blocks of unsynced writes it has.
    pub fn cut(mut self, unsynced: Unsynced, random: &mut Random, stop: impl FnOnce()) -> (DiskImage, u64) {
        let number = self.number + 1;
        let next = DiskImage { file: self.file.with_file_name(format!("disk.{number}.image")), dir: self.dir.clone(), number, is_mounted: false };
        // What the kernel writes meanwhile by itself would make a copy of two moments.
        until("a copy of one moment", PATIENCE, || {
            let before = self.writes();
            run(command("cp").args(["--sparse=always", "--reflink=auto"]).arg(&self.file).arg(&next.file));
            (self.writes() == before).then_some(())
        });
        let live_dir = self.dir.with_file_name("live");
        let mut live = Vec::new();
        if unsynced != Unsynced::Gone {
            std::fs::create_dir(&live_dir).expect("folder");
            copy_live(&self.dir, &live_dir, &mut live);
        }
        stop();
        self.unmount();
        drop(self);
        let mut next = next.mounted();
        let mut torn = 0;
        if let Unsynced::Torn(block) = unsynced {
            torn = tear(&live, block, random);
            std::fs::remove_dir_all(&live_dir).expect("remove");
        }
        // The first mount has replayed the journal of the file system: what is left must be in order.
        next.unmount();
        run(command("e2fsck").arg("-fn").arg(&next.file));
        (next.mounted(), torn)
    }

    /// Writes that the device has done.
    fn writes(&self) -> u64 {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc");
        let dir = self.dir.to_str().expect("a path");
        let device = mounts.lines().find_map(|line| line.split_once(' ').filter(|(_, rest)| rest.split(' ').next() == Some(dir)));
        let name = device.and_then(|(device, _)| device.strip_prefix("/dev/")).expect("it is mounted");
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).expect("the device's counters");
        stat.split_whitespace().nth(4).and_then(|writes| writes.parse().ok()).expect("a number of writes")
    }
}

impl Drop for DiskImage {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazy: a process that a failed test has not ended yet must not keep it for ever.
            let _ = command("umount").arg("-l").arg(&self.dir).status();
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A file as programs see it, and a copy of that.
struct Live {
    path: PathBuf,
    identity: Identity,
    copy: PathBuf,
}

/// Tells a file from another one that got its name or its inode later.
type Identity = (u64, SystemTime);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.ino(), metadata.created().expect("ext4 knows when a file was made"))
}

/// Copies all files with what they hold, without the room that nobody wrote to.
fn copy_live(from: &Path, to: &Path, files: &mut Vec<Live>) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        if entry.file_type().expect("type").is_dir() {
            copy_live(&path, to, files);
            continue;
        }
        let copy = to.join(files.len().to_string());
        let (source, target) = (File::open(&path).expect("open"), File::create(&copy).expect("create"));
        let metadata = source.metadata().expect("metadata");
        target.set_len(metadata.len()).expect("length");
        each_block(&source, 1 << 20, |at, bytes| target.write_all_at(bytes, at).expect("write"));
        files.push(Live { path, identity: identity(&metadata), copy });
    }
}

/// Calls `take` with all that was ever written to it, in pieces that begin at multiples of `block`.
fn each_block(file: &File, block: usize, mut take: impl FnMut(u64, &[u8])) {
    let mut buffer = vec![0; block];
    let mut at = 0;
    while let Ok(data) = seek(file, SeekFrom::Data(at)) {
        let end = seek(file, SeekFrom::Hole(data)).expect("a hole behind data");
        at = data - data % block as u64;
        while at < end {
            let read = read_up_to(file, &mut buffer, at).expect("read");
            if read == 0 {
                return;
            }
            take(at, &buffer[..read]);
            at += read as u64;
        }
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Brings a random half of what differs over to the files that are on the disk. Only to the very same files: one that took
/// the name of another one by a rename is a new one, synced or not as a whole.
fn tear(files: &[Live], block: usize, random: &mut Random) -> u64 {
    let mut torn = 0;
    for file in files {
        let Ok(disk) = OpenOptions::new().read(true).write(true).open(&file.path) else { continue };
        let metadata = disk.metadata().expect("metadata");
        if identity(&metadata) != file.identity {
            continue;
        }
        let live = File::open(&file.copy).expect("open");
        let length = live.metadata().expect("metadata").len();
        if metadata.len() < length && random.below(2) == 0 {
            disk.set_len(length).expect("length");
        }
        let mut there = vec![0; block];
        each_block(&live, block, |at, bytes| {
            let read = read_up_to(&disk, &mut there, at).expect("read");
            if there[..read] != *bytes && random.below(2) == 0 {
                disk.write_all_at(bytes, at).expect("write");
                torn += 1;
            }
        });
    }
    torn
}

fn command(tool: &str) -> Command {
    // Where Debian has them, also for users whose PATH has no sbin; else where `cargo xtask test` unpacks them.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(tool);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin:/var/cache/testservices/e2fsprogs/sbin"));
    command
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; power cuts need Debian's packages `e2fsprogs` and `mount`"));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?} ended with {}: {said} (power cuts need root and loop devices)", output.status);
}
