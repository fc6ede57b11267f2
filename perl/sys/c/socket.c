/* gepok.socket and psgix.io: a file handle that fetches the client's socket when it is first used.
 *
 * Its bottom layer takes the place of PerlIO's "unix" layer in other sockets' handles. The first call that needs a descriptor
 * asks for it and turns the layer into that one: from then on the handle is like any other. */
#include "boundary.h"
#include "perliol.h"
#include <fcntl.h>

/* What the two ends of a handle share until then: sockets have one PerlIO to read and one to write. */
struct gp_link {
    uint64_t id;      /* the request whose client it is */
    int live;         /* `id` says so */
    PerlIOl *ends[2]; /* the bottom layers, NULL where one is gone */
};

/* The kind that a Unix socket's listener has in its facts; a client's has 'u'. */
#define LISTENER 'l'

/* The layer is a "unix" layer followed by a pointer, because it turns into one. */
static gp_link **link_of(PerlIO *f)
{
    return (gp_link **)((char *)PerlIOBase(f) + PerlIO_unix.size);
}

/* Drops the pool's reference to the handle, so that only the app keeps the socket open. */
static void forget(pTHX_ const gp_link *link)
{
    int i;
    for (i = 0; i < GP_FAMILIES; i++) {
        gp_socket *socket = &gp.sockets[i];
        if (socket->handle && socket->link == link) {
            /* Not at once: the handle may be flushed just now by somebody who holds no count. */
            sv_2mortal((SV *)socket->handle);
            Zero(socket, 1, gp_socket);
        }
    }
}

/* Asks for the descriptor. EBADF if psgix_io is off, if the request is over, or if it is another process's. */
static int fetch(pTHX_ PerlIO *f)
{
    gp_link *link = *link_of(f);
    int i, fd = -1;
    if (link && link->live && gp.worker.psgix_io && gp.open && !gp_elsewhere(aTHX) && gp.subs.exchange) {
        gp_exchange *exchange = (gp_exchange *)SvPVX(gp.subs.exchange);
        if (exchange->id == link->id && exchange->in_call && !exchange->over)
            fd = gp.worker.sink.take(gp.worker.self, link->id);
        if (fd >= 0)
            exchange->taken = 1;
    }
    if (fd < 0) {
        errno = EBADF;
        return 0;
    }
    forget(aTHX_ link);
    for (i = 0; i < 2; i++) {
        PerlIOl *end = link->ends[i];
        if (!end)
            continue;
        end->tab = PERLIO_FUNCS_CAST(&PerlIO_unix);
        /* Open would close what is open. */
        end->flags &= ~(U32)PERLIO_F_OPEN;
        /* It counts the descriptor's users, so that the last end closes it. */
        PerlIO_unix.Open(aTHX_ PERLIO_FUNCS_CAST(&PerlIO_unix), NULL, 0, i ? "w" : "r", fd, i ? O_WRONLY : O_RDONLY, 0,
                         &end, 0, NULL);
    }
    Safefree(link);
    return 1;
}

static IV layer_popped(pTHX_ PerlIO *f)
{
    gp_link *link = *link_of(f);
    if (link) {
        link->ends[link->ends[1] == PerlIOBase(f)] = NULL;
        if (!link->ends[0] && !link->ends[1])
            Safefree(link);
    }
    return PerlIOBase_popped(aTHX_ f);
}

static IV layer_fileno(pTHX_ PerlIO *f)
{
    return fetch(aTHX_ f) ? PerlIO_unix.Fileno(aTHX_ f) : -1;
}

static SSize_t layer_read(pTHX_ PerlIO *f, void *buffer, Size_t count)
{
    return fetch(aTHX_ f) ? PerlIO_unix.Read(aTHX_ f, buffer, count) : -1;
}

static SSize_t layer_write(pTHX_ PerlIO *f, const void *buffer, Size_t count)
{
    return fetch(aTHX_ f) ? PerlIO_unix.Write(aTHX_ f, buffer, count) : -1;
}

static IV layer_seek(pTHX_ PerlIO *f, Off_t offset, int whence)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_ARG(f);
    PERL_UNUSED_ARG(offset);
    PERL_UNUSED_ARG(whence);
    errno = ESPIPE;
    return -1;
}

static Off_t layer_tell(pTHX_ PerlIO *f)
{
    return layer_seek(aTHX_ f, 0, SEEK_CUR);
}

static IV layer_close(pTHX_ PerlIO *f)
{
    PERL_UNUSED_CONTEXT;
    PerlIOBase(f)->flags &= ~(U32)(PERLIO_F_OPEN | PERLIO_F_CANREAD | PERLIO_F_CANWRITE);
    return 0;
}

/* A new thread's copy is a closed handle. */
static PerlIO *layer_dup(pTHX_ PerlIO *f, PerlIO *old, CLONE_PARAMS *param, int flags)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_ARG(f);
    PERL_UNUSED_ARG(old);
    PERL_UNUSED_ARG(param);
    PERL_UNUSED_ARG(flags);
    return NULL;
}

/* Not registered under its name, so that no other code can push it. */
static PerlIO_funcs layer = {
    sizeof(PerlIO_funcs),
    "gepok",
    0, /* see gp_sockets_begin */
    PERLIO_K_RAW,
    PerlIOBase_pushed,
    layer_popped,
    NULL,
    PerlIOBase_binmode,
    NULL,
    layer_fileno,
    layer_dup,
    layer_read,
    PerlIOBase_unread,
    layer_write,
    layer_seek,
    layer_tell,
    layer_close,
    PerlIOBase_noop_ok,
    PerlIOBase_noop_fail,
    PerlIOBase_eof,
    PerlIOBase_error,
    PerlIOBase_clearerr,
    PerlIOBase_setlinebuf,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
};

static PerlIO *open_end(pTHX_ gp_link *link, int number)
{
    const char *mode = number ? "w" : "r";
    PerlIO *f = PerlIO_allocate(aTHX);
    if (!f || !PerlIO_push(aTHX_ f, &layer, mode, NULL))
        croak("Gepok: can't make a socket's handle: %s", Strerror(errno));
    *link_of(f) = link;
    link->ends[number] = PerlIOBase(f);
    if (!PerlIO_push(aTHX_ f, PERLIO_FUNCS_CAST(&PerlIO_perlio), mode, NULL))
        croak("Gepok: can't make a socket's handle: %s", Strerror(errno));
    return f;
}

static void make(pTHX_ gp_socket *socket, HV *stash)
{
    GV *old = socket->handle;
    GV *gv = (GV *)sv_2mortal((SV *)gp_new_handle(aTHX));
    IO *io = GvIOn(gv);
    gp_link *link;
    dSAVE_ERRNO;

    Zero(socket, 1, gp_socket);
    SvREFCNT_dec((SV *)old);
    Newxz(link, 1, gp_link);
    /* The buffers ask for the descriptor, whether it is a terminal's, and get none yet. */
    IoIFP(io) = open_end(aTHX_ link, 0);
    IoOFP(io) = open_end(aTHX_ link, 1);
    IoTYPE(io) = IoTYPE_SOCKET;
    GvSVn(gv);
    SvREFCNT_dec(sv_bless(newRV_inc((SV *)gv), stash));

    socket->handle = (GV *)SvREFCNT_inc_simple_NN((SV *)gv);
    socket->link = link;
    socket->flags[0] = PerlIOBase(IoIFP(io))->flags;
    socket->flags[1] = PerlIOBase(IoOFP(io))->flags;
    RESTORE_ERRNO;
}

/* Whether an end is as it was made: nothing read, written, pushed or popped. */
static int untouched_end(PerlIO *f, U32 flags)
{
    PerlIO *bottom;
    if (!PerlIOValid(f) || PerlIOBase(f)->tab != &PerlIO_perlio || PerlIOBase(f)->flags != flags)
        return 0;
    bottom = PerlIONext(f);
    return PerlIOValid(bottom) && PerlIOBase(bottom)->tab == &layer && !PerlIOValid(PerlIONext(bottom));
}

/* Whether the next request can use the last one's handle: no part of it was kept or changed. */
static int untouched(const gp_socket *socket, HV *stash)
{
    GV *gv = socket->handle;
    IO *io;
    SV *facts;
    if (!gv || SvREFCNT(gv) != 1 || SvMAGIC(gv) || SvSTASH(gv) != stash || !isGV_with_GP(gv) || GvREFCNT(gv) != 1)
        return 0;
    facts = GvSV(gv);
    io = GvIO(gv);
    if (GvHV(gv) || GvAV(gv) || GvCV(gv) || GvFORM(gv) || !facts || !io)
        return 0;
    if (SvREFCNT(facts) != 1 || SvTYPE(facts) > SVt_PV || SvROK(facts) || SvREADONLY(facts))
        return 0;
    return SvREFCNT(io) == 1 && !SvMAGIC(io) && IoTYPE(io) == IoTYPE_SOCKET && untouched_end(IoIFP(io), socket->flags[0]) &&
           untouched_end(IoOFP(io), socket->flags[1]);
}

/* The handle of a request's client, whose count stays ours. Making one costs as much as the rest of the env. */
SV *gp_client_socket(pTHX_ const gp_request *request)
{
    int family = request->flags & GP_UNIX ? GP_FAMILY_UNIX : GP_FAMILY_TCP;
    gp_socket *socket = &gp.sockets[family];
    HV *stash = gp.socket_stashes[family];
    IO *io;
    if (!untouched(socket, stash))
        make(aTHX_ socket, stash);
    io = GvIO(socket->handle);
    /* As IO::Socket's. */
    IoFLAGS(io) |= IOf_FLUSH;
    IoLINES(io) = 0;
    sv_setpvn(GvSV(socket->handle), request->socket.ptr, request->socket.len);
    socket->link->id = request->id;
    socket->link->live = 1;
    return (SV *)socket->handle;
}

/* A listener's object: a handle of the same class without a descriptor. */
SV *gp_listener_socket(pTHX_ gp_slice facts)
{
    GV *gv = gp_new_handle(aTHX);
    int family = facts.len && facts.ptr[0] == LISTENER ? GP_FAMILY_UNIX : GP_FAMILY_TCP;
    sv_setpvn(GvSVn(gv), facts.ptr, facts.len);
    SvREFCNT_dec(sv_bless(newRV_inc((SV *)gv), gp.socket_stashes[family]));
    return (SV *)gv;
}

/* The listener of a request. That of a Unix socket tells the client's credentials, which 0.292 documents there. */
SV *gp_httpd_socket(pTHX_ const gp_request *request)
{
    GV *gv = (GV *)gp.listeners[request->listener];
    if (request->flags & GP_UNIX && isGV_with_GP(gv)) {
        /* A new scalar each time: an app may have kept or changed the last one. */
        SV *facts = newSVpvn(request->socket.ptr, request->socket.len), *old = GvSV(gv);
        SvPVX(facts)[0] = LISTENER;
        GvSV(gv) = facts;
        SvREFCNT_dec(old);
    }
    return (SV *)gv;
}

/* Gepok::Socket::_texts($der): what there is to be read in a certificate, packed. */
static XSPROTO(xs_texts)
{
    dXSARGS;
    gp_slice texts = {NULL, 0};
    if (items != 1)
        croak("Usage: Gepok::Socket::_texts($der)");
    if (gp.worker.certificate_texts) {
        STRLEN len;
        const char *der = SvPVbyte(ST(0), len);
        texts = gp.worker.certificate_texts((gp_slice){der, len});
    }
    ST(0) = sv_2mortal(texts.ptr ? newSVpvn(texts.ptr, texts.len) : newSV(0));
    PERL_UNUSED_VAR(cv);
    XSRETURN(1);
}

void gp_sockets_boot(pTHX)
{
    newXS("Gepok::Socket::_texts", xs_texts, __FILE__);
}

void gp_sockets_begin(pTHX)
{
    layer.size = PerlIO_unix.size + sizeof(gp_link *);
    gp.socket_stashes[GP_FAMILY_TCP] = gv_stashpvs("Gepok::Socket::TCP", GV_ADD);
    gp.socket_stashes[GP_FAMILY_UNIX] = gv_stashpvs("Gepok::Socket::UNIX", GV_ADD);
}

void gp_sockets_end(pTHX)
{
    int i;
    for (i = 0; i < GP_FAMILIES; i++) {
        GV *handle = gp.sockets[i].handle;
        Zero(&gp.sockets[i], 1, gp_socket);
        SvREFCNT_dec((SV *)handle);
    }
}
