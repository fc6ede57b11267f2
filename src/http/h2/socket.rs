//! What an app has of a stream that it takes for a connection of HTTP/1 (psgix.io).

use std::io;
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use tokio::net::UnixStream;

/// Who has what the app takes for the client's socket.
#[derive(Debug, Default)]
pub(super) enum Socket {
    /// Nobody has asked for it.
    #[default]
    Ours,
    /// The app has the other end.
    Lent(Tunnel),
    /// The app answers as any other. Its end does not close before the response is over.
    Returned(#[expect(dead_code, reason = "it is kept open")] UnixStream),
}

/// Our end of a socket pair whose other end the app has.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) app: UnixStream,
    /// Bytes of the client's on their way to the app.
    pub(super) to_app: Bytes,
    /// What was read from the app: until it is whole, the head.
    pub(super) head: BytesMut,
    /// Bytes of the app's on their way to the client.
    pub(super) to_client: Bytes,
}

impl Tunnel {
    /// A tunnel, and the app's end of it.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (app, theirs) = UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        theirs.set_nonblocking(false)?;
        let tunnel = Tunnel {
            app,
            to_app: Bytes::new(),
            head: BytesMut::new(),
            to_client: Bytes::new(),
        };
        Ok((tunnel, theirs.into()))
    }
}
