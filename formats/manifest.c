/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A manifest is lines of text (DMTF DSP0243, "Distribution"; the form is that of `openssl dgst`):
 *
 *     SHA256(web01-disk1.vmdk)= 7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730
 *
 * Exporters differ in the blanks ("SHA1 (x) = ab", "SHA1(x)=ab"), in case, and in how lines end; a name may
 * hold blanks and parentheses, so it reaches to the last one that is followed by "= HEX". A line that is not
 * so is noted and passed over: what its file should have been is then not known, and the file is reported as
 * not named. Blank lines, and those that begin with '#', say nothing. */
#include "manifest.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *p;
    size_t n;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

static char upper(char c)
{
    return (char)(c >= 'a' && c <= 'z' ? c & ~0x20 : c);
}

static struct span trimmed(struct span s)
{
    while (s.n && is_blank(s.p[0]))
        s = (struct span){ s.p + 1, s.n - 1 };
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Takes "= HEX" off the end. */
static bool take_digest(struct span *line, struct span *ret)
{
    size_t n = line->n;
    while (n && is_hex(line->p[n - 1]))
        n--;
    *ret = (struct span){ line->p + n, line->n - n };
    struct span rest = trimmed((struct span){ line->p, n });
    if (!ret->n || !rest.n || rest.p[rest.n - 1] != '=')
        return false;
    *line = trimmed((struct span){ rest.p, rest.n - 1 });
    return true;
}

/* Takes "ALGORITHM (" off the beginning and ")" off the end; what remains is the name. */
static bool take_algorithm(struct span *line, struct span *ret)
{
    size_t n = 0;
    while (n < line->n && (is_alnum(line->p[n]) || line->p[n] == '-' || line->p[n] == '/'))
        n++;
    *ret = (struct span){ line->p, n };
    while (n < line->n && is_blank(line->p[n]))
        n++;
    if (!ret->n || n + 2 > line->n || line->p[n] != '(' || line->p[line->n - 1] != ')')
        return false;
    *line = (struct span){ line->p + n + 1, line->n - n - 2 };
    return true;
}

static char *lower_copy(struct span s)
{
    char *copy = strndup(s.p, s.n);
    for (size_t i = 0; copy && i < s.n; i++)
        copy[i] = lower(copy[i]);
    return copy;
}

/* 1: an entry; 0: not understood; -ENOMEM. */
static int parse_line(struct span line, struct manifest_entry *ret)
{
    struct span digest, algorithm;
    if (!take_digest(&line, &digest) || !take_algorithm(&line, &algorithm) || !line.n ||
        algorithm.n >= sizeof ret->algorithm || memchr(line.p, 0, line.n))
        return 0;
    *ret = (struct manifest_entry){ .file = strndup(line.p, line.n), .digest = lower_copy(digest) };
    for (size_t i = 0; i < algorithm.n; i++)
        ret->algorithm[i] = upper(algorithm.p[i]);
    if (ret->file && ret->digest)
        return 1;
    free(ret->file);
    free(ret->digest);
    return -ENOMEM;
}

static int add_entry(struct manifest *m, const struct manifest_entry *e)
{
    /* doubling, at powers of two */
    if (!(m->n & (m->n - 1))) {
        struct manifest_entry *entries = reallocarray(m->entries, m->n ? 2 * m->n : 1, sizeof *entries);
        if (!entries)
            return -ENOMEM;
        m->entries = entries;
    }
    m->entries[m->n++] = *e;
    return 0;
}

static int take_line(struct manifest *m, struct span line, size_t number)
{
    struct manifest_entry e;
    line = trimmed(line);
    if (!line.n || line.p[0] == '#')
        return 0;
    int r = parse_line(line, &e);
    if (!r)
        notes_add(&m->notes, "line %zu of the manifest is not understood", number);
    if (r <= 0)
        return r;
    r = m->n < MANIFEST_MAX_ENTRIES ? add_entry(m, &e) : -EFBIG;
    if (r < 0) {
        free(e.file);
        free(e.digest);
    }
    return r;
}

int manifest_parse(const char *text, size_t n, const char *name, struct manifest **ret, struct fault *fault)
{
    if (n > MANIFEST_MAX_SIZE)
        return fault_in(fault, -EFBIG, name, "has %zu bytes, more than the %d KiB that a manifest may have",
                        n, MANIFEST_MAX_SIZE >> 10);
    _cleanup_(manifest_freep) struct manifest *m = calloc(1, sizeof *m);
    int r = m ? 0 : -ENOMEM;
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a byte order mark, of Windows' editors */
        text += 3;
        n -= 3;
    }
    for (size_t number = 1; !r && n; number++) {
        const char *end = memchr(text, '\n', n);
        size_t len = end ? (size_t)(end - text) : n;
        r = take_line(m, (struct span){ text, len }, number);
        size_t whole = len + (end != NULL);
        text += whole;
        n -= whole;
    }
    if (r == -EFBIG)
        return fault_in(fault, r, name, "names more than %d files", MANIFEST_MAX_ENTRIES);
    if (r < 0)
        return fault_in(fault, r, name, "out of memory");
    *ret = TAKE_PTR(m);
    return 0;
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        free(m->entries[i].file);
        free(m->entries[i].digest);
    }
    free(m->entries);
    notes_done(&m->notes);
    free(m);
}
