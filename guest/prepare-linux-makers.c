/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What makes an initramfs anew, after a kernel's update, gets the list of the target's modules, too:
 *
 *     initramfs-tools    /etc/initramfs-tools/modules, a name a line
 *     dracut             /etc/dracut.conf.d/zz-ferryfs-TARGET.conf, add_drivers
 *     mkinitcpio         /etc/mkinitcpio.conf, MODULES
 *     SUSE's mkinitrd    /etc/sysconfig/kernel, INITRD_MODULES (SLES 12 and earlier)
 *
 * What has the modules left out stays: it is said. Source: initramfs-tools(7), dracut.conf(5),
 * mkinitcpio.conf(5), SUSE's mkinitrd(8). */
#include "../formats/cleanup.h"
#include "prepare-linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char reason[] = "the next initramfs has them, too";
static const char tools_list[] = "etc/initramfs-tools/modules", mkinitcpio_conf[] = "etc/mkinitcpio.conf",
                  suse_conf[] = "etc/sysconfig/kernel", dracut_dir[] = "etc/dracut.conf.d";

static int plan_tools_list(struct linux_plan *l)
{
    _cleanup_free_ char *have = NULL;
    struct linux_out o = { 0 };
    int r = linux_text(l, tools_list, &have);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    linux_put(&o, have, strlen(have));
    linux_put(&o, "\n", o.n && o.p[o.n - 1] != '\n');
    linux_put_words(&o, l->modules, have, "\n");
    r = linux_out_done(&o);
    r = r < 0 ? r : linux_file(l, tools_list, o.p, 0644, reason);
    free(o.p);
    return r;
}

/* ---- dracut ---- */

/* Does a text name a module in a line that leaves some out? */
static bool leaves_out(const char *text, const char *module)
{
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        size_t n = strcspn(line, "\n"), k = strlen(module);
        const char *p = line + strspn(line, " \t");
        if (strncmp(p, "omit_drivers", 12) != 0)
            continue;
        for (p += 12; p + k <= line + n; p++)
            if (!memcmp(p, module, k) && strchr(" \t\"'=", p[-1]) && strchr(" \t\"'\n", p[k]))
                return true;
    }
    return false;
}

static int note_omissions(struct linux_plan *l, const char *path)
{
    _cleanup_free_ char *text = NULL;
    char module[64];
    int r = linux_text(l, path, &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (const char *p = l->modules + strspn(l->modules, " "); *p && r == 0; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        snprintf(module, sizeof module, "%.*s", (int)n, p);
        if (leaves_out(text, module))
            r = linux_note(l, "/%s leaves %s out of an initramfs that is made anew: take it out there", path,
                           module);
        p += n;
    }
    return r;
}

static int plan_dracut(struct linux_plan *l)
{
    struct linux_out o = { 0 };
    char path[320];
    if (!linux_has(l, dracut_dir))
        return 0;
    linux_put(&o, "add_drivers+=\"", 14);
    linux_put(&o, l->modules, strlen(l->modules));
    linux_put(&o, " \"\n", 3);
    int r = linux_out_done(&o);
    snprintf(path, sizeof path, "%s/zz-ferryfs-%s.conf", dracut_dir, prepare_target_name(l->p->target));
    r = r < 0 ? r : linux_file(l, path, o.p, 0644, reason);
    free(o.p);
    struct linux_names *c = malloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    r = r < 0 ? r : note_omissions(l, "etc/dracut.conf");
    r = r < 0 ? r : linux_list(l, dracut_dir, ".conf", c);
    for (size_t i = 0; i < c->n && r == 0; i++) {
        snprintf(path, sizeof path, "%s/%s", dracut_dir, c->names[i]);
        r = note_omissions(l, path);
    }
    free(c);
    return r;
}

/* ---- a list in one line: MODULES=(a b), INITRD_MODULES="a b" ---- */

struct list_line {
    const char *path, *name;
    const char *open, *close; /* what stands around the words, any of these, in the same place of both */
};

/* The words of a line's list. False: it is no such line, or the list doesn't end in it. */
static bool find_list(const struct list_line *what, const char *line, size_t n, size_t *ret_at, size_t *ret_n)
{
    size_t k = strlen(what->name), indent = strspn(line, " \t");
    if (indent + k + 2 > n || memcmp(line + indent, what->name, k) != 0 || line[indent + k] != '=')
        return false;
    const char *open = strchr(what->open, line[indent + k + 1]);
    if (!open || !*open)
        return false;
    *ret_at = indent + k + 2;
    const char *close = memchr(line + *ret_at, what->close[open - what->open], n - *ret_at);
    if (!close)
        return false;
    *ret_n = (size_t)(close - line) - *ret_at;
    return true;
}

/* The list of a line, as lines, so that linux_put_words can look there. */
static char *words_as_lines(const char *p, size_t n)
{
    char *copy = strndup(p, n);
    for (char *c = copy; c && *c; c++)
        if (*c == ' ' || *c == '\t' || *c == '"' || *c == '\'')
            *c = '\n';
    return copy;
}

static int put_list(struct linux_plan *l, const char *line, size_t n, size_t at, size_t length,
                    struct linux_out *o)
{
    _cleanup_free_ char *have = words_as_lines(line + at, length);
    struct linux_out more = { 0 };
    if (!have)
        return -ENOMEM;
    linux_put_words(&more, l->modules, have, " ");
    linux_put(o, line, at + length);
    if (more.n) {
        linux_put(o, " ", length && line[at + length - 1] != ' ');
        linux_put(o, more.p, more.n - 1); /* without the last blank */
    }
    linux_put(o, line + at + length, n - at - length);
    o->failed |= more.failed;
    free(more.p);
    return 0;
}

/* The last line that assigns it is what counts. */
static int plan_list(struct linux_plan *l, const struct list_line *what)
{
    _cleanup_free_ char *text = NULL;
    struct linux_out o = { 0 };
    const char *last = NULL;
    size_t at = 0, length = 0;
    int r = linux_text(l, what->path, &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        if (find_list(what, line, n, &at, &length))
            last = line;
        line += n + (line[n] == '\n');
    }
    if (!last)
        return linux_note(l, "/%s isn't changed: it has no %s in one line", what->path, what->name);
    size_t n = strcspn(last, "\n");
    find_list(what, last, n, &at, &length);
    linux_put(&o, text, (size_t)(last - text));
    r = put_list(l, last, n, at, length, &o);
    linux_put(&o, last + n, strlen(last + n));
    r = r < 0 ? r : linux_out_done(&o);
    r = r < 0 ? r : linux_file(l, what->path, o.p, 0644, reason);
    free(o.p);
    return r;
}

/* Newer SUSEs have the file, and no such list in it: dracut's is what counts there. */
static bool suse_has_list(struct linux_plan *l)
{
    _cleanup_free_ char *text = NULL;
    return linux_text(l, suse_conf, &text) == 0 &&
           (strstr(text, "\nINITRD_MODULES=") || !strncmp(text, "INITRD_MODULES=", 15));
}

int linux_plan_makers(struct linux_plan *l)
{
    static const struct list_line mkinitcpio = { mkinitcpio_conf, "MODULES", "(\"'", ")\"'" };
    static const struct list_line suse = { suse_conf, "INITRD_MODULES", "\"'", "\"'" };
    if (!l->modules[0])
        return 0;
    int r = plan_tools_list(l);
    r = r < 0 ? r : plan_dracut(l);
    r = r < 0 ? r : plan_list(l, &mkinitcpio);
    return r < 0 || !suse_has_list(l) ? r : plan_list(l, &suse);
}

void linux_remake_advice(struct linux_plan *l, const char *names, char *ret, size_t size)
{
    names += strspn(names, " ");
    if (linux_has(l, tools_list))
        snprintf(ret, size, "where the guest runs, add %s to /%s and run update-initramfs -u -k all", names,
                 tools_list);
    else if (linux_has(l, mkinitcpio_conf))
        snprintf(ret, size, "where the guest runs, add %s to MODULES in /%s and run mkinitcpio -P", names,
                 mkinitcpio_conf);
    else
        snprintf(ret, size, "where the guest runs, run dracut --force --regenerate-all --add-drivers \"%s\"",
                 names);
}
