/* ssl_verify_callback: the app's last word on a client's certificate. */
#include "boundary.h"

/* A question and its answer. */
typedef struct question {
    SV *callback;
    gp_slice certificate;
    gp_slice error;
    int good;
} question;

static SV *text(pTHX_ gp_slice bytes)
{
    return bytes.ptr ? newSVpvn_flags(bytes.ptr, bytes.len, SVs_TEMP) : &PL_sv_undef;
}

/* Gepok::Socket::_verify has the arguments of IO::Socket::SSL made. */
static void ask(pTHX_ void *argument)
{
    question *q = (question *)argument;
    SV *answer;
    dSP;
    ENTER;
    SAVETMPS;
    PUSHMARK(SP);
    EXTEND(SP, 3);
    PUSHs(q->callback);
    PUSHs(text(aTHX_ q->certificate));
    PUSHs(text(aTHX_ q->error));
    PUTBACK;
    call_pv("Gepok::Socket::_verify", G_SCALAR);
    SPAGAIN;
    answer = POPs;
    PUTBACK;
    q->good = SvTRUE(answer) ? 1 : 0;
    FREETMPS;
    LEAVE;
}

gp_outcome gp_verify(gp_perl *perl, gp_sv *callback, gp_slice certificate, gp_slice error, int *good)
{
    GP_PERL(perl);
    question q = {(SV *)callback, certificate, error, 0};
    gp_outcome outcome = gp_elsewhere(aTHX) ? GP_BAD : gp_guarded(aTHX_ ask, &q);
    *good = outcome == GP_OK && q.good;
    return outcome;
}
