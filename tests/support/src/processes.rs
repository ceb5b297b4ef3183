//! Information about processes from `/proc`, and signals to them.

use std::fs;
use std::os::fd::OwnedFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::waiting::until;

/// Sends a signal to a process.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// Returns a descriptor that is readable once the process has ended, even if it was not reaped yet.
pub fn pidfd(pid: u32) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

/// As [`pidfd`]; `None` when the process has ended and was reaped.
pub fn pidfd_if_there(pid: u32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Returns all descendants of `pid`, in the order of /proc.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let parents: Vec<(u32, u32)> = all_pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut index = 0;
    while let Some(&of) = found.get(index) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == of)
                .map(|(pid, _)| *pid),
        );
        index += 1;
    }
    found.split_off(1)
}

/// Iterates over all processes of the machine.
pub fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the parent of a process. `None` when the process was reaped.
pub fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// Returns the role of a process of the pool: `dispatcher`, `worker`, `compiler` or `tasks`.
pub fn role(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line);
    Some(
        line.split('\0')
            .nth(1)?
            .strip_prefix("--mpwasm-child=")?
            .to_owned(),
    )
}

/// Returns the processes of a session, with or without zombies.
pub fn processes(session: u32, zombies: bool) -> Vec<u32> {
    let belongs = |pid: &u32| {
        let fields = stat(*pid).unwrap_or_default();
        let ended = fields
            .first()
            .is_none_or(|state| ["Z", "X"].contains(&state.as_str()));
        fields.get(3) == Some(&session.to_string()) && (zombies || !ended)
    };
    all_pids().filter(belongs).collect()
}

/// Returns the fields of `/proc/PID/stat` after the name, beginning with the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(
        text.rsplit_once(')')?
            .1
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

/// Returns the state of a process: `R`, `S`, `T`, `Z` and so on. `None` when it was reaped.
pub fn state(pid: u32) -> Option<char> {
    stat(pid)?[0].chars().next()
}

/// Returns the CPU time of a process, in ticks of 10 ms.
pub fn cpu(pid: u32) -> u64 {
    stat(pid).map_or(0, |fields| {
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    })
}

/// Returns whether every thread of the process is blocked. A thread that is ready to run but not scheduled is not.
pub fn rests(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with(['S', 'Z', 'X']))
    })
}

/// Waits until all of these processes spin: each has used 200 ms more of CPU time, which is more than any start takes.
pub fn wait_until_busy(pids: &[u32]) {
    let before: Vec<_> = pids.iter().map(|&pid| cpu(pid)).collect();
    until(|| {
        pids.iter()
            .zip(&before)
            .all(|(&pid, before)| cpu(pid) >= before + 20)
            .then_some(())
    });
}

/// Stops a process with SIGSTOP, and waits until it is stopped.
pub fn stop(pid: u32) {
    send(pid, Signal::SIGSTOP);
    until(|| (state(pid) == Some('T')).then_some(()));
}

/// Returns the resident memory of a process in bytes; `None` when it has ended.
pub fn resident(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

/// Returns the peak resident memory of a process in bytes; `None` when it has ended.
pub fn peak_resident(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM:")
}

/// Returns a figure of `/proc/PID/status`, converted from KiB to bytes.
fn memory(pid: u32, figure: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(figure))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
