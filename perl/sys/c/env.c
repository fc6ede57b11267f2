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

/* Always new: apps assign into what they are given. */
static SV *new_pair(pTHX_ IV first, IV second)
{
    AV *av = newAV();
    av_extend(av, 1);
    av_push(av, newSViv(first));
    av_push(av, newSViv(second));
    return newRV_noinc((SV *)av);
}

static SV *new_time(pTHX_ gp_time time)
{
    return new_pair(aTHX_(IV) time.seconds, (IV)time.micros);
}

/* Fills a new hash. It is the caller's all the time, because opening psgi.input may die. */
void gp_fill_env(pTHX_ HV *env, const gp_request *request)
{
    size_t i;
    int forked = gp.worker.multiprocess;
    SV *socket = gp_client_socket(aTHX_ request);

    /* Not growing step by step is the best single saving. */
    hv_ksplit(env, 27 + request->entry_count);

    for (i = 0; i < request->entry_count; i++) {
        const gp_entry *entry = &request->entries[i];
        if (entry->key < GP_KEYS)
            put(aTHX_ env, (int)entry->key, new_string(aTHX_ entry->value));
        else {
            SV *value = new_string(aTHX_ entry->value);
            if (!hv_store(env, entry->name.ptr, (I32)entry->name.len, value, 0))
                SvREFCNT_dec_NN(value);
        }
    }
    if (request->remote_port >= 0)
        put(aTHX_ env, KEY_REMOTE_PORT, newSViv(request->remote_port));
    if (request->content_length >= 0)
        put(aTHX_ env, KEY_CONTENT_LENGTH, newSViv((IV)request->content_length));

    put(aTHX_ env, KEY_PSGI_VERSION, new_pair(aTHX_ 1, 1));
    put(aTHX_ env, KEY_PSGI_URL_SCHEME, request->flags & GP_TLS ? newSVpvs("https") : newSVpvs("http"));
    put(aTHX_ env, KEY_PSGI_INPUT, gp_input(aTHX_ request));
    put(aTHX_ env, KEY_PSGI_ERRORS, newRV_inc((SV *)PL_stderrgv));
    put(aTHX_ env, KEY_PSGI_MULTITHREAD, newSViv(0));
    put(aTHX_ env, KEY_PSGI_MULTIPROCESS, newSViv(forked));
    put(aTHX_ env, KEY_PSGI_RUN_ONCE, newSViv(0));
    put(aTHX_ env, KEY_PSGI_NONBLOCKING, newSViv(0));
    put(aTHX_ env, KEY_PSGI_STREAMING, newSViv(1));
    put(aTHX_ env, KEY_INPUT_BUFFERED, newSViv(1));
    put(aTHX_ env, KEY_HARAKIRI, newSViv(forked));
    put(aTHX_ env, KEY_INFORMATIONAL, newRV_inc((SV *)gp.subs.informational));
    put(aTHX_ env, KEY_CLIENT_GONE, newRV_inc((SV *)gp.subs.client_gone));
    put(aTHX_ env, KEY_IO, newRV_inc(socket));
    put(aTHX_ env, KEY_LOGGER, newRV_inc(SvRV((SV *)gp.worker.logger)));
    put(aTHX_ env, KEY_CLEANUP, newSViv(1));
    put(aTHX_ env, KEY_CLEANUP_HANDLERS, newRV_noinc((SV *)newAV()));

    put(aTHX_ env, KEY_GEPOK, newSViv(1));
    put(aTHX_ env, KEY_CONNECT_TIME, new_time(aTHX_ request->connected));
    put(aTHX_ env, KEY_START_TIME, new_time(aTHX_ request->started));
    put(aTHX_ env, KEY_FINISH_TIME, new_time(aTHX_ request->finished));
    put(aTHX_ env, KEY_SOCKET, newRV_inc(socket));
    if (request->listener < gp.worker.listener_count)
        put(aTHX_ env, KEY_HTTPD_SOCKET, newRV_inc(gp.listeners[request->listener]));
    put(aTHX_ env, KEY_UNIX_SOCKET, newSViv(request->flags & GP_UNIX ? 1 : 0));
}
