/* SPDX-License-Identifier: GPL-2.0-or-later */
/* commit.json: what binds an overlay's disks together.
 *
 *     { "schema": 1, "generation": 12, "time": 1764115200, "time_nsec": 0,
 *       "disks": [ { "file": "disk0.qcow2", "generation": 12, "l1": 327680, "source": {...} }, null ],
 *       "notes": { "KEY": "TEXT" } }
 *
 * It is written beside and renamed. It needn't be the newest: a commit of one disk alone only moves that
 * disk's header, whose generation is the higher one then. */
#include "overlay-set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { STORE_MAX = 16 << 20, SCHEMA = 1 };
#define STORE     "commit.json"
#define STORE_NEW "commit.json.new"

/* ---- writing ---- */

static void put_number(struct json_out *o, const char *key, uint64_t v, const char *after)
{
    json_key(o, key);
    json_number(o, v);
    json_raw(o, after);
}

static void put_disk(struct json_out *o, const struct overlay *v, size_t i, uint64_t generation)
{
    const struct overlay_member *m = &v->members[i];
    if (!m->f) {
        json_raw(o, "null");
        return;
    }
    char name[OVL_NAME];
    bool moves = m->f->changed; /* no write is under way */
    ovl_member_name(i, name);
    json_raw(o, "{ ");
    json_key(o, "file");
    json_quote(o, name);
    json_raw(o, ", ");
    put_number(o, "generation", moves ? generation : m->f->h.generation, ", ");
    put_number(o, "l1", moves ? m->f->l1_next : m->f->h.l1_offset, ",\n      ");
    json_key(o, "source");
    json_raw(o, m->bound);
    json_raw(o, " }");
}

static void put_all(struct json_out *o, const struct overlay *v, uint64_t generation, struct timespec time)
{
    json_raw(o, "{ ");
    put_number(o, "schema", SCHEMA, ",\n  ");
    put_number(o, "generation", generation, ",\n  ");
    put_number(o, "time", (uint64_t)time.tv_sec, ",\n  ");
    put_number(o, "time_nsec", (uint64_t)time.tv_nsec, ",\n  ");
    json_key(o, "disks");
    json_raw(o, "[");
    for (size_t i = 0; i < v->n; i++) {
        json_raw(o, i ? ",\n    " : "\n    ");
        put_disk(o, v, i, generation);
    }
    json_raw(o, " ],\n  ");
    json_key(o, "notes");
    json_raw(o, "{");
    for (size_t i = 0; i < v->n_notes; i++) {
        json_raw(o, i ? ",\n    " : "\n    ");
        json_key(o, v->notes[i].key);
        json_quote(o, v->notes[i].text);
    }
    json_raw(o, " } }\n");
}

int ovl_store_write(struct overlay *v, uint64_t generation, struct timespec time, bool *ret_unknown)
{
    *ret_unknown = false;
    struct json_out o = { 0 };
    put_all(&o, v, generation, time);
    if (o.failed)
        return -ENOMEM;
    int r = 0;
    _cleanup_close_ int fd =
        openat(v->dir_fd, STORE_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        r = -errno;
    if (!r)
        r = ovl_pwrite(v->io, fd, o.text, o.n, 0);
    json_out_done(&o);
    if (!r && v->io->fsync(fd) < 0)
        r = -errno;
    if (!r && v->io->renameat(v->dir_fd, STORE_NEW, v->dir_fd, STORE) < 0)
        r = -errno;
    if (!r && v->io->fsync(v->dir_fd) < 0) {
        r = -errno;
        *ret_unknown = true;
    }
    return r;
}

/* ---- reading ---- */

static int damaged(const struct overlay *v, const char *what, struct fault *fault)
{
    return fault_in(fault, -EUCLEAN, v->dir, "its commit.json %s", what);
}

static int read_text(struct overlay *v, char **ret, size_t *ret_n, struct fault *fault)
{
    _cleanup_close_ int fd = openat(v->dir_fd, STORE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT
                   ? -ENOENT
                   : fault_in(fault, -errno, v->dir, "its commit.json can't be opened: %s", strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > STORE_MAX)
        return damaged(v, "is no file of ours", fault);
    size_t n = (size_t)st.st_size;
    _cleanup_free_ char *text = malloc(n + 1);
    if (!text)
        return fault_in(fault, -ENOMEM, v->dir, "out of memory");
    int r = ovl_pread(fd, text, n, 0);
    if (r < 0)
        return fault_in(fault, r, v->dir, "its commit.json can't be read");
    *ret_n = n;
    *ret = TAKE_PTR(text);
    return 0;
}

int ovl_store_read(struct overlay *v, struct json **ret, struct fault *fault)
{
    _cleanup_free_ char *text = NULL;
    size_t n = 0;
    int r = read_text(v, &text, &n, fault);
    if (r < 0)
        return r;
    _cleanup_(json_freep) struct json *j = NULL;
    r = json_parse(text, n, STORE, &j, fault);
    if (r < 0)
        return r;
    uint64_t schema, sec, nsec;
    if (!json_u64(j, "schema", &schema) || !json_u64(j, "generation", &v->generation) ||
        !json_u64(j, "time", &sec) || !json_u64(j, "time_nsec", &nsec) || nsec >= 1000000000)
        return damaged(v, "isn't one of ferryfs", fault);
    if (schema != SCHEMA)
        return fault_in(fault, -ENOTSUP, v->dir, "its commit.json is of another version of ferryfs");
    v->time = (struct timespec){ .tv_sec = (time_t)sec, .tv_nsec = (long)nsec };
    const struct json *notes = json_member(j, "notes");
    for (const struct json *t = notes ? notes->child : NULL; !r && t; t = t->next) {
        if (notes->kind != JSON_OBJECT || t->kind != JSON_STRING)
            return damaged(v, "has notes that are no texts", fault);
        r = ovl_note_put(v, t->key, t->text);
    }
    if (r < 0)
        return fault_in(fault, r, v->dir, "its commit.json has more notes than it may");
    *ret = TAKE_PTR(j);
    return 0;
}
