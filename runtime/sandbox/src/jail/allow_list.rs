//! The allow-list of system calls of each role, as data: each system call with the code that needs it.
//!
//! A list holds what a process does after its start. What it does before that is not in the list. But a worker starts
//! behind the filter of its dispatcher, so the dispatcher's list includes [`WORKER_START`].
//!
//! If a list lacks a system call, the process ends with SIGSYS, and its log line names the system call.

use mpwasm_types::grants::Access;
use mpwasm_types::role::Role;

/// Allows a system call.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its number on this architecture.
    pub call: i64,
    /// The condition under which it is allowed.
    pub condition: Condition,
}

/// A condition on the arguments of a system call. Arguments count from 0. Only their lower 32 bits are compared.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// No condition.
    Always,
    /// This argument has this value.
    Equal(u8, u32),
    /// This argument has another value.
    Except(u8, u32),
    /// Each of these arguments has this value.
    BothEqual((u8, u32), (u8, u32)),
    /// This argument has none of these bits.
    Without(u8, u32),
    /// This argument is the pid of this process.
    OwnProcess(u8),
}

use Condition::{Always, BothEqual, Equal, Except, OwnProcess, Without};

const fn allow(call: libc::c_long, condition: Condition) -> Rule {
    Rule { call, condition }
}

/// Returns the allow-list of a role, where tasks have this access to files.
pub fn rules(role: Role, files: Option<Access>) -> impl Iterator<Item = &'static Rule> {
    let lists: &[&[Rule]] = match role {
        Role::Worker => &[
            COMMON,
            OWN_PROCESS,
            NO_EXECUTABLE_MEMORY,
            RUN_GUESTS,
            CPU_AFFINITY,
        ],
        Role::Tasks => &[COMMON, OWN_PROCESS, NO_EXECUTABLE_MEMORY, RUN_GUESTS],
        // It generates code, but other processes load it.
        Role::Compiler => &[COMMON, OWN_PROCESS, NO_EXECUTABLE_MEMORY],
        Role::Manager => &[COMMON, OWN_PROCESS, NO_EXECUTABLE_MEMORY, HOLD_OBJECTS],
        Role::Dispatcher => &[COMMON, ANY_MEMORY, MANAGE_WORKERS, WORKER_START, CPU_AFFINITY],
    };
    let files: &[&[Rule]] = match (role, files) {
        (Role::Compiler | Role::Tasks | Role::Manager, _) | (_, None) => &[],
        (Role::Worker, Some(Access::ReadOnly)) => &[READ_FILES, READ_FLAGS],
        (Role::Worker, Some(Access::ReadWrite)) => &[READ_FILES, READ_FLAGS, WRITE_FILES],
        (Role::Dispatcher, Some(Access::ReadOnly)) => &[LANDLOCK_RULES, READ_FILES],
        (Role::Dispatcher, Some(Access::ReadWrite)) => &[LANDLOCK_RULES, READ_FILES, WRITE_FILES],
    };
    lists.iter().chain(files).copied().flatten()
}

const PROT_EXEC: u32 = libc::PROT_EXEC.cast_unsigned();

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u32 = 0xc060_6610;

/// Flags for sending messages.
const SEND_FLAGS: u32 = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT).cast_unsigned();

/// Flags for receiving messages.
const RECEIVE_FLAGS: u32 = (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC).cast_unsigned();

const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

/// System calls that fail with ENOSYS in the dispatcher. The C library then uses the older `clone`. A filter can check the
/// flags of that, while those of `clone3` are behind a pointer.
pub const ABSENT: &[Rule] = &[allow(libc::SYS_clone3, Always)];

/// Needed by every role.
const COMMON: &[Rule] = &[
    // protocol::channel: frames, and file descriptors from a process of higher trust. Other flags, such as MSG_OOB for
    // out-of-band data, would only expose more code of the kernel.
    allow(libc::SYS_sendto, Without(3, !SEND_FLAGS)),
    allow(libc::SYS_recvfrom, Without(3, !RECEIVE_FLAGS)),
    allow(libc::SYS_recvmsg, Without(2, !RECEIVE_FLAGS)),
    // engine::watchdog: its eventfd, and the control pipe. A panic: its message.
    allow(libc::SYS_read, Always),
    allow(libc::SYS_write, Always),
    allow(libc::SYS_writev, Always),
    // system::poll.
    allow(libc::SYS_ppoll, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_poll, Always),
    // Closing the descriptors of loaded guests and of workers that have ended.
    allow(libc::SYS_close, Always),
    // std: locks, parking, channels.
    allow(libc::SYS_futex, Always),
    allow(libc::SYS_sched_yield, Always),
    // The allocator, and wasmtime's slots.
    allow(libc::SYS_munmap, Always),
    allow(libc::SYS_mremap, Always),
    allow(libc::SYS_madvise, Always),
    allow(libc::SYS_brk, Always),
    // The allocator: it reads the number of CPUs when it creates the heap of a thread.
    allow(libc::SYS_sched_getaffinity, Always),
    // system::clock: on a machine where the vDSO can't read the clock in user space.
    allow(libc::SYS_clock_gettime, Always),
    // wasmtime-wasi: `clock_res_get`.
    allow(libc::SYS_clock_getres, Always),
    // std: the seeds of hash maps; engine::state: the seed of a guest's random numbers.
    allow(libc::SYS_getrandom, Always),
    // std and wasmtime: stacks of signal handlers, and the return from a handler.
    allow(libc::SYS_sigaltstack, Always),
    allow(libc::SYS_rt_sigreturn, Always),
    allow(libc::SYS_rt_sigprocmask, Always),
    // The kernel makes it after SIGCONT, to resume an interrupted system call.
    allow(libc::SYS_restart_syscall, Always),
    allow(libc::SYS_getpid, Always),
    allow(libc::SYS_gettid, Always),
    // The ends of threads and processes.
    allow(libc::SYS_exit, Always),
    allow(libc::SYS_exit_group, Always),
];

/// System calls that a process makes on itself. The dispatcher's list can't restrict them to one process, since its workers
/// inherit the list.
const OWN_PROCESS: &[Rule] = &[
    // abort and jail::violation: a signal to this process.
    allow(libc::SYS_tgkill, OwnProcess(0)),
    // std, wasmtime and abort: they install their handlers, and remove them when a signal is not theirs. The handler of
    // SIGSYS stays that of jail::violation.
    allow(libc::SYS_rt_sigaction, Except(0, libc::SIGSYS.cast_unsigned())),
];

/// Memory mappings that are not executable. A process that runs guests creates no executable memory after it has loaded
/// them. The compiler never does.
const NO_EXECUTABLE_MEMORY: &[Rule] = &[
    allow(libc::SYS_mmap, Without(2, PROT_EXEC)),
    allow(libc::SYS_mprotect, Without(2, PROT_EXEC)),
];

/// Any memory mappings: a dispatcher loads guests for callbacks at any time.
const ANY_MEMORY: &[Rule] = &[
    allow(libc::SYS_mmap, Always),
    allow(libc::SYS_mprotect, Always),
    // wasmtime, on aarch64: makes new code visible to other threads.
    allow(libc::SYS_membarrier, Always),
];

/// Needed to run guests, by a worker and the process that runs `tasks`.
const RUN_GUESTS: &[Rule] = &[
    // wasmtime: finds the pages that an instance has written.
    allow(libc::SYS_ioctl, Equal(1, PAGEMAP_SCAN)),
    // cpu_limit: raises the limit of CPU time for the next tasks.
    allow(libc::SYS_prlimit64, BothEqual((0, 0), (1, libc::RLIMIT_CPU))),
    // system::number_memory: the size and the seals of the memory of numbers before it is mapped.
    allow(libc::SYS_fstat, Always),
    allow(libc::SYS_fcntl, Equal(1, libc::F_GET_SEALS.cast_unsigned())),
];

/// Needed by the manager.
const HOLD_OBJECTS: &[Rule] = &[
    // protocol::send_buffer: large replies, and the memory of numbers with the reply that opens it.
    allow(libc::SYS_sendmsg, Without(2, !SEND_FLAGS)),
    // system::epoll: its event loop. The epoll itself was created before the filter was applied.
    allow(libc::SYS_epoll_ctl, Always),
    allow(libc::SYS_epoll_pwait2, Always),
    // system::number_memory.
    allow(libc::SYS_memfd_create, Always),
    allow(libc::SYS_ftruncate, Always),
    allow(libc::SYS_fstat, Always),
    allow(libc::SYS_fcntl, Equal(1, libc::F_ADD_SEALS.cast_unsigned())),
    allow(libc::SYS_fcntl, Equal(1, libc::F_GET_SEALS.cast_unsigned())),
];

/// Needed by a worker, and so allowed to its dispatcher.
const CPU_AFFINITY: &[Rule] = &[
    // cpu_affinity: the CPUs of the calling thread only.
    allow(libc::SYS_sched_setaffinity, Equal(0, 0)),
];

/// Needed by the dispatcher: to spawn, watch, kill and reap workers, and for the threads of callbacks.
const MANAGE_WORKERS: &[Rule] = &[
    // Threads, and processes, for which std uses posix_spawn. No namespaces, in which privileges could be gained again.
    allow(libc::SYS_clone, Without(0, NEW_NAMESPACES)),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_vfork, Always),
    // Allowed here, as the stricter of two filters wins; see ABSENT.
    allow(libc::SYS_clone3, Always),
    allow(libc::SYS_set_robust_list, Always),
    allow(libc::SYS_rseq, Always),
    allow(libc::SYS_execve, Always),
    allow(libc::SYS_setpgid, Always),
    allow(libc::SYS_chdir, Always),
    allow(libc::SYS_wait4, Always),
    allow(libc::SYS_waitid, Always),
    // child::Process: waiting for its end, and killing it.
    allow(libc::SYS_pidfd_open, Always),
    allow(libc::SYS_pidfd_send_signal, Always),
    // std: to kill a child for which no pidfd could be opened. abort, also in a worker. Landlock's scope, where the kernel
    // supports it, confines these signals to the dispatcher and its children.
    allow(libc::SYS_kill, Always),
    allow(libc::SYS_tgkill, Always),
    // The socket, control pipe and shared page of a new worker. Only a connected type of socket: others could send to any
    // path.
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
    // system::epoll: its event loop. The epoll itself was created before the filter was applied.
    allow(libc::SYS_epoll_ctl, Always),
    allow(libc::SYS_epoll_pwait2, Always),
    // host::dispatcher::callback_thread: its eventfds.
    allow(libc::SYS_eventfd2, Always),
    // jail::limits::OomScore.
    allow(libc::SYS_pwrite64, Always),
];

/// Needed by a worker from its exec until its own filter is applied.
const WORKER_START: &[Rule] = &[
    // The loader and the C library.
    allow(libc::SYS_openat, Always),
    allow(libc::SYS_newfstatat, Always),
    allow(libc::SYS_statx, Always),
    allow(libc::SYS_faccessat, Always),
    allow(libc::SYS_readlinkat, Always),
    allow(libc::SYS_pread64, Always),
    allow(libc::SYS_lseek, Always),
    allow(libc::SYS_set_tid_address, Always),
    // Its own limits only: a process whose limits are lowered can be killed by that.
    allow(libc::SYS_prlimit64, Equal(0, 0)),
    allow(libc::SYS_uname, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_arch_prctl, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_access, Always),
    #[cfg(target_arch = "x86_64")]
    allow(libc::SYS_readlink, Always),
    // wasmtime, std and jail::violation: signal handlers. The dispatcher creates its engine with its first guest.
    allow(libc::SYS_rt_sigaction, Always),
    // child::start_up.
    allow(libc::SYS_close_range, Always),
    allow(libc::SYS_getsockopt, Always),
    allow(libc::SYS_prctl, Always),
    // engine: the page map.
    allow(libc::SYS_ioctl, Equal(1, PAGEMAP_SCAN)),
    // jail: its own layers.
    allow(libc::SYS_capget, Always),
    allow(libc::SYS_capset, Always),
    allow(libc::SYS_landlock_create_ruleset, Always),
    allow(libc::SYS_landlock_restrict_self, Always),
    allow(libc::SYS_seccomp, Always),
];

/// Needed by a worker at its start, in addition to [`WORKER_START`], if a directory is granted.
const LANDLOCK_RULES: &[Rule] = &[
    // jail::files: a rule for each directory.
    allow(libc::SYS_landlock_add_rule, Always),
];

/// Needed by wasmtime-wasi to find, open and read files, if a directory is granted. Landlock restricts which files: a
/// filter can't read a path.
const READ_FILES: &[Rule] = &[
    // engine::wasi: opens the directories for each instance.
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

/// Needed by a worker to read files, in addition to [`READ_FILES`]. The dispatcher's list allows more of fcntl.
const READ_FLAGS: &[Rule] = &[
    // wasmtime-wasi: the flags with which a directory or a file was opened.
    allow(libc::SYS_fcntl, Equal(1, libc::F_GETFL.cast_unsigned())),
];

/// Needed by wasmtime-wasi to change files, if a directory is granted for writing.
const WRITE_FILES: &[Rule] = &[
    allow(libc::SYS_pwrite64, Always),
    allow(libc::SYS_pwritev2, Always),
    allow(libc::SYS_ftruncate, Always),
    // Only with this mode, less the umask: a directory that can't be read could not be cleared.
    allow(libc::SYS_mkdirat, Equal(2, 0o777)),
    allow(libc::SYS_linkat, Always),
    allow(libc::SYS_symlinkat, Always),
    allow(libc::SYS_renameat, Always),
    allow(libc::SYS_unlinkat, Always),
    // Timestamps of files.
    allow(libc::SYS_utimensat, Always),
];
