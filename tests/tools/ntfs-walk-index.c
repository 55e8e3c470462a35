/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ntfs-walk: indexes (directories, $Secure, $Reparse), each as a tree by itself and against what it indexes.
 */
#include "ntfs-walk.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODE = 1, /* an entry has a block below it */
    LAST = 2, /* the entry that ends a node and has no key */
    COLLATION_NAME = 1,
    COLLATION_SECURITY = 0x12,
};

/* ---- the tree ---- */

struct tree {
    uint64_t file;
    unsigned collation, block, unit; /* bytes of a block, and of what block numbers count */
    uint8_t *blocks, *bitmap;        /* the allocation; the bits */
    uint64_t n_blocks;
    uint8_t *seen; /* a byte per block */
    uint8_t *last; /* the key before */
    unsigned last_length;
    int leaf_depth;
    entry_fn fn;
    void *ctx;
};

static int compare_names(const uint8_t *a, const uint8_t *b)
{
    int r = compare_units(a + 66, a[64], b + 66, b[64]);
    for (unsigned i = 0; !r && i < a[64] && i < b[64]; i++)
        r = (int)get(a + 66 + 2 * i, 2) - (int)get(b + 66 + 2 * i, 2);
    return r;
}

static int compare_words(const uint8_t *a, unsigned na, const uint8_t *b, unsigned nb)
{
    for (unsigned i = 0; i + 4 <= na && i + 4 <= nb; i += 4)
        if (get(a + i, 4) != get(b + i, 4))
            return get(a + i, 4) < get(b + i, 4) ? -1 : 1;
    return (int)na - (int)nb;
}

static void check_order(struct tree *t, const uint8_t *key, unsigned length)
{
    int r = -1;
    if (t->last)
        r = t->collation == COLLATION_NAME ? compare_names(t->last, key)
                                           : compare_words(t->last, t->last_length, key, length);
    if (r >= 0)
        complain("index of file %llu: keys are out of order", (unsigned long long)t->file);
    free(t->last);
    t->last = get_memory(length);
    memcpy(t->last, key, length);
    t->last_length = length;
}

static void walk_node(struct tree *t, const uint8_t *header, unsigned room, int depth);

static void walk_block(struct tree *t, uint64_t vcn, int depth)
{
    uint64_t n = vcn * t->unit / t->block;
    if (depth > 20 || vcn * t->unit % t->block || n >= t->n_blocks) {
        complain("index of file %llu: no block at %llu", (unsigned long long)t->file,
                 (unsigned long long)vcn);
        return;
    }
    uint8_t *p = t->blocks + n * t->block;
    if (t->seen[n]++) {
        complain("index of file %llu: block %llu twice", (unsigned long long)t->file, (unsigned long long)n);
        return;
    }
    if (!(t->bitmap[n / 8] >> (n % 8) & 1))
        complain("index of file %llu: block %llu is marked free", (unsigned long long)t->file,
                 (unsigned long long)n);
    if (!fix_up(p, t->block, "INDX") || get(p + 16, 8) != vcn) {
        complain("index of file %llu: block %llu is torn", (unsigned long long)t->file,
                 (unsigned long long)n);
        return;
    }
    walk_node(t, p + 24, t->block - 24, depth);
}

static void walk_node(struct tree *t, const uint8_t *header, unsigned room, int depth)
{
    unsigned at = (unsigned)get(header, 4), end = (unsigned)get(header + 4, 4);
    bool has_nodes = header[12] & 1, ended = false;
    if (end > get(header + 8, 4) || get(header + 8, 4) > room)
        give_up("index of file %llu: a node of %u bytes", (unsigned long long)t->file, end);
    if (!has_nodes && t->leaf_depth >= 0 && t->leaf_depth != depth)
        complain("index of file %llu: leaves at depths %d and %d", (unsigned long long)t->file, t->leaf_depth,
                 depth);
    if (!has_nodes)
        t->leaf_depth = depth;
    while (!ended && at + 16 <= end) {
        const uint8_t *e = header + at;
        unsigned length = (unsigned)get(e + 8, 2), key = (unsigned)get(e + 10, 2),
                 flags = (unsigned)get(e + 12, 2);
        if (length < 16 || length % 8 || at + length > end || 16 + key > length)
            give_up("index of file %llu: an entry of %u bytes", (unsigned long long)t->file, length);
        if (!(flags & NODE) == has_nodes)
            complain("index of file %llu: leaf and node are mixed", (unsigned long long)t->file);
        if (flags & NODE)
            walk_block(t, get(e + length - 8, 8), depth + 1);
        ended = flags & LAST;
        if (!ended) {
            check_order(t, e + 16, key);
            t->fn(t->ctx, e, length);
        }
        at += length;
    }
    if (!ended || at != end)
        complain("index of file %llu: a node without an end", (unsigned long long)t->file);
}

void walk_index(uint64_t file, const char *name, entry_fn fn, void *ctx)
{
    const struct attr *root = find_attr(file, AT_INDEX_ROOT, name);
    const struct attr *blocks = find_attr(file, AT_INDEX_ALLOCATION, name);
    const struct attr *bitmap = find_attr(file, AT_BITMAP, name);
    struct tree t = { .file = file, .leaf_depth = -1, .fn = fn, .ctx = ctx };
    if (!root || !root->resident || !blocks != !bitmap) {
        complain("file %llu: index %s isn't whole", (unsigned long long)file, name);
        return;
    }
    t.collation = (unsigned)get(root->value + 4, 4);
    t.block = (unsigned)get(root->value + 8, 4);
    t.unit = vol.cluster <= t.block ? vol.cluster : 512;
    if (blocks) {
        t.blocks = read_attr(blocks);
        t.bitmap = read_attr(bitmap);
        t.n_blocks = blocks->size / t.block;
        if (bitmap->size * 8 < t.n_blocks)
            complain("file %llu: the bitmap of index %s is too short", (unsigned long long)file, name);
    }
    t.seen = get_memory(t.n_blocks);
    walk_node(&t, root->value + 16, (unsigned)root->size - 16, 0);
    for (uint64_t n = 0; bitmap && n < bitmap->size * 8; n++)
        if (t.bitmap[n / 8] >> (n % 8) & 1 && (n >= t.n_blocks || !t.seen[n]))
            complain("file %llu: block %llu of index %s is marked used, and isn't", (unsigned long long)file,
                     (unsigned long long)n, name);
    free(t.blocks);
    free(t.bitmap);
    free(t.seen);
    free(t.last);
}

/* ---- names ---- */

enum {
    NAME_SIZE = 0x30, /* of the content, in a name */
    NAME_LENGTH = 0x40,
    NAME_SPACE = 0x41,
    FIRST_USER = 24,
};

static bool same_name(const uint8_t *a, const uint8_t *b)
{
    return !memcmp(a, b, 8) && a[NAME_LENGTH] == b[NAME_LENGTH] && a[NAME_SPACE] == b[NAME_SPACE] &&
           !memcmp(a + 66, b + 66, 2u * a[NAME_LENGTH]);
}

static void check_size_in_name(uint64_t file, const uint8_t *name)
{
    const struct attr *data = find_attr(file, AT_DATA, "");
    if (data && !vol.files[file].is_dir && file >= FIRST_USER && get(name + NAME_SIZE, 8) != data->size)
        complain("file %llu: its directory says %llu bytes, it has %llu", (unsigned long long)file,
                 (unsigned long long)get(name + NAME_SIZE, 8), (unsigned long long)data->size);
}

static void check_entry(void *ctx, const uint8_t *entry, unsigned length)
{
    uint64_t dir = *(const uint64_t *)ctx, file = get(entry, 6);
    const uint8_t *name = entry + 16;
    (void)length;
    if (file >= vol.records || !vol.files[file].used || !vol.files[file].is_base) {
        complain("directory %llu: an entry for file %llu, which isn't there", (unsigned long long)dir,
                 (unsigned long long)file);
        return;
    }
    struct file *f = &vol.files[file];
    if (get(entry + 6, 2) != f->seq)
        complain("directory %llu: an entry for an earlier file %llu", (unsigned long long)dir,
                 (unsigned long long)file);
    if (get(name, 6) != dir || get(name + 6, 2) != vol.files[dir].seq)
        complain("directory %llu: an entry of another one's", (unsigned long long)dir);
    bool found = false;
    for (size_t i = 0; i < f->n && !found; i++)
        found = f->attrs[i].type == AT_NAME && same_name(f->attrs[i].value, name);
    if (!found)
        complain("directory %llu: file %llu doesn't know its name there", (unsigned long long)dir,
                 (unsigned long long)file);
    f->entries++;
    check_size_in_name(file, name);
}

/* The first name's directory. */
static uint64_t parent_of(uint64_t file)
{
    for (size_t i = 0; i < vol.files[file].n; i++)
        if (vol.files[file].attrs[i].type == AT_NAME)
            return get(vol.files[file].attrs[i].value, 6);
    return file;
}

static void check_file(uint64_t n)
{
    const struct file *f = &vol.files[n];
    unsigned names = 0;
    for (size_t i = 0; i < f->n; i++)
        names += f->attrs[i].type == AT_NAME;
    if (n >= FIRST_USER && !names)
        complain("file %llu has no name", (unsigned long long)n);
    if (names != f->links || names != f->entries)
        if (names || n >= FIRST_USER)
            complain("file %llu: %u names, %u links, %u entries", (unsigned long long)n, names, f->links,
                     f->entries);
    unsigned depth = 0;
    for (uint64_t up = n; names && up != 5; up = parent_of(up))
        if (up >= vol.records || !vol.files[up].used || ++depth > 1000) {
            complain("file %llu doesn't hang below the root", (unsigned long long)n);
            break;
        }
}

void check_names(void)
{
    for (uint64_t n = 0; n < vol.records; n++)
        if (vol.files[n].used && vol.files[n].is_base && vol.files[n].is_dir)
            walk_index(n, "$I30", check_entry, &n);
    for (uint64_t n = 0; n < vol.records; n++)
        if (vol.files[n].used && vol.files[n].is_base)
            check_file(n);
}

/* ---- $Secure ---- */

struct ids {
    uint32_t *ids;
    size_t n;
    const uint8_t *stream;
    uint64_t size;
};

static uint32_t hash_of(const uint8_t *p, uint64_t n)
{
    uint32_t h = 0;
    for (uint64_t i = 0; i + 4 <= n; i += 4)
        h = (uint32_t)get(p + i, 4) + (h << 3 | h >> 29);
    return h;
}

/* An entry of either index ends in the header that the descriptor has in the stream. */
static void check_descriptor(void *ctx, const uint8_t *entry, unsigned length)
{
    enum { COPY = 256 << 10, HEADER = 20 };
    struct ids *s = ctx;
    const uint8_t *header = entry + get(entry, 2);
    (void)length;
    uint32_t id = (uint32_t)get(header + 4, 4), size = (uint32_t)get(header + 16, 4);
    uint64_t at = get(header + 8, 8);
    s->ids = realloc(s->ids, (s->n + 1) * sizeof *s->ids);
    if (!s->ids)
        give_up("out of memory");
    s->ids[s->n++] = id;
    if (size < HEADER || at + COPY + size > s->size || memcmp(s->stream + at, header, HEADER) ||
        hash_of(s->stream + at + HEADER, size - HEADER) != get(header, 4))
        complain("$Secure: the descriptor of id %u isn't what its index says", id);
    else if (memcmp(s->stream + at, s->stream + at + COPY, size))
        complain("$Secure: the copy of the descriptor of id %u differs", id);
}

static bool has_id(const struct ids *s, uint32_t id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->ids[i] == id)
            return true;
    return false;
}

void check_security(void)
{
    const struct attr *stream = find_attr(9, AT_DATA, "$SDS");
    if (!stream)
        return; /* an old volume */
    uint8_t *descriptors = read_attr(stream);
    struct ids by_id = { .stream = descriptors, .size = stream->size }, by_hash = by_id;
    walk_index(9, "$SII", check_descriptor, &by_id);
    walk_index(9, "$SDH", check_descriptor, &by_hash);
    for (size_t i = 0; i < by_id.n; i++)
        if (!has_id(&by_hash, by_id.ids[i]))
            complain("$Secure: id %u is in one index only", by_id.ids[i]);
    if (by_id.n != by_hash.n)
        complain("$Secure: %zu ids in one index, %zu in the other", by_id.n, by_hash.n);
    for (uint64_t n = FIRST_USER; n < vol.records; n++) {
        const struct attr *a =
            vol.files[n].used && vol.files[n].is_base ? find_attr(n, AT_STANDARD, "") : NULL;
        uint32_t id = a && a->size >= 0x38 ? (uint32_t)get(a->value + 0x34, 4) : 0;
        if (id && !has_id(&by_id, id))
            complain("file %llu: its security id %u isn't in $Secure", (unsigned long long)n, id);
        if (a && !id && !find_attr(n, 0x50, "") && get(a->value + 32, 4) != 0x26)
            complain("file %llu has no security", (unsigned long long)n);
    }
    free(by_id.ids);
    free(by_hash.ids);
    free(descriptors);
}

/* ---- $Reparse ---- */

static void check_reparse_entry(void *ctx, const uint8_t *entry, unsigned length)
{
    unsigned *n = ctx;
    uint64_t file = get(entry + 20, 6);
    (void)length;
    const struct attr *a =
        file < vol.records && vol.files[file].used ? find_attr(file, AT_REPARSE, "") : NULL;
    if (!a || get(entry + 26, 2) != vol.files[file].seq)
        complain("$Reparse: an entry for file %llu, which is none", (unsigned long long)file);
    else if (a->resident && get(a->value, 4) != get(entry + 16, 4))
        complain("$Reparse: another tag than file %llu has", (unsigned long long)file);
    ++*n;
}

void check_reparse(void)
{
    unsigned entries = 0, files = 0;
    for (uint64_t n = FIRST_USER; n < vol.records; n++) {
        if (!vol.files[n].used || !vol.files[n].is_base)
            continue;
        if (find_attr(n, AT_INDEX_ROOT, "$R"))
            walk_index(n, "$R", check_reparse_entry, &entries);
        files += find_attr(n, AT_REPARSE, "") != NULL;
    }
    if (entries != files)
        complain("$Reparse: %u entries, %u files", entries, files);
}
