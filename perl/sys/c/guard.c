/* The guard: Perl code runs inside of it, and neither die nor exit nor a loop control gets out. */
#include "boundary.h"
#include <pthread.h>
#include <unistd.h>

struct gp_state gp;

/* One run of the guard. */
struct gp_frame {
    gp_work work;
    void *argument;
    int completed;
};

/* A flag tells whether `work` ran to its end, not $@: an exception may be false, and testing an object may run code. */
static XSPROTO(xs_guarded)
{
    dXSARGS;
    struct gp_frame *frame = gp.frame;
    PERL_UNUSED_VAR(items);
    PERL_UNUSED_VAR(cv);
    frame->work(aTHX_ frame->argument);
    frame->completed = 1;
    XSRETURN_EMPTY;
}

static void run_end_blocks(pTHX)
{
    int jump;
    dJMPENV;
    JMPENV_PUSH(jump);
    PERL_UNUSED_VAR(jump);
    /* Entered again by each END block that dies or exits, as perl_destruct does it. */
    if (PL_exit_flags & PERL_EXIT_DESTRUCT_END && PL_endav && !PL_minus_c) {
        PERL_SET_PHASE(PERL_PHASE_END);
        call_list(PL_scopestack_ix, PL_endav);
    }
    JMPENV_POP;
}

/* The end of a process forked by the app: it was never ours, so it must not answer, nor run any of our code. */
static void leave_child(pTHX_ gp_outcome outcome)
{
    int status = 0;
    gp.leaving = 1;
    if (outcome == GP_EXIT)
        status = gp.exit_status;
    else if (outcome != GP_OK) {
        status = 255;
        gp_describe(aTHX);
        PerlIO_write(PerlIO_stderr(), SvPVX(gp.message), SvCUR(gp.message));
    }
    gp.exited = 0;
    STATUS_EXIT_SET(status);
    run_end_blocks(aTHX);
    PerlIO_flush(NULL);
    _exit(STATUS_EXIT);
}

gp_outcome gp_guarded(pTHX_ gp_work work, void *argument)
{
    struct gp_frame frame;
    /* Set after the setjmp and read after a longjmp. */
    volatile gp_outcome outcome = GP_BAD;
    const I32 scope = PL_scopestack_ix;
    int jump;
    dSAVEDERRNO;
    dJMPENV;

    if (gp.exited)
        return GP_EXIT;
    frame.work = work;
    frame.argument = argument;
    frame.completed = 0;
    SAVE_ERRNO;

    JMPENV_PUSH(jump);
    if (jump == 0) {
        dSP;
        /* A new stack: otherwise `last` in the app would find a loop of our caller's and unwind through this frame. */
        PUSHSTACKi(PERLSI_UNKNOWN);
        ENTER;
        SAVETMPS;
        SAVEGENERICSV(GvSV(PL_defgv));
        GvSV(PL_defgv) = newSV(0);
        if (PL_curcop == &PL_compiling) {
            /* Else perl believes that it compiles: readline, for one, reads lines then whatever $/ says. */
            SAVEVPTR(PL_curcop);
            PL_curcop = &gp.cop;
        }
        PUSHMARK(SP);
        PUTBACK;
        /* As each statement does: whatever was tainted before is not our concern. */
        TAINT_NOT;
        gp.frame = &frame;
        call_sv((SV *)gp.guard, G_EVAL | G_VOID | G_DISCARD | G_NOARGS);
        if (!frame.completed) {
            SV *old = gp.error;
            gp.error = newSVsv(ERRSV);
            SvREFCNT_dec(old);
        }
        FREETMPS;
        LEAVE;
        POPSTACK;
        outcome = frame.completed ? GP_OK : GP_DIED;
    }
    else if (jump == 2) {
        /* exit: all contexts are unwound, nothing may run but END blocks. The scopes are left to us, as to perl_run:
         * perl_destruct wants to find them left. */
        while (PL_scopestack_ix > scope)
            LEAVE;
        gp.exited = 1;
        gp.exit_status = STATUS_EXIT;
        outcome = GP_EXIT;
    }
    JMPENV_POP;

    if (gp.in_child && !gp.leaving)
        leave_child(aTHX_ outcome);
    RESTORE_ERRNO;
    return outcome;
}

static void stringify(pTHX_ void *argument)
{
    STRLEN len;
    const char *text = SvPV((SV *)argument, len);
    sv_setpvn(gp.message, text, len);
}

/* Puts the text of the last exception into gp.message. Guarded in its turn: an exception's "" may die or exit. */
void gp_describe(pTHX)
{
    SV *error = gp.error;
    gp.error = NULL;
    sv_setpvs(gp.message, "");
    if (error && gp_guarded(aTHX_ stringify, error) != GP_OK)
        sv_setpvs(gp.message, "died with an exception that can't be shown\n");
    if (!SvCUR(gp.message))
        sv_setpvs(gp.message, "Died\n");
    if (error)
        gp_release(GP_OPAQUE, (gp_sv *)error);
}

gp_slice gp_error(gp_perl *perl)
{
    GP_PERL(perl);
    if (gp.error)
        gp_describe(aTHX);
    return (gp_slice){SvPVX(gp.message), SvCUR(gp.message)};
}

int gp_exit_status(gp_perl *perl)
{
    PERL_UNUSED_ARG(perl);
    return gp.exit_status;
}

static void release(pTHX_ void *argument)
{
    PERL_UNUSED_CONTEXT;
    SvREFCNT_dec((SV *)argument);
}

void gp_release(gp_perl *perl, gp_sv *value)
{
    GP_PERL(perl);
    /* A destructor may run. After exit the value stays for perl's own destruction. */
    if (SvREFCNT((SV *)value) > 1)
        SvREFCNT_dec((SV *)value);
    else if (!gp.exited)
        gp_guarded(aTHX_ release, value);
}

/* Takes this interpreter as the one whose values are kept here. */
void gp_adopt(pTHX)
{
    gp.perl = GP_OPAQUE;
    gp.in_child = 0;
    gp.exited = 0;
    gp.leaving = 0;
    if (!gp.guard) {
        gp.guard = newXS(NULL, xs_guarded, __FILE__);
        gp.message = newSVpvs("");
        gp.cop.op_type = OP_NEXTSTATE;
        CopSTASH_set(&gp.cop, PL_defstash);
        CopFILE_set(&gp.cop, "gepok");
    }
}

static void in_forked_child(void)
{
    gp.in_child = 1;
    gp_signals_in_child();
}

/* From now on a process forked by anything but gp_fork is the app's. */
void gp_watch_forks(void)
{
    static int watching;
    if (!watching)
        watching = pthread_atfork(NULL, NULL, in_forked_child) == 0;
    gp.in_child = 0;
}

int gp_elsewhere(pTHX)
{
    return gp.in_child || gp.perl != GP_OPAQUE;
}

/* For our own work on a response, after code of the app's has run in it: a forked process leaves it there. */
void gp_leave_if_child(pTHX)
{
    if (gp.in_child)
        my_exit(0);
}

/* For XSUBs that the app calls: dies in a forked process or in another thread. */
void gp_assert_here(pTHX)
{
    if (gp_elsewhere(aTHX))
        croak("Gepok: a request can be answered only by the process and thread that received it");
}
