/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every hive of the corpus (FERRYFS_CORPUS, skipped without it) against what its index knows from other
 * readers: how many keys and values, and the paths of all keys; dirty ones with their logs replayed. */
#include "unit.h"

#include "hive-sample.h"

#include <nettle/sha2.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *corpus;
static unsigned n_bad;

struct walk {
    const struct hive *h;
    struct path {
        size_t n;
        char *bytes; /* names may have NULs */
    } * paths;
    size_t n, room, n_values, n_damaged;
    char at[16384];
    size_t len;
    unsigned depth;
};

static int count_value(void *ctx, uint32_t index, uint32_t cell)
{
    struct walk *w = ctx;
    struct hive_value v;
    uint16_t units[HIVE_VALUE_NAME_MAX];
    size_t n;
    (void)index;
    if (hive_value(w->h, cell, &v) < 0 || hive_value_name(w->h, cell, units, HIVE_VALUE_NAME_MAX, &n) < 0) {
        w->n_damaged++;
        return 0;
    }
    uint8_t *data = malloc(v.length + 1);
    if (hive_value_data(w->h, cell, data, v.length, 0) < 0)
        w->n_damaged++;
    free(data);
    w->n_values++;
    return 0;
}

static int walk_key(void *ctx, uint32_t index, uint32_t cell)
{
    struct walk *w = ctx;
    struct hive_key k;
    uint16_t units[HIVE_KEY_NAME_MAX];
    unsigned damaged = 0;
    size_t len = w->len, n;
    uint32_t found;
    (void)index;
    assert_int_equal(hive_key(w->h, cell, &k), 0);
    if (w->depth) {
        assert_int_equal(hive_key_name(w->h, cell, units, HIVE_KEY_NAME_MAX, &n), 0);
        w->at[w->len++] = '\\';
        w->len += sample_utf8(units, n, w->at + w->len);
        assert_int_equal(hive_find_key(w->h, k.parent, (struct hive_name){ units, n }, &found), 0);
    }
    if (w->n == w->room)
        w->paths = realloc(w->paths, (w->room = w->room ? 2 * w->room : 64) * sizeof *w->paths);
    w->paths[w->n++] = (struct path){ w->len, memcpy(malloc(w->len + 1), w->at, w->len) };
    if (hive_values(w->h, cell, 0, count_value, w, &damaged) < 0)
        damaged = 1;
    w->n_damaged += damaged;
    w->depth++;
    if (w->depth < 600 && hive_subkeys(w->h, cell, 0, walk_key, w, &damaged) < 0)
        damaged = 1;
    w->n_damaged += damaged;
    w->depth--;
    w->len = len;
    w->at[len] = 0;
    return 0;
}

static int compare_paths(const void *a, const void *b)
{
    const struct path *x = a, *y = b;
    int r = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    return r ? r : (x->n > y->n) - (x->n < y->n);
}

static void hash_paths(struct walk *w, char ret[65])
{
    struct sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&ctx);
    qsort(w->paths, w->n, sizeof *w->paths, compare_paths);
    for (size_t i = 0; i < w->n; i++) {
        if (i)
            sha256_update(&ctx, 1, (const uint8_t *)"\n");
        sha256_update(&ctx, w->paths[i].n, (const uint8_t *)w->paths[i].bytes);
        free(w->paths[i].bytes);
    }
    sha256_digest(&ctx, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        sprintf(ret + 2 * i, "%02x", digest[i]);
    free(w->paths);
}

static void check_sample(const struct sample *s, void *ctx)
{
    size_t *n_checked = ctx;
    struct hive *h;
    struct fault fault = { 0 };
    struct hive_state state;
    char hash[65];
    if (s->is_log)
        return;
    int r = sample_open(corpus, s->name, HIVE_WRITABLE, &h, &fault);
    if (r < 0) {
        print_message("%s: %d %s\n", s->name, r, fault.what);
        if (s->counted || r != -EMEDIUMTYPE)
            n_bad++;
        return;
    }
    struct walk *w = calloc(1, sizeof *w);
    w->h = h;
    hive_state(h, &state);
    walk_key(w, 0, hive_root(h));
    size_t n = w->n, n_values = w->n_values, n_damaged = w->n_damaged;
    hash_paths(w, hash);
    free(w);
    hive_close(h);
    bool good =
        !s->counted || (n == s->keys && n_values == s->values && (!s->paths[0] || !strcmp(hash, s->paths)));
    print_message("%s: %zu keys, %zu values, %zu damaged, %u replayed%s%s\n", s->name, n, n_values, n_damaged,
                  state.replayed, state.why[0] ? ": " : "", state.why);
    if (!good)
        print_error("  expected %u keys, %u values, paths %s; have %s\n", s->keys, s->values, s->paths, hash);
    n_bad += !good;
    ++*n_checked;
}

static void test_counts(void **state)
{
    (void)state;
    size_t n = 0;
    sample_each(corpus, check_sample, &n);
    assert_true(n > 50);
    assert_int_equal(n_bad, 0);
}

int main(void)
{
    corpus = getenv("FERRYFS_CORPUS");
    if (!corpus || system("command -v xz >/dev/null") != 0) {
        fprintf(stderr, "skipped: FERRYFS_CORPUS is not set, or xz is missing\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
