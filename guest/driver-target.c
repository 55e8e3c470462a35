/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decorations of models sections: NT[arch][.[major][.[minor][.[product][.[suite][.[build]]]]]]. Which of
 * several is taken is by the order that Microsoft gives: the OS version counts most, then the build, the
 * product type, the suite, and last the architecture. */
#include "driver-impl.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { FIRST_WITH_BUILDS = 14310 }; /* the first parser that knows of builds; others take such for invalid */

static const char *const arch_names[] = {
    [DRIVER_X86] = "x86",
    [DRIVER_AMD64] = "amd64",
    [DRIVER_ARM] = "arm",
    [DRIVER_ARM64] = "arm64",
};

const char *driver_arch_name(enum driver_arch arch)
{
    return arch_names[arch];
}

struct decoration {
    bool has_arch, known_arch; /* ia64 and others are none of ours */
    enum driver_arch arch;
    unsigned n;         /* numbers that are there */
    uint32_t number[5]; /* major, minor, product, suite, build */
    bool given[5];
};

static int read_arch(const char *from, size_t n, struct decoration *ret)
{
    if (!n)
        return 0;
    ret->has_arch = true;
    for (unsigned i = 0; i < sizeof arch_names / sizeof arch_names[0]; i++)
        if (strlen(arch_names[i]) == n && !strncasecmp(arch_names[i], from, n)) {
            ret->known_arch = true;
            ret->arch = i;
        }
    return ret->known_arch || (n == 4 && !strncasecmp(from, "ia64", n)) ? 0 : -EUCLEAN;
}

static int read_decoration(const char *text, struct decoration *ret)
{
    *ret = (struct decoration){ 0 };
    if (!*text)
        return 0;
    if (strncasecmp(text, "NT", 2))
        return -EUCLEAN;
    const char *p = text + 2;
    size_t len = strcspn(p, ".");
    if (read_arch(p, len, ret))
        return -EUCLEAN;
    for (p += len; *p; p += len) {
        char part[16];
        p++;
        len = strcspn(p, ".");
        if (ret->n == 5 || len >= sizeof part)
            return -EUCLEAN;
        memcpy(part, p, len);
        part[len] = 0;
        ret->given[ret->n] = len > 0;
        if (!driver_number(part, &ret->number[ret->n++]))
            return -EUCLEAN;
    }
    return 0;
}

static bool fits(const struct decoration *d, const struct driver_target *t)
{
    if (d->has_arch ? !d->known_arch || d->arch != t->arch : t->arch != DRIVER_X86)
        return false;
    uint32_t major = d->number[0], minor = d->number[1], build = d->number[4];
    if (major > t->major || (major == t->major && minor > t->minor))
        return false;
    if (d->given[4] &&
        (t->build < FIRST_WITH_BUILDS || (major == t->major && minor == t->minor && build > t->build)))
        return false;
    if (d->given[2] && d->number[2] != t->product)
        return false;
    return !d->given[3] || (d->number[3] & ~t->suite) == 0;
}

int driver_decoration(const char *decoration, const struct driver_target *target, uint64_t *ret_rank)
{
    struct decoration d;
    if (read_decoration(decoration, &d))
        return -EUCLEAN;
    if (!fits(&d, target))
        return 0;
    *ret_rank = (uint64_t)(d.number[0] & 0xff) << 56 | (uint64_t)(d.number[1] & 0xff) << 48 |
                (uint64_t)(d.number[4] & 0xffffffff) << 8 | d.given[2] << 3 | d.given[3] << 2 |
                d.has_arch << 1 | (*decoration != 0);
    return 1;
}
