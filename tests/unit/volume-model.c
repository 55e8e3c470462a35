/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unit.h"

#include "volume-model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { INODES = 400, ENTRIES = 600, FILE_MAX = 300000, NAMES = 40 };

struct m_inode {
    bool used;
    mode_t mode;
    unsigned links;
    uint8_t *data;
    size_t size, room;
    char target[200];
    uint64_t ino;
    uid_t uid;
    char xattr[300];
    size_t xattr_size; /* 0: none */
    struct volume_file *open;
};

struct m_entry {
    bool used;
    int dir, inode;
    char name[64];
};

struct model {
    unsigned features;
    uint64_t seed;
    struct volume *v;
    struct m_inode inodes[INODES];
    struct m_entry entries[ENTRIES];
    unsigned full, shrink;
    unsigned long steps;
    const uint8_t *input; /* not owned; NULL: by seed */
    size_t left;
};

static uint32_t draw_input(struct model *m, uint32_t n)
{
    uint32_t v = 0;
    for (uint32_t range = n - 1; range && m->left; range >>= 8) {
        v = v << 8 | *m->input++;
        m->left--;
    }
    return v % n;
}

static uint32_t rnd(struct model *m, uint32_t n)
{
    if (m->input)
        return draw_input(m, n);
    m->seed = m->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(m->seed >> 33) % n;
}

#define check_result(m, what, got, want)                                                                     \
    do {                                                                                                     \
        int got_ = (got), want_ = (want);                                                                    \
        if (got_ != want_) {                                                                                 \
            print_error("step %lu: %s gives %d, expected %d\n", (m)->steps, what, got_, want_);              \
            fail();                                                                                          \
        }                                                                                                    \
    } while (0)

struct model *model_new(unsigned features, uint64_t seed)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->features = features;
    m->seed = seed;
    m->shrink = 30;
    m->inodes[0] = (struct m_inode){ .used = true, .mode = S_IFDIR | 0755, .links = 2, .ino = VOLUME_ROOT };
    return m;
}

void model_input(struct model *m, const uint8_t *data, size_t n)
{
    m->input = data;
    m->left = n;
}

size_t model_input_left(const struct model *m)
{
    return m->left;
}

void model_free(struct model *m)
{
    for (int i = 0; i < INODES; i++)
        free(m->inodes[i].data);
    free(m);
}

unsigned model_full(const struct model *m)
{
    return m->full;
}

void model_shrink(struct model *m, unsigned percent)
{
    m->shrink = percent;
}

static bool same_name(const struct model *m, const char *a, const char *b)
{
    return m->features & MODEL_CASELESS ? !strcasecmp(a, b) : !strcmp(a, b);
}

static int find(struct model *m, int dir, const char *name)
{
    for (int pass = 0; pass < 2; pass++)
        for (int e = 0; e < ENTRIES; e++)
            if (m->entries[e].used && m->entries[e].dir == dir &&
                (pass ? same_name(m, m->entries[e].name, name) : !strcmp(m->entries[e].name, name)))
                return e;
    return -1;
}

static void look_up_all(struct model *m, int dir)
{
    for (int e = 0; e < ENTRIES; e++) {
        struct m_entry *t = &m->entries[e];
        if (!t->used || t->dir != dir)
            continue;
        check_result(m, t->name,
                     m->v->ops->lookup(m->v, m->inodes[dir].ino, t->name, &m->inodes[t->inode].ino), 0);
        if (S_ISDIR(m->inodes[t->inode].mode))
            look_up_all(m, t->inode);
    }
}

void model_attach(struct model *m, struct volume *v)
{
    m->v = v;
    look_up_all(m, 0);
}

static void inode_drop(struct m_inode *i)
{
    free(i->data);
    *i = (struct m_inode){ .used = false };
}

static void close_file(struct model *m, struct m_inode *i)
{
    if (!i->open)
        return;
    m->v->ops->release(i->open);
    i->open = NULL;
    if (!i->links)
        inode_drop(i);
}

void model_detach(struct model *m)
{
    for (int i = 0; i < INODES; i++)
        close_file(m, &m->inodes[i]);
}

/* ---- choosing ---- */

static bool is_file(const struct m_inode *i)
{
    return i->used && S_ISREG(i->mode);
}

static bool is_dir(const struct m_inode *i)
{
    return i->used && S_ISDIR(i->mode) && i->links;
}

/* -1: there is none. */
static int pick_inode(struct model *m, bool (*fits)(const struct m_inode *i))
{
    int all[INODES];
    uint32_t n = 0;
    for (int i = 0; i < INODES; i++)
        if (fits(&m->inodes[i]))
            all[n++] = i;
    return n ? all[rnd(m, n)] : -1;
}

static int pick_dir(struct model *m)
{
    return pick_inode(m, is_dir);
}

static int pick_file(struct model *m)
{
    return pick_inode(m, is_file);
}

static int pick_entry(struct model *m)
{
    int all[ENTRIES];
    uint32_t n = 0;
    for (int e = 0; e < ENTRIES; e++)
        if (m->entries[e].used)
            all[n++] = e;
    return n ? all[rnd(m, n)] : -1;
}

static void pick_name(struct model *m, char out[64])
{
    static const char *const forms[] = {
        "f%u",         "file-%u.txt", "A Long Name with Blanks %u.Data", "n\303\244me%u",
        "UPPER%u.TXT", "x%u.tar.gz",  "longextension%u.configuration"
    };
    unsigned form = rnd(m, 7), n = rnd(m, NAMES);
    snprintf(out, 64, forms[form], n);
    if (rnd(m, 8) == 0)
        for (char *p = out; *p; p++)
            *p = *p >= 'a' && *p <= 'z' && rnd(m, 2) ? (char)(*p - 32) : *p;
}

static int free_inode(struct model *m)
{
    for (int i = 1; i < INODES; i++)
        if (!m->inodes[i].used)
            return i;
    return -1;
}

static int free_entry(struct model *m)
{
    for (int e = 0; e < ENTRIES; e++)
        if (!m->entries[e].used)
            return e;
    return -1;
}

static bool is_full(struct model *m, int r)
{
    m->full += r == -ENOSPC;
    return r == -ENOSPC;
}

/* ---- operations ---- */

static void add_entry(struct model *m, int e, int dir, const char *name, int inode)
{
    m->entries[e] = (struct m_entry){ .used = true, .dir = dir, .inode = inode };
    snprintf(m->entries[e].name, sizeof m->entries[e].name, "%s", name);
}

static void op_create(struct model *m)
{
    static const mode_t types[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR };
    int dir = pick_dir(m), i = free_inode(m), e = free_entry(m);
    char name[64];
    if (i < 0 || e < 0)
        return;
    pick_name(m, name);
    struct m_inode n = { .used = true, .links = 1 };
    n.mode = types[rnd(m, m->features & MODEL_LINKS ? 7 : 4)] | (0600 + rnd(m, 0200));
    n.uid = m->features & MODEL_OWNERS ? rnd(m, 100000) : 0;
    if (S_ISLNK(n.mode)) {
        size_t len = 1 + rnd(m, sizeof n.target - 1);
        memset(n.target, 'a' + (int)rnd(m, 26), len);
        n.size = len;
    }
    struct volume_new what = {
        .mode = n.mode, .uid = n.uid, .gid = n.uid + 1, .rdev = 0x1234, .target = n.target
    };
    int r = m->v->ops->create(m->v, m->inodes[dir].ino, name, &what, &n.ino);
    if (is_full(m, r))
        return;
    check_result(m, "create", r, find(m, dir, name) >= 0 ? -EEXIST : 0);
    if (r)
        return;
    for (int k = 0; k < INODES; k++)
        assert_false(m->inodes[k].used && m->inodes[k].ino == n.ino);
    if (S_ISDIR(n.mode) && m->features & MODEL_OWNERS) /* as everywhere with owners */
        n.mode |= m->inodes[dir].mode & S_ISGID;
    m->inodes[i] = n;
    add_entry(m, e, dir, name, i);
}

static bool has_entries(struct model *m, int dir)
{
    for (int e = 0; e < ENTRIES; e++)
        if (m->entries[e].used && m->entries[e].dir == dir)
            return true;
    return false;
}

/* One name of the inode is gone. */
static void unname(struct model *m, int inode)
{
    struct m_inode *i = &m->inodes[inode];
    i->links--;
    if (S_ISDIR(i->mode) || (!i->links && !i->open))
        inode_drop(i);
}

static void op_remove(struct model *m)
{
    int e = pick_entry(m);
    if (e < 0)
        return;
    struct m_entry *t = &m->entries[e];
    bool dir = S_ISDIR(m->inodes[t->inode].mode), wrong = rnd(m, 20) == 0;
    uint64_t parent = m->inodes[t->dir].ino;
    int r = dir != wrong ? m->v->ops->rmdir(m->v, parent, t->name) : m->v->ops->unlink(m->v, parent, t->name);
    if (wrong) {
        check_result(m, "remove of the other kind", r, dir ? -EISDIR : -ENOTDIR);
        return;
    }
    check_result(m, "remove", r, dir && has_entries(m, t->inode) ? -ENOTEMPTY : 0);
    if (r)
        return;
    uint64_t ino;
    check_result(m, "lookup of what is gone", m->v->ops->lookup(m->v, parent, t->name, &ino), -ENOENT);
    t->used = false;
    unname(m, t->inode);
}

static void op_link(struct model *m)
{
    int i = pick_file(m), dir = pick_dir(m), e = free_entry(m);
    char name[64];
    if (i < 0 || e < 0 || !m->inodes[i].links)
        return;
    pick_name(m, name);
    int r = m->v->ops->hardlink(m->v, m->inodes[i].ino, m->inodes[dir].ino, name);
    if (is_full(m, r))
        return;
    check_result(m, "hardlink", r, find(m, dir, name) >= 0 ? -EEXIST : 0);
    if (r)
        return;
    m->inodes[i].links++;
    add_entry(m, e, dir, name, i);
}

static bool lies_in(struct model *m, int dir, int in)
{
    while (dir) {
        if (dir == in)
            return true;
        for (int e = 0;; e++)
            if (m->entries[e].used && m->entries[e].inode == dir) {
                dir = m->entries[e].dir;
                break;
            }
    }
    return false;
}

static int rename_expected(struct model *m, int e, int dir, int victim, unsigned flags)
{
    int moved = m->entries[e].inode;
    bool directory = S_ISDIR(m->inodes[moved].mode);
    if (victim >= 0 && victim != e && flags)
        return -EEXIST;
    if (directory && lies_in(m, dir, moved))
        return -EINVAL;
    if (victim < 0 || victim == e || m->entries[victim].inode == moved)
        return 0;
    if (S_ISDIR(m->inodes[m->entries[victim].inode].mode) != directory)
        return directory ? -ENOTDIR : -EISDIR;
    return directory && has_entries(m, m->entries[victim].inode) ? -ENOTEMPTY : 0;
}

static void op_exchange(struct model *m)
{
    int e = pick_entry(m), dir = pick_dir(m);
    char name[64];
    if (e < 0)
        return;
    int other = rnd(m, 4) ? pick_entry(m) : -1;
    if (other >= 0) {
        dir = m->entries[other].dir;
        snprintf(name, sizeof name, "%s", m->entries[other].name);
    } else {
        pick_name(m, name);
        other = find(m, dir, name);
    }
    struct m_entry *a = &m->entries[e], *b = other >= 0 ? &m->entries[other] : NULL;
    bool loop = b && ((S_ISDIR(m->inodes[a->inode].mode) && lies_in(m, dir, a->inode)) ||
                      (S_ISDIR(m->inodes[b->inode].mode) && lies_in(m, a->dir, b->inode)));
    int r =
        m->v->ops->rename(m->v, m->inodes[a->dir].ino, a->name, m->inodes[dir].ino, name, RENAME_EXCHANGE);
    if (is_full(m, r))
        return;
    check_result(m, "exchange", r, !b ? -ENOENT : loop ? -EINVAL : 0);
    if (r)
        return;
    int inode = a->inode;
    a->inode = b->inode;
    b->inode = inode;
    uint64_t ino;
    check_result(m, "lookup of the one", m->v->ops->lookup(m->v, m->inodes[a->dir].ino, a->name, &ino), 0);
    assert_int_equal(ino, m->inodes[a->inode].ino);
    check_result(m, "lookup of the other", m->v->ops->lookup(m->v, m->inodes[b->dir].ino, b->name, &ino), 0);
    assert_int_equal(ino, m->inodes[b->inode].ino);
}

static void op_rename(struct model *m)
{
    int e = pick_entry(m), dir = pick_dir(m);
    char name[64];
    if (e < 0)
        return;
    pick_name(m, name);
    unsigned flags = rnd(m, 6) ? 0 : RENAME_NOREPLACE;
    int victim = find(m, dir, name);
    int want = rename_expected(m, e, dir, victim, flags);
    struct m_entry *t = &m->entries[e];
    int r = m->v->ops->rename(m->v, m->inodes[t->dir].ino, t->name, m->inodes[dir].ino, name, flags);
    if (is_full(m, r))
        return;
    if (victim == e && flags && r == -EEXIST)
        return;
    if (want == -EEXIST && r == -EINVAL && lies_in(m, dir, t->inode))
        return; /* both are so; it is the kernel that says which comes first */
    check_result(m, "rename", r, want);
    if (r)
        return;
    uint64_t ino;
    check_result(m, "lookup of what was moved", m->v->ops->lookup(m->v, m->inodes[dir].ino, name, &ino), 0);
    assert_int_equal(ino, m->inodes[t->inode].ino);
    if (victim >= 0 && victim != e && m->entries[victim].inode == t->inode)
        return; /* two names of one file: nothing happens */
    if (victim >= 0 && victim != e) {
        m->entries[victim].used = false;
        unname(m, m->entries[victim].inode);
    }
    add_entry(m, e, dir, name, t->inode);
}

static void grow(struct m_inode *i, size_t size)
{
    if (size > i->room) {
        i->data = realloc(i->data, size);
        assert_non_null(i->data);
        i->room = size;
    }
    if (size > i->size)
        memset(i->data + i->size, 0, size - i->size);
    i->size = size;
}

static struct volume_file *opened(struct model *m, struct m_inode *i)
{
    if (!i->open)
        check_result(m, "open", m->v->ops->open(m->v, i->ino, &i->open), 0);
    return i->open;
}

static void maybe_close(struct model *m, struct m_inode *i)
{
    if (rnd(m, 3))
        close_file(m, i);
}

static void op_write(struct model *m)
{
    static uint8_t buf[FILE_MAX];
    int n = pick_file(m);
    if (n < 0)
        return;
    struct m_inode *i = &m->inodes[n];
    size_t off = rnd(m, 3) ? rnd(m, (uint32_t)i->size + 1) : rnd(m, FILE_MAX / 2);
    size_t len = 1 + rnd(m, rnd(m, 8) ? 9000 : FILE_MAX / 2);
    uint8_t first = (uint8_t)rnd(m, 256);
    for (size_t k = 0; k < len; k++)
        buf[k] = (uint8_t)(first + k * 7 + k / 251);
    int r = m->v->ops->write(opened(m, i), buf, len, off);
    if (!is_full(m, r)) {
        check_result(m, "write", r, 0);
        size_t end = off + len;
        if (end > i->size)
            grow(i, end);
        memcpy(i->data + off, buf, len);
    }
    maybe_close(m, i);
}

static void op_truncate(struct model *m)
{
    int n = pick_file(m);
    if (n < 0)
        return;
    struct m_inode *i = &m->inodes[n];
    struct volume_attr a = { .size = rnd(m, 4) ? rnd(m, (uint32_t)i->size + 1) : rnd(m, FILE_MAX) };
    int r = m->v->ops->setattr(m->v, i->ino, &a, SET_SIZE);
    if (is_full(m, r))
        return;
    check_result(m, "truncate", r, 0);
    if (a.size > i->size)
        grow(i, a.size);
    i->size = a.size;
}

static void op_fallocate(struct model *m)
{
    static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
    int n = pick_file(m), mode = modes[rnd(m, 5)];
    if (n < 0)
        return;
    struct m_inode *i = &m->inodes[n];
    size_t off = rnd(m, (uint32_t)i->size + 5000), len = 1 + rnd(m, 30000), end = off + len;
    int r = m->v->ops->fallocate(opened(m, i), mode, off, len);
    if (!is_full(m, r) && r != -EOPNOTSUPP) {
        check_result(m, "fallocate", r, 0);
        if (!(mode & FALLOC_FL_KEEP_SIZE) && end > i->size)
            grow(i, end);
        if (mode & ~FALLOC_FL_KEEP_SIZE && off < i->size)
            memset(i->data + off, 0, end < i->size ? len : i->size - off);
    }
    maybe_close(m, i);
}

static void op_setattr(struct model *m)
{
    int e = pick_entry(m);
    if (e < 0)
        return;
    struct m_inode *i = &m->inodes[m->entries[e].inode];
    struct volume_attr a = { .mode = rnd(m, 010000), .uid = rnd(m, 1u << 31), .gid = 7 };
    a.mtime.tv_sec = 1000000000 + rnd(m, 2000000000);
    int r = m->v->ops->setattr(m->v, i->ino, &a, SET_MODE | SET_UID | SET_GID | SET_MTIME);
    check_result(m, "setattr", r, 0);
    i->mode = (i->mode & S_IFMT) | (a.mode & 07777);
    i->uid = a.uid;
}

static void op_xattr(struct model *m)
{
    int e = pick_entry(m);
    if (e < 0)
        return;
    struct m_inode *i = &m->inodes[m->entries[e].inode];
    if (rnd(m, 3) == 0) {
        int r = m->v->ops->removexattr(m->v, i->ino, "user.model");
        if (is_full(m, r))
            return;
        check_result(m, "removexattr", r, i->xattr_size ? 0 : -ENODATA);
        i->xattr_size = 0;
        return;
    }
    char value[sizeof i->xattr];
    size_t n = 1 + rnd(m, rnd(m, 2) ? 40 : sizeof value);
    memset(value, 'A' + (int)rnd(m, 26), n);
    int r = m->v->ops->setxattr(m->v, i->ino, "user.model", value, n, 0);
    if (is_full(m, r))
        return;
    check_result(m, "setxattr", r, 0);
    memcpy(i->xattr, value, n);
    i->xattr_size = n;
}

static void compare_range(struct model *m, struct m_inode *i, size_t off, size_t len)
{
    static uint8_t buf[FILE_MAX * 2];
    size_t got;
    check_result(m, "read", m->v->ops->read(opened(m, i), buf, len, off, &got), 0);
    size_t want = off >= i->size ? 0 : i->size - off < len ? i->size - off : len;
    assert_int_equal(got, want);
    for (size_t k = 0; k < want; k++)
        if (buf[k] != i->data[off + k]) {
            print_error("step %lu: inode %llx differs at byte %zu of %zu: %02x, expected %02x\n", m->steps,
                        (unsigned long long)i->ino, off + k, i->size, buf[k], i->data[off + k]);
            fail();
        }
}

static void op_read(struct model *m)
{
    int n = pick_file(m);
    if (n < 0)
        return;
    struct m_inode *i = &m->inodes[n];
    compare_range(m, i, rnd(m, (uint32_t)i->size + 10), 1 + rnd(m, 20000));
    maybe_close(m, i);
}

void model_step(struct model *m)
{
    m->steps++;
    uint32_t k = rnd(m, 100);
    if (k < m->shrink) {
        if (k & 1)
            op_remove(m);
        else
            op_truncate(m);
        return;
    }
    switch (rnd(m, 12)) {
    case 0:
    case 1:
    case 2:
        op_create(m);
        break;
    case 3:
    case 4:
    case 5:
        op_write(m);
        break;
    case 6:
        if (m->features & MODEL_EXCHANGE && !rnd(m, 4))
            op_exchange(m);
        else
            op_rename(m);
        break;
    case 7:
        op_read(m);
        break;
    case 8:
        if (m->features & MODEL_LINKS)
            op_link(m);
        break;
    case 9:
        if (m->features & MODEL_HOLES)
            op_fallocate(m);
        break;
    case 10:
        if (m->features & MODEL_OWNERS)
            op_setattr(m);
        break;
    default:
        if (m->features & MODEL_XATTRS)
            op_xattr(m);
    }
}

/* ---- comparing ---- */

struct listing {
    struct model *m;
    int dir;
    unsigned n;
};

static int list_one(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct listing *l = ctx;
    (void)next;
    int e = -1;
    for (int k = 0; k < ENTRIES; k++)
        if (l->m->entries[k].used && l->m->entries[k].dir == l->dir && !strcmp(l->m->entries[k].name, name))
            e = k;
    if (e < 0) {
        print_error("step %lu: %s is listed, and shouldn't be there\n", l->m->steps, name);
        fail();
    }
    struct m_inode *i = &l->m->inodes[l->m->entries[e].inode];
    assert_int_equal(ino, i->ino);
    assert_true(!type || type == (i->mode & S_IFMT));
    l->n++;
    return 0;
}

static unsigned subdirs(struct model *m, int dir)
{
    unsigned n = 0;
    for (int e = 0; e < ENTRIES; e++)
        n += m->entries[e].used && m->entries[e].dir == dir && S_ISDIR(m->inodes[m->entries[e].inode].mode);
    return n;
}

static void compare_attributes(struct model *m, int n)
{
    struct m_inode *i = &m->inodes[n];
    struct volume_attr a;
    check_result(m, "getattr", m->v->ops->getattr(m->v, i->ino, &a), 0);
    assert_int_equal(a.mode & S_IFMT, i->mode & S_IFMT);
    if (!S_ISDIR(i->mode))
        assert_int_equal(a.size, i->size);
    if (m->features & MODEL_OWNERS && n) {
        assert_int_equal(a.mode & 07777, i->mode & 07777);
        assert_int_equal(a.uid, i->uid);
    }
    if (m->features & MODEL_LINKS)
        assert_int_equal(a.nlink, S_ISDIR(i->mode) ? 2 + subdirs(m, n) : i->links);
    if (m->features & MODEL_XATTRS && n) {
        char value[400];
        size_t len;
        int r = m->v->ops->getxattr(m->v, i->ino, "user.model", value, sizeof value, &len);
        check_result(m, "getxattr", r, i->xattr_size ? 0 : -ENODATA);
        if (!r) {
            assert_int_equal(len, i->xattr_size);
            assert_memory_equal(value, i->xattr, len);
        }
    }
    if (S_ISLNK(i->mode)) {
        char buf[400];
        enum link_style style;
        check_result(m, "link", m->v->ops->link(m->v, i->ino, buf, sizeof buf, &style), 0);
        assert_string_equal(buf, i->target);
    }
}

static void compare_dir(struct model *m, int dir)
{
    struct listing l = { m, dir, 0 };
    check_result(m, "readdir", m->v->ops->readdir(m->v, m->inodes[dir].ino, 0, list_one, &l), 0);
    compare_attributes(m, dir);
    for (int e = 0; e < ENTRIES; e++) {
        if (!m->entries[e].used || m->entries[e].dir != dir)
            continue;
        int n = m->entries[e].inode;
        l.n--;
        if (S_ISDIR(m->inodes[n].mode)) {
            compare_dir(m, n);
            continue;
        }
        compare_attributes(m, n);
        if (S_ISREG(m->inodes[n].mode)) {
            bool was = m->inodes[n].open;
            compare_range(m, &m->inodes[n], 0, m->inodes[n].size + 1);
            if (!was)
                close_file(m, &m->inodes[n]);
        }
    }
    assert_int_equal(l.n, 0);
}

void model_compare(struct model *m)
{
    compare_dir(m, 0);
    for (int n = 0; n < INODES; n++) /* those without a name */
        if (m->inodes[n].used && m->inodes[n].open && !m->inodes[n].links) {
            struct volume_attr a;
            check_result(m, "getattr without a name", m->v->ops->getattr(m->v, m->inodes[n].ino, &a), 0);
            assert_int_equal(a.size, m->inodes[n].size);
            compare_range(m, &m->inodes[n], 0, m->inodes[n].size + 1);
        }
}

static void extract_dir(struct model *m, int dir, const char *path)
{
    for (int e = 0; e < ENTRIES; e++) {
        if (!m->entries[e].used || m->entries[e].dir != dir)
            continue;
        struct m_inode *i = &m->inodes[m->entries[e].inode];
        char to[4096];
        snprintf(to, sizeof to, "%s/%s", path, m->entries[e].name);
        if (S_ISDIR(i->mode)) {
            assert_int_equal(mkdir(to, 0755), 0);
            extract_dir(m, m->entries[e].inode, to);
        } else if (S_ISLNK(i->mode)) {
            assert_int_equal(symlink(i->target, to), 0);
        } else if (S_ISREG(i->mode)) {
            FILE *f = fopen(to, "w");
            assert_non_null(f);
            assert_int_equal(fwrite(i->data ? i->data : (uint8_t *)"", 1, i->size, f), i->size);
            assert_int_equal(fclose(f), 0);
        }
    }
}

void model_extract(struct model *m, const char *dir)
{
    extract_dir(m, 0, dir);
}
