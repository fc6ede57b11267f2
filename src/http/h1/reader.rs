//! Reads the heads of requests, one after the other.

use std::time::Duration;

use bytes::BytesMut;

use super::framing::Method;
use super::parse::HeadReader;
use super::transport::Transport;
use crate::http::close::Close;
use crate::http::error::Error;
use crate::log::limited;
use crate::net::accept::Phase;
use crate::scoreboard::connections;
use crate::semantics::message::{RequestHead, Timestamp};
use crate::share::Taken;

/// How long the server waits for the rest of a head when it drains: a slow client must not hold up a stop. Also how long idle
/// connections stay open while a successor serves.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// Where the connection is between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of a request has come, or nothing but empty lines.
    Idle,
    /// A head has begun.
    Head { started: Timestamp },
    /// The server drains: what does not come soon is given up.
    LastChance { started: Option<Timestamp> },
}

impl State {
    /// When the first byte of a head came.
    fn started(self) -> Option<Timestamp> {
        match self {
            State::Idle => None,
            State::Head { started } => Some(started),
            State::LastChance { started } => started,
        }
    }

    /// The first byte of a head has come.
    fn begin(self, started: Timestamp) -> Self {
        match self {
            State::Idle | State::Head { .. } => State::Head { started },
            State::LastChance { .. } => State::LastChance {
                started: Some(started),
            },
        }
    }

    /// What came were empty lines: no request has begun.
    fn only_empty_lines(self) -> Self {
        match self {
            State::Idle | State::Head { .. } => State::Idle,
            State::LastChance { .. } => State::LastChance { started: None },
        }
    }

    /// The server has begun to drain.
    fn hurry(self) -> Self {
        State::LastChance {
            started: self.started(),
        }
    }
}

/// What has happened to a connection that waited.
enum Event {
    Read(usize),
    Draining,
    Ended,
    TimedOut,
}

/// Reads requests' heads off one connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    parser: HeadReader,
    /// What a head that has come in part holds of the memory for heads.
    memory: Option<Taken>,
}

impl Reader {
    /// The next request's head, and when its first byte came.
    pub(super) async fn read(
        &mut self,
        io: &mut Transport,
    ) -> Result<(RequestHead, Timestamp), Close> {
        if io.buffer.is_empty() {
            // What the last head has left of its memory.
            io.buffer = BytesMut::new();
        }
        let settings = &io.context.settings;
        io.timer.set(match io.served {
            0 => settings.header_timeout,
            _ => settings.keepalive_timeout,
        });
        let mut state = State::Idle;
        loop {
            if state.started().is_none() && !io.buffer.is_empty() {
                state = state.begin(io.start_request());
                limit(io, state);
            }
            let limits = &io.context.settings.limits;
            match self.parser.read(&mut io.buffer, limits) {
                Ok(Some(head)) => {
                    self.memory = None;
                    return Ok((head, state.started().unwrap_or_default()));
                }
                Ok(None) if io.buffer.is_empty() && state.started().is_some() => {
                    state = state.only_empty_lines();
                    limit(io, state);
                }
                Ok(None) if self.has_memory(io) => {}
                Ok(None) => {
                    self.memory = None;
                    return Err(refuse_for_memory(io).await);
                }
                Err(error) => return Err(refuse(io, error).await),
            }
            match (wait(io, state).await, state) {
                (Event::Read(bytes), _) => io.add_received(bytes),
                (Event::Ended, _) => return Err(Close::Done),
                (Event::Draining, State::Idle) if *io.context.drain.borrow() == Phase::Draining => {
                    return Err(Close::Done);
                }
                // Where a successor serves, the next request may be on its way: it is answered.
                (Event::Draining, _) => {
                    state = state.hurry();
                    limit(io, state);
                }
                (Event::TimedOut, State::Head { .. }) => {
                    return Err(refuse(io, Error::HeadTooSlow).await);
                }
                (Event::TimedOut, State::Idle | State::LastChance { .. }) => {
                    return Err(Close::Done);
                }
            }
        }
    }

    /// Whether there is memory for the part of a head that has come.
    fn has_memory(&mut self, io: &Transport) -> bool {
        if io.buffer.is_empty() {
            return true;
        }
        let needed = io.buffer.capacity() as u64;
        let memory = self
            .memory
            .get_or_insert_with(|| Taken::nothing(&io.context.room.heads().holder(None)));
        memory.grow(needed.saturating_sub(memory.amount()))
    }
}

/// Waits for more bytes.
async fn wait(io: &mut Transport, state: State) -> Event {
    io.shown.set_state(match state.started() {
        None => connections::State::Idle,
        Some(_) => connections::State::Reading,
    });
    let hurried = matches!(state, State::LastChance { .. });
    let Transport {
        stream,
        buffer,
        timer,
        context,
        ..
    } = io;
    let waiting = timer.limit(async {
        tokio::select! {
            biased;
            read = context.scratch.read(stream, buffer) => match read {
                Ok(0) | Err(_) => Event::Ended,
                Ok(bytes) => Event::Read(bytes),
            },
            () = context.drained(), if !hurried => Event::Draining,
        }
    });
    waiting.await.unwrap_or(Event::TimedOut)
}

/// Sets how long the next bytes may take in a state that has just been entered. The time for a connection's first head runs
/// from the start.
fn limit(io: &mut Transport, state: State) {
    let settings = &io.context.settings;
    match state {
        State::LastChance { .. } => io.timer.set(LAST_HEAD),
        State::Idle | State::Head { .. } if io.served == 0 => {}
        State::Idle => io.timer.set(settings.keepalive_timeout),
        State::Head { .. } => io.timer.set(settings.header_timeout),
    }
}

/// Heads that have not ended hold the memory for heads: those that want most of it are refused.
async fn refuse_for_memory(io: &mut Transport) -> Close {
    limited!(
        Warn,
        "heads that do not end have taken their memory: 503 to the largest"
    );
    refuse(io, Error::HeadMemory).await
}

async fn refuse(io: &mut Transport, error: Error) -> Close {
    io.log.set_raw_line(&io.buffer);
    io.refuse(Method::Other, error).await
}
