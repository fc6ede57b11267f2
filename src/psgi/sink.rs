//! The functions that C calls with the parts of a response: they forward them to a [`Respond`] and let no panic out.

use std::os::fd::{BorrowedFd, IntoRawFd};
use std::os::raw::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use perl_sys::{gp_pair, gp_sent, gp_sink, gp_slice};

use crate::channel::respond::{Lost, Respond};
use crate::perl::{bytes, elements};
use crate::semantics::message::Length;

/// Pieces of content up to this many bytes together travel as one: a frame each would cost more than the copy.
const JOIN: usize = 64 * 1024;

/// Where C's calls go.
pub(super) struct Sink {
    respond: Rc<dyn Respond>,
}

pub(super) const FUNCTIONS: gp_sink = gp_sink {
    informational: Some(informational),
    head: Some(head),
    content: Some(content),
    trailers: Some(trailers),
    file: Some(file),
    take: Some(take),
    look: Some(look),
    end: Some(end),
    abort: Some(abort),
    idle: Some(idle),
    flush: Some(flush),
};

impl Sink {
    pub(super) fn new(respond: Rc<dyn Respond>) -> Self {
        Sink { respond }
    }

    /// What C passes to [`FUNCTIONS`]. It stays valid wherever the Rc moves: a Box would own its content alone, so that moving
    /// it would end what the pointer may do.
    pub(super) fn as_pointer(sink: &Rc<Self>) -> *mut c_void {
        Rc::as_ptr(sink).cast_mut().cast()
    }

    /// Answers a request for whose host this worker has no app: it may be there in a moment. Returns whether the worker is to
    /// leave after it.
    pub(super) fn unavailable(&self, id: u64, last: bool) -> bool {
        let fields: [(&[u8], &[u8]); 2] = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Retry-After", b"1"),
        ];
        let text = b"Service Unavailable\n";
        let length = Length::Known(text.len() as u64);
        // Where the client has left, nobody waits for it.
        let _ = self
            .respond
            .head(id, 503, &fields, length)
            .and_then(|()| self.respond.chunk(id, text).map(drop));
        let _ = self.respond.end(id);
        if !last {
            self.respond.idle();
        }
        let _ = self.respond.flush();
        last
    }

    /// Gives up a request that can't be shown to the app.
    pub(super) fn refuse(&self, id: u64) {
        self.respond.abort(id);
        self.respond.idle();
        let _ = self.respond.flush();
    }
}

/// Runs `part` for the sink that C passes back. A panic in it is reported as a lost response.
///
/// # Safety
/// `sink` must be from [`Sink::as_pointer`] of a living one.
unsafe fn with(sink: *mut c_void, part: impl FnOnce(&dyn Respond) -> Result<(), Lost>) -> c_int {
    // SAFETY: the caller's promise; nobody holds a unique reference.
    let sink = unsafe { &*sink.cast::<Sink>() };
    let sent = match catch_unwind(AssertUnwindSafe(|| part(&*sink.respond))) {
        Ok(Ok(())) => gp_sent::GP_SENT,
        Ok(Err(Lost::Client)) => gp_sent::GP_GONE,
        Ok(Err(Lost::TooLarge)) => gp_sent::GP_TOO_LARGE,
        Ok(Err(Lost::Complete)) => gp_sent::GP_COMPLETE,
        Ok(Err(Lost::Finished | Lost::Core)) | Err(_) => gp_sent::GP_OVER,
    };
    sent as c_int
}

/// # Safety
/// `first` must point to `count` pairs that live as long as the result.
unsafe fn fields<'a>(first: *const gp_pair, count: usize) -> Vec<(&'a [u8], &'a [u8])> {
    // SAFETY: the caller's promise.
    unsafe { elements(first, count) }
        .iter()
        // SAFETY: the same.
        .map(|pair| unsafe { (bytes(pair.name), bytes(pair.value)) })
        .collect()
}

// SAFETY (of all below): C calls them with the pointer given to gp_open, between gp_open and gp_close, and with arrays
// that outlive the call.

unsafe extern "C" fn informational(
    sink: *mut c_void,
    id: u64,
    status: u16,
    first: *const gp_pair,
    count: usize,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        with(sink, |respond| {
            respond.informational(id, status, &fields(first, count))
        })
    }
}

unsafe extern "C" fn head(
    sink: *mut c_void,
    id: u64,
    status: u16,
    first: *const gp_pair,
    count: usize,
    length: i64,
    is_file: c_int,
) -> c_int {
    let length = match u64::try_from(length) {
        Ok(length) if is_file != 0 => Length::File(length),
        Ok(length) => Length::Known(length),
        Err(_) => Length::Unknown,
    };
    // SAFETY: see above.
    unsafe {
        with(sink, |respond| {
            respond.head(id, status, &fields(first, count), length)
        })
    }
}

unsafe extern "C" fn content(
    sink: *mut c_void,
    id: u64,
    first: *const gp_slice,
    count: usize,
    taken: *mut usize,
) -> c_int {
    // SAFETY: see above; `taken` is a number of C's.
    unsafe {
        *taken = 0;
        with(sink, |respond| {
            let pieces = elements(first, count);
            let sum: usize = pieces.iter().map(|piece| piece.len).sum();
            if count > 1 && sum <= JOIN {
                let mut joined = Vec::with_capacity(sum);
                for &piece in pieces {
                    joined.extend_from_slice(bytes(piece));
                }
                *taken = respond.chunk(id, &joined)?;
                return Ok(());
            }
            for &piece in pieces {
                let some = respond.chunk(id, bytes(piece))?;
                *taken += some;
                if some < piece.len {
                    break;
                }
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn trailers(
    sink: *mut c_void,
    id: u64,
    first: *const gp_pair,
    count: usize,
) -> c_int {
    // SAFETY: see above.
    unsafe { with(sink, |respond| respond.trailers(id, &fields(first, count))) }
}

unsafe extern "C" fn file(
    sink: *mut c_void,
    id: u64,
    fd: c_int,
    offset: u64,
    length: u64,
) -> c_int {
    // SAFETY: see above; the handle keeps its descriptor open during the call.
    unsafe {
        with(sink, |respond| {
            respond.file(id, BorrowedFd::borrow_raw(fd), offset, length)
        })
    }
}

unsafe extern "C" fn take(sink: *mut c_void, id: u64) -> c_int {
    let mut socket = -1;
    // SAFETY: see above.
    unsafe {
        with(sink, |respond| {
            socket = respond.take(id)?.into_raw_fd();
            Ok(())
        });
    }
    socket
}

unsafe extern "C" fn look(sink: *mut c_void, id: u64) -> c_int {
    // SAFETY: see above.
    unsafe { with(sink, |respond| respond.look(id)) }
}

unsafe extern "C" fn end(sink: *mut c_void, id: u64) -> c_int {
    // SAFETY: see above.
    unsafe { with(sink, |respond| respond.end(id)) }
}

unsafe extern "C" fn abort(sink: *mut c_void, id: u64) {
    // SAFETY: see above.
    unsafe {
        with(sink, |respond| {
            respond.abort(id);
            Ok(())
        });
    }
}

unsafe extern "C" fn idle(sink: *mut c_void) {
    // SAFETY: see above.
    unsafe {
        with(sink, |respond| {
            respond.idle();
            Ok(())
        });
    }
}

unsafe extern "C" fn flush(sink: *mut c_void) -> c_int {
    // SAFETY: see above.
    unsafe { with(sink, |respond| respond.flush()) }
}
