/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fields are those of `qemu-img map --output=json` (start, length, depth, present, zero, data,
 * compressed) and one that says it in a word: "kind" is data, zero or hole. */
#include "map.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_EFFORT = 1 << 20 }; /* of one read: some hundred ms */

struct map_writer {
    pthread_mutex_t lock; /* protects all below */
    struct disk *disk;
    uint64_t disk_off; /* the next extent begins here */
    uint64_t text_off; /* where line[0] lies in the text */
    size_t n;          /* bytes in line */
    bool ended;        /* the closing bracket was written */
    uint64_t effort;   /* of the lines so far */
    char line[256];
};

struct map_writer *map_writer_new(struct disk *disk)
{
    struct map_writer *w = calloc(1, sizeof *w);
    if (w) {
        pthread_mutex_init(&w->lock, NULL);
        w->disk = disk;
    }
    return w;
}

void map_writer_free(struct map_writer *w)
{
    if (!w)
        return;
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* The whole extent at off, in however many pieces the layers give it (DISK_JOIN_MAX: then it has two lines).
 */
static int whole_extent(struct disk *d, uint64_t off, struct extent *ret)
{
    int r = disk_map(d, off, d->size - off, ret);
    for (uint64_t n = r < 0 ? 0 : ret->effort; !r && off + ret->length < d->size && n < DISK_JOIN_MAX; n++) {
        struct extent next;
        uint64_t at = off + ret->length;
        if (disk_map(d, at, d->size - at, &next) < 0 || next.kind != ret->kind || next.depth != ret->depth ||
            next.compressed != ret->compressed)
            break;
        ret->length += next.length;
        ret->effort += 1 + next.effort;
        n += next.effort;
    }
    return r;
}

/* Makes the next line; n is 0 at the end. */
static int next_line(struct map_writer *w)
{
    static const char *const kinds[] = { "data", "zero", "hole" };
    struct extent e;
    w->text_off += w->n;
    w->n = 0;
    if (w->ended)
        return 0;
    if (w->disk_off >= w->disk->size) {
        w->ended = true;
        w->n = (size_t)snprintf(w->line, sizeof w->line, w->disk->size ? "]\n" : "[]\n");
        return 0;
    }
    int r = whole_extent(w->disk, w->disk_off, &e);
    if (r < 0)
        return r;
    bool first = !w->disk_off, last = w->disk_off + e.length >= w->disk->size;
    bool data = e.kind == EXTENT_DATA;
    w->n = (size_t)snprintf(
        w->line, sizeof w->line,
        "%s{ \"start\": %llu, \"length\": %llu, \"depth\": %u, \"present\": %s, \"zero\": %s, "
        "\"data\": %s, \"compressed\": %s, \"kind\": \"%s\"}%s\n",
        first ? "[" : "", (unsigned long long)w->disk_off, (unsigned long long)e.length, e.depth,
        e.kind == EXTENT_HOLE ? "false" : "true", data ? "false" : "true", data ? "true" : "false",
        e.compressed ? "true" : "false", kinds[e.kind], last ? "" : ",");
    w->disk_off += e.length;
    w->effort += 1 + e.effort;
    return 0;
}

int map_writer_read(struct map_writer *w, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    int r = 0;
    size_t done = 0;
    pthread_mutex_lock(&w->lock);
    const uint64_t before = w->effort;
    if (off < w->text_off) {
        w->disk_off = w->text_off = w->n = 0;
        w->ended = false;
    }
    while (done < len) {
        uint64_t at = off + done;
        if (at < w->text_off + w->n) {
            size_t skip = (size_t)(at - w->text_off);
            size_t n = w->n - skip < len - done ? w->n - skip : len - done;
            memcpy((char *)buf + done, w->line + skip, n);
            done += n;
            continue;
        }
        if (done && w->effort - before >= READ_EFFORT)
            break; /* a short read, and the caller comes again */
        r = next_line(w);
        if (r < 0 || !w->n)
            break;
    }
    pthread_mutex_unlock(&w->lock);
    if (r < 0 && !done)
        return r;
    *ret_len = done;
    return 0;
}
