/* Delayed and streaming responses: the responder, the writer, psgix.informational, psgix.trailers and psgix.client_gone, as the
 * app sees them. */
#include "boundary.h"

static int holder_freed(pTHX_ SV *holder, MAGIC *magic);

/* Marks the SVs that belong to an exchange: a check that no class name can forge. */
static const MGVTBL exchange_magic = {NULL, NULL, NULL, NULL, holder_freed, NULL, NULL, NULL};

static void attach(pTHX_ SV *holder, SV *exchange)
{
    sv_magicext(holder, exchange, PERL_MAGIC_ext, &exchange_magic, NULL, 0);
}

/* The exchange of a responder, writer or informational; NULL for anything else. */
static gp_exchange *exchange_of(pTHX_ SV *holder)
{
    MAGIC *magic = SvTYPE(holder) >= SVt_PVMG ? mg_findext(holder, PERL_MAGIC_ext, &exchange_magic) : NULL;
    PERL_UNUSED_CONTEXT;
    return magic ? (gp_exchange *)SvPVX(magic->mg_obj) : NULL;
}

static SV *exchange_sv(pTHX_ SV *holder)
{
    PERL_UNUSED_CONTEXT;
    return mg_findext(holder, PERL_MAGIC_ext, &exchange_magic)->mg_obj;
}

/* What a call on an exchange needs first. */
static gp_exchange *usable(pTHX_ SV *holder)
{
    gp_exchange *exchange = exchange_of(aTHX_ holder);
    if (!exchange)
        croak("Gepok: not a writer of Gepok's");
    gp_assert_here(aTHX);
    return exchange;
}

/* Whether the sink may be called for it. */
static int alive(const gp_exchange *exchange)
{
    return gp.open && !exchange->over;
}

/* $env->{'psgix.informational'}->($status, \@headers) */
static XSPROTO(xs_informational)
{
    dXSARGS;
    gp_exchange *exchange = usable(aTHX_(SV *) cv);
    STRLEN len;
    IV status;
    size_t count = 0;
    gp_pair *fields = NULL;
    if (items < 1)
        croak("Usage: $env->{'psgix.informational'}->($status, \\@headers)");
    status = SvIV(ST(0));
    if (status < 100 || status > 199 || status == 101)
        croak("Gepok: an informational response can't have the status '%s'", SvPV(ST(0), len));
    if (items > 1)
        fields = gp_fields(aTHX_ ST(1), &count);
    if (alive(exchange) && !exchange->head) {
        if (gp.worker.sink.informational(gp.worker.self, exchange->id, (uint16_t)status, fields, count) == GP_TOO_LARGE)
            croak("Gepok: the header of an informational response has more than 1 MiB");
        gp.worker.sink.flush(gp.worker.self);
    }
    XSRETURN_EMPTY;
}

/* $env->{'psgix.client_gone'}->(): whether the client has left. It costs a look at memory. */
static XSPROTO(xs_client_gone)
{
    dXSARGS;
    gp_exchange *exchange = usable(aTHX_(SV *) cv);
    PERL_UNUSED_VAR(items);
    ST(0) = sv_2mortal(newSViv(alive(exchange) && gp.worker.sink.look(gp.worker.self, exchange->id) == GP_GONE));
    XSRETURN(1);
}

/* $env->{'psgix.trailers'}->(\@headers): fields that follow the content, instead of those that were given before. */
static XSPROTO(xs_trailers)
{
    dXSARGS;
    gp_exchange *exchange = usable(aTHX_(SV *) cv);
    size_t count;
    gp_pair *fields;
    int sent;
    if (items < 1)
        croak("Usage: $env->{'psgix.trailers'}->(\\@headers)");
    fields = gp_fields(aTHX_ ST(0), &count);
    sent = alive(exchange) ? gp.worker.sink.trailers(gp.worker.self, exchange->id, fields, count) : GP_OVER;
    if (sent == GP_TOO_LARGE)
        croak("Gepok: the trailers of a response have more than 1 MiB");
    ST(0) = sv_2mortal(newSViv(sent == GP_SENT));
    XSRETURN(1);
}

static SV *new_writer(pTHX_ SV *exchange)
{
    SV *writer = newSV_type(SVt_PVMG);
    attach(aTHX_ writer, exchange);
    return sv_bless(newRV_noinc(writer), gp.writer_stash);
}

static void responder_left(pTHX_ void *argument)
{
    SV *exchange = (SV *)argument;
    gp_delayed_answered(aTHX_ exchange);
    SvREFCNT_dec_NN(exchange);
}

/* $responder->([$status, \@headers, $body]), or without body for a writer. */
static XSPROTO(xs_responder)
{
    dXSARGS;
    gp_exchange *exchange = usable(aTHX_(SV *) cv);
    SV *response, *writer = NULL;
    if (items < 1)
        croak("Usage: $responder->([$status, \\@headers, $body])");
    response = ST(0);
    SvGETMAGIC(response);
    if (exchange->responded)
        croak("Gepok: the responder was called twice");
    if (!alive(exchange))
        croak("Gepok: the responder was called after the request was over");
    if (!SvROK(response) || SvTYPE(SvRV(response)) != SVt_PVAV)
        croak("Gepok: the responder needs an array reference");
    exchange->responded = 1;
    ENTER;
    if (exchange->delayed)
        SAVEDESTRUCTOR_X(responder_left, SvREFCNT_inc_simple_NN(exchange_sv(aTHX_(SV *) cv)));
    gp_answer(aTHX_ exchange, response);
    gp.worker.sink.flush(gp.worker.self);
    if (!exchange->over) {
        exchange->writer = 1;
        writer = new_writer(aTHX_ exchange_sv(aTHX_(SV *) cv));
    }
    LEAVE;
    if (!writer)
        XSRETURN_EMPTY;
    ST(0) = sv_2mortal(writer);
    XSRETURN(1);
}

/* The last reference to one of these has gone: where it is the responder of a delayed response, that will never come. */
static int holder_freed(pTHX_ SV *holder, MAGIC *magic)
{
    if (SvTYPE(holder) == SVt_PVCV && CvXSUB((CV *)holder) == xs_responder)
        gp_delayed_fails(aTHX_ magic->mg_obj, "the app dropped the responder without calling it");
    return 0;
}

static gp_exchange *writer_of(pTHX_ SV *self)
{
    if (!SvROK(self))
        croak("Gepok: not a writer of Gepok's");
    return usable(aTHX_ SvRV(self));
}

/* $writer->write($bytes): false once the client has gone, or has all that it may get. No argument is an empty piece, further ones are ignored, as in
 * every writer that is written in Perl: filters pass on whatever list they return. */
static XSPROTO(xs_write)
{
    dXSARGS;
    gp_exchange *exchange;
    gp_slice bytes = {NULL, 0};
    int sent = GP_SENT;
    dSAVEDERRNO;
    if (items < 1)
        croak("Usage: $writer->write($bytes)");
    exchange = writer_of(aTHX_ ST(0));
    if (!exchange->writer)
        croak("Gepok: write on a closed writer");
    if (items > 1) {
        SV *piece = gp_held(aTHX_ ST(1));
        SvGETMAGIC(piece);
        if (SvOK(piece))
            bytes = gp_octets(aTHX_ piece, 0);
    }
    SAVE_ERRNO;
    if (!alive(exchange))
        sent = GP_OVER;
    else if (exchange->bodiless)
        sent = GP_COMPLETE;
    else if (bytes.len) {
        sent = gp_content(aTHX_ exchange, &bytes, 1);
        if (sent == GP_SENT)
            sent = gp.worker.sink.flush(gp.worker.self);
        else if (sent == GP_COMPLETE)
            /* The part of the piece that fitted. */
            gp.worker.sink.flush(gp.worker.self);
    }
    RESTORE_ERRNO;
    ST(0) = sv_2mortal(newSViv(sent == GP_SENT ? 1 : 0));
    XSRETURN(1);
}

/* $writer->close: the second one does nothing. */
static XSPROTO(xs_close)
{
    dXSARGS;
    gp_exchange *exchange;
    dSAVEDERRNO;
    if (items < 1)
        croak("Usage: $writer->close");
    exchange = writer_of(aTHX_ ST(0));
    SAVE_ERRNO;
    if (exchange->writer && alive(exchange)) {
        gp_end(exchange);
        gp.worker.sink.flush(gp.worker.self);
        gp_delayed_over(aTHX_ exchange);
    }
    exchange->writer = 0;
    RESTORE_ERRNO;
    XSRETURN_EMPTY;
}

/* A writer that is destroyed ends its response. While the app still runs that waits for the app's return,
 * because the writer may be going just now by an exception that must cut the response instead. */
static XSPROTO(xs_destroy)
{
    dXSARGS;
    gp_exchange *exchange = items > 0 && SvROK(ST(0)) ? exchange_of(aTHX_ SvRV(ST(0))) : NULL;
    if (exchange && exchange->writer && !gp_elsewhere(aTHX) && alive(exchange)) {
        exchange->orphan = exchange->in_call;
        exchange->writer = 0;
        if (!exchange->in_call) {
            dSAVE_ERRNO;
            gp_end(exchange);
            gp.worker.sink.flush(gp.worker.self);
            gp_delayed_over(aTHX_ exchange);
            RESTORE_ERRNO;
        }
    }
    XSRETURN_EMPTY;
}

static CV *new_sub(pTHX_ XSUBADDR_t sub, SV *exchange)
{
    CV *cv = newXS(NULL, sub, __FILE__);
    attach(aTHX_(SV *) cv, exchange);
    return cv;
}

/* Leaves the subs to whoever has kept them. */
void gp_subs_forget(pTHX)
{
    gp_subs subs = gp.subs;
    Zero(&gp.subs, 1, gp_subs);
    SvREFCNT_dec((SV *)subs.informational);
    SvREFCNT_dec((SV *)subs.client_gone);
    SvREFCNT_dec((SV *)subs.trailers);
    SvREFCNT_dec((SV *)subs.responder);
    SvREFCNT_dec(subs.exchange);
}

/* The exchange of a new request. Making subs costs more than the rest of the env, so the last request's are taken again
 * unless the app has kept one of them. */
gp_exchange *gp_exchange_begin(pTHX_ const gp_request *request)
{
    gp_subs *subs = &gp.subs;
    gp_exchange *exchange;
    if (!subs->exchange || SvREFCNT(subs->exchange) != 5 || SvREFCNT((SV *)subs->informational) != 1 ||
        SvREFCNT((SV *)subs->client_gone) != 1 || SvREFCNT((SV *)subs->trailers) != 1 ||
        SvREFCNT((SV *)subs->responder) != 1) {
        gp_subs old = *subs;
        subs->exchange = newSV(sizeof(gp_exchange));
        subs->informational = new_sub(aTHX_ xs_informational, subs->exchange);
        subs->client_gone = new_sub(aTHX_ xs_client_gone, subs->exchange);
        subs->trailers = new_sub(aTHX_ xs_trailers, subs->exchange);
        subs->responder = new_sub(aTHX_ xs_responder, subs->exchange);
        SvREFCNT_dec((SV *)old.informational);
        SvREFCNT_dec((SV *)old.client_gone);
        SvREFCNT_dec((SV *)old.trailers);
        SvREFCNT_dec((SV *)old.responder);
        SvREFCNT_dec(old.exchange);
    }
    exchange = (gp_exchange *)SvPVX(subs->exchange);
    Zero(exchange, 1, gp_exchange);
    exchange->id = request->id;
    exchange->in_call = 1;
    exchange->head_only = request->flags & GP_HEAD_ONLY ? 1 : 0;
    return exchange;
}

void gp_stream_boot(pTHX)
{
    newXS("Gepok::Writer::write", xs_write, __FILE__);
    newXS("Gepok::Writer::close", xs_close, __FILE__);
    newXS("Gepok::Writer::DESTROY", xs_destroy, __FILE__);
}
