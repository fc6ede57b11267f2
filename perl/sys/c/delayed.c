/* Delayed responses in an event loop: the app keeps the responder beyond its call, and answers later. */
#include "boundary.h"

/* Holds the name of a delayed request at its exchange. */
static const MGVTBL name_magic = {0};

/* The call has returned without a response. Where the app has kept the responder, it is the only one that holds it from now on,
 * so that its end is noticed. Returns whether it has. */
int gp_delay(pTHX_ gp_exchange *exchange, SV *exchange_sv)
{
    if (!gp.worker.event_loop.ptr || SvREFCNT((SV *)gp.subs.responder) < 2)
        return 0;
    exchange->delayed = 1;
    sv_magicext(exchange_sv, gp_request_name(aTHX), PERL_MAGIC_ext, &name_magic, NULL, 0);
    gp_subs_forget(aTHX);
    return 1;
}

static void log_failure(pTHX_ SV *exchange_sv, SV *why)
{
    gp_exchange *exchange = (gp_exchange *)SvPVX(exchange_sv);
    MAGIC *magic = mg_findext(exchange_sv, PERL_MAGIC_ext, &name_magic);
    SV *old = gp.error;
    gp.error = why;
    SvREFCNT_dec(old);
    gp.delayed_name = magic ? magic->mg_obj : NULL;
    gp_log_error(aTHX_ exchange->env, NULL);
    gp.delayed_name = NULL;
}

/* A delayed response that the app will not give any more. May be called while Perl frees something: nothing dies here. */
void gp_delayed_fails(pTHX_ SV *exchange_sv, const char *why)
{
    gp_exchange *exchange = (gp_exchange *)SvPVX(exchange_sv);
    if (!exchange->delayed || exchange->in_call || exchange->over || exchange->writer || !gp.open || gp.exited ||
        gp_elsewhere(aTHX))
        return;
    /* The magic that brought us here may hold the last count. */
    SvREFCNT_inc_simple_void_NN(exchange_sv);
    gp_fail(exchange);
    gp.worker.sink.flush(gp.worker.self);
    if (why)
        log_failure(aTHX_ exchange_sv, newSVpvf("Gepok: %s\n", why));
    gp_delayed_over(aTHX_ exchange);
    SvREFCNT_dec_NN(exchange_sv);
}

/* The responder has returned, or is left by an exception, which is its caller's to log. */
void gp_delayed_answered(pTHX_ SV *exchange_sv)
{
    gp_exchange *exchange = (gp_exchange *)SvPVX(exchange_sv);
    if (!exchange->delayed || exchange->in_call)
        return;
    if (gp.close_error && !gp.exited) {
        SV *why = gp.close_error;
        gp.close_error = NULL;
        log_failure(aTHX_ exchange_sv, newSVpvf("the body's close: %" SVf, SVfARG(why)));
        SvREFCNT_dec_NN(why);
    }
    if (exchange->over)
        gp_delayed_over(aTHX_ exchange);
    else
        gp_delayed_fails(aTHX_ exchange_sv, NULL);
}

/* Cleanup handlers, and which of them runs. */
typedef struct cleanup {
    HV *env;
    SSize_t at;
} cleanup;

static AV *handlers_of(pTHX_ HV *env)
{
    SV **entry = gp_env_entry(aTHX_ env, KEY_CLEANUP_HANDLERS);
    return entry && SvROK(*entry) && SvTYPE(SvRV(*entry)) == SVt_PVAV ? (AV *)SvRV(*entry) : NULL;
}

static void run_handler(pTHX_ void *argument)
{
    cleanup *c = (cleanup *)argument;
    AV *handlers = handlers_of(aTHX_ c->env);
    SV **handler = handlers ? av_fetch(handlers, c->at, 0) : NULL;
    dSP;
    if (!handler)
        return;
    PUSHMARK(SP);
    XPUSHs(sv_2mortal(newRV_inc((SV *)c->env)));
    PUTBACK;
    call_sv(sv_mortalcopy(*handler), G_VOID | G_DISCARD);
}

static void free_env(pTHX_ void *argument)
{
    SvREFCNT_dec((SV *)argument);
}

/* The response is over, and flushed: the cleanup handlers run. One that calls exit ends the worker at the next turn. */
void gp_delayed_over(pTHX_ gp_exchange *exchange)
{
    cleanup c = {exchange->env, 0};
    exchange->env = NULL;
    if (!c.env)
        return;
    for (; !gp.exited; c.at++) {
        AV *handlers = handlers_of(aTHX_ c.env);
        if (!handlers || c.at > av_len(handlers))
            break;
        if (gp_guarded(aTHX_ run_handler, &c) == GP_DIED)
            gp_log_error(aTHX_ c.env, "a cleanup handler");
    }
    if (!gp.exited)
        gp_guarded(aTHX_ free_env, c.env);
}
