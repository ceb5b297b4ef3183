//! Tests of the cache as a whole: which entries are loaded, and which files are left in its directory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::directory::STALE_CACHE_FILE_AGE;
use super::*;
use mpwasm_system::memory_file::sealed_memory;
use mpwasm_types::guest_info::GuestInfo;

/// Returns a cache in a directory that does not exist yet.
fn cache() -> (TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("some/cache"));
    (dir, cache)
}

fn key(number: u8) -> Key {
    Key([number; HASH])
}

/// Returns a guest that a test recognises by its artifact.
fn guest(artifact: &[u8]) -> CompiledGuest {
    CompiledGuest {
        info: GuestInfo {
            has_initialize: true,
            ..GuestInfo::default()
        },
        artifact: sealed_memory(c"test", artifact).unwrap(),
        checked_artifact: None,
    }
}

/// Returns the artifact that the cache has for a key.
fn loaded(cache: &Cache, key: &Key) -> Option<Vec<u8>> {
    let (compiled, _) = cache.load(key)?;
    assert!(compiled.info.has_initialize);
    let mut bytes = vec![0; compiled.artifact.metadata().unwrap().len() as usize];
    compiled.artifact.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// Returns the file of an entry.
fn file(cache: &Cache, key: &Key) -> PathBuf {
    cache.path().join(key.hex() + ".guest")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Sets an entry's last use back by this time.
fn age(path: &Path, by: Duration) {
    let file = File::options().read(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(3600 * n)
}

#[test]
fn what_was_stored_is_found_again() {
    let (_dir, cache) = cache();
    assert_eq!(loaded(&cache, &key(1)), None);
    assert_eq!(cache.stats().unwrap(), CacheStats::default());
    cache.store(&key(1), &guest(b"one"));
    cache.store(&key(2), &guest(b"two"));
    assert_eq!(loaded(&cache, &key(1)).unwrap(), b"one");
    assert_eq!(loaded(&cache, &key(2)).unwrap(), b"two");
    assert_eq!(loaded(&cache, &key(3)), None);
    let bytes = fs::metadata(file(&cache, &key(1))).unwrap().len();
    assert_eq!(
        cache.stats().unwrap(),
        CacheStats {
            entries: 2,
            bytes: 2 * bytes
        }
    );
    assert_eq!((mode(cache.path()), mode(&file(&cache, &key(1)))), (0o700, 0o600));
}

/// Makes a shortcut under the key `name` to the entry of another key, however young that is.
fn make_shortcut(cache: &Cache, name: &Key, entry: &Key) {
    let shortcut = Shortcut {
        name: name.0,
        entry: entry.0,
        checked: FileIdentity::of(&File::open(file(cache, entry)).unwrap())
            .unwrap()
            .unwrap(),
        guest_hash: [9; HASH],
    };
    let directory = CacheDirectory::make(cache.path()).unwrap();
    directory
        .write_shortcut(&name.hex(), &shortcut.to_bytes())
        .unwrap();
}

#[test]
fn a_shortcut_leads_to_its_entry_until_either_changes() {
    let (_dir, cache) = cache();
    let by_shortcut = || {
        let (compiled, hash) = cache.load_by_shortcut(&key(5))?;
        assert!(compiled.info.has_initialize && hash == [9; HASH]);
        let mut bytes = [0; 3];
        compiled.artifact.read_exact_at(&mut bytes, 0).unwrap();
        assert!(
            compiled.artifact.write_at(b"x", 0).is_err(),
            "it is only to be read"
        );
        Some(bytes)
    };
    assert_eq!(by_shortcut(), None);
    cache.store(&key(1), &guest(b"one"));
    make_shortcut(&cache, &key(5), &key(1));
    let path = file(&cache, &key(1));
    assert_eq!(by_shortcut(), Some(*b"one"));
    assert_eq!(cache.stats().unwrap().entries, 1, "it is no entry");
    // Another change, of contents, of access, or of the file as a whole.
    std::thread::sleep(Duration::from_millis(20)); // longer than a tick of the file system's clock
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(&path, fs::read(&path).unwrap()).unwrap(),
        &|| set_mode(&path, 0o622),
        &|| cache.store(&key(1), &guest(b"one")),
        &|| fs::remove_file(&path).unwrap(),
        &|| fs::write(path.with_file_name(key(5).hex() + ".seen"), "damaged").unwrap(),
    ];
    for change in changes {
        cache.store(&key(1), &guest(b"one"));
        make_shortcut(&cache, &key(5), &key(1));
        assert_eq!(by_shortcut(), Some(*b"one"));
        std::thread::sleep(Duration::from_millis(20));
        change();
        assert_eq!(by_shortcut(), None);
    }
    make_shortcut_and_clear(&cache);
}

/// Old shortcuts go when something is stored, and all when the cache is cleared.
fn make_shortcut_and_clear(cache: &Cache) {
    cache.store(&key(1), &guest(b"one"));
    for name in [5, 6] {
        make_shortcut(cache, &key(name), &key(1));
    }
    let of = |name: u8| cache.path().join(key(name).hex() + ".seen");
    age(&of(5), STALE_CACHE_FILE_AGE + hours(1));
    cache.store(&key(2), &guest(b"two"));
    assert!(!of(5).exists() && of(6).exists());
    cache.clear().unwrap();
    assert!(!of(6).exists());
}

#[test]
fn a_damaged_entry_is_not_used_and_is_replaced() {
    let (_dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    let path = file(&cache, &key(1));
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [
        &flipped[..],
        &whole[..whole.len() - 1],
        &whole[..1],
        b"",
        b"something else",
    ] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(loaded(&cache, &key(1)), None);
        cache.store(&key(1), &guest(b"one"));
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert_eq!(loaded(&cache, &key(1)).unwrap(), b"one");
    }
}

#[test]
fn an_entry_under_another_ones_name_is_not_used() {
    let (_dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    fs::rename(file(&cache, &key(1)), file(&cache, &key(2))).unwrap();
    assert_eq!(loaded(&cache, &key(2)), None);
}

#[test]
fn an_entry_that_others_may_write_to_is_not_used_and_is_replaced() {
    let (_dir, cache) = cache();
    for mode_of_others in [0o620, 0o602, 0o666] {
        cache.store(&key(1), &guest(b"one"));
        set_mode(&file(&cache, &key(1)), mode_of_others);
        assert_eq!(loaded(&cache, &key(1)), None, "{mode_of_others:o}");
    }
    cache.store(&key(1), &guest(b"one"));
    assert_eq!(loaded(&cache, &key(1)).unwrap(), b"one");
}

/// Another user may be able to write to the file under its second name.
#[test]
fn an_entry_with_a_second_name_is_not_used_and_is_replaced() {
    let (dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    fs::hard_link(file(&cache, &key(1)), dir.path().join("second")).unwrap();
    assert_eq!(loaded(&cache, &key(1)), None);
    cache.store(&key(1), &guest(b"one"));
    assert_eq!(loaded(&cache, &key(1)).unwrap(), b"one");
}

#[test]
fn what_is_no_regular_file_is_not_used_and_is_replaced() {
    let (_dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    let path = file(&cache, &key(1));
    let target = cache.path().join("target");
    fs::rename(&path, &target).unwrap();
    let makers: [&dyn Fn(); 3] = [
        &|| symlink(&target, &path).unwrap(),
        &|| mkfifo(&path, Mode::S_IRWXU).unwrap(),
        &|| fs::create_dir(&path).unwrap(),
    ];
    for make in makers {
        make();
        assert_eq!(loaded(&cache, &key(1)), None);
        cache.store(&key(1), &guest(b"new"));
        assert_eq!(loaded(&cache, &key(1)).unwrap(), b"new");
        fs::remove_file(&path).unwrap();
    }
    let untouched = fs::read(target).unwrap();
    assert!(untouched.windows(3).any(|bytes| bytes == b"one"));
}

#[test]
fn a_directory_that_others_have_access_to_is_not_used() {
    let (_dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    for mode in [0o755, 0o710, 0o702, 0o777] {
        set_mode(cache.path(), mode);
        assert_eq!(loaded(&cache, &key(1)), None, "{mode:o}");
        cache.store(&key(2), &guest(b"two"));
        let error = cache.stats().unwrap_err().to_string();
        assert!(error.contains("700"), "{error}");
        assert!(cache.clear().is_err());
    }
    set_mode(cache.path(), 0o700);
    assert_eq!(cache.stats().unwrap().entries, 1);
    assert_eq!(loaded(&cache, &key(1)).unwrap(), b"one");
}

/// Only root can change a file's owner. For an ordinary user the test uses a directory of root's.
#[test]
fn what_belongs_to_another_user_is_not_used() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let foreign = Cache::at("/");
        assert_eq!(loaded(&foreign, &key(1)), None);
        assert!(foreign.stats().is_err());
        return;
    }
    let (_dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    let path = file(&cache, &key(1));
    let give = |path: &Path, to: u32| chown(path, Some(to), None).unwrap();
    give(&path, 1234);
    assert_eq!(loaded(&cache, &key(1)), None);
    cache.store(&key(1), &guest(b"new"));
    assert_eq!(loaded(&cache, &key(1)).unwrap(), b"new");
    give(cache.path(), 1234);
    assert_eq!(loaded(&cache, &key(1)), None);
    cache.store(&key(2), &guest(b"two"));
    assert!(!file(&cache, &key(2)).exists());
    let error = cache.stats().unwrap_err().to_string();
    assert!(error.contains("another user"), "{error}");
}

#[test]
fn a_link_to_a_directory_is_not_used_with_or_without_a_slash() {
    let (dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    let link = dir.path().join("link");
    symlink(cache.path(), &link).unwrap();
    for path in [link.clone(), link.join(""), link.join(".")] {
        let linked = Cache::at(&path);
        assert_eq!(loaded(&linked, &key(1)), None, "{path:?}");
        let error = linked.stats().unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
    }
    fs::remove_file(&link).unwrap();
    symlink("/nowhere/at/all", &link).unwrap();
    assert!(Cache::at(&link).stats().is_err());
}

#[test]
fn where_nothing_can_be_written_nothing_is_kept_and_nothing_fails() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [
        file.path().to_owned(),
        file.path().join("cache"),
        "/proc/self/cache".into(),
    ] {
        let cache = Cache::at(path);
        cache.store(&key(1), &guest(b"one"));
        assert_eq!(loaded(&cache, &key(1)), None);
        assert!(cache.has_logged_problem.load(Ordering::Relaxed));
    }
}

#[test]
fn when_it_is_full_what_was_not_used_for_longest_goes() {
    let (_dir, cache) = cache();
    for number in 1..=3 {
        cache.store(&key(number), &guest(b"same"));
        age(&file(&cache, &key(number)), hours(10 - u64::from(number)));
    }
    let one = cache.stats().unwrap().bytes / 3;
    let cache = cache.limit(3 * one);
    // Replacing an entry needs no additional room.
    cache.store(&key(2), &guest(b"same"));
    assert_eq!(cache.stats().unwrap().entries, 3);
    // The oldest entry, but the most recently used.
    assert!(loaded(&cache, &key(1)).is_some());
    cache.store(&key(4), &guest(b"same"));
    let left: Vec<_> = (1..=4).filter(|&n| loaded(&cache, &key(n)).is_some()).collect();
    assert_eq!(left, [1, 2, 4]);
    cache.clone().limit(one).store(&key(5), &guest(b"same"));
    let left: Vec<_> = (1..=5).filter(|&n| loaded(&cache, &key(n)).is_some()).collect();
    assert_eq!(left, [5]);
}

#[test]
fn what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out() {
    let (_dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    let cache = cache.clone().limit(cache.stats().unwrap().bytes);
    cache.store(&key(2), &guest(b"longer"));
    assert_eq!(loaded(&cache, &key(1)).unwrap(), b"one");
    assert_eq!(cache.stats().unwrap().entries, 1);
}

#[test]
fn what_a_writer_left_that_died_goes_when_it_is_old() {
    let (_dir, cache) = cache();
    cache.store(&key(1), &guest(b"one"));
    let [young, old] = ["0123456789abcdef.new", "fedcba9876543210.new"].map(|name| cache.path().join(name));
    fs::write(&young, "unfinished").unwrap();
    fs::write(&old, "unfinished").unwrap();
    age(&old, STALE_CACHE_FILE_AGE + hours(1));
    cache.store(&key(2), &guest(b"two"));
    assert!(young.exists() && !old.exists());
}

#[test]
fn to_clear_it_removes_its_own_files_only() {
    let (_dir, cache) = cache();
    assert_eq!(
        cache.clear().unwrap(),
        CacheStats::default(),
        "it is not there yet"
    );
    cache.store(&key(1), &guest(b"one"));
    cache.store(&key(2), &guest(b"two"));
    let before = cache.stats().unwrap();
    let others = ["notes.guest", "README", "new", "0g.new"].map(|name| cache.path().join(name));
    for other in &others {
        fs::write(other, "of somebody").unwrap();
    }
    fs::write(cache.path().join("0123456789abcdef.new"), "unfinished").unwrap();
    assert_eq!(cache.clear().unwrap(), before);
    assert_eq!(cache.stats().unwrap(), CacheStats::default());
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), others.len());
}

#[test]
fn many_writers_and_readers_of_one_entry_only_ever_see_it_whole() {
    let (_dir, cache) = cache();
    let artifact = vec![7; 300_000];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    cache.store(&key(1), &guest(&artifact));
                    let found = loaded(&cache, &key(1)).expect("it is always there, once it was");
                    assert!(found == artifact);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    assert!(!cache.has_logged_problem.load(Ordering::Relaxed));
}

#[test]
fn a_writer_that_fails_leaves_nothing_behind() {
    let (_dir, cache) = cache();
    let directory = CacheDirectory::make(cache.path()).unwrap();
    let result = directory.write("00", |file| {
        file.write_all(b"a part")?;
        Err(io::Error::other("the disk is full"))
    });
    assert!(result.is_err());
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn the_users_cache_is_where_the_variables_say() {
    let path = |variables: &[(&str, &str)], home: Option<&str>| {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        };
        Cache::from_environment(variable, home.map(PathBuf::from)).map(|cache| cache.path)
    };
    let all = [("MPWASM_CACHE_DIR", "here"), ("XDG_CACHE_HOME", "/xdg")];
    assert_eq!(path(&all, Some("/home/me")), Some("here".into()));
    assert_eq!(path(&all[1..], Some("/home/me")), Some("/xdg/mpwasm".into()));
    assert_eq!(path(&[], Some("/home/me")), Some("/home/me/.cache/mpwasm".into()));
    let of_no_use = [("MPWASM_CACHE_DIR", ""), ("XDG_CACHE_HOME", "relative")];
    assert_eq!(
        path(&of_no_use, Some("/home/me")),
        Some("/home/me/.cache/mpwasm".into())
    );
    assert_eq!(path(&of_no_use, Some("")), None);
    assert_eq!(path(&[], None), None);
}
