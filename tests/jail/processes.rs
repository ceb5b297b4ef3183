//! The processes of a run of the real binary, as they are seen from outside.

use std::fs;
use std::io::Write;

use crate::support::{Run, fixture, records, role, until};

/// A run that waits for tasks, with two workers of which each has run one at least; a callback has run too.
fn warm(options: &[&str]) -> Run {
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
    let mut run = Run::start(&[&more[..], options, &[&fixture("pid")]].concat());
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

/// The value of a field of `/proc/.../status`.
fn field(status: &str, name: &str) -> String {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
}

/// The status of each thread of a process.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap())
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
        for status in threads {
            assert_eq!(field(&status, "Seccomp"), "2");
            assert_eq!(field(&status, "NoNewPrivs"), "1");
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(u64::from_str_radix(&field(&status, set), 16), Ok(0), "{set}");
            }
        }
    }
}

#[test]
fn nobody_who_was_root_can_get_capabilities_back() {
    if !nix::unistd::geteuid().is_root() {
        return; // there is no bounding set to be dropped by whoever has no capability
    }
    let run = warm(&[]);
    for pid in run.workers(2).into_iter().chain([run.dispatcher()]) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert_eq!(u64::from_str_radix(&field(&status, "CapBnd"), 16), Ok(0));
    }
}

#[test]
fn a_worker_has_no_environment_and_its_limits() {
    let run = warm(&[]);
    for pid in run.workers(2) {
        if nix::unistd::geteuid().is_root() {
            // It is not dumpable: only root may look.
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
        assert!((30..100_000).contains(&seconds), "{seconds} s of processor time");
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
        assert!(score(worker) > score(run.dispatcher()));
    }
    assert_eq!(score(run.dispatcher()), score(run.pid()));
}

#[test]
fn a_worker_has_sockets_pipes_and_memory_and_its_own_page_map() {
    if !nix::unistd::geteuid().is_root() {
        return; // nobody else may look
    }
    let run = warm(&[]);
    for pid in run.workers(2) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let target = fs::read_link(entry.unwrap().path()).unwrap();
            let target = target.to_str().unwrap();
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
    let mut run = Run::start(&[&args[..], &[&fixture("pid")]].concat());
    run.child.stdin.as_mut().unwrap().write_all(b"[]\n").unwrap();
    let record = records(run.line().as_bytes()).remove(0);
    let pid = record["pid"].as_u64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert_eq!(field(&status, "Seccomp"), "0");
}
