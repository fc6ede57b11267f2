//! The core's end of a channel to one worker: never blocks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::Shutdown;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::claim::{Claim, SLOTS, Slots};
use super::frame::{Frame, Header, Kind, Unframer, put};
use super::memory::Memory;
use super::message::{Message, PiggybackedEvents};
use super::outgoing::{Ancillary, Attention, Outgoing};
use super::ring::Reader;
use super::transfer::{self, Received};
use super::violation::{ChannelError, Violation};
use super::{Descriptors, codec};
use crate::semantics::message::{Request, Tls};

/// Bytes of frames that are gathered without allocating another buffer.
const BUFFER: usize = 16 * 1024;

/// Writes that wait for a worker to read, at most. It is sent a few dozen requests ahead, and for each open response a few frames.
const MOST_OUTGOING: usize = 8 * SLOTS;

/// How often in a row a worker may ring without having sent anything. A ring for what was read already usually comes once.
const MOST_RINGS: u32 = 100;

/// How long the core waits before it tries a full socket again, if it has no free descriptor to poll it with.
const NO_DESCRIPTOR: Duration = Duration::from_millis(10);

/// The core's end.
#[derive(Debug)]
pub struct CoreEnd {
    socket: AsyncFd<OwnedFd>,
    /// Rung when there is something in the ring. Never read: it is registered edge-triggered.
    bell: AsyncFd<OwnedFd>,
    memory: Arc<Memory>,
    /// What came through the socket.
    unframer: RefCell<Unframer>,
    /// What came through the ring, which is read first.
    from_ring: RefCell<Unframer>,
    /// What was taken of the ring.
    ring: RefCell<Reader>,
    /// Which slots for requests are in use.
    slots: Slots,
    /// What the last frame said besides its message.
    piggybacked: Cell<PiggybackedEvents>,
    /// How often in a row it has rung for nothing.
    rings: Cell<u32>,
    out: RefCell<VecDeque<Outgoing>>,
    /// A buffer that frames went out of, for the next ones.
    spare: RefCell<Vec<u8>>,
    attention: Attention,
    /// More waits for the worker than it may leave unread.
    overflowed: Cell<bool>,
    /// [`close`](Self::close) was called.
    closed: Cell<bool>,
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
            ring: RefCell::default(),
            slots: Slots::default(),
            piggybacked: Cell::default(),
            rings: Cell::new(0),
            out: RefCell::default(),
            spare: RefCell::default(),
            attention: Attention::default(),
            overflowed: Cell::new(false),
            closed: Cell::new(false),
        })
    }

    /// Whether the worker holds as many requests as it may.
    pub fn is_full(&self) -> bool {
        self.slots.is_full()
    }

    /// An id for the next request; `None` where the worker holds as many as it may.
    pub fn next_id(&self) -> Option<u64> {
        self.slots.take()
    }

    /// Takes request `id` back, unless the worker has claimed it. Returns what it was; its slot is free if that was
    /// [`Claim::Offered`].
    pub fn revoke(&self, id: u64) -> Claim {
        let claim = self.memory.claims.revoke(id);
        if claim == Claim::Offered {
            self.slots.give(id);
        }
        claim
    }

    /// What the claim word of request `id` says.
    pub fn claim(&self, id: u64) -> Claim {
        self.memory.claims.look(id)
    }

    /// Request `id` is over: its slot is free.
    ///
    /// # Errors
    /// When its claim word does not say that the worker has claimed it.
    pub fn free(&self, id: u64) -> Result<(), Violation> {
        self.slots.give(id);
        match self.memory.claims.free(id) {
            Claim::Claimed => Ok(()),
            Claim::Offered => Err(Violation::NotClaimed(id)),
            Claim::Overwritten => Err(Violation::ClaimOverwritten(id)),
        }
    }

    /// Request `id` was not sent: its slot is free.
    pub fn forget(&self, id: u64) {
        self.slots.give(id);
        self.memory.claims.free(id);
    }

    /// The client of request `id` has left.
    pub fn set_gone(&self, id: u64) {
        self.memory.claims.set_gone(id);
    }

    /// All content that the response of request `id` may have was written.
    pub fn set_complete(&self, id: u64) {
        self.memory.claims.set_complete(id);
    }

    /// Whether no slot is in use.
    #[cfg(test)]
    pub(crate) fn has_no_request(&self) -> bool {
        self.slots.are_free()
    }

    /// Offers request `id` to the worker and sends it: at once, or with `later` after what else the loop has to do now,
    /// so that several requests for a busy worker travel together.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_request<R>(&self, id: u64, request: &Rc<R>, later: bool) -> io::Result<()>
    where
        R: AsRef<Request> + 'static,
    {
        self.memory.claims.offer(id);
        let ancillary = Ancillary::of(request);
        let with_descriptor = !matches!(ancillary, Ancillary::Nothing);
        let header = Header {
            with_descriptor,
            ..Header::new(Kind::Request, id)
        };
        let put_request = |out: &mut Vec<u8>| codec::put_request(out, (**request).as_ref());
        if later && !with_descriptor {
            self.send_later(|bytes| put(bytes, header, put_request));
            return Ok(());
        }
        let mut bytes = self.buffer();
        put(&mut bytes, header, put_request);
        // An idle worker on this CPU often runs at once, and has answered when the loop comes to `next`: then it
        // need not ring.
        self.memory.ring.wake_up();
        self.attention.call();
        self.send(bytes, ancillary)
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
        self.send(bytes, Ancillary::Nothing)
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
        self.send(bytes, Ancillary::Nothing)
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
        let ancillary = socket.map_or(Ancillary::Nothing, Ancillary::Socket);
        self.send(header.bytes(0).to_vec(), ancillary)
    }

    /// Wakes the worker, as it asked.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_wake(&self) -> io::Result<()> {
        self.send(
            Header::new(Kind::Wake, 0).bytes(0).to_vec(),
            Ancillary::Nothing,
        )
    }

    /// Asks the worker whether its event loop turns.
    ///
    /// # Errors
    /// When the channel is broken.
    pub fn send_ask(&self) -> io::Result<()> {
        self.send(
            Header::new(Kind::Ask, 0).bytes(0).to_vec(),
            Ancillary::Nothing,
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
            Ancillary::Nothing,
        )
    }

    /// Closes the channel of a worker that has broken it: it exits when it notices.
    pub fn close(&self) {
        self.closed.set(true);
        // A socket that is shut down already needs nothing.
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    /// Whether it was closed here, so that nothing that the worker says is taken any more.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    fn send(&self, bytes: Vec<u8>, ancillary: Ancillary) -> io::Result<()> {
        if self.out.borrow().len() >= MOST_OUTGOING {
            // Whoever sends may not care: `next` says it.
            self.overflowed.set(true);
            self.attention.call();
            return Err(Violation::NotReading.into());
        }
        let was_empty = self.out.borrow().is_empty();
        self.out.borrow_mut().push_back(Outgoing {
            bytes,
            sent: 0,
            ancillary,
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
            ancillary: Ancillary::Nothing,
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
            let descriptor = first.ancillary.descriptor();
            first.sent += transfer::send(socket.as_fd(), &[piece], descriptor)?;
            first.ancillary = Ancillary::Nothing;
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
    /// When the channel can't be read or written, or the worker has broken its rules.
    pub async fn next(&self) -> Result<Option<Message>, ChannelError> {
        loop {
            if let Some(message) = self.try_next()? {
                return Ok(Some(message));
            }
            if self.overflowed.get() {
                return Err(Violation::NotReading.into());
            }
            let pending = self.write_queued()?;
            if !self.ring.borrow().prepare_sleep(&self.memory.ring) {
                continue;
            }
            let more = tokio::select! {
                more = poll_fn(|context| self.poll_more(context)) => more,
                written = self.write_pending(), if pending => written.map(|()| true).map_err(ChannelError::from),
            };
            self.memory.ring.wake_up();
            if !more? {
                return Ok(None);
            }
        }
    }

    /// Waits until there is something to look at; false at the end of the stream.
    fn poll_more(&self, context: &mut Context<'_>) -> Poll<Result<bool, ChannelError>> {
        if self.attention.is_called(context) {
            return Poll::Ready(Ok(true));
        }
        if let Poll::Ready(rung) = self.bell.poll_read_ready(context) {
            rung?.clear_ready();
            self.rings.set(self.rings.get() + 1);
            return Poll::Ready(match self.rings.get() > MOST_RINGS {
                true => Err(Violation::Ringing.into()),
                false => Ok(true),
            });
        }
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            match self.receive(ready.get_inner()) {
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                }
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
            // What the worker sent before it died is still to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.out.borrow_mut().clear();
                Ok(false)
            }
            written => written.map(|all| !all),
        }
    }

    /// Writes queued frames, waiting for room.
    async fn write_pending(&self) -> io::Result<()> {
        let Ok(copy) = self.socket.get_ref().try_clone() else {
            tokio::time::sleep(NO_DESCRIPTOR).await;
            return self.write_now().map(drop);
        };
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
    pub fn next_sent(&self) -> Result<Option<Message>, ChannelError> {
        loop {
            if let Some(message) = self.try_next()? {
                return Ok(Some(message));
            }
            match self.receive(self.socket.get_ref()) {
                Ok(received) if received.bytes > 0 => {}
                Ok(_) => return Ok(None),
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One step of [`next`](Self::next) that does not wait.
    #[cfg(test)]
    pub(crate) fn step(&self) -> Result<Option<Message>, ChannelError> {
        self.write_queued()?;
        self.next_sent()
    }

    fn receive(&self, socket: &OwnedFd) -> Result<Received, ChannelError> {
        match transfer::receive(socket.as_fd(), &mut self.unframer.borrow_mut()) {
            // The worker died with requests unread: its end is closed, what it had sent has been read.
            Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                Ok(Received {
                    bytes: 0,
                    all: false,
                })
            }
            received => received,
        }
    }

    /// The next message of those that are here: of the ring, then of the socket. Whatever is in the ring was said
    /// before what the socket has brought and we have not acknowledged yet.
    ///
    /// # Errors
    /// When the worker has broken its rules.
    pub fn try_next(&self) -> Result<Option<Message>, Violation> {
        let mut piggybacked = self.piggybacked.get();
        if let Some(message) = piggybacked.next() {
            self.piggybacked.set(piggybacked);
            return Ok(Some(message));
        }
        let mut from_ring = self.from_ring.borrow_mut();
        loop {
            if let Some(frame) = from_ring.next()? {
                return self.message(frame).map(Some);
            }
            // A batch is whole frames.
            if !from_ring.bytes.is_empty() {
                return Err(Violation::BatchCut);
            }
            let mut ring = self.ring.borrow_mut();
            if ring.take(&self.memory.ring, &mut from_ring.bytes)? {
                continue;
            }
            let Some(frame) = self.unframer.borrow_mut().next()? else {
                return Ok(None);
            };
            // A signal handler sends those, and the worker does not count them.
            if frame.kind != Kind::Wake {
                ring.acknowledge_socket(&self.memory.ring, frame.length());
            }
            return self.message(frame).map(Some);
        }
    }
}

impl CoreEnd {
    fn message(&self, frame: Frame) -> Result<Message, Violation> {
        self.rings.set(0);
        self.piggybacked.set(PiggybackedEvents::of(&frame));
        Message::new(frame, &self.memory)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::super::codec::tests::request;
    use super::super::pair;
    use super::super::respond::Respond;
    use super::super::worker_end::{Incoming, WorkerEnd};
    use super::*;
    use crate::semantics::message::Content;

    fn is_rung(bell: &OwnedFd) -> bool {
        nix::unistd::read(bell, &mut [0; 8]).is_ok()
    }

    /// Protects: the single request of an idle server needs no extra system call and wake-up.
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
        assert_eq!(worker.claim(1), Ok(true));
        worker
            .head(1, 200, &[], crate::semantics::message::Length::Unknown)
            .unwrap();
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
