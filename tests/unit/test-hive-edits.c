/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random edits of hives, made to a model beside: after each batch the hive must hold what the model does,
 * before the commit, after it, and read again from its bytes; the checker must find nothing that wasn't there
 * before; and programs that we didn't write must read the same tree, types and data out of it.
 *
 * FERRYFS_HIVE_EDITS: how many edits (4000), FERRYFS_HIVE_SEED: the first seed (1). The hives are those of
 * the corpus (FERRYFS_CORPUS), and without it empty ones. FERRYFS_HIVE_DUMP=DIR: the last state of each is
 * kept there as NAME.hive and NAME.txt; with FERRYFS_HIVE_DUMP_ALL that after each batch too, as NAME.N.hive.
 * FERRYFS_HIVE_PLAIN: only what reged can read: short names in ASCII, types that have a name, no data over
 * 16344 bytes. */
#include "unit.h"

#include "hive-model.h"
#include "hive-sample.h"
#include "registry/hive-check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 250, CLOCK_START = 1 };

static const char *corpus, *dump_dir;
static unsigned long n_edits = 4000, first_seed = 1;
static bool plain, dump_all;
static uint64_t rng_state, tick;

static uint32_t rnd(uint32_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)((rng_state >> 11) % below);
}

static uint64_t now(void)
{
    return 0x01d9000000000000u + ++tick;
}

/* ---- what is edited ---- */

struct subject {
    struct hive *h;
    struct hive_file *file;
    struct model m;
};

static size_t random_name(uint16_t *units, size_t most)
{
    static const uint16_t starts[] = { 'a', 'S', '_', '{', 0xe4, 0xff, 0x178, 0x430, 0x4e00, 0xff41, 0x1f80 };
    uint32_t kind = plain ? 5 + rnd(7) : rnd(20);
    size_t n = kind == 0 ? most : kind < 3 ? 1 + rnd(40) : 1 + rnd(6);
    if (n > most)
        n = most;
    for (size_t i = 0; i < n; i++)
        units[i] = kind < 12 ? (uint16_t)('a' + rnd(26) - (rnd(4) ? 0 : 32))
                             : (uint16_t)(starts[rnd(sizeof starts / sizeof *starts)] + rnd(8));
    return n;
}

static struct model_key *random_key(struct subject *s)
{
    return s->m.all[rnd((uint32_t)s->m.n_all)];
}

static uint8_t *random_data(size_t *ret_n)
{
    static const uint32_t sizes[] = { 0,   1,    2,    3,     4,     5,     8,     12,   13,
                                      100, 4080, 4081, 16343, 16344, 16345, 32688, 32689 };
    uint32_t kind = plain ? rnd(97) : rnd(100);
    size_t n = kind < 40   ? sizes[rnd(9)]
               : kind < 90 ? rnd(200)
               : kind < 97 ? rnd(3000)
               : kind < 99 ? sizes[rnd(sizeof sizes / sizeof *sizes)]
                           : rnd(90000);
    uint8_t *p = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rnd(256);
    *ret_n = n;
    return p;
}

static struct hive_name name_of(const uint16_t *units, size_t n)
{
    return (struct hive_name){ units, n };
}

static void edit_add_key(struct subject *s)
{
    struct model_key *p = random_key(s);
    uint16_t name[HIVE_KEY_NAME_MAX];
    size_t n = random_name(name, HIVE_KEY_NAME_MAX);
    uint32_t cell;
    uint64_t at = now();
    int r = hive_add_key(s->h, p->cell, name_of(name, n), at, &cell);
    if (model_find(p, name, n)) {
        assert_int_equal(r, -EEXIST);
        return;
    }
    assert_int_equal(r, 0);
    struct model_key *k = model_add(&s->m, p, name, n);
    k->cell = cell;
    k->written = p->written = at;
}

static size_t size_of(const struct model_key *k, size_t most)
{
    size_t n = 1;
    for (size_t i = 0; i < k->n_keys && n < most; i++)
        n += size_of(k->keys[i], most);
    return n;
}

static void edit_delete_key(struct subject *s)
{
    struct model_key *k = random_key(s), *p = k->parent;
    uint64_t at = now();
    if (!p) {
        assert_int_equal(hive_delete_key(s->h, k->cell, true, at), -EPERM);
        return;
    }
    if (size_of(k, 100) >= 100)
        return;
    if (k->n_keys)
        assert_int_equal(hive_delete_key(s->h, k->cell, false, at), -ENOTEMPTY);
    int r = hive_delete_key(s->h, k->cell, true, at);
    if (r == -EPERM)
        return; /* it, or one below it, says so */
    assert_int_equal(r, 0);
    p->written = at;
    model_remove(&s->m, k);
}

static bool is_below(const struct model_key *k, const struct model_key *above)
{
    for (; k; k = k->parent)
        if (k == above)
            return true;
    return false;
}

static void edit_move_key(struct subject *s)
{
    struct model_key *k = random_key(s), *p = rnd(2) ? random_key(s) : k->parent;
    uint16_t name[HIVE_KEY_NAME_MAX];
    size_t n = random_name(name, HIVE_KEY_NAME_MAX);
    uint64_t at = now();
    if (!k->parent || size_of(k, 2000) >= 2000)
        return;
    if (rnd(3) == 0) {
        n = k->n_name;
        memcpy(name, k->name, n * sizeof *name);
    }
    uint32_t cell = k->cell;
    int r = hive_move_key(s->h, k->cell, p->cell, name_of(name, n), at, &cell);
    struct model_key *other = model_find(p, name, n);
    if (is_below(p, k))
        assert_int_equal(r, -EINVAL);
    else if (other && other != k)
        assert_int_equal(r, -EEXIST);
    else
        assert_int_equal(r, 0);
    if (r < 0)
        return;
    k->parent->written = p->written = k->written = at;
    k->cell = cell;
    model_move(k, p, name, n);
}

static uint32_t plain_type(size_t len)
{
    static const uint32_t types[] = { 0, 2, 3, 3, 3, 5, 6, 7, 8, 9, 10, 11 };
    return len == 4 && rnd(2) ? 4 : types[rnd(sizeof types / sizeof *types)];
}

static void edit_set_value(struct subject *s)
{
    struct model_key *k = random_key(s);
    uint16_t name[HIVE_VALUE_NAME_MAX];
    size_t n, len;
    uint64_t at = now();
    if (k->n_values && rnd(2)) {
        struct model_value *v = &k->values[rnd((uint32_t)k->n_values)];
        n = v->n_name;
        memcpy(name, v->name, n * sizeof *name);
    } else {
        n = rnd(8) ? random_name(name, rnd(60) ? 300 : HIVE_VALUE_NAME_MAX) : 0;
    }
    uint8_t *data = random_data(&len);
    uint32_t type = plain ? plain_type(len) : rnd(4) ? rnd(12) : rnd(UINT32_MAX);
    assert_int_equal(hive_set_value(s->h, k->cell, name_of(name, n), type, data, len, at, NULL), 0);
    model_set(k, name, n, type, data, len);
    k->written = at;
    free(data);
}

static void edit_delete_value(struct subject *s)
{
    struct model_key *k = random_key(s);
    uint64_t at = now();
    if (!k->n_values) {
        assert_int_equal(hive_delete_value(s->h, k->cell, name_of(k->name, k->n_name), at), -ENOENT);
        return;
    }
    struct model_value *v = &k->values[rnd((uint32_t)k->n_values)];
    assert_int_equal(hive_delete_value(s->h, k->cell, name_of(v->name, v->n_name), at), 0);
    model_unset(k, v);
    k->written = at;
}

static void edit_rename_value(struct subject *s)
{
    struct model_key *k = random_key(s);
    uint16_t name[HIVE_KEY_NAME_MAX];
    size_t n = random_name(name, HIVE_KEY_NAME_MAX);
    uint64_t at = now();
    if (!k->n_values)
        return;
    struct model_value *v = &k->values[rnd((uint32_t)k->n_values)], *other = model_value(k, name, n);
    int r = hive_rename_value(s->h, k->cell, name_of(v->name, v->n_name), name_of(name, n), at);
    assert_int_equal(r, other && other != v ? -EEXIST : 0);
    if (r < 0)
        return;
    v->name = realloc(v->name, n * sizeof *name + 1);
    memcpy(v->name, name, n * sizeof *name);
    v->n_name = n;
    k->written = at;
}

static void edit_class(struct subject *s)
{
    struct model_key *k = random_key(s);
    uint8_t class[64];
    size_t n = rnd(3) ? 2 * rnd(30) : 0;
    for (size_t i = 0; i < n; i++)
        class[i] = i % 2 ? 0 : (uint8_t)('a' + rnd(26));
    assert_int_equal(hive_set_class(s->h, k->cell, class, n), 0);
    free(k->class);
    k->class = malloc(n + 1);
    memcpy(k->class, class, n);
    k->n_class = n;
}

static void edit_security(struct subject *s)
{
    /* Owner S-1-5-18, group S-1-5-x. */
    uint8_t sd[44] = { 1, 0, 0, 0x80, 20, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                       1, 1, 0, 0,    0,  0, 0, 5, 18, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 5 };
    struct model_key *k = random_key(s), *from = random_key(s);
    sd[40] = (uint8_t)rnd(40);
    bool new = rnd(2);
    const uint8_t *p = new ? sd : from->security;
    size_t n = new ? sizeof sd : from->n_security;
    assert_int_equal(hive_set_security(s->h, k->cell, p, n), 0);
    uint8_t *copy = malloc(n + 1);
    memcpy(copy, p, n);
    free(k->security);
    k->security = copy;
    k->n_security = n;
}

/* Hundreds of subkeys at once, so that leaves split; most of them go again. */
static void edit_many(struct subject *s)
{
    struct model_key *p = random_key(s);
    uint32_t n = 300 + rnd(900);
    for (uint32_t i = 0; i < n; i++) {
        uint16_t name[8];
        uint32_t cell, v = rnd(2000);
        uint64_t at = now();
        for (size_t j = 0; j < 8; j++, v /= 3)
            name[j] = (uint16_t)('m' + v % 3);
        struct model_key *k = model_find(p, name, 8);
        if (k && rnd(2)) {
            if (k->n_keys)
                continue;
            assert_int_equal(hive_delete_key(s->h, k->cell, false, at), 0);
            model_remove(&s->m, k);
        } else if (!k) {
            assert_int_equal(hive_add_key(s->h, p->cell, name_of(name, 8), at, &cell), 0);
            k = model_add(&s->m, p, name, 8);
            k->cell = cell;
            k->written = at;
        } else {
            continue;
        }
        p->written = at;
    }
}

static void edit(struct subject *s)
{
    static void (*const edits[])(struct subject *) = { edit_add_key,   edit_add_key,      edit_add_key,
                                                       edit_set_value, edit_set_value,    edit_set_value,
                                                       edit_set_value, edit_delete_value, edit_delete_value,
                                                       edit_move_key,  edit_rename_value, edit_delete_key,
                                                       edit_class,     edit_security };
    if (rnd(400) == 0)
        edit_many(s);
    else
        edits[rnd(sizeof edits / sizeof *edits)](s);
}

/* Edits that are rolled back: the model knows nothing of them. */
static void edits_undone(struct subject *s)
{
    assert_int_equal(hive_savepoint(s->h), 0);
    for (int i = 0; i < 30; i++) {
        struct model_key *k = random_key(s), *other = random_key(s);
        uint16_t name[HIVE_KEY_NAME_MAX];
        size_t n = random_name(name, HIVE_KEY_NAME_MAX), len;
        uint8_t *data = random_data(&len);
        (void)hive_add_key(s->h, k->cell, name_of(name, n), now(), NULL);
        (void)hive_set_value(s->h, k->cell, name_of(name, n), 3, data, len, now(), NULL);
        (void)hive_set_security(s->h, k->cell, other->security, other->n_security);
        if (rnd(3) == 0)
            (void)hive_move_key(s->h, k->cell, other->cell, name_of(name, n), now(), NULL);
        if (rnd(3) == 0)
            (void)hive_delete_key(s->h, other->cell, true, now());
        free(data);
    }
    hive_rollback(s->h);
}

/* ---- judging ---- */

static void print_line(void *ctx, const char *line)
{
    (void)ctx;
    print_message("  %s\n", line);
}

static int judge(struct hive *h, int before)
{
    int found = hive_check_lost(h, NULL, NULL);
    if (before >= 0 && found > before) {
        hive_check_lost(h, print_line, NULL);
        fail_msg("the checker finds %d broken rules, before there were %d", found, before);
    }
    return found;
}

/* A second hive on a copy of the file's bytes. */
static struct hive *read_again(const struct hive_file *f)
{
    struct hive_files files = { 0 };
    struct hive_state state;
    struct hive *h;
    assert_int_equal(hive_file_memory(hive_file_bytes(f), f->size, f->name, &files.primary), 0);
    assert_int_equal(hive_open(&files, HIVE_WRITABLE, 1 << 18, &h, NULL), 0);
    hive_state(h, &state);
    assert_true(!state.dirty && state.writable);
    return h;
}

/* `done`: after so many edits; 0: at the end. */
static void keep(const struct subject *s, const char *name, unsigned long done)
{
    char path[1024];
    if (!dump_dir || (done && !dump_all))
        return;
    char flat[256];
    if (done)
        snprintf(flat, sizeof flat, "%s.%lu", name, done);
    else
        snprintf(flat, sizeof flat, "%s", name);
    for (char *p = flat; *p; p++)
        *p = *p == '/' ? '_' : *p;
    snprintf(path, sizeof path, "%s/%s.hive", dump_dir, flat);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(hive_file_bytes(s->file), 1, s->file->size, f), s->file->size);
    fclose(f);
    snprintf(path, sizeof path, "%s/%s.txt", dump_dir, flat);
    f = fopen(path, "w");
    assert_non_null(f);
    model_dump(&s->m, f);
    fclose(f);
}

static void edit_hive(struct subject *s, const char *name, unsigned long count, unsigned long seed)
{
    int before = judge(s->h, -1);
    rng_state = 0x9e3779b97f4a7c15u ^ (seed * 0x2545f4914f6cdd1du);
    tick = 0;
    model_load(&s->m, s->h);
    model_compare(&s->m, s->h);
    for (unsigned long done = 0; done < count;) {
        for (int i = 0; i < BATCH && done < count; i++, done++)
            edit(s);
        if (rnd(2))
            edits_undone(s);
        model_compare(&s->m, s->h);
        judge(s->h, before);
        assert_int_equal(hive_commit(s->h, now(), NULL), 0);
        assert_false(hive_is_dirty(s->h));
        struct hive *again = read_again(s->file);
        model_compare(&s->m, again);
        judge(again, before);
        hive_close(again);
        keep(s, name, done);
    }
    print_message("%s: %lu edits with seed %lu, %zu keys\n", name, count, seed, s->m.n_all);
    keep(s, name, 0);
    model_done(&s->m);
    hive_close(s->h);
}

static void edit_empty(unsigned minor, unsigned long count, unsigned long seed)
{
    char name[32];
    struct subject s = { .file = sample_empty(minor) };
    struct hive_files files = { .primary = s.file };
    snprintf(name, sizeof name, "empty 1.%u", minor);
    assert_int_equal(hive_open(&files, HIVE_WRITABLE, 0, &s.h, NULL), 0);
    edit_hive(&s, name, count, seed);
}

static void test_empty(void **state)
{
    (void)state;
    for (unsigned minor = 3; minor <= 6; minor++)
        edit_empty(minor, n_edits / 8 + 1, first_seed + minor);
}

struct plan {
    unsigned long seed, each;
    size_t n_hives;
};

static bool is_subject(const struct sample *s)
{
    return !s->is_log && s->counted && strcmp(s->name, "hive/EffectiveSizeHive");
}

static void count_sample(const struct sample *s, void *ctx)
{
    struct plan *p = ctx;
    p->n_hives += is_subject(s);
}

static void edit_sample(const struct sample *sample, void *ctx)
{
    struct plan *p = ctx;
    struct subject s = { 0 };
    struct fault fault = { 0 };
    if (!is_subject(sample))
        return;
    struct hive_files files = { .primary = s.file = sample_file(corpus, sample->name) };
    assert_int_equal(hive_open(&files, HIVE_WRITABLE | HIVE_ACCEPT_DIRTY, 1 << 20, &s.h, &fault), 0);
    edit_hive(&s, sample->name, p->each, p->seed++);
}

static void test_corpus(void **state)
{
    (void)state;
    struct plan p = { .seed = first_seed + 100 };
    if (!corpus)
        skip();
    sample_each(corpus, count_sample, &p);
    assert_true(p.n_hives > 40);
    p.each = n_edits / p.n_hives + 1;
    sample_each(corpus, edit_sample, &p);
}

int main(void)
{
    const char *v = getenv("FERRYFS_HIVE_EDITS");
    if (v)
        n_edits = strtoul(v, NULL, 10);
    v = getenv("FERRYFS_HIVE_SEED");
    if (v)
        first_seed = strtoul(v, NULL, 10);
    dump_dir = getenv("FERRYFS_HIVE_DUMP");
    dump_all = getenv("FERRYFS_HIVE_DUMP_ALL");
    plain = getenv("FERRYFS_HIVE_PLAIN");
    corpus = getenv("FERRYFS_CORPUS");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
