/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an overlay remembers of its source, so as not to lie over another one: the edits of one disk over the
 * clusters of another are a broken file system.
 *
 *     "source": { "name": "/srv/web01.ova", "size": 42949672960, "samples": "SHA-256, hexadecimal",
 *                 "layers": [ { "format": "vmdk", "size": ..., "file_size": ..., "id": "...",
 *                               "mtime": ..., "mtime_nsec": ... } ] }
 *
 * The name and the times say that nothing was touched. With them changed it may still be the same disk,
 * copied or moved; then the user has to say so, and all the rest must agree. */
#include "checked.h"
#include "json.h"
#include "overlay-impl.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ENDS = 65536, SAMPLE = 4096, SAMPLES = 64, HEX = 2 * SHA256_DIGEST_SIZE + 1 };

/* What can't be read has a place in the digest as that. */
static void sample(struct disk *d, uint64_t off, size_t len, uint8_t *buf, struct sha256_ctx *sha)
{
    static const char unreadable[] = "can't be read";
    if (disk_pread(d, buf, len, off) < 0)
        sha256_update(sha, sizeof unreadable, (const uint8_t *)unreadable);
    else
        sha256_update(sha, len, buf);
}

/* A digest of the disk's ends, where partition tables are with their ids, and of pieces between. */
static int digest_samples(struct disk *d, char ret[HEX])
{
    _cleanup_free_ uint8_t *buf = malloc(ENDS);
    if (!buf)
        return -ENOMEM;
    struct sha256_ctx sha;
    sha256_init(&sha);
    size_t ends = (size_t)min_u64(ENDS, d->size);
    sample(d, 0, ends, buf, &sha);
    sample(d, d->size - ends, ends, buf, &sha);
    for (uint64_t i = 1; d->size > 2 * ENDS && i <= SAMPLES; i++)
        sample(d, d->size / (SAMPLES + 1) * i / SAMPLE * SAMPLE, SAMPLE, buf, &sha);
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(&sha, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

static void write_number(struct json_out *o, const char *key, uint64_t v)
{
    json_key(o, key);
    json_number(o, v);
    json_raw(o, ", ");
}

int ovl_bind_write(const struct overlay_source *s, char **ret, struct fault *fault)
{
    char hex[HEX];
    int r = digest_samples(s->image->disk, hex);
    if (r < 0)
        return fault_in(fault, r, s->name, "out of memory");
    struct json_out o = { 0 };
    json_raw(&o, "{ ");
    json_key(&o, "name");
    json_quote(&o, s->name);
    json_raw(&o, ", ");
    write_number(&o, "size", s->image->disk->size);
    json_key(&o, "samples");
    json_quote(&o, hex);
    json_raw(&o, ",\n      \"layers\": [");
    for (size_t i = 0; i < s->image->n_layers; i++) {
        const struct layer_info *l = &s->image->layers[i];
        json_raw(&o, i ? ",\n        { " : "\n        { ");
        json_key(&o, "format");
        json_quote(&o, l->format);
        json_raw(&o, ", ");
        write_number(&o, "size", l->virtual_size);
        write_number(&o, "file_size", l->file_size);
        write_number(&o, "mtime", (uint64_t)l->mtime.tv_sec);
        write_number(&o, "mtime_nsec", (uint64_t)l->mtime.tv_nsec);
        json_key(&o, "id");
        json_quote(&o, l->link_id);
        json_raw(&o, " }");
    }
    json_raw(&o, " ] }");
    if (o.failed)
        return fault_in(fault, -ENOMEM, s->name, "out of memory");
    *ret = o.text;
    return 0;
}

static int another(const struct overlay_source *s, const char *what, struct fault *fault)
{
    fault_in(fault, -ESTALE, s->name, "isn't the source that the overlay was made for: its %s differs", what);
    return fault_hint(fault, -ESTALE, "name the right source, or another directory for the overlay");
}

static bool number_is(const struct json *j, const char *key, uint64_t v)
{
    uint64_t was;
    return json_u64(j, key, &was) && was == v;
}

/* What no copy changes. */
static int check_content(const struct json *bound, const struct overlay_source *s, struct fault *fault)
{
    const struct json *layers = json_member(bound, "layers"), *l = layers ? layers->child : NULL;
    if (!number_is(bound, "size", s->image->disk->size))
        return another(s, "size", fault);
    size_t n = 0;
    for (; l && n < s->image->n_layers; l = l->next, n++) {
        const struct layer_info *now = &s->image->layers[n];
        const char *format = json_text(l, "format"), *id = json_text(l, "id");
        if (!format || strcmp(format, now->format))
            return another(s, "format", fault);
        if (!number_is(l, "size", now->virtual_size) || !number_is(l, "file_size", now->file_size))
            return another(s, n ? "parent's size" : "size", fault);
        if (!id || strcmp(id, now->link_id))
            return another(s, n ? "parent's id" : "id", fault);
    }
    return l || n < s->image->n_layers ? another(s, "number of links in the chain", fault) : 0;
}

static bool same_time(const struct json *l, const struct layer_info *now)
{
    return number_is(l, "mtime", (uint64_t)now->mtime.tv_sec) &&
           number_is(l, "mtime_nsec", (uint64_t)now->mtime.tv_nsec);
}

static int changed(const struct overlay_source *s, struct fault *fault)
{
    return fault_hint(fault, -ESTALE, "if \"%s\" is a copy of it, or is itself moved: -o rebind", s->name);
}

int ovl_bind_check(const struct json *bound, const struct overlay_source *s, bool rebind, struct fault *fault)
{
    int r = check_content(bound, s, fault);
    if (r < 0)
        return r;
    const char *name = json_text(bound, "name"), *samples = json_text(bound, "samples");
    if (!rebind) {
        if (!name || strcmp(name, s->name)) {
            fault_in(fault, -ESTALE, s->name, "the overlay was made for \"%s\"", name ? name : "");
            return changed(s, fault);
        }
        const struct json *l = json_member(bound, "layers")->child;
        for (size_t i = 0; i < s->image->n_layers; i++, l = l->next)
            if (!same_time(l, &s->image->layers[i])) {
                fault_in(fault, -ESTALE, s->image->layers[i].file,
                         "was written since the overlay was made: its time has changed");
                return changed(s, fault);
            }
        return 0;
    }
    char hex[HEX];
    r = digest_samples(s->image->disk, hex);
    if (r < 0)
        return fault_in(fault, r, s->name, "out of memory");
    return samples && !strcmp(samples, hex) ? 0 : another(s, "content", fault);
}
