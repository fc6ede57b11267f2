/* Signals while the worker waits: perl's own handler only notes them, so somebody must be told to look. */
#include "boundary.h"

/* Perl's handler has one argument or three, by version and configuration. */
#if defined(PERL_USE_3ARG_SIGHANDLER) || (PERL_VERSION < 31 && defined(HAS_SIGACTION) && defined(SA_SIGINFO))
#define PARAMETERS int number, siginfo_t *info, void *context
#define ARGUMENTS number, info, context
#else
#define PARAMETERS int number
#define ARGUMENTS number
#endif

static gp_signal_calls calls;

/* What perl would install of itself. */
static Sighandler_t perls_handler;

/* Those that control a server. */
static const int moving[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP};

/* What %SIG had for them, until gp_signals_end. */
static SV *taken_from[C_ARRAY_LENGTH(moving)];

static XSPROTO(xs_leave);
static XSPROTO(xs_disregard);
static XSPROTO(xs_noted);

/* Whether a signal's entry in %SIG is this function. Perl's table is only read: in a handler, and after fork. Perl blocks the
 * signal while it changes its entry. */
static int is_handler(pTHX_ int number, XSUBADDR_t function)
{
    /* A program that never names %SIG has no table. */
    SV *handler = PL_psig_ptr ? PL_psig_ptr[number] : NULL;
    PERL_UNUSED_CONTEXT;
    return handler && SvROK(handler) && SvTYPE(SvRV(handler)) == SVt_PVCV && CvXSUB((CV *)SvRV(handler)) == function;
}

/* One process: the server is notified at once, even while the app's code does not look for signals. */
static void note(int number)
{
    GP_PERL(gp.perl);
    if (calls.note && !gp.in_child && is_handler(aTHX_ number, xs_noted))
        calls.note(number);
}

static void note_and_wake(PARAMETERS)
{
    int saved = errno;
    note(number);
    if (number == calls.backtrace_signal)
        gp_note_interrupted();
    perls_handler(ARGUMENTS);
    if (gp.worker.wake && !gp.in_child)
        gp.worker.wake();
    errno = saved;
}

/* Puts our handler in the place of perl's, for the entries that %SIG has by now and for those to come. */
void gp_signals_begin(pTHX)
{
    int number;
    PERL_UNUSED_CONTEXT;
    if (PL_csighandlerp == note_and_wake)
        return;
    perls_handler = PL_csighandlerp;
    PL_csighandlerp = note_and_wake;
    for (number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0)
            continue;
        /* One place in the structure, whichever of the two types is meant. */
        if ((Sighandler_t)action.sa_handler != perls_handler)
            continue;
        action.sa_handler = (void (*)(int))note_and_wake;
        sigaction(number, &action, NULL);
    }
}

/* In a process forked by the app that has restored a handler of ours, by leaving a `local $SIG{TERM}`: what the signal does by
 * default. Else gp_signals_in_child has taken the handlers away. */
static int die_in_child(pTHX_ SV *name)
{
    I32 number;
    if (!gp.in_child)
        return 0;
    number = whichsig_sv(name);
    if (number > 0) {
        rsignal(number, (Sighandler_t)SIG_DFL);
        PerlProc_kill(PerlProc_getpid(), number);
    }
    return 1;
}

static XSPROTO(xs_leave)
{
    dXSARGS;
    PERL_UNUSED_VAR(cv);
    if (items < 1 || !die_in_child(aTHX_ ST(0)))
        calls.leave();
    XSRETURN_EMPTY;
}

static XSPROTO(xs_disregard)
{
    dXSARGS;
    PERL_UNUSED_VAR(cv);
    if (items > 0)
        die_in_child(aTHX_ ST(0));
    XSRETURN_EMPTY;
}

/* The handler has told the server already. */
static XSPROTO(xs_noted)
{
    xs_disregard(aTHX_ cv);
}

static XSPROTO(xs_backtrace)
{
    dXSARGS;
    PERL_UNUSED_VAR(cv);
    PERL_UNUSED_VAR(items);
    if (!gp.in_child) {
        SV *text = gp_backtrace(aTHX);
        calls.backtrace((gp_slice){SvPVX(text), SvCUR(text)});
    }
    XSRETURN_EMPTY;
}

/* In a process forked by the app a signal does what it does by default. Perl would run our handlers when it next looks
 * for signals, and a child that is about to sleep looks too late. Called between fork and its return: sigaction is
 * async-signal-safe, and Perl's table is only read. */
void gp_signals_in_child(void)
{
    size_t i;
    dTHX;
    if (gp.perl != GP_OPAQUE)
        return;
    for (i = 0; i < C_ARRAY_LENGTH(moving); i++) {
        int number = moving[i];
        struct sigaction action;
        if (!is_handler(aTHX_ number, xs_leave) && !is_handler(aTHX_ number, xs_disregard)
            && !is_handler(aTHX_ number, xs_noted))
            continue;
        Zero(&action, 1, struct sigaction);
        action.sa_handler = SIG_DFL;
        sigaction(number, &action, NULL);
    }
}

static void do_nothing(int number)
{
    PERL_UNUSED_VAR(number);
}

/* A worker is about to run its END blocks: the signals that end servers must not cut them short. Perl's own `main` takes away
 * what is PL_csighandlerp before them, so another function stands there. */
void gp_signals_leave(pTHX)
{
    size_t i;
    for (i = 0; i < C_ARRAY_LENGTH(moving); i++) {
        int number = moving[i];
        struct sigaction action;
        if (!is_handler(aTHX_ number, xs_leave) && !is_handler(aTHX_ number, xs_disregard))
            continue;
        Zero(&action, 1, struct sigaction);
        action.sa_handler = do_nothing;
        action.sa_flags = SA_RESTART;
        sigaction(number, &action, NULL);
    }
}

/* As Perl's own handlers, so that an app's `local $SIG{TERM}` finds and restores them. */
static void set_handler(pTHX_ const char *name, CV *handler)
{
    SV **entry = hv_fetch(get_hv("SIG", GV_ADD), name, (I32)strlen(name), 1);
    if (entry) {
        sv_setsv(*entry, sv_2mortal(newRV_inc((SV *)handler)));
        SvSETMAGIC(*entry);
    }
}

/* The handler of SIGPIPE: the write has failed with EPIPE, and that is all. */
static XSPROTO(xs_broken_pipe)
{
    dXSARGS;
    PERL_UNUSED_VAR(cv);
    PERL_UNUSED_VAR(items);
    XSRETURN_EMPTY;
}

/* What SIGPIPE did before. */
static enum { PIPE_KEPT, PIPE_DEFAULT, PIPE_IGNORED } before;

/* Any client could end a process in which SIGPIPE has its default: a program that the app writes to need only end early.
 * A handler, unlike 'IGNORE', is not inherited by the programs that the app starts: they end by the signal, as usual. What
 * the app has set stays, also 'IGNORE'; one that was inherited is in no table of Perl's. */
void gp_survive_broken_pipes(pTHX)
{
    CV *broken_pipe = get_cv("Gepok::_broken_pipe", 0);
    Sighandler_t state = rsignal_state(SIGPIPE);
    before = PIPE_KEPT;
    if (state == (Sighandler_t)SIG_DFL)
        before = PIPE_DEFAULT;
    else if (state == (Sighandler_t)SIG_IGN && !(PL_psig_ptr && PL_psig_ptr[SIGPIPE]))
        before = PIPE_IGNORED;
    if (before == PIPE_KEPT)
        return;
    if (!broken_pipe)
        broken_pipe = newXS("Gepok::_broken_pipe", xs_broken_pipe, __FILE__);
    set_handler(aTHX_ "PIPE", broken_pipe);
}

/* Gives SIGPIPE back, unless the app has set it since. */
void gp_restore_broken_pipes(pTHX)
{
    SV *handler = PL_psig_ptr ? PL_psig_ptr[SIGPIPE] : NULL;
    if (before == PIPE_KEPT || !handler || !SvROK(handler) || SvRV(handler) != (SV *)get_cv("Gepok::_broken_pipe", 0))
        return;
    sv_setpv_mg(*hv_fetchs(get_hv("SIG", GV_ADD), "PIPE", 1), before == PIPE_IGNORED ? "IGNORE" : "DEFAULT");
    before = PIPE_KEPT;
}

/* The four are the server's; the app may have other handlers for as long as a `local` lasts. */
static void take_in_one_process(pTHX)
{
    CV *noted = get_cv("Gepok::_noted", 0);
    size_t i;
    if (!noted)
        noted = newXS("Gepok::_noted", xs_noted, __FILE__);
    for (i = 0; i < C_ARRAY_LENGTH(moving); i++) {
        const char *name = PL_sig_name[moving[i]];
        SV **entry = hv_fetch(get_hv("SIG", GV_ADD), name, (I32)strlen(name), 0);
        if (!taken_from[i]) {
            if (entry)
                SvGETMAGIC(*entry);
            taken_from[i] = entry && SvOK(*entry) && *SvPV_nolen(*entry) ? newSVsv_nomg(*entry) : newSVpvs("DEFAULT");
        }
        set_handler(aTHX_ name, noted);
    }
}

/* Gives back what was there before. */
void gp_signals_end(pTHX)
{
    size_t i;
    for (i = 0; i < C_ARRAY_LENGTH(moving); i++) {
        SV *handler = taken_from[i];
        SV **entry;
        if (!handler)
            continue;
        taken_from[i] = NULL;
        entry = hv_fetch(get_hv("SIG", GV_ADD), PL_sig_name[moving[i]], (I32)strlen(PL_sig_name[moving[i]]), 1);
        if (entry && is_handler(aTHX_ moving[i], xs_noted)) {
            sv_setsv(*entry, handler);
            SvSETMAGIC(*entry);
        }
        SvREFCNT_dec(handler);
    }
}

/* TERM ends a worker after the current request. INT, QUIT and HUP reach every process of a terminal or a service at
 * once; there only the master's word counts. */
static void take_signals(pTHX_ void *argument)
{
    CV *leave = get_cv("Gepok::_leave", 0);
    CV *disregard = get_cv("Gepok::_disregard", 0);
    CV *backtrace = get_cv("Gepok::_backtrace", 0);
    PERL_UNUSED_ARG(argument);
    if (calls.note) {
        take_in_one_process(aTHX);
        return;
    }
    if (!leave)
        leave = newXS("Gepok::_leave", xs_leave, __FILE__);
    if (!disregard)
        disregard = newXS("Gepok::_disregard", xs_disregard, __FILE__);
    set_handler(aTHX_ "TERM", leave);
    set_handler(aTHX_ "INT", disregard);
    set_handler(aTHX_ "QUIT", disregard);
    set_handler(aTHX_ "HUP", disregard);
    if (!backtrace)
        backtrace = newXS("Gepok::_backtrace", xs_backtrace, __FILE__);
    set_handler(aTHX_ PL_sig_name[calls.backtrace_signal], backtrace);
}

gp_outcome gp_take_signals(gp_perl *perl, const gp_signal_calls *given)
{
    GP_PERL(perl);
    calls = *given;
    return gp_guarded(aTHX_ take_signals, NULL);
}

int gp_signals_due(gp_perl *perl)
{
    GP_PERL(perl);
    return PL_sig_pending != 0;
}

static void run_signals(pTHX_ void *argument)
{
    PERL_UNUSED_ARG(argument);
    PERL_ASYNC_CHECK();
}

gp_outcome gp_signals(gp_perl *perl)
{
    GP_PERL(perl);
    if (!PL_sig_pending)
        return GP_OK;
    if (gp_guarded(aTHX_ run_signals, NULL) == GP_DIED)
        gp_log_error(aTHX_ NULL, "a signal's handler");
    return gp.exited ? GP_EXIT : GP_OK;
}
