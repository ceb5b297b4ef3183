//! System calls of a compromised worker, behind all layers of the sandbox and behind all but the last.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use mpwasm::{Kind, Outcome};

use crate::attacker::{Attacked, Victim};

/// Asserts that the kernel killed the worker for this system call, that the record says so, and that other tasks are not
/// affected.
#[track_caller]
fn forbidden(attack: &str, target: &str, call: &str) {
    let attacked = Attacked::start("attacker", 1);
    assert_forbidden(&attacked.outcome(attack, target), call);
    attacked.assert_in_order();
}

#[track_caller]
fn assert_forbidden(outcome: &Outcome, call: &str) {
    let error = outcome.result.as_ref().expect_err("the kernel did it");
    assert_eq!(
        (error.kind, error.signal),
        (Kind::Crash, Some(libc::SIGSYS)),
        "{error:?}"
    );
    let expected = format!("it made the system call {call}, which its jail forbids");
    assert!(error.message.contains(&expected), "{}", error.message);
}

/// Asserts that behind the other layers alone the kernel refuses the call with this error.
#[track_caller]
fn refused(attack: &str, target: &str, errno: &str) {
    let result = behind_the_others(attack, target);
    assert_eq!(result, format!("\"{errno}\""), "{attack}");
}

/// Returns the outcome of an attack behind the other layers alone.
#[track_caller]
fn behind_the_others(attack: &str, target: &str) -> String {
    let attacked = Attacked::start("attacker-without-seccomp", 1);
    let outcome = attacked.outcome(attack, target);
    let result = outcome.result.expect("it was not killed").get().to_owned();
    attacked.assert_in_order();
    result
}

#[test]
fn a_worker_opens_no_file() {
    forbidden("open", "/etc/passwd", "openat");
}

#[test]
fn landlock_alone_lets_it_open_no_file() {
    refused("open", "/etc/passwd", "EACCES");
    refused("open", "/proc/self/environ", "EACCES");
}

#[test]
fn landlock_alone_lets_it_create_no_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = folder.path().join("new");
    refused("create", path.to_str().unwrap(), "EACCES");
    assert!(!path.exists());
}

#[test]
fn a_worker_makes_no_memory_file() {
    forbidden("memory file", "name", "memfd_create");
}

#[test]
fn a_worker_connects_to_nobody() {
    forbidden("connect", "80", "socket");
}

#[test]
fn landlock_alone_lets_it_connect_to_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    refused("connect", &port.to_string(), "EACCES");
}

#[test]
fn landlock_alone_lets_it_reach_no_abstract_socket() {
    // If the workers have a network namespace of their own, there is no such socket in it.
    let name = format!("mpwasm-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let result = behind_the_others("abstract", &name);
    assert!(
        ["\"EPERM\"", "\"ECONNREFUSED\""].contains(&result.as_str()),
        "{result}"
    );
}

#[test]
fn a_worker_executes_nothing() {
    forbidden("exec", "/bin/true", "execve");
}

#[test]
fn landlock_alone_lets_it_execute_nothing() {
    refused("exec", "/bin/true", "EACCES");
}

#[test]
fn a_worker_makes_no_process_and_no_thread() {
    forbidden("fork", "", "clone");
    forbidden("clone3", "", "clone3");
}

#[test]
fn a_worker_signals_nobody() {
    let victim = Victim::new();
    for (attack, call) in [("kill", "kill"), ("tgkill", "tgkill"), ("pidfd", "pidfd_open")] {
        forbidden(attack, &victim.pid(), call);
    }
    victim.assert_unharmed();
}

#[test]
fn landlock_alone_lets_it_signal_nobody() {
    let victim = Victim::new();
    refused("kill", &victim.pid(), "EPERM");
    victim.assert_unharmed();
}

#[test]
fn a_worker_looks_into_no_other_process() {
    let victim = Victim::new();
    forbidden("ptrace", &victim.pid(), "ptrace");
    forbidden("read another", &victim.pid(), "process_vm_readv");
    forbidden("rlimit of another", &victim.pid(), "prlimit64");
    victim.assert_unharmed();
}

#[test]
fn the_other_layers_let_it_look_into_no_other_process() {
    let victim = Victim::new();
    refused("ptrace", &victim.pid(), "EPERM");
    victim.assert_unharmed();
}

#[test]
fn a_worker_makes_no_executable_memory() {
    forbidden("mmap", "", "mmap");
    forbidden("mprotect", "", "mprotect");
}

#[test]
fn a_worker_can_not_take_the_handler_of_violations_away() {
    forbidden("handler", "", "rt_sigaction");
}

#[test]
fn a_worker_gets_at_nothing_else_of_the_kernel() {
    for (attack, call) in [
        ("io_uring", "io_uring_setup"),
        ("bpf", "bpf"),
        ("unshare", "unshare"),
        ("mount", "mount"),
        ("prctl", "prctl"),
        ("rlimit", "prlimit64"),
        ("setuid", "setuid"),
        ("socketpair", "socketpair"),
        ("fork into namespaces", "clone"),
    ] {
        forbidden(attack, "", call);
    }
}

#[test]
fn a_worker_sends_and_receives_with_no_flags_but_those_in_use() {
    for (attack, call) in [
        ("send out of band", "sendto"),
        ("send without a route", "sendto"),
        ("receive out of band", "recvfrom"),
        ("peek", "recvfrom"),
        ("receive with rights out of band", "recvmsg"),
        ("receive from the error queue", "recvmsg"),
    ] {
        forbidden(attack, "", call);
    }
}

#[test]
fn the_other_layers_let_it_mount_nothing_and_become_nobody() {
    refused("mount", "/", "EPERM");
    if nix::unistd::geteuid().is_root() {
        // Root stays root if no other user was requested, so this changes nothing.
        return;
    }
    // In its own user namespace there is no root to become.
    let result = behind_the_others("setuid", "");
    assert!(["\"EPERM\"", "\"EINVAL\""].contains(&result.as_str()), "{result}");
}

/// A bug is not reported as an attack.
#[test]
fn a_worker_that_crashes_by_itself_is_reported_as_what_it_is() {
    for (defect, signal) in [("abort", libc::SIGABRT), ("fault", libc::SIGSEGV)] {
        let attacked = Attacked::start("attacker", 1);
        let error = attacked.outcome(defect, "").result.expect_err(defect);
        assert_eq!(
            (error.kind, error.signal),
            (Kind::Crash, Some(signal)),
            "{error:?}"
        );
        attacked.assert_in_order();
    }
}

#[test]
fn an_attack_harms_no_neighbour() {
    let attacked = Attacked::start("attacker", 2);
    let handles: Vec<_> = (0..40)
        .map(|number| match number % 10 {
            3 => (true, attacked.attack("open", "/etc/passwd")),
            _ => (false, attacked.attack("none", "")),
        })
        .collect();
    for (is_attack, handle) in &handles {
        let outcome = crate::attacker::in_time(handle);
        if *is_attack {
            assert_forbidden(&outcome, "openat");
        } else {
            assert_eq!(outcome.status(), "ok", "{outcome:?}");
        }
    }
    attacked.assert_in_order();
}
