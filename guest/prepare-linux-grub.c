/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /etc/default/grub, and the *.cfg of /etc/default/grub.d behind it in the order of their names: shell, which
 * grub-mkconfig sources one after the other. Of it, what is understood is a line that assigns
 *
 *     GRUB_CMDLINE_LINUX           arguments of every entry
 *     GRUB_CMDLINE_LINUX_DEFAULT   more of them, not of those for rescue
 *
 * with = or +=, quoted or not. What the last assignment leaves counts: the console goes into that of
 * GRUB_CMDLINE_LINUX, unless one of the two has it in the end. So the command lines that are made anew say
 * what those say that prepare-linux-boot.c changed. Source: the GRUB manual ("Simple configuration"). */
#include "../formats/cleanup.h"
#include "prepare-linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 64, N_NAMES = 2 };

static const char *const names[N_NAMES] = { "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT" };

struct assignment {
    size_t name;  /* in `names` */
    bool adds;    /* += */
    bool bare;    /* no quotes */
    size_t at, n; /* its value, in the line, without quotes */
};

/* ---- one line ---- */

static size_t skip_blanks(const char *line, size_t n, size_t at)
{
    while (at < n && (line[at] == ' ' || line[at] == '\t'))
        at++;
    return at;
}

/* The value that begins at ret->at. False: it goes on in the next line, or is made of several parts. */
static bool find_value(const char *line, size_t n, struct assignment *ret)
{
    size_t at = ret->at;
    char quote = at < n ? line[at] : 0;
    ret->bare = quote != '"' && quote != '\'';
    if (ret->bare) {
        while (at < n && !strchr(" \t;#\"'\\`(", line[at]))
            at++;
        ret->n = at - ret->at;
        return at == n || strchr(" \t;#", line[at]);
    }
    ret->at = ++at;
    while (at < n && line[at] != quote)
        at += quote == '"' && line[at] == '\\' ? 2 : 1;
    ret->n = at - ret->at;
    return at + 1 == n || (at < n && strchr(" \t;#", line[at + 1]));
}

/* *ret_odd: it assigns one, in a way that isn't understood. */
static bool find_assignment(const char *line, size_t n, struct assignment *ret, bool *ret_odd)
{
    static const char export[] = "export ";
    size_t at = skip_blanks(line, n, 0);
    *ret_odd = false;
    if (n - at > strlen(export) && !memcmp(line + at, export, strlen(export)))
        at = skip_blanks(line, n, at + strlen(export));
    for (size_t i = 0; i < N_NAMES; i++) {
        size_t k = strlen(names[i]);
        if (n - at <= k || memcmp(line + at, names[i], k) != 0)
            continue;
        bool adds = line[at + k] == '+';
        if (at + k + adds >= n || line[at + k + adds] != '=')
            continue;
        *ret = (struct assignment){ .name = i, .adds = adds, .at = at + k + adds + 1 };
        *ret_odd = !find_value(line, n, ret);
        return !*ret_odd;
    }
    return false;
}

/* Is "$NAME" or "${NAME}" in a value? */
static bool refers(const char *p, size_t n, const char *name)
{
    size_t k = strlen(name);
    for (size_t at = 0; at + 1 < n; at++) {
        if (p[at] != '$')
            continue;
        size_t from = at + 1 + (p[at + 1] == '{'), end = from + k;
        if (end <= n && !memcmp(p + from, name, k) &&
            (end == n || !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", p[end])))
            return true;
    }
    return false;
}

/* ---- all files ---- */

struct defaults {
    char paths[MAX_FILES][300];
    size_t n;
    bool serial[N_NAMES]; /* in what a variable is in the end */
    const char *odd;      /* a file with an assignment that isn't understood; NULL: none */
    /* Where GRUB_CMDLINE_LINUX gets its last value: a file and a line's number. */
    bool assigned;
    size_t file, line;
};

static int note_file(void *ctx, const char *name, uint32_t type)
{
    struct defaults *d = ctx;
    size_t n = strlen(name);
    if ((type & S_IFMT) != S_IFDIR && n > 4 && n < 256 && !strcmp(name + n - 4, ".cfg") && d->n < MAX_FILES)
        snprintf(d->paths[d->n++], sizeof d->paths[0], "etc/default/grub.d/%s", name);
    return 0;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int find_files(struct linux_plan *l, struct defaults *d)
{
    snprintf(d->paths[d->n++], sizeof d->paths[0], "etc/default/grub");
    int r = l->p->ops->list(l->p, "etc/default/grub.d", note_file, d);
    qsort(d->paths + 1, d->n - 1, sizeof d->paths[0], compare_paths);
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

static void look_at_line(struct defaults *d, size_t file, size_t number, const char *line, size_t n)
{
    struct assignment a;
    bool odd;
    bool found = find_assignment(line, n, &a, &odd);
    if (odd)
        d->odd = d->paths[file];
    if (!found)
        return;
    bool keeps = a.adds || refers(line + a.at, a.n, names[a.name]);
    d->serial[a.name] = (keeps && d->serial[a.name]) || linux_has_serial(line + a.at, a.n);
    if (a.name)
        return;
    d->assigned = true;
    d->file = file;
    d->line = number;
}

static int look_at_file(struct linux_plan *l, struct defaults *d, size_t file)
{
    _cleanup_free_ char *text = NULL;
    size_t number = 0;
    int r = linux_text(l, d->paths[file], &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (const char *line = text; *line; number++) {
        size_t n = strcspn(line, "\n");
        look_at_line(d, file, number, line, n);
        line += n + (line[n] == '\n');
    }
    return 0;
}

static int put_line(struct linux_plan *l, const char *line, size_t n, bool console, struct linux_out *o)
{
    struct assignment a;
    bool odd;
    if (!find_assignment(line, n, &a, &odd)) {
        linux_put(o, line, n);
        return 0;
    }
    struct linux_out value = { 0 };
    int r = linux_put_arguments(l, line + a.at, a.n, console, &value);
    /* Without quotes, a value is one word, and stays so as long as nothing is put behind it. */
    bool quotes = a.bare && memchr(value.p ? value.p : "", ' ', value.n);
    linux_put(o, line, a.at);
    linux_put(o, "\"", quotes);
    linux_put(o, value.p, value.n);
    linux_put(o, "\"", quotes);
    linux_put(o, line + a.at + a.n, n - a.at - a.n);
    o->failed |= value.failed;
    free(value.p);
    return r;
}

static int plan_file(struct linux_plan *l, const struct defaults *d, size_t file, bool console)
{
    _cleanup_free_ char *text = NULL;
    struct linux_out o = { 0 };
    size_t number = 0;
    int r = linux_text(l, d->paths[file], &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (const char *line = text; *line && r == 0; number++) {
        size_t n = strcspn(line, "\n");
        bool here = console && d->assigned && d->file == file && d->line == number;
        r = put_line(l, line, n, here, &o);
        linux_put(&o, line + n, line[n] == '\n');
        line += n + (line[n] == '\n');
    }
    if (r == 0 && console && !d->assigned && !file) {
        linux_put(&o, "\n", o.n && o.p[o.n - 1] != '\n');
        linux_put(&o, "GRUB_CMDLINE_LINUX=\"", 20);
        r = linux_put_arguments(l, "", 0, true, &o);
        linux_put(&o, "\"\n", 2);
    }
    r = r < 0 ? r : linux_out_done(&o);
    r = r < 0 ? r : linux_file(l, d->paths[file], o.p, 0644, linux_boot_reason(l));
    free(o.p);
    return r;
}

int linux_plan_grub_defaults(struct linux_plan *l)
{
    struct defaults *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    int r = find_files(l, d);
    for (size_t i = 0; i < d->n && r == 0; i++)
        r = look_at_file(l, d, i);
    bool console = linux_wants_console(l) && !d->serial[0] && !d->serial[1];
    if (r == 0 && console && d->odd) {
        console = false;
        r = linux_note(l, "/%s gets no serial console: it has a command line in a form that isn't understood",
                       d->odd);
    }
    for (size_t i = 0; i < d->n && r == 0; i++)
        r = plan_file(l, d, i, console);
    free(d);
    return r;
}
