/* The env: one hash for a request, filled in one go. */
#include "boundary.h"

static const gp_slice key_names[GP_KEYS] = {
#define GP_KEY(number, text) {text, sizeof(text) - 1},
#include "keys.h"
#undef GP_KEY
};

size_t gp_key_count(void)
{
    return GP_KEYS;
}

gp_slice gp_key_name(size_t number)
{
    return number < GP_KEYS ? key_names[number] : (gp_slice){NULL, 0};
}

/* Makes the keys' SVs: shared, so that a store neither hashes nor copies the name. */
void gp_keys_begin(pTHX)
{
    int i;
    for (i = 0; i < GP_KEYS; i++) {
        if (!gp.keys[i])
            gp.keys[i] = newSVpvn_share(key_names[i].ptr, (I32)key_names[i].len, 0);
        gp.hashes[i] = SvSHARED_HASH(gp.keys[i]);
    }
}

static void put(pTHX_ HV *env, int key, SV *value)
{
    gp.recycled[key] = NULL;
    if (!hv_store_ent(env, gp.keys[key], value, gp.hashes[key]))
        SvREFCNT_dec_NN(value);
}

SV **gp_env_entry(pTHX_ HV *env, int key)
{
    HE *entry = hv_fetch_ent(env, gp.keys[key], 0, gp.hashes[key]);
    return entry ? &HeVAL(entry) : NULL;
}

static SV *new_string(pTHX_ gp_slice bytes)
{
    return bytes.ptr ? newSVpvn(bytes.ptr, bytes.len) : newSV(0);
}

/* Under perl -T what a client has sent is tainted, as what a program reads from a socket itself. */
static SV *from_client(pTHX_ SV *sv)
{
    if (TAINTING_get)
        SvTAINTED_on(sv);
    return sv;
}

/* Whether the client has no say in it. */
static int is_servers_own(int key)
{
    return key == KEY_SERVER_NAME || key == KEY_SERVER_PORT || key == KEY_REMOTE_ADDR || key == KEY_HTTPS ||
           key == KEY_PSGI_URL_SCHEME || key == KEY_LOOP;
}

static void put_string(pTHX_ HV *env, int key, gp_slice bytes)
{
    SV *sv = gp.recycled[key];
    if (TAINTING_get && !is_servers_own(key))
        put(aTHX_ env, key, from_client(aTHX_ new_string(aTHX_ bytes)));
    else if (sv && bytes.ptr && SvTYPE(sv) != SVt_IV) {
        gp.recycled[key] = NULL;
        sv_setpvn(sv, bytes.ptr, bytes.len);
        SvPOK_only(sv);
    }
    else
        put(aTHX_ env, key, new_string(aTHX_ bytes));
}

static void put_number(pTHX_ HV *env, int key, IV number)
{
    SV *sv = gp.recycled[key];
    if (sv && SvTYPE(sv) == SVt_IV && !SvROK(sv)) {
        gp.recycled[key] = NULL;
        SvIV_set(sv, number);
        SvIOK_only(sv);
    }
    else
        put(aTHX_ env, key, newSViv(number));
}

/* Takes over a reference count. */
static void put_reference(pTHX_ HV *env, int key, SV *target)
{
    SV *sv = gp.recycled[key];
    if (sv && SvTYPE(sv) == SVt_IV && !SvROK(sv)) {
        gp.recycled[key] = NULL;
        SvOK_off(sv);
        SvRV_set(sv, target);
        SvROK_on(sv);
    }
    else
        put(aTHX_ env, key, newRV_noinc(target));
}

/* Never shared: apps assign into what they are given. */
static void put_pair(pTHX_ HV *env, int key, IV first, IV second)
{
    SV *sv = gp.recycled[key];
    if (sv && SvROK(sv)) {
        SV **numbers = AvARRAY((AV *)SvRV(sv));
        gp.recycled[key] = NULL;
        SvIV_set(numbers[0], first);
        SvIV_set(numbers[1], second);
    }
    else {
        AV *av = newAV();
        av_extend(av, 1);
        av_push(av, newSViv(first));
        av_push(av, newSViv(second));
        put(aTHX_ env, key, newRV_noinc((SV *)av));
    }
}

static void put_time(pTHX_ HV *env, int key, gp_time time)
{
    put_pair(aTHX_ env, key, (IV)time.seconds, (IV)time.micros);
}

/* A hash of what a PROXY header tells: values by their types. The core has checked the lengths. */
static HV *proxy_tlvs(pTHX_ gp_slice bytes)
{
    HV *tlvs = newHV();
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    size_t left = bytes.len;
    while (left >= 3) {
        char name[4];
        size_t length = (size_t)at[1] << 8 | at[2];
        int digits = my_snprintf(name, sizeof(name), "%d", at[0]);
        SV *value;
        if (length > left - 3)
            break;
        value = from_client(aTHX_ newSVpvn((const char *)at + 3, length));
        if (!hv_store(tlvs, name, (I32)digits, value, 0))
            SvREFCNT_dec_NN(value);
        at += 3 + length;
        left -= 3 + length;
    }
    return tlvs;
}

/* Names and values of the fields after a request's content, as a flat array. */
static AV *trailers(pTHX_ const gp_request *request)
{
    AV *av = newAV();
    size_t i;
    av_extend(av, (SSize_t)(2 * request->trailer_count) - 1);
    for (i = 0; i < request->trailer_count; i++) {
        av_push(av, from_client(aTHX_ new_string(aTHX_ request->trailers[i].name)));
        av_push(av, from_client(aTHX_ new_string(aTHX_ request->trailers[i].value)));
    }
    return av;
}

/* The env of a request. */
HV *gp_env(pTHX_ const gp_request *request)
{
    size_t i;
    int key, forked = gp.worker.multiprocess;
    /* These may die, and stand first: nothing is half made then. */
    SV *socket = gp_client_socket(aTHX_ request);
    SV *input = gp_input(aTHX_ request);
    HV *env = gp_env_recycle();

    if (!env) {
        env = newHV();
        /* Not growing step by step is the best single saving. */
        hv_ksplit(env, 27 + request->entry_count);
    }
    for (i = 0; i < request->entry_count; i++) {
        const gp_entry *entry = &request->entries[i];
        if (entry->key < GP_KEYS)
            put_string(aTHX_ env, (int)entry->key, entry->value);
        else {
            SV *value = from_client(aTHX_ new_string(aTHX_ entry->value));
            if (!hv_store(env, entry->name.ptr, (I32)entry->name.len, value, 0))
                SvREFCNT_dec_NN(value);
        }
    }
    if (request->proxy_tlvs.len) {
        SV *tlvs = newRV_noinc((SV *)proxy_tlvs(aTHX_ request->proxy_tlvs));
        if (!hv_stores(env, "psgix.proxy_tlvs", tlvs))
            SvREFCNT_dec_NN(tlvs);
    }
    if (request->trailer_count) {
        SV *fields = newRV_noinc((SV *)trailers(aTHX_ request));
        if (!hv_stores(env, "psgix.h2.trailers", fields))
            SvREFCNT_dec_NN(fields);
    }
    if (request->remote_port >= 0)
        put_number(aTHX_ env, KEY_REMOTE_PORT, request->remote_port);
    if (request->content_length >= 0)
        put_number(aTHX_ env, KEY_CONTENT_LENGTH, (IV)request->content_length);

    put_pair(aTHX_ env, KEY_PSGI_VERSION, 1, 1);
    put_string(aTHX_ env, KEY_PSGI_URL_SCHEME, request->flags & GP_HTTPS ? (gp_slice){"https", 5} : (gp_slice){"http", 4});
    put_reference(aTHX_ env, KEY_PSGI_INPUT, input);
    put_reference(aTHX_ env, KEY_PSGI_ERRORS, SvREFCNT_inc_simple_NN((SV *)PL_stderrgv));
    put_number(aTHX_ env, KEY_PSGI_MULTITHREAD, 0);
    put_number(aTHX_ env, KEY_PSGI_MULTIPROCESS, forked);
    put_number(aTHX_ env, KEY_PSGI_RUN_ONCE, 0);
    put_number(aTHX_ env, KEY_PSGI_NONBLOCKING, gp.worker.event_loop.ptr ? 1 : 0);
    if (gp.worker.event_loop.ptr)
        put_string(aTHX_ env, KEY_LOOP, gp.worker.event_loop);
    put_number(aTHX_ env, KEY_PSGI_STREAMING, 1);
    put_number(aTHX_ env, KEY_INPUT_BUFFERED, 1);
    put_number(aTHX_ env, KEY_HARAKIRI, forked);
    put_reference(aTHX_ env, KEY_INFORMATIONAL, SvREFCNT_inc_simple_NN((SV *)gp.subs.informational));
    put_reference(aTHX_ env, KEY_CLIENT_GONE, SvREFCNT_inc_simple_NN((SV *)gp.subs.client_gone));
    if (request->flags & GP_TRAILERS)
        put_reference(aTHX_ env, KEY_TRAILERS, SvREFCNT_inc_simple_NN((SV *)gp.subs.trailers));
    if (gp.worker.psgix_io && !(request->flags & GP_SHARED))
        put_reference(aTHX_ env, KEY_IO, SvREFCNT_inc_simple_NN(socket));
    put_reference(aTHX_ env, KEY_LOGGER, SvREFCNT_inc_NN(SvRV((SV *)gp.worker.logger)));
    put_number(aTHX_ env, KEY_CLEANUP, 1);
    /* One that was kept is empty. */
    if (gp.recycled[KEY_CLEANUP_HANDLERS] && SvROK(gp.recycled[KEY_CLEANUP_HANDLERS]))
        gp.recycled[KEY_CLEANUP_HANDLERS] = NULL;
    else
        put_reference(aTHX_ env, KEY_CLEANUP_HANDLERS, (SV *)newAV());

    put_number(aTHX_ env, KEY_GEPOK, 1);
    put_time(aTHX_ env, KEY_CONNECT_TIME, request->connected);
    put_time(aTHX_ env, KEY_START_TIME, request->started);
    put_time(aTHX_ env, KEY_FINISH_TIME, request->finished);
    put_reference(aTHX_ env, KEY_SOCKET, SvREFCNT_inc_simple_NN(socket));
    if (request->listener < gp.worker.listener_count)
        put_reference(aTHX_ env, KEY_HTTPD_SOCKET, SvREFCNT_inc_simple_NN(gp_httpd_socket(aTHX_ request)));
    put_number(aTHX_ env, KEY_UNIX_SOCKET, request->flags & GP_UNIX ? 1 : 0);

    /* What the last request had and this one has not. */
    for (key = 0; key < GP_KEYS; key++) {
        if (gp.recycled[key]) {
            gp.recycled[key] = NULL;
            (void)hv_delete_ent(env, gp.keys[key], G_DISCARD, gp.hashes[key]);
        }
    }
    return env;
}
