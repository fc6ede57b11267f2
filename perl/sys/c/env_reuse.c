/* Reuse of the env: the hash of the last request serves the next one, unless the app has kept a reference to it.
 *
 * Building and freeing the hash is half of what a small request costs a worker. Each value is checked before it is reused,
 * because the app may have done anything to it. References are dropped when the request is over, as freeing would do. */
#include "boundary.h"

/* At most this many entries under other names, set by the app or by rare fields, are deleted one by one. */
#define OTHERS 32

/* Larger hashes (buckets) and strings (bytes) are freed, so that they don't hold memory. */
#define MOST_BUCKETS 256
#define MOST_BYTES 4096

#ifndef HvHasAUX
#define HvHasAUX(hv) SvOOK(hv)
#endif

/* What happens to a value of a finished request. */
typedef enum disposal {
    FREE,  /* freed */
    CLEAR, /* reused, without what it refers to */
    REUSE  /* reused as it is */
} disposal;

/* Keys are found by the address of their names, which are unique in perl's table of shared strings. */
#define PLACES 256
static struct {
    const HEK *name;
    int key;
} names[PLACES];

void gp_env_reuse_begin(pTHX)
{
    int key;
    PERL_UNUSED_CONTEXT;
    Zero(names, PLACES, names[0]);
    for (key = 0; key < GP_KEYS; key++) {
        U32 at = gp.hashes[key] % PLACES;
        while (names[at].name)
            at = (at + 1) % PLACES;
        names[at].name = SvSHARED_HEK_FROM_PV(SvPVX(gp.keys[key]));
        names[at].key = key;
    }
}

static int key_of(const HEK *name)
{
    U32 at = HEK_HASH(name) % PLACES;
    while (names[at].name) {
        if (names[at].name == name)
            return names[at].key;
        at = (at + 1) % PLACES;
    }
    return -1;
}

/* Whether a value has no other owner, no magic and no class. */
static int is_ours(const SV *sv)
{
    return SvREFCNT(sv) == 1 && !SvREADONLY(sv) && !SvMAGICAL(sv) && !SvOBJECT(sv);
}

static int is_array(SV *sv, SSize_t length)
{
    return SvTYPE(sv) == SVt_PVAV && is_ours(sv) && !SvMAGIC(sv) && AvREAL((AV *)sv) && AvFILLp((AV *)sv) + 1 == length;
}

static int is_number(const SV *sv)
{
    return sv && SvTYPE(sv) == SVt_IV && is_ours(sv) && SvIOK(sv) && !SvIsUV(sv);
}

static int is_pair(SV *sv)
{
    return is_array(sv, 2) && is_number(AvARRAY((AV *)sv)[0]) && is_number(AvARRAY((AV *)sv)[1]);
}

static disposal disposal_of(int key, SV *sv)
{
    if (!is_ours(sv))
        return FREE;
    switch (SvTYPE(sv)) {
    case SVt_PV:
    case SVt_PVIV:
    case SVt_PVNV:
        return SvROK(sv) || SvLEN(sv) > MOST_BYTES ? FREE : REUSE;
    case SVt_IV:
        if (!SvROK(sv))
            return REUSE;
        if (SvWEAKREF(sv))
            return FREE;
        break;
    default:
        return FREE;
    }
    switch (key) {
    case KEY_PSGI_VERSION:
    case KEY_CONNECT_TIME:
    case KEY_START_TIME:
    case KEY_FINISH_TIME:
        return is_pair(SvRV(sv)) ? REUSE : FREE;
    case KEY_CLEANUP_HANDLERS:
        return is_array(SvRV(sv), 0) ? REUSE : FREE;
    default:
        return CLEAR;
    }
}

/* Whether a hash is as it was made, apart from its entries. */
static int is_plain(HV *env)
{
    if (!is_ours((SV *)env) || SvMAGIC(env) || !HvSHAREKEYS(env) || !HvARRAY(env) || HvMAX(env) >= MOST_BUCKETS)
        return 0;
    /* An iterator or weak references add an auxiliary structure. */
    return !HvHasAUX(env) || !HvAUX(env)->xhv_backreferences;
}

/* Removes what the next request must not find. Returns false if that is too much. Nothing is freed before every entry
 * has been examined, because freeing can run destructors. */
static int strip(pTHX_ HV *env)
{
    const HEK *others[OTHERS];
    SV *cleared[GP_KEYS];
    size_t other_count = 0, cleared_count = 0, i;
    STRLEN bucket;

    if (HvHasAUX(env))
        (void)hv_iterinit(env);
    for (bucket = 0; bucket <= HvMAX(env); bucket++) {
        HE *entry;
        for (entry = HvARRAY(env)[bucket]; entry; entry = HeNEXT(entry)) {
            SV *value = HeVAL(entry);
            int key = key_of(HeKEY_hek(entry));
            disposal disposal = key < 0 ? FREE : disposal_of(key, value);
            if (disposal == FREE) {
                if (other_count == OTHERS)
                    return 0;
                others[other_count++] = HeKEY_hek(entry);
                continue;
            }
            gp.recycled[key] = value;
            if (disposal == CLEAR)
                cleared[cleared_count++] = value;
        }
    }
    for (i = 0; i < cleared_count; i++) {
        SV *target = SvRV(cleared[i]);
        SvRV_set(cleared[i], NULL);
        SvROK_off(cleared[i]);
        SvREFCNT_dec(target);
    }
    for (i = 0; i < other_count; i++) {
        I32 length = HEK_LEN(others[i]);
        (void)hv_delete(env, HEK_KEY(others[i]), HEK_UTF8(others[i]) ? -length : length, G_DISCARD);
    }
    return 1;
}

/* Ends an env: it is freed, or kept for the next request. Destructors may run. */
void gp_env_end(pTHX_ HV *env)
{
    if (gp.open && !gp.recycled_env && is_plain(env) && strip(aTHX_ env))
        gp.recycled_env = env;
    else
        SvREFCNT_dec_NN((SV *)env);
}

/* The hash that was kept, if any. Its values are in gp.recycled; the caller sets or deletes each. */
HV *gp_env_recycle(void)
{
    HV *env = gp.recycled_env;
    gp.recycled_env = NULL;
    if (!env)
        /* Left over from an env that was not finished. */
        Zero(gp.recycled, GP_KEYS, SV *);
    return env;
}

void gp_env_reuse_end(pTHX)
{
    HV *env = gp_env_recycle();
    SvREFCNT_dec((SV *)env);
}
