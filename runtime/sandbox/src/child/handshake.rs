//! The starter's side of the handshake with a child.

use std::os::fd::AsFd;
use std::time::Duration;

use mpwasm_protocol::channel::{Channel, Filled, ReceiveError};
use mpwasm_protocol::messages::{Hello, HelloError};
use mpwasm_system::clock;
use mpwasm_system::poll::poll_until;
use nix::poll::{PollFd, PollFlags};

/// Waits for a child's hello on `channel`, at most for `timeout`, and checks it.
///
/// # Errors
/// When it does not come in time, or comes from another version of the protocol or another build.
pub fn receive_hello(channel: &mut Channel, timeout: Duration) -> Result<(), HelloError> {
    let deadline = clock::now() + timeout;
    while !channel.inbox().has_frame() {
        let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        poll_until(&mut fds, deadline).map_err(ReceiveError::Io)?;
        let is_closed = channel.fill().map_err(ReceiveError::Io)? == Filled::Closed;
        // A hello that came while this process was stopped counts, although the deadline has passed meanwhile.
        if is_closed || !channel.inbox().has_frame() && clock::now() >= deadline {
            return Err(ReceiveError::Closed.into());
        }
    }
    let frame = channel.inbox().next_message()?.ok_or(ReceiveError::Closed)?;
    Hello::check(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_protocol::channel::pair;
    use mpwasm_protocol::messages::{MAX_SETUP, PROTOCOL_VERSION};

    /// Returns the result of the handshake with a peer that sends its hello like this.
    fn shake_hands(send: impl FnOnce(Channel) -> std::io::Result<()>) -> Result<(), HelloError> {
        let (ours, theirs) = pair().unwrap();
        send(Channel::new(theirs, MAX_SETUP)).unwrap();
        receive_hello(&mut Channel::new(ours, MAX_SETUP), Duration::from_secs(10))
    }

    #[test]
    fn a_hello_that_has_come_counts_when_its_deadline_has_passed() {
        let (ours, theirs) = pair().unwrap();
        let mut ours = Channel::new(ours, MAX_SETUP);
        assert!(receive_hello(&mut ours, Duration::ZERO).is_err());
        Channel::new(theirs, MAX_SETUP).send(&Hello::ours()).unwrap();
        receive_hello(&mut ours, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_peer_with_another_protocol_is_refused_by_its_version() {
        let newer = PROTOCOL_VERSION + 1;
        let error = shake_hands(|peer| peer.send(&(newer, "fields that this version does not know", 1.5)))
            .unwrap_err();
        assert!(
            matches!(error, HelloError::OtherProtocol { theirs, ours: PROTOCOL_VERSION } if theirs == newer),
            "{error}"
        );
    }

    #[test]
    fn a_peer_of_another_build_is_refused_and_a_peer_that_closes_too() {
        let other = Hello {
            build: "another",
            ..Hello::ours()
        };
        assert!(matches!(
            shake_hands(|peer| peer.send(&other)),
            Err(HelloError::OtherBuild { .. })
        ));
        let (ours, theirs) = pair().unwrap();
        drop(theirs);
        let error = receive_hello(&mut Channel::new(ours, MAX_SETUP), Duration::from_secs(10)).unwrap_err();
        assert!(
            matches!(error, HelloError::Silent(ReceiveError::Closed)),
            "{error}"
        );
    }
}
