/* psgi.input: real file handles, so that methods, builtins and seek all work. */
#include "boundary.h"
#include "perliol.h"

/* A handle without a name and with nothing open. */
GV *gp_new_handle(pTHX)
{
    GV *gv = (GV *)newSV(0);
    gv_init(gv, gv_stashpvs("Gepok", GV_ADD), "__ANONIO__", 10, FALSE);
    return gv;
}

/* A read-only handle over `content`, which it takes. */
static GV *open_scalar(pTHX_ SV *content)
{
    GV *gv = gp_new_handle(aTHX);
    SV *reference = sv_2mortal(newRV_noinc(content));
    if (!do_openn(gv, "<", 1, FALSE, 0, 0, NULL, &reference, 1))
        croak("Gepok: can't open psgi.input: %s", Strerror(errno));
    return gv;
}

static GV *open_file(pTHX_ int fd)
{
    GV *gv = gp_new_handle(aTHX);
    IO *io = GvIOn(gv);
    /* Its writer has left the position wherever it was. */
    PerlIO *file = lseek(fd, 0, SEEK_SET) == 0 ? PerlIO_fdopen(fd, "r") : NULL;
    if (!file)
        croak("Gepok: can't open psgi.input: %s", Strerror(errno));
    IoIFP(io) = file;
    IoTYPE(io) = IoTYPE_RDONLY;
    return gv;
}

/* Whether the shared handle is as it was made: not kept, closed, reopened, blessed or tied, and without further layers. */
static int untouched(pTHX_ GV *gv)
{
    IO *io;
    PerlIO *file;
    if (SvREFCNT(gv) != 1 || SvOBJECT(gv) || !isGV_with_GP(gv) || !(io = GvIO(gv)) || SvRMAGICAL(io))
        return 0;
    file = IoIFP(io);
    if (SvREFCNT(io) != 1 || !PerlIOValid(file) || PerlIOValid(PerlIONext(file)))
        return 0;
    return !(PerlIOBase(file)->flags & PERLIO_F_UTF8) && PerlIOBase(file)->tab->Get_base &&
           (char *)PerlIO_get_base(file) == SvPVX(gp.empty_content);
}

static GV *empty_input(pTHX)
{
    if (!gp.empty || !untouched(aTHX_ gp.empty)) {
        GV *old = gp.empty;
        if (!gp.empty_content)
            gp.empty_content = newSVpvs("");
        gp.empty = open_scalar(aTHX_ SvREFCNT_inc(gp.empty_content));
        SvREFCNT_dec((SV *)old);
    }
    IoLINES(GvIO(gp.empty)) = 0;
    return (GV *)SvREFCNT_inc_simple_NN((SV *)gp.empty);
}

/* The handle for psgi.input. The caller owns a reference count. */
SV *gp_input(pTHX_ const gp_request *request)
{
    switch (request->content_kind) {
    case GP_CONTENT_BYTES:
        return (SV *)open_scalar(aTHX_ newSVpvn(request->content.ptr, request->content.len));
    case GP_CONTENT_FILE:
        return (SV *)open_file(aTHX_ request->content_fd);
    default:
        return (SV *)empty_input(aTHX);
    }
}
