/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reg-merge.h"

#include <errno.h>
#include <string.h>

struct merging {
    struct reg_merge *m;
    struct hive *hive; /* of the key at hand */
    uint32_t key;
};

/* What an edit of the hive says, in the words of a .reg file's user. */
static int complain(struct reg_error *error, int r)
{
    char why[160];
    switch (-r) {
    case EBADMSG:
    case ENOMEM:
        return r;
    case EROFS:
        return reg_error_set(error, -EROFS, "the hive can't be written");
    case EPERM:
        return reg_error_set(error, -EBADMSG, "this key can't be deleted");
    case ENAMETOOLONG:
        return reg_error_set(error, -EBADMSG, "the name is too long");
    case EFBIG:
        return reg_error_set(error, -EFBIG, "the hive would become too large");
    case EUCLEAN:
        fault_reason(hive_last_fault(), why, sizeof why);
        return reg_error_set(error, r, "the hive is damaged: %s", why);
    default:
        return reg_error_set(error, r, "the hive can't be changed: %s", strerror(-r));
    }
}

static int touch(struct reg_merge *m, struct hive *h, struct reg_error *error)
{
    for (size_t i = 0; i < m->n_hives; i++)
        if (m->hives[i] == h)
            return 0;
    if (m->n_hives >= REG_MERGE_HIVES)
        return reg_error_set(error, -EFBIG, "the text is about more than %d hives", REG_MERGE_HIVES);
    int r = hive_savepoint(h);
    if (r < 0)
        return complain(error, r);
    m->hives[m->n_hives++] = h;
    return 0;
}

/* One name down from *key: made if `make`. What is deleted is a link itself, never what it leads to. */
static int descend(struct reg_merge *m, struct hive *h, uint32_t *key, struct hive_name name, bool follow,
                   bool make)
{
    uint16_t other[HIVE_KEY_NAME_MAX];
    size_t n = m->alias && follow ? m->alias(m->ctx, h, *key, name, other) : 0;
    if (n)
        name = (struct hive_name){ other, n };
    int r = hive_find_key(h, *key, name, key);
    if (r == -ENOENT && make)
        r = hive_add_key(h, *key, name, m->now, key);
    return r;
}

static int delete_key(struct reg_merge *m, struct hive *h, uint32_t key, struct reg_error *error)
{
    if (key == hive_root(h))
        return reg_error_set(error, -EBADMSG, "the whole hive can't be deleted");
    if (m->deleting)
        m->deleting(m->ctx, h, key);
    int r = hive_delete_key(h, key, true, m->now);
    return r < 0 ? complain(error, r) : 0;
}

static int on_key(void *ctx, const struct hive_name *parts, size_t n, bool deleted, struct reg_error *error)
{
    struct merging *g = ctx;
    struct hive *h;
    size_t used = 0;
    int r = g->m->resolve(g->m->ctx, parts, n, &h, &used, error);
    if (!r)
        r = touch(g->m, h, error);
    if (r < 0)
        return r;
    uint32_t key = hive_root(h);
    for (size_t i = used; i < n && !r; i++)
        r = descend(g->m, h, &key, parts[i], !deleted || i + 1 < n, !deleted);
    g->hive = h;
    g->key = key;
    if (!deleted)
        return r < 0 ? complain(error, r) : 0;
    if (r == -ENOENT) /* it isn't there, as it is to be */
        return 0;
    return r < 0 ? complain(error, r) : delete_key(g->m, h, key, error);
}

/* Is the value so already? Then nothing is written, and the key keeps its time. */
static bool is_same(const struct hive *h, uint32_t key, struct hive_name name, uint32_t type,
                    const uint8_t *data, size_t len)
{
    uint32_t cell;
    struct hive_value v;
    if (hive_find_value(h, key, name, &cell) < 0 || hive_value(h, cell, &v) < 0 || v.type != type ||
        v.length != len)
        return false;
    for (size_t off = 0; off < len;) {
        uint8_t part[4096];
        size_t k = len - off < sizeof part ? len - off : sizeof part;
        if (hive_value_data(h, cell, part, k, off) < 0 || memcmp(part, data + off, k))
            return false;
        off += k;
    }
    return true;
}

static int on_value(void *ctx, struct hive_name name, uint32_t type, const uint8_t *data, size_t len,
                    struct reg_error *error)
{
    struct merging *g = ctx;
    uint32_t cell;
    if (is_same(g->hive, g->key, name, type, data, len))
        return 0;
    int r = hive_set_value(g->hive, g->key, name, type, data, len, g->m->now, &cell);
    return r < 0 ? complain(error, r) : 0;
}

static int on_delete_value(void *ctx, struct hive_name name, struct reg_error *error)
{
    struct merging *g = ctx;
    int r = hive_delete_value(g->hive, g->key, name, g->m->now);
    return r < 0 && r != -ENOENT ? complain(error, r) : 0;
}

int reg_merge(struct reg_merge *m, const void *text, size_t n, struct reg_error *error)
{
    struct merging g = { .m = m };
    struct reg_sink sink = { &g, on_key, on_value, on_delete_value };
    m->n_hives = 0;
    int r = reg_read(text, n, &sink, error);
    if (r < 0) {
        for (size_t i = 0; i < m->n_hives; i++)
            hive_rollback(m->hives[i]);
        m->n_hives = 0;
    }
    return r;
}
