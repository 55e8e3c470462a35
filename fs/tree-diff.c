/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diff/: what the edits have changed, for who wants to look at it or to carry it elsewhere.
 *
 *     diff/changes.json           a line for each file that differs, and the hives that do
 *     diff/files/...              files of guest/ that are new or other, as they are now: `cp -a diff/files/.
 * X` diff/removed.txt            those that are gone diff/registry/SYSTEM.reg    what makes the source's hive
 * the present one; only of hives that differ diff/volumes/disk0p1/       files/ and removed.txt of a volume
 * that is no part of guest/
 *
 * Absent where nothing can be edited. */
#include "diff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct toplevel diff_toplevel;
static const struct tree_ops top_ops, volumes_ops, volume_ops, registry_ops_of_diff, text_ops, hive_ops;

/* Names in diff/ and in a volume's directory. */
enum { CHANGES_JSON, FILES, REGISTRY, REMOVED_TXT, VOLUMES, TOP_NAMES };
static const char *const names[TOP_NAMES] = { "changes.json", "files", "registry", "removed.txt", "volumes" };

static bool has_volumes(struct ferry *f)
{
    const struct guest *g = ferry_guest(f);
    return g && g->n_volumes;
}

/* What there is doesn't depend on what differs: looking here costs no walk. */
static bool top_id(struct ferry *f, unsigned i, struct node_id *ret)
{
    switch (i) {
    case CHANGES_JSON:
        *ret = (struct node_id){ .ops = &text_ops, .a = DIFF_CHANGES, .b = DIFF_GUEST };
        return true;
    case FILES:
        *ret = diff_files_id(f);
        return diff_system(f) != NULL;
    case REGISTRY:
        *ret = (struct node_id){ .ops = &registry_ops_of_diff };
        return hives_present(f);
    case REMOVED_TXT:
        *ret = (struct node_id){ .ops = &text_ops, .a = DIFF_REMOVED_FILES, .b = DIFF_GUEST };
        return diff_system(f) != NULL;
    default:
        *ret = (struct node_id){ .ops = &volumes_ops };
        return has_volumes(f);
    }
}

static bool is_dir(unsigned i)
{
    return i == FILES || i == REGISTRY || i == VOLUMES;
}

static int fill_dir(const struct ferry *f, uint64_t a, uint64_t b, struct stat *ret)
{
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(906, a, b), ret);
    return 0;
}

static int top_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    return fill_dir(f, 0, 0, ret);
}

static int top_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    (void)dir;
    for (unsigned i = 0; i < TOP_NAMES; i++)
        if (!strcmp(name, names[i]))
            return top_id(f, i, ret) ? 0 : -ENOENT;
    return -ENOENT;
}

static int top_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    (void)dir;
    for (unsigned i = (unsigned)cookie; i < TOP_NAMES; i++) {
        struct node_id id;
        if (top_id(f, i, &id) && emit(ctx, names[i], &id, is_dir(i) ? S_IFDIR : S_IFREG, i + 1))
            break;
    }
    return 0;
}

/* ---- volumes/ ---- */

static bool is_apart(const struct diff *d, size_t volume)
{
    return volume < d->n && !d->at[volume] && diff_has(d, volume);
}

static int volumes_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    return fill_dir(f, 2, 0, ret);
}

static int volumes_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct diff *d = NULL;
    (void)dir;
    int r = diff_get(f, &d);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (size_t i = 0; i < d->n && r; i++)
        if (is_apart(d, i) && !strcmp(d->guest->volumes[i].name, name)) {
            *ret = (struct node_id){ .ops = &volume_ops, .a = i };
            r = 0;
        }
    diff_put(d);
    return r;
}

static int volumes_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit,
                           void *ctx)
{
    struct diff *d = NULL;
    (void)dir;
    int r = diff_get(f, &d);
    for (uint64_t i = cookie; !r && i < d->n; i++) {
        struct node_id id = { .ops = &volume_ops, .a = i };
        if (is_apart(d, i) && emit(ctx, d->guest->volumes[i].name, &id, S_IFDIR, i + 1))
            break;
    }
    diff_put(d);
    return r;
}

static int volume_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    return fill_dir(f, 3, n->id.a, ret);
}

static struct node_id volume_id(const struct node *dir, unsigned i)
{
    if (i == FILES)
        return diff_volume_files_id(dir->id.a);
    return (struct node_id){ .ops = &text_ops, .a = DIFF_REMOVED_FILES, .b = dir->id.a };
}

static int volume_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    (void)f;
    unsigned i = !strcmp(name, names[FILES]) ? FILES : REMOVED_TXT;
    if (strcmp(name, names[i]))
        return -ENOENT;
    *ret = volume_id(dir, i);
    return 0;
}

static int volume_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    static const unsigned which[] = { FILES, REMOVED_TXT };
    (void)f;
    for (uint64_t i = cookie; i < 2; i++) {
        struct node_id id = volume_id(dir, which[i]);
        if (emit(ctx, names[which[i]], &id, is_dir(which[i]) ? S_IFDIR : S_IFREG, i + 1))
            break;
    }
    return 0;
}

/* ---- registry/ ---- */

static int registry_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    return fill_dir(f, 4, 0, ret);
}

static struct node_id hive_id(const struct reg_hive *h)
{
    return (struct node_id){ .ops = &hive_ops, .a = h->index };
}

static int registry_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct reg_hive *h;
    (void)dir;
    for (size_t i = 0; (h = diff_hive_nth(f, i)); i++) {
        char file[300];
        diff_hive_name(h, file, sizeof file);
        if (strcmp(file, name) || !diff_hive_differs(f, h))
            continue;
        *ret = hive_id(h);
        return 0;
    }
    return -ENOENT;
}

static int registry_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit,
                            void *ctx)
{
    struct reg_hive *h;
    (void)dir;
    for (uint64_t i = cookie; (h = diff_hive_nth(f, i)); i++) {
        char file[300];
        struct node_id id = hive_id(h);
        diff_hive_name(h, file, sizeof file);
        if (diff_hive_differs(f, h) && emit(ctx, file, &id, S_IFREG, i + 1))
            break;
    }
    return 0;
}

static int hive_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFREG | 0444, tree_ino(907, n->id.a, 0), ret);
    return 0;
}

struct hive_handle {
    struct handle handle;
    struct diff_hive *text;
};

static int hive_open_text(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    (void)flags;
    struct hive_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->handle = (struct handle){ .ops = n->id.ops, .direct = true };
    int r = diff_hive_open(f, hives_at(f, n->id.a), &h->text);
    if (r < 0)
        free(h);
    else
        *ret = &h->handle;
    return r;
}

static int hive_read_text(struct ferry *f, struct handle *h, void *buf, size_t len, uint64_t off,
                          size_t *ret_len)
{
    return diff_hive_read(f, ((struct hive_handle *)(void *)h)->text, buf, len, off, ret_len);
}

static void hive_close_text(struct ferry *f, struct handle *h)
{
    (void)f;
    diff_hive_close(((struct hive_handle *)(void *)h)->text);
    free(h);
}

/* ---- lists ---- */

static int text_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFREG | 0444, tree_ino(908, n->id.a, n->id.b), ret);
    return 0;
}

struct text_handle {
    struct handle handle;
    struct diff_text *text;
};

static int text_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    (void)flags;
    struct text_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->handle = (struct handle){ .ops = n->id.ops, .direct = true };
    int r = diff_text_open(f, (enum diff_list)n->id.a, n->id.b, &h->text);
    if (r < 0)
        free(h);
    else
        *ret = &h->handle;
    return r;
}

static int text_read_part(struct ferry *f, struct handle *h, void *buf, size_t len, uint64_t off,
                          size_t *ret_len)
{
    return diff_text_read(f, ((struct text_handle *)(void *)h)->text, buf, len, off, ret_len);
}

static void text_release(struct ferry *f, struct handle *h)
{
    (void)f;
    diff_text_close(((struct text_handle *)(void *)h)->text);
    free(h);
}

/* ---- tables ---- */

static const struct tree_ops top_ops = {
    .name = "diff",
    .keep_parent = true,
    .getattr = top_getattr,
    .lookup = top_lookup,
    .readdir = top_readdir,
};

static const struct tree_ops volumes_ops = {
    .name = "diff-volumes",
    .keep_parent = true,
    .fresh = true,
    .getattr = volumes_getattr,
    .lookup = volumes_lookup,
    .readdir = volumes_readdir,
};

static const struct tree_ops volume_ops = {
    .name = "diff-volume",
    .keep_parent = true,
    .getattr = volume_getattr,
    .lookup = volume_lookup,
    .readdir = volume_readdir,
};

static const struct tree_ops registry_ops_of_diff = {
    .name = "diff-registry",
    .fresh = true,
    .getattr = registry_getattr,
    .lookup = registry_lookup,
    .readdir = registry_readdir,
};

static const struct tree_ops text_ops = {
    .name = "diff-text",
    .fresh = true,
    .getattr = text_getattr,
    .open = text_open,
    .read = text_read_part,
    .release = text_release,
};

static const struct tree_ops hive_ops = {
    .name = "diff-hive",
    .fresh = true,
    .getattr = hive_getattr,
    .open = hive_open_text,
    .read = hive_read_text,
    .release = hive_close_text,
};

static bool present(struct ferry *f)
{
    return ferry_writable(f) && (has_volumes(f) || hives_alone(f));
}

static int diff_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = (struct node_id){ .ops = &top_ops };
    return 0;
}

const struct toplevel diff_toplevel = { "diff", S_IFDIR, present, diff_id };
