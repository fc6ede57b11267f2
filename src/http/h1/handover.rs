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

use super::connection::{Close, Connection, READ, drained};
use crate::dispatch::Exchange;
use crate::log::limited;
use crate::net::stream::Stream;

/// What the app had written to a relay when the server drains may take this long to reach the client.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What an app has that has fetched the client's socket.
#[derive(Debug)]
pub(super) enum Fetched {
    /// A copy of the socket. Ours is not polled: their flags are shared.
    Copy,
    /// One end of a socket pair, whose other end is here: we copy between that and the client.
    Relay(Relay),
    /// The connection is ours again. The end of a pair stays open until the response is over: the app shall not take it for a
    /// client that has left.
    Returned { _relay: Option<UnixStream> },
}

/// Answers an app that asked for the socket.
pub(super) fn give(connection: &mut Connection, exchange: &Exchange) -> Result<Fetched, Close> {
    // The app could not read the bytes of TLS, and would miss what we have read already.
    let (fetched, theirs) = if connection.stream.is_tls() || !connection.buffer.is_empty() {
        match pair() {
            Ok((ours, theirs)) => (Fetched::Relay(Relay::new(ours)), theirs),
            Err(error) => {
                limited!(Error, "can't make a relay: {error}");
                return Err(Close::Cut);
            }
        }
    } else {
        match connection.stream.detach() {
            Ok(theirs) => (Fetched::Copy, theirs),
            Err(error) => {
                limited!(Error, "can't hand over a client's socket: {error}");
                return Err(Close::Cut);
            }
        }
    };
    connection.lent = matches!(fetched, Fetched::Copy);
    exchange.hand_over(Some(theirs));
    Ok(fetched)
}

impl Fetched {
    /// What there is to be done while the app has the connection; never ends.
    pub(super) async fn run(&mut self, connection: &mut Connection) {
        if let Fetched::Relay(relay) = self {
            let Connection { stream, buffer, .. } = connection;
            relay.run(stream, buffer).await;
        }
        pending().await
    }

    /// The response goes on: takes the connection back.
    pub(super) async fn take_back(&mut self, connection: &mut Connection) -> Result<(), Close> {
        let relay = match std::mem::replace(self, Fetched::Returned { _relay: None }) {
            Fetched::Copy => {
                connection.stream.reattach().map_err(|_| Close::Lost)?;
                None
            }
            Fetched::Relay(relay) => Some(relay.stop(connection).await?),
            Fetched::Returned { _relay } => _relay,
        };
        *self = Fetched::Returned { _relay: relay };
        Ok(())
    }

    /// The app has returned, and keeps the connection. Returns how it ends for us.
    pub(super) async fn leave(self, connection: &mut Connection) -> Close {
        match self {
            Fetched::Copy => Close::HandedOver,
            Fetched::Relay(relay) => {
                relay.finish(connection).await;
                Close::Done
            }
            Fetched::Returned { .. } => Close::Done,
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

    /// Copies both ways until both have ended; with `end`, the client hears of the app's end.
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
    async fn stop(mut self, connection: &mut Connection) -> Result<UnixStream, Close> {
        // What is here can still be read, and then comes the end.
        let _ = SockRef::from(&self.ours).shutdown(Shutdown::Read);
        let Connection {
            stream,
            timer,
            context,
            ..
        } = connection;
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
    async fn finish(mut self, connection: &mut Connection) {
        let Connection {
            stream,
            buffer,
            context,
            ..
        } = connection;
        tokio::select! {
            _ = self.copy(stream, buffer, true) => {}
            () = async {
                drained(context).await;
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
