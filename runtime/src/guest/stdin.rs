//! A command's stdin. Other guests, and commands without one, find its end at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// The stdin of one call at a time, shared with the stream inside the WASI context.
#[derive(Debug, Default)]
pub(super) struct Stdin {
    rest: Mutex<Bytes>,
}

impl Stdin {
    /// A new call begins, with this stdin.
    pub(super) fn fill(&self, bytes: &[u8]) {
        *self.rest() = Bytes::copy_from_slice(bytes);
    }

    /// How many bytes can be read at once; 0 at the end.
    pub(super) fn at_hand(&self) -> usize {
        self.rest().len()
    }

    /// Takes at most `size` bytes; none at the end.
    fn take(&self, size: usize) -> Bytes {
        let mut rest = self.rest();
        let size = size.min(rest.len());
        rest.split_to(size)
    }

    fn rest(&self) -> MutexGuard<'_, Bytes> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It, as wasmtime-wasi wants it: always ready.
#[derive(Clone)]
pub(super) struct Reader(pub(super) Arc<Stdin>);

impl IsTerminal for Reader {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Reader {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl Pollable for Reader {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.0.take(size);
        if bytes.is_empty() && size > 0 {
            return Err(StreamError::Closed);
        }
        Ok(bytes)
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        buffer.put_slice(&self.0.take(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}
