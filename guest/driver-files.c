/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CopyFiles: which file of the package goes where; DelFiles and RenFiles: which of the guest's go.
 *
 *     CopyFiles = list, @single.sys        [list] dest[,source[,,flags]]
 *     DelFiles = list                      [list] name[,,,flags]
 *     RenFiles = list                      [list] new,old
 *     [DestinationDirs] list = 12[,sub]    DefaultDestDir = 10
 *     [SourceDisksFiles] x.sys = 1[,sub]   [SourceDisksNames] 1 = "disk",tag,,path
 *
 * The sections of the sources may have one of their own for an architecture, which goes first. */
#include "driver-impl.h"

#include "../formats/keyed-hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { COPY_NO_OVERWRITE = 0x10, COPY_REPLACE_ONLY = 0x400 };

static int bad(struct planner *p, unsigned line, const char *what, const char *name)
{
    return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: %s%s", line, what, name);
}

static const struct inf_line *source_line(struct planner *p, const char *section, const char *key)
{
    char own[64];
    snprintf(own, sizeof own, "%s.%s", section, driver_arch_name(p->target->arch));
    const struct inf_line *l = inf_find(p->inf, inf_section(p->inf, own), key);
    return l ? l : inf_find(p->inf, inf_section(p->inf, section), key);
}

/* The parts joined by slashes; NULL: no memory, or one leads out of the package. */
static char *join(struct planner *p, const char *disk, const char *sub, const char *name)
{
    char *text = driver_text(p, "%s/%s/%s", disk, sub, name);
    if (!text)
        return NULL;
    char *out = text;
    for (char *at = text, *end = text + strlen(text); at < end;) {
        char *to = at + strcspn(at, "\\/");
        size_t n = (size_t)(to - at);
        if ((n == 2 && at[0] == '.' && at[1] == '.') || memchr(at, ':', n))
            return NULL;
        if (n && !(n == 1 && *at == '.')) {
            if (out != text)
                *out++ = '/';
            memmove(out, at, n);
            out += n;
        }
        at = to + (to < end);
    }
    *out = 0;
    return text;
}

static int source_of(struct planner *p, unsigned line, const char *name, const char **ret)
{
    const struct inf_line *file = source_line(p, "SourceDisksFiles", name);
    const struct inf_line *disk = file ? source_line(p, "SourceDisksNames", inf_text(file, 0)) : NULL;
    if (file && !disk)
        return bad(p, file->line, "[SourceDisksNames] has no disk ", inf_text(file, 0));
    *ret = join(p, inf_text(disk, 3), inf_text(file, 1), name);
    if (!*ret || !**ret)
        return bad(p, line, "no place in the package: ", name);
    return 0;
}

static int destination(struct planner *p, const char *list, unsigned line, unsigned *ret_id,
                       const char **ret_dir)
{
    const struct inf_section *dirs = inf_section(p->inf, "DestinationDirs");
    const struct inf_line *l = list ? inf_find(p->inf, dirs, list) : NULL;
    if (!l)
        l = inf_find(p->inf, dirs, "DefaultDestDir");
    if (!l)
        return bad(p, line, "[DestinationDirs] has no place for ", list ? list : "single files");
    uint32_t id;
    if (!driver_number(inf_text(l, 0), &id))
        return bad(p, l->line, "a directory's number that is none: ", inf_text(l, 0));
    *ret_id = id == UINT32_MAX ? 0xffff : id;
    *ret_dir = driver_directory(p, *ret_id, inf_text(l, 1));
    if (!*ret_dir)
        return bad(p, l->line, "a directory that isn't known: ", inf_text(l, 0));
    return 0;
}

static bool is_name(const char *name)
{
    return *name && !strpbrk(name, "\\/:") && strcmp(name, "..") && strcmp(name, ".");
}

/* The slot of a file that goes there, or the empty one where it belongs. */
static uint16_t *slot_of(struct planner *p, const struct driver_file *f)
{
    const struct driver_plan *plan = p->plan;
    for (size_t i = keyed_hash(keyed_hash(0, f->dir), f->name);; i++) {
        uint16_t *slot = &p->file_slots[i % DRIVER_FILE_SLOTS];
        const struct driver_file *there = *slot ? &plan->files[*slot - 1] : NULL;
        if (!there || (!strcasecmp(there->dir, f->dir) && !strcasecmp(there->name, f->name)))
            return slot;
    }
}

static int add_file(struct planner *p, const char *list, unsigned line, const char *dest, const char *source,
                    uint32_t flags)
{
    struct driver_plan *plan = p->plan;
    size_t kept = plan->n_owned;
    struct driver_file f = {
        .line = line,
        .inf = p->inf,
        .store = p->store,
        .name = dest,
        .replace_only = flags & COPY_REPLACE_ONLY,
        .no_overwrite = flags & COPY_NO_OVERWRITE,
    };
    if (!driver_charge(p, 0, 1, line))
        return -EFBIG;
    if (!is_name(dest))
        return bad(p, line, "no name for a file: ", dest);
    int r = destination(p, list, line, &f.dirid, &f.dir);
    if (!r)
        r = source_of(p, line, *source ? source : dest, &f.source);
    if (r)
        return r;
    uint16_t *slot = slot_of(p, &f);
    if (*slot) { /* several install sections may copy the same */
        driver_unkeep(p, kept);
        return 0;
    }
    void *more = driver_more(p, plan->files, &plan->n_files, sizeof f, line);
    if (!more)
        return driver_no_memory(p);
    *slot = (uint16_t)(plan->n_files + 1);
    plan->files = more;
    plan->files[plan->n_files++] = f;
    return 0;
}

static int add_list(struct planner *p, const char *name, unsigned line)
{
    const struct inf_section *s = inf_section(p->inf, name);
    if (!s)
        return bad(p, line, "there is no section of files ", name);
    for (const struct inf_line *l = s->lines; l; l = l->next) {
        uint32_t flags;
        if (!driver_number(inf_text(l, 3), &flags))
            return bad(p, l->line, "flags that are no number: ", inf_text(l, 3));
        int r = add_file(p, name, l->line, inf_text(l, 0), inf_text(l, 1), flags);
        if (r)
            return r;
    }
    return 0;
}

/* One line of DelFiles, or of RenFiles, which has the new name first. */
static int add_old_file(struct planner *p, const char *list, const struct inf_line *l, bool renames)
{
    struct driver_plan *plan = p->plan;
    struct driver_old_file f = {
        .inf = p->inf,
        .line = l->line,
        .name = inf_text(l, renames),
        .to = renames ? inf_text(l, 0) : NULL,
    };
    unsigned dirid;
    if (!is_name(f.name) || (f.to && !is_name(f.to)))
        return bad(p, l->line, "no name for a file: ", is_name(f.name) ? f.to : f.name);
    int r = destination(p, list, l->line, &dirid, &f.dir);
    void *more = r ? NULL : driver_more(p, plan->old_files, &plan->n_old_files, sizeof f, l->line);
    if (r || !more)
        return r ? r : driver_no_memory(p);
    plan->old_files = more;
    plan->old_files[plan->n_old_files++] = f;
    return 0;
}

static int add_old_files(struct planner *p, const struct inf_line *d, bool renames)
{
    for (unsigned i = 0; i < d->n; i++) {
        const char *name = inf_text(d, i);
        const struct inf_section *s = inf_section(p->inf, name);
        if (!driver_charge(p, 0, 1, d->line))
            return -EFBIG;
        if (*name && !s)
            return bad(p, d->line, "there is no section of files ", name);
        for (const struct inf_line *l = s ? s->lines : NULL; l; l = l->next) {
            int r = add_old_file(p, name, l, renames);
            if (r)
                return r;
        }
    }
    return 0;
}

int driver_add_files(struct planner *p, const struct inf_section *section)
{
    for (const struct inf_line *d = inf_find(p->inf, section, "CopyFiles"); d; d = d->alike)
        for (unsigned i = 0; i < d->n; i++) {
            const char *name = inf_text(d, i);
            int r = driver_charge(p, 0, 1, d->line) ? 0 : -EFBIG;
            if (r)
                return r;
            if (*name == '@')
                r = add_file(p, NULL, d->line, name + 1, "", 0);
            else if (*name)
                r = add_list(p, name, d->line);
            if (r)
                return r;
        }
    static const char *const old[] = { "DelFiles", "RenFiles" };
    for (size_t i = 0; i < 2; i++)
        for (const struct inf_line *d = inf_find(p->inf, section, old[i]); d; d = d->alike) {
            int r = add_old_files(p, d, i == 1);
            if (r)
                return r;
        }
    return 0;
}
