/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of a .vmx:
 *
 *     #!/usr/bin/vmware
 *     .encoding = "windows-1252"
 *     config.version = "8"
 *     displayName = "web01 |22old|22"
 *     scsi0:0.fileName = "web01.vmdk"
 *
 * A line is a key, '=', and a value, which newer programs quote and the oldest don't. Keys are without case.
 * '|' and two hex digits are a byte; '#' begins a comment. Of a key that stands twice the last line counts.
 * The whole text is in the one encoding that `.encoding` names, UTF-8 where it doesn't.
 *
 * The encoding's name comes from the file, so it only chooses from a list of our own; iconv(3) is never given
 * a name that somebody else made up.
 *
 * Sources: files of Workstation, Fusion and ESXi; there is no public specification. */
#include "vmx.h"
#include "charset.h"

#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A line as it stands in the text: offsets instead of copies. `value` is without its quotes. */
struct line {
    const char *key, *value;
    size_t key_len, value_len;
    bool unterminated; /* the closing quote is missing */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f';
}

/* Takes the blanks around [*p, *end) away. */
static void trim(const char **p, const char **end)
{
    while (*p < *end && is_blank(**p))
        ++*p;
    while (*end > *p && is_blank((*end)[-1]))
        --*end;
}

static bool is_key(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)p[i]) && !strchr("._:-+", p[i]))
            return false;
    return n > 0;
}

/* 1: a key and its value; 0: nothing (a blank line, a comment); -1: neither. */
static int split_line(const char *p, const char *end, struct line *ret)
{
    trim(&p, &end);
    if (p == end || *p == '#')
        return 0;
    const char *equals = memchr(p, '=', (size_t)(end - p));
    if (!equals)
        return -1;
    const char *key_end = equals, *value = equals + 1;
    trim(&p, &key_end);
    trim(&value, &end);
    *ret = (struct line){ .key = p, .key_len = (size_t)(key_end - p) };
    if (!is_key(ret->key, ret->key_len))
        return -1;
    if (value < end && *value == '"') {
        value++;
        const char *quote = memchr(value, '"', (size_t)(end - value));
        ret->unterminated = !quote;
        end = quote ? quote : end;
    }
    ret->value = value;
    ret->value_len = (size_t)(end - value);
    return 1;
}

static const char *skip_mark(const char *text, size_t *n)
{
    bool mark = *n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3);
    *n -= mark ? 3 : 0;
    return mark ? text + 3 : text;
}

/* The end of the line at p, and where the next begins. */
static const char *line_end(const char *p, const char *end, const char **ret_next)
{
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    *ret_next = newline ? newline + 1 : end;
    return newline ? newline : end;
}

/* ---- what it is ---- */

static bool key_is(const struct line *l, const char *key)
{
    return strlen(key) == l->key_len && !strncasecmp(l->key, key, l->key_len);
}

enum vmx_kind vmx_probe(const char *text, size_t n)
{
    /* of an encrypted machine the first two are among what is encrypted */
    static const char *const machine[] = { "config.version", "virtualHW.version", "encryption.keySafe",
                                           "guestOS" };
    bool snapshots = false;
    text = skip_mark(text, &n);
    const char *end = text + n, *next;
    for (const char *p = text; p < end; p = next) {
        struct line l;
        const char *stop = line_end(p, end, &next);
        if (split_line(p, stop, &l) <= 0)
            continue;
        for (size_t i = 0; i < sizeof machine / sizeof machine[0]; i++)
            if (key_is(&l, machine[i]))
                return VMX_MACHINE;
        snapshots = snapshots || key_is(&l, "snapshot.lastUID") || key_is(&l, "snapshot.numSnapshots");
    }
    return snapshots ? VMX_SNAPSHOTS : VMX_NONE;
}

/* ---- encodings ---- */

struct decoder {
    iconv_t cd; /* (iconv_t)-1: the text is UTF-8, or to be taken as it is */
    struct notes *notes;
};

static void open_decoder(struct decoder *d, const char *encoding)
{
    d->cd = (iconv_t)-1;
    if (!encoding[0] || !strcasecmp(encoding, "UTF-8") || !strcasecmp(encoding, "US-ASCII") ||
        !strcasecmp(encoding, "ANSI_X3.4-1968"))
        return;
    const char *charset = charset_iconv(encoding);
    if (charset)
        d->cd = iconv_open("UTF-8", charset);
    if (d->cd == (iconv_t)-1)
        notes_add(d->notes, "the .encoding \"%.64s\" isn't known: names are taken as they stand", encoding);
}

static bool is_ascii(const char *s)
{
    while (*s && !(*s & 0x80))
        s++;
    return !*s;
}

/* `s` in UTF-8, the caller's; NULL: it can't be converted, or there is no memory. */
static char *decode(const struct decoder *d, const char *s)
{
    char *in = (char *)s; /* iconv() doesn't write there */
    size_t left = strlen(s), room = 4 * left + 1;
    char *copy = malloc(room), *out = copy;
    iconv(d->cd, NULL, NULL, NULL, NULL);
    if (copy && iconv(d->cd, &in, &left, &out, &room) == (size_t)-1) {
        free(copy);
        return NULL;
    }
    if (copy)
        *out = 0;
    return copy;
}

/* ---- parsing ---- */

static int no_memory(const char *name, struct fault *fault)
{
    return fault_in(fault, -ENOMEM, name, "out of memory");
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
                                        : -1;
}

/* A copy with each "|XX" replaced; "|00" would cut it off, and stays. NULL: no memory. */
static char *unescaped(const char *p, size_t n)
{
    char *out = malloc(n + 1), *q = out;
    for (size_t i = 0; out && i < n; i++) {
        int high = p[i] == '|' && n - i > 2 ? hex_digit(p[i + 1]) : -1;
        int low = high < 0 ? -1 : hex_digit(p[i + 2]);
        if (low < 0 || !(high | low)) {
            *q++ = p[i];
            continue;
        }
        *q++ = (char)(high << 4 | low);
        i += 2;
    }
    if (out)
        *q = 0;
    return out;
}

static int add_entry(struct vmx *vmx, const struct line *l, const char *name, struct fault *fault)
{
    if (vmx->n >= VMX_MAX_ENTRIES)
        return fault_in(fault, -EFBIG, name, "has more than %d entries", VMX_MAX_ENTRIES);
    if (!(vmx->n & (vmx->n - 1))) { /* doubling */
        struct vmx_entry *more = reallocarray(vmx->entries, vmx->n ? 2 * vmx->n : 1, sizeof *more);
        if (!more)
            return no_memory(name, fault);
        vmx->entries = more;
    }
    struct vmx_entry *e = &vmx->entries[vmx->n++];
    *e = (struct vmx_entry){ .key = strndup(l->key, l->key_len), .value = unescaped(l->value, l->value_len) };
    if (!e->key || !e->value)
        return no_memory(name, fault);
    for (char *p = e->key; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return 0;
}

static int read_lines(struct vmx *vmx, const char *text, size_t n, const char *name, struct fault *fault)
{
    const char *end = text + n, *next;
    size_t number = 0;
    for (const char *p = text; p < end; p = next) {
        struct line l;
        const char *stop = line_end(p, end, &next);
        int r = split_line(p, stop, &l);
        number++;
        if (r < 0)
            notes_add(&vmx->notes, "line %zu of the .vmx is no \"key = value\"", number);
        if (r <= 0)
            continue;
        if (l.unterminated)
            notes_add(&vmx->notes, "line %zu of the .vmx has no closing quote", number);
        r = add_entry(vmx, &l, name, fault);
        if (r < 0)
            return r;
    }
    return 0;
}

static void entry_done(struct vmx_entry *e)
{
    free(e->key);
    free(e->value);
    free(e->raw);
}

/* Sorts, stably: the index says which came first. */
struct ordered {
    struct vmx_entry entry;
    size_t index;
};

static int by_key(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    int c = strcmp(x->entry.key, y->entry.key);
    return c ? c : (x->index > y->index) - (x->index < y->index);
}

/* Of a key that stands twice the last counts. */
static int sort_entries(struct vmx *vmx, const char *name, struct fault *fault)
{
    _cleanup_free_ struct ordered *all = calloc(vmx->n + 1, sizeof *all);
    size_t n = vmx->n, kept = 0;
    if (!all)
        return no_memory(name, fault);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct ordered){ vmx->entries[i], i };
    qsort(all, n, sizeof *all, by_key);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && !strcmp(all[i].entry.key, all[i + 1].entry.key)) {
            if (strcmp(all[i].entry.value, all[i + 1].entry.value) != 0)
                notes_add(&vmx->notes, "the .vmx has %.64s more than once: the last one counts",
                          all[i].entry.key);
            entry_done(&all[i].entry);
        } else {
            vmx->entries[kept++] = all[i].entry;
        }
    }
    vmx->n = kept;
    return 0;
}

static int decode_values(struct vmx *vmx, const char *name, struct fault *fault)
{
    const char *encoding = vmx_value(vmx, ".encoding");
    struct decoder d = { .notes = &vmx->notes };
    open_decoder(&d, encoding ? encoding : "");
    if (d.cd == (iconv_t)-1)
        return 0;
    for (size_t i = 0; i < vmx->n; i++) {
        struct vmx_entry *e = &vmx->entries[i];
        if (is_ascii(e->value))
            continue;
        errno = 0;
        char *decoded = decode(&d, e->value);
        if (!decoded && errno == ENOMEM) {
            iconv_close(d.cd);
            return no_memory(name, fault);
        }
        if (!decoded) {
            notes_add(&vmx->notes, "the value of %.64s isn't in the .encoding that the .vmx states", e->key);
            continue;
        }
        e->raw = e->value;
        e->value = decoded;
    }
    iconv_close(d.cd);
    return 0;
}

int vmx_parse(const char *text, size_t n, const char *name, struct vmx **ret, struct fault *fault)
{
    if (n > VMX_MAX_SIZE)
        return fault_in(fault, -EFBIG, name, "has %zu bytes, more than the %d MiB that a .vmx may have", n,
                        VMX_MAX_SIZE >> 20);
    const char *nul = memchr(text, 0, n);
    if (nul)
        return fault_at(fault, -EUCLEAN, name, (uint64_t)(nul - text), "has a NUL byte, which no .vmx has");
    _cleanup_(vmx_freep) struct vmx *vmx = calloc(1, sizeof *vmx);
    if (!vmx)
        return no_memory(name, fault);
    text = skip_mark(text, &n);
    int r = read_lines(vmx, text, n, name, fault);
    if (!r)
        r = sort_entries(vmx, name, fault);
    if (!r)
        r = decode_values(vmx, name, fault);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(vmx);
    return 0;
}

void vmx_free(struct vmx *vmx)
{
    if (!vmx)
        return;
    for (size_t i = 0; i < vmx->n; i++)
        entry_done(&vmx->entries[i]);
    free(vmx->entries);
    notes_done(&vmx->notes);
    free(vmx);
}

/* ---- asking ---- */

static int compare_key(const void *key, const void *entry)
{
    return strcmp(key, ((const struct vmx_entry *)entry)->key);
}

const struct vmx_entry *vmx_find(const struct vmx *vmx, const char *key)
{
    return vmx->n ? bsearch(key, vmx->entries, vmx->n, sizeof *vmx->entries, compare_key) : NULL;
}

const char *vmx_value(const struct vmx *vmx, const char *key)
{
    const struct vmx_entry *e = vmx_find(vmx, key);
    return e && e->value[0] ? e->value : NULL;
}

int vmx_bool(const struct vmx *vmx, const char *key)
{
    const char *v = vmx_value(vmx, key);
    if (!v)
        return -1;
    return !strcasecmp(v, "TRUE") || !strcmp(v, "1")    ? 1
           : !strcasecmp(v, "FALSE") || !strcmp(v, "0") ? 0
                                                        : -1;
}
