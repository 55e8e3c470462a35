/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Security descriptors (sk cells): equal ones are kept once, counted by the keys that use them, and all are
 * linked in one ring. What a descriptor means is not our matter; that it is one, is. */
#include "hive-edit.h"

#include <stdlib.h>

enum {
    SD_REVISION = 0,
    SD_CONTROL = 2,
    SD_OWNER = 4,
    SD_GROUP = 8,
    SD_SACL = 12,
    SD_DACL = 16,
    SD_SIZE = 20,
    SD_SELF_RELATIVE = 0x8000,
    SD_MAX = 0x10000, /* an ACL has at most 64 KiB, and Windows takes no more in all */
};

static struct hive_sk_use *find_use(struct hive *h, uint32_t cell)
{
    for (size_t i = 0; i < h->edits->n_sks; i++)
        if (h->edits->sks[i].cell == cell && h->edits->sks[i].refs)
            return &h->edits->sks[i];
    return NULL;
}

static int set_refs(struct hive *h, struct hive_sk_use *u, uint32_t refs)
{
    int r = hive_undo_add(h, UNDO_SK, (uint32_t)(u - h->edits->sks), u->refs);
    if (r < 0)
        return r;
    u->refs = refs;
    return refs ? hive_put32(h, u->cell, SK_REFS, refs) : 0;
}

int hive_security_ref(struct hive *h, uint32_t sk)
{
    struct hive_sk_use *u = find_use(h, sk);
    if (!u)
        return hive_damage(h, sk, "the security descriptor isn't in the ring");
    return set_refs(h, u, u->refs + 1);
}

int hive_security_unref(struct hive *h, uint32_t sk)
{
    struct hive_sk_use *u = find_use(h, sk);
    struct hive_sk s;
    if (!u)
        return hive_damage(h, sk, "the security descriptor isn't in the ring");
    int r = set_refs(h, u, u->refs - 1);
    if (r < 0 || u->refs)
        return r;
    r = hive_sk(h, sk, &s);
    if (!r)
        r = hive_put32(h, s.previous, SK_NEXT, s.next);
    if (!r)
        r = hive_put32(h, s.next, SK_PREVIOUS, s.previous);
    return r < 0 ? r : hive_release_cell(h, sk);
}

static uint32_t hash_bytes(const uint8_t *p, size_t n)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 16777619u;
    return hash ? hash : 1;
}

/* Is the descriptor in the cell this one? Also fills in its hash. */
static int is_equal(struct hive *h, struct hive_sk_use *u, const uint8_t *p, size_t n, uint32_t hash,
                    bool *ret)
{
    struct hive_sk s;
    *ret = false;
    if (u->hash && u->hash != hash)
        return 0;
    int r = hive_sk(h, u->cell, &s);
    if (r < 0 || (u->hash && s.length != n))
        return r;
    _cleanup_free_ uint8_t *b = malloc(s.length + 1);
    if (!b)
        return -ENOMEM;
    r = hive_cell_read(h, &s.cell, SK_DESCRIPTOR, b, s.length);
    if (r < 0)
        return r;
    u->hash = hash_bytes(b, s.length);
    *ret = s.length == n && !memcmp(b, p, n);
    return 0;
}

static bool is_descriptor(const uint8_t *p, size_t n)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p, n, 0, &bad);
    if (n < SD_SIZE || n > SD_MAX || u8(b, SD_REVISION) != 1 || !(le16(b, SD_CONTROL) & SD_SELF_RELATIVE))
        return false;
    for (size_t off = SD_OWNER; off <= SD_DACL; off += 4) {
        uint32_t at = le32(b, off);
        if (at && (at < SD_SIZE || at > n - 8)) /* a SID and an ACL have at least 8 bytes */
            return false;
    }
    return true;
}

/* A new cell, put into the ring behind that of `ring`. */
static int new_descriptor(struct hive *h, uint32_t ring, const uint8_t *p, size_t n, uint32_t *ret)
{
    struct hive_edits *e = h->edits;
    struct hive_sk s;
    uint8_t head[SK_DESCRIPTOR] = "sk";
    if (e->n_sks == e->room_sks) {
        size_t room = e->room_sks ? 2 * e->room_sks : 64;
        struct hive_sk_use *sks = realloc(e->sks, room * sizeof *sks);
        if (!sks)
            return -ENOMEM;
        e->sks = sks;
        e->room_sks = room;
    }
    int r = hive_sk(h, ring, &s);
    if (!r)
        r = hive_alloc(h, SK_DESCRIPTOR + n, ret);
    if (r < 0)
        return r;
    put_le32(head + SK_NEXT, s.next);
    put_le32(head + SK_PREVIOUS, ring);
    put_le32(head + SK_LENGTH, (uint32_t)n);
    r = hive_put(h, *ret, 0, head, sizeof head);
    if (!r)
        r = hive_put(h, *ret, SK_DESCRIPTOR, p, n);
    if (!r)
        r = hive_put32(h, s.next, SK_PREVIOUS, *ret);
    if (!r)
        r = hive_put32(h, ring, SK_NEXT, *ret);
    if (r < 0)
        return r;
    e->sks[e->n_sks++] = (struct hive_sk_use){ *ret, 0, hash_bytes(p, n) };
    return set_refs(h, &e->sks[e->n_sks - 1], 1);
}

static int set_security(struct hive *h, uint32_t key, const uint8_t *p, size_t n)
{
    struct hive_nk k;
    uint32_t hash = hash_bytes(p, n), to = HIVE_NIL;
    int r = hive_nk(h, key, &k);
    for (size_t i = 0; !r && i < h->edits->n_sks && to == HIVE_NIL; i++) {
        bool equal = false;
        if (!h->edits->sks[i].refs)
            continue;
        r = is_equal(h, &h->edits->sks[i], p, n, hash, &equal);
        if (equal)
            to = h->edits->sks[i].cell;
    }
    if (r < 0 || to == k.security)
        return r;
    r = to == HIVE_NIL ? new_descriptor(h, k.security, p, n, &to) : hive_security_ref(h, to);
    if (!r)
        r = hive_security_unref(h, k.security);
    return r < 0 ? r : hive_put32(h, key, NK_SECURITY, to);
}

int hive_set_security(struct hive *h, uint32_t key, const void *descriptor, size_t len)
{
    if (!is_descriptor(descriptor, len))
        return -EINVAL;
    int r = hive_edit_begin(h);
    return r < 0 ? r : hive_edit_end(h, set_security(h, key, descriptor, len));
}
