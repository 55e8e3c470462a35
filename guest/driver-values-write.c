/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the AddReg, DelReg and BitReg lines of a package make of the guest's registry. */
#include "driver-registry.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_LIST = 64 << 10 }; /* bytes of a list that is added to or taken from */

/* Where a line's value goes. */
struct target {
    const struct driver_value *v;
    unsigned set;
    char key[DRIVER_KEY_MAX];
};

/* With the line that it is about; once, of what is done in each control set. */
static __attribute__((format(printf, 3, 4))) void say(struct driver_edit *e, const struct target *t,
                                                      const char *fmt, ...)
{
    char what[700];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (t->set == e->g->sets[0] || t->set == DRIVER_NO_SET || t->set == DRIVER_TEMPLATE)
        driver_say(e, "%s: line %u: %s", inf_name(t->v->inf), t->v->line, what);
}

/* ---- lists ---- */

/* Lists: texts in UTF-16, each with its terminator, and one more at the end, which may be missing. */
static size_t text_end(const uint8_t *list, size_t n, size_t at)
{
    while (at + 1 < n && (list[at] || list[at + 1]))
        at += 2;
    return at;
}

static bool same_text(const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i += 2) {
        int x = a[i + 1] ? a[i] : tolower(a[i]), y = b[i + 1] ? b[i] : tolower(b[i]);
        if (x != y || a[i + 1] != b[i + 1])
            return false;
    }
    return true;
}

static bool has_text(const uint8_t *list, size_t n, const uint8_t *text, size_t len)
{
    for (size_t at = 0, end; (end = text_end(list, n, at)) > at; at = end + 2)
        if (end - at == len && same_text(list + at, text, len))
            return true;
    return false;
}

/* The list that is there, of type MULTI_SZ and no larger than what is looked at. False: there is none; an
 * error sticks. */
static bool old_list(struct driver_edit *e, const struct target *t, uint8_t **ret, size_t *ret_n)
{
    uint32_t type;
    int r = e->p->ops->value(e->p, t->key, t->v->name, &type, ret, ret_n);
    if (r && r != -ENOENT)
        e->err = r;
    else if (!r && type != DRIVER_REG_MULTI_SZ)
        say(e, t, "%s is no list of texts: it stays", t->v->name);
    else if (!r && (*ret_n > MAX_LIST || t->v->n > MAX_LIST))
        e->err = -EFBIG;
    else if (!r)
        return true;
    return false;
}

/* FLG_ADDREG_APPEND: the texts that aren't in the list yet, behind those that are. */
static void append_texts(struct driver_edit *e, const struct target *t)
{
    const struct driver_value *v = t->v;
    _cleanup_free_ uint8_t *old = NULL;
    size_t n = 0, len = 0;
    if (!old_list(e, t, &old, &n)) {
        if (!e->err && !old)
            driver_set(e, t->key, v->name, v->type, v->bytes, v->n);
        return;
    }
    _cleanup_free_ uint8_t *made = calloc(1, n + v->n + 8);
    if (!made) {
        e->err = -ENOMEM;
        return;
    }
    for (size_t end; (end = text_end(old, n, len)) > len; len = end + 2)
        memcpy(made + len, old + len, end - len);
    size_t before = len;
    for (size_t at = 0, end; (end = text_end(v->bytes, v->n, at)) > at; at = end + 2) {
        if (has_text(made, len, v->bytes + at, end - at))
            continue;
        memcpy(made + len, v->bytes + at, end - at);
        len += end - at + 2;
    }
    if (len > before)
        driver_set(e, t->key, v->name, DRIVER_REG_MULTI_SZ, made, len + 2);
}

/* FLG_DELREG_MULTI_SZ_DELSTRING: those of the line go from the list, which stays, if it becomes empty. */
static void delete_texts(struct driver_edit *e, const struct target *t)
{
    const struct driver_value *v = t->v;
    _cleanup_free_ uint8_t *old = NULL;
    size_t n = 0, len = 0;
    bool any = false;
    if (!old_list(e, t, &old, &n))
        return;
    _cleanup_free_ uint8_t *made = calloc(1, n + 8);
    if (!made) {
        e->err = -ENOMEM;
        return;
    }
    for (size_t at = 0, end; (end = text_end(old, n, at)) > at; at = end + 2) {
        if (has_text(v->bytes, v->n, old + at, end - at)) {
            any = true;
            continue;
        }
        memcpy(made + len, old + at, end - at);
        len += end - at + 2;
    }
    if (any)
        driver_set(e, t->key, v->name, DRIVER_REG_MULTI_SZ, made, len + 2);
}

/* ---- where a line is about ---- */

/* What follows behind a key that `key` is or lies in; NULL: it is another. */
static const char *behind(const char *key, const char *begin)
{
    size_t n = strlen(begin);
    return !strncasecmp(key, begin, n) && (!key[n] || key[n] == '\\') ? key + n : NULL;
}

/* What a program of 32 bits sees of SOFTWARE in a Windows of 64. Classes are elsewhere again. */
static bool key_32(struct driver_edit *e, struct target *t, const char *rest)
{
    if (behind(rest, "\\Classes")) {
        say(e, t, "what 32-bit programs see of HKCR is left to Windows");
        return false;
    }
    return driver_key(e, t->key, "HKLM\\SOFTWARE%s%s", behind(rest, "\\WOW6432Node") ? "" : "\\WOW6432Node",
                      rest);
}

static bool key_of_machine(struct driver_edit *e, struct target *t)
{
    const char *key = t->v->key, *rest = behind(key, "SYSTEM\\CurrentControlSet");
    enum driver_arch arch = e->g->target.arch;
    if (rest) /* a link that Windows makes when it starts: each set is meant */
        return driver_key(e, t->key, "HKLM\\SYSTEM\\ControlSet%03u%s", t->set, rest);
    if (t->set != e->g->sets[0])
        return false;
    rest = t->v->view_32 && (arch == DRIVER_AMD64 || arch == DRIVER_ARM64) ? behind(key, "SOFTWARE") : NULL;
    return rest ? key_32(e, t, rest) : driver_key(e, t->key, "HKLM%s%s", *key ? "\\" : "", key);
}

/* False: nowhere. */
static bool find_key(struct driver_edit *e, const char *hkr, struct target *t)
{
    const struct driver_value *v = t->v;
    if (!strcmp(v->root, "HKR"))
        return driver_key(e, t->key, "%s%s%s", hkr, *v->key ? "\\" : "", v->key);
    if (t->set == DRIVER_NO_SET || t->set == DRIVER_QUIET || t->set == DRIVER_TEMPLATE)
        return false; /* driver-plan.c has said it */
    if (!strcmp(v->root, "HKLM"))
        return key_of_machine(e, t);
    say(e, t, "a value of %s is left to Windows", v->root);
    return false;
}

/* ---- what is done there ---- */

/* Is there a value? */
static bool has_value(struct driver_edit *e, const struct target *t)
{
    uint32_t type;
    uint8_t *old = NULL;
    size_t n;
    bool there = !e->p->ops->value(e->p, t->key, t->v->name, &type, &old, &n);
    free(old);
    return there;
}

static void add(struct driver_edit *e, const struct target *t)
{
    const struct driver_value *v = t->v;
    if (v->flags & DRIVER_ADD_KEYONLY) {
        e->err = e->p->ops->key(e->p, t->key, e->reason);
        return;
    }
    if (v->flags & (DRIVER_ADD_NOCLOBBER | DRIVER_ADD_OVERWRITEONLY) &&
        has_value(e, t) == !!(v->flags & DRIVER_ADD_NOCLOBBER))
        return;
    if (v->flags & DRIVER_ADD_APPEND && v->type == DRIVER_REG_MULTI_SZ)
        append_texts(e, t);
    else
        driver_set(e, t->key, v->name, v->type, v->bytes, v->n);
}

/* What a package must not take away as a whole: a hive, a control set, or what HKR itself is. */
static bool is_too_much(const struct driver_value *v)
{
    const char *rest = v->key + strspn(v->key, "\\");
    const char *set = behind(rest, "SYSTEM\\CurrentControlSet");
    if (!strcmp(v->root, "HKR"))
        return !*rest;
    if (!strncasecmp(rest, "SYSTEM\\ControlSet", 17))
        set = rest + strcspn(rest + 17, "\\") + 17;
    const char *below = set ? set : strchr(rest, '\\');
    return !below || !below[strspn(below, "\\")];
}

static void delete (struct driver_edit *e, const struct target *t)
{
    const struct driver_value *v = t->v;
    if (!v->all_of_key)
        e->err = e->p->ops->unset(e->p, t->key, v->name, e->reason);
    else if (is_too_much(v))
        say(e, t, "%s%s%s is not deleted: there is too much in it", v->root, *v->key ? "\\" : "", v->key);
    else
        e->err = e->p->ops->unkey(e->p, t->key, e->reason);
}

/* BitReg: of a value that is there, a DWORD or binary. */
static void change_bits(struct driver_edit *e, const struct target *t)
{
    const struct driver_value *v = t->v;
    uint32_t type;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    int r = e->p->ops->value(e->p, t->key, v->name, &type, &bytes, &n);
    if (r && r != -ENOENT) {
        e->err = r;
        return;
    }
    if (r || (type != DRIVER_REG_DWORD && type != DRIVER_REG_BINARY) || v->byte >= n) {
        say(e, t, "%s has no byte %u whose bits could be changed", *v->name ? v->name : "the default value",
            v->byte);
        return;
    }
    if (v->op == DRIVER_SET_BITS)
        bytes[v->byte] |= v->mask;
    else
        bytes[v->byte] &= (uint8_t)~v->mask;
    driver_set(e, t->key, v->name, type, bytes, n);
}

static void write_value(struct driver_edit *e, const char *hkr, struct target *t)
{
    if (!find_key(e, hkr, t))
        return;
    switch (t->v->op) {
    case DRIVER_ADD:
        add(e, t);
        break;
    case DRIVER_DELETE:
        delete (e, t);
        break;
    case DRIVER_DELETE_TEXTS:
        delete_texts(e, t);
        break;
    case DRIVER_SET_BITS:
    case DRIVER_CLEAR_BITS:
        change_bits(e, t);
        break;
    }
}

void driver_write_values(struct driver_edit *e, const char *hkr, const struct driver_values *v, unsigned set)
{
    for (size_t i = 0; i < v->n && !e->err; i++) {
        struct target t = { .v = &v->v[i], .set = set };
        write_value(e, hkr, &t);
    }
}
