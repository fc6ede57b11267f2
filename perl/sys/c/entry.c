/* The entry from Perl: Gepok::_serve, and what else `use Gepok` defines. */
#include "boundary.h"

#define SERVE_USAGE "_serve(\\@pairs, \\%hooks)"
#define CONTROL_USAGE "_control($command, \\@pairs)"

/* Flat names and values; an undefined value means that the option was not given. */
static gp_pair *read_options(pTHX_ const char *usage, SV *list, size_t *count)
{
    AV *av;
    SSize_t i, len;
    gp_pair *options;
    if (!SvROK(list) || SvTYPE(SvRV(list)) != SVt_PVAV)
        croak("Usage: Gepok::%s", usage);
    av = (AV *)SvRV(list);
    len = (av_len(av) + 1) & ~(SSize_t)1;
    options = (gp_pair *)SvPVX(sv_2mortal(newSV((STRLEN)(len / 2 + 1) * sizeof(gp_pair))));
    *count = 0;
    for (i = 0; i < len; i += 2) {
        SV **name = av_fetch(av, i, 0);
        SV **value = av_fetch(av, i + 1, 0);
        if (!name || !value)
            continue;
        SvGETMAGIC(*name);
        SvGETMAGIC(*value);
        if (!SvOK(*value))
            continue;
        options[*count].name = gp_octets(aTHX_ * name, 1);
        options[*count].value = gp_octets(aTHX_ * value, 1);
        ++*count;
    }
    return options;
}

static gp_hook *read_hooks(pTHX_ SV *hash, size_t *count)
{
    HV *hv;
    HE *entry;
    gp_hook *hooks;
    if (!SvROK(hash) || SvTYPE(SvRV(hash)) != SVt_PVHV)
        croak("Usage: Gepok::%s", SERVE_USAGE);
    hv = (HV *)SvRV(hash);
    hooks = (gp_hook *)SvPVX(sv_2mortal(newSV((STRLEN)(HvUSEDKEYS(hv) + 1) * sizeof(gp_hook))));
    *count = 0;
    hv_iterinit(hv);
    while ((entry = hv_iternext(hv))) {
        STRLEN len;
        const char *name = HePV(entry, len);
        if (!SvROK(HeVAL(entry)))
            continue;
        hooks[*count].name = (gp_slice){name, len};
        hooks[*count].code = (gp_sv *)newSVsv(HeVAL(entry));
        ++*count;
    }
    return hooks;
}

static XSPROTO(xs_serve)
{
    dXSARGS;
    gp_served served;
    size_t option_count, hook_count;
    gp_pair *options;
    gp_hook *hooks;
    if (items != 2)
        croak("Usage: Gepok::%s", SERVE_USAGE);
    PERL_UNUSED_VAR(cv);

    options = read_options(aTHX_ SERVE_USAGE, ST(0), &option_count);
    hooks = read_hooks(aTHX_ ST(1), &hook_count);
    gp_adopt(aTHX);
    gp_watch_forks();
    memset(&served, 0, sizeof served);

    ENTER;
    save_scalar(PL_errgv);
    gp.serve(GP_OPAQUE, (gp_slice){NULL, 0}, options, option_count, hooks, hook_count, &served);

    /* No frame of Rust's is below: from here on Perl may jump. After an exit it must, all scopes are gone already. */
    if (gp.exited || served.leave)
        gp_signals_leave(aTHX);
    if (gp.exited)
        my_exit((U32)(served.leave ? served.status : gp.exit_status));
    LEAVE;
    if (served.message_len)
        croak_sv(sv_2mortal(newSVpvn(served.message, served.message_len)));
    if (served.leave)
        my_exit((U32)served.status);
    XSRETURN_EMPTY;
}

/* Gepok::_control($command, \@pairs): the result is a number, or it dies. No Perl runs below. */
static XSPROTO(xs_control)
{
    dXSARGS;
    gp_served served;
    size_t option_count;
    gp_pair *options;
    if (items != 2)
        croak("Usage: Gepok::%s", CONTROL_USAGE);
    PERL_UNUSED_VAR(cv);

    options = read_options(aTHX_ CONTROL_USAGE, ST(1), &option_count);
    memset(&served, 0, sizeof served);
    gp.serve(GP_OPAQUE, gp_octets(aTHX_ ST(0), 1), options, option_count, NULL, 0, &served);
    if (served.message_len)
        croak_sv(sv_2mortal(newSVpvn(served.message, served.message_len)));
    XSRETURN_IV(served.status);
}

/* An interpreter of another version has other structures: to be noticed before the first macro reads one. */
static int same_version(pTHX)
{
    SV *version = get_sv("]", GV_ADD);
    unsigned long built = PERL_REVISION * 1000UL + PERL_VERSION;
    unsigned long found = version ? (unsigned long)(SvNV(version) * 1000 + 0.0005) : 0;
    if (built == found)
        return 1;
    warn("Gepok was built for perl %d.%d and can't work in perl %lu.%lu\n", PERL_REVISION, PERL_VERSION, found / 1000,
         found % 1000);
    return 0;
}

void gp_boot(gp_perl *perl, gp_serve_fn serve)
{
    GP_PERL(perl);
    if (!same_version(aTHX))
        return;
    gp.serve = serve;
    newXS("Gepok::_serve", xs_serve, __FILE__);
    gp_sockets_boot(aTHX);
    newXS("Gepok::_control", xs_control, __FILE__);
    gp_stream_boot(aTHX);
    gp_loop_boot(aTHX);
}
