/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Free cells: found by size when one is wanted, by either end when a neighbour is freed.
 *
 * Two maps (start to size, end to start) are the truth. Stacks by size class lead to a cell that is large
 * enough; an entry there whose cell is gone or has changed is dropped when it is met, so nothing is ever
 * searched for to be removed. Classes: one for each multiple of 8 up to 2 KiB, then four for each power of
 * two.
 *
 * Neighbours never join across bins: between the last cell of a bin and the first of the next lies a header,
 * so their ends don't meet. */
#include "hive-edit.h"

#include <assert.h>
#include <stdlib.h>

enum { CLASSES_EXACT = 256, N_CLASSES = CLASSES_EXACT + 4 * 21, LOOK_MAX = 64 };

/* u32 to u32, open addressing; key 0 is a free slot (no cell begins or ends at 0). */
struct map {
    struct slot {
        uint32_t key, value;
    } * slots;
    size_t n, room; /* room: a power of two */
};

struct stack {
    uint32_t *cells;
    size_t n, room;
};

struct hive_free {
    struct map by_start, by_end;
    struct stack classes[N_CLASSES];
};

/* ---- the maps ---- */

static size_t map_home(const struct map *m, uint32_t key)
{
    return ((key >> 3) * 2654435761u) & (m->room - 1);
}

static struct slot *map_find(const struct map *m, uint32_t key)
{
    if (!m->room)
        return NULL;
    for (size_t i = map_home(m, key); m->slots[i].key; i = (i + 1) & (m->room - 1))
        if (m->slots[i].key == key)
            return &m->slots[i];
    return NULL;
}

static void map_store(struct map *m, uint32_t key, uint32_t value)
{
    size_t i = map_home(m, key);
    while (m->slots[i].key && m->slots[i].key != key)
        i = (i + 1) & (m->room - 1);
    m->n += !m->slots[i].key;
    m->slots[i] = (struct slot){ key, value };
}

/* So that the next store can't fail. */
static int map_reserve(struct map *m)
{
    if (m->n + 1 <= m->room / 2)
        return 0;
    struct map bigger = { .room = m->room ? m->room * 2 : 64 };
    bigger.slots = calloc(bigger.room, sizeof *bigger.slots);
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < m->room; i++)
        if (m->slots[i].key)
            map_store(&bigger, m->slots[i].key, m->slots[i].value);
    free(m->slots);
    *m = bigger;
    return 0;
}

static void map_remove(struct map *m, uint32_t key)
{
    struct slot *s = map_find(m, key);
    if (!s)
        return;
    size_t hole = (size_t)(s - m->slots), mask = m->room - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
        size_t home = map_home(m, m->slots[i].key);
        if (((i - home) & mask) >= ((i - hole) & mask)) { /* may move up without leaving its run */
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct slot){ 0 };
    m->n--;
}

/* ---- the classes ---- */

static size_t class_of(uint32_t size)
{
    if (size < CLASSES_EXACT * 8)
        return size / 8;
    unsigned log = 31 - (unsigned)__builtin_clz(size); /* at least 11 */
    return CLASSES_EXACT + 4 * (log - 11) + (size >> (log - 2) & 3);
}

static bool is_free(const struct hive_free *f, uint32_t at, uint32_t *ret_size)
{
    const struct slot *s = map_find(&f->by_start, at);
    if (s)
        *ret_size = s->value;
    return s;
}

static int compare_cells(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Drops the entries that lead nowhere, and those that are there twice. */
static void stack_tidy(const struct hive_free *f, struct stack *s, size_t class)
{
    size_t kept = 0;
    if (s->n)
        qsort(s->cells, s->n, sizeof *s->cells, compare_cells);
    for (size_t i = 0; i < s->n; i++) {
        uint32_t size;
        if ((!kept || s->cells[kept - 1] != s->cells[i]) && is_free(f, s->cells[i], &size) &&
            class_of(size) == class)
            s->cells[kept++] = s->cells[i];
    }
    s->n = kept;
}

static int stack_push(struct hive_free *f, size_t class, uint32_t at)
{
    struct stack *s = &f->classes[class];
    if (s->n == s->room)
        stack_tidy(f, s, class);
    if (s->n >= s->room / 2 + s->room / 4) {
        size_t room = s->room ? s->room * 2 : 16;
        uint32_t *cells = realloc(s->cells, room * sizeof *cells);
        if (!cells)
            return -ENOMEM;
        s->cells = cells;
        s->room = room;
    }
    s->cells[s->n++] = at;
    return 0;
}

int hive_free_new(struct hive_free **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : -ENOMEM;
}

void hive_free_free(struct hive_free *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < N_CLASSES; i++)
        free(f->classes[i].cells);
    free(f->by_start.slots);
    free(f->by_end.slots);
    free(f);
}

int hive_free_put(struct hive_free *f, uint32_t at, uint32_t size)
{
    int r = map_reserve(&f->by_start);
    if (!r)
        r = map_reserve(&f->by_end);
    if (!r)
        r = stack_push(f, class_of(size), at);
    if (r < 0)
        return r;
    map_store(&f->by_start, at, size);
    map_store(&f->by_end, at + size, at);
    return 0;
}

void hive_free_take(struct hive_free *f, uint32_t at)
{
    uint32_t size;
    if (!is_free(f, at, &size))
        return;
    map_remove(&f->by_start, at);
    map_remove(&f->by_end, at + size);
}

/* A free cell of at least `size`: the tightest class that has one. */
static bool find_free(struct hive_free *f, uint32_t size, uint32_t *ret_at, uint32_t *ret_size)
{
    for (size_t class = class_of(size); class < N_CLASSES; class ++) {
        struct stack *s = &f->classes[class];
        for (size_t looked = 0, i = s->n; i > 0 && looked < LOOK_MAX; i--, looked++) {
            uint32_t at = s->cells[i - 1], have;
            if (!is_free(f, at, &have) || class_of(have) != class) {
                s->cells[i - 1] = s->cells[--s->n];
                continue;
            }
            if (have < size)
                continue;
            *ret_at = at;
            *ret_size = have;
            return true;
        }
    }
    return false;
}

/* ---- cells ---- */

int hive_put(struct hive *h, uint32_t cell, uint32_t off, const void *buf, size_t len)
{
    return hive_pages_write(h->pages, buf, len, cell + 4 + off);
}

int hive_put16(struct hive *h, uint32_t cell, uint32_t off, uint32_t v)
{
    uint8_t b[2];
    put_le16(b, (uint16_t)v);
    return hive_put(h, cell, off, b, sizeof b);
}

int hive_put32(struct hive *h, uint32_t cell, uint32_t off, uint32_t v)
{
    uint8_t b[4];
    put_le32(b, v);
    return hive_put(h, cell, off, b, sizeof b);
}

int hive_put64(struct hive *h, uint32_t cell, uint32_t off, uint64_t v)
{
    uint8_t b[8];
    put_le64(b, v);
    return hive_put(h, cell, off, b, sizeof b);
}

static int put_header(struct hive *h, uint32_t at, uint32_t size, bool in_use)
{
    uint8_t b[4];
    put_le32(b, in_use ? 0u - size : size);
    return hive_pages_write(h->pages, b, sizeof b, at);
}

/* The map's changes, each remembered for a rollback. */
static int put(struct hive *h, uint32_t at, uint32_t size)
{
    int r = hive_undo_add(h, UNDO_FREE_TAKE, at, size);
    return r < 0 ? r : hive_free_put(h->edits->free, at, size);
}

static int take(struct hive *h, uint32_t at, uint32_t size)
{
    int r = hive_undo_add(h, UNDO_FREE_PUT, at, size);
    if (!r)
        hive_free_take(h->edits->free, at);
    return r;
}

static int put_zeros(struct hive *h, uint32_t at, size_t len)
{
    static const uint8_t zeros[HIVE_PAGE];
    int r = 0;
    while (!r && len) {
        size_t n = len < sizeof zeros ? len : sizeof zeros;
        r = hive_pages_write(h->pages, zeros, n, at);
        at += (uint32_t)n;
        len -= n;
    }
    return r;
}

/* A new bin at the end that has room for a cell of `size`. */
static int grow(struct hive *h, uint32_t size)
{
    uint32_t at = hive_pages_size(h->pages);
    uint64_t bin = round_up((uint64_t)size + HIVE_BIN_HEADER, HIVE_PAGE);
    uint8_t head[HIVE_BIN_HEADER] = "hbin";
    if (bin > HIVE_SIZE_MAX - at)
        return -EFBIG;
    hive_pages_resize(h->pages, at + (uint32_t)bin);
    int r = put_zeros(h, at, bin);
    put_le32(head + 4, at);
    put_le32(head + 8, (uint32_t)bin);
    if (!r)
        r = hive_pages_write(h->pages, head, sizeof head, at);
    if (!r)
        r = put_header(h, at + HIVE_BIN_HEADER, (uint32_t)bin - HIVE_BIN_HEADER, false);
    return r < 0 ? r : put(h, at + HIVE_BIN_HEADER, (uint32_t)bin - HIVE_BIN_HEADER);
}

/* Makes [at, at + need) of the free cell of `have` bytes a used cell. */
static int carve(struct hive *h, uint32_t at, uint32_t have, uint32_t need)
{
    int r = take(h, at, have);
    if (!r && have > need)
        r = put_header(h, at + need, have - need, false);
    if (!r && have > need)
        r = put(h, at + need, have - need);
    return r < 0 ? r : put_header(h, at, need, true);
}

int hive_alloc(struct hive *h, size_t payload, uint32_t *ret)
{
    if (payload > HIVE_SIZE_MAX - 64)
        return -EFBIG;
    uint32_t need = (uint32_t)round_up(payload + 4, 8), at, have;
    int r = 0;
    if (!find_free(h->edits->free, need, &at, &have)) {
        r = grow(h, need);
        if (!r && !find_free(h->edits->free, need, &at, &have))
            return -ENOMEM;
    }
    if (!r)
        r = carve(h, at, have, need);
    if (!r)
        r = put_zeros(h, at + 4 + (uint32_t)payload, need - 4 - payload);
    if (!r)
        *ret = at;
    return r;
}

int hive_release_cell(struct hive *h, uint32_t at)
{
    struct hive_cell c;
    const struct slot *s;
    if (at == HIVE_NIL)
        return 0;
    int r = hive_cell_open(h, at, "a cell to be freed", &c);
    uint32_t size = c.size + 4, other;
    if (!r && is_free(h->edits->free, at + size, &other)) {
        r = take(h, at + size, other);
        size += other;
    }
    if (!r && (s = map_find(&h->edits->free->by_end, at))) {
        uint32_t before = s->value;
        r = take(h, before, at - before);
        size += at - before;
        at = before;
    }
    if (!r)
        r = put_header(h, at, size, false);
    return r < 0 ? r : put(h, at, size);
}

int hive_extend(struct hive *h, const struct hive_cell *c, size_t payload, bool *ret)
{
    uint32_t size = c->size + 4, need = (uint32_t)round_up(payload + 4, 8), have;
    *ret = need <= size;
    if (*ret || !is_free(h->edits->free, c->at + size, &have) || have < need - size)
        return 0;
    int r = carve(h, c->at + size, have, need - size);
    if (!r)
        r = put_zeros(h, c->at + size, need - size);
    if (!r)
        r = put_header(h, c->at, need, true);
    *ret = !r;
    return r;
}
