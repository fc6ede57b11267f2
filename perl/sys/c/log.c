/* Calls the hook access_log of a subclass after a response, with the request and the response. */
#include "boundary.h"

/* Keeps a response for the hook. */
void gp_keep_response(pTHX_ SV *response)
{
    if (gp.worker.access_log) {
        SV *old = gp.response;
        gp.response = newRV_inc(response);
        SvREFCNT_dec(old);
    }
}

/* Keeps the response that takes the place of one the app could not give. */
void gp_keep_failure(pTHX)
{
    AV *response;
    if (!gp.worker.access_log || gp.exited)
        return;
    response = newAV();
    av_push(response, newSViv(500));
    av_push(response, newRV_noinc((SV *)newAV()));
    gp_keep_response(aTHX_(SV *) response);
    SvREFCNT_dec_NN((SV *)response);
}

static void push_number(pTHX_ AV *list, int key, IV number)
{
    gp_slice name = gp_key_name((size_t)key);
    av_push(list, newSVpvn(name.ptr, name.len));
    av_push(list, newSViv(number));
}

/* $hook->($response, $socket, NAME => VALUE ...): the request as it came, whatever the app has made of its env. */
void gp_access_log(pTHX_ void *argument)
{
    const gp_done *done = (const gp_done *)argument;
    const gp_request *request = done->request;
    SV **socket = done->env ? gp_env_entry(aTHX_ done->env, KEY_SOCKET) : NULL;
    SV *response = gp.response;
    AV *list = (AV *)sv_2mortal((SV *)newAV());
    size_t i;
    gp.response = NULL;
    for (i = 0; i < request->entry_count; i++) {
        const gp_entry *entry = &request->entries[i];
        gp_slice name = entry->key < GP_KEYS ? gp_key_name(entry->key) : entry->name;
        av_push(list, newSVpvn(name.ptr, name.len));
        av_push(list, entry->value.ptr ? newSVpvn(entry->value.ptr, entry->value.len) : newSV(0));
    }
    if (request->content_length >= 0)
        push_number(aTHX_ list, KEY_CONTENT_LENGTH, (IV)request->content_length);
    {
        dSP;
        SSize_t at, len = av_len(list) + 1;
        PUSHMARK(SP);
        EXTEND(SP, len + 2);
        PUSHs(response ? sv_2mortal(response) : &PL_sv_undef);
        PUSHs(socket ? sv_mortalcopy(*socket) : &PL_sv_undef);
        for (at = 0; at < len; at++)
            PUSHs(AvARRAY(list)[at]);
        PUTBACK;
        call_sv((SV *)gp.worker.access_log, G_VOID | G_DISCARD);
    }
}
