/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checker. Two bitmaps with a bit per 8 bytes say where a used cell begins and which were reached; each
 * cell but a security descriptor may be reached once, so a hostile hive can't make the walk longer than it is
 * itself.
 *
 * The same walk runs before the first edit of a hive. Some of what it finds makes editing unsafe (two
 * pointers to a cell, a pointer to a free one, damaged lists): then the hive is read-only. The rest (a wrong
 * order, hash, count or maximum, lost cells) an edit puts right where it touches it, or can leave alone. */
#include "hive-check.h"

#include "hive-edit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct check {
    struct hive *h;
    void (*say)(void *ctx, const char *line);
    void *ctx;
    bool lost;            /* LOST counts too */
    struct hive_edits *e; /* the walk before the first edit: takes the free cells */
    uint32_t end;         /* of what the hive really has */
    uint8_t *in_use, *reached;
    struct hive_sk_use *sks; /* by open addressing, room a power of two; cell 0: free */
    size_t n_sks, room_sks;
    unsigned found;
    bool unsafe;
    char why[200]; /* the first reason that makes it unsafe */
    int err;       /* -EIO, -ENOMEM: the walk ends */
};

enum severity { LOST, RULE, UNSAFE };

/* ---- reporting ---- */

/* The key's path, for people: what isn't printable ASCII is '?'. */
static void path_of(const struct hive *h, uint32_t key, char *buf, size_t size)
{
    char text[512];
    size_t at = sizeof text - 1;
    text[at] = 0;
    for (int depth = 0; key != h->root && depth <= HIVE_DEPTH_MAX; depth++) {
        struct hive_nk k;
        struct hive_name_buf name;
        if (hive_nk(h, key, &k) < 0 || hive_stored_whole(h, &k.name, &name) < 0 || name.n + 1 > at)
            break;
        for (size_t i = name.n; i-- > 0;)
            text[--at] = name.units[i] >= 0x20 && name.units[i] < 0x7f ? (char)name.units[i] : '?';
        text[--at] = '\\';
        key = k.parent;
    }
    snprintf(buf, size, "%s", text[at] ? text + at : "\\");
}

static void report(struct check *c, enum severity severity, uint32_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void report(struct check *c, enum severity severity, uint32_t at, const char *fmt, ...)
{
    char what[700], line[800];
    va_list ap;
    if (severity == LOST && !c->lost)
        return;
    c->found++;
    if ((!c->say || c->found > HIVE_CHECK_LINES) && (severity != UNSAFE || c->unsafe))
        return;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line, "at byte %llu: %s", (unsigned long long)at + HIVE_BASE_SIZE, what);
    if (severity == UNSAFE && !c->unsafe) {
        c->unsafe = true;
        snprintf(c->why, sizeof c->why, "%.190s", line);
    }
    if (c->say && c->found <= HIVE_CHECK_LINES)
        c->say(c->ctx, line);
}

/* A call failed: reports damage by what the reader said of it, and ends the walk for the rest. */
static void report_error(struct check *c, int r, uint32_t key)
{
    char path[200];
    if (r != -EUCLEAN) {
        c->err = r;
        return;
    }
    struct fault f = *hive_last_fault();
    path_of(c->h, key, path, sizeof path);
    report(c, UNSAFE, (uint32_t)(f.offset - HIVE_BASE_SIZE), "%s (key %s)", f.what, path);
}

static void report_key(struct check *c, enum severity severity, uint32_t at, uint32_t key, const char *what)
{
    char path[512];
    path_of(c->h, key, path, sizeof path);
    report(c, severity, at, "%s (key %s)", what, path);
}

/* ---- cells ---- */

static bool bit(const uint8_t *map, uint32_t at)
{
    return map[at / 64] >> (at / 8 % 8) & 1;
}

static void set_bit(uint8_t *map, uint32_t at)
{
    map[at / 64] = (uint8_t)(map[at / 64] | 1u << (at / 8 % 8));
}

/* The cells of the bin at `at`, which ends at `end`. */
static void check_cells(struct check *c, uint32_t at, uint32_t end)
{
    for (uint32_t cell = at + HIVE_BIN_HEADER; cell < end;) {
        uint8_t word[4];
        struct bad bad = { 0 };
        int r = hive_read(c->h, cell, word, sizeof word);
        if (r < 0) {
            report_error(c, r, c->h->root);
            return;
        }
        uint32_t raw = le32(bytes_of(word, 4, cell, &bad), 0);
        bool used = raw & 0x80000000u;
        uint32_t size = used ? 0u - raw : raw;
        if (size < HIVE_CELL_MIN || size % 8 || size > end - cell) {
            report(c, UNSAFE, cell, "a cell of the impossible size %u", size);
            return;
        }
        if (used)
            set_bit(c->in_use, cell);
        else if (c->e && (r = hive_free_put(c->e->free, cell, size)) < 0)
            c->err = r;
        if (c->err)
            return;
        cell += size;
    }
}

static void check_bins(struct check *c)
{
    uint32_t size = hive_pages_size(c->h->pages);
    for (uint32_t at = 0; at < size && !c->err;) {
        uint8_t head[HIVE_BIN_HEADER];
        struct bad bad = { 0 };
        struct bytes b = bytes_of(head, sizeof head, at, &bad);
        int r = hive_read(c->h, at, head, sizeof head);
        if (r < 0) {
            report_error(c, r, c->h->root);
            return;
        }
        uint32_t bin = le32(b, 8);
        if (memcmp(head, "hbin", 4)) {
            report(c, UNSAFE, at, "no bin begins here");
            return;
        }
        if (le32(b, 4) != at)
            report(c, RULE, at, "the bin says that it lies at %u, not %u", le32(b, 4), at);
        if (!bin || bin % HIVE_PAGE || bin > size - at) {
            report(c, UNSAFE, at, "a bin of the impossible size %u", bin);
            return;
        }
        check_cells(c, at, at + bin);
        at += bin;
    }
}

/* The cell is reached by `key`: it must be in use, and not have been reached before. */
static bool reach(struct check *c, uint32_t at, uint32_t key, const char *what)
{
    char text[100];
    if (at % 8 || at >= c->end || !bit(c->in_use, at)) {
        snprintf(text, sizeof text, "%s isn't a cell in use", what);
        report_key(c, UNSAFE, at, key, text);
        return false;
    }
    if (bit(c->reached, at)) {
        snprintf(text, sizeof text, "%s is a cell that something else uses too", what);
        report_key(c, UNSAFE, at, key, text);
        return false;
    }
    set_bit(c->reached, at);
    return true;
}

/* ---- security ---- */

static struct hive_sk_use *sk_slot(const struct check *c, uint32_t cell)
{
    size_t i = ((cell >> 3) * 2654435761u) & (c->room_sks - 1);
    while (c->sks[i].cell && c->sks[i].cell != cell)
        i = (i + 1) & (c->room_sks - 1);
    return &c->sks[i];
}

static int sk_put(struct check *c, uint32_t cell)
{
    if (c->n_sks >= c->room_sks / 2) {
        struct check bigger = { .room_sks = c->room_sks ? 2 * c->room_sks : 64 };
        bigger.sks = calloc(bigger.room_sks, sizeof *bigger.sks);
        if (!bigger.sks)
            return -ENOMEM;
        for (size_t i = 0; i < c->room_sks; i++)
            if (c->sks[i].cell)
                *sk_slot(&bigger, c->sks[i].cell) = c->sks[i];
        free(c->sks);
        c->sks = bigger.sks;
        c->room_sks = bigger.room_sks;
    }
    sk_slot(c, cell)->cell = cell;
    c->n_sks++;
    return 0;
}

/* Collects the ring, which begins at the root's descriptor. */
static void check_ring(struct check *c, uint32_t first)
{
    uint32_t at = first, before = HIVE_NIL;
    struct hive_sk s;
    do {
        if (!reach(c, at, c->h->root, "a security descriptor in the ring"))
            return; /* also when the ring comes back anywhere but to its beginning */
        int r = hive_sk(c->h, at, &s);
        if (!r)
            r = sk_put(c, at);
        if (r < 0) {
            report_error(c, r, c->h->root);
            return;
        }
        if (before != HIVE_NIL && s.previous != before)
            report(c, UNSAFE, at, "the security descriptor's ring is broken: %u is before it, not %u", before,
                   s.previous);
        before = at;
        at = s.next;
    } while (at != first);
    if (!hive_sk(c->h, first, &s) && s.previous != before)
        report(c, UNSAFE, first, "the security descriptor's ring is broken: %u is before it, not %u", before,
               s.previous);
}

static void use_security(struct check *c, const struct hive_nk *k)
{
    struct hive_sk_use *u = c->room_sks ? sk_slot(c, k->security) : NULL;
    if (u && u->cell == k->security && k->security)
        u->refs++;
    else
        report_key(c, UNSAFE, k->cell.at, k->cell.at, "the key's security descriptor isn't in the ring");
}

static void check_counts(struct check *c)
{
    for (size_t i = 0; i < c->room_sks; i++) {
        struct hive_sk s;
        const struct hive_sk_use *u = &c->sks[i];
        if (u->cell && !hive_sk(c->h, u->cell, &s) && s.refs != u->refs)
            report(c, s.refs > u->refs ? LOST : RULE, u->cell,
                   "the security descriptor counts %u keys, %u use it", s.refs, u->refs);
    }
}

/* ---- values ---- */

static void check_segments(struct check *c, const struct hive_vk *v, uint32_t key)
{
    uint8_t head[8], word[4];
    struct bad bad = { 0 };
    struct hive_cell db, list, segment;
    size_t got = 0;
    int r = hive_cell_peek(c->h, v->data, "big data", head, sizeof head, &db, &got);
    struct bytes b = bytes_of(head, got, v->data, &bad);
    uint32_t n = le16(b, 2), at = le32(b, 4);
    if (!r && n != div_up(v->length, HIVE_SEGMENT))
        r = hive_damage(c->h, v->data, "the big data has %u segments for %u bytes", n, v->length);
    if (!r && !reach(c, at, key, "a value's list of segments"))
        return;
    if (!r)
        r = hive_cell_open(c->h, at, "a list of segments", &list);
    for (uint32_t i = 0; !r && i < n; i++) {
        uint32_t want = i + 1 < n ? HIVE_SEGMENT : v->length - i * HIVE_SEGMENT;
        r = hive_cell_read(c->h, &list, 4 * i, word, sizeof word);
        if (r < 0)
            break;
        uint32_t part = le32(bytes_of(word, 4, at, &bad), 0);
        if (!reach(c, part, key, "a segment of a value's data"))
            return;
        r = hive_cell_open(c->h, part, "a segment of data", &segment);
        if (!r && segment.size < want)
            r = hive_damage(c->h, part, "the cell has %u bytes, the segment of data %u", segment.size, want);
    }
    if (r < 0)
        report_error(c, r, key);
}

static void check_data(struct check *c, const struct hive_vk *v, uint32_t key)
{
    struct hive_cell cell;
    bool big;
    if (v->in_place)
        return;
    if (!v->length) {
        if (v->data != HIVE_NIL)
            report_key(c, RULE, v->cell.at, key, "a value without data has a pointer to some");
        return;
    }
    if (!reach(c, v->data, key, "a value's data"))
        return;
    int r = hive_vk_is_big(c->h, v, &big);
    if (!r && big) {
        check_segments(c, v, key);
        return;
    }
    if (!r)
        r = hive_cell_open(c->h, v->data, "a value's data", &cell);
    if (!r && cell.size < v->length)
        r = hive_damage(c->h, v->data, "the cell has %u bytes, the value's data %u", cell.size, v->length);
    if (r < 0)
        report_error(c, r, key);
    else if (hive_has_big_data(c->h) && v->length > HIVE_SEGMENT)
        report_key(c, RULE, v->cell.at, key, "a value's data isn't in segments, as this version needs");
}

/* Names seen in one key, by a hash of their upper case. */
struct names {
    uint64_t *hashes;
    size_t n, room;
};

static int name_is_new(struct names *s, uint64_t hash, bool *ret)
{
    if (s->n >= s->room / 2) {
        struct names bigger = { .room = s->room ? 4 * s->room : 64 };
        bool ignored;
        bigger.hashes = calloc(bigger.room, sizeof *bigger.hashes);
        if (!bigger.hashes)
            return -ENOMEM;
        for (size_t i = 0; i < s->room; i++)
            if (s->hashes[i])
                (void)name_is_new(&bigger, s->hashes[i], &ignored);
        free(s->hashes);
        *s = bigger;
    }
    size_t i = (size_t)(hash >> 20) & (s->room - 1);
    while (s->hashes[i] && s->hashes[i] != hash)
        i = (i + 1) & (s->room - 1);
    *ret = !s->hashes[i];
    s->n += *ret;
    s->hashes[i] = hash;
    return 0;
}

static int hash_name(const struct hive *h, const struct hive_stored_name *s, uint64_t *ret)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    size_t n = hive_stored_units(s);
    for (size_t i = 0; i < n;) {
        uint16_t units[64];
        size_t k = n - i < 64 ? n - i : 64;
        int r = hive_stored_read(h, s, i, units, k);
        if (r < 0)
            return r;
        for (size_t j = 0; j < k; j++)
            hash = (hash ^ hive_upcase(units[j])) * 1099511628211u;
        i += k;
    }
    *ret = hash ? hash : 1;
    return 0;
}

static void check_value(struct check *c, const struct hive_nk *k, uint32_t at, struct names *names)
{
    struct hive_vk v;
    uint64_t hash;
    bool is_new;
    uint32_t key = k->cell.at;
    if (!reach(c, at, key, "a value"))
        return;
    int r = hive_vk(c->h, at, &v);
    if (!r)
        r = hash_name(c->h, &v.name, &hash);
    if (!r)
        r = name_is_new(names, hash, &is_new);
    if (r < 0) {
        report_error(c, r, key);
        return;
    }
    if (!is_new)
        report_key(c, RULE, at, key, "two values have one name");
    if (!v.name.compressed && v.name.bytes % 2)
        report_key(c, RULE, at, key, "a value's name has half a character");
    if (2 * hive_stored_units(&v.name) > k->max_value_name)
        report_key(c, RULE, key, key, "a value's name is longer than the key's maximum says");
    if (v.length > k->max_value_data)
        report_key(c, RULE, key, key, "a value's data is longer than the key's maximum says");
    if (c->h->state.minor >= 6 && v.flags & 2 && c->e)
        report_key(c, UNSAFE, at, key, "the value is part of a layer");
    check_data(c, &v, key);
}

static void check_values(struct check *c, const struct hive_nk *k)
{
    struct hive_cell list;
    struct names names = { 0 };
    uint32_t key = k->cell.at;
    if (!k->n_values || !reach(c, k->values, key, "a key's list of values"))
        return;
    int r = hive_cell_open(c->h, k->values, "a list of values", &list);
    if (!r && list.size / 4 < k->n_values)
        r = hive_damage(c->h, k->values, "the list has room for %u values, the key has %u", list.size / 4,
                        k->n_values);
    for (uint32_t i = 0; !r && !c->err && i < k->n_values; i++) {
        uint8_t word[4];
        struct bad bad = { 0 };
        r = hive_cell_read(c->h, &list, 4 * i, word, sizeof word);
        if (!r)
            check_value(c, k, le32(bytes_of(word, 4, k->values, &bad), 0), &names);
    }
    free(names.hashes);
    if (r < 0)
        report_error(c, r, key);
}

/* ---- subkeys ---- */

/* Reaches the list's cells. False: it can't be walked. */
static bool check_list_cells(struct check *c, const struct hive_nk *k)
{
    struct hive_list list;
    uint32_t key = k->cell.at;
    if (!reach(c, k->list, key, "a key's list of subkeys"))
        return false;
    int r = hive_list(c->h, k->list, &list);
    if (!r && list.is_ri && list.n_leaves < list.declared)
        r = hive_damage(c->h, k->list, "the cell is too small for its %u lists", list.declared);
    if (!r && list.is_ri && !list.n_leaves)
        r = hive_damage(c->h, k->list, "an empty list of lists");
    for (uint32_t i = 0; !r && i < (list.is_ri ? list.n_leaves : 1); i++) {
        struct hive_leaf leaf = list.leaf;
        if (list.is_ri)
            r = hive_list_leaf(c->h, &list, i, &leaf);
        if (!r && list.is_ri && !reach(c, leaf.cell.at, key, "a part of a key's list of subkeys"))
            return false;
        if (!r && (leaf.n < leaf.declared || leaf.cell.size < 4 + leaf.n * leaf.step))
            r = hive_damage(c->h, leaf.cell.at, "the cell is too small for its %u subkeys", leaf.declared);
        if (!r && !leaf.n)
            r = hive_damage(c->h, leaf.cell.at, "an empty list of subkeys");
        if (!r && leaf.kind == HIVE_LH && !hive_has_hashes(c->h))
            report_key(c, RULE, leaf.cell.at, key, "a list with hashes, which this version doesn't have");
    }
    if (r < 0)
        report_error(c, r, key);
    return !r;
}

/* Order, hints, count and maxima, by the subkeys' names. */
static void check_list(struct check *c, const struct hive_nk *k)
{
    struct hive_list_iter it;
    struct hive_name_buf before, now;
    uint32_t child, n = 0, key = k->cell.at;
    uint8_t hint[4];
    bool known = false;
    int r = hive_list_begin(c->h, k->list, &it);
    while (!r && (r = hive_list_next(&it, &child, hint)) == 1) {
        struct hive_nk sub;
        n++;
        r = hive_nk(c->h, child, &sub);
        if (!r)
            r = hive_stored_whole(c->h, &sub.name, &now);
        if (r == -EUCLEAN) {
            r = 0; /* reported when the subkey itself is checked */
            known = false;
            continue;
        }
        if (r < 0)
            break;
        int order = known ? hive_name_compare(hive_name_of(&before), hive_name_of(&now)) : -1;
        if (order > 0)
            report_key(c, RULE, it.leaf.cell.at, child, "the key isn't in its place in the order of names");
        else if (!order)
            report_key(c, RULE, it.leaf.cell.at, child, "two subkeys have one name");
        if (!hive_hint_is_good(it.leaf.kind, hint, hive_name_of(&now)))
            report_key(c, RULE, it.leaf.cell.at, child,
                       it.leaf.kind == HIVE_LH ? "a wrong hash" : "a wrong hint");
        if (2 * now.n > k->max_name)
            report_key(c, RULE, key, key, "a subkey's name is longer than the key's maximum says");
        if (sub.class_bytes > k->max_class)
            report_key(c, RULE, key, key, "a subkey's class is longer than the key's maximum says");
        before = now;
        known = true;
    }
    if (r < 0)
        report_error(c, r, key);
    else if (it.damaged)
        report_key(c, UNSAFE, k->list, key, "the list of subkeys is damaged");
    else if (n != k->n_subkeys)
        report_key(c, RULE, key, key, "the key's count of subkeys isn't that of its list");
}

static void check_class(struct check *c, const struct hive_nk *k)
{
    struct hive_cell cell;
    if (!k->class_bytes || !reach(c, k->class, k->cell.at, "a key's class name"))
        return;
    int r = hive_cell_open(c->h, k->class, "a class name", &cell);
    if (!r && cell.size < k->class_bytes)
        r = hive_damage(c->h, k->class, "the cell is too small for the class name");
    if (r < 0)
        report_error(c, r, k->cell.at);
}

static void check_name(struct check *c, const struct hive_nk *k)
{
    uint32_t key = k->cell.at;
    if (!k->name.bytes)
        report_key(c, RULE, key, key, "the key has no name");
    if (hive_stored_units(&k->name) > HIVE_KEY_NAME_MAX)
        report_key(c, UNSAFE, key, key, "the key's name is longer than 255 characters");
    if (!k->name.compressed && k->name.bytes % 2)
        report_key(c, RULE, key, key, "the key's name has half a character");
}

static void check_key(struct check *c, uint32_t at, uint32_t parent, unsigned depth)
{
    struct hive_nk k;
    struct hive_list_iter it;
    uint32_t child;
    if (c->err || !reach(c, at, depth ? parent : at, "a key"))
        return;
    int r = depth ? hive_nk_child(c->h, at, parent, &k) : hive_nk(c->h, at, &k);
    if (r < 0) {
        report_error(c, r, depth ? parent : at);
        return;
    }
    if (!depth)
        check_ring(c, k.security);
    check_name(c, &k);
    use_security(c, &k);
    check_class(c, &k);
    check_values(c, &k);
    if (c->e && c->h->state.minor >= 6 && k.layered & 3)
        report_key(c, UNSAFE, at, at, "the key is part of a layer");
    if (!k.n_subkeys || !check_list_cells(c, &k))
        return;
    check_list(c, &k);
    if (depth >= HIVE_DEPTH_MAX) {
        report_key(c, UNSAFE, at, at, "keys lie deeper than 512 levels");
        return;
    }
    r = hive_list_begin(c->h, k.list, &it);
    while (!r && !c->err && (r = hive_list_next(&it, &child, NULL)) == 1) {
        check_key(c, child, at, depth + 1);
        r = 0;
    }
    if (r < 0)
        report_error(c, r, at);
}

/* ---- the whole ---- */

static void check_reached(struct check *c)
{
    for (uint32_t at = 0; at < c->end; at += 64) {
        unsigned lost = (unsigned)c->in_use[at / 64] & ~(unsigned)c->reached[at / 64];
        for (; lost; lost &= lost - 1)
            report(c, LOST, at + 8 * (uint32_t)__builtin_ctz(lost), "a cell that nothing refers to");
    }
}

static void check_base(struct check *c)
{
    const struct hive *h = c->h;
    if (h->base_bad && c->say)
        c->say(c->ctx, "at byte 0: the base block is damaged, and no log has it");
    else if (h->state.dirty && !h->state.replayed && h->base_dirty && c->say)
        c->say(c->ctx, "at byte 4: the hive is dirty, and there is no log that could be replayed");
    if (h->base_bad || (h->state.dirty && !h->state.replayed && h->base_dirty))
        c->found++;
}

static int walk(struct check *c)
{
    c->end = hive_pages_there(c->h->pages);
    size_t n = c->end / 64 + 1;
    c->in_use = calloc(n, 1);
    c->reached = calloc(n, 1);
    if (!c->in_use || !c->reached)
        return -ENOMEM;
    check_base(c);
    check_bins(c);
    if (!c->err)
        check_key(c, c->h->root, HIVE_NIL, 0);
    if (!c->err && !c->unsafe) { /* behind damage all is lost, which says nothing new */
        check_counts(c);
        check_reached(c);
    }
    return c->err;
}

static void check_done(struct check *c)
{
    free(c->in_use);
    free(c->reached);
    free(c->sks);
}

static int check(struct hive *h, bool lost, void (*say)(void *ctx, const char *line), void *ctx)
{
    char line[80];
    _cleanup_(check_done) struct check c = { .h = h, .lost = lost, .say = say, .ctx = ctx };
    int r = walk(&c);
    if (r < 0)
        return r;
    if (say && c.found > HIVE_CHECK_LINES) {
        snprintf(line, sizeof line, "and %u more", c.found - HIVE_CHECK_LINES);
        say(ctx, line);
    }
    return c.found > INT32_MAX ? INT32_MAX : (int)c.found;
}

int hive_check(struct hive *h, void (*say)(void *ctx, const char *line), void *ctx)
{
    return check(h, false, say, ctx);
}

int hive_check_lost(struct hive *h, void (*say)(void *ctx, const char *line), void *ctx)
{
    return check(h, true, say, ctx);
}

int hive_survey(struct hive *h, struct hive_edits *e)
{
    _cleanup_(check_done) struct check c = { .h = h, .e = e };
    int r = walk(&c);
    if (r < 0)
        return r;
    if (c.unsafe) {
        h->state.writable = false;
        snprintf(h->state.why, sizeof h->state.why, "the hive is damaged: %s", c.why);
        return -EROFS;
    }
    e->sks = calloc(c.n_sks ? c.n_sks : 1, sizeof *e->sks);
    if (!e->sks)
        return -ENOMEM;
    for (size_t i = 0; i < c.room_sks; i++)
        if (c.sks[i].cell)
            e->sks[e->n_sks++] = c.sks[i];
    e->room_sks = c.n_sks;
    return 0;
}
