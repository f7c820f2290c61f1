use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const COMPAT: &str = "0123456789abcdef";
const ROOM: u64 = 1 << 20;

fn code() -> Vec<u8> {
    (0..1_000_u32).map(|i| (i * 7) as u8).collect()
}

fn file(dir: &Path) -> PathBuf {
    dir.join("compiled").join(name(DIGEST, COMPAT))
}

/// A data folder with the code of one module.
fn kept() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    CompiledFiles::open(dir.path(), ROOM).put(DIGEST, COMPAT, &code()).unwrap();
    dir
}

#[track_caller]
fn distrusted(found: Found, says: &str) {
    let Found::Distrusted(why) = found else { panic!("{found:?}") };
    assert!(why.contains(says), "`{says}` is not in: {why}");
}

/// Bytes and number of the files.
fn used(dir: &Path) -> (u64, usize) {
    let sizes: Vec<u64> = fs::read_dir(dir.join("compiled")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    (sizes.iter().sum(), sizes.len())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_mac_is_hmac_sha256() {
    // RFC 4231, test cases 1 and 2.
    let hex = |mac: Hmac<Sha256>| mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let of = |key: &[u8], text: &[u8]| hex(Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text));
    assert_eq!(of(&[0x0b; 20], b"Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_eq!(of(b"Jefe", b"what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

#[test]
fn what_is_put_is_there_for_the_same_module_and_machine_only() {
    let dir = kept();
    let files = CompiledFiles::open(dir.path(), ROOM);
    assert_eq!(files.get(DIGEST, COMPAT), Found::Code(code()));
    assert_eq!(files.get(OTHER, COMPAT), Found::Missing);
    assert_eq!(files.get(DIGEST, "0123456789abcdee"), Found::Missing, "another compat is a miss");
    files.put(DIGEST, COMPAT, b"compiled anew").unwrap();
    assert_eq!((files.get(DIGEST, COMPAT), used(dir.path())), (Found::Code(b"compiled anew".to_vec()), (HEAD_BYTES as u64 + 13, 1)));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&dir.path().join("compiled")), mode(&dir.path().join("compiled.key")), mode(&file(dir.path()))), (0o700, 0o600, 0o600));
}

#[test]
fn one_flipped_byte_anywhere_in_a_file_is_seen() {
    let dir = kept();
    let files = CompiledFiles::open(dir.path(), ROOM);
    let whole = fs::read(file(dir.path())).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(file(dir.path()), &flipped).unwrap();
        distrusted(files.get(DIGEST, COMPAT), "is not what this installation wrote");
    }
    for length in 0..whole.len() {
        fs::write(file(dir.path()), &whole[..length]).unwrap();
        distrusted(files.get(DIGEST, COMPAT), "is not what this installation wrote");
    }
    fs::write(file(dir.path()), [&whole[..], b"more"].concat()).unwrap();
    distrusted(files.get(DIGEST, COMPAT), "is not what this installation wrote");
    fs::write(file(dir.path()), &whole).unwrap();
    assert_eq!(files.get(DIGEST, COMPAT), Found::Code(code()));
    println!("compiled code: {} flips and {} cuts seen", whole.len(), whole.len());
}

#[test]
fn a_foreign_file_is_refused_and_replaced() {
    // Of another installation: good there, and under another key.
    let (dir, other) = (kept(), kept());
    fs::copy(file(other.path()), file(dir.path())).unwrap();
    let files = CompiledFiles::open(dir.path(), ROOM);
    distrusted(files.get(DIGEST, COMPAT), "is not what this installation wrote");
    files.put(DIGEST, COMPAT, &code()).unwrap();
    assert_eq!(files.get(DIGEST, COMPAT), Found::Code(code()));
    // Our own, of another module or another compiler.
    for (digest, compat) in [(OTHER, COMPAT), (DIGEST, "0123456789abcdee")] {
        fs::copy(file(dir.path()), dir.path().join("compiled").join(name(digest, compat))).unwrap();
        distrusted(files.get(digest, compat), "is not what this installation wrote");
    }
    // No file at all, or one from elsewhere.
    fs::rename(file(dir.path()), dir.path().join("aside")).unwrap();
    symlink(dir.path().join("aside"), file(dir.path())).unwrap();
    distrusted(files.get(DIGEST, COMPAT), "cannot be used");
    files.put(DIGEST, COMPAT, &code()).unwrap();
    assert!(fs::symlink_metadata(file(dir.path())).unwrap().is_file(), "the link went, what it named is as it was");
    fs::remove_file(file(dir.path())).unwrap();
    fs::create_dir(file(dir.path())).unwrap();
    distrusted(files.get(DIGEST, COMPAT), "is no file");
    assert!(files.put(DIGEST, COMPAT, &code()).is_err());
}

#[test]
fn what_others_may_write_is_not_used() {
    for mode in [0o720, 0o702, 0o777] {
        let dir = kept();
        let running = CompiledFiles::open(dir.path(), ROOM);
        set_mode(&dir.path().join("compiled"), mode);
        for files in [running, CompiledFiles::open(dir.path(), ROOM)] {
            distrusted(files.get(DIGEST, COMPAT), "can be written by others");
            assert!(files.put(DIGEST, COMPAT, b"x").unwrap_err().contains("can be written by others"));
        }
        set_mode(&dir.path().join("compiled"), 0o750);
        assert_eq!(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), Found::Code(code()), "to be read by others is no harm");
    }
    let dir = kept();
    set_mode(&file(dir.path()), 0o620);
    distrusted(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), "can be written by others (mode 620)");
    let key = dir.path().join("compiled.key");
    for (mode, says) in [(0o640, "can be read by others"), (0o602, "can be written by others")] {
        set_mode(&key, mode);
        distrusted(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), says);
    }
    fs::remove_file(&key).unwrap();
    symlink("/dev/zero", &key).unwrap();
    distrusted(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), "compiled.key cannot be used");
    fs::remove_file(&key).unwrap();
    fs::write(&key, b"short").unwrap();
    set_mode(&key, 0o600);
    distrusted(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), "has 5 bytes and not 32");
    // A folder in the place of which there is a link to one.
    let dir = kept();
    fs::rename(dir.path().join("compiled"), dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), dir.path().join("compiled")).unwrap();
    distrusted(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), "compiled cannot be used");
}

#[test]
fn what_belongs_to_another_user_is_not_used() {
    if rustix::process::geteuid().as_raw() != 0 {
        println!("not run: only root can give files away");
        return;
    }
    for below in ["compiled", "compiled.key"] {
        let dir = kept();
        std::os::unix::fs::chown(dir.path().join(below), Some(65_534), None).unwrap();
        distrusted(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), "belongs to user 65534");
    }
    let dir = kept();
    std::os::unix::fs::chown(file(dir.path()), Some(65_534), None).unwrap();
    distrusted(CompiledFiles::open(dir.path(), ROOM).get(DIGEST, COMPAT), "belongs to user 65534");
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let room_for_three = 3 * (HEAD_BYTES as u64 + 1_000);
    let files = CompiledFiles::open(dir.path(), room_for_three);
    let digest = |n: u8| format!("{n:064x}");
    let aged = |n: u8, hours: u64| {
        let file = File::options().write(true).open(dir.path().join("compiled").join(name(&digest(n), COMPAT))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3_600 * hours)).unwrap();
    };
    for n in 1..=3 {
        files.put(&digest(n), COMPAT, &code()).unwrap();
        aged(n, 10 - u64::from(n));
    }
    assert_eq!(files.get(&digest(1), COMPAT), Found::Code(code()), "used, so it is not the oldest any more");
    files.put(&digest(4), COMPAT, &code()).unwrap();
    let there: Vec<u8> = (1..=4).filter(|n| files.get(&digest(*n), COMPAT) != Found::Missing).collect();
    assert_eq!((there, used(dir.path())), (vec![1, 3, 4], (room_for_three, 3)));
    let larger = vec![0; room_for_three as usize];
    assert!(files.put(&digest(5), COMPAT, &larger).unwrap_err().contains("rules.compiled_size"));
    assert_eq!(used(dir.path()).1, 3, "what cannot be kept pushes nothing out");
}
