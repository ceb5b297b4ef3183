//! Detects when the reader of a pipe or a socket closes it, also while nothing is written.
//!
//! A run whose output is no longer read thus ends at once instead of at the next write.

use std::io;
use std::os::fd::AsFd;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::terminal::stdio::BlockingFile;

/// Watches the pipes and sockets among `outputs` for the rest of the process's life.
///
/// `on_closed` is called once for each that has lost its last reader, with its label, on a separate thread. It may block.
pub fn watch<L: Copy + Send + 'static>(
    outputs: Vec<(BlockingFile, L)>,
    on_closed: impl FnMut(L) + Send + 'static,
) -> io::Result<()> {
    let pipes: Vec<_> = outputs
        .into_iter()
        .filter(|(output, _)| output.has_other_end())
        .collect();
    if !pipes.is_empty() {
        thread::Builder::new()
            .name("readers".into())
            .spawn(move || wait_for_all(pipes, on_closed))?;
    }
    Ok(())
}

fn wait_for_all<L: Copy>(mut pipes: Vec<(BlockingFile, L)>, mut on_closed: impl FnMut(L)) {
    while !pipes.is_empty() {
        // No events are requested. POLLERR (a pipe without readers) and POLLHUP (a closed socket) are always reported. A
        // socket that was shut down in one direction may still be read; if it is not, the next write fails.
        let mut fds: Vec<_> = pipes
            .iter()
            .map(|(pipe, _)| PollFd::new(pipe.as_fd(), PollFlags::empty()))
            .collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Without poll, the next write reports a closed reader.
            Err(_) => return,
        }
        let mut closed = fds
            .iter()
            .map(|fd| fd.any() == Some(true))
            .collect::<Vec<_>>()
            .into_iter();
        pipes.retain(|&(_, label)| {
            let is_closed = closed.next() == Some(true);
            if is_closed {
                on_closed(label);
            }
            !is_closed
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::Shutdown;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    fn pipe() -> (io::PipeReader, BlockingFile) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(OwnedFd::from(writer)).into())
    }

    #[test]
    fn each_pipe_is_reported_once_when_its_reader_closes_it() {
        let (one, to_one) = pipe();
        let (two, to_two) = pipe();
        let (sender, left) = mpsc::channel();
        watch(vec![(to_one, "stdout"), (to_two, "records")], move |label| {
            sender.send(label).unwrap();
        })
        .unwrap();
        drop(two);
        assert_eq!(left.recv().unwrap(), "records");
        drop(one);
        assert_eq!(left.recv().unwrap(), "stdout");
        assert!(left.recv().is_err(), "the watch has ended");
    }

    #[test]
    fn a_socket_is_reported_when_its_other_end_is_closed_but_not_when_only_shut_down() {
        let (one, to_one) = UnixStream::pair().unwrap();
        let (two, to_two) = UnixStream::pair().unwrap();
        let (sender, left) = mpsc::channel();
        let socket = |socket: UnixStream| File::from(OwnedFd::from(socket)).into();
        one.shutdown(Shutdown::Write).unwrap();
        watch(
            vec![(socket(to_one), "stdout"), (socket(to_two), "records")],
            move |label| {
                sender.send(label).unwrap();
            },
        )
        .unwrap();
        drop(two);
        assert_eq!(left.recv().unwrap(), "records");
        drop(one);
        assert_eq!(left.recv().unwrap(), "stdout");
    }

    #[test]
    fn what_is_no_pipe_is_not_watched() {
        let (sender, left) = mpsc::channel::<&str>();
        let file = tempfile::tempfile().unwrap();
        watch(vec![(file.into(), "records")], move |label| {
            sender.send(label).unwrap();
        })
        .unwrap();
        assert!(left.recv().is_err());
    }
}
