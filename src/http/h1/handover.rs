//! Gives a client's socket to the app (psgix.io): a copy of the socket, or one end of a relay.
//!
//! An app that has only looked at the socket responds as any other: then the connection is ours again. One that ends without a
//! head, or after a head that ends HTTP, keeps the connection.

use std::future::pending;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::UnixStream;

use super::transport::{READ, Transport};
use crate::http::close::Close;
use crate::log::limited;
use crate::net::stream::Stream;

/// What the app had written to a relay when the server drains may take this long to reach the client.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What an app has that has fetched the client's socket.
#[derive(Debug)]
pub(super) enum LentSocket {
    /// A copy of the socket. Ours is not polled: their flags are shared.
    Copy,
    /// One end of a socket pair, whose other end is here: we copy between that and the client.
    Relay(Relay),
}

/// A socket that was lent and is ours again. The end of a relay stays open until the response is over: so that the app does not take it
/// for a client that has left.
#[derive(Debug)]
pub(super) struct Returned {
    _relay: Option<UnixStream>,
}

/// Lends the socket: what the app has from now on, and the descriptor to send it.
pub(super) fn lend(io: &mut Transport) -> Result<(LentSocket, OwnedFd), Close> {
    // The app could not read the bytes of TLS, and would miss what we have read already.
    if io.stream.is_tls() || !io.buffer.is_empty() {
        return match pair() {
            Ok((ours, theirs)) => Ok((LentSocket::Relay(Relay::new(ours)), theirs)),
            Err(error) => {
                limited!(Error, "can't make a relay: {error}");
                Err(Close::Cut)
            }
        };
    }
    match io.stream.detach() {
        Ok(theirs) => {
            io.lent = true;
            Ok((LentSocket::Copy, theirs))
        }
        Err(error) => {
            limited!(Error, "can't hand over a client's socket: {error}");
            Err(Close::Cut)
        }
    }
}

impl LentSocket {
    /// What there is to be done while the app has the connection; never ends.
    pub(super) async fn run(&mut self, io: &mut Transport) {
        if let LentSocket::Relay(relay) = self {
            let Transport { stream, buffer, .. } = io;
            relay.run(stream, buffer).await;
        }
        pending().await
    }

    /// The response goes on: takes the connection back.
    pub(super) async fn take_back(self, io: &mut Transport) -> Result<Returned, Close> {
        let relay = match self {
            LentSocket::Copy => {
                io.stream.reattach().map_err(|_| Close::Lost)?;
                None
            }
            LentSocket::Relay(relay) => Some(relay.stop(io).await?),
        };
        Ok(Returned { _relay: relay })
    }

    /// The app has returned, and keeps the connection. Returns how it ends for us.
    pub(super) async fn leave(self, io: &mut Transport) -> Close {
        match self {
            LentSocket::Copy => Close::HandedOver,
            LentSocket::Relay(relay) => {
                relay.finish(io).await;
                Close::Done
            }
        }
    }
}

/// Our end of a socket pair whose other end the app has.
#[derive(Debug)]
pub(super) struct Relay {
    ours: UnixStream,
    /// Bytes of the app's on their way to the client.
    to_client: BytesMut,
}

impl Relay {
    fn new(ours: UnixStream) -> Self {
        Relay {
            ours,
            to_client: BytesMut::new(),
        }
    }

    /// Copies both ways until the app has closed its end. The client does not hear of that yet: a response may follow. May be
    /// dropped while it waits.
    async fn run(&mut self, stream: &mut Stream, to_app: &mut BytesMut) {
        if self.copy(stream, to_app, false).await.is_err() {
            // One side has gone: the app learns of it.
            let _ = SockRef::from(&self.ours).shutdown(Shutdown::Both);
        }
    }

    /// Copies both ways until both have ended; with `end`, the client learns of the app's end.
    async fn copy(
        &mut self,
        stream: &mut Stream,
        to_app: &mut BytesMut,
        end: bool,
    ) -> io::Result<()> {
        let (mut client, mut client_writes) = split(stream);
        let (mut app, mut app_writes) = self.ours.split();
        let to_client = &mut self.to_client;
        let up = async {
            loop {
                app_writes.write_all_buf(to_app).await?;
                to_app.reserve(READ);
                if client.read_buf(to_app).await? == 0 {
                    return app_writes.shutdown().await;
                }
            }
        };
        let down = async {
            loop {
                client_writes.write_all_buf(to_client).await?;
                client_writes.flush().await?;
                to_client.reserve(READ);
                if app.read_buf(to_client).await? == 0 {
                    break;
                }
            }
            if end {
                client_writes.shutdown().await?;
            }
            Ok(())
        };
        tokio::try_join!(up, down).map(|_| ())
    }

    /// Takes no more from the app; what it had written before goes to the client. Returns our end, still open.
    async fn stop(mut self, io: &mut Transport) -> Result<UnixStream, Close> {
        // What is here can still be read, and then comes the end.
        let _ = SockRef::from(&self.ours).shutdown(Shutdown::Read);
        let Transport {
            stream,
            timer,
            context,
            ..
        } = io;
        loop {
            timer.set(context.settings.timeout);
            let written = timer
                .limit(async {
                    stream.write_all_buf(&mut self.to_client).await?;
                    stream.flush().await
                })
                .await;
            if !matches!(written, Ok(Ok(()))) {
                return Err(Close::Lost);
            }
            self.to_client.reserve(READ);
            if !matches!(self.ours.read_buf(&mut self.to_client).await, Ok(1..)) {
                return Ok(self.ours);
            }
        }
    }

    /// The app has returned: a process that holds its end goes on, but does not delay a stop.
    async fn finish(mut self, io: &mut Transport) {
        let Transport {
            stream,
            buffer,
            context,
            ..
        } = io;
        tokio::select! {
            _ = self.copy(stream, buffer, true) => {}
            () = async {
                context.drained().await;
                tokio::time::sleep(LAST_BYTES).await;
            } => {}
        }
    }
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    Ok((ours, theirs.into()))
}
