//! Compression of what the app sends: stands between psgi and the channel, and sees each response go by.
//!
//! Of a response whose content is known as a whole, the head waits for the content: only then is it clear how long that becomes,
//! and whether it comes from a file. All else is a stream, which is flushed when the app's `write` is.

#![forbid(unsafe_code)]

mod head;
mod stream;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use self::head::{Decision, Head, Request};
use self::stream::Stream;
use crate::channel::respond::{Lost, Respond};
use crate::coding::{Coding, Effort, Encoder, Settings};
use crate::log::limited;
use crate::semantics::message::{Length, RequestHead};

/// Content up to this length is compressed as a whole, and has a Content-Length.
const WHOLE: u64 = 64 * 1024;

/// Files up to this length are read and compressed here. Larger ones are sent by the core as they are: they would hold up the
/// worker for as long as the client takes to read them.
const FILE: u64 = 1024 * 1024;

/// How much of a file is read at once.
const PIECE: usize = 64 * 1024;

/// Compresses responses on their way to `inner`.
pub(super) struct Compressor {
    inner: Rc<dyn Respond>,
    settings: Settings,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Responses that may be compressed. What is not among them passes through.
    open: Vec<Open>,
    /// Encoders that no response needs now: to make one costs more than to compress a page.
    idle: Vec<Encoder>,
}

struct Open {
    id: u64,
    request: Request,
    phase: Phase,
}

enum Phase {
    /// The head has not come.
    Awaited,
    /// All content follows at once; the head waits for it.
    Held(Held),
    /// The head has left.
    Stream(Stream),
    /// The client has been told that its copy is current: there is no content.
    NotModified,
    /// The content can't be completed.
    Broken,
}

struct Held {
    head: Head,
    coding: Coding,
    /// How long its content is, and whether it is a file.
    length: u64,
    told: Length,
    content: Vec<u8>,
}

/// What `chunk` tells of a step that has not failed.
type Taken = Result<usize, Lost>;

impl Compressor {
    pub(super) fn new(inner: Rc<dyn Respond>, settings: Settings) -> Self {
        Compressor {
            inner,
            settings,
            state: RefCell::default(),
        }
    }

    /// A request is about to be answered.
    pub(super) fn begin(&self, id: u64, head: &RequestHead) {
        let request = Request::of(head, &self.settings.codings);
        self.state.borrow_mut().open.push(Open {
            id,
            request,
            phase: Phase::Awaited,
        });
    }

    /// Takes a response out, to go on with it.
    fn take(&self, id: u64) -> Option<Open> {
        let open = &mut self.state.borrow_mut().open;
        let at = open.iter().position(|open| open.id == id)?;
        Some(open.swap_remove(at))
    }

    fn put(&self, id: u64, request: Request, phase: Phase) {
        let open = &mut self.state.borrow_mut().open;
        open.push(Open { id, request, phase });
    }

    /// Puts a response back as it is after a step, and passes on what the step has told.
    fn after<T>(
        &self,
        id: u64,
        request: Request,
        step: Result<(Phase, T), Lost>,
    ) -> Result<T, Lost> {
        match step {
            Ok((phase, told)) => {
                self.put(id, request, phase);
                Ok(told)
            }
            Err(lost) => {
                if lost == Lost::Finished {
                    self.put(id, request, Phase::Broken);
                }
                Err(lost)
            }
        }
    }

    fn encoder(&self, coding: Coding, length: Option<u64>) -> Result<Encoder, Lost> {
        let idle = &mut self.state.borrow_mut().idle;
        let at = idle.iter().position(|encoder| encoder.coding() == coding);
        let made = match at {
            Some(at) => Ok(idle.swap_remove(at)),
            None => Encoder::new(coding, Effort::Quick),
        };
        made.and_then(|mut encoder| encoder.begin(length).map(|()| encoder))
            .map_err(failed)
    }

    /// Sends the head of a response that is compressed while its content comes.
    fn start(
        &self,
        id: u64,
        head: &Head,
        coding: Coding,
        left: Option<u64>,
    ) -> Result<Stream, Lost> {
        let encoder = self.encoder(coding, None)?;
        self.inner
            .head(id, head.status, &head.coded(coding), Length::Unknown)?;
        Ok(Stream::new(encoder, left))
    }

    /// Sends a response whose content is all here. Returns what could not be sent yet.
    fn send_whole(&self, id: u64, held: &Held) -> Result<Stream, Lost> {
        let mut out = Vec::with_capacity(held.content.len() / 2);
        let mut encoder = self.encoder(held.coding, Some(held.length))?;
        let encoded = encoder
            .write(&held.content, &mut out)
            .and_then(|()| encoder.finish(&mut out));
        self.state.borrow_mut().idle.push(encoder);
        encoded.map_err(failed)?;
        let mut stream = if out.len() < held.content.len() {
            let fields = held.head.coded(held.coding);
            let length = out.len() as u64;
            self.inner
                .head(id, held.head.status, &fields, Length::Known(length))?;
            Stream::of(out)
        } else {
            self.send_plain_head(id, held)?;
            Stream::of(held.content.clone())
        };
        stream.send(id, &*self.inner)?;
        Ok(stream)
    }

    fn send_plain_head(&self, id: u64, held: &Held) -> Result<(), Lost> {
        let fields = held.head.varied();
        self.inner.head(id, held.head.status, &fields, held.told)
    }

    /// The app gives content of a response whose head is held back.
    fn first(&self, id: u64, mut held: Held, piece: &[u8]) -> Result<(Phase, Taken), Lost> {
        if held.length > WHOLE {
            let stream = self.start(id, &held.head, held.coding, Some(held.length))?;
            return self.next(id, stream, piece);
        }
        held.content.extend_from_slice(piece);
        let phase = if (held.content.len() as u64) < held.length {
            Phase::Held(held)
        } else {
            Phase::Stream(self.send_whole(id, &held)?)
        };
        Ok((phase, Ok(piece.len())))
    }

    /// The app gives content of a response whose head has left.
    fn next(&self, id: u64, mut stream: Stream, piece: &[u8]) -> Result<(Phase, Taken), Lost> {
        let taken = stream.write(id, piece, &*self.inner)?;
        let exceeds = taken < piece.len() && stream.is_complete();
        let taken = if exceeds {
            Err(stream.exceed())
        } else {
            Ok(taken)
        };
        Ok((Phase::Stream(stream), taken))
    }

    /// Compresses a file as the content of a response whose head is held back.
    fn file_of(
        &self,
        id: u64,
        mut held: Held,
        file: BorrowedFd<'_>,
        offset: u64,
    ) -> Result<(Phase, ()), Lost> {
        let file = File::from(file.try_clone_to_owned().map_err(|_| Lost::Core)?);
        if held.length <= WHOLE {
            held.content.resize(held.length as usize, 0);
            file.read_exact_at(&mut held.content, offset)
                .map_err(unreadable)?;
            return Ok((Phase::Stream(self.send_whole(id, &held)?), ()));
        }
        let mut stream = self.start(id, &held.head, held.coding, Some(held.length))?;
        let mut buffer = vec![0; PIECE];
        let mut read = 0;
        while read < held.length {
            let most = (held.length - read).min(PIECE as u64) as usize;
            file.read_exact_at(&mut buffer[..most], offset + read)
                .map_err(unreadable)?;
            let mut piece = &buffer[..most];
            while !piece.is_empty() {
                // Signals can wait: such a file is not long.
                let taken = stream.write(id, piece, &*self.inner)?;
                piece = &piece[taken..];
            }
            read += most as u64;
        }
        Ok((Phase::Stream(stream), ()))
    }
}

/// The response can't go on; the core is notified when it ends.
fn failed(error: io::Error) -> Lost {
    limited!(Error, "a response can't be compressed: {error}");
    Lost::Finished
}

fn unreadable(error: io::Error) -> Lost {
    limited!(Error, "a file that the app sends can't be read: {error}");
    Lost::Finished
}

impl Respond for Compressor {
    fn informational(&self, id: u64, status: u16, fields: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        self.inner.informational(id, status, fields)
    }

    fn trailers(&self, id: u64, fields: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        self.inner.trailers(id, fields)
    }

    fn head(
        &self,
        id: u64,
        status: u16,
        fields: &[(&[u8], &[u8])],
        length: Length,
    ) -> Result<(), Lost> {
        let Some(Open { request, phase, .. }) = self.take(id) else {
            return self.inner.head(id, status, fields, length);
        };
        if !matches!(phase, Phase::Awaited) {
            self.put(id, request, phase);
            return Err(Lost::Finished);
        }
        let decision = head::decide(&self.settings, &request, status, fields, length);
        let coding = match decision {
            Decision::Plain => return self.inner.head(id, status, fields, length),
            Decision::Vary => {
                let head = Head::new(status, fields);
                return self.inner.head(id, status, &head.varied(), length);
            }
            Decision::Code(coding) => coding,
        };
        let head = Head::new(status, fields);
        if head.is_current(&request) {
            let sent = self
                .inner
                .head(id, 304, &head.not_modified(), Length::Unknown);
            self.put(id, request, Phase::NotModified);
            return sent;
        }
        let announced = head.announced();
        if request.is_head() {
            return self
                .inner
                .head(id, status, &head.coded(coding), Length::Unknown);
        }
        let phase = match length.known() {
            Some(known) => {
                self.inner.look(id)?;
                Phase::Held(Held {
                    head,
                    coding,
                    length: known,
                    told: length,
                    content: Vec::new(),
                })
            }
            None => Phase::Stream(self.start(id, &head, coding, announced)?),
        };
        self.put(id, request, phase);
        Ok(())
    }

    fn chunk(&self, id: u64, content: &[u8]) -> Result<usize, Lost> {
        let Some(Open { request, phase, .. }) = self.take(id) else {
            return self.inner.chunk(id, content);
        };
        match phase {
            Phase::Held(held) => self.after(id, request, self.first(id, held, content))?,
            Phase::Stream(stream) => self.after(id, request, self.next(id, stream, content))?,
            Phase::NotModified => {
                self.put(id, request, phase);
                Err(Lost::Complete)
            }
            Phase::Awaited | Phase::Broken => {
                self.put(id, request, phase);
                Err(Lost::Finished)
            }
        }
    }

    fn file(&self, id: u64, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Lost> {
        let Some(Open { request, phase, .. }) = self.take(id) else {
            return self.inner.file(id, file, offset, length);
        };
        match phase {
            // Part of a file, or one that is compressed only because its length was not the whole file's.
            Phase::Held(held) if length != held.length || length > FILE => {
                self.send_plain_head(id, &held)?;
                self.inner.file(id, file, offset, length)
            }
            Phase::Held(held) => self.after(id, request, self.file_of(id, held, file, offset)),
            Phase::NotModified => {
                self.put(id, request, phase);
                Err(Lost::Complete)
            }
            // A file is the only content of its response.
            Phase::Awaited | Phase::Stream(_) | Phase::Broken => {
                self.put(id, request, phase);
                Err(Lost::Finished)
            }
        }
    }

    fn take(&self, id: u64) -> Result<OwnedFd, Lost> {
        self.inner.take(id)
    }

    fn look(&self, id: u64) -> Result<(), Lost> {
        self.inner.look(id)?;
        let state = self.state.borrow();
        let open = state.open.iter().find(|open| open.id == id);
        match open.map(|open| &open.phase) {
            Some(Phase::Stream(stream)) if stream.is_complete() => Err(Lost::Complete),
            Some(Phase::NotModified) => Err(Lost::Complete),
            _ => Ok(()),
        }
    }

    fn end(&self, id: u64) -> Result<(), Lost> {
        let Some(open) = self.take(id) else {
            return self.inner.end(id);
        };
        match open.phase {
            Phase::Awaited | Phase::NotModified => self.inner.end(id),
            Phase::Broken => {
                self.inner.abort(id);
                Err(Lost::Finished)
            }
            // Less than was announced has come: the core makes of that what it makes of any such response.
            Phase::Held(held) => {
                self.send_plain_head(id, &held)?;
                self.inner.chunk(id, &held.content)?;
                self.inner.end(id)
            }
            Phase::Stream(mut stream) => {
                let finished = stream.finish(id, &*self.inner);
                self.state.borrow_mut().idle.extend(stream.take_encoder());
                match finished {
                    Ok(true) => self.inner.end(id),
                    // As where the length itself tells the client that the response is not whole.
                    Ok(false) => {
                        limited!(
                            Error,
                            "a response is shorter than its Content-Length: it is cut"
                        );
                        self.inner.abort(id);
                        Ok(())
                    }
                    Err(Lost::Finished) => {
                        self.inner.abort(id);
                        Err(Lost::Finished)
                    }
                    Err(_) => self.inner.end(id),
                }
            }
        }
    }

    fn abort(&self, id: u64) {
        if let Some(Open {
            phase: Phase::Stream(mut stream),
            ..
        }) = self.take(id)
        {
            self.state.borrow_mut().idle.extend(stream.take_encoder());
        }
        self.inner.abort(id);
    }

    fn idle(&self) {
        self.inner.idle();
    }

    fn flush(&self) -> Result<(), Lost> {
        let mut state = self.state.borrow_mut();
        let mut flushed = Ok(());
        for open in &mut state.open {
            if let Phase::Stream(stream) = &mut open.phase {
                flushed = flushed.and(stream.flush(open.id, &*self.inner));
            }
        }
        drop(state);
        flushed.and(self.inner.flush())
    }
}

#[cfg(test)]
mod tests;
