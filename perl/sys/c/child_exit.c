/* The worker's last hook: called once, whichever way the worker leaves. */
#include "boundary.h"

/* Kept apart from `gp`, because it is needed after an exit, when `gp` is gone. */
static struct {
    SV *hook;
    SV *handler;
    SV *app;
} last;

static void call_hook(pTHX_ I32 flags)
{
    dSP;
    ENTER;
    SAVETMPS;
    PUSHMARK(SP);
    EXTEND(SP, 2);
    PUSHs(last.handler ? last.handler : &PL_sv_undef);
    PUSHs(last.app ? last.app : &PL_sv_undef);
    PUTBACK;
    call_sv(last.hook, G_VOID | G_DISCARD | flags);
    FREETMPS;
    LEAVE;
}

static void run_hook(pTHX_ void *argument)
{
    PERL_UNUSED_ARG(argument);
    call_hook(aTHX_ 0);
}

static void log_failure(pTHX)
{
    SV *text = sv_2mortal(newSVpvf("child_exit: %" SVf, SVfARG(ERRSV)));
    dSP;
    PUSHMARK(SP);
    EXTEND(SP, 2);
    PUSHs(&PL_sv_undef);
    PUSHs(text);
    PUTBACK;
    call_pv("Gepok::Logger::failure", G_SCALAR | G_EVAL);
    SPAGAIN;
    text = POPs;
    PUTBACK;
    if (SvPOK(text))
        PerlIO_write(PerlIO_stderr(), SvPVX(text), SvCUR(text));
}

/* As an END block. One that dies would keep the app's own from running. */
static XSPROTO(xs_child_exit)
{
    dXSARGS;
    PERL_UNUSED_VAR(items);
    PERL_UNUSED_VAR(cv);
    call_hook(aTHX_ G_EVAL);
    if (SvTRUE(ERRSV))
        log_failure(aTHX);
    XSRETURN_EMPTY;
}

gp_outcome gp_child_exit(gp_perl *perl, gp_sv *hook, gp_sv *handler, gp_sv *app)
{
    GP_PERL(perl);
    last.hook = SvREFCNT_inc((SV *)hook);
    last.handler = SvREFCNT_inc((SV *)handler);
    last.app = SvREFCNT_inc((SV *)app);
    if (!gp.exited)
        return gp_elsewhere(aTHX) ? GP_BAD : gp_guarded(aTHX_ run_hook, NULL);
    /* Nothing may run any more but END blocks: be the first of them. */
    if (!PL_endav)
        PL_endav = newAV();
    av_unshift(PL_endav, 1);
    av_store(PL_endav, 0, (SV *)newXS(NULL, xs_child_exit, __FILE__));
    return GP_OK;
}
