//! Pools with a cache of compiled guests.

use mpwasm::{Builder, Cache, Error};
use tempfile::TempDir;

use crate::common::{GUEST, builder, outcome, pool_and_guest, script, status};
use crate::support::binary;

/// An executable that becomes mpwasm, but no compiler any more once `forbid` was called.
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
