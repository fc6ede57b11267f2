/* The worker's event loop: Perl code runs it (Gepok::Loop), and calls back when the channel is readable. */
#include "boundary.h"

static void run(pTHX_ void *argument)
{
    const gp_loop_call *call = (const gp_loop_call *)argument;
    dSP;
    ENTER;
    SAVETMPS;
    PUSHMARK(SP);
    EXTEND(SP, 2);
    mPUSHi(call->channel);
    mPUSHi(call->waker);
    PUTBACK;
    call_pv("Gepok::Loop::_run", G_VOID | G_DISCARD);
    FREETMPS;
    LEAVE;
}

gp_outcome gp_run_loop(gp_perl *perl, gp_loop_call *call)
{
    GP_PERL(perl);
    gp_outcome outcome;
    if (!gp.open || gp.loop || gp_elsewhere(aTHX))
        return gp.exited ? GP_EXIT : GP_BAD;
    gp.loop = call;
    outcome = gp_guarded(aTHX_ run, call);
    gp.loop = NULL;
    return outcome;
}

/* Gepok::Loop::_turn(): takes what has come by the channel. True where the loop is to stop; undef within a turn, where code of the
 * app's runs the loop. */
static XSPROTO(xs_turn)
{
    dXSARGS;
    gp_loop_call *call = gp.loop;
    PERL_UNUSED_VAR(items);
    PERL_UNUSED_VAR(cv);
    /* Of a process that the app forked in a callback, and that has come back to the loop. */
    gp_leave_if_child(aTHX);
    if (!call || gp_elsewhere(aTHX))
        croak("Gepok: no event loop of Gepok's runs");
    if (gp.in_turn)
        XSRETURN_UNDEF;
    gp.in_turn = 1;
    call->stopped = call->turn(call->self);
    gp.in_turn = 0;
    /* A call of the app's has called exit. No frame of Rust's is between here and gp_run_loop. */
    if (gp.exited)
        my_exit((U32)gp.exit_status);
    ST(0) = call->stopped ? &PL_sv_yes : &PL_sv_no;
    XSRETURN(1);
}

void gp_loop_boot(pTHX)
{
    newXS("Gepok::Loop::_turn", xs_turn, __FILE__);
}
