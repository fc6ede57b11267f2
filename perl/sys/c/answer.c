/* A complete response, [status, headers, body]: read from Perl's values and handed over. */
#include "boundary.h"
#include "perliol.h"
#include <sys/stat.h>

/* What $/ is while getline is called. */
#define PIECE 65536

/* Files up to this are read here: cheaper than giving their descriptor to another process. */
#define SMALL_FILE 16384

/* Three digits, optionally followed by a reason, as other servers accept it. Interim statuses belong to psgix.informational. */
static UV read_status(pTHX_ SV *sv)
{
    STRLEN len;
    const char *text;
    UV status = 0;

    SvGETMAGIC(sv);
    text = SvOK(sv) ? SvPV_nomg_const(sv, len) : NULL;
    if (text && len >= 3 && isDIGIT(text[0]) && isDIGIT(text[1]) && isDIGIT(text[2]) && (len == 3 || text[3] == ' '))
        status = (UV)(text[0] - '0') * 100 + (UV)(text[1] - '0') * 10 + (UV)(text[2] - '0');
    if (status < 200 && status != 101)
        croak("Gepok: a response has the status '%s'", text ? text : "undef");
    return status;
}

static int without_content(const gp_exchange *exchange, UV status)
{
    return exchange->head_only || status == 204 || status == 304;
}

/* Copies what the fields point to, before code of the app's runs that could change its header array. */
static void keep_fields(pTHX_ gp_pair *fields, size_t count)
{
    STRLEN total = 0;
    size_t i;
    char *at;
    for (i = 0; i < count; i++)
        total += fields[i].name.len + fields[i].value.len;
    at = SvPVX(sv_2mortal(newSV(total + 1)));
    for (i = 0; i < 2 * count; i++) {
        gp_slice *part = i % 2 ? &fields[i / 2].value : &fields[i / 2].name;
        memcpy(at, part->ptr, part->len);
        part->ptr = at;
        at += part->len;
    }
}

static void send_head_of(pTHX_ gp_exchange *exchange, UV status, const gp_pair *fields, size_t count, int64_t length, int is_file)
{
    gp_leave_if_child(aTHX);
    if (gp.worker.sink.head(gp.worker.self, exchange->id, (uint16_t)status, fields, count, length, is_file) == GP_TOO_LARGE)
        croak("Gepok: the header of a response has more than 1 MiB");
    exchange->head = 1;
    exchange->bodiless = without_content(exchange, status) ? 1 : 0;
}

static void send_head(pTHX_ gp_exchange *exchange, UV status, const gp_pair *fields, size_t count, int64_t length)
{
    send_head_of(aTHX_ exchange, status, fields, count, length, 0);
}

/* What the first `taken` bytes of the pieces leave, copied: a handler may change what the pieces point to. */
static gp_slice copy_rest(pTHX_ const gp_slice *pieces, size_t count, size_t taken)
{
    SV *rest = newSVpvs_flags("", SVs_TEMP);
    size_t i;
    for (i = 0; i < count; i++) {
        size_t skip = taken < pieces[i].len ? taken : pieces[i].len;
        sv_catpvn(rest, pieces[i].ptr + skip, pieces[i].len - skip);
        taken -= skip;
    }
    return (gp_slice){SvPVX(rest), SvCUR(rest)};
}

/* Hands content over. While a slow client is waited for, signal handlers run, and may die. */
int gp_content(pTHX_ gp_exchange *exchange, const gp_slice *pieces, size_t count)
{
    size_t taken, i, length = 0;
    gp_slice rest;
    int sent = gp.worker.sink.content(gp.worker.self, exchange->id, pieces, count, &taken);
    for (i = 0; i < count; i++)
        length += pieces[i].len;
    if (sent != GP_SENT || taken == length)
        return sent;
    rest = copy_rest(aTHX_ pieces, count, taken);
    while (sent == GP_SENT && rest.len > 0) {
        PERL_ASYNC_CHECK();
        sent = gp.worker.sink.content(gp.worker.self, exchange->id, &rest, 1, &taken);
        rest.ptr += taken;
        rest.len -= taken;
    }
    return sent;
}

static int send_piece(pTHX_ gp_exchange *exchange, gp_slice piece)
{
    gp_leave_if_child(aTHX);
    return piece.len == 0 || gp_content(aTHX_ exchange, &piece, 1) == GP_SENT;
}

/* The response is complete. */
void gp_end(gp_exchange *exchange)
{
    exchange->over = 1;
    exchange->writer = 0;
    gp.worker.sink.end(gp.worker.self, exchange->id);
}

static void answer_array(pTHX_ gp_exchange *exchange, UV status, gp_pair *fields, size_t count, AV *body)
{
    SSize_t len = av_len(body) + 1;
    SSize_t i;
    size_t pieces = 0;
    int64_t sum = 0;
    int copy = SvRMAGICAL(body) ? 1 : 0;
    gp_slice few[8];
    gp_slice *slices = few;

    if (len > 8)
        slices = (gp_slice *)SvPVX(sv_2mortal(newSV((STRLEN)len * sizeof(gp_slice))));
    /* One element whose reading runs code can change the others: then all are copied. */
    for (i = 0; !copy && i < len; i++) {
        SV **entry = av_fetch(body, i, 0);
        copy = entry && !gp_is_plain(* entry);
    }
    if (copy)
        keep_fields(aTHX_ fields, count);
    for (i = 0; i < len; i++) {
        SV **entry = av_fetch(body, i, 0);
        SV *value;
        gp_slice bytes;
        if (!entry)
            continue;
        value = gp_held(aTHX_ * entry);
        SvGETMAGIC(value);
        if (!SvOK(value))
            continue;
        bytes = gp_octets(aTHX_ value, copy);
        if (bytes.len == 0)
            continue;
        slices[pieces++] = bytes;
        sum += (int64_t)bytes.len;
    }
    if (without_content(exchange, status)) {
        /* An empty array may stand for any content here, so it tells no length. */
        send_head(aTHX_ exchange, status, fields, count, exchange->head_only && sum ? sum : -1);
        return;
    }
    send_head(aTHX_ exchange, status, fields, count, sum);
    if (pieces)
        gp_content(aTHX_ exchange, slices, pieces);
}

/* Whether there is an exception; neither is it asked for its truth nor for its text, which may run code. */
static int is_exception(SV *error)
{
    return SvROK(error) || (SvPOK(error) && SvCUR(error) > 0);
}

/* Calls `close`, where there is one. On the savestack, so that it is called once whatever way the reading ends. An exception
 * is only worth a line in the log: what was read is handed over. */
static void close_body(pTHX_ void *argument)
{
    SV *body = (SV *)argument;
    if (!gp.in_child && (!sv_isobject(body) || gv_fetchmethod_autoload(SvSTASH(SvRV(body)), "close", TRUE))) {
        dSP;
        PUSHSTACKi(PERLSI_DESTROY);
        ENTER;
        SAVETMPS;
        PUSHMARK(SP);
        XPUSHs(body);
        PUTBACK;
        /* Another one may be on its way. */
        save_scalar(PL_errgv);
        call_method("close", G_VOID | G_DISCARD | G_EVAL);
        if (is_exception(ERRSV)) {
            SvREFCNT_dec(gp.close_error);
            gp.close_error = newSVsv(ERRSV);
        }
        FREETMPS;
        LEAVE;
        POPSTACK;
    }
    SvREFCNT_dec_NN(body);
}

/* The next piece by method; the pointer is good until the temporaries are freed. Nothing at the end. */
static int next_line(pTHX_ SV *body, gp_slice *piece)
{
    dSP;
    SV *line;
    int more;
    PUSHMARK(SP);
    XPUSHs(body);
    PUTBACK;
    if (call_method("getline", G_SCALAR) != 1)
        return 0;
    SPAGAIN;
    line = gp_held(aTHX_ POPs);
    PUTBACK;
    SvGETMAGIC(line);
    more = SvOK(line) ? 1 : 0;
    if (more)
        *piece = gp_octets(aTHX_ line, 0);
    return more;
}

static void answer_lines(pTHX_ gp_exchange *exchange, UV status, gp_pair *fields, size_t count, SV *body)
{
    int more = 1;
    if (!exchange->head)
        keep_fields(aTHX_ fields, count);
    ENTER;
    {
        /* local $/ = \65536 */
        SV *separator = save_scalar(gv_fetchpvs("/", GV_ADD, SVt_PV));
        sv_setsv_mg(separator, sv_2mortal(newRV_noinc(newSViv(PIECE))));
    }
    while (more) {
        gp_slice piece = {"", 0};
        ENTER;
        SAVETMPS;
        more = next_line(aTHX_ body, &piece);
        /* Only now, so that an app which dies at its first line still gets its 500. */
        if (!exchange->head)
            send_head(aTHX_ exchange, status, fields, count, -1);
        if (more && !send_piece(aTHX_ exchange, piece))
            more = 0;
        /* Nor is a body read on whose Content-Length is reached: it may have no end. */
        if (more && gp.worker.sink.look(gp.worker.self, exchange->id) != GP_SENT)
            more = 0;
        FREETMPS;
        LEAVE;
    }
    LEAVE;
}

/* The handle's PerlIO where reading it directly is the same as calling getline until the end: a plain file, plain layers. The
 * length is what the file says, less the position: files of /proc say 0, whatever they hold. */
static PerlIO *plain_file(pTHX_ SV *body, Off_t *at, int64_t *length)
{
    SV *target = SvRV(body);
    IO *io;
    PerlIO *file;
    PerlIOl *layer;
    struct stat status;

    if (!isGV_with_GP(target) || !(io = GvIO((GV *)target)) || SvRMAGICAL(io) || !(file = IoIFP(io)))
        return NULL;
    if (SvOBJECT(target)) {
        GV *own = gv_fetchmethod_autoload(SvSTASH(target), "getline", FALSE);
        CV *standard = get_cv("IO::Handle::getline", 0);
        if (!own || !standard || GvCV(own) != standard)
            return NULL;
    }
    for (layer = PerlIOBase(file); layer; layer = layer->next) {
        if (!layer->tab || (layer->flags & (PERLIO_F_UTF8 | PERLIO_F_CRLF)))
            return NULL;
        if (strNE(layer->tab->name, "unix") && strNE(layer->tab->name, "perlio"))
            return NULL;
    }
    /* What was written to it and not yet to the file would be missing. */
    if (PerlIOBase(file)->flags & PERLIO_F_CANWRITE && PerlIO_flush(file) != 0)
        return NULL;
    if (fstat(PerlIO_fileno(file), &status) != 0 || !S_ISREG(status.st_mode))
        return NULL;
    *at = PerlIO_tell(file);
    if (*at < 0)
        return NULL;
    *length = *at < status.st_size ? (int64_t)(status.st_size - *at) : 0;
    return file;
}

static void answer_file(pTHX_ gp_exchange *exchange, UV status, gp_pair *fields, size_t count, PerlIO *file, Off_t at,
                        int64_t length, SV *body)
{
    char buffer[SMALL_FILE];
    int64_t got = 0;
    /* A file that seems to be at its end is read to see that. */
    int64_t most = length > 0 ? length : SMALL_FILE;

    if (length > SMALL_FILE) {
        send_head_of(aTHX_ exchange, status, fields, count, length, at == 0);
        gp.worker.sink.file(gp.worker.self, exchange->id, PerlIO_fileno(file), (uint64_t)at, (uint64_t)length);
        return;
    }
    while (got < most) {
        SSize_t some = PerlIO_read(file, buffer + got, (Size_t)(most - got));
        if (some <= 0)
            break;
        got += some;
    }
    if (length == 0 && got == most) {
        /* There may be more, of unknown length. */
        send_head(aTHX_ exchange, status, fields, count, -1);
        if (send_piece(aTHX_ exchange, (gp_slice){buffer, (size_t)got}))
            answer_lines(aTHX_ exchange, status, fields, count, body);
        return;
    }
    send_head_of(aTHX_ exchange, status, fields, count, got, at == 0 && got == length);
    send_piece(aTHX_ exchange, (gp_slice){buffer, (size_t)got});
}

/* Sends a response of two or three elements; with two, only the head. Dies where it is none. */
void gp_answer(pTHX_ gp_exchange *exchange, SV *response)
{
    AV *av = (AV *)SvRV(response);
    SSize_t len = av_len(av) + 1;
    SV **entry = av_fetch(av, 0, 0);
    SV *body;
    UV status;
    gp_pair *fields;
    size_t count;

    if (len < 2 || !entry)
        croak("Gepok: a response has %ld elements instead of 3", (long)len);
    /* Reading an element may run code of the app's, which may change the array or drop it: it is kept, and asked for the
     * next element only then. */
    sv_2mortal(SvREFCNT_inc_simple_NN((SV *)av));
    gp_keep_response(aTHX_(SV *) av);
    status = read_status(aTHX_ gp_held(aTHX_ * entry));
    entry = av_fetch(av, 1, 0);
    fields = gp_fields(aTHX_ entry ? *entry : &PL_sv_undef, &count);
    if (len == 2) {
        send_head(aTHX_ exchange, status, fields, count, -1);
        return;
    }

    entry = av_fetch(av, 2, 0);
    body = entry ? gp_fetched(aTHX_ * entry) : &PL_sv_undef;
    /* A reference is held: the app's code may change the array while the body is read. */
    body = sv_mortalcopy(body);
    if (SvROK(body) && SvTYPE(SvRV(body)) == SVt_PVAV && !SvOBJECT(SvRV(body))) {
        answer_array(aTHX_ exchange, status, fields, count, (AV *)SvRV(body));
        gp_leave_if_child(aTHX);
        gp_end(exchange);
    }
    else if (SvROK(body) && (SvOBJECT(SvRV(body)) || isGV_with_GP(SvRV(body)) || SvTYPE(SvRV(body)) == SVt_PVIO)) {
        int64_t length;
        Off_t at;
        PerlIO *file;
        ENTER;
        SAVEDESTRUCTOR_X(close_body, SvREFCNT_inc_simple_NN(body));
        file = plain_file(aTHX_ body, &at, &length);
        if (without_content(exchange, status))
            send_head_of(aTHX_ exchange, status, fields, count, exchange->head_only && file && length ? length : -1, file && at == 0);
        else if (file)
            answer_file(aTHX_ exchange, status, fields, count, file, at, length, body);
        else
            answer_lines(aTHX_ exchange, status, fields, count, body);
        /* Before the body is closed: what close does, even exit, can't take the response back. */
        gp_leave_if_child(aTHX);
        gp_end(exchange);
        LEAVE;
    }
    else
        croak("Gepok: the body of a response is neither an array nor a handle or object with getline");
}
