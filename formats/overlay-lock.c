/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who has the overlay: DIR/lock, locked by the kernel for as long as the daemon lives, so a killed one leaves
 * nothing behind. Its text says who that is, for people and for the next mount:
 *
 *     pid 4711
 *     state mounted
 *     mountpoint /mnt/web01
 *
 * A daemon is finishing when it says so, or when nothing is mounted at its mount point: fusermount3 -u
 * returns before the daemon has learned of it. */
#include "overlay-impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 8192 };

/* ---- whose is it? ---- */

/* The value of a line "KEY VALUE"; ends in NUL instead of the newline. */
static char *line_of(char *text, const char *key)
{
    size_t n = strlen(key);
    for (char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
        if (!strncmp(p, key, n) && p[n] == ' ') {
            p[n + 1 + strcspn(p + n + 1, "\n")] = 0;
            return p + n + 1;
        }
    return NULL;
}

/* mountinfo has blanks and the like as \040. */
static bool mountinfo_is(const char *field, size_t n, const char *path)
{
    size_t i = 0;
    for (; i < n && *path; path++) {
        char c = field[i];
        if (c == '\\' && i + 3 < n + 0) {
            c = (char)((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0'));
            i += 3;
        }
        if (c != *path)
            return false;
        i++;
    }
    return i == n && !*path;
}

/* Is a FUSE file system mounted there? True when that can't be told. */
static bool is_mounted(const char *path)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f)
        return true;
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (!found && getline(&line, &room, f) > 0) {
        const char *p = line, *type = strstr(line, " - fuse");
        for (int i = 0; i < 4 && p; i++) /* id, parent, device, root */
            p = (p = strchr(p, ' ')) ? p + 1 : NULL;
        found = type && p && mountinfo_is(p, strcspn(p, " "), path);
    }
    free(line);
    fclose(f);
    return found;
}

struct holder {
    char text[TEXT_MAX];
    const char *mountpoint, *pid;
    bool finishing;
};

static void read_holder(int fd, struct holder *h)
{
    ssize_t n = pread(fd, h->text, sizeof h->text - 1, 0);
    h->text[n > 0 ? n : 0] = 0;
    char copy[TEXT_MAX]; /* each look-up puts a NUL into the text */
    memcpy(copy, h->text, sizeof copy);
    const char *state = line_of(copy, "state");
    h->finishing = !state || !strcmp(state, "finishing");
    h->mountpoint = line_of(h->text, "mountpoint");
    h->pid = line_of(h->text, "pid");
    if (!h->mountpoint || !is_mounted(h->mountpoint))
        h->finishing = true;
}

/* ---- taking it ---- */

static int try_lock(int fd, short type, off_t start, off_t len)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
    if (fcntl(fd, F_OFD_SETLK, &l) == 0)
        return 0;
    return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

static int refuse(const char *dir, const struct holder *h, unsigned waited, struct fault *fault)
{
    if (!h->finishing)
        return fault_in(fault, -EBUSY, dir, "the overlay is in use: it is mounted at \"%s\"", h->mountpoint);
    return fault_in(fault, -EBUSY, dir,
                    "the overlay is in use: process %s, which was at \"%s\", hasn't finished in %u s",
                    h->pid ? h->pid : "(unknown)", h->mountpoint ? h->mountpoint : "", waited);
}

int ovl_lock_take(int dir_fd, const char *dir, const struct overlay_options *o, struct ovl_lock *ret,
                  struct fault *fault)
{
    enum { POLLS_PER_SECOND = 20 };
    _cleanup_close_ int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fault_in(fault, -errno, dir, "the overlay's lock can't be opened: %s", strerror(errno));
    for (unsigned polls = 0;; polls++) {
        int r = try_lock(fd, F_WRLCK, 0, 0);
        if (!r)
            break;
        if (r != -EBUSY)
            return fault_in(fault, r, dir, "the overlay can't be locked: %s", strerror(-r));
        struct holder h;
        read_holder(fd, &h);
        if (!h.finishing || polls >= o->wait_seconds * POLLS_PER_SECOND)
            return refuse(dir, &h, o->wait_seconds, fault);
        nanosleep(&(struct timespec){ .tv_nsec = 1000000000 / POLLS_PER_SECOND }, NULL);
    }
    *ret = (struct ovl_lock){ .fd = -1, .mountpoint = strdup(o->mountpoint ? o->mountpoint : "") };
    if (!ret->mountpoint)
        return fault_in(fault, -ENOMEM, dir, "out of memory");
    ret->fd = fd;
    fd = -1;
    ovl_lock_update(ret, false);
    return 0;
}

void ovl_lock_update(struct ovl_lock *l, bool finishing)
{
    if (l->fd < 0 || (l->pid == getpid() && l->finishing == finishing))
        return;
    l->pid = getpid();
    l->finishing = finishing;
    char text[TEXT_MAX];
    int n = snprintf(text, sizeof text, "pid %ld\nstate %s\nmountpoint %s\n", (long)l->pid,
                     finishing ? "finishing" : "mounted", l->mountpoint);
    /* only a courtesy: the lock itself is the kernel's */
    if (n > 0 && (size_t)n < sizeof text && pwrite(l->fd, text, (size_t)n, 0) == n && ftruncate(l->fd, n) < 0)
        l->pid = 0;
}

void ovl_lock_give(struct ovl_lock *l)
{
    if (l->fd >= 0)
        close(l->fd);
    free(l->mountpoint);
    *l = (struct ovl_lock){ .fd = -1 };
}

/* QEMU's image locks: byte 100 + p says that somebody does p, byte 200 + p that he lets nobody else do it;
 * p: 0 reads, 1 writes, 3 resizes. So qemu-img -U may look while we are at work, and nobody may write. */
int ovl_lock_image(int fd)
{
    enum { DOES = 100, LETS_NOBODY = 200, READ = 0, WRITE = 1, RESIZE = 3 };
    static const off_t mine[] = { DOES + READ, DOES + WRITE, DOES + RESIZE, LETS_NOBODY + WRITE,
                                  LETS_NOBODY + RESIZE };
    static const off_t others[] = { DOES + WRITE, DOES + RESIZE, LETS_NOBODY + READ, LETS_NOBODY + WRITE,
                                    LETS_NOBODY + RESIZE };
    for (size_t i = 0; i < sizeof mine / sizeof mine[0]; i++) {
        int r = try_lock(fd, F_RDLCK, mine[i], 1);
        if (r < 0 && r != -EBUSY)
            return 0; /* no locks here, so none of QEMU's either */
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = others[i], .l_len = 1 };
        if (fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK)
            return -EBUSY;
    }
    return 0;
}
