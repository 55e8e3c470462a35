/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o drivers=: a virtio-win ISO, or any tree of packages. libarchive reads both alike, in two passes: the
 * first looks at every INF and keeps the best for each device, the second takes the files of those packages.
 *
 * An ISO has the same drivers many times over, in directories by the version of Windows. Which is taken is
 * decided by what the INFs say: it must fit the guest; then the one whose decoration is for the latest
 * Windows wins, then the newer DriverVer; only between equals the directory's name has a say. */
#include "drivers.h"

#include "changes.h"
#include "ferry.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_FILES = 200000,
    MAX_PACKAGE = 256 << 20, /* bytes */
    MAX_PACKAGE_FILES = 4096,
    BLOCK = 64 << 10,
};

/* A device of a KVM machine, transitional or modern, by how its ids begin. */
static const struct {
    const char *what;
    const char *ids[2];
} devices[] = {
    { "virtio-scsi", { "PCI\\VEN_1AF4&DEV_1004", "PCI\\VEN_1AF4&DEV_1048" } },
    { "virtio-blk", { "PCI\\VEN_1AF4&DEV_1001", "PCI\\VEN_1AF4&DEV_1042" } },
    { "virtio-net", { "PCI\\VEN_1AF4&DEV_1000", "PCI\\VEN_1AF4&DEV_1041" } },
    { "virtio-balloon", { "PCI\\VEN_1AF4&DEV_1002", "PCI\\VEN_1AF4&DEV_1045" } },
};
enum { N_DEVICES = sizeof devices / sizeof devices[0] };

struct choice {
    bool installed; /* the guest has a package for it */
    char *path;     /* owned: of the best INF; NULL: none */
    uint64_t rank, date, version;
    bool named; /* its directory has this Windows' name */
};

struct store {
    struct ferry *f;
    struct changes *c;
    struct driver_guest g;
    struct choice choices[N_DEVICES];
    const char *names[1]; /* of this Windows, as directories have it */
};

static bool begins(const char *id, const char *with)
{
    size_t n = strlen(with);
    return !strncasecmp(id, with, n) && (!id[n] || id[n] == '&');
}

static bool serves(const struct driver_plan *plan, size_t device)
{
    for (size_t i = 0; i < plan->n_models; i++) {
        const struct driver_model *m = &plan->models[i];
        for (unsigned k = 0; k <= m->n_compatible; k++) {
            const char *id = k ? m->compatible[k - 1].text : m->hardware_id;
            if (begins(id, devices[device].ids[0]) || begins(id, devices[device].ids[1]))
                return true;
        }
    }
    return false;
}

/* ---- what the guest has ---- */

static int note_installed(void *ctx, unsigned oem)
{
    struct store *s = ctx;
    struct inf *inf;
    struct driver_plan *plan;
    driver_installed(changes_prepare(s->c), &s->g, oem, &inf, &plan, NULL);
    for (size_t i = 0; plan && i < N_DEVICES; i++)
        s->choices[i].installed |= serves(plan, i);
    driver_plan_free(plan);
    inf_free(inf);
    return 0;
}

/* How virtio-win calls this Windows; the first is the closest. */
static void name_windows(struct store *s)
{
    const struct driver_target *t = &s->g.target;
    bool server = t->product != DRIVER_WORKSTATION;
    if (t->major >= 10 && server)
        s->names[0] = t->build >= 26100   ? "2k25"
                      : t->build >= 20348 ? "2k22"
                      : t->build >= 17763 ? "2k19"
                                          : "2k16";
    else if (t->major >= 10)
        s->names[0] = t->build >= 22000 ? "w11" : "w10";
    else if (t->major == 6 && t->minor == 3)
        s->names[0] = server ? "2k12R2" : "w8.1";
    else if (t->major == 6 && t->minor == 2)
        s->names[0] = server ? "2k12" : "w8";
    else if (t->major == 6 && t->minor == 1)
        s->names[0] = server ? "2k8R2" : "w7";
    else
        s->names[0] = "2k8";
}

static bool is_named(const struct store *s, const char *path)
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (strlen(s->names[0]) == n && !strncasecmp(p, s->names[0], n))
            return true;
        p += n + (p[n] != 0);
    }
    return false;
}

/* ---- reading the store ---- */

/* Calls fn for each regular file, with its path below the store. fn may read its data. */
static int each_file(const struct store *s,
                     int (*fn)(void *ctx, struct archive *a, const char *path, int64_t size), void *ctx,
                     struct fault *fault)
{
    const char *path = s->f->drivers->store;
    struct stat st;
    if (stat(path, &st))
        return fault_in(fault, -errno, path, "%s", strerror(errno));
    bool dir = S_ISDIR(st.st_mode);
    struct archive *a = dir ? archive_read_disk_new() : archive_read_new();
    struct archive_entry *e = archive_entry_new();
    int r = a && e ? 0 : -ENOMEM, status = ARCHIVE_OK;
    if (!r && dir) {
        archive_read_disk_set_symlink_physical(a);
        status = archive_read_disk_open(a, path);
    } else if (!r) {
        archive_read_support_format_iso9660(a);
        status = archive_read_open_filename(a, path, BLOCK);
    }
    for (unsigned n = 0; !r && status >= ARCHIVE_WARN; n++) {
        status = archive_read_next_header2(a, e);
        if (status == ARCHIVE_EOF || status < ARCHIVE_WARN)
            break;
        if (dir)
            archive_read_disk_descend(a);
        const char *name = archive_entry_pathname(e);
        size_t skip = dir && name && !strncmp(name, path, strlen(path)) ? strlen(path) : 0;
        if (n == MAX_FILES)
            r = fault_in(fault, -EFBIG, path, "more than %u files", MAX_FILES);
        else if (name && archive_entry_filetype(e) == AE_IFREG)
            r = fn(ctx, a, name + skip + (name[skip] == '/'), archive_entry_size(e));
    }
    if (!r && status != ARCHIVE_EOF && status < ARCHIVE_WARN)
        r = fault_in(fault, -EIO, path, "the store of drivers can't be read: %s",
                     a && archive_error_string(a) ? archive_error_string(a) : "no tree of files or ISO");
    archive_entry_free(e);
    archive_read_free(a);
    return r;
}

/* A file whole; owned by the caller. */
static int read_whole(struct archive *a, int64_t size, size_t max, uint8_t **ret)
{
    size_t n = 0;
    if (size < 0 || (uint64_t)size > max)
        return -EFBIG;
    uint8_t *bytes = malloc((size_t)size + 1);
    if (!bytes)
        return -ENOMEM;
    while (n < (size_t)size) {
        la_ssize_t got = archive_read_data(a, bytes + n, (size_t)size - n);
        if (got <= 0) {
            free(bytes);
            return -EIO;
        }
        n += (size_t)got;
    }
    *ret = bytes;
    return 0;
}

/* ---- choosing ---- */

static bool better(const struct choice *a, const struct choice *than)
{
    if (!than->path || a->rank != than->rank)
        return !than->path || a->rank > than->rank;
    if (a->date != than->date)
        return a->date > than->date;
    if (a->version != than->version)
        return a->version > than->version;
    return a->named && !than->named;
}

static int consider(struct store *s, const char *path, const struct driver_plan *plan)
{
    struct choice own = { false, NULL, plan->rank, plan->date, plan->version, is_named(s, path) };
    for (size_t i = 0; i < N_DEVICES; i++) {
        struct choice *c = &s->choices[i];
        if (c->installed || plan->extension || !serves(plan, i) || !better(&own, c))
            continue;
        char *copy = strdup(path);
        if (!copy)
            return -ENOMEM;
        free(c->path);
        *c = own;
        c->path = copy;
    }
    return 0;
}

static int look_at(void *ctx, struct archive *a, const char *path, int64_t size)
{
    struct store *s = ctx;
    const char *dot = strrchr(path, '.');
    _cleanup_free_ uint8_t *bytes = NULL;
    _cleanup_(inf_freep) struct inf *inf = NULL;
    _cleanup_(driver_plan_freep) struct driver_plan *plan = NULL;
    if (!dot || strcasecmp(dot, ".inf") || size > INF_MAX_SIZE)
        return 0;
    int r = read_whole(a, size, INF_MAX_SIZE, &bytes);
    if (!r && !inf_parse(bytes, (size_t)size, path, INF_ENGLISH, &inf, NULL) &&
        !driver_plan(inf, &s->g.target, NULL, &plan, NULL))
        r = consider(s, path, plan);
    return r;
}

/* ---- taking ---- */

struct taking {
    const char *inf;                   /* its path in the store */
    size_t dir;                        /* bytes of its directory, with the slash */
    struct driver_package_file *files; /* owned, and all in them */
    size_t n, bytes;
};

static int take_file(void *ctx, struct archive *a, const char *path, int64_t size)
{
    struct taking *t = ctx;
    uint8_t *bytes;
    if (strncmp(path, t->inf, t->dir))
        return 0;
    if (t->n == MAX_PACKAGE_FILES)
        return -EFBIG;
    int r = read_whole(a, size, MAX_PACKAGE - t->bytes, &bytes);
    if (r)
        return r;
    char *name = strdup(path + t->dir);
    struct driver_package_file *grown = realloc(t->files, (t->n + 1) * sizeof *grown);
    if (grown)
        t->files = grown;
    if (!name || !grown) {
        free(name);
        free(bytes);
        return -ENOMEM;
    }
    t->bytes += (size_t)size;
    t->files[t->n++] = (struct driver_package_file){ name, bytes, (size_t)size };
    return 0;
}

static void warn(void *ctx, const char *line)
{
    if (strstr(line, "warning: "))
        changes_note(ctx, line);
}

/* Whatever keeps a package out is a note: the plan itself says what is missing then. */
static int install(struct store *s, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct taking t = { .inf = path, .dir = slash ? (size_t)(slash - path) + 1 : 0 };
    struct driver_log log = { warn, s->c };
    struct fault fault = { 0 };
    unsigned oem;
    int r = each_file(s, take_file, &t, &fault);
    struct driver_package pkg = { t.files, t.n };
    const struct driver_package_file *inf = r ? NULL : driver_package_find(&pkg, path + t.dir);
    if (inf)
        r = driver_install(changes_prepare(s->c), &s->g, &pkg, inf, log, &oem, &fault);
    for (size_t i = 0; i < t.n; i++)
        free((void *)(uintptr_t)t.files[i].bytes);
    staged_package_free(t.files, t.n);
    if (changes_blocked(s->c))
        return 0;
    if (r && r != -ENOMEM && r != -EEXIST && !changes_error(s->c)) {
        char why[1400];
        fault_format(&fault, why, sizeof why);
        if (r == -EPERM)
            return changes_block(s->c, why, "delete the policy in registry/ if it isn't meant");
        char line[1600];
        snprintf(line, sizeof line, "the store's %s isn't taken: %s", path, *why ? why : strerror(-r));
        return changes_note(s->c, line);
    }
    return r == -EEXIST ? 0 : r;
}

int drivers_plan_virtio(struct ferry *f, struct changes *c, const char *root)
{
    struct store s = { .f = f, .c = c };
    struct fault fault = { 0 };
    if (!f->drivers->store)
        return 0;
    int r = driver_guest_look(changes_prepare(c), root, &s.g, &fault);
    if (r == -ENOTSUP)
        return changes_note(
            c, "the store of drivers isn't looked at: the registry doesn't say which Windows this is");
    if (!r)
        r = driver_each(changes_prepare(c), &s.g, note_installed, &s);
    name_windows(&s);
    if (!r)
        r = each_file(&s, look_at, &s, &fault);
    if (r == -EIO || r == -ENOENT || r == -EFBIG || r == -EACCES) {
        char why[1400];
        fault_format(&fault, why, sizeof why);
        r = changes_block(c, why, "see -o drivers=");
    }
    for (size_t i = 0; i < N_DEVICES; i++) {
        bool again = false; /* one INF may be for several */
        for (size_t k = 0; k < i && s.choices[i].path; k++)
            again |= s.choices[k].path && !strcmp(s.choices[k].path, s.choices[i].path);
        if (!r && s.choices[i].path && !again && !changes_blocked(c))
            r = install(&s, s.choices[i].path);
    }
    for (size_t i = 0; i < N_DEVICES; i++)
        free(s.choices[i].path);
    return r;
}
