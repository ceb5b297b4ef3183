//! Attacks on the kernel: system calls that an attacker would make from a compromised process.

use std::ffi::CStr;
use std::io;
use std::mem;

use crate::attempted::{Attempted, result};
use crate::file_calls;

/// Makes one attack, of these or of [`file_calls`]. `target` comes from the test: a path, a port, a name or a pid.
#[allow(clippy::too_many_lines, reason = "a list")]
pub fn attempt(attack: &str, target: &str) -> Attempted {
    let path = [target.as_bytes(), b"\0"].concat();
    let path = CStr::from_bytes_until_nul(&path)
        .expect("it ends with NUL")
        .as_ptr();
    let number: i32 = target.parse().unwrap_or(0);
    let zero: libc::c_long = 0;
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: each call gets pointers that are valid for it, or null. No call should succeed, and the process has no
    // state to lose.
    unsafe {
        match attack {
            "open" => result(libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                path,
                libc::O_RDONLY,
            )),
            "create" => result(libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                path,
                libc::O_WRONLY | libc::O_CREAT,
                0o600,
            )),
            "socket" => result(libc::syscall(
                libc::SYS_socket,
                libc::AF_INET,
                libc::SOCK_STREAM,
                0,
            )),
            "connect" => connect(u16::try_from(number).unwrap_or(0)),
            "abstract" => connect_abstract(target),
            "exec" => {
                let args = [path, std::ptr::null()];
                result(libc::syscall(
                    libc::SYS_execve,
                    path,
                    args.as_ptr(),
                    std::ptr::null::<libc::c_char>(),
                ))
            }
            "fork" => match libc::syscall(libc::SYS_clone, libc::SIGCHLD, zero, zero, zero, zero) {
                // Another process must not be possible.
                0 => libc::_exit(0),
                returned => result(returned),
            },
            "clone3" => result(libc::syscall(libc::SYS_clone3, null, zero)),
            "ptrace" => result(libc::syscall(
                libc::SYS_ptrace,
                libc::PTRACE_SEIZE,
                number,
                zero,
                zero,
            )),
            "kill" => result(libc::syscall(libc::SYS_kill, number, libc::SIGKILL)),
            "tgkill" => result(libc::syscall(libc::SYS_tgkill, number, number, libc::SIGKILL)),
            "pidfd" => result(libc::syscall(libc::SYS_pidfd_open, number, zero)),
            "mmap" => result(libc::syscall(
                libc::SYS_mmap,
                zero,
                4096_usize,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                zero,
            )),
            "mprotect" => {
                let page = libc::mmap(
                    null,
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                result(libc::syscall(
                    libc::SYS_mprotect,
                    page,
                    4096_usize,
                    libc::PROT_READ | libc::PROT_EXEC,
                ))
            }
            "handler" => {
                let action: libc::sigaction = mem::zeroed();
                result(libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()).into())
            }
            "memory file" => result(libc::syscall(libc::SYS_memfd_create, path, zero)),
            "io_uring" => result(libc::syscall(libc::SYS_io_uring_setup, 1, null)),
            "bpf" => result(libc::syscall(libc::SYS_bpf, zero, null, zero)),
            "unshare" => result(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER)),
            "mount" => result(libc::syscall(libc::SYS_mount, path, path, path, zero, null)),
            "prctl" => result(libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1)),
            "read another" => result(libc::syscall(
                libc::SYS_process_vm_readv,
                number,
                null,
                zero,
                null,
                zero,
                zero,
            )),
            "rlimit" => {
                let limit = libc::rlimit {
                    rlim_cur: 10,
                    rlim_max: 10,
                };
                result(libc::syscall(
                    libc::SYS_prlimit64,
                    zero,
                    libc::RLIMIT_NPROC,
                    &raw const limit,
                    null,
                ))
            }
            "rlimit of another" => {
                let limit = libc::rlimit {
                    rlim_cur: 1,
                    rlim_max: 1,
                };
                result(libc::syscall(
                    libc::SYS_prlimit64,
                    number,
                    libc::RLIMIT_CPU,
                    &raw const limit,
                    null,
                ))
            }
            "send out of band" => message(libc::SYS_sendto, libc::MSG_OOB),
            "send without a route" => message(libc::SYS_sendto, libc::MSG_DONTROUTE),
            "receive out of band" => message(libc::SYS_recvfrom, libc::MSG_OOB),
            "peek" => message(libc::SYS_recvfrom, libc::MSG_PEEK),
            "receive with rights out of band" => message_with_rights(libc::SYS_recvmsg, libc::MSG_OOB),
            "receive from the error queue" => message_with_rights(libc::SYS_recvmsg, libc::MSG_ERRQUEUE),
            "send with rights out of band" => message_with_rights(libc::SYS_sendmsg, libc::MSG_OOB),
            "socketpair" => {
                let mut pair = [0; 2];
                result(libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()).into())
            }
            "fork into namespaces" => {
                let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::SIGCHLD;
                match libc::syscall(libc::SYS_clone, flags, zero, zero, zero, zero) {
                    0 => libc::_exit(0),
                    returned => result(returned),
                }
            }
            "abort" => libc::abort(),
            "fault" => {
                // No page is mapped there.
                std::ptr::write_volatile(std::ptr::without_provenance_mut::<u8>(8), 1);
                Attempted::Succeeded
            }
            "setuid" => result(libc::syscall(libc::SYS_setuid, zero)),
            other => file_calls::attempt(other, target),
        }
    }
}

/// Sends or receives one byte with these flags. No descriptor from 1000 on is open, so a call that the filter permits
/// fails with EBADF and has no effect.
fn message(call: libc::c_long, flags: i32) -> Attempted {
    let mut byte = 0_u8;
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the byte is valid for the length.
    result(unsafe { libc::syscall(call, 1000, &raw mut byte, 1_usize, flags, null, null) })
}

/// As [`message`], with a header without buffers.
fn message_with_rights(call: libc::c_long, flags: i32) -> Attempted {
    // SAFETY: an all-zero header is valid, and lives for the call.
    result(unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        libc::syscall(call, 1000, &raw mut header, flags)
    })
}

fn connect(port: u16) -> Attempted {
    // SAFETY: the address is valid for its length.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        if socket < 0 {
            return Attempted::Refused(io::Error::last_os_error());
        }
        let mut address: libc::sockaddr_in = mem::zeroed();
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = port.to_be();
        address.sin_addr.s_addr = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
        let length = size_of_val(&address) as libc::socklen_t;
        result(libc::connect(socket, (&raw const address).cast(), length).into())
    }
}

fn connect_abstract(name: &str) -> Attempted {
    use std::os::linux::net::SocketAddrExt;
    let connected = std::os::unix::net::SocketAddr::from_abstract_name(name)
        .and_then(|address| std::os::unix::net::UnixStream::connect_addr(&address));
    match connected {
        Ok(_) => Attempted::Succeeded,
        Err(error) => Attempted::Refused(error),
    }
}
