/* One request from beginning to end: env, app, response, what follows it, and every way out. */
#include "boundary.h"

/* A request being answered. */
typedef struct call {
    const gp_request *request;
    SV *app;
    HV *env;
    gp_exchange *exchange;
    SV *exchange_sv; /* keeps the exchange while we look at it */
    int settled;     /* idle was said, the env is freed */
    SSize_t handler; /* number of the cleanup handler that is run */
    int commit;
} call;

#define SINK gp.worker.sink
#define SELF gp.worker.self

static AV *cleanup_handlers(pTHX_ HV *env)
{
    SV **entry = gp_env_entry(aTHX_ env, KEY_CLEANUP_HANDLERS);
    if (!entry || !SvROK(*entry) || SvTYPE(SvRV(*entry)) != SVt_PVAV)
        return NULL;
    return (AV *)SvRV(*entry);
}

static int committed(pTHX_ HV *env)
{
    SV **entry = gp_env_entry(aTHX_ env, KEY_HARAKIRI_COMMIT);
    return entry && SvTRUE(gp_held(aTHX_ * entry));
}

/* The delayed response: the app's code gets the responder; afterwards something must have come of it. */
static void run_delayed(pTHX_ gp_exchange *exchange, SV *exchange_sv, SV *code)
{
    {
        dSP;
        ENTER;
        SAVETMPS;
        PUSHMARK(SP);
        XPUSHs(sv_2mortal(newRV_inc((SV *)gp.subs.responder)));
        PUTBACK;
        call_sv(code, G_VOID | G_DISCARD);
        /* What still holds the responder has kept it. */
        FREETMPS;
        LEAVE;
    }
    gp_leave_if_child(aTHX);
    /* The app answers, or has answered, by the client's socket. */
    if (exchange->orphan || (exchange->taken && !exchange->responded)) {
        gp_end(exchange);
        return;
    }
    if (!exchange->responded) {
        if (gp_delay(aTHX_ exchange, exchange_sv))
            return;
        croak("Gepok: the app returned without calling the responder");
    }
    if (!exchange->over && !exchange->writer)
        croak("Gepok: the response was not completed");
}

/* Everything between the request and idle, in one guard. */
static void run(pTHX_ void *argument)
{
    call *c = (call *)argument;
    SV *response;
    AV *handlers;

    ENTER;
    SAVETMPS;
    c->env = gp_env(aTHX_ c->request);
    {
        dSP;
        PUSHMARK(SP);
        /* Not the reference we keep: an app may assign to $_[0]. */
        XPUSHs(sv_2mortal(newRV_inc((SV *)c->env)));
        PUTBACK;
        call_sv(c->app, G_SCALAR);
        SPAGAIN;
        response = POPs;
        PUTBACK;
    }
    gp_leave_if_child(aTHX);
    SvGETMAGIC(response);
    if (SvROK(response) && SvTYPE(SvRV(response)) == SVt_PVAV) {
        if (av_len((AV *)SvRV(response)) != 2)
            croak("Gepok: a response has %ld elements instead of 3", (long)av_len((AV *)SvRV(response)) + 1);
        gp_answer(aTHX_ c->exchange, response);
    }
    else if (SvROK(response) && SvTYPE(SvRV(response)) == SVt_PVCV)
        run_delayed(aTHX_ c->exchange, c->exchange_sv, response);
    else
        croak("Gepok: the app returned neither an array nor a code reference, but '%" SVf "'", SVfARG(response));
    c->exchange->in_call = 0;

    handlers = cleanup_handlers(aTHX_ c->env);
    if (c->exchange->delayed && handlers && av_len(handlers) >= 0) {
        /* They run after the response. */
        c->exchange->env = (HV *)SvREFCNT_inc_simple_NN((SV *)c->env);
        handlers = NULL;
    }
    if (!(c->request->flags & GP_LAST) && !gp.worker.access_log && (!handlers || av_len(handlers) < 0) && !committed(aTHX_ c->env)) {
        HV *env = c->env;
        c->settled = 1;
        c->env = NULL;
        SINK.idle(SELF);
        SINK.flush(SELF);
        /* Destructors may take their time: the client has its answer. First the response, which may hold the env. */
        FREETMPS;
        gp_env_end(aTHX_ env);
    }
    FREETMPS;
    LEAVE;
}

/* A failure of the app that is to be logged. */
typedef struct failure {
    HV *env;          /* whose psgi.errors gets the line; NULL: our standard error */
    const char *what; /* what has failed, if that is not the call itself */
} failure;

/* Method and target of the request; undef where there is none. The query is left out: it may hold what others must not
 * read. */
SV *gp_request_name(pTHX)
{
    const gp_request *request = gp.request;
    gp_slice method = {"", 0}, target = {"", 0};
    const char *query;
    size_t i;
    if (!request)
        return gp.delayed_name ? gp.delayed_name : &PL_sv_undef;
    for (i = 0; i < request->entry_count; i++) {
        if (request->entries[i].key == KEY_REQUEST_METHOD)
            method = request->entries[i].value;
        else if (request->entries[i].key == KEY_REQUEST_URI)
            target = request->entries[i].value;
    }
    query = (const char *)memchr(target.ptr, '?', target.len);
    if (query)
        target.len = (size_t)(query - target.ptr);
    return sv_2mortal(newSVpvf("%.*s %.*s", (int)method.len, method.ptr, (int)target.len, target.ptr));
}

/* Makes gp.message the whole line. */
static void make_line(pTHX_ void *argument)
{
    const failure *f = (const failure *)argument;
    SV *text = sv_2mortal(f->what ? newSVpvf("%s: %" SVf, f->what, SVfARG(gp.message)) : newSVsv(gp.message));
    dSP;
    PUSHMARK(SP);
    EXTEND(SP, 2);
    PUSHs(gp_request_name(aTHX));
    PUSHs(text);
    PUTBACK;
    call_pv("Gepok::Logger::failure", G_SCALAR);
    SPAGAIN;
    sv_setsv(gp.message, POPs);
    PUTBACK;
}

/* Whether this is our standard error, as psgi.errors of an app that has put nothing else in its place, nor tied or reopened it. */
static int is_standard_error(pTHX_ SV **errors)
{
    IO *io = GvIO(PL_stderrgv);
    if (errors && !(SvROK(*errors) && SvRV(*errors) == (SV *)PL_stderrgv))
        return 0;
    return io && IoOFP(io) && PerlIO_fileno(IoOFP(io)) == 2 && !SvTIED_mg((SV *)io, PERL_MAGIC_tiedscalar);
}

/* Our standard error never makes us wait for its reader. */
static void write_message(void)
{
    gp.worker.log((gp_slice){SvPVX(gp.message), SvCUR(gp.message)});
}

static void print_line(pTHX_ void *argument)
{
    const failure *f = (const failure *)argument;
    SV **errors = f->env ? gp_env_entry(aTHX_ f->env, KEY_PSGI_ERRORS) : NULL;
    dSP;
    if (is_standard_error(aTHX_ errors)) {
        write_message();
        return;
    }
    PUSHMARK(SP);
    XPUSHs(errors && SvROK(*errors) ? sv_mortalcopy(*errors) : sv_2mortal(newRV_inc((SV *)PL_stderrgv)));
    XPUSHs(sv_mortalcopy(gp.message));
    PUTBACK;
    call_method("print", G_VOID | G_DISCARD);
}

/* The last exception goes to psgi.errors of the env, else to our standard error. */
void gp_log_error(pTHX_ HV *env, const char *what)
{
    failure f = {env, what};
    gp_describe(aTHX);
    gp_guarded(aTHX_ make_line, &f);
    if (SvCUR(gp.message) && gp_guarded(aTHX_ print_line, &f) == GP_DIED)
        write_message();
}

static void server_error(uint64_t id)
{
    static const char text[] = "Internal Server Error";
    static const gp_pair fields[] = {{{"Content-Type", 12}, {"text/plain", 10}}};
    gp_slice content = {text, sizeof(text) - 1};
    size_t taken;
    SINK.head(SELF, id, 500, fields, 1, (int64_t)content.len, 0);
    /* Little enough to be taken whole. */
    SINK.content(SELF, id, &content, 1, &taken);
    SINK.end(SELF, id);
}

/* Ends a response that the app will not: 500 as long as that is possible, else the connection is cut. It is not where the
 * app may have written to the client's socket itself. */
void gp_fail(gp_exchange *exchange)
{
    if (!exchange->over) {
        if (exchange->head || exchange->taken)
            SINK.abort(SELF, exchange->id);
        else
            server_error(exchange->id);
    }
    exchange->over = 1;
    exchange->writer = 0;
}

static void run_handler(pTHX_ void *argument)
{
    call *c = (call *)argument;
    AV *handlers = cleanup_handlers(aTHX_ c->env);
    SV **handler = handlers ? av_fetch(handlers, c->handler, 0) : NULL;
    dSP;
    if (!handler)
        return;
    PUSHMARK(SP);
    XPUSHs(sv_2mortal(newRV_inc((SV *)c->env)));
    PUTBACK;
    call_sv(sv_mortalcopy(*handler), G_VOID | G_DISCARD);
}

static void ask_commit(pTHX_ void *argument)
{
    call *c = (call *)argument;
    c->commit = committed(aTHX_ c->env);
}

static void free_env(pTHX_ void *argument)
{
    gp_env_end(aTHX_(HV *) argument);
}

/* What the usual way leaves out: cleanup handlers, harakiri, the last request. */
static gp_outcome settle(pTHX_ call *c)
{
    HV *env = c->env;
    int leave;
    if (gp.worker.access_log) {
        gp_done done = {c->request, env};
        SINK.flush(SELF);
        if (gp_guarded(aTHX_ gp_access_log, &done) == GP_DIED)
            gp_log_error(aTHX_ env, "access_log");
        if (gp.exited)
            return GP_EXIT;
    }
    if (env && !c->exchange->env) {
        for (;; c->handler++) {
            /* The length is read each time, because a handler may add another. */
            AV *handlers = cleanup_handlers(aTHX_ env);
            if (!handlers || c->handler > av_len(handlers))
                break;
            if (c->handler == 0)
                SINK.flush(SELF);
            if (gp_guarded(aTHX_ run_handler, c) == GP_DIED)
                gp_log_error(aTHX_ env, "a cleanup handler");
            if (gp.exited)
                return GP_EXIT;
        }
    }
    if (env && gp_guarded(aTHX_ ask_commit, c) == GP_EXIT)
        return GP_EXIT;
    /* A single process has no successor. */
    leave = c->request->flags & GP_LAST || (c->commit && gp.worker.multiprocess);
    if (!leave)
        SINK.idle(SELF);
    SINK.flush(SELF);
    c->env = NULL;
    if (env && gp_guarded(aTHX_ free_env, env) == GP_EXIT)
        return GP_EXIT;
    return leave ? GP_LEAVE : GP_OK;
}

gp_outcome gp_respond(gp_perl *perl, gp_sv *app, const gp_request *request)
{
    GP_PERL(perl);
    call c = {0};
    gp_outcome outcome;

    if (!gp.open || gp.exited || gp_elsewhere(aTHX))
        return gp.exited ? GP_EXIT : GP_BAD;
    c.request = request;
    c.app = (SV *)app;
    gp.request = request;
    c.exchange = gp_exchange_begin(aTHX_ request);
    c.exchange_sv = SvREFCNT_inc(gp.subs.exchange);

    outcome = gp_guarded(aTHX_ run, &c);
    c.exchange->in_call = 0;
    if (outcome == GP_DIED && !c.settled) {
        gp_log_error(aTHX_ c.env, NULL);
        if (!c.exchange->over && !c.exchange->head && !c.exchange->taken)
            gp_keep_failure(aTHX);
        gp_fail(c.exchange);
    }
    if (gp.close_error && !gp.exited) {
        gp.error = gp.close_error;
        gp.close_error = NULL;
        gp_log_error(aTHX_ c.env, "the body's close");
    }
    if (!gp.exited && !c.settled)
        outcome = settle(aTHX_ &c);
    if (gp.exited) {
        gp_fail(c.exchange);
        SINK.flush(SELF);
        outcome = GP_EXIT;
    }
    else if (c.settled)
        outcome = GP_OK;
    gp.request = NULL;
    SvREFCNT_dec(c.exchange_sv);
    return outcome;
}
