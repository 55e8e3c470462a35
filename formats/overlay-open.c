/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening an overlay: the lock, then either a new one is made, with commit.json as the last thing, so that
 * whatever was cut short before is made again; or what commit.json and the headers say is brought together.
 */
#include "checked.h"
#include "overlay-set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* L2 tables of all disks that are kept in memory: 8 MiB. */
enum { SLOTS = 128, SLOTS_MIN = 4, BACKING_MAX = 1023 };

struct opening {
    const struct overlay_options *o;
    const struct overlay_source *sources;
    struct overlay *v;
    size_t n_slots;
    bool write_store; /* commit.json isn't as it should be */
};

static int no_memory(const struct overlay *v, struct fault *fault)
{
    return fault_in(fault, -ENOMEM, v->dir, "out of memory");
}

/* ---- one disk ---- */

/* How QEMU is to call the source. Where it can't open it: a name that nobody has, which it prints when it
 * refuses. */
struct backing_name {
    char name[BACKING_MAX + 1];
    const char *format;
};

static void name_backing(const struct overlay_source *s, struct backing_name *ret)
{
    if (s->backing && strlen(s->backing) <= BACKING_MAX) {
        snprintf(ret->name, sizeof ret->name, "%s", s->backing);
        ret->format = s->backing_format;
        return;
    }
    snprintf(ret->name, sizeof ret->name,
             "/nonexistent/only ferryfs can read the source of this overlay/%.900s", s->name);
    ret->format = "raw";
}

static struct ovl_file_options file_options(const struct opening *p, size_t i, const char *name,
                                            const struct backing_name *b)
{
    return (struct ovl_file_options){
        .io = p->v->io,
        .durable = p->o->dir != NULL,
        .n_slots = p->n_slots,
        .source = p->sources[i].image->disk,
        .name = name,
        .backing = b->name,
        .backing_format = b->format,
    };
}

static int open_member(struct opening *p, size_t i, int *fd, const struct ovl_file_options *fo,
                       struct fault *fault)
{
    struct overlay_member *m = &p->v->members[i];
    int taken = *fd;
    *fd = -1;
    int r = ovl_file_open(taken, fo, &m->f, fault);
    if (!r && ovl_disk_new(m->f, &m->disk) < 0)
        r = no_memory(p->v, fault);
    return r;
}

/* ---- scratch ---- */

static int open_scratch_file(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/ferryfs-XXXXXX", dir) < 0) {
        path = NULL;
        errno = ENOMEM;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static int open_scratch(struct opening *p, struct fault *fault)
{
    const char *tmp = getenv("TMPDIR");
    if (!tmp || !*tmp)
        tmp = "/var/tmp";
    int r = 0;
    for (size_t i = 0; !r && i < p->v->n; i++) {
        if (!p->sources[i].image)
            continue;
        _cleanup_close_ int fd = open_scratch_file(tmp);
        if (fd < 0)
            return fault_in(fault, -errno, tmp, "no scratch file can be made there: %s", strerror(errno));
        struct backing_name b = { .format = "raw" };
        struct ovl_file_options fo = file_options(p, i, "scratch", &b);
        r = ovl_file_create(fd, &fo, fault);
        if (!r)
            r = open_member(p, i, &fd, &fo, fault);
        if (!r)
            r = ovl_file_begin(p->v->members[i].f, 0, 0, (struct timespec){ 0 }, &fo, fault);
    }
    return r;
}

/* ---- a new one ---- */

/* Is it the rest of an opening that was cut short before anything could be written? */
static bool is_unfinished(int dir_fd, const char *name)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    uint8_t sector[OVL_SECTOR];
    if (fd < 0 || ovl_pread(fd, sector, sizeof sector, 0) < 0)
        return false;
    struct bad bad = { 0 };
    struct ovl_header h;
    return ovl_header_decode(bytes_of(sector, sizeof sector, 0, &bad), name, &h, NULL) == 0 && h.known &&
           !h.generation;
}

static int create_file(struct opening *p, size_t i, const char *name, const struct ovl_file_options *fo,
                       struct fault *fault)
{
    struct overlay *v = p->v;
    char temporary[OVL_NAME + 4];
    snprintf(temporary, sizeof temporary, "%s.new", name);
    if (faccessat(v->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && !is_unfinished(v->dir_fd, name)) {
        fault_in(fault, -EEXIST, v->dir, "has a %s, but no commit.json beside it", name);
        return fault_hint(fault, -EEXIST, "name another directory for the overlay");
    }
    _cleanup_close_ int fd =
        openat(v->dir_fd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fault_in(fault, -errno, v->dir, "%s can't be made: %s", name, strerror(errno));
    int r = ovl_file_create(fd, fo, fault);
    if (!r && v->io->renameat(v->dir_fd, temporary, v->dir_fd, name) < 0)
        r = fault_in(fault, -errno, v->dir, "%s can't be renamed: %s", temporary, strerror(errno));
    if (!r)
        r = ovl_bind_write(&p->sources[i], &v->members[i].bound, fault);
    if (r < 0)
        unlinkat(v->dir_fd, temporary, 0);
    return r;
}

/* ---- an old one ---- */

static int same_disks(struct opening *p, const struct json *disks, struct fault *fault)
{
    struct overlay *v = p->v;
    size_t n = 0;
    const struct json *d = disks && disks->kind == JSON_ARRAY ? disks->child : NULL;
    for (; d; d = d->next, n++) {
        if (n >= v->n || !p->sources[n].image == (d->kind == JSON_NULL))
            continue;
        return fault_in(fault, -ESTALE, p->sources[n].name,
                        d->kind == JSON_NULL ? "disk%zu couldn't be opened when the overlay was made"
                                             : "disk%zu has an overlay, but can't be opened now",
                        n);
    }
    if (n == v->n)
        return 0;
    return fault_in(fault, -ESTALE, v->dir, "the overlay is of %zu disks, but the machine has %zu", n, v->n);
}

/* Keeps what the source is bound to, or binds anew. */
static int check_source(struct opening *p, size_t i, const struct json *bound, struct fault *fault)
{
    int r = ovl_bind_check(bound, &p->sources[i], p->o->rebind, fault);
    if (r < 0)
        return r;
    if (p->o->rebind) {
        p->write_store = true;
        return ovl_bind_write(&p->sources[i], &p->v->members[i].bound, fault);
    }
    struct json_out o = { 0 };
    json_add_copy(&o, bound);
    p->v->members[i].bound = o.text;
    return o.failed ? no_memory(p->v, fault) : 0;
}

/* The later of a file's header and what commit.json says of it. */
static int reconcile(struct opening *p, size_t i, const struct json *disk, uint64_t *ret_l1, uint64_t *ret_g,
                     struct fault *fault)
{
    struct overlay *v = p->v;
    struct overlay_file *f = v->members[i].f;
    uint64_t l1, g;
    if (!json_u64(disk, "l1", &l1) || !json_u64(disk, "generation", &g))
        return fault_in(fault, -EUCLEAN, v->dir, "its commit.json says nothing of disk%zu's state", i);
    *ret_l1 = 0;
    *ret_g = f->h.generation;
    if (g <= f->h.generation)
        return 0;
    if (f->h.ours && f->h.dirty) {
        *ret_l1 = l1;
        *ret_g = g;
        return 0;
    }
    /* Another program has gone on from the header's state, and may have reused what l1 needs. With one disk
     * that only means that an fsync that never returned is lost. */
    f->h.ours = false; /* a new generation: see below */
    if (v->n == 1)
        return 0;
    return fault_in(fault, -EUCLEAN, f->name,
                    "another program has written it after a commit of several disks was cut short");
}

/* Who booted the guest from the overlay has changed it too. */
static void notice_foreign_writes(struct opening *p, size_t i, uint64_t *generation)
{
    struct overlay *v = p->v;
    struct overlay_file *f = v->members[i].f;
    struct stat st;
    if (f->h.ours || fstat(f->fd, &st) < 0)
        return;
    v->generation++;
    *generation = v->generation;
    if (st.st_mtim.tv_sec >= v->time.tv_sec)
        v->time = st.st_mtim;
    f->h.generation = v->generation;
    f->h.time = v->time;
    p->write_store = true;
}

static int begin_all(struct opening *p, const struct json *disks, const struct backing_name *names,
                     char (*files)[OVL_NAME], struct fault *fault)
{
    struct overlay *v = p->v;
    const struct json *d = disks->child;
    for (size_t i = 0; i < v->n; i++)
        if (v->members[i].f && v->members[i].f->h.generation > v->generation) {
            v->generation = v->members[i].f->h.generation;
            v->time = v->members[i].f->h.time;
        }
    int r = 0;
    for (size_t i = 0; !r && i < v->n; i++, d = d->next) {
        struct overlay_file *f = v->members[i].f;
        uint64_t l1 = 0, g = 0;
        if (!f)
            continue;
        r = reconcile(p, i, d, &l1, &g, fault);
        if (!r)
            notice_foreign_writes(p, i, &g);
        struct ovl_file_options fo = file_options(p, i, files[i], &names[i]);
        if (!r)
            r = ovl_file_begin(f, l1, g, v->time, &fo, fault);
    }
    return r;
}

static int open_old_file(struct opening *p, size_t i, const char *name, const struct ovl_file_options *fo,
                         struct fault *fault)
{
    struct overlay *v = p->v;
    _cleanup_close_ int fd = openat(v->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fault_in(fault, -errno, v->dir, "its %s can't be opened: %s", name, strerror(errno));
    if (ovl_lock_image(fd) < 0)
        return fault_in(fault, -EBUSY, v->dir, "its %s is in use by another program, as QEMU's locks say",
                        name);
    return open_member(p, i, &fd, fo, fault);
}

/* ---- both ---- */

static int open_files(struct opening *p, const struct json *disks, const struct backing_name *names,
                      char (*files)[OVL_NAME], struct fault *fault)
{
    struct overlay *v = p->v;
    const struct json *d = disks->child;
    int r = 0;
    for (size_t i = 0; !r && i < v->n; i++, d = d->next) {
        if (!p->sources[i].image)
            continue;
        r = check_source(p, i, json_member(d, "source"), fault);
        struct ovl_file_options fo = file_options(p, i, files[i], &names[i]);
        if (!r)
            r = open_old_file(p, i, files[i], &fo, fault);
    }
    return r;
}

/* The files, and the commit.json that makes an overlay of them. */
static int create_all(struct opening *p, const struct backing_name *names, char (*files)[OVL_NAME],
                      struct fault *fault)
{
    struct overlay *v = p->v;
    int r = 0;
    for (size_t i = 0; !r && i < v->n; i++) {
        if (!p->sources[i].image)
            continue;
        struct ovl_file_options fo = file_options(p, i, files[i], &names[i]);
        r = create_file(p, i, files[i], &fo, fault);
        if (!r)
            r = open_old_file(p, i, files[i], &fo, fault);
    }
    if (!r && v->io->fsync(v->dir_fd) < 0) /* commit.json must not be there without them */
        r = fault_in(fault, -errno, v->dir, "can't be written: %s", strerror(errno));
    bool unknown;
    int e = r ? 0 : ovl_store_write(v, 0, (struct timespec){ 0 }, &unknown);
    if (e < 0)
        return fault_in(fault, e, v->dir, "commit.json can't be written: %s", strerror(-e));
    for (size_t i = 0; !r && i < v->n; i++) {
        struct ovl_file_options fo = file_options(p, i, files[i], &names[i]);
        if (v->members[i].f)
            r = ovl_file_begin(v->members[i].f, 0, 0, (struct timespec){ 0 }, &fo, fault);
    }
    return r;
}

static int open_all(struct opening *p, struct fault *fault)
{
    struct overlay *v = p->v;
    _cleanup_free_ struct backing_name *names = calloc(v->n, sizeof *names);
    _cleanup_free_ char(*files)[OVL_NAME] = calloc(v->n, sizeof *files);
    if (!names || !files)
        return no_memory(v, fault);
    for (size_t i = 0; i < v->n; i++) {
        ovl_member_name(i, files[i]);
        name_backing(&p->sources[i], &names[i]);
    }
    _cleanup_(json_freep) struct json *store = NULL;
    int r = ovl_store_read(v, &store, fault);
    if (r == -ENOENT)
        return create_all(p, names, files, fault);
    const struct json *disks = json_member(store, "disks");
    if (!r)
        r = same_disks(p, disks, fault);
    if (!r)
        r = open_files(p, disks, names, files, fault);
    if (!r)
        r = begin_all(p, disks, names, files, fault);
    if (!r && p->write_store) {
        bool unknown;
        r = ovl_store_write(v, v->generation, v->time, &unknown);
        if (r < 0)
            return fault_in(fault, r, v->dir, "commit.json can't be written: %s", strerror(-r));
    }
    return r;
}

static int open_directory(struct overlay *v, struct fault *fault)
{
    if (mkdir(v->dir, 0700) < 0 && errno != EEXIST)
        return fault_in(fault, -errno, v->dir, "can't be made: %s", strerror(errno));
    v->dir_fd = open(v->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return v->dir_fd < 0 ? fault_in(fault, -errno, v->dir, "can't be opened: %s", strerror(errno)) : 0;
}

/* Files of the overlay are opened by their names in its directory; people need to know which. */
static void name_directory(const struct overlay *v, struct fault *fault)
{
    char name[OVL_NAME], whole[sizeof fault->file];
    for (size_t i = 0; fault && i < v->n; i++) {
        ovl_member_name(i, name);
        if (strcmp(fault->file, name) != 0)
            continue;
        snprintf(whole, sizeof whole, "%.700s/%s", v->dir, name);
        memcpy(fault->file, whole, sizeof whole);
        return;
    }
}

int overlay_open(const struct overlay_options *o, const struct overlay_source *sources, size_t n,
                 struct overlay **ret, struct fault *fault)
{
    if (n > OVL_MAX_DISKS)
        return fault_in(fault, -EFBIG, "", "more than %d disks can't have an overlay", OVL_MAX_DISKS);
    struct overlay *v = calloc(1, sizeof *v);
    if (!v)
        return fault_in(fault, -ENOMEM, "", "out of memory");
    pthread_mutex_init(&v->when, NULL);
    v->io = o->io ? o->io : &overlay_io_system;
    v->dir_fd = v->lock.fd = -1;
    v->n = n;
    v->members = calloc(n + 1, sizeof *v->members);
    v->dir = o->dir ? strdup(o->dir) : NULL;
    int r = v->members && (v->dir || !o->dir) ? 0 : fault_in(fault, -ENOMEM, "", "out of memory");
    struct opening p = { .o = o, .sources = sources, .v = v };
    p.n_slots = n ? max_u64(SLOTS_MIN, SLOTS / n) : SLOTS;
    if (!r && !v->dir)
        r = open_scratch(&p, fault);
    if (!r && v->dir)
        r = open_directory(v, fault);
    if (!r && v->dir)
        r = ovl_lock_take(v->dir_fd, v->dir, o, &v->lock, fault);
    if (!r && v->dir)
        r = open_all(&p, fault);
    if (r < 0 && v->dir)
        name_directory(v, fault);
    if (!r && v->dir)
        ovl_files_sweep(v);
    if (r < 0) {
        overlay_close(v);
        return r;
    }
    for (size_t i = 0; !v->generation && i < n; i++)
        if (sources[i].mtime.tv_sec > v->time.tv_sec)
            v->time.tv_sec = sources[i].mtime.tv_sec;
    *ret = v;
    return 0;
}
