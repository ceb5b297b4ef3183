//! Streams of children whose readers are too slow: a child blocks, and still ends.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use mpwasm::Kind;
use mpwasm::command::{ChildStdout, Command, ExitStatus};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::children::{assert_kind, assert_unread, command, large, piped};
use crate::common::in_time;

#[test]
fn a_child_that_reads_nothing_gets_no_more_than_a_pipe_of_input() {
    let mut child = piped(command("x3"));
    let output = in_time(move || child.communicate(large(), None).unwrap());
    assert_eq!(output.status.code(), Some(3));

    let mut child = piped(command("zzz"));
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let pipe = fcntl(&stdin, FcntlArg::F_GETPIPE_SZ).unwrap() as usize;
    fcntl(&stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let (bytes, mut taken) = (large(), 0);
    while taken < bytes.len() {
        match stdin.write(&bytes[taken..]) {
            Ok(count) => taken += count,
            // If anything reads more of it, there is room again within this time.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut room = [PollFd::new(stdin.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut room, 200_u16).unwrap() == 0 {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(taken, pipe);
}

#[test]
fn a_terminal_gets_what_can_not_harm_it() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let status = command("bytes").stdout(File::from(pty.slave)).status().unwrap();
    assert!(status.success(), "{status}");
    // The terminal adds a carriage return to each newline.
    let expected = b"\\xff\\u{1b}[2J\\u{0}\\xff\r\n";
    let mut shown = vec![0; expected.len()];
    File::from(pty.master).read_exact(&mut shown).unwrap();
    assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(expected));
}

#[test]
fn a_child_is_told_which_of_its_streams_are_terminals() {
    let guest = crate::common::builder()
        .load_bytes("terminal.wat", crate::support::TERMINAL.as_bytes())
        .unwrap();
    let pty = nix::pty::openpty(None, None).unwrap();
    let terminal = File::from(pty.slave);
    let own = || terminal.try_clone().unwrap();
    let code = |command: Command| command.output().unwrap().status.code();
    let child = || Command::new(&guest);
    assert_eq!(code(child()), Some(0), "pipes");
    assert_eq!(code(child().stdin(own())), Some(1));
    assert_eq!(code(child().stdout(own()).stderr(own())), Some(6));
    assert_eq!(code(child().stdin("text").stderr(own())), Some(4));
    drop(pty.master);
}

#[test]
fn a_full_disk_ends_it_and_is_reported() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = in_time(move || command("flood").stdout(full).status().unwrap());
    match &status {
        ExitStatus::Unwritten(error) => assert_eq!(error.kind(), ErrorKind::StorageFull),
        other => panic!("{other}"),
    }
    // A stderr that can't be written does not end the child.
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(command("x3").stderr(full).status().unwrap().code(), Some(3));
}

#[test]
fn a_flood_that_nobody_reads_waits_and_ends_at_its_timeout_all_the_same() {
    let mut child = piped(command("flood").timeout(Duration::from_millis(300)));
    let mut stdout = child.stdout.take().unwrap();
    let status = in_time(move || child.wait());
    assert_kind(&status, Kind::Timeout);
    // The rest in the pipe can be read, and then comes its end.
    let mut left = Vec::new();
    stdout.read_to_end(&mut left).unwrap();
    assert!(left.starts_with(b"none\nnone\n") && left.len() <= 1 << 20);
}

#[test]
fn who_reads_slowly_gets_all_of_it_also_after_the_deadline() {
    // Everything that the child writes is in flight at once, more than a pipe holds. The child needs milliseconds, and
    // reading takes longer than its timeout.
    let bytes = large()[..300_000].to_vec();
    let timeout = Duration::from_secs(4);
    let mut child = piped(command("cat").timeout(timeout));
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut read, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    let started = Instant::now();
    while let count @ 1.. = stdout.read(&mut piece).unwrap() {
        read.extend_from_slice(&piece[..count]);
        thread::park_timeout(Duration::from_millis(250));
    }
    assert!(started.elapsed() > timeout, "{:?}", started.elapsed());
    let status = in_time(move || child.wait());
    assert!(status.success(), "{status}");
    assert!(read == bytes, "{} bytes", read.len());
}

#[test]
fn a_reader_in_this_process_that_goes_away_ends_it_too() {
    let mut child = piped(command("flood"));
    let mut stdout: ChildStdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 5]).unwrap();
    drop(stdout);
    assert_unread(&in_time(move || child.wait()));
}

#[test]
fn a_socket_that_nobody_reads_holds_it_back_until_its_timeout_however_little_it_takes() {
    let (stdout, reader) = UnixStream::pair().unwrap();
    setsockopt(&stdout, sockopt::SndBuf, &0).unwrap(); // the smallest size that the kernel allows
    let flood = command("flood").timeout(Duration::from_millis(300));
    let status = in_time(move || flood.stdout(File::from(OwnedFd::from(stdout))).status().unwrap());
    assert_kind(&status, Kind::Timeout);
    drop(reader);
}

#[test]
fn a_socket_gets_all_that_a_child_writes() {
    let (stdout, mut reader) = UnixStream::pair().unwrap();
    setsockopt(&stdout, sockopt::SndBuf, &0).unwrap();
    let reads = thread::spawn(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).map(|_| read)
    });
    let cat = command("cat").stdin(large());
    let status = in_time(move || cat.stdout(File::from(OwnedFd::from(stdout))).status().unwrap());
    assert!(status.success(), "{status}");
    assert!(reads.join().unwrap().unwrap() == large());
}
