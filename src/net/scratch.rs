//! Memory to read into, shared by all connections: an idle one holds none.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use super::stream::Stream;

/// Bytes that one read asks for: a head, and the 16 KiB of content that travel in a request's frame.
const READ: usize = 24 * 1024;

/// The memory, for whichever connection is being polled.
#[derive(Debug)]
pub struct Scratch(RefCell<Box<[u8; READ]>>);

impl Default for Scratch {
    fn default() -> Self {
        Scratch(RefCell::new(Box::new([0; READ])))
    }
}

impl Scratch {
    /// Reads what is there and appends it to `buffer`; how much it was, 0 at the end of the stream.
    ///
    /// # Errors
    /// As for reading from the stream.
    pub async fn read(&self, stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|context| {
            let mut scratch = self.0.borrow_mut();
            let mut read = ReadBuf::new(&mut scratch[..]);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
            buffer.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }
}
