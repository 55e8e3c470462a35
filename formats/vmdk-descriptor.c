/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of a VMDK:
 *
 *     # Disk DescriptorFile
 *     version=1
 *     CID=123a4bcd
 *     parentCID=ffffffff
 *     createType="twoGbMaxExtentSparse"
 *
 *     # Extent description
 *     RW 4192256 SPARSE "disk-s001.vmdk"
 *     RW 2101248 SPARSE "disk-s002.vmdk"
 *
 *     # The Disk Data Base
 *     #DDB
 *     ddb.adapterType = "lsilogic"
 *
 * Every line is blank, a comment, `key = value`, or an extent. What is tolerated because it is met: CRLF,
 * tabs, a byte order mark, blanks around `=`, bare or quoted values, unbalanced quotes in ddb values, keys
 * and types in any case, NULs after the end. A line of no kind is refused: to pass over an extent line that
 * was spelled oddly would make the disk silently shorter. So are two different values of one key that we
 * follow.
 *
 * Sources: VMware's "Virtual Disk Format 5.0"; libvmdk's format document. */
#include "vmdk-descriptor.h"
#include "charset.h"
#include "checked.h"
#include "cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <string.h>
#include <strings.h>

/* What is left of a line, and the byte of the file that its beginning lies at. */
struct line {
    const char *p, *end;
    uint64_t at;
};

struct span {
    const char *p;
    size_t n;
};

static const char *const key_names[VMDK_KEYS] = {
    [VMDK_VERSION] = "version",
    [VMDK_ENCODING] = "encoding",
    [VMDK_CID] = "CID",
    [VMDK_PARENT_CID] = "parentCID",
    [VMDK_CREATE_TYPE] = "createType",
    [VMDK_PARENT_HINT] = "parentFileNameHint",
    [VMDK_NATIVE_SNAPSHOT] = "isNativeSnapshot",
    [VMDK_LONG_CONTENT_ID] = "ddb.longContentID",
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static void skip_blanks(struct line *l)
{
    while (l->p < l->end && is_blank(*l->p))
        l->p++;
}

static struct span trim(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    return (struct span){ p, (size_t)(end - p) };
}

static bool span_is(struct span s, const char *word)
{
    return s.n == strlen(word) && !strncasecmp(s.p, word, s.n);
}

static struct span next_word(struct line *l)
{
    skip_blanks(l);
    const char *start = l->p;
    while (l->p < l->end && !is_blank(*l->p))
        l->p++;
    return (struct span){ start, (size_t)(l->p - start) };
}

static bool parse_decimal(struct span s, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++)
        if (!isdigit((unsigned char)s.p[i]) || !checked_mul(v, 10, &v) ||
            !checked_add(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    if (!s.n)
        return false;
    *ret = v;
    return true;
}

static bool parse_hex32(const char *s, uint32_t *ret)
{
    uint32_t v = 0;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
        s += 2;
    if (!*s || strspn(s, "0123456789abcdefABCDEF") != strlen(s))
        return false;
    for (; *s; s++) {
        if (v >> 28)
            return false;
        v = v << 4 | (uint32_t)(isdigit((unsigned char)*s) ? *s - '0' : (*s | 0x20) - 'a' + 10);
    }
    *ret = v;
    return true;
}

/* ---- one line ---- */

struct parser {
    struct vmdk_descriptor *d;
    size_t room; /* of d->extents */
    const char *file;
    struct fault *fault;
};

static int refuse_line(struct parser *p, const struct line *l, const char *why)
{
    size_t n = (size_t)(l->end - l->p);
    return fault_at(p->fault, -EUCLEAN, p->file, l->at, "the descriptor's line \"%.*s\" %s",
                    (int)min_u64(n, 120), l->p, why);
}

static bool parse_access(struct span word, enum vmdk_access *ret)
{
    static const char *const names[] = {
        [VMDK_RW] = "RW", [VMDK_RDONLY] = "RDONLY", [VMDK_NOACCESS] = "NOACCESS"
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (span_is(word, names[i])) {
            *ret = (enum vmdk_access)i;
            return true;
        }
    return false;
}

/* An extent's file name, quoted or, by hand-written files, bare. *ret stays empty when there is none. */
static bool parse_name(struct line *l, struct span *ret)
{
    skip_blanks(l);
    if (l->p == l->end || *l->p != '"') {
        *ret = next_word(l);
        return true;
    }
    const char *start = l->p + 1, *quote = memchr(start, '"', (size_t)(l->end - start));
    if (!quote)
        return false;
    *ret = (struct span){ start, (size_t)(quote - start) };
    l->p = quote + 1;
    return true;
}

static int add_extent(struct parser *p, const struct vmdk_extent *e)
{
    struct vmdk_descriptor *d = p->d;
    if (d->n_extents >= VMDK_MAX_EXTENTS)
        return fault_at(p->fault, -EFBIG, p->file, e->at, "the descriptor has more than %d extents",
                        VMDK_MAX_EXTENTS);
    if (d->n_extents == p->room) {
        size_t room = p->room ? 2 * p->room : 4;
        struct vmdk_extent *more = realloc(d->extents, room * sizeof *more);
        if (!more)
            return fault_in(p->fault, -ENOMEM, p->file, "out of memory");
        d->extents = more;
        p->room = room;
    }
    d->extents[d->n_extents++] = *e;
    return 0;
}

/* The rest of an extent line, behind its access and number of sectors. */
static int parse_extent(struct parser *p, const struct line *whole, struct line rest, struct vmdk_extent e)
{
    struct span type = next_word(&rest), name = { NULL, 0 };
    if (!type.n || type.n >= sizeof e.type)
        return refuse_line(p, whole, "has no extent type");
    for (size_t i = 0; i < type.n; i++)
        e.type[i] = (char)toupper((unsigned char)type.p[i]);
    if (e.sectors > VMDK_MAX_SECTORS)
        return refuse_line(p, whole, "has too many sectors");
    if (!parse_name(&rest, &name))
        return refuse_line(p, whole, "has a file name without a closing quote");
    struct span offset = next_word(&rest);
    if (offset.n && (!parse_decimal(offset, &e.offset_sectors) || e.offset_sectors > VMDK_MAX_SECTORS))
        return refuse_line(p, whole, "has an offset that isn't one");
    if (name.p && name.n && !(e.name = strndup(name.p, name.n)))
        return fault_in(p->fault, -ENOMEM, p->file, "out of memory");
    int r = add_extent(p, &e);
    if (r < 0)
        free(e.name);
    return r;
}

/* Values are bare or quoted; what follows the closing quote is dropped. A quote that is never closed is met
 * in ddb values, and then stands for itself. */
static struct span unquote(struct span v)
{
    if (!v.n || v.p[0] != '"')
        return v;
    const char *quote = memchr(v.p + 1, '"', v.n - 1);
    if (!quote)
        return (struct span){ v.p + 1, v.n - 1 };
    return (struct span){ v.p + 1, (size_t)(quote - v.p) - 1 };
}

static bool is_encryption_key(struct span key)
{
    static const char *const prefixes[] = { "encryption", "keySafe", "keyStore", "dataFileKey" };
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (key.n >= strlen(prefixes[i]) && !strncasecmp(key.p, prefixes[i], strlen(prefixes[i])))
            return true;
    return false;
}

static int parse_pair(struct parser *p, const struct line *l, const char *equals)
{
    struct span key = trim(l->p, equals), value = unquote(trim(equals + 1, l->end));
    if (is_encryption_key(key))
        p->d->encrypted = true;
    for (size_t i = 0; i < VMDK_KEYS; i++) {
        char **slot = &p->d->value[i];
        if (!span_is(key, key_names[i]))
            continue;
        if (*slot && (strlen(*slot) != value.n || memcmp(*slot, value.p, value.n)))
            return refuse_line(p, l, "contradicts an earlier one");
        if (!*slot && !(*slot = strndup(value.p, value.n)))
            return fault_in(p->fault, -ENOMEM, p->file, "out of memory");
    }
    return 0;
}

static int parse_line(struct parser *p, struct line l)
{
    struct span content = trim(l.p, l.end);
    l.at += (uint64_t)(content.p - l.p);
    l.p = content.p;
    l.end = content.p + content.n;
    if (!content.n || content.p[0] == '#')
        return 0;
    struct line rest = l;
    struct vmdk_extent e = { .at = l.at };
    /* a key may begin with "RW" too, so both words decide */
    if (parse_access(next_word(&rest), &e.access) && parse_decimal(next_word(&rest), &e.sectors))
        return parse_extent(p, &l, rest, e);
    const char *equals = memchr(l.p, '=', content.n);
    if (!equals || equals == l.p)
        return refuse_line(p, &l, "is not understood");
    return parse_pair(p, &l, equals);
}

/* Takes the next line off [*pos, end). */
static struct line take_line(const char *text, size_t n, size_t *pos, uint64_t at)
{
    const char *start = text + *pos, *eol = memchr(start, '\n', n - *pos);
    const char *end = eol ? eol : text + n;
    struct line l = { start, end, at + *pos };
    *pos = (size_t)(end - text) + (eol != NULL);
    return l;
}

static size_t skip_bom(const char *text, size_t n)
{
    return n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
}

/* ---- names ---- */

static bool is_utf8(const char *s)
{
    iconv_t cd = iconv_open("UTF-32LE", "UTF-8");
    if (cd == (iconv_t)-1)
        return false;
    char *in = (char *)(size_t)s, out[256];
    size_t left = strlen(s);
    bool ok = true;
    while (ok && left) {
        char *o = out;
        size_t room = sizeof out;
        ok = iconv(cd, &in, &left, &o, &room) != (size_t)-1 || errno == E2BIG;
    }
    iconv_close(cd);
    return ok;
}

/* Turns *s into UTF-8 where it isn't yet and `charset` is known; leaves it as it is where it doesn't convert.
 */
static int to_utf8(char **s, const char *charset)
{
    if (!*s || !charset || is_utf8(*s))
        return 0;
    iconv_t cd = iconv_open("UTF-8", charset);
    if (cd == (iconv_t)-1)
        return 0;
    char *in = *s;
    size_t left = strlen(in), room = 4 * left;
    char *utf8 = malloc(room + 1), *out = utf8;
    bool converted = utf8 && iconv(cd, &in, &left, &out, &room) != (size_t)-1;
    iconv_close(cd);
    if (converted) {
        *out = 0;
        free(*s);
        *s = utf8;
    } else {
        free(utf8);
    }
    return utf8 ? 0 : -ENOMEM;
}

static int finish_name(char **name, const char *charset)
{
    int r = to_utf8(name, charset);
    for (char *c = *name; !r && c && *c; c++)
        if (*c == '\\')
            *c = '/';
    return r;
}

/* ---- the whole ---- */

static int finish_cid(struct parser *p, enum vmdk_key key, uint32_t *ret)
{
    const char *value = p->d->value[key];
    if (value && !parse_hex32(value, ret))
        return fault_in(p->fault, -EUCLEAN, p->file, "the descriptor's %s \"%.40s\" is no content id",
                        key_names[key], value);
    return 0;
}

static int descriptor_finish(struct parser *p)
{
    struct vmdk_descriptor *d = p->d;
    const char *charset = charset_iconv(d->value[VMDK_ENCODING]), *version = d->value[VMDK_VERSION];
    uint64_t number = 1;
    if (version &&
        (!parse_decimal((struct span){ version, strlen(version) }, &number) || number > UINT32_MAX))
        return fault_in(p->fault, -EUCLEAN, p->file, "the descriptor's version \"%.40s\" is no number",
                        version);
    d->version = (uint32_t)number;
    d->parent_cid = VMDK_NO_PARENT;
    d->has_cid = d->value[VMDK_CID] != NULL;
    int r = finish_cid(p, VMDK_CID, &d->cid);
    if (!r)
        r = finish_cid(p, VMDK_PARENT_CID, &d->parent_cid);
    if (r < 0)
        return r;
    r = finish_name(&d->value[VMDK_PARENT_HINT], charset);
    for (size_t i = 0; !r && i < d->n_extents; i++)
        r = finish_name(&d->extents[i].name, charset);
    return r < 0 ? fault_in(p->fault, r, p->file, "out of memory") : 0;
}

int vmdk_descriptor_parse(const char *text, size_t n, const char *file, uint64_t at,
                          struct vmdk_descriptor *ret, struct fault *fault)
{
    struct vmdk_descriptor d = { 0 };
    struct parser p = { .d = &d, .file = file, .fault = fault };
    if (n > VMDK_TEXT_MAX)
        return fault_in(fault, -EFBIG, file, "the descriptor is larger than %d bytes", VMDK_TEXT_MAX);
    n = strnlen(text, n);
    int r = 0;
    for (size_t pos = skip_bom(text, n); !r && pos < n;)
        r = parse_line(&p, take_line(text, n, &pos, at));
    if (!r)
        r = descriptor_finish(&p);
    if (r < 0)
        vmdk_descriptor_done(&d);
    else
        *ret = d;
    return r;
}

void vmdk_descriptor_done(struct vmdk_descriptor *d)
{
    for (size_t i = 0; i < VMDK_KEYS; i++)
        free(d->value[i]);
    for (size_t i = 0; i < d->n_extents; i++)
        free(d->extents[i].name);
    free(d->extents);
    *d = (struct vmdk_descriptor){ 0 };
}

unsigned vmdk_descriptor_probe(const char *text, size_t n)
{
    static const char title[] = "disk descriptorfile";
    enum { BITS_TITLE = 120, BITS_KEY = 24 };
    unsigned bits = 0;
    n = strnlen(text, n);
    for (size_t pos = skip_bom(text, n); pos < n;) {
        struct line l = take_line(text, n, &pos, 0);
        struct span s = trim(l.p, l.end);
        struct line rest = { s.p, s.p + s.n, 0 };
        enum vmdk_access access;
        uint64_t number;
        if (s.n && s.p[0] == '#') {
            struct span words = trim(s.p + 1, s.p + s.n);
            if (span_is(words, title))
                return BITS_TITLE;
            continue;
        }
        if (parse_access(next_word(&rest), &access) && parse_decimal(next_word(&rest), &number))
            bits += BITS_KEY;
        const char *equals = memchr(s.p, '=', s.n);
        struct span key = equals ? trim(s.p, equals) : (struct span){ s.p, 0 };
        bits += span_is(key, "CID") || span_is(key, "parentCID") || span_is(key, "createType") ? BITS_KEY : 0;
        if (s.n && !equals && !bits)
            return 0; /* text, or not even that, of another kind */
    }
    return bits >= 2 * BITS_KEY ? bits : 0; /* one such line may stand in any configuration file */
}
