//! Signals become words: a handler sends a few bytes to a socket and does nothing else.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};

/// What a signal's handler does.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The socket that gets the bytes.
    pub socket: RawFd,
    /// The bytes, one whole message.
    pub bytes: &'static [u8],
}

const SIGNALS: usize = 65;
static NOTES: [AtomicPtr<Note>; SIGNALS] = [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

/// The process that installed the handlers. A child inherits them, but what they do is not meant for it.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// In a process forked by the app (or by us, before its first steps) a signal does what it does by default.
fn die_elsewhere(signal: libc::c_int) -> bool {
    // SAFETY: getpid is async-signal-safe.
    let elsewhere = unsafe { libc::getpid() } != OWNER.load(Ordering::SeqCst);
    if elsewhere {
        die(signal);
    }
    elsewhere
}

extern "C" fn send_note(signal: libc::c_int) {
    if !die_elsewhere(signal) {
        noted(signal);
    }
}

/// Sends what was registered for a signal: for handlers that others have installed. Without that the signal does what it does
/// by default. Async-signal-safe.
pub fn noted(signal: libc::c_int) {
    let Some(note) = NOTES.get(signal as usize) else {
        return;
    };
    // SAFETY: null, or a Note that `keep` has made: never freed, never changed.
    match unsafe { note.load(Ordering::Acquire).as_ref() } {
        Some(note) => send(note.socket, note.bytes),
        None => die(signal),
    }
}

/// Has a signal do what it does by default.
fn die(signal: libc::c_int) {
    // SAFETY: signal and raise are async-signal-safe. The signal is blocked while its handler runs: it takes effect
    // after it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Sends bytes from within a signal handler; what the socket does not take is lost.
pub fn send(socket: RawFd, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: errno's address is this thread's; send(2) is async-signal-safe, the bytes are a slice.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags);
        *errno = saved;
    }
}

extern "C" fn nothing(signal: libc::c_int) {
    die_elsewhere(signal);
}

/// Whether one of these signals has come while it is blocked.
pub fn is_pending(signals: &[Signal]) -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigpending fills the set whole unless it fails.
    let pending = unsafe {
        match libc::sigpending(pending.as_mut_ptr()) {
            0 => pending.assume_init(),
            _ => return false,
        }
    };
    // SAFETY: a whole set, and the number of a signal.
    let is_in = |signal: &Signal| unsafe { libc::sigismember(&pending, *signal as i32) } == 1;
    signals.iter().any(is_in)
}

/// Lets `signal` send a note. System calls in progress return EINTR.
///
/// # Errors
/// What sigaction says.
pub fn note(signal: Signal, note: Note) -> io::Result<()> {
    register(signal, note);
    handle(signal, SigHandler::Handler(send_note), SaFlags::empty())
}

/// The sender of SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HangupFrom {
    /// The kernel, because the terminal has hung up or its session has ended.
    Kernel,
    /// The first process of the session: a shell that passes it on, or whose user wants a reload.
    SessionLeader,
    /// Any other process: a reload is wanted.
    Other,
}

/// The notes of [`note_hangups`].
static HANGUPS: [AtomicPtr<Note>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

extern "C" fn send_hangup(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    if die_elsewhere(signal) {
        return;
    }
    // SAFETY: with SA_SIGINFO the kernel gives a siginfo_t that is valid for the call; getsid is async-signal-safe.
    let from = unsafe {
        let info = &*info;
        if info.si_code == libc::SI_KERNEL {
            HangupFrom::Kernel
        } else if info.si_code == libc::SI_USER && info.si_pid() == libc::getsid(0) {
            HangupFrom::SessionLeader
        } else {
            HangupFrom::Other
        }
    };
    let [kernel, leader] = &HANGUPS;
    let note = match from {
        HangupFrom::Kernel => kernel,
        HangupFrom::SessionLeader => leader,
        HangupFrom::Other => return noted(signal),
    };
    // SAFETY: null, or a Note that `keep` has made: never freed, never changed.
    if let Some(note) = unsafe { note.load(Ordering::Acquire).as_ref() } {
        send(note.socket, note.bytes);
    }
}

/// Lets SIGHUP send one of three notes: `kernel` when the terminal has hung up, `leader` when the first process of the session has
/// sent it, else `other`.
///
/// # Errors
/// What sigaction says.
pub fn note_hangups(kernel: Note, leader: Note, other: Note) -> io::Result<()> {
    for (place, note) in HANGUPS.iter().zip([kernel, leader]) {
        place.store(keep(note), Ordering::Release);
    }
    register(Signal::SIGHUP, other);
    handle(
        Signal::SIGHUP,
        SigHandler::SigAction(send_hangup),
        SaFlags::SA_SIGINFO,
    )
}

/// Sets what [`noted`] sends for `signal`.
pub fn register(signal: Signal, note: Note) {
    NOTES[signal as usize].store(keep(note), Ordering::Release);
}

/// Gives a note memory that is never freed: a handler may be reading it at any time, also after another one has taken its
/// place.
fn keep(note: Note) -> *mut Note {
    static KEPT: Mutex<Vec<&'static Note>> = Mutex::new(Vec::new());
    let pointer = Box::into_raw(Box::new(note));
    // SAFETY: the pointer comes from a Box that is never dropped, and nobody writes through it.
    let kept = unsafe { &*pointer };
    // A leak checker finds it there.
    KEPT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(kept);
    pointer
}

/// Lets [`noted`] send nothing for `signal` any more.
pub fn forget(signal: Signal) {
    NOTES[signal as usize].store(ptr::null_mut(), Ordering::Release);
}

/// Makes `signal` do nothing, without handing SIG_IGN down to programs that the app starts.
///
/// # Errors
/// What sigaction says.
pub fn disregard(signal: Signal) -> io::Result<()> {
    handle(signal, SigHandler::Handler(nothing), SaFlags::SA_RESTART)
}

extern "C" fn end(signal: libc::c_int) {
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(128 + signal) }
}

/// For the first process of a container, whom the kernel spares every signal that has no handler: until the server
/// takes them over, those that stop servers end it.
///
/// # Errors
/// What sigaction says.
pub fn end_first_process() -> io::Result<()> {
    if nix::unistd::getpid().as_raw() == 1 {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
            handle(signal, SigHandler::Handler(end), SaFlags::empty())?;
        }
    }
    Ok(())
}

/// The files that go with this process when a signal ends it.
static FILES: AtomicPtr<Vec<CString>> = AtomicPtr::new(ptr::null_mut());

extern "C" fn remove_and_end(signal: libc::c_int) {
    if die_elsewhere(signal) {
        return;
    }
    // SAFETY: null, or a list that `end_with_files` leaked: never freed, never changed.
    let files = unsafe { FILES.load(Ordering::Acquire).as_ref() };
    for file in files.into_iter().flatten() {
        // SAFETY: async-signal-safe; the path ends with a zero byte.
        unsafe { libc::unlink(file.as_ptr()) };
    }
    // SAFETY: async-signal-safe. The kernel spares the first process of a container what has no handler; to others the
    // signal does what it does by default, once this handler has returned.
    unsafe {
        if libc::getpid() == 1 {
            libc::_exit(128 + signal);
        }
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Has the signals that stop programs remove these files before they end this one, but for those that are ignored: until
/// [`keep_files`].
///
/// # Errors
/// What sigaction says.
pub fn end_with_files(files: Vec<CString>) -> io::Result<()> {
    // A handler may still be reading the list before.
    FILES.store(Box::into_raw(Box::new(files)), Ordering::Release);
    let stops = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ];
    for (signal, before) in &save(&stops)?.0 {
        if !matches!(before.handler(), SigHandler::SigIgn) {
            let handler = SigHandler::Handler(remove_and_end);
            handle(*signal, handler, SaFlags::empty())?;
        }
    }
    Ok(())
}

/// From now on those signals only end this process, where nobody has taken them over.
pub fn keep_files() {
    FILES.store(ptr::null_mut(), Ordering::Release);
}

/// Sets `signal` to its default.
///
/// # Errors
/// What sigaction says.
pub fn set_default(signal: Signal) -> io::Result<()> {
    handle(signal, SigHandler::SigDfl, SaFlags::empty())
}

fn handle(signal: Signal, handler: SigHandler, flags: SaFlags) -> io::Result<()> {
    OWNER.store(nix::unistd::getpid().as_raw(), Ordering::SeqCst);
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: both handlers of this module are async-signal-safe.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// The dispositions that the app had before the server took the signals over.
#[derive(Debug)]
pub struct Saved(Vec<(Signal, SigAction)>);

/// Remembers the dispositions of `signals`.
///
/// # Errors
/// What sigaction says.
pub fn save(signals: &[Signal]) -> io::Result<Saved> {
    let mut saved = Vec::new();
    for &signal in signals {
        let placeholder = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default disposition; replaced by the previous one at once.
        let before = unsafe { sigaction(signal, &placeholder) }?;
        saved.push((signal, before));
    }
    let saved = Saved(saved);
    saved.restore(signals)?;
    Ok(saved)
}

impl Saved {
    /// Whether `signal` was ignored, as under nohup.
    pub fn ignored(&self, signal: Signal) -> bool {
        let mut saved = self.0.iter().filter(|(saved, _)| *saved == signal);
        saved.any(|(_, action)| matches!(action.handler(), SigHandler::SigIgn))
    }

    /// Puts the dispositions of `signals` back as they were.
    ///
    /// # Errors
    /// What sigaction says.
    pub fn restore(&self, signals: &[Signal]) -> io::Result<()> {
        for (signal, action) in self.0.iter().filter(|(signal, _)| signals.contains(signal)) {
            // SAFETY: the disposition that this process had before.
            unsafe { sigaction(*signal, action) }?;
        }
        Ok(())
    }
}

/// Signals that move a server: they must not meet a master whose handlers are not there yet.
pub const HELD_BACK: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Holds back the signals that stop and reload servers, until [`release`]: a client that sees the server listen may send them.
///
/// # Errors
/// What sigprocmask says.
pub fn hold_back() -> io::Result<()> {
    Ok(HELD_BACK.into_iter().collect::<SigSet>().thread_block()?)
}

/// Lets signals through again, those among them that have come meanwhile.
///
/// # Errors
/// What sigprocmask says.
pub fn release() -> io::Result<()> {
    Ok(HELD_BACK.into_iter().collect::<SigSet>().thread_unblock()?)
}

/// Unblocks all signals that the process which started the server had blocked, except, with `but_held_back`, those that
/// [`hold_back`] blocks: they wait for the handlers of a new program.
///
/// # Errors
/// What sigprocmask says.
pub fn unblock(but_held_back: bool) -> io::Result<()> {
    let mut blocked = SigSet::empty();
    if but_held_back {
        let now = SigSet::thread_get_mask()?;
        blocked.extend(HELD_BACK.into_iter().filter(|signal| now.contains(*signal)));
    }
    Ok(blocked.thread_set_mask()?)
}

/// Lets the signals that stop programs end this one, except those that it was started to ignore.
///
/// # Errors
/// What sigaction and sigprocmask say.
pub fn end_by_stops() -> io::Result<()> {
    let stops = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ];
    let saved = save(&stops)?;
    for (signal, before) in &saved.0 {
        if !matches!(before.handler(), SigHandler::SigIgn) {
            set_default(*signal)?;
        }
    }
    release()
}

/// Runs `work` with all signals blocked; a thread that it starts is born so.
///
/// # Errors
/// What sigprocmask says.
pub fn blocked<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let result = work();
    before.thread_set_mask()?;
    Ok(result)
}

/// Blocks all signals in the calling thread, so that they come to the others.
///
/// # Errors
/// What sigprocmask says.
pub fn block_all() -> io::Result<()> {
    Ok(nix::sys::signal::pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        None,
    )?)
}
