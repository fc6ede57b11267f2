//! Gives a client's socket to the app (psgix.io): the socket itself, or one end of a relay.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::UnixStream;

use super::connection::{Close, Connection, drained};
use crate::dispatch::{Event, Exchange};

/// What the app had written to a relay when the server drains may take this long to reach the client.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Answers an app that asked for the socket. Returns the event that follows, where one has come already.
///
/// Our copy of the socket stays open until the response is over: an app that has only looked at the socket
/// responds as any other.
pub(super) async fn give(
    connection: &mut Connection,
    exchange: &Exchange,
) -> Result<Option<Event>, Close> {
    if connection.stream.is_tls() || !connection.buffer.is_empty() {
        // The app could not read the bytes of TLS, and would miss what we have read already.
        return relay(connection, exchange).await;
    }
    match connection.stream.leave_home() {
        Ok(socket) => exchange.hand_over(Some(socket)),
        Err(error) => {
            ::log::error!("can't hand over a client's socket: {error}");
            return Err(Close::Cut);
        }
    }
    let event = exchange.next().await;
    if !matches!(event, Event::End | Event::Failed | Event::TimedOut) {
        connection.stream.return_home().map_err(|_| Close::Lost)?;
    }
    Ok(Some(event))
}

/// Copies bytes between the client and a socket pair, first those that we have read already.
async fn relay(connection: &mut Connection, exchange: &Exchange) -> Result<Option<Event>, Close> {
    let (mut ours, theirs) = match pair() {
        Ok(pair) => pair,
        Err(error) => {
            ::log::error!("can't make a relay: {error}");
            return Err(Close::Cut);
        }
    };
    exchange.hand_over(Some(theirs));
    let event = {
        let Connection {
            stream,
            buffer,
            context,
            ..
        } = connection;
        let copying = async {
            ours.write_all_buf(buffer).await?;
            copy_bidirectional(stream, &mut ours).await
        };
        tokio::pin!(copying);
        let event = tokio::select! {
            event = exchange.next() => event,
            _ = &mut copying => return Ok(None),
        };
        if matches!(event, Event::End) {
            // The app has returned; whoever holds its end now goes on, but holds up no stop.
            tokio::select! {
                _ = &mut copying => {}
                () = async {
                    drained(context).await;
                    tokio::time::sleep(LAST_BYTES).await;
                } => {}
            }
        }
        event
    };
    Ok(Some(event))
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    Ok((ours, theirs.into()))
}
