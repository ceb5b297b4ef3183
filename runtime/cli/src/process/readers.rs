//! Notices when the reader of a pipe or a socket goes away, also while there is nothing to write: a run whose output nobody will
//! read shall end at once, and not with the next record.
//!
//! What follows from it is for the reporter to say.

use std::io;
use std::os::fd::AsFd;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::run::output::reporter::OutputKind;
use crate::terminal::stdio::Descriptor;

/// Watches what leads into pipes and sockets, for the rest of the process's life. `on_left` is called once for each that
/// has lost its last reader, on a thread of its own, so it may block.
pub fn watch(
    outputs: Vec<(Descriptor, OutputKind)>,
    on_left: impl FnMut(OutputKind) + Send + 'static,
) -> io::Result<()> {
    let pipes: Vec<_> = outputs
        .into_iter()
        .filter(|(output, _)| output.has_other_end())
        .collect();
    if !pipes.is_empty() {
        thread::Builder::new()
            .name("readers".into())
            .spawn(move || wait_for_all(pipes, on_left))?;
    }
    Ok(())
}

fn wait_for_all(mut pipes: Vec<(Descriptor, OutputKind)>, mut on_left: impl FnMut(OutputKind)) {
    while !pipes.is_empty() {
        // Whether it can be written is not asked for: an error is told unasked, and that is what a pipe without a
        // reader has; a socket whose other end is closed hangs up. One that was only shut in one direction may well be
        // read on (that it is not shows with the next write).
        let mut fds: Vec<_> = pipes
            .iter()
            .map(|(pipe, _)| PollFd::new(pipe.as_fd(), PollFlags::empty()))
            .collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Then the next write tells.
            Err(_) => return,
        }
        let mut left = fds
            .iter()
            .map(|fd| fd.any() == Some(true))
            .collect::<Vec<_>>()
            .into_iter();
        pipes.retain(|&(_, place)| {
            let left = left.next() == Some(true);
            if left {
                on_left(place);
            }
            !left
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

    fn pipe() -> (io::PipeReader, Descriptor) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(OwnedFd::from(writer)).into())
    }

    #[test]
    fn each_pipe_is_told_of_once_when_its_reader_goes_away() {
        let (one, to_one) = pipe();
        let (two, to_two) = pipe();
        let (sender, left) = mpsc::channel();
        watch(
            vec![(to_one, OutputKind::Prints), (to_two, OutputKind::Records)],
            move |place| {
                sender.send(place).unwrap();
            },
        )
        .unwrap();
        drop(two);
        assert_eq!(left.recv().unwrap(), OutputKind::Records);
        drop(one);
        assert_eq!(left.recv().unwrap(), OutputKind::Prints);
        assert!(left.recv().is_err(), "the watch has ended");
    }

    #[test]
    fn a_socket_is_told_of_when_its_other_end_is_closed_and_not_when_it_only_sends_no_more() {
        let (one, to_one) = UnixStream::pair().unwrap();
        let (two, to_two) = UnixStream::pair().unwrap();
        let (sender, left) = mpsc::channel();
        let socket = |socket: UnixStream| File::from(OwnedFd::from(socket)).into();
        one.shutdown(Shutdown::Write).unwrap();
        watch(
            vec![
                (socket(to_one), OutputKind::Prints),
                (socket(to_two), OutputKind::Records),
            ],
            move |place| {
                sender.send(place).unwrap();
            },
        )
        .unwrap();
        drop(two);
        assert_eq!(left.recv().unwrap(), OutputKind::Records);
        drop(one);
        assert_eq!(left.recv().unwrap(), OutputKind::Prints);
    }

    #[test]
    fn what_is_no_pipe_is_not_watched() {
        let (sender, left) = mpsc::channel::<OutputKind>();
        let file = tempfile::tempfile().unwrap();
        watch(vec![(file.into(), OutputKind::Records)], move |place| {
            sender.send(place).unwrap();
        })
        .unwrap();
        assert!(left.recv().is_err());
    }
}
