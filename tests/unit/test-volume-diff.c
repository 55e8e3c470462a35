/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two states of a file system that is a table: what differs, what is read to know it, what a damaged one
 * costs, and that a listing which goes on after an edit misses no name. */
#include "guest/volume-diff.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_DATA = 0, ITEMS_MAX = 3000 };

/* A file: inode is the index + 2, parents come first. Content lies at `at`, the record at the inode. */
struct item {
    uint64_t parent;
    char name[24];
    mode_t mode;
    const char *text;
    uint64_t at;
    time_t mtime;
    uint64_t alias; /* another inode that has this name, 0: none */
    int err;        /* of getattr, or of readdir if it is a directory */
    bool absent;
};

struct table {
    struct volume volume;
    struct item items[ITEMS_MAX];
    size_t n;
    unsigned opened;
};

static struct table *table_of(struct volume *v)
{
    return (struct table *)(void *)v;
}

static int t_getattr(struct volume *v, uint64_t ino, struct volume_attr *ret)
{
    *ret = (struct volume_attr){ .mode = S_IFDIR | 0755 };
    if (ino == VOLUME_ROOT)
        return 0;
    const struct item *i = &table_of(v)->items[ino - 2];
    *ret = (struct volume_attr){ .mode = i->mode, .size = i->text ? strlen(i->text) : 0 };
    ret->mtime.tv_sec = i->mtime;
    return S_ISDIR(i->mode) ? 0 : i->err;
}

static int t_readdir(struct volume *v, uint64_t dir, uint64_t cookie, volume_emit emit, void *ctx)
{
    struct table *t = table_of(v);
    if (dir != VOLUME_ROOT && t->items[dir - 2].err)
        return t->items[dir - 2].err;
    for (size_t i = cookie; i < t->n; i++)
        if (t->items[i].parent == dir && !t->items[i].absent &&
            emit(ctx, t->items[i].name, t->items[i].alias ? t->items[i].alias : i + 2,
                 t->items[i].mode & S_IFMT, i + 1))
            break;
    return 0;
}

static int t_link(struct volume *v, uint64_t ino, char *buf, size_t size, enum link_style *style)
{
    *style = LINK_POSIX;
    snprintf(buf, size, "%s", table_of(v)->items[ino - 2].text);
    return 0;
}

struct t_file {
    struct volume_file file;
    const char *text;
};

static int t_open(struct volume *v, uint64_t ino, struct volume_file **ret)
{
    struct t_file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->text = table_of(v)->items[ino - 2].text;
    table_of(v)->opened++;
    *ret = &f->file;
    return 0;
}

static int t_read(struct volume_file *file, void *buf, size_t len, uint64_t off, size_t *ret)
{
    const char *text = ((struct t_file *)(void *)file)->text;
    *ret = strnlen(text + off, len);
    memcpy(buf, text + off, *ret);
    return 0;
}

static void t_release(struct volume_file *f)
{
    free(f);
}

static int t_pieces(struct volume *v, uint64_t ino, volume_piece fn, void *ctx)
{
    if (fn(ctx, ino, 1, PIECE_RECORD) || ino == VOLUME_ROOT)
        return 0;
    const struct item *i = &table_of(v)->items[ino - 2];
    if (i->at != NO_DATA)
        fn(ctx, i->at, 1, 0);
    return 0;
}

static const struct volume_ops ops = {
    .getattr = t_getattr,
    .readdir = t_readdir,
    .link = t_link,
    .open = t_open,
    .read = t_read,
    .release = t_release,
    .pieces = t_pieces,
};

static struct table old, new;
static bool changed[20000]; /* by byte of the disk */
static bool giving_up;

static uint64_t add(struct table *t, uint64_t parent, const char *name, mode_t mode, const char *text)
{
    struct item *i = &t->items[t->n++];
    *i = (struct item){ .parent = parent, .mode = mode, .text = text };
    snprintf(i->name, sizeof i->name, "%s", name);
    i->at = text ? 10000 + t->n : NO_DATA;
    return t->n + 1;
}

static struct item *item(uint64_t ino)
{
    return &new.items[ino - 2];
}

static uint64_t file_of_both(uint64_t parent, const char *name, const char *text)
{
    add(&old, parent, name, S_IFREG | 0644, text);
    return add(&new, parent, name, S_IFREG | 0644, text);
}

static uint64_t dir_of_both(uint64_t parent, const char *name)
{
    add(&old, parent, name, S_IFDIR | 0755, NULL);
    return add(&new, parent, name, S_IFDIR | 0755, NULL);
}

static int begin(void **state)
{
    (void)state;
    old = new = (struct table){ .volume = { .ops = &ops } };
    memset(changed, 0, sizeof changed);
    giving_up = false;
    return 0;
}

static bool is_changed(void *ctx, uint64_t off, uint64_t len)
{
    (void)ctx;
    assert_true(len == 1 && off < sizeof changed);
    return changed[off];
}

static bool gives_up(void *ctx)
{
    (void)ctx;
    return giving_up;
}

static int try_diff(size_t room, struct volume_diff **ret)
{
    struct volume_diff_source s = {
        .old = &old.volume, .new = &new.volume, .changed = is_changed, .given_up = gives_up, .room = room
    };
    return volume_diff_new(&s, ret);
}

static struct volume_diff *diff(void)
{
    struct volume_diff *d = NULL;
    assert_int_equal(try_diff(1 << 20, &d), 0);
    return d;
}

/* Of a path, from the root: what, or -1 where there is no node. */
static int what_of(const struct volume_diff *d, const char *path)
{
    char copy[100], *rest = copy, *name;
    uint32_t at = 0;
    snprintf(copy, sizeof copy, "%s", path);
    while (at != DIFF_NONE && (name = strsep(&rest, "/")))
        at = volume_diff_child(d, at, name);
    return at == DIFF_NONE ? -1 : d->nodes[at].what;
}

static void nothing_written_is_nothing_read(void **state)
{
    (void)state;
    uint64_t f = file_of_both(dir_of_both(VOLUME_ROOT, "d"), "f", "text");
    item(f)->text = "TEXT"; /* can't be: nobody wrote it */
    struct volume_diff *d = diff();
    assert_true(volume_diff_empty(d));
    assert_int_equal(new.opened + old.opened, 0);
    volume_diff_free(d);
}

static void each_kind_of_difference(void **state)
{
    (void)state;
    uint64_t dir = dir_of_both(VOLUME_ROOT, "dir"), other = dir_of_both(VOLUME_ROOT, "other");
    uint64_t same = file_of_both(dir, "same", "text"), content = file_of_both(dir, "content", "text");
    uint64_t time = file_of_both(dir, "time", "text"), kind = file_of_both(dir, "kind", "text");
    uint64_t gone = file_of_both(dir, "gone", "text"), moved = file_of_both(dir, "moved", "text");
    file_of_both(other, "untouched", "text");
    item(content)->text = "TEXT"; /* as long, and the time is the same */
    changed[item(content)->at] = true;
    changed[item(same)->at] = true; /* written with what was there */
    item(time)->mtime = 5;
    changed[time] = true;
    item(kind)->mode = S_IFLNK | 0777;
    changed[kind] = true;
    item(gone)->absent = true;
    item(moved)->absent = true;
    add(&new, dir, "MOVED", S_IFREG | 0644, "text");
    add(&new, add(&new, dir, "new", S_IFDIR | 0755, NULL), "below", S_IFREG | 0644, "text");
    changed[dir] = true;
    struct volume_diff *d = diff();
    assert_int_equal(what_of(d, "dir"), DIFF_SAME);
    assert_int_equal(what_of(d, "dir/same"), -1);
    assert_int_equal(what_of(d, "dir/content"), DIFF_CHANGED);
    assert_int_equal(what_of(d, "dir/time"), DIFF_ATTRIBUTES);
    assert_int_equal(what_of(d, "dir/kind"), DIFF_CHANGED);
    assert_int_equal(what_of(d, "dir/gone"), DIFF_REMOVED);
    assert_int_equal(what_of(d, "dir/moved"), DIFF_REMOVED);
    assert_int_equal(what_of(d, "dir/MOVED"), DIFF_ADDED);
    assert_int_equal(what_of(d, "dir/new/below"), DIFF_ADDED);
    assert_int_equal(what_of(d, "other"), -1);
    assert_int_equal(new.opened, 2); /* content and same */
    assert_int_equal(d->nodes[volume_diff_dir(d, dir)].ino, dir);
    assert_int_equal(volume_diff_dir(d, other), DIFF_NONE);
    volume_diff_free(d);
}

/* Its record is new and its content lies elsewhere, in a place that was there before: of another file. */
static void content_that_lies_elsewhere_is_read(void **state)
{
    (void)state;
    uint64_t a = file_of_both(VOLUME_ROOT, "a", "one"), b = file_of_both(VOLUME_ROOT, "b", "two");
    item(a)->at = item(b)->at;
    item(a)->text = "two";
    changed[a] = true;
    struct volume_diff *d = diff();
    assert_int_equal(what_of(d, "a"), DIFF_CHANGED);
    assert_int_equal(what_of(d, "b"), -1);
    volume_diff_free(d);
}

static void damage_is_one_nodes(void **state)
{
    (void)state;
    uint64_t dir = dir_of_both(VOLUME_ROOT, "dir"), file = file_of_both(VOLUME_ROOT, "file", "text");
    uint64_t good = file_of_both(VOLUME_ROOT, "good", "text");
    item(dir)->err = item(file)->err = -EIO;
    item(good)->text = "TEXT";
    changed[dir] = changed[file] = changed[item(good)->at] = true;
    struct volume_diff *d = diff();
    assert_int_equal(what_of(d, "dir"), DIFF_UNKNOWN);
    assert_int_equal(what_of(d, "file"), DIFF_UNKNOWN);
    assert_int_equal(d->nodes[volume_diff_child(d, 0, "file")].err, -EIO);
    assert_int_equal(what_of(d, "good"), DIFF_CHANGED);
    volume_diff_free(d);
}

static void a_directory_in_itself_ends(void **state)
{
    (void)state;
    uint64_t dir = add(&new, VOLUME_ROOT, "dir", S_IFDIR | 0755, NULL);
    item(add(&new, dir, "again", S_IFDIR | 0755, NULL))->alias = dir;
    changed[VOLUME_ROOT] = true;
    struct volume_diff *d = diff();
    assert_int_equal(what_of(d, "dir"), DIFF_ADDED);
    assert_int_equal(what_of(d, "dir/again"), DIFF_UNKNOWN);
    assert_int_equal(what_of(d, "dir/again/again"), -1);
    volume_diff_free(d);
}

static void limits_are_errors(void **state)
{
    (void)state;
    struct volume_diff *d = NULL;
    for (unsigned i = 0; i < 2000; i++) {
        char name[24];
        snprintf(name, sizeof name, "file %u", i);
        add(&new, VOLUME_ROOT, name, S_IFREG | 0644, "text");
    }
    changed[VOLUME_ROOT] = true;
    assert_int_equal(try_diff(20000, &d), -EFBIG);
    assert_null(d);
    giving_up = true;
    assert_int_equal(try_diff(1 << 20, &d), -EINTR);
    assert_null(d);
}

/* What a listing of `n` entries from the cookie on gives is marked; the cookie to go on with. */
static uint64_t list_some(const struct volume_diff *d, uint64_t cookie, unsigned n, unsigned seen[ITEMS_MAX])
{
    for (uint32_t i = volume_diff_behind(d, 0, cookie); n && i < d->nodes[0].children; i++, n--) {
        const char *name = volume_diff_name(d, d->kids[d->nodes[0].first + i]);
        uint64_t own = volume_diff_cookie(name);
        assert_true(own > cookie && own < DIFF_COOKIE_END);
        cookie = own;
        for (size_t k = 0; k < new.n; k++)
            seen[k] += !strcmp(new.items[k].name, name);
    }
    return cookie;
}

static void listing_goes_on_after_edits(void **state)
{
    (void)state;
    unsigned seen[ITEMS_MAX] = { 0 };
    uint64_t cookie = 0;
    for (unsigned i = 0; i < 1000; i++) { /* names that differ in case only, too */
        char name[24];
        snprintf(name, sizeof name, "%s %u", i % 2 ? "a name" : "A NAME", i / 2);
        add(&new, VOLUME_ROOT, name, S_IFREG | 0644, "text");
    }
    changed[VOLUME_ROOT] = true;
    for (unsigned page = 0; page < 60; page++) {
        struct volume_diff *d = diff();
        cookie = list_some(d, cookie, 20, seen);
        volume_diff_free(d);
        new.items[page].absent = true;
        char name[24];
        snprintf(name, sizeof name, "0 %u", page);
        add(&new, VOLUME_ROOT, name, S_IFREG | 0644, "text");
    }
    struct volume_diff *d = diff();
    assert_int_equal(volume_diff_behind(d, 0, cookie), d->nodes[0].children);
    volume_diff_free(d);
    for (size_t i = 60; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    for (size_t i = 0; i < new.n; i++)
        assert_true(seen[i] <= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_written_is_nothing_read, begin),
        cmocka_unit_test_setup(each_kind_of_difference, begin),
        cmocka_unit_test_setup(content_that_lies_elsewhere_is_read, begin),
        cmocka_unit_test_setup(damage_is_one_nodes, begin),
        cmocka_unit_test_setup(a_directory_in_itself_ends, begin),
        cmocka_unit_test_setup(limits_are_errors, begin),
        cmocka_unit_test_setup(listing_goes_on_after_edits, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
