/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind {
    KIND_FLAG,   /* bool */
    KIND_NUMBER, /* unsigned, decimal */
    KIND_ID,     /* long, decimal; -1 when not given */
    KIND_OCTAL,  /* long, octal */
    KIND_STRING, /* char *, owned */
    KIND_DIRS,   /* the trust list, colon-separated */
};

struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    unsigned min, max; /* KIND_NUMBER */
    const char *value; /* placeholder in --help */
    const char *help;
};

#define AT(field) offsetof(struct options, field)
static const struct row rows[] = {
    { "overlay", KIND_STRING, AT(overlay), 0, 0, "DIR",
      "keep edits in DIR, to be there again at the next mount with it" },
    { "scratch", KIND_FLAG, AT(scratch), 0, 0, NULL,
      "keep edits until unmount, in an unlinked file in $TMPDIR or /var/tmp" },
    { "rebind", KIND_FLAG, AT(rebind), 0, 0, NULL, "the overlay's source was copied or moved" },
    { "trust", KIND_DIRS, AT(trust), 0, 0, "DIR[:DIR]", "other directories in which referred files may lie" },
    { "format", KIND_STRING, AT(format), 0, 0, "F",
      "take the source for format F (raw, qcow2, vdi, vhd, vhdx, vmdk)" },
    { "cache", KIND_NUMBER, AT(cache_mib), 1, 65536, "MiB", "bound of all caches together (64)" },
    { "threads", KIND_NUMBER, AT(threads), 1, 64, "N", "worker threads (cores, at most 8)" },
    { "cached", KIND_FLAG, AT(cached), 0, 0, NULL, "open views through the page cache, not by direct I/O" },
    { "os", KIND_NUMBER, AT(os), 0, 1000, "N", "which guest is guest/, where there are several (0)" },
    { "discard_hibernation", KIND_FLAG, AT(discard_hibernation), 0, 0, NULL,
      "let a hibernated Windows volume be written, in the overlay only" },
    { "accept_dirty_hive", KIND_FLAG, AT(accept_dirty_hive), 0, 0, NULL,
      "let a registry hive be written whose changes can't be replayed" },
    { "drivers", KIND_STRING, AT(drivers), 0, 0, "DIR|ISO",
      "a store of driver packages (virtio-win) that prepare/ may take from" },
    { "allow_other", KIND_FLAG, AT(allow_other), 0, 0, NULL,
      "let other users in, with the guest's permissions" },
    { "uid", KIND_ID, AT(uid), 0, 0, "N", "owner of all files (yours, for what has no owner)" },
    { "gid", KIND_ID, AT(gid), 0, 0, "N", "group of all files (yours, for what has none)" },
    { "umask", KIND_OCTAL, AT(umask), 0, 0, "OOO", "permission bits to take away, octal (yours)" },
};

/* mount(8) and /etc/fstab pass their own words: accepted, and they change nothing (nosuid and nodev always
 * win). */
static const char *const mount_words[] = {
    "ro",        "rw",         "suid",     "nosuid",     "dev",         "nodev",
    "exec",      "noexec",     "auto",     "noauto",     "user",        "nouser",
    "users",     "nousers",    "owner",    "noowner",    "group",       "nogroup",
    "defaults",  "sync",       "async",    "dirsync",    "atime",       "noatime",
    "diratime",  "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
    "lazytime",  "nolazytime", "mand",     "nomand",     "iversion",    "noiversion",
    "silent",    "loud",       "_netdev",  "nofail",     "remount",     "nosymfollow",
    "symfollow", NULL,
};

static bool is_mount_word(const char *word)
{
    for (const char *const *w = mount_words; *w; w++)
        if (!strcmp(*w, word))
            return true;
    return !strncmp(word, "user=", 5) || !strncmp(word, "x-", 2) || !strncmp(word, "X-", 2) ||
           !strncmp(word, "comment=", 8);
}

static int usage(const char *what, const char *word)
{
    fprintf(stderr, "ferryfs: %s%s%s; ferryfs --help lists the options\n", what, word ? " " : "",
            word ? word : "");
    return EXIT_USAGE;
}

static int parse_long(const char *name, const char *text, int base, long min, long max, long *ret)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, base);
    if (errno || end == text || *end || v < min || v > max) {
        fprintf(stderr,
                base == 8 ? "ferryfs: -o %s=%s: not an octal number from %lo to %lo\n"
                          : "ferryfs: -o %s=%s: not a number from %ld to %ld\n",
                name, text, min, max);
        return EXIT_USAGE;
    }
    *ret = v;
    return 0;
}

static int add_trust(struct options *o, const char *list)
{
    char *copy = strdup(list), *save = NULL;
    for (char *d = copy ? strtok_r(copy, ":", &save) : NULL; d; d = strtok_r(NULL, ":", &save)) {
        char **dirs = realloc(o->trust, (o->n_trust + 1) * sizeof *dirs), *dir = strdup(d);
        if (dirs)
            o->trust = dirs;
        if (!dirs || !dir) {
            free(dir);
            free(copy);
            return usage("out of memory", NULL);
        }
        o->trust[o->n_trust++] = dir;
    }
    free(copy);
    return copy ? 0 : usage("out of memory", NULL);
}

static int set_value(struct options *o, const struct row *row, const char *value)
{
    void *field = (char *)o + row->offset;
    if (row->kind == KIND_FLAG) {
        if (value)
            return usage("no value is wanted by -o", row->name);
        *(bool *)field = true;
        return 0;
    }
    if (!value || !*value)
        return usage("a value is wanted by -o", row->name);
    if (row->kind == KIND_NUMBER) {
        long v;
        int r = parse_long(row->name, value, 10, row->min, row->max, &v);
        if (!r)
            *(unsigned *)field = (unsigned)v;
        return r;
    }
    if (row->kind == KIND_ID)
        return parse_long(row->name, value, 10, 0, 0xfffffffel, field);
    if (row->kind == KIND_OCTAL)
        return parse_long(row->name, value, 8, 0, 0777, field);
    if (row->kind == KIND_DIRS)
        return add_trust(o, value);
    free(*(char **)field);
    *(char **)field = strdup(value);
    return *(char **)field ? 0 : usage("out of memory", NULL);
}

static int set_word(struct options *o, char *word)
{
    if (!*word || is_mount_word(word))
        return 0;
    char *value = strchr(word, '=');
    if (value)
        *value++ = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcmp(rows[i].name, word))
            return set_value(o, &rows[i], value);
    return usage("unknown option -o", word);
}

/* Splits at commas; "\," is a comma inside a value, "\\" a backslash. */
static int set_words(struct options *o, const char *list)
{
    char *copy = strdup(list), *word = copy, *out = copy;
    int r = copy ? 0 : usage("out of memory", NULL);
    for (const char *p = list; !r; p++) {
        if (*p == '\\' && (p[1] == ',' || p[1] == '\\')) {
            *out++ = *++p;
        } else if (*p == ',' || !*p) {
            *out++ = 0;
            r = set_word(o, word);
            word = out;
            if (!*p)
                break;
        } else {
            *out++ = *p;
        }
    }
    free(copy);
    return r;
}

static int parse_short(struct options *o, int argc, char **argv, int *i)
{
    const char *a = argv[*i];
    if (a[1] == 'o') {
        const char *list = a[2] ? a + 2 : *i + 1 < argc ? argv[++*i] : NULL;
        return list ? set_words(o, list) : usage("a list of options is wanted after -o", NULL);
    }
    for (const char *p = a + 1; *p; p++) {
        if (*p == 'f')
            o->foreground = true;
        else if (*p == 'd')
            o->foreground = o->debug = true;
        else if (*p == 's')
            o->single_threaded = true;
        else if (*p == 'h')
            o->command = COMMAND_HELP;
        else if (*p == 'V')
            o->command = COMMAND_VERSION;
        else if (*p != 'n' && *p != 'v') /* mount(8) passes these to helpers; they change nothing */
            return usage("unknown option", a);
    }
    return 0;
}

static int parse_long_option(struct options *o, const char *a)
{
    if (!strcmp(a, "--help"))
        o->command = COMMAND_HELP;
    else if (!strcmp(a, "--version"))
        o->command = COMMAND_VERSION;
    else if (!strcmp(a, "--info"))
        o->command = COMMAND_INFO;
    else if (!strcmp(a, "--check-hive"))
        o->command = COMMAND_CHECK_HIVE;
    else
        return usage("unknown option", a);
    return 0;
}

static int take_names(struct options *o, char **names, size_t n)
{
    if (o->command == COMMAND_INFO || o->command == COMMAND_CHECK_HIVE) {
        if (!n)
            return usage(o->command == COMMAND_INFO ? "a SOURCE is wanted" : "a HIVE is wanted", NULL);
        o->sources = names;
        o->n_sources = n;
        return 0;
    }
    if (n < 2)
        return usage(n ? "a MOUNTPOINT is wanted" : "a SOURCE and a MOUNTPOINT are wanted", NULL);
    o->sources = names;
    o->n_sources = n - 1;
    o->mountpoint = names[n - 1];
    return 0;
}

/* What doesn't go together, or not alone. */
static int check_together(const struct options *o)
{
    if (o->overlay && o->scratch)
        return usage("edits are kept, or not: -o overlay and scratch don't go together", NULL);
    if (o->rebind && !o->overlay)
        return usage("-o rebind is about an overlay: -o overlay=DIR is wanted too", NULL);
    if (o->discard_hibernation && !o->overlay && !o->scratch)
        return usage("-o discard_hibernation writes: -o overlay=DIR or scratch is wanted too", NULL);
    return 0;
}

/* The daemon leaves the working directory; what is opened by name after that is named from the root. */
static int make_absolute(char **path)
{
    if (!*path || **path == '/')
        return 0;
    char *cwd = getcwd(NULL, 0), *whole = NULL;
    int n = cwd ? asprintf(&whole, "%s/%s", cwd, *path) : -1;
    free(cwd);
    if (n < 0)
        return usage("the working directory can't be named", NULL);
    free(*path);
    *path = whole;
    return 0;
}

int options_parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){ .cache_mib = 64, .uid = -1, .gid = -1, .umask = -1 };
    size_t n = 0; /* names are moved to the front of argv + 1 */
    bool only_names = false;
    int r = 0;
    for (int i = 1; i < argc && !r; i++) {
        char *a = argv[i];
        if (!only_names && !strcmp(a, "--"))
            only_names = true;
        else if (only_names || a[0] != '-' || !a[1])
            argv[1 + n++] = a;
        else if (a[1] == '-')
            r = parse_long_option(o, a);
        else
            r = parse_short(o, argc, argv, &i);
    }
    if (!r && o->command != COMMAND_HELP && o->command != COMMAND_VERSION)
        r = take_names(o, argv + 1, n);
    if (!r)
        r = check_together(o);
    if (!r)
        r = make_absolute(&o->overlay);
    return r ? r : make_absolute(&o->drivers);
}

void options_done(struct options *o)
{
    free(o->format);
    free(o->overlay);
    free(o->drivers);
    for (size_t i = 0; i < o->n_trust; i++)
        free(o->trust[i]);
    free(o->trust);
}

void options_help(void)
{
    printf("usage: ferryfs [-o OPT[,OPT...]] [-f] [-d] [-s] SOURCE [SOURCE...] MOUNTPOINT\n"
           "       ferryfs --info SOURCE [SOURCE...]\n"
           "       ferryfs --check-hive HIVE...\n"
           "       ferryfs --version | --help\n"
           "       fusermount3 -u MOUNTPOINT\n\n"
           "Shows a virtual machine's disks as files in the formats of the next hypervisor, and the guest's "
           "files.\n\n"
           "    -f                     stay in the foreground\n"
           "    -d                     trace, in the foreground\n"
           "    -s                     one thread\n"
           "    --info                 print the root info.json; nothing is mounted\n"
           "    --check-hive           print every broken rule of registry hives; exit status 1 if there are "
           "any\n"
           "    --help, -h             this text\n"
           "    --version, -V          the version\n\n"
           "Options after -o:\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char left[40];
        snprintf(left, sizeof left, "%s%s%s", rows[i].name, rows[i].value ? "=" : "",
                 rows[i].value ? rows[i].value : "");
        printf("    %-22s %s\n", left, rows[i].help);
    }
    printf("    ro rw dev suid ...     mount(8)'s own words are accepted and change nothing\n");
}
