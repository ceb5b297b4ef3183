//! Processes as `/proc` shows them, and signals to them.

use std::fs;
use std::os::fd::OwnedFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::waiting::until;

/// Sends a signal to a process.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// A descriptor that is readable once the process has ended (even if it was not reaped yet).
pub fn pidfd(pid: u32) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

/// As [`pidfd`]; `None` when the process has ended and was reaped.
pub fn pidfd_if_there(pid: u32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// All processes that descend from `pid`, in the order of /proc.
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

/// All processes of the machine.
pub fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent of a process, unless it has ended and was reaped.
pub fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// The role of a process of the pool: `dispatcher`, `worker`, `compiler` or `tasks`.
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

/// The processes of a session, with or without those that have ended and wait to be reaped.
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

/// The fields of `/proc/PID/stat` behind the name, beginning with the state.
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

/// The state of a process: `R`, `S`, `T`, `Z` and so on; `None` when it has ended and was reaped.
pub fn state(pid: u32) -> Option<char> {
    stat(pid)?[0].chars().next()
}

/// Processor time of a process, in ticks of 10 ms.
pub fn cpu(pid: u32) -> u64 {
    stat(pid).map_or(0, |fields| {
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    })
}

/// Whether every thread of the process waits for something. One that only does not get its turn does not.
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

/// Waits until all of these spin: 200 ms of processor time from now are more than any start takes.
pub fn wait_until_busy(pids: &[u32]) {
    let before: Vec<_> = pids.iter().map(|&pid| cpu(pid)).collect();
    until(|| {
        pids.iter()
            .zip(&before)
            .all(|(&pid, before)| cpu(pid) >= before + 20)
            .then_some(())
    });
}

/// Stops a process, and waits until it stands.
pub fn stop(pid: u32) {
    send(pid, Signal::SIGSTOP);
    until(|| (state(pid) == Some('T')).then_some(()));
}

/// Resident memory of a process in bytes; `None` when it has ended.
pub fn resident(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

/// The most resident memory that a process has had, in bytes; `None` when it has ended.
pub fn peak_resident(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM:")
}

/// A figure of `/proc/PID/status` that is in KiB, in bytes.
fn memory(pid: u32, figure: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(figure))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
