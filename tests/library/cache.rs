//! Pools with a cache of compiled guests.

use std::os::unix::fs::symlink;
use std::path::Path;

use mpwasm::command::Command;
use mpwasm::{Access, Builder, Cache, DirGrant, Error, Overlap};
use tempfile::TempDir;

use crate::common::{GUEST, builder, outcome, pool_and_guest, status};
use crate::support::{binary, script};

/// An executable that starts mpwasm, but no compiler after `forbid` was called.
struct Wrapper {
    dir: TempDir,
    path: std::path::PathBuf,
}

impl Wrapper {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "#!/bin/sh\ncase $1 in *compiler) test -e '{}' && exit 7;; esac\nexec '{}' \"$@\"\n",
            dir.path().join("forbidden").display(),
            binary().display()
        );
        let path = script(&dir, &text);
        Self { dir, path }
    }

    fn builder(&self) -> Builder {
        builder().executable(&self.path)
    }

    fn forbid(&self) {
        std::fs::write(self.dir.path().join("forbidden"), "").unwrap();
    }
}

#[test]
fn a_pool_finds_what_an_earlier_one_has_compiled() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let wrapper = Wrapper::new();
    let (pool, first) = pool_and_guest(wrapper.builder().cache(cache.clone()));
    pool.stop().unwrap();
    assert_eq!(cache.stats().unwrap().entries, 1);

    wrapper.forbid();
    let (pool, guest) = pool_and_guest(wrapper.builder().cache(cache.clone()));
    assert_eq!(guest.info(), first.info());
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
    pool.stop().unwrap();

    assert_eq!(cache.clear().unwrap().entries, 1);
    let pool = wrapper.builder().cache(cache).start().unwrap();
    let refused = pool.load_bytes("guest.wat", GUEST.as_bytes());
    assert!(
        matches!(&refused, Err(Error::Start { role: "compiler", .. })),
        "{refused:?}"
    );
}

#[test]
fn callbacks_and_tasks_run_from_the_cache_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let text = r#"(module (import "mpwasm_v1" "push" (func $push (param i32 i32) (result i64)))
        (memory (export "memory") 1) (data (i32.const 0) "{\"args\":[1]}")
        (func (export "runnable") (result i32) (i32.const 0))
        (func (export "callback") (result i32) (i32.const 0))
        (func (export "tasks") (result i32)
            (drop (call $push (i32.const 0) (i32.const 12))) (i32.const 0)))"#;
    let wrapper = Wrapper::new();
    for _ in 0..2 {
        let pool = wrapper.builder().cache(cache.clone()).start().unwrap();
        let guest = pool.load_bytes("pusher.wat", text.as_bytes()).unwrap();
        assert_eq!(pool.push_from_guest(&guest).unwrap(), 1);
        let outcome = outcome(&pool.submit(guest.task(())).unwrap());
        assert_eq!(outcome.callback, mpwasm::CallbackStatus::Ok);
        pool.stop().unwrap();
        wrapper.forbid();
    }
}

#[test]
fn a_pool_without_one_compiles_every_time() {
    let wrapper = Wrapper::new();
    let (pool, guest) = pool_and_guest(wrapper.builder());
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
    wrapper.forbid();
    let refused = pool.load_bytes("guest.wat", GUEST.as_bytes());
    assert!(
        matches!(&refused, Err(Error::Start { role: "compiler", .. })),
        "{refused:?}"
    );
}

/// Files that tasks could put into the cache, or in place of the executable, would run as native code.
#[test]
fn a_directory_with_the_cache_or_the_executable_is_not_granted_to_tasks_that_may_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let cache = Cache::at(&path);
    let grant = |folder: &Path, access| DirGrant::new(folder, "/d", access).unwrap();
    let refused = |result: Result<(), Error>, words: &str| match result {
        Err(Error::Grant { why, .. }) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    };
    let all = grant(dir.path(), Access::ReadWrite);
    let readable = grant(dir.path(), Access::ReadOnly);
    let with_cache = || builder().cache(cache.clone());
    refused(with_cache().dir(all.clone()).start().map(drop), "cache");
    assert!(!path.exists(), "nothing was made");
    with_cache()
        .dir(readable.clone())
        .start()
        .unwrap()
        .stop()
        .unwrap();

    let wrapper = Wrapper::new();
    let with_executable = |folder: &Path| wrapper.builder().dir(grant(folder, Access::ReadWrite)).start();
    refused(with_executable(wrapper.dir.path()).map(drop), "executable");
    let link = dir.path().join("link");
    symlink(&wrapper.path, &link).unwrap();
    let by_link = builder().executable(&link).dir(all.clone()).start();
    refused(by_link.map(drop), "a link in it");
    with_executable(dir.path()).unwrap().stop().unwrap();

    // A command to which more is granted than its guest was loaded with.
    let command = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    let loaded = with_cache().load_bytes("command", command.as_bytes()).unwrap();
    refused(Command::new(&loaded).dir(all.clone()).status().map(drop), "cache");
    assert!(
        Command::new(&loaded)
            .dir(readable.clone())
            .status()
            .unwrap()
            .success()
    );

    assert_eq!(Overlap::between(&all, &path).unwrap(), Some(Overlap::Contains));
    assert_eq!(Overlap::between(&all, dir.path()).unwrap(), Some(Overlap::Is));
    assert_eq!(Overlap::between(&readable, &path).unwrap(), None);
    assert!(Overlap::between(&grant(&dir.path().join("none"), Access::ReadWrite), &path).is_err());
}
