// Made from c/shim.h by bindgen: cargo build -p perl-sys --features regenerate

pub const GP_UNKNOWN_KEY: u32 = 65535;
pub const GP_CONTENT_EMPTY: u32 = 0;
pub const GP_CONTENT_BYTES: u32 = 1;
pub const GP_CONTENT_FILE: u32 = 2;
pub const GP_LAST: u32 = 1;
pub const GP_HEAD_ONLY: u32 = 2;
pub const GP_UNIX: u32 = 4;
pub const GP_HTTPS: u32 = 8;
pub const GP_SHARED: u32 = 16;
pub const GP_TRAILERS: u32 = 32;
#[doc = " An interpreter."]
#[repr(C)]
#[derive(Debug)]
pub struct gp_perl {
    _unused: [u8; 0],
}
#[doc = " A Perl value; its holder owns one reference count."]
#[repr(C)]
#[derive(Debug)]
pub struct gp_sv {
    _unused: [u8; 0],
}
#[doc = " Bytes owned by somebody else."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_slice {
    #[doc = " First byte; NULL means undef where a value may be undef."]
    pub ptr: *const ::std::os::raw::c_char,
    #[doc = " Number of bytes."]
    pub len: usize,
}
#[repr(u32)]
#[doc = " How Perl code came back."]
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
pub enum gp_outcome {
    #[doc = " It returned."]
    GP_OK = 0,
    #[doc = " It died; gp_error tells the message."]
    GP_DIED = 1,
    #[doc = " It called exit: the interpreter can't go on, gp_exit_status tells the status."]
    GP_EXIT = 2,
    #[doc = " The worker exits after this request (psgix.harakiri, or GP_LAST)."]
    GP_LEAVE = 3,
    #[doc = " The interpreter is in no state to run this (another thread, or a forked child)."]
    GP_BAD = 4,
}
#[repr(u32)]
#[doc = " What became of a part of a response; the numbers are fixed because Rust answers with them."]
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
pub enum gp_sent {
    #[doc = " It was taken."]
    GP_SENT = 0,
    #[doc = " The client has left."]
    GP_GONE = 1,
    #[doc = " The response is over, or Rust failed."]
    GP_OVER = 2,
    #[doc = " A head with more bytes of fields than a frame has; nothing was sent."]
    GP_TOO_LARGE = 3,
    #[doc = " The client has all the content that the response may have."]
    GP_COMPLETE = 4,
}
#[doc = " A name and its value."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_pair {
    #[doc = " The name."]
    pub name: gp_slice,
    #[doc = " The value."]
    pub value: gp_slice,
}
#[doc = " An entry of the env whose value is a string."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_entry {
    #[doc = " Number of a key known beforehand (gp_key_name), or GP_UNKNOWN_KEY."]
    pub key: u32,
    #[doc = " The key's name where the number is GP_UNKNOWN_KEY."]
    pub name: gp_slice,
    #[doc = " The value."]
    pub value: gp_slice,
}
#[doc = " Seconds and microseconds since the epoch."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_time {
    #[doc = " Seconds."]
    pub seconds: i64,
    #[doc = " Microseconds of that second."]
    pub micros: u32,
}
#[doc = " One request, ready to become an env."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_request {
    #[doc = " Number by which the response's parts name it."]
    pub id: u64,
    #[doc = " GP_LAST, GP_HEAD_ONLY, GP_UNIX, GP_HTTPS, GP_SHARED, GP_TRAILERS."]
    pub flags: u32,
    #[doc = " GP_CONTENT_*."]
    pub content_kind: u32,
    #[doc = " The content where it is in memory."]
    pub content: gp_slice,
    #[doc = " The content's descriptor where it is in a file."]
    pub content_fd: ::std::os::raw::c_int,
    #[doc = " Number of the listener, an index of gp_worker.listeners."]
    pub listener: u32,
    #[doc = " REMOTE_PORT, or -1 for no such key."]
    pub remote_port: i32,
    #[doc = " CONTENT_LENGTH, or -1 for no such key."]
    pub content_length: i64,
    #[doc = " The other string entries."]
    pub entries: *const gp_entry,
    #[doc = " Number of entries."]
    pub entry_count: usize,
    #[doc = " Packed facts for gepok.socket (Gepok::Socket)."]
    pub socket: gp_slice,
    #[doc = " What a PROXY header tells (psgix.proxy_tlvs): a type, two bytes of length and the value, again and again."]
    pub proxy_tlvs: gp_slice,
    #[doc = " The request's trailers (psgix.h2.trailers)."]
    pub trailers: *const gp_pair,
    #[doc = " Number of them."]
    pub trailer_count: usize,
    #[doc = " gepok.connect_time"]
    pub connected: gp_time,
    #[doc = " gepok.start_request_time"]
    pub started: gp_time,
    #[doc = " gepok.finish_request_time"]
    pub finished: gp_time,
}
#[doc = " Where the parts of responses go: functions of Rust, given `self` back. They answer with a gp_sent."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_sink {
    #[doc = " An interim response."]
    pub informational: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            id: u64,
            status: u16,
            fields: *const gp_pair,
            count: usize,
        ) -> ::std::os::raw::c_int,
    >,
    #[doc = " The final response's head; length -1 where unknown. `is_file`: the content is all of a regular file."]
    pub head: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            id: u64,
            status: u16,
            fields: *const gp_pair,
            count: usize,
            length: i64,
            is_file: ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
    >,
    #[doc = " Pieces of content. `taken` tells how many bytes of them were taken: less than all where a signal has come, whose\n handler may have to run before the rest."]
    pub content: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            id: u64,
            pieces: *const gp_slice,
            count: usize,
            taken: *mut usize,
        ) -> ::std::os::raw::c_int,
    >,
    #[doc = " Fields after the content, in the place of those that were given before."]
    pub trailers: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            id: u64,
            fields: *const gp_pair,
            count: usize,
        ) -> ::std::os::raw::c_int,
    >,
    #[doc = " Content from a regular file; the descriptor stays the caller's."]
    pub file: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            id: u64,
            fd: ::std::os::raw::c_int,
            offset: u64,
            length: u64,
        ) -> ::std::os::raw::c_int,
    >,
    #[doc = " The client's socket, the receiver's from then on; -1 where there is none to be had."]
    pub take: ::std::option::Option<
        unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void, id: u64) -> ::std::os::raw::c_int,
    >,
    #[doc = " Whether the client is still there: nothing is sent."]
    pub look: ::std::option::Option<
        unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void, id: u64) -> ::std::os::raw::c_int,
    >,
    #[doc = " The response is complete."]
    pub end: ::std::option::Option<
        unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void, id: u64) -> ::std::os::raw::c_int,
    >,
    #[doc = " The response can't be completed."]
    pub abort:
        ::std::option::Option<unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void, id: u64)>,
    #[doc = " The worker can take the next request."]
    pub idle: ::std::option::Option<unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void)>,
    #[doc = " Hands over what is queued."]
    pub flush: ::std::option::Option<
        unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void) -> ::std::os::raw::c_int,
    >,
}
#[doc = " What a worker is, for all of its requests."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_worker {
    #[doc = " Where responses go."]
    pub sink: gp_sink,
    #[doc = " Given back to the sink's functions."]
    pub self_: *mut ::std::os::raw::c_void,
    #[doc = " Packed facts for gepok.httpd_socket, one for each listener."]
    pub listeners: *const gp_slice,
    #[doc = " Number of listeners."]
    pub listener_count: usize,
    #[doc = " Called within perl's handler of a signal, once perl has noted it; may be NULL. Async-signal-safe."]
    pub wake: ::std::option::Option<unsafe extern "C" fn()>,
    #[doc = " The texts of a certificate, packed for Gepok::Socket; undef where it can't be read. They stay good until the\n thread's next call."]
    pub certificate_texts: ::std::option::Option<unsafe extern "C" fn(der: gp_slice) -> gp_slice>,
    #[doc = " Writes a line of the server's own to standard error, without waiting for its reader."]
    pub log: ::std::option::Option<unsafe extern "C" fn(line: gp_slice)>,
    #[doc = " gepok.loop: the event loop that the worker waits in; undef where it has none. psgi.nonblocking tells whether it has."]
    pub event_loop: gp_slice,
    #[doc = " psgi.multiprocess, and whether psgix.harakiri is offered."]
    pub multiprocess: ::std::os::raw::c_int,
    #[doc = " Whether the app may have the client's socket: psgix.io."]
    pub psgix_io: ::std::os::raw::c_int,
    #[doc = " psgix.logger; the caller's until gp_close."]
    pub logger: *mut gp_sv,
    #[doc = " Called after each response with the response, the client's socket and the entries of the env; may be NULL. The\n caller's until gp_close."]
    pub access_log: *mut gp_sv,
}
#[doc = " A named subroutine given to Gepok::_serve."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_hook {
    #[doc = " Its name."]
    pub name: gp_slice,
    #[doc = " The code reference, owned by the receiver."]
    pub code: *mut gp_sv,
}
#[doc = " What a run of the server, or a command to one that runs, ended with."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_served {
    #[doc = " Nonzero: the process has to exit with `status`; zero: return to the Perl caller."]
    pub leave: ::std::os::raw::c_int,
    #[doc = " Exit status where `leave` is set; a command's result."]
    pub status: ::std::os::raw::c_int,
    #[doc = " Length of the message; nonzero makes the caller die with it."]
    pub message_len: usize,
    #[doc = " The message."]
    pub message: [::std::os::raw::c_char; 4096usize],
}
#[doc = " The server's entry in Rust: runs until the server has ended, or does what `command` says with one that runs."]
pub type gp_serve_fn = ::std::option::Option<
    unsafe extern "C" fn(
        perl: *mut gp_perl,
        command: gp_slice,
        options: *const gp_pair,
        option_count: usize,
        hooks: *const gp_hook,
        hook_count: usize,
        served: *mut gp_served,
    ),
>;
unsafe extern "C" {
    #[doc = " Defines Gepok's XSUBs in the interpreter; `perl` may be NULL for a perl that has only one."]
    pub fn gp_boot(perl: *mut gp_perl, serve: gp_serve_fn);
}
unsafe extern "C" {
    #[doc = " Makes an interpreter for the standalone binary and runs the BEGIN side of `argv` (as perl's own command line).\n Returns NULL where that failed; `status` is then the exit status."]
    pub fn gp_embed_start(
        argc: ::std::os::raw::c_int,
        argv: *mut *mut ::std::os::raw::c_char,
        env: *mut *mut ::std::os::raw::c_char,
        serve: gp_serve_fn,
        status: *mut ::std::os::raw::c_int,
    ) -> *mut gp_perl;
}
unsafe extern "C" {
    #[doc = " Runs END blocks and destroys the interpreter; returns the exit status, which is `status` unless an END block changed it."]
    pub fn gp_embed_finish(
        perl: *mut gp_perl,
        status: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    #[doc = " Evaluates Perl source under the file name `name`; the value goes to `value`, NULL for undef."]
    pub fn gp_eval(
        perl: *mut gp_perl,
        source: gp_slice,
        name: gp_slice,
        value: *mut *mut gp_sv,
    ) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Calls `code` with string arguments; its one value goes to `value` where that is not NULL."]
    pub fn gp_call(
        perl: *mut gp_perl,
        code: *mut gp_sv,
        arguments: *const gp_slice,
        count: usize,
        value: *mut *mut gp_sv,
    ) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Nonzero where the value is a code reference, or an object that can be called as one."]
    pub fn gp_is_code(perl: *mut gp_perl, value: *mut gp_sv) -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    #[doc = " Gives up one reference count."]
    pub fn gp_release(perl: *mut gp_perl, value: *mut gp_sv);
}
unsafe extern "C" {
    #[doc = " The message of the last GP_DIED, valid until the next call."]
    pub fn gp_error(perl: *mut gp_perl) -> gp_slice;
}
unsafe extern "C" {
    #[doc = " The status of the last GP_EXIT."]
    pub fn gp_exit_status(perl: *mut gp_perl) -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    #[doc = " Number of env keys known beforehand."]
    pub fn gp_key_count() -> usize;
}
unsafe extern "C" {
    #[doc = " Name of the env key with that number."]
    pub fn gp_key_name(number: usize) -> gp_slice;
}
unsafe extern "C" {
    #[doc = " Makes this process a worker: what requests share is prepared."]
    pub fn gp_open(perl: *mut gp_perl, worker: *const gp_worker) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Ends that; the sink is not called any more."]
    pub fn gp_close(perl: *mut gp_perl);
}
unsafe extern "C" {
    #[doc = " Answers one request: env, app, response, cleanup. GP_OK (idle was said), GP_LEAVE or GP_EXIT."]
    pub fn gp_respond(
        perl: *mut gp_perl,
        app: *mut gp_sv,
        request: *const gp_request,
    ) -> gp_outcome;
}
#[doc = " A run of the worker's event loop."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_loop_call {
    #[doc = " Called when one of the descriptors is readable; the answer is whether the loop is to stop."]
    pub turn: ::std::option::Option<
        unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void) -> ::std::os::raw::c_int,
    >,
    #[doc = " Given back to it."]
    pub self_: *mut ::std::os::raw::c_void,
    #[doc = " The channel to the core."]
    pub channel: ::std::os::raw::c_int,
    #[doc = " What becomes readable when a turn is due for another reason."]
    pub waker: ::std::os::raw::c_int,
    #[doc = " `turn` has stopped the loop."]
    pub stopped: ::std::os::raw::c_int,
}
unsafe extern "C" {
    #[doc = " Runs the event loop until `turn` stops it, or until its own code leaves it. GP_OK, GP_DIED or GP_EXIT."]
    pub fn gp_run_loop(perl: *mut gp_perl, call: *mut gp_loop_call) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Asks `callback` (ssl_verify_callback) whether a client's certificate is good; `error` tells why the chain is not, undef\n where it is. `good` becomes 1 or 0."]
    pub fn gp_verify(
        perl: *mut gp_perl,
        callback: *mut gp_sv,
        certificate: gp_slice,
        error: gp_slice,
        good: *mut ::std::os::raw::c_int,
    ) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Nonzero where signals have come whose Perl handlers have not run yet."]
    pub fn gp_signals_due(perl: *mut gp_perl) -> ::std::os::raw::c_int;
}
#[doc = " What a worker's signals do; called where Perl code may run."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct gp_signal_calls {
    #[doc = " TERM: the worker exits after the current request."]
    pub leave: ::std::option::Option<unsafe extern "C" fn()>,
    #[doc = " Answers `backtrace_signal`: one line for each call of Perl code, the innermost first."]
    pub backtrace: ::std::option::Option<unsafe extern "C" fn(text: gp_slice)>,
    #[doc = " Number of the signal that asks."]
    pub backtrace_signal: ::std::os::raw::c_int,
    #[doc = " In one process, NULL in a worker: TERM, INT, QUIT or HUP has come. Called in the signal's handler."]
    pub note: ::std::option::Option<unsafe extern "C" fn(number: ::std::os::raw::c_int)>,
}
unsafe extern "C" {
    #[doc = " Makes TERM, INT, QUIT, HUP and `backtrace_signal` what they are in a worker; with `note`, the first four what they are in one\n process, until gp_close."]
    pub fn gp_take_signals(perl: *mut gp_perl, calls: *const gp_signal_calls) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Runs the Perl signal handlers that are due. GP_OK or GP_EXIT."]
    pub fn gp_signals(perl: *mut gp_perl) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Calls `hook`, the last thing a worker does, with `handler` (NULL for undef) and `app`. Behind an exit of the app's it will\n run as the first END block. GP_OK, GP_DIED or GP_EXIT."]
    pub fn gp_child_exit(
        perl: *mut gp_perl,
        hook: *mut gp_sv,
        handler: *mut gp_sv,
        app: *mut gp_sv,
    ) -> gp_outcome;
}
unsafe extern "C" {
    #[doc = " Forks as Perl's fork does; the child is a new process of ours, not one of the app's. Returns as fork(2)."]
    pub fn gp_fork(perl: *mut gp_perl) -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    #[doc = " Seeds rand again."]
    pub fn gp_reseed(perl: *mut gp_perl);
}
