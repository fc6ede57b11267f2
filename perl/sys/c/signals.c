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

/* What perl would install of itself. */
static Sighandler_t perls_handler;

static void note_and_wake(PARAMETERS)
{
    int saved = errno;
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
        gp_log_error(aTHX_ NULL);
    return gp.exited ? GP_EXIT : GP_OK;
}
