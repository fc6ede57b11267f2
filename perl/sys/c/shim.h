/* The whole C interface between Rust and Perl: opaque pointers, plain structs, total functions.
 *
 * Every function returns to its caller: whatever `die`, `exit`, `last` or a destructor does in Perl ends inside of it.
 * What Rust is called through (gp_sink, gp_serve_fn) returns a code and neither unwinds nor jumps. */
#ifndef GEPOK_SHIM_H
#define GEPOK_SHIM_H

#include <stddef.h>
#include <stdint.h>

/** An interpreter. */
typedef struct gp_perl gp_perl;
/** A Perl value; its holder owns one reference count. */
typedef struct gp_sv gp_sv;

/** Bytes owned by somebody else. */
typedef struct gp_slice {
    /** First byte; NULL means undef where a value may be undef. */
    const char *ptr;
    /** Number of bytes. */
    size_t len;
} gp_slice;

/** How Perl code came back. */
typedef enum gp_outcome {
    /** It returned. */
    GP_OK = 0,
    /** It died; gp_error tells the message. */
    GP_DIED = 1,
    /** It called exit: the interpreter can't go on, gp_exit_status tells the status. */
    GP_EXIT = 2,
    /** The worker exits after this request (psgix.harakiri, or GP_LAST). */
    GP_LEAVE = 3,
    /** The interpreter is in no state to run this (another thread, or a forked child). */
    GP_BAD = 4
} gp_outcome;

/** What became of a part of a response; the numbers are fixed because Rust answers with them. */
typedef enum gp_sent {
    /** It was taken. */
    GP_SENT = 0,
    /** The client has left. */
    GP_GONE = 1,
    /** The response is over, or Rust failed. */
    GP_OVER = 2,
    /** A head with more bytes of fields than a frame has; nothing was sent. */
    GP_TOO_LARGE = 3,
    /** The client has all the content that the response may have. */
    GP_COMPLETE = 4
} gp_sent;

/** A name and its value. */
typedef struct gp_pair {
    /** The name. */
    gp_slice name;
    /** The value. */
    gp_slice value;
} gp_pair;

/** An entry of the env whose value is a string. */
typedef struct gp_entry {
    /** Number of a key known beforehand (gp_key_name), or GP_UNKNOWN_KEY. */
    uint32_t key;
    /** The key's name where the number is GP_UNKNOWN_KEY. */
    gp_slice name;
    /** The value. */
    gp_slice value;
} gp_entry;

/** The number that no key known beforehand has. */
#define GP_UNKNOWN_KEY 0xffff

/** Seconds and microseconds since the epoch. */
typedef struct gp_time {
    /** Seconds. */
    int64_t seconds;
    /** Microseconds of that second. */
    uint32_t micros;
} gp_time;

/** Content of the request is none. */
#define GP_CONTENT_EMPTY 0
/** Content of the request is in memory. */
#define GP_CONTENT_BYTES 1
/** Content of the request is in a file from offset 0; the descriptor is given away. */
#define GP_CONTENT_FILE 2

/** The worker leaves after this request: do not say that it is idle. */
#define GP_LAST 1
/** The response has no content, whatever the app gives (HEAD). */
#define GP_HEAD_ONLY 2
/** The connection came by a Unix socket. */
#define GP_UNIX 4
/** The client speaks HTTPS: with us, or with a trusted proxy. */
#define GP_HTTPS 8
/** The connection has other requests at the same time: its socket is no app's. */
#define GP_SHARED 16
/** The client takes trailers of the response: psgix.trailers. */
#define GP_TRAILERS 32

/** One request, ready to become an env. */
typedef struct gp_request {
    /** Number by which the response's parts name it. */
    uint64_t id;
    /** GP_LAST, GP_HEAD_ONLY, GP_UNIX, GP_HTTPS, GP_SHARED, GP_TRAILERS. */
    uint32_t flags;
    /** GP_CONTENT_*. */
    uint32_t content_kind;
    /** The content where it is in memory. */
    gp_slice content;
    /** The content's descriptor where it is in a file. */
    int content_fd;
    /** Number of the listener, an index of gp_worker.listeners. */
    uint32_t listener;
    /** REMOTE_PORT, or -1 for no such key. */
    int32_t remote_port;
    /** CONTENT_LENGTH, or -1 for no such key. */
    int64_t content_length;
    /** The other string entries. */
    const gp_entry *entries;
    /** Number of entries. */
    size_t entry_count;
    /** Packed facts for gepok.socket (Gepok::Socket). */
    gp_slice socket;
    /** What a PROXY header tells (psgix.proxy_tlvs): a type, two bytes of length and the value, again and again. */
    gp_slice proxy_tlvs;
    /** The request's trailers (psgix.h2.trailers). */
    const gp_pair *trailers;
    /** Number of them. */
    size_t trailer_count;
    /** gepok.connect_time */
    gp_time connected;
    /** gepok.start_request_time */
    gp_time started;
    /** gepok.finish_request_time */
    gp_time finished;
} gp_request;

/** Where the parts of responses go: functions of Rust, given `self` back. They answer with a gp_sent. */
typedef struct gp_sink {
    /** An interim response. */
    int (*informational)(void *self, uint64_t id, uint16_t status, const gp_pair *fields, size_t count);
    /** The final response's head; length -1 where unknown. `is_file`: the content is all of a regular file. */
    int (*head)(void *self, uint64_t id, uint16_t status, const gp_pair *fields, size_t count, int64_t length, int is_file);
    /** Pieces of content. `taken` tells how many bytes of them were taken: less than all where a signal has come, whose
     * handler may have to run before the rest. */
    int (*content)(void *self, uint64_t id, const gp_slice *pieces, size_t count, size_t *taken);
    /** Fields after the content, in the place of those that were given before. */
    int (*trailers)(void *self, uint64_t id, const gp_pair *fields, size_t count);
    /** Content from a regular file; the descriptor stays the caller's. */
    int (*file)(void *self, uint64_t id, int fd, uint64_t offset, uint64_t length);
    /** The client's socket, the receiver's from then on; -1 where there is none to be had. */
    int (*take)(void *self, uint64_t id);
    /** Whether the client is still there: nothing is sent. */
    int (*look)(void *self, uint64_t id);
    /** The response is complete. */
    int (*end)(void *self, uint64_t id);
    /** The response can't be completed. */
    void (*abort)(void *self, uint64_t id);
    /** The worker can take the next request. */
    void (*idle)(void *self);
    /** Hands over what is queued. */
    int (*flush)(void *self);
} gp_sink;

/** What a worker is, for all of its requests. */
typedef struct gp_worker {
    /** Where responses go. */
    gp_sink sink;
    /** Given back to the sink's functions. */
    void *self;
    /** Packed facts for gepok.httpd_socket, one for each listener. */
    const gp_slice *listeners;
    /** Number of listeners. */
    size_t listener_count;
    /** Called within perl's handler of a signal, once perl has noted it; may be NULL. Async-signal-safe. */
    void (*wake)(void);
    /** The texts of a certificate, packed for Gepok::Socket; undef where it can't be read. They stay good until the
     * thread's next call. */
    gp_slice (*certificate_texts)(gp_slice der);
    /** Writes a line of the server's own to standard error, without waiting for its reader. */
    void (*log)(gp_slice line);
    /** gepok.loop: the event loop that the worker waits in; undef where it has none. psgi.nonblocking tells whether it has. */
    gp_slice event_loop;
    /** psgi.multiprocess, and whether psgix.harakiri is offered. */
    int multiprocess;
    /** Whether the app may have the client's socket: psgix.io. */
    int psgix_io;
    /** psgix.logger; the caller's until gp_close. */
    gp_sv *logger;
    /** Called after each response with the response, the client's socket and the entries of the env; may be NULL. The
     * caller's until gp_close. */
    gp_sv *access_log;
} gp_worker;

/** A named subroutine given to Gepok::_serve. */
typedef struct gp_hook {
    /** Its name. */
    gp_slice name;
    /** The code reference, owned by the receiver. */
    gp_sv *code;
} gp_hook;

/** What a run of the server, or a command to one that runs, ended with. */
typedef struct gp_served {
    /** Nonzero: the process has to exit with `status`; zero: return to the Perl caller. */
    int leave;
    /** Exit status where `leave` is set; a command's result. */
    int status;
    /** Length of the message; nonzero makes the caller die with it. */
    size_t message_len;
    /** The message. */
    char message[4096];
} gp_served;

/** The server's entry in Rust: runs until the server has ended, or does what `command` says with one that runs. */
typedef void (*gp_serve_fn)(gp_perl *perl, gp_slice command, const gp_pair *options, size_t option_count,
                            const gp_hook *hooks, size_t hook_count, gp_served *served);

/** Defines Gepok's XSUBs in the interpreter; `perl` may be NULL for a perl that has only one. */
void gp_boot(gp_perl *perl, gp_serve_fn serve);

/** Makes an interpreter for the standalone binary and runs the BEGIN side of `argv` (as perl's own command line).
 * Returns NULL where that failed; `status` is then the exit status. */
gp_perl *gp_embed_start(int argc, char **argv, char **env, gp_serve_fn serve, int *status);
/** Runs END blocks and destroys the interpreter; returns the exit status, which is `status` unless an END block changed it. */
int gp_embed_finish(gp_perl *perl, int status);

/** Evaluates Perl source under the file name `name`; the value goes to `value`, NULL for undef. */
gp_outcome gp_eval(gp_perl *perl, gp_slice source, gp_slice name, gp_sv **value);
/** Calls `code` with string arguments; its one value goes to `value` where that is not NULL. */
gp_outcome gp_call(gp_perl *perl, gp_sv *code, const gp_slice *arguments, size_t count, gp_sv **value);
/** Nonzero where the value is a code reference, or an object that can be called as one. */
int gp_is_code(gp_perl *perl, gp_sv *value);
/** Gives up one reference count. */
void gp_release(gp_perl *perl, gp_sv *value);
/** The message of the last GP_DIED, valid until the next call. */
gp_slice gp_error(gp_perl *perl);
/** The status of the last GP_EXIT. */
int gp_exit_status(gp_perl *perl);

/** Number of env keys known beforehand. */
size_t gp_key_count(void);
/** Name of the env key with that number. */
gp_slice gp_key_name(size_t number);

/** Makes this process a worker: what requests share is prepared. */
gp_outcome gp_open(gp_perl *perl, const gp_worker *worker);
/** Ends that; the sink is not called any more. */
void gp_close(gp_perl *perl);
/** Answers one request: env, app, response, cleanup. GP_OK (idle was said), GP_LEAVE or GP_EXIT. */
gp_outcome gp_respond(gp_perl *perl, gp_sv *app, const gp_request *request);
/** A run of the worker's event loop. */
typedef struct gp_loop_call {
    /** Called when one of the descriptors is readable; the answer is whether the loop is to stop. */
    int (*turn)(void *self);
    /** Given back to it. */
    void *self;
    /** The channel to the core. */
    int channel;
    /** What becomes readable when a turn is due for another reason. */
    int waker;
    /** `turn` has stopped the loop. */
    int stopped;
} gp_loop_call;

/** Runs the event loop until `turn` stops it, or until its own code leaves it. GP_OK, GP_DIED or GP_EXIT. */
gp_outcome gp_run_loop(gp_perl *perl, gp_loop_call *call);
/** Asks `callback` (ssl_verify_callback) whether a client's certificate is good; `error` tells why the chain is not, undef
 * where it is. `good` becomes 1 or 0. */
gp_outcome gp_verify(gp_perl *perl, gp_sv *callback, gp_slice certificate, gp_slice error, int *good);
/** Nonzero where signals have come whose Perl handlers have not run yet. */
int gp_signals_due(gp_perl *perl);
/** What a worker's signals do; called where Perl code may run. */
typedef struct gp_signal_calls {
    /** TERM: the worker exits after the current request. */
    void (*leave)(void);
    /** Answers `backtrace_signal`: one line for each call of Perl code, the innermost first. */
    void (*backtrace)(gp_slice text);
    /** Number of the signal that asks. */
    int backtrace_signal;
    /** In one process, NULL in a worker: TERM, INT, QUIT or HUP has come. Called in the signal's handler. */
    void (*note)(int number);
} gp_signal_calls;

/** Makes TERM, INT, QUIT, HUP and `backtrace_signal` what they are in a worker; with `note`, the first four what they are in one
 * process, until gp_close. */
gp_outcome gp_take_signals(gp_perl *perl, const gp_signal_calls *calls);
/** Runs the Perl signal handlers that are due. GP_OK or GP_EXIT. */
gp_outcome gp_signals(gp_perl *perl);

/** Calls `hook`, the last thing a worker does, with `handler` (NULL for undef) and `app`. Behind an exit of the app's it will
 * run as the first END block. GP_OK, GP_DIED or GP_EXIT. */
gp_outcome gp_child_exit(gp_perl *perl, gp_sv *hook, gp_sv *handler, gp_sv *app);

/** Forks as Perl's fork does; the child is a new process of ours, not one of the app's. Returns as fork(2). */
int gp_fork(gp_perl *perl);
/** Seeds rand again. */
void gp_reseed(gp_perl *perl);

#endif
