/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The signature of a package's catalog, as the guest would see it: with the certificates that its registry
 * has, and by what its boot configuration asks of drivers.
 *
 * Since Vista a 64-bit kernel loads nothing that isn't signed, unless testsigning or nointegritychecks is set
 * for the boot. A driver that starts with the system and isn't loaded is a guest that doesn't start; so that
 * is refused. Where Windows installs the driver later, or of 32 bits, or where it can't be known, it is said.
 */
#include "catalog.h"
#include "driver-policy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- what the guest trusts ---- */

struct reading {
    struct prepare *p;
    struct trust *t;
    const char *key;
    enum trust_use use;
};

static int read_certificate(void *ctx, const char *name, uint32_t type)
{
    struct reading *r = ctx;
    char key[DRIVER_KEY_MAX];
    _cleanup_free_ uint8_t *blob = NULL;
    uint32_t value_type;
    size_t n;
    (void)type;
    if ((size_t)snprintf(key, sizeof key, "%s\\%s", r->key, name) >= sizeof key)
        return 0;
    int e = r->p->ops->value(r->p, key, "Blob", &value_type, &blob, &n);
    if (e)
        return e == -ENOMEM ? e : 0;
    return trust_add_blob(r->t, r->use, blob, n);
}

static int read_thumbprint(void *ctx, const char *name, uint32_t type)
{
    struct reading *r = ctx;
    (void)type;
    return trust_disallow(r->t, name);
}

/* Local, of group policies, of the domain. A store that is too full is read as far as it goes. */
static int read_trust(struct prepare *p, struct trust *t)
{
    static const char *const places[] = {
        "HKLM\\SOFTWARE\\Microsoft\\SystemCertificates",
        "HKLM\\SOFTWARE\\Policies\\Microsoft\\SystemCertificates",
        "HKLM\\SOFTWARE\\Microsoft\\EnterpriseCertificates",
    };
    static const struct {
        const char *name;
        enum trust_use use;
        prepare_each each;
    } stores[] = {
        { "ROOT", TRUST_ROOT, read_certificate },
        { "AuthRoot", TRUST_ROOT, read_certificate },
        { "CA", TRUST_HELPER, read_certificate },
        { "Disallowed", TRUST_HELPER, read_thumbprint },
    };
    char key[256];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        for (size_t k = 0; k < sizeof stores / sizeof stores[0]; k++) {
            struct reading r = { p, t, key, stores[k].use };
            snprintf(key, sizeof key, "%s\\%s\\Certificates", places[i], stores[k].name);
            if (p->ops->subkeys(p, key, stores[k].each, &r) == -ENOMEM)
                return -ENOMEM;
        }
    return 0;
}

/* ---- what the guest's boot asks ---- */

enum integrity { INTEGRITY_UNKNOWN, INTEGRITY_ON, INTEGRITY_OFF };

/* nointegritychecks and testsigning: BcdLibraryBoolean_DisableIntegrityChecks, ..AllowPrereleaseSignatures */
static int look_object(void *ctx, const char *name, uint32_t type)
{
    static const char *const ids[] = { "16000048", "16000049" };
    struct prepare *p = ctx;
    (void)type;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char key[DRIVER_KEY_MAX];
        _cleanup_free_ uint8_t *bytes = NULL;
        uint32_t value_type;
        size_t n;
        snprintf(key, sizeof key, "BCD\\Objects\\%.100s\\Elements\\%s", name, ids[i]);
        if (!p->ops->value(p, key, "Element", &value_type, &bytes, &n) && n && bytes[0])
            return 1;
    }
    return 0;
}

/* Any entry that asks for less counts: which one is booted isn't ours to say. */
static enum integrity integrity_of(struct prepare *p)
{
    if (!driver_key_exists(p, "BCD\\Objects"))
        return INTEGRITY_UNKNOWN;
    int r = p->ops->subkeys(p, "BCD\\Objects", look_object, p);
    return r == 1 ? INTEGRITY_OFF : r < 0 ? INTEGRITY_UNKNOWN : INTEGRITY_ON;
}

static bool is_64_bit(const struct driver_target *t)
{
    return (t->arch == DRIVER_AMD64 || t->arch == DRIVER_ARM64) && t->major >= 6;
}

/* Have all programs that the kernel would load signatures of their own? */
static bool signed_by_itself(const struct driver_plan *plan, const struct driver_package *pkg)
{
    bool any = false;
    for (size_t i = 0; i < plan->n_files; i++) {
        const char *source = plan->files[i].source;
        const struct driver_package_file *f = driver_package_find(pkg, source);
        size_t len = strlen(source);
        if (len < 4 || strcasecmp(source + len - 4, ".sys"))
            continue;
        if (!f || !driver_has_signature(f))
            return false;
        any = true;
    }
    return any;
}

/* ---- words ---- */

enum { TEXT_MAX = 700 };

static void describe(const struct catalog *c, const char *name, char ret[TEXT_MAX])
{
    const char *who = c->signer, *top = c->top;
    char begin[300];
    snprintf(begin, sizeof begin, "the catalog %.150s is signed by %s, ", name, who);
    switch (c->state) {
    case CATALOG_NONE:
        snprintf(ret, TEXT_MAX, "the catalog %.150s can't be read (it is no PKCS #7 data): it is unsigned",
                 name);
        break;
    case CATALOG_UNSIGNED:
        snprintf(ret, TEXT_MAX, "the catalog %.150s has no signature", name);
        break;
    case CATALOG_ALTERED:
        snprintf(ret, TEXT_MAX, "the signature of the catalog %.150s%s%s doesn't hold: it was altered since",
                 name, *who ? " by " : "", who);
        break;
    case CATALOG_NO_SIGNER:
        snprintf(ret, TEXT_MAX, "the catalog %.150s doesn't have the certificate of its signer", name);
        break;
    case CATALOG_DISALLOWED:
        snprintf(ret, TEXT_MAX, "%swith a certificate, or one above it, that the guest's registry disallows",
                 begin);
        break;
    case CATALOG_UNTRUSTED:
        if (!strcmp(who, top))
            snprintf(ret, TEXT_MAX, "%swhich vouches for itself and isn't trusted by the guest", begin);
        else
            snprintf(ret, TEXT_MAX, "%sand the guest doesn't trust %s, which that goes back to", begin, top);
        break;
    case CATALOG_USAGE:
        snprintf(ret, TEXT_MAX, "%swhose certificate isn't meant for signing code or drivers", begin);
        break;
    case CATALOG_UNKNOWN:
        if (c->end == CHAIN_UNKNOWN)
            snprintf(ret, TEXT_MAX, "%sand that can't be checked: the guest's registry doesn't have \"%s\"",
                     begin, top);
        else
            snprintf(ret, TEXT_MAX, "%swith an algorithm that can't be checked here", begin);
        break;
    case CATALOG_EXPIRED:
        snprintf(ret, TEXT_MAX, "%swhose certificate %s", begin,
                 c->stamped ? "wasn't valid at the time of its time stamp"
                            : "isn't valid now, and no time stamp says that it was then");
        break;
    case CATALOG_GOOD:
        ret[0] = 0;
        break;
    }
}

/* What holds, but may not be enough. */
static void describe_good(const struct driver_edit *e, const struct catalog *c, char ret[TEXT_MAX])
{
    /* What Windows 10 1607 takes without Microsoft's own signature: certificates from before 29 July 2015, or
     * all when Secure Boot is off. */
    enum { BUILD_1607 = 14393, LAST_CROSS_SIGNED = 1438128000 };
    const struct driver_target *t = &e->g->target;
    if (c->end == CHAIN_CROSS && t->build >= BUILD_1607 && c->issued >= LAST_CROSS_SIGNED)
        snprintf(ret, TEXT_MAX,
                 "the catalog %.150s is signed by %s, but not by Microsoft: with Secure Boot this Windows "
                 "doesn't load its driver",
                 e->plan->catalog, c->signer);
    else if (c->end == CHAIN_GUEST && is_64_bit(t))
        snprintf(
            ret, TEXT_MAX,
            "the catalog %.150s is signed by %s under %s, which the guest trusts; but a 64-bit kernel may "
            "want Microsoft's signature",
            e->plan->catalog, c->signer, c->top);
}

/* ---- the whole ---- */

static int refuse_or_say(struct driver_edit *e, const struct driver_package *pkg, const char *text, bool bad,
                         struct fault *fault)
{
    const char *inf = inf_name(e->plan->inf), *more = "";
    char where[40] = "";
    if (e->plan->catalog)
        snprintf(where, sizeof where, "line %u: ", e->plan->catalog_line);
    if (bad && e->plan->boot_critical && is_64_bit(&e->g->target)) {
        enum integrity integrity = integrity_of(e->p);
        if (signed_by_itself(e->plan, pkg))
            more = "; its programs have signatures of their own, which aren't checked here";
        else if (integrity == INTEGRITY_ON) {
            fault_in(fault, -EPERM, inf, "%s%s; this 64-bit Windows would not start with it", where, text);
            return fault_hint(
                fault, -EPERM,
                "take a package that is signed, or set testsigning in bcd/ if the guest is a test");
        } else if (integrity == INTEGRITY_UNKNOWN)
            more = "; no boot configuration says whether this 64-bit Windows starts with it";
    }
    driver_say(e, "%s: %swarning: %s%s", inf, where, text, more);
    return 0;
}

static int verify(struct driver_edit *e, const struct driver_package_file *file, struct catalog *ret)
{
    _cleanup_(trust_freep) struct trust *t = NULL;
    int r = trust_new(&t);
    if (!r)
        r = read_trust(e->p, t);
    return r ? r : catalog_verify(file->bytes, file->n, t, time(NULL), ret);
}

int driver_check_signature(struct driver_edit *e, const struct driver_package *pkg,
                           const struct driver_package_file *catalog, struct der *ret, struct fault *fault)
{
    struct catalog c;
    char text[TEXT_MAX] = "";
    const char *name = e->plan->catalog;
    *ret = (struct der){ 0 };
    if (!catalog) {
        if (name)
            snprintf(text, sizeof text, "the catalog %.150s is not in the package: it is unsigned", name);
        return refuse_or_say(e, pkg, name ? text : "the package has no catalog: it is unsigned", true, fault);
    }
    int r = verify(e, catalog, &c);
    if (r)
        return fault_in(fault, r, inf_name(e->plan->inf), "out of memory");
    *ret = c.state == CATALOG_NONE ? (struct der){ catalog->bytes, catalog->n } : c.content;
    describe(&c, name, text);
    if (c.state == CATALOG_GOOD)
        describe_good(e, &c, text);
    /* What isn't known, and dates, which the kernel doesn't look at, only warn. */
    return text[0] ? refuse_or_say(e, pkg, text, c.state < CATALOG_UNKNOWN, fault) : 0;
}
