/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Group policy is in SOFTWARE\Policies\Microsoft\Windows\DeviceInstall\Restrictions: numbers that switch
 * lists on, which are subkeys with values "1", "2", ... that hold classes or ids.
 *
 * A catalog (.cat) is a signed list of digests. A member's digest stands in it in bytes, and most often its
 * name is the same in hexadecimal; so it is looked for as bytes in what is signed, without reading that list.
 */
#include "driver-policy.h"

#include "../formats/bytes.h"
#include "../formats/hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RESTRICTIONS "HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\DeviceInstall\\Restrictions"

/* ---- policies ---- */

struct list {
    struct prepare *p;
    char key[sizeof RESTRICTIONS + 40];
    const struct driver_plan *plan;
    bool classes; /* it holds classes, not ids */
};

static bool names_plan(const struct list *l, const char *text)
{
    if (l->classes)
        return !strcasecmp(text, l->plan->class_guid);
    for (size_t i = 0; i < l->plan->n_models; i++) {
        const struct driver_model *m = &l->plan->models[i];
        if (!strcasecmp(m->hardware_id, text))
            return true;
        for (unsigned k = 0; k < m->n_compatible; k++)
            if (!strcasecmp(m->compatible[k].text, text))
                return true;
    }
    return false;
}

static int look(void *ctx, const char *name, uint32_t type)
{
    struct list *l = ctx;
    (void)type;
    _cleanup_free_ char *text = driver_get_text(l->p, l->key, name);
    return text && names_plan(l, text);
}

/* Is the list switched on, and does it have the package's class or one of its ids? */
static bool listed(struct prepare *p, const struct driver_plan *plan, const char *name, bool classes)
{
    struct list l = { .p = p, .plan = plan, .classes = classes };
    uint32_t on;
    if (!driver_get_dword(p, RESTRICTIONS, name, &on) || !on)
        return false;
    snprintf(l.key, sizeof l.key, "%s\\%s", RESTRICTIONS, name);
    return p->ops->values(p, l.key, look, &l) == 1;
}

int driver_check_policy(struct prepare *p, const struct driver_plan *plan, struct fault *fault)
{
    uint32_t on;
    const char *why = listed(p, plan, "DenyDeviceClasses", true) ? "DenyDeviceClasses"
                      : listed(p, plan, "DenyDeviceIDs", false)  ? "DenyDeviceIDs"
                                                                 : NULL;
    if (!why && driver_get_dword(p, RESTRICTIONS, "DenyUnspecified", &on) && on &&
        !listed(p, plan, "AllowDeviceClasses", true) && !listed(p, plan, "AllowDeviceIDs", false))
        why = "DenyUnspecified";
    if (!why)
        return 0;
    fault_in(fault, -EPERM, inf_name(plan->inf), "a policy of the guest forbids it: %s\\%s", RESTRICTIONS,
             why);
    return fault_hint(fault, -EPERM, "delete that value in registry/ if the policy isn't meant");
}

/* ---- programs ---- */

enum { DOS_LFANEW = 0x3c, PE_MACHINE = 4 };

int driver_check_program(const struct driver_file *f, const struct driver_package_file *file,
                         enum driver_arch arch, const char *inf, struct fault *fault)
{
    static const uint16_t machines[] = {
        [DRIVER_X86] = 0x14c, [DRIVER_AMD64] = 0x8664, [DRIVER_ARM] = 0x1c4, [DRIVER_ARM64] = 0xaa64
    };
    size_t len = strlen(f->source);
    if (len < 4 || strcasecmp(f->source + len - 4, ".sys"))
        return 0; /* programs and libraries of another architecture are legal */
    struct bad bad = { 0 };
    struct bytes b = bytes_of(file->bytes, file->n, 0, &bad);
    uint32_t at = le32(b, DOS_LFANEW);
    bool pe = bytes_match(b, 0, "MZ", 2) && bytes_match(b, at, "PE\0", 4);
    uint16_t machine = le16(b, (size_t)at + PE_MACHINE);
    if (bad.set || !pe)
        return fault_in(fault, -ENOEXEC, inf, "line %u: %s is no program of Windows", f->line, f->source);
    if (machine != machines[arch])
        return fault_in(fault, -ENOEXEC, inf,
                        "line %u: %s is for another processor (%04x) than the guest's, %s", f->line,
                        f->source, machine, driver_arch_name(arch));
    return 0;
}

/* ---- catalogs ---- */

enum { PE_OPTIONAL = 24, PE32_CHECKSUM = 64, PE32_DIRS = 96, PE64_DIRS = 112, CERTIFICATES = 4 };

struct range {
    size_t at, n;
};

/* What a program's digest leaves out: its checksum, the entry of its certificates, and these. 0: no program.
 */
static size_t left_out(const struct driver_package_file *file, struct range ret[3])
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(file->bytes, file->n, 0, &bad);
    size_t optional = (size_t)le32(b, DOS_LFANEW) + PE_OPTIONAL;
    if (!bytes_match(b, 0, "MZ", 2) || !bytes_match(b, optional - PE_OPTIONAL, "PE\0", 4))
        return 0;
    uint16_t magic = le16(b, optional);
    size_t entry = optional + (magic == 0x20b ? PE64_DIRS : PE32_DIRS) + 8 * CERTIFICATES;
    uint32_t at = le32(b, entry), n = le32(b, entry + 4);
    ret[0] = (struct range){ optional + PE32_CHECKSUM, 4 };
    ret[1] = (struct range){ entry, 8 };
    ret[2] = (struct range){ at, n };
    if (bad.set || (magic != 0x20b && magic != 0x10b))
        return 0;
    return n && at >= entry + 8 && at <= file->n && n <= file->n - at ? 3 : 2;
}

static bool digest_of(const char *algorithm, const struct driver_package_file *file, const struct range *out,
                      size_t n_out, char ret[DIGEST_HEX_MAX])
{
    struct digest *d;
    size_t at = 0;
    if (digest_new(algorithm, &d))
        return false;
    for (size_t i = 0; i < n_out; i++) {
        digest_update(d, file->bytes + at, out[i].at - at);
        at = out[i].at + out[i].n;
    }
    digest_update(d, file->bytes + at, file->n - at);
    digest_final(d, ret);
    digest_free(d);
    return true;
}

static bool holds(struct der catalog, const char *hex)
{
    uint8_t raw[DIGEST_HEX_MAX / 2];
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        if (sscanf(hex + 2 * i, "%2x", &v) != 1)
            return false;
        raw[i] = (uint8_t)v;
    }
    return memmem(catalog.p, catalog.n, raw, n) != NULL;
}

bool driver_has_signature(const struct driver_package_file *file)
{
    struct range out[3];
    return left_out(file, out) == 3;
}

bool driver_catalog_names(struct der catalog, const struct driver_package_file *file)
{
    static const char *const algorithms[] = { "SHA256", "SHA1" };
    struct range out[3];
    size_t n_out = left_out(file, out);
    for (size_t i = 0; i < 2; i++) {
        char hex[DIGEST_HEX_MAX];
        if ((digest_of(algorithms[i], file, NULL, 0, hex) && holds(catalog, hex)) ||
            (n_out && digest_of(algorithms[i], file, out, n_out, hex) && holds(catalog, hex)))
            return true;
    }
    return false;
}
