/* The interpreter of the standalone binary. Linked into no library that a perl loads: it needs boot_DynaLoader. */
#include "boundary.h"

EXTERN_C void boot_DynaLoader(pTHX_ CV *cv);

/* `use Gepok` finds the XSUBs there, so that it never loads a second copy of us. */
static XSPROTO(boot_embedded)
{
    dXSARGS;
    PERL_UNUSED_VAR(items);
    PERL_UNUSED_VAR(cv);
    gp_boot(GP_OPAQUE, gp.serve);
    XSRETURN_EMPTY;
}

static void define_boots(pTHX)
{
    newXS("DynaLoader::boot_DynaLoader", boot_DynaLoader, __FILE__);
    newXS("Gepok::bootstrap", boot_embedded, __FILE__);
}

gp_perl *gp_embed_start(int argc, char **argv, char **env, gp_serve_fn serve, int *status)
{
    PerlInterpreter *my_perl;
    PERL_SYS_INIT3(&argc, &argv, &env);
    my_perl = perl_alloc();
    if (!my_perl) {
        *status = 1;
        return NULL;
    }
    /* The one that signals belong to, also where another was before it. */
    PERL_SET_INTERP(my_perl);
    perl_construct(my_perl);
    PL_exit_flags |= PERL_EXIT_DESTRUCT_END;
    gp.serve = serve;
    *status = perl_parse(my_perl, define_boots, argc, argv, env);
    if (*status == 0)
        *status = perl_run(my_perl);
    if (*status != 0) {
        *status = gp_embed_finish((gp_perl *)my_perl, *status);
        return NULL;
    }
    gp_adopt(aTHX);
    gp_watch_forks();
    gp_boot(GP_OPAQUE, serve);
    return (gp_perl *)my_perl;
}

int gp_embed_finish(gp_perl *perl, int status)
{
    PerlInterpreter *my_perl = (PerlInterpreter *)perl;
    /* The values kept here go with their interpreter. */
    memset(&gp, 0, sizeof gp);
    PL_exit_flags |= PERL_EXIT_DESTRUCT_END;
    STATUS_EXIT_SET(status);
    status = perl_destruct(my_perl);
    perl_free(my_perl);
    return status;
}
