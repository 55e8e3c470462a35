/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prepare/: a file for each hypervisor that the guest may go to. Reading one is the plan; writing "apply" or
 * "undo" into it does that, all or nothing, in one commit of the overlay. changes.json lists what was applied
 * and not undone. Why the last apply or undo failed is the text of .error, which isn't listed. */
#include "changes.h"
#include "drivers.h"

#include "hives.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

extern const struct toplevel prepare_toplevel;
static const struct tree_ops prepare_dir_ops, prepare_file_ops;

/* What a file's node is: a target, or one of these. */
enum { CHANGES_JSON = PREPARE_TARGETS, ERROR_FILE, FILES };

static pthread_mutex_t error_lock = PTHREAD_MUTEX_INITIALIZER;
static char error_text[2048]; /* protected by error_lock; "": the last one went well */

static const char *file_name(unsigned i)
{
    return i < PREPARE_TARGETS ? prepare_target_name(i) : i == CHANGES_JSON ? "changes.json" : ".error";
}

/* ---- plans ---- */

static const struct guest_system *system_of(struct ferry *f)
{
    struct guest *g = ferry_guest(f);
    return g && f->options->os < g->n_systems ? &g->systems[f->options->os] : NULL;
}

/* Of each guest of the machine its own: the same keys and paths are of another there. */
static void record_name(struct ferry *f, enum prepare_target t, char ret[128])
{
    const struct guest_system *s = system_of(f);
    int n = snprintf(ret, 128, "prepare-%s", prepare_target_name(t));
    if (s && f->options->os)
        snprintf(ret + n, 128 - (size_t)n, "-%u-%.60s", (unsigned)f->options->os,
                 f->guest->volumes[s->root].name);
}

/* SystemRoot's directory, "C/Windows", from where the SYSTEM hive lies below it. */
static bool system_root(struct ferry *f, char *ret, size_t size)
{
    const struct reg_hive *h = hives_find(f, HIVE_MACHINE, "SYSTEM");
    snprintf(ret, size, "%s", h ? h->path : "");
    for (int up = 0; h && up < 3; up++) {
        char *slash = strrchr(ret, '/');
        if (!slash)
            return false;
        *slash = 0;
    }
    return h != NULL;
}

/* Where the boot configuration lies, if that is where EFI has it: "../volumes/disk0p1". */
static const char *system_partition(struct ferry *f, char *buf, size_t size)
{
    const struct guest_system *s = system_of(f);
    const struct reg_hive *h = s && s->kind == GUEST_WINDOWS ? hives_nth(f, HIVE_BCD, 0) : NULL;
    if (!h || strncmp(h->path, "EFI/", 4) != 0)
        return NULL;
    snprintf(buf, size, PREPARE_VOLUMES "%s", f->guest->volumes[h->volume].name);
    return buf;
}

/* A hive that can't be written although the mount can. */
static int block_hive(struct ferry *f, struct changes *c, const char *name)
{
    char why[320];
    struct reg_hive *h = hives_find(f, HIVE_MACHINE, name);
    if (!h)
        return 0;
    int r = hives_read(f, h);
    bool bad = r < 0 || (ferry_writable(f) && !h->writable);
    if (!r)
        hives_done(h);
    if (!bad)
        return 0;
    snprintf(why, sizeof why, "the registry hive %s can't be written: %s", name, h->why);
    return changes_block(c, why, "shut the guest down cleanly and copy it again");
}

static int block_volume(struct ferry *f, struct changes *c, const struct guest_system *s)
{
    char why[320];
    const struct volume *v = f->guest->volumes[s->root].volume;
    if (!v || !v->read_only_why[0])
        return 0;
    snprintf(why, sizeof why, "its file system can't be written safely: %s", v->read_only_why);
    return changes_block(c, why, "shut the guest down cleanly and copy it again");
}

/* Where no guest is found: the largest volume that may have one and can't be read. NULL: none. */
static const struct guest_volume *unread_root(struct ferry *f)
{
    const struct guest *g = ferry_guest(f);
    const struct guest_volume *found = NULL;
    for (size_t i = 0; g && !g->n_systems && i < g->n_volumes; i++) {
        const struct guest_volume *v = &g->volumes[i];
        if (!v->volume && (v->lv || prepare_may_be_root(v->signature.type)) &&
            (!found || v->length > found->length))
            found = v;
    }
    return found;
}

/* A plan is for one guest. */
static int note_others(struct ferry *f, struct changes *c)
{
    const struct guest *g = f->guest;
    int r = 0;
    for (size_t i = 0; !r && i < g->n_systems; i++) {
        char text[600];
        const struct guest_system *s = &g->systems[i];
        if (i == f->options->os)
            continue;
        snprintf(text, sizeof text,
                 "another guest, %.200s on %.200s, isn't changed: mount with -o os=%zu to prepare it, too",
                 s->name, g->volumes[s->root].name, i);
        r = changes_prepare(c)->ops->note(changes_prepare(c), text);
    }
    return r;
}

static int plan_guest(struct ferry *f, struct changes *c)
{
    char root[1024];
    const struct guest_system *s = system_of(f);
    const struct guest_volume *unread = s ? NULL : unread_root(f);
    if (unread)
        return plan_unread(changes_prepare(c), unread->name, unread->signature.type, unread->why);
    if (!s)
        return -ENOENT;
    int r = block_volume(f, c, s);
    if (r < 0 || changes_blocked(c))
        return r;
    if (s->kind == GUEST_LINUX)
        return plan_linux(changes_prepare(c));
    if (!system_root(f, root, sizeof root))
        return changes_block(c, "this Windows has no SYSTEM registry hive", "repair the guest first");
    r = block_hive(f, c, "SYSTEM");
    if (!r)
        r = block_hive(f, c, "SOFTWARE");
    if (!r && !changes_blocked(c) && !prepare_is_hyperv(changes_prepare(c)))
        r = drivers_plan_virtio(f, c, root);
    return r < 0 || changes_blocked(c) ? r : plan_windows(changes_prepare(c), root);
}

/* Bytes of the guest that a plan keeps, and of what it makes: a plan may be read of any image. */
enum { PLAN_KEEPS = 32 << 20, PLAN_MAKES = 64 << 20 };

static int make_plan(struct ferry *f, enum prepare_target target, struct changes **ret)
{
    _cleanup_(changes_freep) struct changes *c = changes_new(f);
    _cleanup_free_ const char **macs = calloc(f->vm->n_nics + 1, sizeof *macs);
    if (!c || !macs)
        return -ENOMEM;
    char esp[300];
    changes_keep(c, PLAN_KEEPS, PLAN_MAKES);
    struct prepare *p = changes_prepare(c);
    p->target = target;
    for (size_t i = 0; i < f->vm->n_nics; i++)
        if (f->vm->nics[i].mac)
            macs[p->n_macs++] = f->vm->nics[i].mac;
    p->macs = macs;
    p->esp = system_partition(f, esp, sizeof esp);
    int r = plan_guest(f, c);
    if (!r && !changes_blocked(c) && system_of(f))
        r = note_others(f, c);
    p->esp = NULL;
    p->macs = NULL;
    p->n_macs = 0;
    if (!r)
        r = changes_error(c);
    if (!r)
        *ret = TAKE_PTR(c);
    return r;
}

static int print_plan(struct ferry *f, enum prepare_target target, struct json_out *out)
{
    _cleanup_(changes_freep) struct changes *c = NULL;
    int r = make_plan(f, target, &c);
    if (!r)
        changes_print(c, out);
    return r;
}

static int print_changes(struct ferry *f, struct json_out *out)
{
    bool first = true;
    json_raw(out, "{ \"schema\": 1,\n  \"changes\": [\n");
    for (unsigned t = 0; t < PREPARE_TARGETS; t++) {
        _cleanup_(changes_freep) struct changes *c = NULL;
        char record[128];
        record_name(f, t, record);
        int r = changes_read_record(f, record, &c, NULL);
        if (r < 0 && r != -ENOENT)
            return r;
        if (!r)
            changes_json(c, prepare_target_name(t), &first, out);
    }
    json_raw(out, first ? "  ] }\n" : "\n  ] }\n");
    return 0;
}

/* ---- doing ---- */

static void say(const struct fault *fault)
{
    char line[sizeof error_text - 2];
    fault_format(fault, line, sizeof line);
    pthread_mutex_lock(&error_lock);
    error_text[0] = 0;
    if (fault->err)
        snprintf(error_text, sizeof error_text, "%s\n", line);
    pthread_mutex_unlock(&error_lock);
}

static int apply(struct ferry *f, enum prepare_target target, struct fault *fault)
{
    _cleanup_(changes_freep) struct changes *c = NULL;
    char record[128];
    record_name(f, target, record);
    int r = make_plan(f, target, &c);
    if (r < 0)
        return fault_in(fault, r, "", "the plan can't be made: %s", strerror(-r));
    return changes_apply(c, record, fault);
}

static int undo(struct ferry *f, enum prepare_target target, struct fault *fault)
{
    char record[128];
    record_name(f, target, record);
    return changes_undo(f, record, fault);
}

/* The text without the newline that echo gives it. */
static bool is_word(const char *buf, size_t len, const char *word)
{
    size_t n = strlen(word);
    return len >= n && !memcmp(buf, word, n) && (len == n || (len == n + 1 && buf[n] == '\n'));
}

/* ---- nodes ---- */

static int dir_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(905, 0, 0), ret);
    return 0;
}

static struct node_id file_id(unsigned i)
{
    return (struct node_id){ .ops = &prepare_file_ops, .a = i };
}

static int dir_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    (void)f;
    (void)dir;
    for (unsigned i = 0; i < FILES; i++)
        if (!strcmp(name, file_name(i))) {
            *ret = file_id(i);
            return 0;
        }
    return -ENOENT;
}

static int dir_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    (void)f;
    (void)dir;
    for (uint64_t i = cookie; i < ERROR_FILE; i++) {
        struct node_id id = file_id((unsigned)i);
        if (emit(ctx, file_name((unsigned)i), &id, S_IFREG, i + 1))
            break;
    }
    return 0;
}

static int file_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    mode_t mode = ferry_writable(f) && n->id.a < PREPARE_TARGETS ? 0666 : 0444;
    tree_fill_attr(f, S_IFREG | mode, tree_ino(905, 1, n->id.a), ret);
    return 0;
}

struct prepare_handle {
    struct handle handle;
    uint64_t file;
    struct text text; /* of one that is read */
};

static struct prepare_handle *handle_of(struct handle *h)
{
    return (struct prepare_handle *)(void *)h;
}

static int make_text(struct ferry *f, uint64_t file, struct text *ret)
{
    struct json_out out = { 0 };
    int r = 0;
    if (file == ERROR_FILE) {
        pthread_mutex_lock(&error_lock);
        json_raw(&out, error_text);
        pthread_mutex_unlock(&error_lock);
    } else {
        r = file == CHANGES_JSON ? print_changes(f, &out) : print_plan(f, (enum prepare_target)file, &out);
    }
    if (!r && out.failed)
        r = -ENOMEM;
    if (r < 0)
        json_out_done(&out);
    *ret = (struct text){ out.text, out.n };
    return r;
}

static int file_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    int r = 0;
    struct prepare_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->handle = (struct handle){ .ops = n->id.ops, .direct = true };
    h->file = n->id.a;
    if ((flags & O_ACCMODE) != O_WRONLY)
        r = make_text(f, n->id.a, &h->text);
    else if (n->id.a >= PREPARE_TARGETS)
        r = -EACCES;
    if (r < 0)
        free(h);
    else
        *ret = &h->handle;
    return r;
}

static int file_read(struct ferry *f, struct handle *h, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    (void)f;
    return text_read(&handle_of(h)->text, buf, len, off, ret_len);
}

static int file_write(struct ferry *f, struct handle *handle, const void *buf, size_t len, uint64_t off)
{
    uint64_t file = handle_of(handle)->file;
    struct fault fault = { 0 };
    bool is_apply = is_word(buf, len, "apply"), is_undo = is_word(buf, len, "undo");
    if (file >= PREPARE_TARGETS)
        return -EACCES;
    if (off || (!is_apply && !is_undo))
        return -EINVAL;
    int r = ferry_alone_begin(f);
    if (r < 0)
        return r;
    r = is_apply ? apply(f, (enum prepare_target)file, &fault) : undo(f, (enum prepare_target)file, &fault);
    ferry_alone_end(f);
    if (r < 0)
        fault_in(&fault, r, "", "%s", strerror(-r));
    say(&fault);
    return r;
}

/* A shell truncates before it writes. */
static int file_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                        struct handle *h)
{
    (void)f;
    (void)n;
    (void)st;
    (void)which;
    (void)h;
    return 0;
}

static void file_release(struct ferry *f, struct handle *h)
{
    (void)f;
    free(handle_of(h)->text.bytes);
    free(h);
}

static const struct tree_ops prepare_dir_ops = {
    .name = "prepare",
    .getattr = dir_getattr,
    .lookup = dir_lookup,
    .readdir = dir_readdir,
};

static const struct tree_ops prepare_file_ops = {
    .name = "prepare-file",
    .fresh = true,
    .getattr = file_getattr,
    .open = file_open,
    .read = file_read,
    .release = file_release,
    .setattr = file_setattr,
    .write = file_write,
};

static bool present(struct ferry *f)
{
    return system_of(f) || unread_root(f);
}

static int prepare_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = (struct node_id){ .ops = &prepare_dir_ops };
    return 0;
}

const struct toplevel prepare_toplevel = { "prepare", S_IFDIR, present, prepare_id };
