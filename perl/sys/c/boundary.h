/* What the C files of the boundary share: state, the guard, and one file's functions for another. Never seen by Rust. */
#ifndef GEPOK_BOUNDARY_H
#define GEPOK_BOUNDARY_H

#define PERL_NO_GET_CONTEXT
#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"
#include <signal.h>
#include "shim.h"

/* The interpreter as an opaque pointer; unused if perl has only one. */
#ifdef MULTIPLICITY
#define GP_PERL(perl) dTHXa((PerlInterpreter *)(perl))
#define GP_OPAQUE ((gp_perl *)aTHX)
#else
#define GP_PERL(perl) PERL_UNUSED_ARG(perl)
#define GP_OPAQUE ((gp_perl *)&PL_curstackinfo)
#endif

/* Numbers of the keys in keys.h. */
enum {
#define GP_KEY(number, text) number,
#include "keys.h"
#undef GP_KEY
    GP_KEYS
};

/* One response in the making. It lives in the buffer of an SV, so that responder, writer and informational can share it. */
typedef struct gp_exchange {
    uint64_t id;
    unsigned in_call : 1;   /* the app is working on this very request */
    unsigned head_only : 1; /* HEAD */
    unsigned responded : 1; /* the responder was called */
    unsigned head : 1;      /* the head was handed over */
    unsigned bodiless : 1;  /* the response has no content, whatever the app gives */
    unsigned writer : 1;    /* a writer is in the app's hands */
    unsigned orphan : 1;    /* the writer was destroyed unclosed while the app still ran */
    unsigned taken : 1;     /* the app has the client's socket */
    unsigned delayed : 1;   /* the responder was kept beyond the call, in an event loop */
    unsigned over : 1;      /* ended or aborted */
    HV *env;                /* of a delayed response that has cleanup handlers, until these have run */
} gp_exchange;

/* A closure over an exchange, without a pad: the subs live on as long as nobody keeps them, see gp_exchange_begin. */
typedef struct gp_subs {
    SV *exchange;
    CV *informational;
    CV *client_gone;
    CV *trailers;
    CV *responder;
} gp_subs;

/* Address families of sockets, each with a class. */
enum { GP_FAMILY_TCP, GP_FAMILY_UNIX, GP_FAMILIES };

/* The client's socket as an app gets it: a handle that the next request reuses if the app has not used it. */
typedef struct gp_link gp_link;
typedef struct gp_socket {
    GV *handle;
    gp_link *link;
    U32 flags[2]; /* of its two ends, as they were made */
} gp_socket;

/* A request whose response is over. */
typedef struct gp_done {
    const gp_request *request;
    HV *env;
} gp_done;

/* A guarded piece of work. */
typedef void (*gp_work)(pTHX_ void *argument);

/* Everything the boundary remembers. One for the process: a worker has one interpreter. */
struct gp_state {
    void *perl;                     /* the interpreter that owns all SVs here */
    volatile sig_atomic_t in_child; /* set in a process forked by the app */
    int leaving;                    /* such a process runs its END blocks */
    int exited;                     /* Perl code called exit */
    int exit_status;
    struct gp_frame *frame; /* what the guard's XSUB shall run */
    CV *guard;
    COP cop; /* where Perl code runs that we call from nowhere */
    SV *error;                 /* the exception of the last GP_DIED */
    SV *message;               /* its text */
    SV *close_error;           /* what the body's close died with, until that is logged */
    const gp_request *request; /* the one that is being answered */
    SV *delayed_name;          /* method and path of a delayed one that fails */
    gp_loop_call *loop;        /* the run of the event loop */
    int in_turn;               /* of it */
    gp_serve_fn serve;
    int open; /* between gp_open and gp_close */
    gp_worker worker;
    SV **listeners;
    SV *keys[GP_KEYS];
    U32 hashes[GP_KEYS];
    HV *recycled_env; /* the last request's env, for the next */
    SV *recycled[GP_KEYS]; /* its values that the next has not set yet, see env_reuse.c */
    GV *empty;         /* psgi.input of requests without content */
    SV *empty_content; /* what it reads */
    HV *socket_stashes[GP_FAMILIES];
    gp_socket sockets[GP_FAMILIES];
    HV *writer_stash;
    SV *response; /* for worker.access_log */
    gp_subs subs;
};
extern struct gp_state gp;

/* guard.c */
gp_outcome gp_guarded(pTHX_ gp_work work, void *argument);
void gp_adopt(pTHX);
void gp_watch_forks(void);
int gp_elsewhere(pTHX);
void gp_assert_here(pTHX);
void gp_leave_if_child(pTHX);
void gp_describe(pTHX);

/* env.c */
void gp_keys_begin(pTHX);
HV *gp_env(pTHX_ const gp_request *request);
SV **gp_env_entry(pTHX_ HV *env, int key);

/* env_reuse.c */
void gp_env_reuse_begin(pTHX);
void gp_env_reuse_end(pTHX);
HV *gp_env_recycle(void);
void gp_env_end(pTHX_ HV *env);

/* input.c */
GV *gp_new_handle(pTHX);
SV *gp_input(pTHX_ const gp_request *request);

/* socket.c */
void gp_sockets_boot(pTHX);
void gp_sockets_begin(pTHX);
void gp_sockets_end(pTHX);
SV *gp_client_socket(pTHX_ const gp_request *request);
SV *gp_listener_socket(pTHX_ gp_slice facts);
SV *gp_httpd_socket(pTHX_ const gp_request *request);

/* bytes.c */
/* Whether reading the value runs no Perl code and gives its bytes as they stand. */
static inline int gp_is_plain(SV *sv)
{
    return !SvROK(sv) && !SvGMAGICAL(sv) && !SvUTF8(sv) && SvTYPE(sv) <= SVt_PVMG;
}

/* The value, kept until the temporaries are freed where reading it may run code of the app's: that code may remove it from
 * the array or variable that holds it. */
static inline SV *gp_held(pTHX_ SV *sv)
{
    if (!gp_is_plain(sv))
        sv_2mortal(SvREFCNT_inc_simple_NN(sv));
    return sv;
}

/* The value after its magic, kept as above. A reference of which only the target is used runs no code. */
static inline SV *gp_fetched(pTHX_ SV *sv)
{
    if (SvGMAGICAL(sv)) {
        sv_2mortal(SvREFCNT_inc_simple_NN(sv));
        mg_get(sv);
    }
    return sv;
}

gp_slice gp_octets(pTHX_ SV *sv, int copy);
gp_pair *gp_fields(pTHX_ SV *list, size_t *count);

/* answer.c */
void gp_answer(pTHX_ gp_exchange *exchange, SV *response);
int gp_content(pTHX_ gp_exchange *exchange, const gp_slice *pieces, size_t count);
void gp_end(gp_exchange *exchange);

/* log.c */
void gp_keep_response(pTHX_ SV *response);
void gp_keep_failure(pTHX);
void gp_access_log(pTHX_ void *argument);

/* respond.c */
void gp_log_error(pTHX_ HV *env, const char *what);
SV *gp_request_name(pTHX);
void gp_fail(gp_exchange *exchange);

/* delayed.c */
int gp_delay(pTHX_ gp_exchange *exchange, SV *exchange_sv);
void gp_delayed_fails(pTHX_ SV *exchange_sv, const char *why);
void gp_delayed_answered(pTHX_ SV *exchange_sv);
void gp_delayed_over(pTHX_ gp_exchange *exchange);

/* loop.c */
void gp_loop_boot(pTHX);

/* signals.c */
void gp_signals_begin(pTHX);
void gp_signals_end(pTHX);
void gp_signals_leave(pTHX);
void gp_signals_in_child(void);
void gp_survive_broken_pipes(pTHX);
void gp_restore_broken_pipes(pTHX);

/* backtrace.c */
void gp_note_interrupted(void);
SV *gp_backtrace(pTHX);

/* stream.c */
gp_exchange *gp_exchange_begin(pTHX_ const gp_request *request);
void gp_subs_forget(pTHX);
void gp_stream_boot(pTHX);

#endif
