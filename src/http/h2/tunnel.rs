//! WebSocket over HTTP/2 (RFC 8441): a stream that an app takes for a connection of HTTP/1.
//!
//! The app gets one end of a socket pair (psgix.io), and writes the head of a response there: its 101 becomes the stream's 200,
//! and bytes become frames. Any other head is the response to the request.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::mem;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ::h2::server::SendResponse;
use ::http::Response;
use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::ReadHalf;
use tokio::time::{sleep, timeout};

use super::response;
use super::socket::{Socket, Tunnel};
use super::wire::{State, Wire, count, poll_capacity, send_granted};
use crate::http::close::Close;
use crate::http::context::Context;
use crate::http::h1::framing::Method;
use crate::http::h1::write::{Body, Encoder};
use crate::http::request_log::RequestLog;
use crate::log::limited;
use crate::semantics::field::Fields;
use crate::semantics::message::ResponseHead;

/// What the app had written when the server drains may take this long to reach the client.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Bytes read from the app at once.
const READ: usize = 16 * 1024;

/// A head that the app writes is no longer than this, and has no more fields.
const MOST_OF_HEAD: usize = 64 * 1024;
const MOST_FIELDS: usize = 128;

/// How long both ways are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Until both sides have ended.
    BothEnd,
    /// Until all that the app writes is sent.
    AppEnds,
}

impl Wire {
    /// Gives the app what it takes for the client's socket.
    pub(super) fn lend_tunnel(&mut self) -> Result<OwnedFd, Close> {
        match Tunnel::new() {
            Ok((tunnel, theirs)) => {
                self.socket = Socket::Lent(tunnel);
                Ok(theirs)
            }
            Err(error) => {
                limited!(Error, "can't make a relay: {error}");
                Err(Close::Cut)
            }
        }
    }

    /// Copies both ways while the app has its end; never ends. May be dropped while it waits. The client does not hear of the
    /// app's end yet: a response may follow.
    pub(super) async fn run_tunnel(&mut self) {
        if Box::pin(self.copy(Until::BothEnd)).await.is_err()
            && let Socket::Lent(tunnel) = &self.socket
        {
            // One side has gone: the app learns of it.
            let _ = SockRef::from(&tunnel.app).shutdown(Shutdown::Both);
        }
        pending().await
    }

    /// Takes the stream back: what the app had written before goes to the client.
    pub(super) async fn stop_tunnel(&mut self) -> Result<(), Close> {
        let Socket::Lent(tunnel) = &self.socket else {
            return Ok(());
        };
        // What is here can still be read, and then comes the end.
        let _ = SockRef::from(&tunnel.app).shutdown(Shutdown::Read);
        let limit = match self.shared.context.settings.timeout {
            Duration::ZERO => Duration::MAX,
            limit => limit,
        };
        match timeout(limit, Box::pin(self.copy(Until::AppEnds))).await {
            Ok(copied) => copied?,
            Err(_) => return Err(Close::Lost),
        }
        if let Socket::Lent(tunnel) = mem::take(&mut self.socket) {
            self.socket = Socket::Returned(tunnel.app);
        }
        Ok(())
    }

    /// The app has returned: a process that holds its end goes on, but does not delay a stop.
    pub(super) async fn finish_tunnel(&mut self) -> Result<(), Close> {
        let context = Rc::clone(&self.shared.context);
        let copied = tokio::select! {
            copied = Box::pin(self.copy(Until::AppEnds)) => copied,
            () = async {
                context.drained().await;
                sleep(LAST_BYTES).await;
            } => Ok(()),
        };
        self.socket = Socket::Ours;
        copied
    }

    /// Copies. On the heap where it is called: other streams need no memory for it.
    async fn copy(&mut self, until: Until) -> Result<(), Close> {
        let Wire {
            shared,
            request,
            respond,
            state,
            facts,
            received,
            unreleased,
            log,
            taken,
            socket,
            ..
        } = self;
        let Socket::Lent(tunnel) = socket else {
            return Ok(());
        };
        let (app_reads, mut app_writes) = tunnel.app.split();
        let to_app = &mut tunnel.to_app;
        let up = async {
            loop {
                app_writes
                    .write_all_buf(to_app)
                    .await
                    .map_err(|_| Close::Lost)?;
                // What the app's end has taken, the client may send again.
                let _ = request.flow_control().release_capacity(*unreleased);
                *unreleased = 0;
                match request.data().await {
                    Some(Ok(piece)) => {
                        *unreleased = piece.len();
                        *received += piece.len() as u64;
                        *to_app = piece;
                    }
                    Some(Err(_)) => return Err(Close::Lost),
                    None => return app_writes.shutdown().await.map_err(|_| Close::Lost),
                }
            }
        };
        let down = Down {
            app: app_reads,
            head: &mut tunnel.head,
            to_client: &mut tunnel.to_client,
            method: facts.method,
            context: &shared.context,
            respond,
            state,
            log,
            taken,
        };
        match until {
            Until::BothEnd => tokio::try_join!(up, down.run()).map(|_| ()),
            Until::AppEnds => tokio::select! {
                biased;
                ended = down.run() => ended,
                Err(close) = up => Err(close),
            },
        }
    }
}

/// The way from the app to the client.
struct Down<'a> {
    app: ReadHalf<'a>,
    head: &'a mut BytesMut,
    to_client: &'a mut Bytes,
    method: Method,
    context: &'a Context,
    respond: &'a mut SendResponse<Bytes>,
    state: &'a mut State,
    log: &'a mut RequestLog,
    taken: &'a Cell<u64>,
}

impl Down<'_> {
    /// Copies until the app has closed its end. What was read and not sent is kept if it is dropped.
    async fn run(mut self) -> Result<(), Close> {
        loop {
            self.send().await?;
            self.head.reserve(READ);
            let read = self.app.read_buf(self.head).await;
            if read.map_err(|_| Close::Lost)? == 0 {
                return Ok(());
            }
            if let State::Before = self.state
                && let Some((head, body)) = self.take_head()?
            {
                let stream = self.respond.send_response(head, false);
                let stream = stream.map_err(|_| Close::Lost)?;
                *self.state = State::Content(stream, Encoder::new(body));
            }
            self.encode()?;
        }
    }

    /// The head, once it is whole.
    fn take_head(&mut self) -> Result<Option<(Response<()>, Body)>, Close> {
        let Some((head, length)) = read_head(self.head).map_err(|why| {
            limited!(
                Error,
                "what an app has written to psgix.io is no response: {why}"
            );
            Close::Cut
        })?
        else {
            return Ok(None);
        };
        self.head.advance(length);
        let made = match head.status {
            101 => response::switched(&head, self.context),
            _ => response::head(self.method, &head, None, self.context),
        };
        let made = made.map_err(|error| {
            limited!(Error, "a response can't be sent: {error}");
            Close::Cut
        })?;
        self.log
            .set_response(made.0.status().as_u16(), head.fields.bytes());
        Ok(Some(made))
    }

    /// What of the app's bytes is content.
    fn encode(&mut self) -> Result<(), Close> {
        let State::Content(_, encoder) = self.state else {
            return Ok(());
        };
        let bytes = self.head.split().freeze();
        *self.to_client = match encoder.own_chunks() {
            None => {
                let length = encoder.frame(bytes.len()).length;
                bytes.slice(..length)
            }
            Some(chunks) => {
                let mut decoded = Vec::new();
                chunks.pass(&mut decoded, &bytes).map_err(|error| {
                    limited!(
                        Error,
                        "a response has malformed chunks of the app's: {error}"
                    );
                    Close::Cut
                })?;
                decoded.into()
            }
        };
        Ok(())
    }

    /// Sends what waits, as the client's window lets it.
    async fn send(&mut self) -> Result<(), Close> {
        let State::Content(stream, _) = self.state else {
            return Ok(());
        };
        while !self.to_client.is_empty() {
            stream.reserve_capacity(self.to_client.len());
            let granted = poll_fn(|waking| poll_capacity(stream, waking)).await;
            let granted = granted.map_err(|()| Close::Lost)?;
            let before = self.to_client.len();
            send_granted(stream, self.to_client, granted, false).map_err(|_| Close::Lost)?;
            count(self.log, self.taken, before - self.to_client.len());
        }
        Ok(())
    }
}

/// The head of a response at the beginning of these bytes, and its length; nothing while it is not whole.
fn read_head(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(bytes)? {
        httparse::Status::Complete(length) => {
            let fields = head.headers.iter().map(|field| (field.name, field.value));
            let head = ResponseHead {
                status: head.code.unwrap_or_default(),
                fields: Fields::from_pairs(fields),
            };
            Ok(Some((head, length)))
        }
        httparse::Status::Partial if bytes.len() > MOST_OF_HEAD => {
            Err(httparse::Error::TooManyHeaders)
        }
        httparse::Status::Partial => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        for length in 0..switching.len() {
            assert!(read_head(&switching[..length]).unwrap().is_none());
        }
        let (head, length) = read_head(&[&switching[..], b"frame"].concat())
            .unwrap()
            .unwrap();
        assert_eq!((head.status, length), (101, switching.len()));
        assert_eq!(head.fields.first("upgrade"), Some(&b"websocket"[..]));
        assert!(read_head(b"\x81\x05hello").is_err());
        assert!(read_head(&[&b"HTTP/1.1 200 OK\r\nA: "[..], &[b'a'; 70_000]].concat()).is_err());
    }
}
