//! The processes of a run of the real binary, as seen from outside.

use std::fs;
use std::io::Write;

use mpwasm::Jail;
use mpwasm::objects::Manager;

use crate::support::{BackgroundRun, binary, fixture, records, role, until};

/// Starts a run with two workers that waits for tasks. Each worker has run at least one task, and a callback has run,
/// too.
fn warm(options: &[&str]) -> BackgroundRun {
    let more = [
        "--results",
        "-",
        "--size",
        "2",
        "--jail",
        "strict",
        "--tasks",
        "-",
    ];
    let mut run = BackgroundRun::start(&[&more[..], options, &[&fixture("pid")]].concat());
    let mut seen = std::collections::BTreeSet::new();
    until(|| {
        let stdin = run.child.stdin.as_mut().unwrap();
        stdin
            .write_all(b"[]\n{\"model\":\"cb_count\",\"args\":[true,1]}\n")
            .unwrap();
        for _ in 0..2 {
            let record = records(run.line().as_bytes()).remove(0);
            assert_eq!(record["status"], "ok", "{record}");
            seen.insert(record["pid"].as_u64().unwrap());
        }
        (seen.len() >= 2).then_some(())
    });
    run
}

/// Returns the value of a field of `/proc/.../status`.
fn field(status: &str, name: &str) -> String {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
}

/// Returns the status of each thread of a process; empty when it has ended.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .collect()
}

#[test]
fn every_thread_of_every_child_is_jailed() {
    let run = warm(&[]);
    let dispatcher = run.dispatcher();
    let workers = run.workers(2);
    for (pid, count) in [(dispatcher, 3), (workers[0], 2), (workers[1], 2)] {
        let threads = threads(pid);
        assert_eq!(threads.len(), count, "{:?}", role(pid));
        threads.iter().for_each(|status| assert_jailed(status));
    }
}

#[track_caller]
fn assert_jailed(status: &str) {
    assert_eq!(field(status, "Seccomp"), "2");
    assert_eq!(field(status, "NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(status, set), 16), Ok(0), "{set}");
    }
}

/// Checks the child of this role in a run that has one, once all of its `count` threads are jailed. Returns an error when
/// it ends before.
fn jailed_child(guest: &str, wanted: &str, count: usize) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wat");
    fs::write(&path, guest).unwrap();
    let args = [
        "--jail",
        "strict",
        "--no-cache",
        "--size",
        "1",
        "--timeout",
        "60s",
    ];
    let run = BackgroundRun::start(&[&args[..], &[path.to_str().unwrap()]].concat());
    let mut seen = None;
    until(|| {
        let all = crate::support::descendants(run.pid());
        let child = all.into_iter().find(|&pid| role(pid).as_deref() == Some(wanted));
        let Some(pid) = child else {
            return seen.map(|()| Err(format!("the {wanted} process ended early")));
        };
        seen = Some(());
        let threads = threads(pid);
        let is_locked = |status: &String| field(status, "Seccomp") == "2";
        if threads.len() != count || !threads.iter().all(is_locked) {
            return None;
        }
        threads.iter().for_each(|status| assert_jailed(status));
        Some(Ok(()))
    })
}

#[test]
fn the_process_that_runs_tasks_is_jailed() {
    let guest = r#"(module (memory (export "memory") 1)
        (func (export "tasks") (result i32) (loop $again (br $again)) (i32.const 0))
        (func (export "runnable") (result i32) (i32.const 0)))"#;
    jailed_child(guest, "tasks", 2).unwrap();
}

#[test]
fn the_manager_of_shared_objects_is_jailed_and_has_no_files() {
    let manager = Manager::builder().executable(binary()).jail(Jail::Strict);
    let manager = manager.start().unwrap();
    // Its reply shows that it is behind its jail.
    let queue = manager.queue::<u64>(0).unwrap();
    let numbers = manager.array::<i64>(10).unwrap();
    let threads = threads(manager.pid());
    assert_eq!(threads.len(), 1);
    threads.iter().for_each(|status| assert_jailed(status));
    if nix::unistd::geteuid().is_root() {
        for entry in fs::read_dir(format!("/proc/{}/fd", manager.pid())).unwrap() {
            let target = fs::read_link(entry.unwrap().path()).unwrap();
            let target = target.to_str().unwrap().to_owned();
            let allowed = ["socket:", "pipe:", "/memfd:mpwasm-", "anon_inode:[event"];
            assert!(allowed.iter().any(|start| target.starts_with(start)), "{target}");
        }
        let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        let is_own = network(manager.pid()) != network(std::process::id());
        assert_eq!(is_own, is_active("namespaces"));
    }
    queue.put(&1).unwrap();
    numbers.store(9, 1).unwrap();
}

/// The compiler has two threads, and one more for each processor if there are several.
#[test]
fn the_compiler_of_a_large_guest_uses_all_processors_and_is_jailed() {
    let processors = std::thread::available_parallelism().unwrap().get();
    let count = if processors == 1 { 2 } else { 2 + processors };
    // The guest takes seconds to compile, and all processors, so that this thread sees the process in time on a busy machine too.
    let bulk = " local.get 0 local.get 1 i32.load i32.add i32.const 7 i32.mul local.set 1".repeat(30);
    let function = format!("(func (param i32) (result i32) (local i32) {bulk} local.get 1)");
    let guest = format!(
        r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) i32.const 0) {})"#,
        function.repeat(8000)
    );
    jailed_child(&guest, "compiler", count).unwrap();
}

/// Returns whether this machine has the layer, according to the doctor.
fn is_active(layer: &str) -> bool {
    let doctor = crate::support::mpwasm().arg("doctor").output().unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    doctor
        .lines()
        .any(|line| line.starts_with(layer) && line.contains(" active "))
}

#[test]
fn all_children_are_in_a_control_group_of_their_own_where_there_can_be_one() {
    let run = warm(&[]);
    let name = format!("/mpwasm-{}-", run.child.id());
    let is_there = is_active("memory limit");
    for pid in [vec![run.dispatcher()], run.workers(2)].concat() {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let own = groups.lines().find(|line| line.starts_with("0::"));
        assert_eq!(own.is_some_and(|own| own.contains(&name)), is_there, "{groups}");
    }
}

#[test]
fn all_children_share_a_network_that_is_not_the_machines() {
    if !nix::unistd::geteuid().is_root() {
        // They are not dumpable, so no other user may read this, which is as good.
        let run = warm(&[]);
        assert!(fs::read_link(format!("/proc/{}/ns/net", run.dispatcher())).is_err());
        return;
    }
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let run = warm(&[]);
    let theirs = network(run.dispatcher());
    let is_own = theirs != network(std::process::id());
    assert_eq!(is_own, is_active("namespaces"));
    for worker in run.workers(2) {
        assert_eq!(network(worker), theirs);
    }
}

#[test]
fn nobody_who_was_root_can_get_capabilities_back() {
    let run = warm(&[]);
    for pid in run.workers(2).into_iter().chain([run.dispatcher()]) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        if nix::unistd::geteuid().is_root() {
            assert_eq!(u64::from_str_radix(&field(&status, "CapBnd"), 16), Ok(0));
        } else {
            // A process without capabilities can't drop the bounding set, and gains nothing from it.
            assert_eq!(field(&status, "NoNewPrivs"), "1");
        }
    }
}

#[test]
fn a_worker_has_no_environment_and_its_limits() {
    let run = warm(&[]);
    for pid in run.workers(2) {
        if nix::unistd::geteuid().is_root() {
            // It is not dumpable, so only root may read this.
            assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        } else {
            assert!(fs::read(format!("/proc/{pid}/environ")).is_err());
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let hard = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(hard("Max core file size"), "0");
        assert_eq!(hard("Max file size"), "0");
        assert_eq!(hard("Max processes"), "0");
        assert_eq!(hard("Max open files"), "64");
        let soft = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max cpu time"))
            .unwrap();
        let seconds: u64 = soft.split_whitespace().next().unwrap().parse().unwrap();
        assert!((30..100_000).contains(&seconds), "{seconds} s of CPU time");
    }
}

#[test]
fn a_worker_dies_before_its_dispatcher_when_memory_is_short() {
    let run = warm(&[]);
    let score = |pid: u32| -> i32 {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    for worker in run.workers(2) {
        assert!(score(worker) > score(run.pid()));
    }
    until(|| (score(run.dispatcher()) == score(run.pid())).then_some(()));
}

#[test]
fn a_worker_has_sockets_pipes_and_memory_and_its_own_page_map() {
    let run = warm(&[]);
    for pid in run.workers(2) {
        if !nix::unistd::geteuid().is_root() {
            // It is not dumpable, so no other user may read this.
            assert!(fs::read_dir(format!("/proc/{pid}/fd")).is_err());
            continue;
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap();
            let target = target.to_str().unwrap();
            if target.contains(".guest") {
                // The compiled guest, if the cache has it, only to be read.
                let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_str().unwrap());
                let info = fs::read_to_string(info).unwrap();
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
                assert!(flags.unwrap().ends_with('0'), "{target}: {info}");
                continue;
            }
            let allowed = ["socket:", "pipe:", "/memfd:mpwasm-", "anon_inode:[eventfd]"];
            let page_map = format!("/proc/{pid}/pagemap");
            assert!(
                target == page_map || allowed.iter().any(|start| target.starts_with(start)),
                "{target}"
            );
        }
    }
}

#[test]
fn root_can_have_another_user_for_them() {
    if !nix::unistd::geteuid().is_root() {
        return; // see options::only_root_can_name_another_user
    }
    let run = warm(&["--user", "65534:65534"]);
    for pid in run.workers(2).into_iter().chain([run.dispatcher()]) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for ids in ["Uid", "Gid"] {
            assert_eq!(field(&status, ids), "65534\t65534\t65534\t65534");
        }
        assert_eq!(field(&status, "Groups"), "");
    }
}

#[test]
fn without_a_jail_there_is_none() {
    let args = ["--jail", "off", "--results", "-", "--size", "1", "--tasks", "-"];
    let mut run = BackgroundRun::start(&[&args[..], &[&fixture("pid")]].concat());
    run.child.stdin.as_mut().unwrap().write_all(b"[]\n").unwrap();
    let record = records(run.line().as_bytes()).remove(0);
    let pid = record["pid"].as_u64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert_eq!(field(&status, "Seccomp"), "0");
}
