/* The env once more: most of what a request needs stands in the last one's hash, if nobody else has kept that.
 *
 * Building the hash anew, and freeing it, is half of what a small request costs a worker. What is taken over is checked value
 * by value: an app may have done anything to it. References are given up when the request is over, as freeing would. */
#include "boundary.h"

/* Entries of other names, the app's and rare fields', that are taken out one by one. */
#define OTHERS 32

/* More room than this is given back: the buckets of a hash, the bytes of a string. */
#define MOST_BUCKETS 256
#define MOST_BYTES 4096

#ifndef HvHasAUX
#define HvHasAUX(hv) SvOOK(hv)
#endif

/* What becomes of a value. */
typedef enum fate {
    GONE,     /* it is freed */
    RELEASED, /* it stays, what it refers to does not */
    KEPT      /* it stays as it is */
} fate;

/* Keys are found by the address of their names, which perl has once only. */
#define PLACES 256
static struct {
    const HEK *name;
    int key;
} names[PLACES];

void gp_again_begin(pTHX)
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

/* Whether nobody else has a value, and nothing hangs on it. */
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

static fate fate_of(int key, SV *sv)
{
    if (!is_ours(sv))
        return GONE;
    switch (SvTYPE(sv)) {
    case SVt_PV:
    case SVt_PVIV:
    case SVt_PVNV:
        return SvROK(sv) || SvLEN(sv) > MOST_BYTES ? GONE : KEPT;
    case SVt_IV:
        if (!SvROK(sv))
            return KEPT;
        if (SvWEAKREF(sv))
            return GONE;
        break;
    default:
        return GONE;
    }
    switch (key) {
    case KEY_PSGI_VERSION:
    case KEY_CONNECT_TIME:
    case KEY_START_TIME:
    case KEY_FINISH_TIME:
        return is_pair(SvRV(sv)) ? KEPT : GONE;
    case KEY_CLEANUP_HANDLERS:
        return is_array(SvRV(sv), 0) ? KEPT : GONE;
    default:
        return RELEASED;
    }
}

/* Whether a hash is as we made it, apart from its entries. */
static int is_plain(HV *env)
{
    if (!is_ours((SV *)env) || SvMAGIC(env) || !HvSHAREKEYS(env) || !HvARRAY(env) || HvMAX(env) >= MOST_BUCKETS)
        return 0;
    /* Where the app has iterated over it there is more, and perhaps weak references among that. */
    return !HvHasAUX(env) || !HvAUX(env)->xhv_backreferences;
}

/* Takes out what the next request must not find; false where that is too much. Nothing is freed before all is looked at:
 * from then on destructors run. */
static int strip(pTHX_ HV *env)
{
    const HEK *others[OTHERS];
    SV *released[GP_KEYS];
    size_t other_count = 0, released_count = 0, i;
    STRLEN bucket;

    if (HvHasAUX(env))
        (void)hv_iterinit(env);
    for (bucket = 0; bucket <= HvMAX(env); bucket++) {
        HE *entry;
        for (entry = HvARRAY(env)[bucket]; entry; entry = HeNEXT(entry)) {
            SV *value = HeVAL(entry);
            int key = key_of(HeKEY_hek(entry));
            fate fate = key < 0 ? GONE : fate_of(key, value);
            if (fate == GONE) {
                if (other_count == OTHERS)
                    return 0;
                others[other_count++] = HeKEY_hek(entry);
                continue;
            }
            gp.kept[key] = value;
            if (fate == RELEASED)
                released[released_count++] = value;
        }
    }
    for (i = 0; i < released_count; i++) {
        SV *target = SvRV(released[i]);
        SvRV_set(released[i], NULL);
        SvROK_off(released[i]);
        SvREFCNT_dec(target);
    }
    for (i = 0; i < other_count; i++) {
        I32 length = HEK_LEN(others[i]);
        (void)hv_delete(env, HEK_KEY(others[i]), HEK_UTF8(others[i]) ? -length : length, G_DISCARD);
    }
    return 1;
}

/* The end of an env: it is freed, or kept for the next request. Destructors may run. */
void gp_env_end(pTHX_ HV *env)
{
    if (gp.open && !gp.again && is_plain(env) && strip(aTHX_ env))
        gp.again = env;
    else
        SvREFCNT_dec_NN((SV *)env);
}

/* The hash that was kept, if there is one: its values stand in gp.kept, and are to be set or deleted. */
HV *gp_env_again(void)
{
    HV *env = gp.again;
    gp.again = NULL;
    if (!env)
        /* What was begun and given up. */
        Zero(gp.kept, GP_KEYS, SV *);
    return env;
}

void gp_again_end(pTHX)
{
    HV *env = gp_env_again();
    SvREFCNT_dec((SV *)env);
}
