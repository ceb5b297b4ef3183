//! The system calls that each role may make, as data: each with the code that needs it.
//!
//! A list says what a process may do once it works; what it did before, at its start, is not in it. A worker's start
//! happens behind the dispatcher's filter, though, so the dispatcher's list has [`START`] too.
//!
//! To see what a list lacks: the process ends with SIGSYS, and its log line names the call.

use mpwasm_types::grants::Access;
use mpwasm_types::role::Role;

/// A system call that is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Its number on this architecture.
    pub call: i64,
    /// With which arguments.
    pub when: When,
}

/// With which arguments a call is allowed. Arguments count from 0; their lower 32 bits are looked at.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// With any.
    Always,
    /// When this argument has this value.
    Equal(u8, u32),
    /// When this argument has another value.
    Except(u8, u32),
    /// When both do.
    BothEqual((u8, u32), (u8, u32)),
    /// When this argument has none of these bits.
    Without(u8, u32),
    /// When this argument is the pid of this process.
    OwnProcess(u8),
}

use When::{Always, BothEqual, Equal, Except, OwnProcess, Without};

const fn allow(call: libc::c_long, when: When) -> Allowed {
    Allowed { call, when }
}

/// The list of a role, where tasks may do this with files.
pub fn of(role: Role, files: Option<Access>) -> impl Iterator<Item = &'static Allowed> {
    let lists: &[&[Allowed]] = match role {
        Role::Worker => &[RUN, OWN, NO_NEW_CODE, GUEST, HOME],
        Role::Tasks => &[RUN, OWN, NO_NEW_CODE, GUEST],
        // It makes code, which others load.
        Role::Compiler => &[RUN, OWN, NO_NEW_CODE],
        Role::Dispatcher => &[RUN, NEW_CODE, DISPATCH, START, HOME],
    };
    let files: &[&[Allowed]] = match (role, files) {
        (Role::Compiler | Role::Tasks, _) | (_, None) => &[],
        (Role::Worker, Some(Access::ReadOnly)) => &[LOOK, OWN_LOOK],
        (Role::Worker, Some(Access::ReadWrite)) => &[LOOK, OWN_LOOK, CHANGE],
        (Role::Dispatcher, Some(Access::ReadOnly)) => &[START_RULES, LOOK],
        (Role::Dispatcher, Some(Access::ReadWrite)) => &[START_RULES, LOOK, CHANGE],
    };
    lists.iter().chain(files).copied().flatten()
}

const PROT_EXEC: u32 = libc::PROT_EXEC.cast_unsigned();

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u32 = 0xc060_6610;

/// Flags with which messages are sent.
const SEND_FLAGS: u32 = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT).cast_unsigned();

/// Flags with which messages are received.
const RECEIVE_FLAGS: u32 = (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC).cast_unsigned();

const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

/// Calls that the dispatcher is told do not exist, so that the C library uses the older one, whose flags can be seen:
/// `clone3` has them behind a pointer.
pub const ABSENT: &[Allowed] = &[allow(libc::SYS_clone3, Always)];

/// What every role does.
const RUN: &[Allowed] = &[
    // wire::channel: frames, and descriptors from a process of higher trust. No other flags: out-of-band data
    // (MSG_OOB) and the like are code of the kernel that nothing here needs.
    allow(libc::SYS_sendto, Without(3, !SEND_FLAGS)),
    allow(libc::SYS_recvfrom, Without(3, !RECEIVE_FLAGS)),
    allow(libc::SYS_recvmsg, Without(2, !RECEIVE_FLAGS)),
    // watchdog: its eventfd, and the pipe of orders; a panic's message.
    allow(libc::SYS_read, Always),
    allow(libc::SYS_write, Always),
    allow(libc::SYS_writev, Always),
    // process::poll_until, and a look at one descriptor.
    allow(libc::SYS_ppoll, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_poll, Always),
    // Descriptors that are dropped: of guests that are loaded, of workers that are gone.
    allow(libc::SYS_close, Always),
    // std: locks, parking, channels.
    allow(libc::SYS_futex, Always),
    allow(libc::SYS_sched_yield, Always),
    // The allocator, and wasmtime's slots.
    allow(libc::SYS_munmap, Always),
    allow(libc::SYS_mremap, Always),
    allow(libc::SYS_madvise, Always),
    allow(libc::SYS_brk, Always),
    // The allocator looks at the number of processors when a thread gets a heap of its own.
    allow(libc::SYS_sched_getaffinity, Always),
    // time: where the vDSO has no clock that user space can read.
    allow(libc::SYS_clock_gettime, Always),
    // wasmtime-wasi: `clock_res_get`.
    allow(libc::SYS_clock_getres, Always),
    // std: the seeds of hash maps; guest::state: the seed of a guest's random numbers.
    allow(libc::SYS_getrandom, Always),
    // std and wasmtime: signal handlers' stacks, and the way back out of a handler.
    allow(libc::SYS_sigaltstack, Always),
    allow(libc::SYS_rt_sigreturn, Always),
    allow(libc::SYS_rt_sigprocmask, Always),
    // The kernel makes it after SIGCONT, for a call that waited.
    allow(libc::SYS_restart_syscall, Always),
    allow(libc::SYS_getpid, Always),
    allow(libc::SYS_gettid, Always),
    // The ends of threads and processes.
    allow(libc::SYS_exit, Always),
    allow(libc::SYS_exit_group, Always),
];

/// What a process does to itself that a dispatcher's list can't bind to one process: its workers inherit the list.
const OWN: &[Allowed] = &[
    // abort: its signal, to this process itself. violation: likewise.
    allow(libc::SYS_tgkill, OwnProcess(0)),
    // std, wasmtime and abort: their handlers are installed, and go when a signal is not theirs. Never another one for
    // SIGSYS, which stays what violation made of it.
    allow(libc::SYS_rt_sigaction, Except(0, libc::SIGSYS.cast_unsigned())),
];

/// W^X for good: once its guests are loaded, a process that runs them makes no executable memory. The compiler makes none
/// at all.
const NO_NEW_CODE: &[Allowed] = &[
    allow(libc::SYS_mmap, Without(2, PROT_EXEC)),
    allow(libc::SYS_mprotect, Without(2, PROT_EXEC)),
];

/// A dispatcher, which loads guests for callbacks at any time.
const NEW_CODE: &[Allowed] = &[
    allow(libc::SYS_mmap, Always),
    allow(libc::SYS_mprotect, Always),
    // wasmtime, on aarch64: other threads must see new code.
    allow(libc::SYS_membarrier, Always),
];

/// A worker, or the process that runs `tasks`.
const GUEST: &[Allowed] = &[
    // wasmtime: which pages an instance has written.
    allow(libc::SYS_ioctl, Equal(1, PAGEMAP_SCAN)),
    // backstop: more processor time for the next tasks.
    allow(libc::SYS_prlimit64, BothEqual((0, 0), (1, libc::RLIMIT_CPU))),
];

/// A worker, whose list can't have more than its dispatcher's.
const HOME: &[Allowed] = &[
    // home: where the calling thread itself runs, and no other.
    allow(libc::SYS_sched_setaffinity, Equal(0, 0)),
];

/// The dispatcher: starting, watching, ending and reaping workers; threads for callbacks.
const DISPATCH: &[Allowed] = &[
    // Threads, and processes: std uses posix_spawn. No namespaces, in which rights could be had again.
    allow(libc::SYS_clone, Without(0, NEW_NAMESPACES)),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_vfork, Always),
    // Let through here, since a filter can only be stricter than the others; see ABSENT.
    allow(libc::SYS_clone3, Always),
    allow(libc::SYS_set_robust_list, Always),
    allow(libc::SYS_rseq, Always),
    allow(libc::SYS_execve, Always),
    allow(libc::SYS_setpgid, Always),
    allow(libc::SYS_chdir, Always),
    allow(libc::SYS_wait4, Always),
    allow(libc::SYS_waitid, Always),
    // process::Process: its end, and its SIGKILL.
    allow(libc::SYS_pidfd_open, Always),
    allow(libc::SYS_pidfd_send_signal, Always),
    // std: to kill a child that could not be watched; abort, in a worker too. Landlock's scope, where the kernel has it,
    // ends where the dispatcher's children do.
    allow(libc::SYS_kill, Always),
    allow(libc::SYS_tgkill, Always),
    // crew: the socket, the pipe of orders and the shared page of a new worker.
    // Connected for good: sockets of other types could be sent from to any path.
    allow(
        libc::SYS_socketpair,
        BothEqual(
            (0, libc::AF_UNIX.cast_unsigned()),
            (1, (libc::SOCK_STREAM | libc::SOCK_CLOEXEC).cast_unsigned()),
        ),
    ),
    allow(libc::SYS_sendmsg, Without(2, !SEND_FLAGS)),
    allow(libc::SYS_pipe2, Always),
    allow(libc::SYS_memfd_create, Always),
    allow(libc::SYS_ftruncate, Always),
    allow(libc::SYS_fcntl, Always),
    allow(libc::SYS_dup3, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_dup2, Always),
    allow(libc::SYS_fstat, Always),
    // callback_thread: its eventfd.
    allow(libc::SYS_eventfd2, Always),
    // jail::limits::OomScore.
    allow(libc::SYS_pwrite64, Always),
];

/// What a worker does from its exec to its own filter.
const START: &[Allowed] = &[
    // The loader and the C library.
    allow(libc::SYS_openat, Always),
    allow(libc::SYS_newfstatat, Always),
    allow(libc::SYS_statx, Always),
    allow(libc::SYS_faccessat, Always),
    allow(libc::SYS_readlinkat, Always),
    allow(libc::SYS_pread64, Always),
    allow(libc::SYS_lseek, Always),
    allow(libc::SYS_set_tid_address, Always),
    // Its own limits: to lower those of another process is to kill it.
    allow(libc::SYS_prlimit64, Equal(0, 0)),
    allow(libc::SYS_uname, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_arch_prctl, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_access, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_readlink, Always),
    // wasmtime, std and jail::violation: handlers. The dispatcher's own engine is made when its first guest is loaded.
    allow(libc::SYS_rt_sigaction, Always),
    // process::enter.
    allow(libc::SYS_close_range, Always),
    allow(libc::SYS_getsockopt, Always),
    allow(libc::SYS_prctl, Always),
    // guest::engine: the page map.
    allow(libc::SYS_ioctl, Equal(1, PAGEMAP_SCAN)),
    // jail: its own walls.
    allow(libc::SYS_capget, Always),
    allow(libc::SYS_capset, Always),
    allow(libc::SYS_landlock_create_ruleset, Always),
    allow(libc::SYS_landlock_restrict_self, Always),
    allow(libc::SYS_seccomp, Always),
];

/// As [`START`], where a directory is granted.
const START_RULES: &[Allowed] = &[
    // jail::files: a rule for each directory.
    allow(libc::SYS_landlock_add_rule, Always),
];

/// wasmtime-wasi, where a directory is granted: to find, open and read what is in it. In what, Landlock says: a path can't be
/// seen from here.
const LOOK: &[Allowed] = &[
    // guest::wasi: the directories, as each instance gets them.
    allow(libc::SYS_fchdir, Always),
    allow(libc::SYS_openat, Always),
    allow(libc::SYS_openat2, Always),
    allow(libc::SYS_getdents64, Always),
    allow(libc::SYS_readlinkat, Always),
    allow(libc::SYS_newfstatat, Always),
    allow(libc::SYS_fstat, Always),
    allow(libc::SYS_statx, Always),
    allow(libc::SYS_pread64, Always),
    allow(libc::SYS_lseek, Always),
    allow(libc::SYS_fadvise64, Always),
    allow(libc::SYS_fsync, Always),
    allow(libc::SYS_fdatasync, Always),
];

/// As [`LOOK`], for a worker; the dispatcher's list has more of it.
const OWN_LOOK: &[Allowed] = &[
    // wasmtime-wasi: how a directory, or a file whose flags a guest asks for, was opened.
    allow(libc::SYS_fcntl, Equal(1, libc::F_GETFL.cast_unsigned())),
];

/// wasmtime-wasi, where a directory is granted that may be changed.
const CHANGE: &[Allowed] = &[
    allow(libc::SYS_pwrite64, Always),
    allow(libc::SYS_pwritev2, Always),
    allow(libc::SYS_ftruncate, Always),
    // With all rights, less those of the mask: a scratch directory that could not be looked into could not be cleared.
    allow(libc::SYS_mkdirat, Equal(2, 0o777)),
    allow(libc::SYS_linkat, Always),
    allow(libc::SYS_symlinkat, Always),
    allow(libc::SYS_renameat, Always),
    allow(libc::SYS_unlinkat, Always),
    // Times of files.
    allow(libc::SYS_utimensat, Always),
];
