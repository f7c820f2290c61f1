//! When a changed file is whole. A look that came while somebody writes would see half a file: a cut TOML means defaults, and
//! half a CSV is a shorter table. So a changed file is taken only when two looks in a row saw it with the same size and time,
//! or when it was last written [`OLD_ENOUGH`] before the look: one that is renamed into place more often than looks come
//! would never be seen twice. And it must be the same after it was read. While nothing is in force the first look takes what
//! is there, since nothing could wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Size and time of a file; `None` when it is not there.
pub(crate) type Stamp = Option<(u64, SystemTime)>;

/// The stamp that a file has now.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

/// What nobody wrote to for so long is whole.
pub(crate) const OLD_ENOUGH: Duration = Duration::from_secs(2);
/// A file that is still being written after so many looks is said.
const RESTLESS_LOOKS: u32 = 5;

/// Stamps of this look and of the one before.
pub(crate) struct Settling {
    looks: u64,
    at: SystemTime,
    takes_all: bool,
    before: BTreeMap<PathBuf, Found>,
    now: BTreeMap<PathBuf, Found>,
}

/// A file as a look found it.
#[derive(Clone, Copy)]
struct Found {
    stamp: Stamp,
    /// How many looks in a row found it not whole.
    unsettled: u32,
}

impl Default for Settling {
    fn default() -> Settling {
        Settling { looks: 0, at: SystemTime::UNIX_EPOCH, takes_all: false, before: BTreeMap::new(), now: BTreeMap::new() }
    }
}

impl Settling {
    /// A look begins at this time. When nothing is in force, the first one takes what is there.
    pub fn begin(&mut self, at: SystemTime, nothing_in_force: bool) {
        self.looks += 1;
        self.at = at;
        self.takes_all = self.looks == 1 && nothing_in_force;
        self.before = std::mem::take(&mut self.now);
    }

    /// Number of this look.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// The stamp of a file in this look, and whether the file is whole.
    pub fn stamp(&mut self, path: &Path) -> (Stamp, bool) {
        if let Some(found) = self.now.get(path) {
            return (found.stamp, found.unsettled == 0);
        }
        let (stamp, before) = (stamp(path), self.before.get(path));
        let is_whole = self.takes_all || before.is_some_and(|before| before.stamp == stamp) || self.is_old_enough(stamp);
        let unsettled = if is_whole { 0 } else { before.map_or(0, |before| before.unsettled) + 1 };
        self.now.insert(path.to_path_buf(), Found { stamp, unsettled });
        (stamp, is_whole)
    }

    /// Files that several looks in a row found not whole.
    pub fn restless(&self) -> impl Iterator<Item = &Path> {
        self.now.iter().filter(|(_, found)| found.unsettled >= RESTLESS_LOOKS).map(|(path, _)| path.as_path())
    }

    fn is_old_enough(&self, stamp: Stamp) -> bool {
        match stamp {
            // A time that is still to come says nothing of an age.
            Some((_, modified)) => self.at.duration_since(modified).is_ok_and(|age| age >= OLD_ENOUGH),
            // What the first look does not find was never there for all that is known; later it may be about to come back.
            None => self.looks == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_change_is_whole_at_the_second_look_that_sees_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a");
        let mut settling = Settling::default();
        let mut look = |content: Option<&str>| {
            if let Some(content) = content {
                std::fs::write(&file, content).expect("written");
            }
            settling.begin(SystemTime::now(), true);
            settling.stamp(&file).1
        };
        assert!(look(Some("a")), "the first look takes what is there");
        assert!(look(None));
        assert!(!look(Some("ab")) && !look(Some("abc")), "still growing");
        assert!(look(None));
        std::fs::remove_file(&file).expect("removed");
        assert!(!look(None) && look(None), "a file that went away may come back");
    }

    /// A file last written at `modified`, and a look at `at`, both in seconds.
    fn look(settling: &mut Settling, file: &Path, modified: u64, at: u64) -> bool {
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
        File::create(file).and_then(|file| file.set_modified(time(modified))).expect("written");
        settling.begin(time(at), false);
        settling.stamp(file).1
    }

    #[test]
    fn a_file_that_is_never_the_same_at_two_looks_is_whole_when_it_is_old_enough() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a");
        let mut settling = Settling::default();
        assert!(!look(&mut settling, &file, 59, 60), "also the first look after a restart waits");
        assert!(look(&mut settling, &file, 118, 120));
        assert!(!look(&mut settling, &file, 179, 180));
        assert!(look(&mut settling, &file, 210, 240));
    }

    #[test]
    fn a_file_that_does_not_come_to_rest_is_said_also_when_its_time_is_to_come() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a");
        let mut settling = Settling::default();
        for turn in 1..=u64::from(RESTLESS_LOOKS) {
            assert_eq!(settling.restless().count(), 0, "turn {turn}");
            assert!(!look(&mut settling, &file, 10_000 + turn, turn));
        }
        assert_eq!(settling.restless().collect::<Vec<_>>(), [&file]);
        assert!(look(&mut settling, &file, 10_000 + u64::from(RESTLESS_LOOKS), 100), "two looks saw the same");
        assert_eq!(settling.restless().count(), 0);
    }
}
