/* A backtrace of the Perl code, read from the interpreter's stacks. No Perl code runs, and nothing can die. */
#include "boundary.h"

/* The most calls that are reported; an endless recursion has more. */
#define MOST 50

/* The statement that ran when the signal came. The system call that it interrupts returns, and the call around it may be
 * over before the backtrace is made. A string eval is freed then, so file and line are copied. */
static struct {
    const void *statement; /* its address: may be compared, but not followed */
    unsigned long line;
    char file[256];
} interrupted;

static const char *file_of(const COP *cop)
{
    const char *file = CopFILE(cop);
    return file ? file : "?";
}

/* Called in the signal handler, where the running statement can't be freed. Allocates nothing. */
void gp_note_interrupted(void)
{
    GP_PERL(gp.perl);
    const COP *statement = PL_curcop;
    const char *file = statement ? file_of(statement) : "?";
    size_t i = 0;
    for (; file[i] && i < sizeof interrupted.file - 1; i++)
        interrupted.file[i] = file[i];
    interrupted.file[i] = '\0';
    interrupted.line = statement ? (unsigned long)CopLINE(statement) : 0;
    interrupted.statement = statement;
}

static void name(pTHX_ SV *text, const PERL_CONTEXT *cx)
{
    switch (CxTYPE(cx)) {
    case CXt_SUB:
    case CXt_FORMAT:
        sv_catsv(text, cv_name(CxTYPE(cx) == CXt_SUB ? cx->blk_sub.cv : cx->blk_format.cv, NULL, 0));
        break;
    default:
        sv_catpvs(text, "eval");
    }
}

/* Returns a mortal: the interrupted statement if it is over by now, then "NAME at FILE line N" for each call within the
 * guard, the innermost first. */
SV *gp_backtrace(pTHX)
{
    SV *text = sv_2mortal(newSVpvs(""));
    const COP *cop = PL_curcop;
    const PERL_SI *info = PL_curstackinfo;
    int count = 0;
    if (interrupted.statement && interrupted.statement != cop)
        sv_catpvf(text, "    (interrupted) at %s line %lu\n", interrupted.file, interrupted.line);
    interrupted.statement = NULL;
    /* Perl's call of the handler that makes the backtrace. */
    if (info->si_type == PERLSI_SIGNAL)
        info = info->si_prev;
    for (; info; info = info->si_prev) {
        /* The guard's stack begins with its own eval. */
        int guarded = info->si_type == PERLSI_UNKNOWN;
        I32 level;
        for (level = info->si_cxix; level >= guarded; level--) {
            const PERL_CONTEXT *cx = &info->si_cxstack[level];
            if (CxTYPE(cx) != CXt_SUB && CxTYPE(cx) != CXt_FORMAT && CxTYPE(cx) != CXt_EVAL)
                continue;
            if (count++ == MOST) {
                sv_catpvs(text, "    ...\n");
                return text;
            }
            sv_catpvs(text, "    ");
            name(aTHX_ text, cx);
            sv_catpvf(text, " at %s line %lu\n", file_of(cop), (unsigned long)CopLINE(cop));
            cop = cx->blk_oldcop;
        }
        if (guarded)
            break;
    }
    return text;
}
