//! The worker's end of its channel: blocking, one thread, no tokio.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use bytes::Buf;

use super::area::Cursor;
use super::claim::{Claimed, Client};
use super::frame::{
    Descriptor, ENDS, Frame, HEADER, Header, IDLE, KIND, Kind, MARKS, MAX_PAYLOAD, OF_FILE, PIECE,
    Unframer, put,
};
use super::memory::Memory;
use super::open::OpenResponses;
use super::progress::{FILE_COST, interim_cost};
use super::respond::{Lost, Respond};
use super::transfer::{self, Received};
use super::violation::{ChannelError, Violation};
use super::{Descriptors, codec};
use crate::semantics::field::announced_length;
use crate::semantics::message::{Length, Request, Tls};

/// Content from this size on goes into shared memory, while there is room.
const SHARE: usize = 512;

/// Where there is no room, content up to this size is copied after the frames before it, larger content is written from where
/// it is.
const COPY: usize = 8 * 1024;

/// The frame by which a worker asks to be woken, ready for a signal handler. To be sent only while nothing
/// else is being sent.
pub const WAKE_FRAME: [u8; HEADER] = {
    let mut frame = [0; HEADER];
    frame[4] = Kind::Wake as u8;
    frame
};

/// What came from the core while the worker had nothing to do.
#[derive(Debug)]
pub enum Incoming {
    /// A request, not yet claimed.
    Request(u64, Request),
    /// What does the app say of this client's certificate?
    Verify(u64, Tls),
    /// The worker is to leave.
    Stop,
    /// A signal interrupted the wait.
    Interrupted,
    /// The core has gone.
    Closed,
}

#[derive(Debug, Default)]
struct State {
    unframer: Unframer,
    /// Frames that came while a response waited for credit.
    waiting: VecDeque<Frame>,
    /// Bytes queued for the core.
    out: Vec<u8>,
    /// The last frame among them: its request's id, and where it begins. It may be marked.
    last: Option<(u64, usize)>,
    /// A descriptor that goes with them.
    descriptor: Option<OwnedFd>,
    open: OpenResponses,
    /// Bytes of content there that the queued frames name.
    shared: usize,
    /// Bytes that went by the socket, without those that a signal handler sends.
    by_socket: u64,
    /// What is queued ends a call: the core may learn of it a little later.
    patient: bool,
    /// There is something in the ring for which the core was not woken.
    untold: bool,
    /// The last read that did not wait has emptied the socket.
    emptied: bool,
}

impl State {
    /// Queues a frame.
    fn put(&mut self, header: Header, write: impl FnOnce(&mut Vec<u8>)) {
        self.last = Some((header.id, self.out.len()));
        put(&mut self.out, header, write);
    }

    /// What was queued is on its way.
    fn sent(&mut self) {
        self.out.clear();
        self.last = None;
        self.shared = 0;
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct WorkerEnd {
    socket: OwnedFd,
    memory: Memory,
    bell: OwnedFd,
    state: RefCell<State>,
    /// Where content in shared memory goes next.
    cursor: RefCell<Cursor>,
    closed: Cell<bool>,
    /// Called when there is something that a worker which waits in an event loop would not notice.
    notify: Cell<Option<fn()>>,
    /// It has said that it takes no more requests.
    said_leaving: Cell<bool>,
}

impl WorkerEnd {
    /// Opens the worker's end.
    ///
    /// # Errors
    /// When the claim words can't be mapped.
    pub fn open(descriptors: Descriptors) -> io::Result<Self> {
        let memory = Memory::map(&descriptors.memory)?;
        let cursor = memory.take_cursor().ok_or(io::ErrorKind::AlreadyExists)?;
        Ok(WorkerEnd {
            socket: descriptors.socket,
            bell: descriptors.bell,
            state: RefCell::default(),
            cursor: RefCell::new(cursor),
            memory,
            closed: Cell::new(false),
            notify: Cell::new(None),
            said_leaving: Cell::new(false),
        })
    }

    /// From now on this is called when a frame was read that [`try_next`](Self::try_next) has still to return, and when a
    /// worker that leaves has ended its last response.
    pub fn notify_by(&self, notify: fn()) {
        self.notify.set(Some(notify));
    }

    fn notify(&self) {
        if let Some(notify) = self.notify.get() {
            notify();
        }
    }

    /// How many responses are not ended.
    pub fn open_responses(&self) -> usize {
        self.state.borrow().open.len()
    }

    /// The socket, for a signal handler that asks to leave.
    pub fn socket(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Waits for the core's next message.
    ///
    /// # Errors
    /// When the core sends what can't be a frame.
    pub fn next(&self) -> io::Result<Incoming> {
        loop {
            let frame = self.state.borrow_mut().waiting.pop_front();
            let frame = match frame {
                Some(frame) => frame,
                None => match self.read_frame() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return Ok(Incoming::Closed),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        return Ok(Incoming::Interrupted);
                    }
                    Err(error) => return Err(error),
                },
            };
            if let Some(incoming) = self.incoming(frame)? {
                return Ok(incoming);
            }
        }
    }

    /// The core's next message, if it is here already.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn try_next(&self) -> io::Result<Option<Incoming>> {
        loop {
            let frame = self.state.borrow_mut().waiting.pop_front();
            let frame = match frame {
                Some(frame) => frame,
                None => match self.read_frame_now() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return Ok(Some(Incoming::Closed)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                    Err(error) => return Err(error),
                },
            };
            if let Some(incoming) = self.incoming(frame)? {
                return Ok(Some(incoming));
            }
        }
    }

    /// Whether [`try_next`](Self::try_next) may return more of what was read already.
    pub fn has_read_ahead(&self) -> bool {
        let state = self.state.borrow();
        !state.waiting.is_empty() || !state.unframer.bytes.is_empty()
    }

    /// What a frame says that came while no response waited for it.
    fn incoming(&self, frame: Frame) -> io::Result<Option<Incoming>> {
        Ok(Some(match frame.kind {
            Kind::Request => {
                let descriptor = match frame.descriptor {
                    Descriptor::Here(descriptor) => Some(descriptor),
                    Descriptor::None => None,
                    // Not claimed: another worker runs it.
                    Descriptor::Lost => return Err(no_descriptors()),
                };
                Incoming::Request(frame.id, codec::get_request(frame.payload, descriptor)?)
            }
            Kind::Verify => {
                let mut payload = frame.payload;
                let tls =
                    codec::get_tls(&mut payload)?.ok_or(Violation::Malformed("no certificate"))?;
                Incoming::Verify(frame.id, tls)
            }
            Kind::Stop => Incoming::Stop,
            Kind::Wake => Incoming::Interrupted,
            // A writer that the app has kept beyond its call goes on to use it.
            Kind::Credit => {
                self.keep(frame);
                return Ok(None);
            }
            Kind::Ask => {
                self.state
                    .borrow_mut()
                    .put(Header::new(Kind::Turned, 0), |_| {});
                return Ok(None);
            }
            // For a response that is over by now.
            Kind::Reply => return Ok(None),
            other => return Err(Violation::WrongDirection(other as u8).into()),
        }))
    }

    /// Whether a request is here already, whole or in part, so that [`next`](Self::next) will not wait for long.
    pub fn has_request(&self) -> bool {
        let state = self.state.borrow();
        let next = match state.waiting.front() {
            Some(frame) => Some(frame.kind as u8),
            None => state.unframer.bytes.get(KIND).copied(),
        };
        next == Some(Kind::Request as u8)
    }

    /// Takes a request to run it; false when it is no longer this worker's.
    ///
    /// # Errors
    /// When something has written to the shared memory, so that it is unknown whose the request is.
    pub fn claim(&self, id: u64) -> Result<bool, Violation> {
        let claimed = self.claim_question(id)?;
        if claimed {
            self.state.borrow_mut().open.add(id);
        }
        Ok(claimed)
    }

    /// Takes question `id` to answer it; false when it is no longer this worker's.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub fn claim_question(&self, id: u64) -> Result<bool, Violation> {
        match self.memory.claims.claim(id) {
            Claimed::Yes => Ok(true),
            Claimed::TakenBack => Ok(false),
            Claimed::Overwritten => Err(Violation::ClaimOverwritten(id)),
        }
    }

    /// Tells the core, once, that this worker takes no request any more. To be flushed.
    pub fn leaving(&self) {
        if self.said_leaving.replace(true) {
            return;
        }
        let leaving = Header::new(Kind::Leaving, 0);
        self.state.borrow_mut().put(leaving, |_| {});
    }

    /// Queues the app's answer to question `id`.
    pub fn verdict(&self, id: u64, good: bool) {
        let header = Header {
            status: good.into(),
            ..Header::new(Kind::Verdict, id)
        };
        self.state.borrow_mut().put(header, |_| {});
    }

    /// The next frame, or nothing at the end of the stream.
    fn read_frame(&self) -> io::Result<Option<Frame>> {
        let mut state = self.state.borrow_mut();
        loop {
            if let Some(frame) = state.unframer.next()? {
                return Ok(Some(frame));
            }
            self.tell(&mut state);
            let read = transfer::receive(self.socket.as_fd(), &mut state.unframer);
            if self.read(read)?.is_none() {
                return Ok(None);
            }
        }
    }

    /// As [`read_frame`](Self::read_frame), but never waits: that is the error `WouldBlock`.
    fn read_frame_now(&self) -> io::Result<Option<Frame>> {
        let mut state = self.state.borrow_mut();
        loop {
            if let Some(frame) = state.unframer.next()? {
                return Ok(Some(frame));
            }
            self.tell(&mut state);
            if mem::take(&mut state.emptied) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let read = transfer::receive_now(self.socket.as_fd(), &mut state.unframer);
            match self.read(read)? {
                Some(read) => state.emptied = read.all,
                None => return Ok(None),
            }
        }
    }

    /// What a read has brought; nothing at the end of the stream.
    fn read(&self, read: Result<Received, ChannelError>) -> io::Result<Option<Received>> {
        match read {
            Ok(read) if read.bytes > 0 => Ok(Some(read)),
            Err(ChannelError::Io(error)) if error.kind() != io::ErrorKind::ConnectionReset => {
                Err(error)
            }
            Err(ChannelError::Violation(violation)) => Err(violation.into()),
            Ok(_) | Err(ChannelError::Io(_)) => {
                self.closed.set(true);
                Ok(None)
            }
        }
    }

    /// Whether request `id` may still be answered.
    fn check(&self, id: u64) -> Result<(), Lost> {
        if self.closed.get() {
            return Err(Lost::Core);
        }
        self.state.borrow().open.get(id)?;
        match self.memory.claims.client(id) {
            Client::Reads => Ok(()),
            Client::Gone => Err(Lost::Client),
            Client::Complete => Err(Lost::Complete),
        }
    }

    fn put_head(
        &self,
        header: Header,
        fields: &[(&[u8], &[u8])],
        length: Option<u64>,
    ) -> Result<(), Lost> {
        self.check(header.id)?;
        if codec::head_length(fields) > MAX_PAYLOAD {
            // The core would treat it as a violation, and close the channel.
            return Err(Lost::TooLarge);
        }
        self.state
            .borrow_mut()
            .put(header, |out| codec::put_head(out, fields, length));
        Ok(())
    }

    /// Waits until the client of `id` has taken enough of what was sent; false where a signal came first.
    fn wait_for_credit(&self, id: u64) -> Result<bool, Lost> {
        loop {
            self.check(id)?;
            if self.state.borrow().open.get(id)?.progress.has_credit() {
                return Ok(true);
            }
            self.flush()?;
            match self.read_answer()? {
                Some(frame) => self.keep(frame),
                None => return Ok(false),
            }
        }
    }

    /// A frame, while a response is being written; nothing where a signal came first.
    fn read_answer(&self) -> Result<Option<Frame>, Lost> {
        match self.read_frame() {
            Ok(Some(frame)) => Ok(Some(frame)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Ok(None) | Err(_) => Err(Lost::Core),
        }
    }

    /// Notes credit, and keeps other frames for later: a request among them is not claimed yet.
    fn keep(&self, frame: Frame) {
        let mut state = self.state.borrow_mut();
        if frame.kind == Kind::Credit {
            let more = frame.payload.clone().try_get_u64_le().unwrap_or(0);
            if let Ok(open) = state.open.get_mut(frame.id) {
                open.progress.add_credit(more);
            }
        } else {
            state.waiting.push_back(frame);
            drop(state);
            self.notify();
        }
    }

    /// Response `id` is ended.
    fn close(&self, id: u64) {
        let mut state = self.state.borrow_mut();
        state.open.remove(id);
        let none_left = state.open.len() == 0;
        drop(state);
        if none_left && self.said_leaving.get() {
            self.notify();
        }
    }

    /// Queues a piece of content that goes into shared memory; false where it does not.
    fn share(&self, id: u64, piece: &[u8]) -> bool {
        if piece.len() < SHARE {
            return false;
        }
        let Some(at) = self.memory.area.put(&mut self.cursor.borrow_mut(), piece) else {
            return false;
        };
        let mut state = self.state.borrow_mut();
        state.put(Header::new(Kind::Shared, id), |out| {
            codec::put_range(out, at as u64, piece.len() as u64);
        });
        state.shared += piece.len();
        true
    }

    /// Hands over what is queued, then `content`: by the ring where it can go there, else by the socket.
    fn write(&self, content: &[u8]) -> Result<(), Lost> {
        let mut state = self.state.borrow_mut();
        let ring = &self.memory.ring;
        if content.is_empty()
            && state.descriptor.is_none()
            && ring.is_socket_acknowledged(state.by_socket)
            && ring.put(&state.out)
        {
            state.sent();
            state.untold = true;
            // After a call, the core is woken once for all requests that are here already. Should the next call take
            // long, the core looks by itself: it watches over requests that it has sent ahead.
            let more_is_here = !state.unframer.bytes.is_empty() || !state.waiting.is_empty();
            if mem::take(&mut state.patient) && more_is_here {
                return Ok(());
            }
            self.tell(&mut state);
            return Ok(());
        }
        let descriptor = state.descriptor.take();
        let mut pieces = [IoSlice::new(&state.out), IoSlice::new(content)];
        self.send(&mut pieces, descriptor)?;
        state.by_socket += (state.out.len() + content.len()) as u64;
        state.sent();
        Ok(())
    }

    /// Wakes the core for what is in the ring, if it sleeps.
    fn tell(&self, state: &mut State) {
        if mem::take(&mut state.untold) && self.memory.ring.needs_wakeup() {
            // It fails only where more wakes are unread than there can be, and then the core is woken anyway.
            let _ = nix::unistd::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Writes to the socket.
    fn send(&self, pieces: &mut [IoSlice<'_>], descriptor: Option<OwnedFd>) -> Result<(), Lost> {
        let mut descriptor = descriptor;
        let mut pieces = pieces;
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let with = descriptor.as_ref().map(OwnedFd::as_fd);
            match transfer::send(self.socket.as_fd(), pieces, with) {
                Ok(sent) => {
                    IoSlice::advance_slices(&mut pieces, sent);
                    // It has gone with the first byte.
                    descriptor = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed.set(true);
                    return Err(Lost::Core);
                }
            }
        }
        Ok(())
    }
}

fn no_descriptors() -> io::Error {
    io::Error::other("a request's content is lost: this worker has no descriptor left")
}

/// For the simulation, in which one thread is core and workers.
#[cfg(test)]
impl WorkerEnd {
    /// From now on [`next`](Self::next) fails where it would wait.
    pub(crate) fn set_nonblocking(&self) {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(&self.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    }

    /// What response `id` may send, if it is open.
    pub(crate) fn credit(&self, id: u64) -> Option<u64> {
        let state = self.state.borrow();
        let open = state.open.get(id).ok()?;
        Some(open.progress.credit())
    }

    /// Reads what has come, as a response does that waits for credit.
    pub(crate) fn read_for_later(&self) {
        while let Ok(Some(frame)) = self.read_frame() {
            self.keep(frame);
        }
    }
}

impl Respond for WorkerEnd {
    fn informational(&self, id: u64, status: u16, fields: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        if !self.wait_for_credit(id)? {
            // A signal came first. The app's handler matters more than an interim response.
            return Ok(());
        }
        let length = codec::head_length(fields);
        if length > MAX_PAYLOAD {
            return Err(Lost::TooLarge);
        }
        let cost = interim_cost(length);
        let mut state = self.state.borrow_mut();
        let progress = &mut state.open.get_mut(id)?.progress;
        progress.interim(id, cost).map_err(|_| Lost::Finished)?;
        drop(state);
        self.put_head(
            Header {
                status,
                ..Header::new(Kind::Informational, id)
            },
            fields,
            None,
        )
    }

    fn trailers(&self, id: u64, fields: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        // Signals can wait: a response has few of them.
        while !self.wait_for_credit(id)? {}
        let length = codec::head_length(fields);
        if length > MAX_PAYLOAD {
            return Err(Lost::TooLarge);
        }
        let mut state = self.state.borrow_mut();
        let progress = &mut state.open.get_mut(id)?.progress;
        let cost = interim_cost(length);
        progress.trailers(id, cost).map_err(|_| Lost::Finished)?;
        drop(state);
        self.put_head(Header::new(Kind::Trailers, id), fields, None)
    }

    fn head(
        &self,
        id: u64,
        status: u16,
        fields: &[(&[u8], &[u8])],
        length: Length,
    ) -> Result<(), Lost> {
        let mut progress = self.state.borrow().open.get(id)?.progress;
        progress.head(id).map_err(|_| Lost::Finished)?;
        self.put_head(
            Header {
                status,
                ..Header::new(Kind::Head, id)
            },
            fields,
            length.known(),
        )?;
        // After 101 the bytes are no content.
        let announced = announced_length(fields).filter(|_| status != 101);
        let mut state = self.state.borrow_mut();
        if let (Length::File(_), Some((_, at))) = (length, state.last) {
            state.out[at + MARKS] |= OF_FILE;
        }
        let open = state.open.get_mut(id)?;
        open.announce(announced);
        open.progress = progress;
        Ok(())
    }

    fn chunk(&self, id: u64, content: &[u8]) -> Result<usize, Lost> {
        let all = content.len();
        let fits = self.state.borrow().open.get(id)?.fits(all as u64);
        let content = &content[..fits as usize];
        let mut taken = 0;
        for piece in content.chunks(PIECE) {
            if !self.wait_for_credit(id)? {
                break;
            }
            taken += piece.len();
            let length = piece.len() as u64;
            let mut state = self.state.borrow_mut();
            state.open.get_mut(id)?.send(length, length)?;
            drop(state);
            if self.share(id, piece) {
                continue;
            }
            let header = Header::new(Kind::Chunk, id);
            if piece.len() <= COPY {
                self.state
                    .borrow_mut()
                    .put(header, |out| out.extend_from_slice(piece));
            } else {
                let header = header.bytes(piece.len());
                self.state.borrow_mut().out.extend_from_slice(&header);
                self.write(piece)?;
            }
        }
        let state = self.state.borrow();
        let queued = state.out.len() + state.shared;
        drop(state);
        // The app may take its time for the next piece.
        if queued >= PIECE {
            self.flush()?;
        }
        if taken == content.len() && taken < all {
            return Err(self.state.borrow_mut().open.get_mut(id)?.exceed());
        }
        Ok(taken)
    }

    fn file(&self, id: u64, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Lost> {
        // Signals can wait: a response has one file, and almost always the credit for it.
        while !self.wait_for_credit(id)? {}
        let fits = self.state.borrow().open.get(id)?.fits(length);
        if self.state.borrow().descriptor.is_some() {
            // One write carries one descriptor.
            self.flush()?;
        }
        // The app may close its handle before the next write.
        let file = file.try_clone_to_owned().map_err(|_| Lost::Core)?;
        let header = Header {
            with_descriptor: true,
            ..Header::new(Kind::File, id)
        };
        let mut state = self.state.borrow_mut();
        state.open.get_mut(id)?.send(fits, FILE_COST)?;
        state.put(header, |out| codec::put_range(out, offset, fits));
        state.descriptor = Some(file);
        let open = state.open.get_mut(id)?;
        (fits == length).then_some(()).ok_or_else(|| open.exceed())
    }

    fn take(&self, id: u64) -> Result<OwnedFd, Lost> {
        self.check(id)?;
        self.state.borrow_mut().open.get_mut(id)?.progress.take();
        let take = Header::new(Kind::Take, id);
        self.state.borrow_mut().put(take, |_| {});
        self.flush()?;
        loop {
            // The core answers at once: signals can wait.
            let Some(frame) = self.read_answer()? else {
                continue;
            };
            if frame.kind == Kind::Reply && frame.id == id {
                return frame.descriptor.here().ok_or(Lost::Client);
            }
            self.keep(frame);
        }
    }

    fn look(&self, id: u64) -> Result<(), Lost> {
        self.check(id)?;
        let complete = self.state.borrow().open.get(id)?.is_complete();
        (!complete).then_some(()).ok_or(Lost::Complete)
    }

    fn end(&self, id: u64) -> Result<(), Lost> {
        let checked = self.check(id);
        if checked == Err(Lost::Finished) {
            return checked;
        }
        // Where the client has gone the core still waits for the end.
        let complete = self.state.borrow().open.get(id)?.progress.end(id);
        self.close(id);
        let mut state = self.state.borrow_mut();
        if complete.is_err() {
            state.put(Header::new(Kind::Abort, id), |_| {});
            return checked;
        }
        match state.last {
            Some((last, at)) if last == id => state.out[at + MARKS] |= ENDS,
            _ => state.put(Header::new(Kind::End, id), |_| {}),
        }
        checked
    }

    fn abort(&self, id: u64) {
        if self.check(id) != Err(Lost::Finished) {
            self.close(id);
            let abort = Header::new(Kind::Abort, id);
            self.state.borrow_mut().put(abort, |_| {});
        }
    }

    fn idle(&self) {
        let mut state = self.state.borrow_mut();
        state.patient = true;
        match state.last.take() {
            Some((_, at)) => state.out[at + MARKS] |= IDLE,
            None => state.put(Header::new(Kind::Idle, 0), |_| {}),
        }
    }

    fn flush(&self) -> Result<(), Lost> {
        if self.closed.get() {
            return Err(Lost::Core);
        }
        if self.state.borrow().out.is_empty() {
            Ok(())
        } else {
            self.write(&[])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_made_frame_is_what_the_codec_writes() {
        assert_eq!(WAKE_FRAME, Header::new(Kind::Wake, 0).bytes(0));
    }
}
