//! The whole core under arbitrary input: bytes of several clients, frames of a worker that keeps no rule, and a worker that serves, in
//! the order that the input chooses. The one door by which fuzzing reaches the core's private parts.
//!
//! Each response of the worker that serves carries a mark that names the connection of its request. So a byte that comes to another
//! client, or twice, is seen whatever the clients send.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::{Core, Plans, Settings};
use crate::channel::respond::{Lost, Respond};
use crate::channel::worker_end::{Incoming, WorkerEnd};
use crate::channel::{Descriptors, pair};
use crate::http::context::{self, ConnectionInfo};
use crate::http::limits::Limits;
use crate::http::{h1, h2};
use crate::net::stream::Stream;
use crate::process::control::{self, MasterEnd, ToMaster};
use crate::scoreboard::connections::{Connection as Shown, State};
use crate::semantics::message::{Length, Timestamp};
use crate::semantics::source::{Endpoints, Source};
use crate::{dispatch, net, site, spool};

mod http2;

/// What the clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1
    Http1,
    /// HTTP/2 with prior knowledge
    Http2,
}

/// Connections at a time.
const CLIENTS: usize = 3;

/// Turns of the loop within a step, at most.
const TURNS: usize = 24;

/// The longest time that a connection may wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A worker that answers within this time is not given up.
const IN_TIME: Duration = Duration::from_secs(4);

/// Seconds in which all connections must end whose clients have said all: a request that waits through each timeout once.
const LAST_SECONDS: usize = 200;

/// Requests that clients can send at once.
const REQUESTS: [&[u8]; 8] = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
];

/// The kind of a frame by which an app asks for the client's socket.
const TAKE: u8 = 23;

/// The bytes that decide what happens.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte().unwrap_or(0)) % limit
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.below(256).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

/// A client, and the core's task for its connection.
struct Client {
    number: i32,
    socket: UnixStream,
    task: JoinHandle<()>,
    received: Vec<u8>,
    /// The number of its next stream.
    next_stream: u32,
    /// It has closed its socket, as far as the core can see.
    gone: bool,
}

impl Client {
    fn read(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = self.socket.read(&mut bytes) {
            self.received.extend_from_slice(&bytes[..count]);
        }
    }

    /// Looks at all that has come. `ended` are the responses, of any connection, that were complete.
    fn check(&self, ended: &[(i32, u64)]) {
        let mut seen = Vec::new();
        for at in 0..self.received.len() {
            let Some((connection, response)) = read_mark(&self.received[at..]) else {
                continue;
            };
            assert_eq!(connection, self.number, "another client's response");
            assert!(!seen.contains(&response), "a response has come twice");
            seen.push(response);
            let is_whole = ended.contains(&(connection, response));
            if is_whole && !self.gone && self.is_chunked(at) {
                let rest = &self.received[at + MARK..];
                assert!(rest.starts_with(b"\r\n0\r\n\r\n"), "the end has not come");
            }
        }
        let of_this = ended.iter().filter(|(number, _)| *number == self.number);
        for (_, response) in of_this.filter(|_| !self.gone) {
            assert!(seen.contains(response), "a response has not come");
        }
    }

    /// Whether the response whose content begins there is chunked.
    fn is_chunked(&self, at: usize) -> bool {
        let before = &self.received[..at];
        let find = |what: &[u8]| {
            before
                .windows(what.len())
                .rposition(|window| window == what)
        };
        find(b"Transfer-Encoding: chunked") > find(b"HTTP/1.1 200")
    }
}

const MARK: usize = 24;

/// What no input can guess.
fn seal(number: u64) -> u64 {
    (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn mark(connection: i32, response: u64) -> [u8; MARK] {
    let connection = u64::from(connection.unsigned_abs());
    let mut mark = [0; MARK];
    mark[..8].copy_from_slice(&connection.to_le_bytes());
    mark[8..16].copy_from_slice(&response.to_le_bytes());
    mark[16..].copy_from_slice(&seal(connection << 32 | response).to_le_bytes());
    mark
}

fn read_mark(bytes: &[u8]) -> Option<(i32, u64)> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (connection, response, seal_of) = (number(0)?, number(8)?, number(16)?);
    let is_mark = connection < 1 << 31 && response < 1 << 32;
    (is_mark && seal_of == seal(connection << 32 | response))
        .then_some((connection as i32, response))
}

/// A response of the worker that serves.
struct Response {
    id: u64,
    connection: i32,
    number: u64,
    head: bool,
    /// Its client gets content.
    content: bool,
    /// When its request had not come yet. The worker's time runs from then on, at the earliest.
    not_before: Duration,
}

/// The worker that serves, as its input says.
struct Worker {
    end: WorkerEnd,
    socket: OwnedFd,
    response: Option<Response>,
    /// When it has last found no request, or has ended a response.
    not_before: Duration,
}

struct World {
    core: Core,
    protocol: Protocol,
    master: MasterEnd,
    clients: Vec<Client>,
    worker: Worker,
    /// The socket and the end of one that keeps no rule.
    mad: (OwnedFd, WorkerEnd),
    /// The number of the mad one, and of the last worker.
    mad_number: u32,
    last_worker: u32,
    last_client: i32,
    last_response: Cell<u64>,
    /// Time that has passed.
    elapsed: Duration,
    /// Responses that were complete in time: connection and number.
    ended: Vec<(i32, u64)>,
}

pub(super) fn settings() -> Settings {
    Settings {
        http: context::Settings {
            // Content that is larger would go by a thread.
            limits: Limits {
                content: Some(8000),
                ..Limits::default()
            },
            timeout: PATIENCE,
            kept_timeout: PATIENCE,
            header_timeout: PATIENCE,
            keepalive_timeout: PATIENCE,
            max_keepalive_reqs: 0,
            h2c: false,
            max_streams: 100,
            server: None,
            forwarding: None,
            psgix_io: true,
            file_ranges: false,
            content_rate: 0,
        },
        site: site::Settings::default(),
        site_reader: None,
        dispatch: dispatch::Settings {
            request_timeout: Some(Duration::from_secs(5)),
            ..Default::default()
        },
        admission: net::admission::Settings {
            all: None,
            of_one: None,
            uncounted: Default::default(),
        },
        spool: spool::Settings {
            folder: None,
            limit: None,
        },
        board_file: None,
    }
}

/// A worker's end that does not wait, and a copy of its socket.
fn worker_end(descriptors: Descriptors) -> io::Result<(OwnedFd, WorkerEnd)> {
    fcntl(&descriptors.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let socket = descriptors.socket.try_clone()?;
    Ok((socket, WorkerEnd::open(descriptors)?))
}

/// Sends bytes that need be no frame.
fn send(socket: &OwnedFd, bytes: &[u8]) {
    // One that takes no more has lost them.
    let _ = nix::unistd::write(socket, bytes);
}

fn frame(kind: u8, marks: u8, status: u16, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16 + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&[kind, marks]);
    frame.extend_from_slice(&status.to_le_bytes());
    frame.extend_from_slice(&id.to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

impl World {
    fn new(protocol: Protocol) -> io::Result<Self> {
        let (master, core_end) = control::pair().map_err(io::Error::other)?;
        let core = Core::start(Vec::new(), core_end, settings(), None, Plans::default());
        let core = core.map_err(io::Error::other)?;
        let (core_side, descriptors) = pair()?;
        core.start_worker(1, 1, core_side, false);
        let (socket, end) = worker_end(descriptors)?;
        end.idle();
        let _ = end.flush();
        let (core_side, descriptors) = pair()?;
        core.start_worker(2, 2, core_side, false);
        Ok(World {
            core,
            protocol,
            master,
            clients: Vec::new(),
            worker: Worker {
                end,
                socket,
                response: None,
                not_before: Duration::ZERO,
            },
            mad: worker_end(descriptors)?,
            mad_number: 2,
            last_worker: 2,
            last_client: 0,
            last_response: Cell::new(0),
            elapsed: Duration::ZERO,
            ended: Vec::new(),
        })
    }

    fn connect(&mut self) -> io::Result<()> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let stream = Stream::Unix(tokio::net::UnixStream::from_std(theirs)?);
        self.last_client += 1;
        let number = self.last_client;
        let info = ConnectionInfo {
            listener: 0,
            source: Source::from(Endpoints::Unix {
                pid: number,
                uid: 0,
                gid: 0,
            }),
            forwarding: crate::http::forwarding::Forwarding::Pass,
            tls: None,
            certificates: None,
            flow: None,
            connected: Timestamp::now(),
        };
        let shown = Shown::new(None, State::Idle);
        let context = Rc::clone(&self.core.context);
        let buffer = BytesMut::new();
        let task = match self.protocol {
            Protocol::Http1 => {
                spawn_local(h1::connection::serve(stream, buffer, info, shown, context))
            }
            Protocol::Http2 => {
                (&socket).write_all(&http2::preface())?;
                spawn_local(h2::connection::serve(stream, buffer, info, shown, context))
            }
        };
        self.clients.push(Client {
            number,
            socket,
            task,
            received: Vec::new(),
            next_stream: 1,
            gone: false,
        });
        Ok(())
    }

    /// A client sends something; with `valid` a whole request.
    fn send(&mut self, at: usize, valid: bool, input: &mut Input<'_>) {
        let client = &mut self.clients[at];
        // What it can't send any more is lost.
        let _ = match (self.protocol, valid) {
            (Protocol::Http1, false) => client.socket.write(input.bytes()),
            (Protocol::Http1, true) => client.socket.write(REQUESTS[input.below(REQUESTS.len())]),
            (Protocol::Http2, false) => client.socket.write(&http2::frame(input)),
            (Protocol::Http2, true) => {
                let request = http2::request(input, client.next_stream);
                client.next_stream += 2;
                client.socket.write(&request)
            }
        };
    }

    /// The worker that serves goes one step further.
    fn serve(&mut self, what: u8) {
        let worker = &mut self.worker;
        let Some(response) = &mut worker.response else {
            let next = worker.end.next();
            if next.is_err() {
                worker.not_before = self.elapsed;
            }
            if let Ok(Incoming::Request(id, request)) = next
                && worker.end.claim(id) == Ok(true)
            {
                let Endpoints::Unix { pid, .. } = request.source.endpoints else {
                    return;
                };
                self.last_response.set(self.last_response.get() + 1);
                worker.response = Some(Response {
                    id,
                    connection: pid,
                    number: self.last_response.get(),
                    head: false,
                    content: request.head.method() != b"HEAD",
                    not_before: worker.not_before,
                });
            }
            return;
        };
        let (id, end) = (response.id, &worker.end);
        let content = mark(response.connection, response.number);
        // What is lost because the client has gone is noticed at the end.
        let _ = match what % 8 {
            0 => end.informational(id, 103, &[(b"X", b"y")]),
            1..4 if !response.head => {
                response.head = true;
                // The mark follows at once, so that it comes once.
                let head = match what % 8 {
                    1 => end.head(
                        id,
                        200,
                        &[(b"Content-Length", b"24")],
                        Length::Known(MARK as u64),
                    ),
                    2 => end.head(id, 200, &[], Length::Unknown),
                    _ => end.head(id, 200, &[(b"Connection", b"close")], Length::Unknown),
                };
                head.and_then(|()| end.chunk(id, &content).map(drop))
            }
            4 => end.flush(),
            5 => {
                let _ = end.flush();
                send(&worker.socket, &frame(TAKE, 0, 0, id, b""));
                Ok(())
            }
            6 => {
                end.abort(id);
                end.idle();
                worker.response = None;
                worker.not_before = self.elapsed;
                worker.end.flush()
            }
            _ => {
                let sent = !matches!(end.end(id), Err(Lost::Client | Lost::Core | Lost::Finished));
                let in_time = self.elapsed < response.not_before + IN_TIME;
                if sent && in_time && response.head && response.content {
                    self.ended.push((response.connection, response.number));
                }
                end.idle();
                worker.response = None;
                worker.not_before = self.elapsed;
                worker.end.flush()
            }
        };
    }

    /// The worker that keeps no rule does something.
    fn rave(&mut self, input: &mut Input<'_>) {
        let (socket, end) = &self.mad;
        match input.below(4) {
            0 => send(socket, input.bytes()),
            1 | 2 => {
                let kind = match input.below(20) {
                    kind @ 0..16 => kind as u8 + 12,
                    other => other as u8,
                };
                let marks = input.below(8) as u8;
                let status = [0, 103, 200, 101, 304, 999][input.below(6)];
                let id = input.below(6) as u64;
                let payload = match input.below(4) {
                    0 => [&u64::MAX.to_le_bytes()[..], &[0; 8]].concat(),
                    1 => Vec::new(),
                    _ => input.bytes().to_vec(),
                };
                send(socket, &frame(kind, marks, status, id, &payload));
            }
            _ => _ = end.claim(input.below(6) as u64),
        }
    }

    /// What the master does: workers that are lost are replaced.
    fn obey(&mut self) -> io::Result<()> {
        while self.master.has_heard() || self.has_word() {
            let word = self.master.hear().map_err(io::Error::other)?;
            if let Some(ToMaster::Hung(number, _) | ToMaster::Broken(number)) = word {
                self.core.context.dispatch.worker_died(number);
                let (core_side, descriptors) = pair()?;
                self.last_worker += 1;
                let pid = self.last_worker.cast_signed();
                self.core
                    .start_worker(self.last_worker, pid, core_side, false);
                let (socket, end) = worker_end(descriptors)?;
                if number == self.mad_number {
                    self.mad_number = self.last_worker;
                    self.mad = (socket, end);
                } else {
                    end.idle();
                    let _ = end.flush();
                    self.worker = Worker {
                        end,
                        socket,
                        response: None,
                        not_before: self.elapsed,
                    };
                }
            }
        }
        Ok(())
    }

    fn has_word(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut polled = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
    }
}

/// Runs the core as `input` says, for clients of this protocol, on a runtime whose clock `advance` moves.
///
/// # Panics
/// When a client gets what is another's, or gets it twice, or when a connection does not end.
///
/// # Errors
/// When the system has no descriptors or memory left.
pub async fn run(
    protocol: Protocol,
    input: &[u8],
    advance: impl AsyncFn(Duration),
) -> io::Result<()> {
    let mut input = Input(input);
    let mut world = World::new(protocol)?;
    for _ in 0..CLIENTS {
        world.connect()?;
    }
    while let Some(step) = input.byte() {
        let at = usize::from(step >> 4) % world.clients.len();
        match step % 16 {
            what @ 0..5 => world.send(at, what >= 2, &mut input),
            5 => world.clients[at].read(),
            6 => {
                let client = &mut world.clients[at];
                let how = match input.below(2) {
                    0 => Shutdown::Write,
                    _ => Shutdown::Both,
                };
                client.gone |= how == Shutdown::Both;
                // One that has gone already is as good.
                let _ = client.socket.shutdown(how);
                if world.last_client < 8 {
                    world.connect()?;
                }
            }
            7..10 => world.serve(step >> 4),
            10..13 => world.rave(&mut input),
            13 => {
                let time = Duration::from_millis(1 << (step >> 4));
                world.elapsed += time;
                advance(time).await;
            }
            _ => {}
        }
        for _ in 0..usize::from(step) % TURNS {
            yield_now().await;
        }
        world.obey()?;
    }
    // All clients have said all, and take what comes; the worker that serves goes on.
    for client in &world.clients {
        let _ = client.socket.shutdown(Shutdown::Write);
    }
    for round in 0.. {
        for what in [1, 7] {
            world.serve(what);
        }
        for _ in 0..TURNS {
            yield_now().await;
        }
        world.clients.iter_mut().for_each(Client::read);
        world.obey()?;
        if world.clients.iter().all(|client| client.task.is_finished()) {
            break;
        }
        assert!(round < LAST_SECONDS, "a connection does not end");
        world.elapsed += Duration::from_secs(1);
        advance(Duration::from_secs(1)).await;
    }
    world.clients.iter_mut().for_each(Client::read);
    for client in &world.clients {
        match protocol {
            Protocol::Http1 => client.check(&world.ended),
            Protocol::Http2 => http2::check(client.number, &client.received),
        }
    }
    Ok(())
}
