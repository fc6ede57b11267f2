//! The core's end of a channel to one worker: never blocks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::Shutdown;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::claim::Claims;
use super::frame::{Garbage, Header, Kind, Unframer, put};
use super::memory::Memory;
use super::message::{Besides, Message};
use super::transfer::{self, Received};
use super::{Descriptors, codec};
use crate::semantics::message::{Content, Request, Tls};

/// Bytes of frames that are gathered without a buffer being made anew.
const BUFFER: usize = 16 * 1024;

/// Frames that the socket has not taken yet; a descriptor goes with the first byte.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    beside: Beside,
}

impl Outgoing {
    /// Whether more frames may be appended.
    fn is_plain(&self) -> bool {
        matches!(self.beside, Beside::Nothing | Beside::Content(_))
            && self.beside.descriptor().is_none()
    }
}

/// What goes with the first byte of a frame.
#[derive(Debug)]
enum Beside {
    Nothing,
    Socket(OwnedFd),
    /// The file of this request's content, if it has one.
    Content(Rc<Request>),
}

impl Beside {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Beside::Socket(socket) => Some(socket.as_fd()),
            Beside::Content(request) => match &request.content {
                Content::File { file, .. } => Some(file.as_fd()),
                Content::Empty | Content::Inline(_) => None,
            },
            Beside::Nothing => None,
        }
    }
}

/// The core's end.
#[derive(Debug)]
pub struct CoreEnd {
    socket: AsyncFd<OwnedFd>,
    /// Rung when there is something in the ring. Never read: its edges count.
    bell: AsyncFd<OwnedFd>,
    memory: Arc<Memory>,
    /// What came by the socket.
    unframer: RefCell<Unframer>,
    /// What came by the ring, which goes before.
    from_ring: RefCell<Unframer>,
    /// What the last frame said besides its message.
    besides: Cell<Besides>,
    out: RefCell<VecDeque<Outgoing>>,
    /// A buffer that frames went out of, for the next ones.
    spare: RefCell<Vec<u8>>,
    attention: Attention,
}

/// Has whoever waits for messages look again.
#[derive(Debug, Default)]
struct Attention {
    called: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Attention {
    fn call(&self) {
        self.called.set(true);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether it was called since the last time; else it will wake who asks.
    fn is_called(&self, context: &Context<'_>) -> bool {
        let called = self.called.take();
        if !called {
            *self.waiting.borrow_mut() = Some(context.waker().clone());
        }
        called
    }
}

impl CoreEnd {
    /// Opens the core's end; to be called within the runtime.
    ///
    /// # Errors
    /// When the claim words can't be mapped or the socket can't be polled.
    pub fn open(descriptors: Descriptors) -> io::Result<Self> {
        fcntl(&descriptors.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(CoreEnd {
            memory: Arc::new(Memory::map(&descriptors.memory)?),
            // Not for writing: a Unix socket reports room for it each time that the worker has read, which
            // would wake the core for nothing.
            // SAFETY: the socket is owned by the AsyncFd alone and closed with it.
            socket: unsafe {
                AsyncFd::register_with_interest(descriptors.socket, Interest::READABLE)
            }?,
            // SAFETY: the same.
            bell: unsafe { AsyncFd::register_with_interest(descriptors.bell, Interest::READABLE) }?,
            unframer: RefCell::default(),
            from_ring: RefCell::default(),
            besides: Cell::default(),
            out: RefCell::default(),
            spare: RefCell::default(),
            attention: Attention::default(),
        })
    }

    /// The claim words of this channel.
    pub fn claims(&self) -> &Claims {
        &self.memory.claims
    }

    /// Offers request `id` to the worker and sends it: at once, or with `later` behind what else the loop has to do now,
    /// so that several requests for a busy worker travel together.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_request(&self, id: u64, request: &Rc<Request>, later: bool) -> io::Result<()> {
        self.memory.claims.offer(id);
        // Shared, not duplicated: where descriptors have run out that would fail.
        let beside = Beside::Content(Rc::clone(request));
        let with_descriptor = beside.descriptor().is_some();
        let header = Header {
            with_descriptor,
            ..Header::new(Kind::Request, id)
        };
        let put_request = |out: &mut Vec<u8>| codec::put_request(out, request);
        if later && !with_descriptor {
            self.send_later(|bytes| put(bytes, header, put_request));
            return Ok(());
        }
        let mut bytes = self.buffer();
        put(&mut bytes, header, put_request);
        // An idle worker on this CPU often takes its place at once, and has answered when the loop comes to `next`: so
        // it need not ring.
        self.memory.ring.wake_up();
        self.attention.call();
        self.send(bytes, beside)
    }

    /// Allows the worker to send `amount` more bytes of content for request `id`.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_credit(&self, id: u64, amount: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes, Header::new(Kind::Credit, id), |out| {
            out.extend_from_slice(&amount.to_le_bytes());
        });
        self.send(bytes, Beside::Nothing)
    }

    /// Asks the app for its verdict on a client's certificate.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_verify(&self, id: u64, tls: &Tls) -> io::Result<()> {
        self.memory.claims.offer(id);
        let mut bytes = Vec::new();
        put(&mut bytes, Header::new(Kind::Verify, id), |out| {
            codec::put_tls(out, Some(tls));
        });
        self.send(bytes, Beside::Nothing)
    }

    /// Gives the worker the socket that it asked for; nothing where the client has gone.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_reply(&self, id: u64, socket: Option<OwnedFd>) -> io::Result<()> {
        let header = Header {
            with_descriptor: socket.is_some(),
            ..Header::new(Kind::Reply, id)
        };
        let beside = socket.map_or(Beside::Nothing, Beside::Socket);
        self.send(header.bytes(0).to_vec(), beside)
    }

    /// Wakes the worker, as it asked.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_wake(&self) -> io::Result<()> {
        self.send(
            Header::new(Kind::Wake, 0).bytes(0).to_vec(),
            Beside::Nothing,
        )
    }

    /// Lets [`next`](Self::next) look into the ring, though the worker has not said that there is something.
    pub fn look(&self) {
        self.attention.call();
    }

    /// Tells the worker to leave.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_stop(&self) -> io::Result<()> {
        self.send(
            Header::new(Kind::Stop, 0).bytes(0).to_vec(),
            Beside::Nothing,
        )
    }

    /// Closes the channel of a worker that can't be understood: it leaves when it notices.
    pub fn close(&self) {
        // A socket that is shut down already needs nothing.
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    fn send(&self, bytes: Vec<u8>, beside: Beside) -> io::Result<()> {
        let was_empty = self.out.borrow().is_empty();
        self.out.borrow_mut().push_back(Outgoing {
            bytes,
            sent: 0,
            beside,
        });
        if was_empty && !self.write_now()? {
            self.attention.call();
        }
        Ok(())
    }

    /// An empty buffer for frames.
    fn buffer(&self) -> Vec<u8> {
        let mut buffer = self.spare.take();
        buffer.clear();
        buffer.reserve(BUFFER);
        buffer
    }

    /// Queues a frame; [`next`](Self::next) sends it when the loop comes to it.
    fn send_later(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = self.out.borrow_mut();
        if let Some(last) = out.back_mut().filter(|last| last.is_plain()) {
            write(&mut last.bytes);
            return;
        }
        if out.is_empty() {
            self.attention.call();
        }
        let mut bytes = self.buffer();
        write(&mut bytes);
        out.push_back(Outgoing {
            bytes,
            sent: 0,
            beside: Beside::Nothing,
        });
    }

    /// Writes queued frames; false where the socket is full before their end.
    fn write_now(&self) -> io::Result<bool> {
        match self.write_out(self.socket.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// Writes queued frames until the socket is full.
    fn write_out(&self, socket: &OwnedFd) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        while let Some(first) = out.front_mut() {
            let piece = IoSlice::new(&first.bytes[first.sent..]);
            // The descriptor goes with the first byte that is taken.
            let descriptor = first.beside.descriptor();
            first.sent += transfer::send(socket.as_fd(), &[piece], descriptor)?;
            first.beside = Beside::Nothing;
            if first.sent == first.bytes.len()
                && let Some(sent) = out.pop_front()
                && sent.bytes.capacity() <= BUFFER
            {
                *self.spare.borrow_mut() = sent.bytes;
            }
        }
        Ok(())
    }

    /// Waits for the worker's next message; nothing at the end of the stream. Meanwhile writes what is queued.
    ///
    /// # Errors
    /// When the channel is broken, or the worker sends garbage.
    pub async fn next(&self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.unframed()? {
                return Ok(Some(message));
            }
            let pending = self.write_queued()?;
            if !self.memory.ring.sleep() {
                continue;
            }
            let more = tokio::select! {
                more = poll_fn(|context| self.poll_more(context)) => more,
                written = self.write_pending(), if pending => written.map(|()| true),
            };
            self.memory.ring.wake_up();
            if !more? {
                return Ok(None);
            }
        }
    }

    /// Waits until there is something to look at; false at the end of the stream.
    fn poll_more(&self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.attention.is_called(context) {
            return Poll::Ready(Ok(true));
        }
        if let Poll::Ready(rung) = self.bell.poll_read_ready(context) {
            rung?.clear_ready();
            return Poll::Ready(Ok(true));
        }
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            match self.receive(ready.get_inner()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(received) => {
                    if received.all {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(received.bytes > 0));
                }
            }
        }
    }

    /// Writes what waits for its turn; true where the socket is full before its end.
    fn write_queued(&self) -> io::Result<bool> {
        if self.out.borrow().is_empty() {
            return Ok(false);
        }
        match self.write_now() {
            // What the worker had said before it died is still to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.out.borrow_mut().clear();
                Ok(false)
            }
            written => written.map(|all| !all),
        }
    }

    /// Writes queued frames, waiting for room.
    async fn write_pending(&self) -> io::Result<()> {
        let copy = self.socket.get_ref().try_clone()?;
        // SAFETY: the copy is owned by the AsyncFd alone and closed with it.
        let writable = unsafe { AsyncFd::register_with_interest(copy, Interest::WRITABLE) }?;
        writable
            .async_io(Interest::WRITABLE, |socket| self.write_out(socket))
            .await
    }

    /// The next message among those sent already; nothing when there is no more.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_sent(&self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.unframed()? {
                return Ok(Some(message));
            }
            match self.receive(self.socket.get_ref()) {
                Ok(received) if received.bytes > 0 => {}
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// One step of [`next`](Self::next) that does not wait.
    #[cfg(test)]
    pub(crate) fn step(&self) -> io::Result<Option<Message>> {
        self.write_queued()?;
        self.next_sent()
    }

    fn receive(&self, socket: &OwnedFd) -> io::Result<Received> {
        match transfer::receive(socket.as_fd(), &mut self.unframer.borrow_mut()) {
            // The worker died with requests unread: its end is closed, what it had sent has been read.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Received {
                bytes: 0,
                all: false,
            }),
            received => received,
        }
    }

    /// The next message of those that are here: of the ring, then of the socket. Whatever is in the ring was said
    /// before what the socket has brought and we have not understood yet.
    fn unframed(&self) -> Result<Option<Message>, Garbage> {
        let mut besides = self.besides.get();
        if let Some(message) = besides.next() {
            self.besides.set(besides);
            return Ok(Some(message));
        }
        let mut from_ring = self.from_ring.borrow_mut();
        loop {
            if let Some(frame) = from_ring.next()? {
                self.besides.set(Besides::of(&frame));
                return Message::new(frame, &self.memory).map(Some);
            }
            let taken = self.memory.ring.take(&mut from_ring.bytes);
            if taken.map_err(|_| Garbage("a ring that makes no sense"))? {
                continue;
            }
            let Some(frame) = self.unframer.borrow_mut().next()? else {
                return Ok(None);
            };
            match frame.kind {
                Kind::Wake => return Ok(Some(Message::Wake)),
                _ => {
                    self.memory.ring.understand(frame.length());
                    self.besides.set(Besides::of(&frame));
                    return Message::new(frame, &self.memory).map(Some);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::super::codec::tests::request;
    use super::super::pair;
    use super::super::respond::Respond;
    use super::super::worker_end::{Incoming, WorkerEnd};
    use super::*;

    fn is_rung(bell: &OwnedFd) -> bool {
        nix::unistd::read(bell, &mut [0; 8]).is_ok()
    }

    /// What protects the single request of an idle server from a system call and a wake-up.
    #[tokio::test]
    async fn a_worker_that_answers_before_the_loop_looks_need_not_ring() {
        let (core, worker) = pair().unwrap();
        let bell = worker.bell.try_clone().unwrap();
        let (core, worker) = (
            CoreEnd::open(core).unwrap(),
            WorkerEnd::open(worker).unwrap(),
        );
        let mut asleep = Context::from_waker(Waker::noop());
        let mut next = pin!(core.next());
        assert!(next.as_mut().poll(&mut asleep).is_pending());

        let sent = Rc::new(request(Content::Empty));
        core.send_request(1, &sent, false).unwrap();
        assert!(matches!(worker.next().unwrap(), Incoming::Request(1, _)));
        assert!(worker.claim(1));
        worker.head(1, 200, &[], None).unwrap();
        worker.flush().unwrap();
        assert!(!is_rung(&bell), "the core was awake");
        let told = next.as_mut().poll(&mut asleep);
        assert!(matches!(told, Poll::Ready(Ok(Some(Message::Head(1, ..))))));

        let mut next = pin!(core.next());
        assert!(next.as_mut().poll(&mut asleep).is_pending());
        worker.end(1).unwrap();
        worker.flush().unwrap();
        assert!(is_rung(&bell), "the core slept");
    }
}
