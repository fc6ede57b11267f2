/* What a process does with its interpreter besides answering: become a worker, call hooks, fork. */
#include "boundary.h"

static void prepare(pTHX_ void *argument)
{
    size_t i;
    PERL_UNUSED_ARG(argument);
    gp_keys_begin(aTHX);
    gp_env_reuse_begin(aTHX);
    gp_sockets_begin(aTHX);
    gp_survive_broken_pipes(aTHX);
    gp.writer_stash = gv_stashpvs("Gepok::Writer", GV_ADD);
    /* psgi.input and psgi.errors are called by method. */
    load_module(PERL_LOADMOD_NOIMPORT, newSVpvs("IO::Handle"), NULL);
    load_module(PERL_LOADMOD_NOIMPORT, newSVpvs("IO::File"), NULL);
    load_module(PERL_LOADMOD_NOIMPORT, newSVpvs("PerlIO::scalar"), NULL);
    Newxz(gp.listeners, gp.worker.listener_count + 1, SV *);
    for (i = 0; i < gp.worker.listener_count; i++)
        gp.listeners[i] = gp_listener_socket(aTHX_ gp.worker.listeners[i]);
}

gp_outcome gp_open(gp_perl *perl, const gp_worker *worker)
{
    GP_PERL(perl);
    gp_outcome outcome;
    if (gp.open || gp_elsewhere(aTHX))
        return GP_BAD;
    gp.worker = *worker;
    outcome = gp_guarded(aTHX_ prepare, NULL);
    gp.worker.listeners = NULL;
    gp.open = outcome == GP_OK;
    gp_signals_begin(aTHX);
    return outcome;
}

static void unprepare(pTHX_ void *argument)
{
    size_t i;
    PERL_UNUSED_ARG(argument);
    gp_signals_end(aTHX);
    for (i = 0; i < gp.worker.listener_count; i++)
        SvREFCNT_dec(gp.listeners[i]);
    Safefree(gp.listeners);
    gp.listeners = NULL;
    gp_subs_forget(aTHX);
    /* A single process returns to the program that it was before. */
    if (!gp.worker.multiprocess)
        gp_restore_broken_pipes(aTHX);
    gp_env_reuse_end(aTHX);
    gp_sockets_end(aTHX);
    SvREFCNT_dec((SV *)gp.empty);
    gp.empty = NULL;
    SvREFCNT_dec(gp.response);
    gp.response = NULL;
    SvREFCNT_dec(gp.empty_content);
    gp.empty_content = NULL;
}

void gp_close(gp_perl *perl)
{
    GP_PERL(perl);
    if (!gp.open)
        return;
    /* First, because a writer's DESTROY may run from now on. */
    gp.open = 0;
    gp.worker.wake = NULL;
    if (!gp_elsewhere(aTHX) && !gp.exited)
        gp_guarded(aTHX_ unprepare, NULL);
}

/* A call of Perl code with strings, and its value. */
typedef struct hook_call {
    SV *code;
    const gp_slice *arguments;
    size_t count;
    SV *value;
} hook_call;

static void run_hook(pTHX_ void *argument)
{
    hook_call *call = (hook_call *)argument;
    size_t i;
    dSP;
    ENTER;
    SAVETMPS;
    PUSHMARK(SP);
    EXTEND(SP, (SSize_t)call->count);
    for (i = 0; i < call->count; i++)
        mPUSHs(call->arguments[i].ptr ? newSVpvn(call->arguments[i].ptr, call->arguments[i].len) : newSV(0));
    PUTBACK;
    call_sv(call->code, G_SCALAR);
    SPAGAIN;
    call->value = newSVsv(POPs);
    PUTBACK;
    FREETMPS;
    LEAVE;
}

/* Gives the value to the caller, or frees it. */
static void hand_over(pTHX_ SV *result, gp_sv **value)
{
    int wanted = result && value && SvOK(result);
    if (value)
        *value = wanted ? (gp_sv *)result : NULL;
    if (result && !wanted)
        gp_release(GP_OPAQUE, (gp_sv *)result);
}

gp_outcome gp_call(gp_perl *perl, gp_sv *code, const gp_slice *arguments, size_t count, gp_sv **value)
{
    GP_PERL(perl);
    hook_call call = {(SV *)code, arguments, count, NULL};
    gp_outcome outcome = gp_elsewhere(aTHX) ? GP_BAD : gp_guarded(aTHX_ run_hook, &call);
    hand_over(aTHX_ outcome == GP_OK ? call.value : NULL, value);
    return outcome;
}

/* Source to evaluate, and its value. */
typedef struct source {
    gp_slice text;
    gp_slice name;
    SV *value;
} source;

static void run_source(pTHX_ void *argument)
{
    source *s = (source *)argument;
    SV *text, *value;
    dSP;
    ENTER;
    SAVETMPS;
    text = sv_2mortal(newSVpvs("#line 1 \""));
    sv_catpvn(text, s->name.ptr, s->name.len);
    sv_catpvs(text, "\"\n");
    sv_catpvn(text, s->text.ptr, s->text.len);
    PUSHMARK(SP);
    PUTBACK;
    eval_sv(text, G_SCALAR);
    SPAGAIN;
    value = POPs;
    PUTBACK;
    if (SvTRUE(ERRSV))
        croak_sv(ERRSV);
    s->value = newSVsv(value);
    FREETMPS;
    LEAVE;
}

gp_outcome gp_eval(gp_perl *perl, gp_slice text, gp_slice name, gp_sv **value)
{
    GP_PERL(perl);
    source s = {text, name, NULL};
    gp_outcome outcome = gp_elsewhere(aTHX) ? GP_BAD : gp_guarded(aTHX_ run_source, &s);
    hand_over(aTHX_ outcome == GP_OK ? s.value : NULL, value);
    return outcome;
}

/* A value, and whether it can be called. */
typedef struct callable {
    SV *value;
    int yes;
} callable;

static void ask_callable(pTHX_ void *argument)
{
    callable *c = (callable *)argument;
    HV *stash;
    GV *gv;
    CV *cv = SvROK(c->value) ? sv_2cv(c->value, &stash, &gv, 0) : NULL;
    c->yes = cv ? 1 : 0;
}

int gp_is_code(gp_perl *perl, gp_sv *value)
{
    GP_PERL(perl);
    callable c = {(SV *)value, 0};
    return gp_guarded(aTHX_ ask_callable, &c) == GP_OK && c.yes;
}

static void flush_handles(pTHX_ void *argument)
{
    PERL_UNUSED_ARG(argument);
    PERL_FLUSHALL_FOR_CHILD;
}

int gp_fork(gp_perl *perl)
{
    GP_PERL(perl);
    int pid;
    /* A handle's layer may be Perl code. */
    gp_guarded(aTHX_ flush_handles, NULL);
    pid = PerlProc_fork();
    if (pid == 0) {
        gp.in_child = 0;
#ifdef PERL_USES_PL_PIDSTATUS
        hv_clear(PL_pidstatus);
#endif
    }
    return pid;
}

void gp_reseed(gp_perl *perl)
{
    GP_PERL(perl);
    PL_srand_called = FALSE;
}
