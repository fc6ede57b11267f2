/* Perl values as bytes: pointers that stay good until the temporaries are freed. */
#include "boundary.h"

/* The bytes of a defined value; with `copy`, of a copy that later Perl code can't change. */
gp_slice gp_octets(pTHX_ SV *sv, int copy)
{
    STRLEN len;
    /* Magic is left to the caller, who asked for SvOK and has called it. */
    const char *text = SvPV_nomg_const(sv, len);
    if (SvUTF8(sv)) {
        bool wide = TRUE;
        U8 *bytes = bytes_from_utf8((const U8 *)text, &len, &wide);
        if (wide)
            Perl_ck_warner_d(aTHX_ packWARN(WARN_UTF8), "Wide character in a response, sent as UTF-8");
        if (bytes != (const U8 *)text) {
            SV *narrow = sv_newmortal();
            sv_usepvn_flags(narrow, (char *)bytes, len, SV_HAS_TRAILING_NUL);
            return (gp_slice){SvPVX(narrow), len};
        }
    }
    if (copy) {
        SV *own = newSVpvn_flags(text, len, SVs_TEMP);
        return (gp_slice){SvPVX(own), len};
    }
    return (gp_slice){text, len};
}

/* Field names are tokens (RFC 9110 section 5.6.2). */
static int is_token(gp_slice name)
{
    size_t i;
    for (i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (!isALPHANUMERIC_A(c) && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return 0;
    }
    return name.len > 0;
}

static int splits_message(gp_slice value)
{
    return memchr(value.ptr, '\n', value.len) || memchr(value.ptr, '\r', value.len) || memchr(value.ptr, '\0', value.len);
}

/* Names and values of a PSGI header list. Dies where they could not stand in a message. */
gp_pair *gp_fields(pTHX_ SV *list, size_t *count)
{
    AV *av;
    SSize_t len, i;
    gp_pair *fields;
    int copy = 0;

    list = gp_fetched(aTHX_ list);
    if (!SvROK(list) || SvTYPE(SvRV(list)) != SVt_PVAV)
        croak("Gepok: the headers of a response must be an array reference");
    av = (AV *)SvRV(list);
    len = av_len(av) + 1;
    if (len % 2)
        croak("Gepok: the headers of a response must be pairs, this array has %ld elements", (long)len);

    fields = (gp_pair *)SvPVX(sv_2mortal(newSV((STRLEN)(len / 2 + 1) * sizeof(gp_pair))));
    if (SvRMAGICAL(av))
        copy = 1;
    for (i = 0; !copy && i < len; i++) {
        SV **entry = av_fetch(av, i, 0);
        copy = entry && !gp_is_plain(* entry);
    }
    if (copy)
        sv_2mortal(SvREFCNT_inc_simple_NN((SV *)av));
    for (i = 0; i < len; i++) {
        SV **entry = av_fetch(av, i, 0);
        gp_slice bytes = {"", 0};
        if (entry) {
            /* Not `entry` from here on: the array may be another one when the value has been read. */
            SV *value = gp_held(aTHX_ * entry);
            SvGETMAGIC(value);
            if (SvOK(value))
                bytes = gp_octets(aTHX_ value, copy);
        }
        if (i % 2) {
            fields[i / 2].value = bytes;
            if (splits_message(bytes))
                croak("Gepok: the value of the response's header %" SVf " has a CR, LF or NUL in it",
                      SVfARG(newSVpvn_flags(fields[i / 2].name.ptr, fields[i / 2].name.len, SVs_TEMP)));
        }
        else {
            fields[i / 2].name = bytes;
            if (!is_token(bytes))
                croak("Gepok: a response's header has a name that is no token: '%s'",
                      pv_pretty(sv_newmortal(), bytes.ptr, bytes.len, 60, NULL, NULL, PERL_PV_ESCAPE_NONASCII));
        }
    }
    *count = (size_t)(len / 2);
    return fields;
}
