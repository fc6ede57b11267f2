//! PSGI 1.1 and its extensions: a request becomes an env, the app is called, its response goes to a [`Respond`].
//!
//! Knows no sockets, no HTTP wire and no signals. What touches Perl values is in perl-sys' C files, one guarded call for
//! a request; here is what bytes they are made of.

mod compress;
mod env;
mod listener;
mod sink;
mod tls;

use std::collections::HashMap;
use std::ffi::c_int;
use std::os::fd::IntoRawFd;
use std::os::raw::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use perl_sys::{
    gp_loop_call, gp_outcome, gp_pair, gp_request, gp_signal_calls, gp_slice, gp_time, gp_worker,
};

use self::compress::Compressor;
use crate::channel::respond::Respond;
use crate::log::limited;
use crate::perl::{Code, Failure, Perl, UNDEF, bytes, slice};
use crate::semantics::message::{Content, Request, Timestamp, Tls, VirtualHost};
use crate::semantics::source::Endpoints;
use crate::worker::{self, App, Called, Left, Ran, ServerFacts, Turn, Watched};

/// The class of `gepok.socket`, built in so that every entry has the one that fits.
const SOCKET: &str = include_str!("../../perl/lib/Gepok/Socket.pm");

/// What makes `psgix.logger`.
const LOGGER: &str = include_str!("../../perl/lib/Gepok/Logger.pm");

/// Event loops.
const LOOP: &str = include_str!("../../perl/lib/Gepok/Loop.pm");

/// The apps of this process: the server's own, and those of virtual hosts.
#[derive(Default)]
pub struct Apps {
    /// The server's own, where requests can go to it.
    pub own: Option<Code>,
    /// By the names of their hosts.
    pub of_hosts: HashMap<Vec<u8>, Rc<Code>>,
}

impl From<Code> for Apps {
    /// One app for all requests.
    fn from(app: Code) -> Self {
        Apps {
            own: Some(app),
            of_hosts: HashMap::new(),
        }
    }
}

impl Apps {
    /// The app for a request. A reload may have removed its host from this worker's file, or not have added it yet.
    fn find(&self, vhost: Option<&VirtualHost>) -> Option<&Code> {
        match vhost {
            Some(vhost) => match vhost.app() {
                Some(name) => self.of_hosts.get(&name[..]).map(Rc::as_ref),
                None => self.own.as_ref(),
            },
            // Of the server's own: a check.
            None => self.any(),
        }
    }

    fn any(&self) -> Option<&Code> {
        let of_hosts = || self.of_hosts.values().next().map(Rc::as_ref);
        self.own.as_ref().or_else(of_hosts)
    }
}

/// The PSGI applications in this process's interpreter. There is at most one of these at a time.
pub struct PsgiApp {
    perl: Perl,
    apps: Apps,
    server: ServerFacts,
    env: env::Builder,
    /// Receives the parts of a response from C, which has its address.
    sink: Rc<sink::Sink>,
    /// Compresses responses on their way from there, where that is wanted.
    compressor: Option<Rc<Compressor>>,
    last_hook: Option<ChildExit>,
    /// Decides which clients' certificates are accepted.
    verify_callback: Option<Code>,
    /// C uses these as long as the worker lives.
    _logger: Code,
    _access_log: Option<Code>,
}

/// What a worker calls right before it exits.
pub struct ChildExit {
    /// The code.
    pub hook: Code,
    /// Its first argument; undefined where there is none. The second is the app.
    pub handler: Option<Code>,
}

impl PsgiApp {
    /// Makes this process a worker that answers with these apps into `respond`. `access_log` is called after each response.
    pub fn new(
        perl: Perl,
        apps: Apps,
        server: ServerFacts,
        respond: Rc<dyn Respond>,
        access_log: Option<Code>,
    ) -> Result<Self, Failure> {
        perl.provide("Gepok/Socket.pm", SOCKET)?;
        perl.provide("Gepok/Logger.pm", LOGGER)?;
        let logger = logger(perl)?;
        let settings = server.compress.clone();
        let compressor =
            settings.map(|settings| Rc::new(Compressor::new(Rc::clone(&respond), settings)));
        let respond = match &compressor {
            Some(compressor) => Rc::clone(compressor) as Rc<dyn Respond>,
            None => respond,
        };
        let sink = Rc::new(sink::Sink::new(respond));
        let facts: Vec<Vec<u8>> = server.listeners.iter().map(listener::facts).collect();
        let listeners: Vec<gp_slice> = facts.iter().map(|facts| slice(facts)).collect();
        let worker = gp_worker {
            sink: sink::FUNCTIONS,
            self_: sink::Sink::as_pointer(&sink),
            listeners: listeners.as_ptr(),
            listener_count: listeners.len(),
            wake: Some(wake_worker),
            certificate_texts: Some(tls::certificate_texts),
            log: Some(write_line),
            event_loop: server
                .event_loop
                .as_ref()
                .map_or(UNDEF, |name| slice(name.as_bytes())),
            multiprocess: server.multiprocess.into(),
            psgix_io: server.psgix_io.into(),
            logger: logger.raw(),
            access_log: access_log.as_ref().map_or(ptr::null_mut(), Code::raw),
        };
        // SAFETY: `worker` outlives the call; the sink and the loop's name, which does not move with `server`, live until
        // `gp_close` in drop.
        match unsafe { perl_sys::gp_open(perl.raw(), &worker) } {
            gp_outcome::GP_OK => Ok(PsgiApp {
                perl,
                apps,
                env: env::Builder::new(server.ssl_env, server.xsendfile),
                server,
                sink,
                compressor,
                last_hook: None,
                verify_callback: None,
                _logger: logger,
                _access_log: access_log,
            }),
            other => Err(perl.failure(other)),
        }
    }

    /// Sets what is called when the worker leaves.
    pub fn at_exit(&mut self, hook: ChildExit) {
        self.last_hook = Some(hook);
    }

    /// Sets what is asked about clients' certificates.
    pub fn at_certificate(&mut self, callback: Code) {
        self.verify_callback = Some(callback);
    }
}

/// Provides the module that apps ask for the event loop.
///
/// # Errors
/// When it does not compile.
pub fn provide_loop(perl: Perl) -> Result<(), Failure> {
    perl.provide("Gepok/Loop.pm", LOOP)
}

/// Loads what the event loop of this name needs.
///
/// # Errors
/// When its modules can't be loaded.
pub fn load_loop(perl: Perl, name: &str) -> Result<(), Failure> {
    provide_loop(perl)?;
    perl.eval("gepok", &format!("Gepok::Loop::_load('{name}')"))
        .map(drop)
}

/// Makes the event loop of this name that of this process, which is not forked any more.
///
/// # Errors
/// As [`load_loop`].
pub fn begin_loop(perl: Perl, name: &str) -> Result<(), Failure> {
    load_loop(perl, name)?;
    perl.eval("gepok", &format!("Gepok::Loop::_begin('{name}')"))
        .map(drop)
}

/// What [`take_turn`] needs.
struct Turning<'a> {
    app: &'a mut PsgiApp,
    turn: &'a mut dyn FnMut(&mut dyn App) -> Turn,
}

/// For C: a turn of the event loop. Returns whether the loop is to stop, as after a panic.
///
/// # Safety
/// `turning` must be a [`Turning`] that nobody else uses during the call.
unsafe extern "C" fn take_turn(turning: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    let turning = unsafe { &mut *turning.cast::<Turning>() };
    let turn = catch_unwind(AssertUnwindSafe(|| (turning.turn)(&mut *turning.app)));
    c_int::from(!matches!(turn, Ok(Turn::GoOn)))
}

/// The code for `psgix.logger`, which drops lines below the log level.
fn logger(perl: Perl) -> Result<Code, Failure> {
    let level = ::log::max_level().as_str().to_lowercase();
    let make = format!("Gepok::Logger::logger('{level}')");
    perl.eval("gepok", &make)?
        .ok_or_else(|| Failure::Died("there is no logger".to_owned()))
}

/// Makes TERM end this worker after the current request, and INT, QUIT and HUP do nothing: those reach every process of a
/// terminal or a service at once, and only the master decides. Also lets the master ask for a backtrace.
///
/// # Errors
/// What magic of the app's on `%SIG` died with.
pub fn take_signals(perl: Perl) -> Result<(), Failure> {
    let calls = gp_signal_calls {
        leave: Some(leave_worker),
        backtrace: Some(report_backtrace),
        backtrace_signal: worker::backtrace_signal(),
        note: None,
    };
    set_signals(perl, &calls)
}

/// One process: makes TERM, INT, QUIT and HUP the server's until the app is dropped; then they are what they were before.
///
/// # Errors
/// What magic of the app's on `%SIG` died with.
pub fn note_signals(perl: Perl) -> Result<(), Failure> {
    let calls = gp_signal_calls {
        leave: None,
        backtrace: None,
        backtrace_signal: 0,
        note: Some(note_signal),
    };
    set_signals(perl, &calls)
}

fn set_signals(perl: Perl, calls: &gp_signal_calls) -> Result<(), Failure> {
    // SAFETY: the interpreter is this thread's; the functions are there as long as the process.
    match unsafe { perl_sys::gp_take_signals(perl.raw(), calls) } {
        gp_outcome::GP_OK => Ok(()),
        other => Err(perl.failure(other)),
    }
}

/// For C, whose function pointers are all unsafe to call.
unsafe extern "C" fn leave_worker() {
    worker::leave();
}

unsafe extern "C" fn report_backtrace(text: gp_slice) {
    // SAFETY: C keeps the text until we return.
    let text = String::from_utf8_lossy(unsafe { bytes(text) });
    worker::report_backtrace(&text);
}

unsafe extern "C" fn write_line(line: gp_slice) {
    // SAFETY: C keeps the line until we return.
    crate::log::write_line(unsafe { bytes(line) });
}

unsafe extern "C" fn note_signal(number: c_int) {
    worker::note_signal(number);
}

unsafe extern "C" fn wake_worker() {
    worker::wake();
}

impl Drop for PsgiApp {
    fn drop(&mut self) {
        // SAFETY: opened in `new`; from here on C does not use the sink.
        unsafe { perl_sys::gp_close(self.perl.raw()) }
    }
}

fn time(at: Timestamp) -> gp_time {
    gp_time {
        seconds: at.seconds,
        micros: at.micros,
    }
}

impl App for PsgiApp {
    fn call(&mut self, id: u64, mut request: Request, last: bool) -> Called {
        let Some(listener) = self.server.listeners.get(usize::from(request.listener)) else {
            // Only a core of another configuration could send it.
            self.sink.refuse(id);
            return if last { Called::Leave } else { Called::Done };
        };
        let Some(app) = self.apps.find(request.vhost.as_deref()) else {
            return match self.sink.unavailable(id, last) {
                true => Called::Leave,
                false => Called::Done,
            };
        };
        let app = app.raw();
        if let Some(compressor) = &self.compressor {
            compressor.begin(id, &request.head);
        }
        let content = std::mem::replace(&mut request.content, Content::Empty);
        let env = self.env.build(&request, listener);

        let mut flags = 0;
        for (set, flag) in [
            (last, perl_sys::GP_LAST),
            (request.head.method() == b"HEAD", perl_sys::GP_HEAD_ONLY),
            (
                matches!(request.source.endpoints, Endpoints::Unix { .. }),
                perl_sys::GP_UNIX,
            ),
            (
                request.source.is_https(request.tls.is_some()),
                perl_sys::GP_HTTPS,
            ),
            (
                request
                    .http2
                    .as_ref()
                    .is_some_and(|http2| http2.protocol.is_none()),
                perl_sys::GP_SHARED,
            ),
            (request.head.takes_trailers(), perl_sys::GP_TRAILERS),
        ] {
            if set {
                flags |= flag;
            }
        }
        let trailers: Vec<gp_pair> = request
            .http2
            .iter()
            .flat_map(|http2| http2.trailers.iter())
            .map(|(name, value)| gp_pair {
                name: slice(name),
                value: slice(value),
            })
            .collect();
        let inline;
        let (content_kind, content, content_fd) = match content {
            Content::Empty => (perl_sys::GP_CONTENT_EMPTY, UNDEF, -1),
            Content::Inline(bytes) => {
                inline = bytes;
                (perl_sys::GP_CONTENT_BYTES, slice(&inline), -1)
            }
            // The handle that the app reads from owns it.
            Content::File { file, .. } => (perl_sys::GP_CONTENT_FILE, UNDEF, file.into_raw_fd()),
        };
        let raw = gp_request {
            id,
            flags,
            content_kind,
            content,
            content_fd,
            listener: request.listener.into(),
            remote_port: env.remote_port,
            content_length: request
                .content_length
                .map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX)),
            entries: env.entries.as_ptr(),
            entry_count: env.entries.len(),
            socket: slice(env.socket),
            proxy_tlvs: slice(env.tlvs),
            trailers: trailers.as_ptr(),
            trailer_count: trailers.len(),
            connected: time(request.connected),
            started: time(request.started),
            finished: time(request.finished),
        };
        // SAFETY: everything that `raw` points to lives in `request`, `trailers`, `inline` and `self.env`, which outlive the call.
        match unsafe { perl_sys::gp_respond(self.perl.raw(), app, &raw) } {
            gp_outcome::GP_OK => Called::Done,
            gp_outcome::GP_EXIT => match self.perl.failure(gp_outcome::GP_EXIT) {
                Failure::Exit(status) => Called::Exit(status),
                _ => Called::Leave,
            },
            _ => Called::Leave,
        }
    }

    fn verify(&mut self, tls: &Tls) -> Result<bool, i32> {
        let (Some(callback), Some(certificate)) = (&self.verify_callback, tls.certificates.first())
        else {
            return Ok(false);
        };
        let error = tls.distrust.as_deref().map_or(UNDEF, slice);
        let mut good = 0;
        // SAFETY: the callback is this interpreter's; the bytes live in `tls`, which outlives the call.
        let outcome = unsafe {
            let (perl, callback) = (self.perl.raw(), callback.raw());
            perl_sys::gp_verify(perl, callback, slice(certificate), error, &mut good)
        };
        match outcome {
            gp_outcome::GP_OK => Ok(good != 0),
            other => match self.perl.failure(other) {
                Failure::Exit(status) => Err(status),
                failure => {
                    limited!(Error, "ssl_verify_callback: {failure}");
                    Ok(false)
                }
            },
        }
    }

    fn signals_due(&self) -> bool {
        // SAFETY: `self.perl` is this thread's.
        unsafe { perl_sys::gp_signals_due(self.perl.raw()) != 0 }
    }

    fn signals(&mut self) -> Option<i32> {
        // SAFETY: `self.perl` is this thread's.
        match unsafe { perl_sys::gp_signals(self.perl.raw()) } {
            gp_outcome::GP_EXIT => match self.perl.failure(gp_outcome::GP_EXIT) {
                Failure::Exit(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    fn has_event_loop(&self) -> bool {
        self.server.event_loop.is_some()
    }

    fn run_loop(&mut self, watched: Watched, turn: &mut dyn FnMut(&mut dyn App) -> Turn) -> Ran {
        let perl = self.perl;
        let mut turning = Turning { app: self, turn };
        let mut call = gp_loop_call {
            turn: Some(take_turn),
            self_: (&raw mut turning).cast(),
            channel: watched.channel,
            waker: watched.waker,
            stopped: 0,
        };
        while call.stopped == 0 {
            // SAFETY: `call` and `turning` outlive the call; C does not begin a turn within a turn.
            match unsafe { perl_sys::gp_run_loop(perl.raw(), &mut call) } {
                gp_outcome::GP_OK => {}
                outcome => match perl.failure(outcome) {
                    Failure::Exit(status) => return Ran::Exit(status),
                    // What is not the loop's own is caught there. It goes on: others wait for their responses.
                    Failure::Died(message) => {
                        limited!(Error, "the event loop: {}", message.trim_end());
                    }
                    Failure::Elsewhere => return Ran::Exit(1),
                },
            }
        }
        Ran::Stopped
    }

    fn leave(&mut self, left: Left) -> Left {
        let Some(ChildExit { hook, handler }) = self.last_hook.take() else {
            return left;
        };
        let handler = handler.as_ref().map_or(std::ptr::null_mut(), Code::raw);
        // SAFETY: the values are this interpreter's; C counts its own references.
        let outcome = unsafe {
            let app = self.apps.any().map_or(ptr::null_mut(), Code::raw);
            perl_sys::gp_child_exit(self.perl.raw(), hook.raw(), handler, app)
        };
        match outcome {
            gp_outcome::GP_OK => left,
            other => match self.perl.failure(other) {
                Failure::Exit(status) => Left::Exit(status),
                failure => {
                    ::log::error!("child_exit: {failure}");
                    left
                }
            },
        }
    }
}
