/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libfuse's low-level API on one side, the trees' tables on the other; nothing else lives here.
 *
 * The source never changes while it is mounted, so entries, attributes and pages may stay in the kernel's
 * cache for as long as it likes; with an overlay only those that nothing but the kernel's own requests
 * change. Data is answered from a buffer of the thread's own, by one writev: splicing was measured to cost
 * twice as much. */
#define FUSE_USE_VERSION 312
#include "session.h"

#include "../formats/cleanup.h"
#include "caller.h"
#include "direct-mmap.h"
#include "reader.h"
#include "session-ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

enum { MAX_READ = 1 << 20, FOREVER = 86400 };

/* Seconds for which the kernel keeps the name of a directory that `tells`: a script that edits many values of
 * one key asks for the way to it once, and access(2), which is not asked of us, is wrong no longer than this.
 */
static const double a_moment = TREE_MOMENT_MS / 1000.0;

struct session {
    struct ferry *ferry;
    struct fuse_session *fuse;
    void (*answering)(void *ctx);
    void *ctx;
    struct direct_mmap mmap;
    /* The kernel drops the RELEASE requests that still wait when the mount ends, so that some files are never
     * closed: those of this list are, at the end. */
    struct handle *handles;
    pthread_mutex_t handles_lock; /* protects the list; no other lock is taken under it */
};

struct ferry *session_ferry(fuse_req_t req)
{
    return ((struct session *)fuse_req_userdata(req))->ferry;
}

struct node *session_node(struct ferry *f, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? node_root(f->nodes) : (struct node *)(uintptr_t)ino;
}

static fuse_ino_t ino_of(struct ferry *f, struct node *n)
{
    return n == node_root(f->nodes) ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

/* Our classes of errors (fault.h) as a file system would say them. */
static int fuse_error(int r)
{
    switch (-r) {
    case EUCLEAN:
    case EFBIG:
    case EMEDIUMTYPE:
        return EIO;
    default:
        return -r;
    }
}

void session_error(fuse_req_t req, int r)
{
    fuse_reply_err(req, fuse_error(r));
}

/* ---- init ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct session *s = userdata;
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    conn->want |= conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                                   FUSE_CAP_ASYNC_DIO);
    /* Who lists a directory here, asks for its files' attributes next (find, cp, rsync, tar): one request for
     * a page of them instead of one for each. The kernel's guess asks for one page only. */
    conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
    /* setuid bits are the guest's affair: the kernel asks for their removal by setattr */
    conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
    /* the umask doesn't count where a directory has a default ACL: new_of() in session-write.c */
    conn->want |= conn->capable & FUSE_CAP_DONT_MASK;
    /* Permissions are those of the guest, whose ACLs count too: a group that an ACL keeps out would get in by
     * the group's bits of the mode, which are the ACL's mask. */
    if (s->ferry->options->allow_other)
        conn->want |= conn->capable & FUSE_CAP_POSIX_ACL;
    conn->max_read = MAX_READ;
    conn->max_readahead = MAX_READ;
    conn->max_background = 64;
    if (s->answering)
        s->answering(s->ctx);
}

/* ---- entries ---- */

double session_timeout(const struct ferry *f, const struct tree_ops *ops)
{
    return f->overlay && ops->fresh ? 0 : FOREVER;
}

int session_entry(struct ferry *f, struct node *dir, const struct node_id *id, struct fuse_entry_param *ret)
{
    struct node *n = node_get(f->nodes, id, dir, id->ops->keep_parent);
    if (!n)
        return -ENOMEM;
    double timeout = session_timeout(f, id->ops);
    *ret =
        (struct fuse_entry_param){ .ino = ino_of(f, n), .attr_timeout = timeout, .entry_timeout = timeout };
    if (!timeout && id->ops->tells)
        ret->entry_timeout = a_moment;
    /* A damaged file system can have one directory in two places. The kernel would move it between them, and
     * links that are right in the one place would lead out of the tree in the other. */
    int (*attr)(struct ferry *, const struct node *, struct stat *) =
        id->ops->entry ? id->ops->entry : id->ops->getattr;
    int r = id->ops->keep_parent && n->parent != dir ? -EUCLEAN : attr(f, n, &ret->attr);
    if (r < 0)
        node_forget(f->nodes, n, 1);
    if (r > 0)
        ret->attr_timeout = 0;
    return r < 0 ? r : 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ferry *f = session_ferry(req);
    struct node *dir = session_node(f, parent);
    struct node_id id;
    struct fuse_entry_param e;
    if (!dir->id.ops->lookup) {
        fuse_reply_err(req, ENOTDIR);
        return;
    }
    int r = dir->id.ops->lookup(f, dir, name, &id);
    if (!r && id.ops->frozen)
        r = ferry_commit(f); /* the answer has the attributes */
    if (!r)
        r = session_entry(f, dir, &id, &e);
    if (r < 0)
        session_error(req, r);
    else if (fuse_reply_entry(req, &e) < 0)
        node_forget(f->nodes, session_node(f, e.ino), 1);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    struct ferry *f = session_ferry(req);
    node_forget(f->nodes, session_node(f, ino), n);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct ferry *f = session_ferry(req);
    for (size_t i = 0; i < count; i++)
        node_forget(f->nodes, session_node(f, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    struct stat st;
    int r = n->id.ops->frozen ? ferry_commit(f) : 0;
    if (!r)
        r = n->id.ops->getattr(f, n, &st);
    if (r < 0)
        session_error(req, r);
    else
        fuse_reply_attr(req, &st, session_timeout(f, n->id.ops));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    char target[4097];
    int r = n->id.ops->readlink ? n->id.ops->readlink(f, n, target, sizeof target) : -EINVAL;
    if (r < 0)
        session_error(req, r);
    else
        fuse_reply_readlink(req, target);
}

/* ---- files ---- */

static struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

static void add_handle(struct session *s, struct handle *h)
{
    pthread_mutex_lock(&s->handles_lock);
    h->next = s->handles;
    h->link = &s->handles;
    if (h->next)
        h->next->link = &h->next;
    s->handles = h;
    pthread_mutex_unlock(&s->handles_lock);
}

static void close_handle(struct session *s, struct handle *h)
{
    pthread_mutex_lock(&s->handles_lock);
    *h->link = h->next;
    if (h->next)
        h->next->link = h->link;
    pthread_mutex_unlock(&s->handles_lock);
    bool held = h->holds;
    h->ops->release(s->ferry, h);
    if (held)
        ferry_thaw(s->ferry);
}

int session_open(struct ferry *f, struct node *n, int flags, struct handle **ret)
{
    uint64_t edits = 0;
    bool freeze = f->overlay && n->id.ops->frozen;
    int r = freeze ? ferry_freeze(f, &edits) : 0;
    if (r < 0)
        return r;
    r = n->id.ops->open(f, n, flags, ret);
    if (freeze && r < 0)
        ferry_thaw(f);
    if (freeze && !r)
        (*ret)->holds = true;
    return r;
}

static void fill_open(fuse_req_t req, struct fuse_file_info *fi, struct handle *h)
{
    struct session *s = fuse_req_userdata(req);
    fi->fh = (uint64_t)(uintptr_t)h;
    if (h->direct && h->ops->either && reader_skips_holes(fuse_req_ctx(req)->pid) &&
        h->ops->either(s->ferry, h))
        h->direct = false;
    fi->direct_io = h->direct;
    fi->keep_cache = h->keep_cache;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 11)
    fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY; /* closing it changes nothing: one request less */
#endif
    add_handle(s, h);
}

static void reply_open(fuse_req_t req, struct fuse_file_info *fi, int r, struct handle *h)
{
    if (r < 0) {
        session_error(req, r);
        return;
    }
    struct session *s = fuse_req_userdata(req);
    fill_open(req, fi, h);
    if (fuse_reply_open(req, fi) < 0)
        close_handle(s, h);
}

void session_reply_create(fuse_req_t req, struct fuse_entry_param *e, struct fuse_file_info *fi,
                          struct handle *h)
{
    struct session *s = fuse_req_userdata(req);
    fill_open(req, fi, h);
    if (fuse_reply_create(req, e, fi) < 0) {
        close_handle(s, h);
        node_forget(s->ferry->nodes, session_node(s->ferry, e->ino), 1);
    }
}

struct later_open {
    struct tree_later later;
    fuse_req_t req;
    struct fuse_file_info fi;
};

static void later_done(struct tree_later *l, int r, struct handle *h)
{
    struct later_open *o = (struct later_open *)(void *)l;
    reply_open(o->req, &o->fi, r, h);
    free(o);
}

static bool later_given_up(struct tree_later *l)
{
    return fuse_req_interrupted(((struct later_open *)(void *)l)->req);
}

static void open_later(fuse_req_t req, struct node *n, struct fuse_file_info *fi)
{
    struct later_open *o = malloc(sizeof *o);
    if (!o) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    *o = (struct later_open){ { later_done, later_given_up }, req, *fi };
    n->id.ops->open_later(session_ferry(req), n, &o->later);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    struct handle *h = NULL;
    if (((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC) && !(f->overlay && n->id.ops->write)) {
        fuse_reply_err(req, EROFS);
        return;
    }
    if (n->id.ops->open_later) {
        open_later(req, n, fi);
        return;
    }
    int r = n->id.ops->open ? 0 : -ENXIO;
    if (!r && fi->flags & O_TRUNC)
        r = session_leave(req, n);
    if (!r)
        r = session_open(f, n, fi->flags, &h);
    reply_open(req, fi, r, h);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    close_handle(fuse_req_userdata(req), handle_of(fi));
    fuse_reply_err(req, 0);
}

static __thread char *read_buffer;
static pthread_key_t read_buffer_key;

static char *read_buffer_get(void)
{
    if (!read_buffer && posix_memalign((void **)&read_buffer, 4096, MAX_READ) == 0)
        pthread_setspecific(read_buffer_key, read_buffer);
    return read_buffer;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    struct handle *h = handle_of(fi);
    struct loan loan;
    size_t n = size < MAX_READ ? size : MAX_READ;
    if (h->ops->lend && h->ops->lend(session_ferry(req), h, n, (uint64_t)off, &loan)) {
        fuse_reply_iov(req, loan.part, (int)loan.n);
        if (loan.done)
            loan.done(&loan);
        return;
    }
    char *buf = read_buffer_get();
    int r = buf ? h->ops->read(session_ferry(req), h, buf, n, (uint64_t)off, &n) : -ENOMEM;
    if (r < 0)
        session_error(req, r);
    else
        fuse_reply_buf(req, buf, n);
}

enum {
    SEEK_STEPS = 64, /* a map joins what is of one kind, so there are seldom more than two */
    SEEK_EFFORT = DISK_JOIN_MAX / 4,
};

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct handle *h = handle_of(fi);
    struct node *n = session_node(f, ino);
    struct stat st;
    int r = n->id.ops->getattr(f, n, &st);
    if (!r && (off < 0 || off >= st.st_size))
        r = -ENXIO;
    uint64_t at = (uint64_t)off;
    enum extent_kind want = whence == SEEK_DATA ? EXTENT_DATA : EXTENT_HOLE;
    for (uint64_t steps = 0; !r && at < (uint64_t)st.st_size; steps++) {
        struct extent e = { .length = UINT64_MAX - at, .kind = EXTENT_DATA };
        if (steps >= SEEK_STEPS) { /* enough: zeros may be called data */
            at = want == EXTENT_DATA ? at : (uint64_t)st.st_size;
            break;
        }
        if (h->ops->map)
            r = h->ops->map(f, h, at, &e);
        if (!r && !e.length)
            r = -EIO;
        if (r || (e.kind == EXTENT_DATA) == (want == EXTENT_DATA))
            break;
        steps += e.effort / SEEK_EFFORT;
        at = e.length < (uint64_t)st.st_size - at ? at + e.length : (uint64_t)st.st_size;
    }
    if (!r && at >= (uint64_t)st.st_size) { /* the end is a hole, and no data comes any more */
        at = (uint64_t)st.st_size;
        r = want == EXTENT_DATA ? -ENXIO : 0;
    }
    if (r < 0)
        session_error(req, r);
    else
        fuse_reply_lseek(req, (off_t)at);
}

/* ---- any ---- */

static void reply_xattr(fuse_req_t req, int r, const char *buf, size_t size, size_t n)
{
    if (r < 0)
        session_error(req, r);
    else if (!size)
        fuse_reply_xattr(req, n);
    else
        fuse_reply_buf(req, buf, n);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    size_t len = 0;
    _cleanup_free_ char *buf = size ? malloc(size) : NULL;
    int r = size && !buf ? -ENOMEM : -ENODATA;
    if (r != -ENOMEM && n->id.ops->getxattr)
        r = n->id.ops->getxattr(f, n, name, buf, size, &len);
    reply_xattr(req, r, buf, size, len);
}

/* All of them, since what the caller sees of them is known only then; most fit at once. -ERANGE when one
 * comes in between: who lists asks again. */
static int list_xattrs(struct ferry *f, const struct node *n, char **ret, size_t *ret_len)
{
    enum { MOST = 512 };
    if (!n->id.ops->listxattr)
        return 0;
    _cleanup_free_ char *buf = malloc(MOST);
    int r = buf ? n->id.ops->listxattr(f, n, buf, MOST, ret_len) : -ENOMEM;
    if (r == -ERANGE && (r = n->id.ops->listxattr(f, n, NULL, 0, ret_len)) == 0) {
        free(buf);
        buf = malloc(*ret_len + 1);
        r = buf ? n->id.ops->listxattr(f, n, buf, *ret_len + 1, ret_len) : -ENOMEM;
    }
    if (r == 0)
        *ret = TAKE_PTR(buf);
    return r;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    _cleanup_free_ char *buf = NULL;
    size_t len = 0;
    int r = list_xattrs(f, n, &buf, &len);
    if (!r)
        len = caller_sees(req, buf, len);
    if (!r && size && len > size)
        r = -ERANGE;
    reply_xattr(req, r, buf ? buf : "", size, len);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    struct statvfs st = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = NAME_MAX };
    int r = 0;
    if (n->id.ops->statfs)
        r = n->id.ops->statfs(f, n, &st);
    else
        for (size_t i = 0; i < f->vm->n_disks; i++)
            st.f_blocks += f->vm->disks[i].image ? f->vm->disks[i].image->disk->size / 4096 : 0;
    if (r < 0)
        session_error(req, r);
    else
        fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops session_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .readlink = op_readlink,
    .opendir = session_opendir,
    .readdir = session_readdir,
    .readdirplus = session_readdirplus,
    .open = op_open,
    .read = op_read,
    .release = op_release,
    .lseek = op_lseek,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .statfs = op_statfs,
    .mknod = session_mknod,
    .mkdir = session_mkdir,
    .symlink = session_symlink,
    .create = session_create,
    .link = session_link,
    .unlink = session_unlink,
    .rmdir = session_rmdir,
    .rename = session_rename,
    .setattr = session_setattr,
    .setxattr = session_setxattr,
    .removexattr = session_removexattr,
    .write = session_write,
    .fallocate = session_fallocate,
    .flush = session_flush,
    .fsync = session_fsync,
    .fsyncdir = session_fsyncdir,
};

/* ---- mounting ---- */

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 13)
static ssize_t wire_read(int fd, void *buf, size_t len, void *userdata)
{
    ssize_t n = read(fd, buf, len);
    if (n > 0)
        direct_mmap_request(&((struct session *)userdata)->mmap, buf, (size_t)n);
    return n;
}

static ssize_t wire_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    direct_mmap_answer(&((struct session *)userdata)->mmap, iov, count);
    return writev(fd, iov, count);
}

static void allow_shared_mappings(struct session *s)
{
    static const struct fuse_custom_io io = { .read = wire_read, .writev = wire_writev };
    fuse_session_custom_io(s->fuse, &io, fuse_session_fd(s->fuse)); /* without it, only they don't work */
}
#else
static void allow_shared_mappings(struct session *s)
{
    (void)s; /* with an older libfuse they need -o cached */
}
#endif

/* Commas and backslashes of a source's name would end the option. */
static void escape(const char *name, char *ret, size_t size)
{
    size_t n = 0;
    for (; *name && n + 3 < size; name++) {
        if (*name == ',' || *name == '\\')
            ret[n++] = '\\';
        ret[n++] = *name;
    }
    ret[n] = 0;
}

/* What libfuse has to say: while it mounts, the last line is kept for our own message; later it goes to
 * syslog, or to the terminal of a daemon that stays in the foreground. One mount a process, so these are the
 * process's. */
static char fuse_said[1024];
static enum { LOG_KEEP, LOG_TERMINAL, LOG_SYSTEM } fuse_log_to;

static void take_fuse_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
    char line[1024];
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    if (fuse_log_to == LOG_SYSTEM)
        syslog((int)level, "%s", line);
    else if (fuse_log_to == LOG_TERMINAL || level == FUSE_LOG_DEBUG)
        fprintf(stderr, "ferryfs: %s\n", line);
    else
        snprintf(fuse_said, sizeof fuse_said, "%s", !strncmp(line, "fuse: ", 6) ? line + 6 : line);
}

/* fusermount3 has no other way to say why it can't mount than stderr: listened to, where libfuse said
 * nothing. */
struct said {
    int memory, stderr_was;
};

static void said_begin(struct said *s)
{
    s->stderr_was = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    s->memory = s->stderr_was < 0 ? -1 : memfd_create("said", MFD_CLOEXEC);
    if (s->memory >= 0)
        dup2(s->memory, STDERR_FILENO);
}

static void said_end(struct said *s)
{
    char text[sizeof fuse_said];
    ssize_t n = s->memory < 0 ? 0 : pread(s->memory, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = 0;
    text[strcspn(text, "\n")] = 0;
    if (!fuse_said[0])
        memcpy(fuse_said, text, sizeof text);
    if (s->memory >= 0) {
        dup2(s->stderr_was, STDERR_FILENO);
        close(s->memory);
    }
    if (s->stderr_was >= 0)
        close(s->stderr_was);
}

static bool session_ended(void *ctx)
{
    return fuse_session_exited(((struct session *)ctx)->fuse);
}

static int mount_failed(struct session *s, int r, const char *mountpoint, struct fault *fault)
{
    session_free(s);
    if (fuse_said[0])
        return fault_in(fault, r, mountpoint, "mounting failed: %s", fuse_said);
    return fault_in(fault, r, mountpoint, "mounting failed");
}

int session_mount(struct ferry *f, const char *mountpoint, struct session **ret, struct fault *fault)
{
    const struct options *o = f->options;
    char source[1024], words[1400];
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return fault_in(fault, -ENOMEM, mountpoint, "out of memory");
    s->ferry = f;
    fuse_set_log_func(take_fuse_log);
    pthread_mutex_init(&s->handles_lock, NULL);
    escape(o->sources[0], source, sizeof source);
    snprintf(words, sizeof words, "%s,nosuid,nodev,noatime,subtype=ferryfs,max_read=%d%s,fsname=%s",
             f->overlay ? "rw" : "ro", MAX_READ, o->allow_other ? ",allow_other,default_permissions" : "",
             source);
    char *argv[] = { "ferryfs", "-o", words, o->debug ? "-d" : NULL, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(o->debug ? 4 : 3, argv);
    s->fuse = fuse_session_new(&args, &session_ops, sizeof session_ops, s);
    fuse_opt_free_args(&args);
    if (!s->fuse || pthread_key_create(&read_buffer_key, free))
        return mount_failed(s, -ENOMEM, mountpoint, fault);
    /* Before the mount: a signal that comes right after it must not leave a mount without a daemon behind. */
    int r = fuse_set_signal_handlers(s->fuse);
    if (r)
        return mount_failed(s, -EIO, mountpoint, fault);
    struct said said;
    said_begin(&said);
    r = fuse_session_mount(s->fuse, mountpoint);
    said_end(&said);
    if (r) {
        fuse_remove_signal_handlers(s->fuse);
        return mount_failed(s, -EIO, mountpoint, fault);
    }
    fuse_log_to = o->foreground ? LOG_TERMINAL : LOG_SYSTEM;
    allow_shared_mappings(s);
    f->ended = session_ended;
    f->ended_ctx = s;
    *ret = s;
    return 0;
}

static int session_loop(struct session *s)
{
    const struct options *o = s->ferry->options;
    if (o->single_threaded)
        return fuse_session_loop(s->fuse);
    unsigned threads = o->threads ? o->threads + 2 : 10;
    if (s->ferry->overlay) /* writers that wait for a view to be closed mustn't keep its reader waiting */
        threads += 24;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 12)
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, threads);
    fuse_loop_cfg_set_idle_threads(config, threads);
    int r = fuse_session_loop_mt(s->fuse, config);
    fuse_loop_cfg_destroy(config);
    return r;
#else
    struct fuse_loop_config config = { .clone_fd = 0, .max_idle_threads = threads };
    return fuse_session_loop_mt(s->fuse, &config);
#endif
}

int session_run(struct session *s, void (*answering)(void *ctx), void *ctx)
{
    s->answering = answering;
    s->ctx = ctx;
    int r = ferry_edits_start(s->ferry);
    if (r < 0)
        return r;
    r = session_loop(s);
    ferry_stop(s->ferry); /* while what it answers can still be answered */
    fuse_session_unmount(s->fuse);
    fuse_remove_signal_handlers(s->fuse);
    return r < 0 ? r : 0; /* a positive number is the signal that stopped us: an orderly end */
}

void session_free(struct session *s)
{
    if (!s)
        return;
    while (s->handles)
        close_handle(s, s->handles);
    s->ferry->ended = NULL;
    if (s->fuse)
        fuse_session_destroy(s->fuse);
    pthread_mutex_destroy(&s->handles_lock);
    free(s);
}
