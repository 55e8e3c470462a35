/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grammar of INF files.
 *
 *     [Section]                      ; comment
 *     key = field, "a, quoted one", %token%
 *     field,,another, \              ; goes on in the next line
 *         last
 *     [Strings]
 *     token = "text"
 *
 * The text is made UTF-8 first (inf-text.c), then cut into raw fields, and once all of [Strings] is known,
 * tokens are replaced. What real files are sloppy about is allowed as Windows allows it: a quote that isn't
 * closed ends with its line, what stands behind a ']' or before the first section is passed over (samples of
 * Microsoft's begin with a C comment), unknown tokens stay as they are.
 *
 * Memory comes from an arena of bounded size: tokens that stand for long texts could blow a small file up. */
#include "inf.h"
#include "inf-text.h"

#include "../formats/keyed-hash.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_NAME = 255,    /* of a section: Microsoft's limit */
    MAX_FIELD = 4096,  /* of a field, tokens replaced: likewise */
    MAX_FIELDS = 8192, /* of a line: binary data has one a byte */
    MAX_MEMORY = 64 << 20,
    CHUNK = 64 << 10,
};

struct chunk {
    struct chunk *next;
    size_t used, size;
    char bytes[];
};

struct section {
    struct inf_section seen;
    struct inf_line *tail;
};

/* What a name was found for: a section, a section's key, or a token. */
struct slot {
    const struct inf_section *scope; /* of a key; NULL for sections, &strings_scope for tokens */
    const char *name;
    void *what;            /* struct section, struct inf_line (first alike), or a text */
    struct inf_line *last; /* alike */
};

struct inf {
    const char *name;
    struct chunk *chunks;
    size_t memory;             /* of chunks and slots */
    bool over;                 /* there was no more because of our limit */
    struct section **sections; /* owned array */
    size_t n_sections, sections_room;
    struct slot *slots; /* owned: open addressing */
    size_t n_slots, slots_used;
};

static const struct inf_section strings_scope;

/* ---- memory and names ---- */

static void *arena(struct inf *inf, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if (!inf->chunks || inf->chunks->size - inf->chunks->used < n) {
        size_t size = n > CHUNK ? n : CHUNK;
        inf->over |= size > MAX_MEMORY - inf->memory;
        if (inf->over)
            return NULL;
        struct chunk *c = malloc(sizeof *c + size);
        if (!c)
            return NULL;
        *c = (struct chunk){ .next = inf->chunks, .size = size };
        inf->chunks = c;
        inf->memory += size;
    }
    void *p = inf->chunks->bytes + inf->chunks->used;
    inf->chunks->used += n;
    return p;
}

static const char *arena_text(struct inf *inf, const char *s, size_t n)
{
    char *p = arena(inf, n + 1);
    if (!p)
        return NULL;
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

static int no_memory(const struct inf *inf, struct fault *fault)
{
    if (inf->over)
        return fault_in(fault, -EFBIG, inf->name, "the INF takes more than %u MiB of memory",
                        MAX_MEMORY >> 20);
    return fault_in(fault, -ENOMEM, inf->name, "out of memory");
}

/* The slot of the name, or the empty one where it belongs. */
static struct slot *slot_of(const struct inf *inf, const struct inf_section *scope, const char *name)
{
    for (size_t i = keyed_hash((uintptr_t)scope, name);; i++) {
        struct slot *s = &inf->slots[i & (inf->n_slots - 1)];
        if (!s->name || (s->scope == scope && !strcasecmp(s->name, name)))
            return s;
    }
}

/* The same, with room for one more; NULL: no memory. */
static struct slot *slot_make(struct inf *inf, const struct inf_section *scope, const char *name)
{
    if (inf->slots_used * 2 >= inf->n_slots) {
        struct slot *old = inf->slots;
        size_t n = inf->n_slots, bytes = (n ? n * 2 : 256) * sizeof *old;
        inf->over |= bytes > MAX_MEMORY - inf->memory;
        struct slot *grown = inf->over ? NULL : calloc(1, bytes);
        if (!grown)
            return NULL;
        inf->memory += bytes - n * sizeof *old; /* the old ones go below */
        inf->slots = grown;
        inf->n_slots = n ? n * 2 : 256;
        for (size_t i = 0; i < n; i++)
            if (old[i].name)
                *slot_of(inf, old[i].scope, old[i].name) = old[i];
        free(old);
    }
    struct slot *s = slot_of(inf, scope, name);
    if (!s->name) {
        *s = (struct slot){ .scope = scope, .name = name };
        inf->slots_used++;
    }
    return s;
}

static struct section *section_make(struct inf *inf, const char *name, unsigned line)
{
    struct slot *s = slot_make(inf, NULL, name);
    if (!s || s->what)
        return s ? s->what : NULL;
    if (inf->n_sections == inf->sections_room) {
        size_t room = inf->sections_room ? inf->sections_room * 2 : 32;
        void *grown = realloc(inf->sections, room * sizeof *inf->sections);
        if (!grown)
            return NULL;
        inf->sections = grown;
        inf->sections_room = room;
    }
    struct section *section = arena(inf, sizeof *section);
    if (!section)
        return NULL;
    *section = (struct section){ .seen = { .name = name, .line = line } };
    s->what = section;
    inf->sections[inf->n_sections++] = section;
    return section;
}

/* ---- lines ---- */

struct lexer {
    struct inf *inf;
    const char *p, *end;
    unsigned line;
    struct fault *fault;
    char field[MAX_FIELD + 1];
    size_t n, solid;          /* length; and up to where blanks belong to it */
    struct inf_field *fields; /* owned: of the line */
    size_t n_fields, fields_room;
};

static bool at_break(const struct lexer *x)
{
    return x->p == x->end || *x->p == '\n' || *x->p == '\r';
}

static void skip_blanks(struct lexer *x)
{
    while (x->p < x->end && (*x->p == ' ' || *x->p == '\t'))
        x->p++;
}

static void skip_rest(struct lexer *x)
{
    while (!at_break(x))
        x->p++;
}

/* CR, LF or CRLF */
static void skip_break(struct lexer *x)
{
    if (x->p == x->end)
        return;
    bool cr = *x->p++ == '\r';
    if (cr && x->p < x->end && *x->p == '\n')
        x->p++;
    x->line++;
}

static int add_char(struct lexer *x, char c, bool solid)
{
    if (x->n == MAX_FIELD)
        return fault_in(x->fault, -EFBIG, x->inf->name, "line %u: a field of more than %u bytes", x->line,
                        MAX_FIELD);
    x->field[x->n++] = c;
    if (solid)
        x->solid = x->n;
    return 0;
}

/* At the quote that opens: what it holds, and the one that closes. */
static int lex_quoted(struct lexer *x)
{
    x->p++;
    x->solid = x->n;
    while (!at_break(x)) {
        if (*x->p == '"') {
            x->p++;
            if (at_break(x) || *x->p != '"')
                return 0;
        }
        int r = add_char(x, *x->p++, true);
        if (r)
            return r;
    }
    return 0;
}

/* A backslash: is nothing but blanks and a comment between it and the line's end? Then that is passed. */
static bool continues(struct lexer *x)
{
    const char *p = x->p + 1;
    if (p < x->end && *p == '\\') /* of two, the first is ignored */
        p++;
    while (p < x->end && (*p == ' ' || *p == '\t'))
        p++;
    if (p < x->end && *p != ';' && *p != '\n' && *p != '\r')
        return false;
    x->p = p;
    skip_rest(x);
    skip_break(x);
    skip_blanks(x);
    return true;
}

static int end_field(struct lexer *x, struct inf_field *ret)
{
    const char *text = arena_text(x->inf, x->field, x->solid);
    x->n = x->solid = 0;
    if (!text)
        return no_memory(x->inf, x->fault);
    *ret = (struct inf_field){ .text = text, .raw = text };
    return 0;
}

static int push_field(struct lexer *x)
{
    if (x->n_fields == MAX_FIELDS)
        return fault_in(x->fault, -EFBIG, x->inf->name, "line %u: more than %u fields", x->line, MAX_FIELDS);
    if (x->n_fields == x->fields_room) {
        size_t room = x->fields_room ? x->fields_room * 2 : 16;
        struct inf_field *grown = realloc(x->fields, room * sizeof *grown);
        if (!grown)
            return fault_in(x->fault, -ENOMEM, x->inf->name, "out of memory");
        x->fields = grown;
        x->fields_room = room;
    }
    int r = end_field(x, &x->fields[x->n_fields]);
    if (!r)
        x->n_fields++;
    return r;
}

/* One logical line, up to the break that ends it. */
static int lex_fields(struct lexer *x, struct inf_field *ret_key)
{
    *ret_key = (struct inf_field){ 0 };
    x->n = x->solid = x->n_fields = 0;
    bool any = false; /* something that makes a field, if only a comma */
    for (int r = 0; !at_break(x) && *x->p != ';';) {
        char c = *x->p;
        if (c == '"') {
            any = true;
            r = lex_quoted(x);
        } else if (c == '\\' && continues(x)) {
            continue;
        } else if (c == ',') {
            any = true;
            x->p++;
            r = push_field(x);
            skip_blanks(x);
        } else if (c == '=' && !ret_key->text && !x->n_fields) {
            x->p++;
            any = false;
            r = end_field(x, ret_key);
            skip_blanks(x);
        } else {
            x->p++;
            bool blank = c == ' ' || c == '\t';
            any |= !blank;
            r = add_char(x, c, !blank);
        }
        if (r)
            return r;
    }
    skip_rest(x);
    return any ? push_field(x) : 0;
}

static int lex_header(struct lexer *x, struct section **ret)
{
    const char *from = ++x->p;
    while (!at_break(x) && *x->p != ']')
        x->p++;
    if (at_break(x))
        return fault_in(x->fault, -EUCLEAN, x->inf->name, "line %u: a section's name without its ']'",
                        x->line);
    const char *to = x->p;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (from < to && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    if (to - from > MAX_NAME)
        return fault_in(x->fault, -EFBIG, x->inf->name, "line %u: a section's name of more than %u bytes",
                        x->line, MAX_NAME);
    const char *name = arena_text(x->inf, from, (size_t)(to - from));
    *ret = name ? section_make(x->inf, name, x->line) : NULL;
    skip_rest(x);
    return *ret ? 0 : no_memory(x->inf, x->fault);
}

static int add_line(struct lexer *x, struct section *section, unsigned at, struct inf_field key)
{
    struct inf *inf = x->inf;
    struct inf_line *line = arena(inf, sizeof *line);
    struct inf_field *fields = x->n_fields ? arena(inf, x->n_fields * sizeof *fields) : NULL;
    if (!line || (x->n_fields && !fields))
        return no_memory(inf, x->fault);
    if (x->n_fields)
        memcpy(fields, x->fields, x->n_fields * sizeof *fields);
    *line = (struct inf_line){ .line = at, .key = key, .n = (unsigned)x->n_fields, .fields = fields };
    if (section->tail)
        section->tail->next = line;
    else
        section->seen.lines = line;
    section->tail = line;
    return 0;
}

static int lex_all(struct lexer *x)
{
    struct section *section = NULL;
    while (x->p < x->end) {
        skip_blanks(x);
        unsigned at = x->line;
        int r = 0;
        if (x->p < x->end && *x->p == '[') {
            r = lex_header(x, &section);
        } else {
            struct inf_field key;
            r = lex_fields(x, &key);
            if (!r && section && (key.text || x->n_fields))
                r = add_line(x, section, at, key);
        }
        if (r)
            return r;
        skip_break(x);
    }
    return 0;
}

/* ---- tokens ---- */

static int learn_tokens(struct inf *inf, const char *section_name)
{
    const struct inf_section *section = inf_section(inf, section_name);
    for (const struct inf_line *l = section ? section->lines : NULL; l; l = l->next) {
        if (!l->key.text)
            continue;
        struct slot *s = slot_make(inf, &strings_scope, l->key.text);
        if (!s)
            return -ENOMEM;
        if (!s->what) /* of several, the first: a language's own come first */
            s->what = (void *)(uintptr_t)inf_text(l, 0);
    }
    return 0;
}

/* Appends n bytes. False: too long. */
static bool put(char *buf, size_t *len, const char *s, size_t n)
{
    if (n > MAX_FIELD - *len)
        return false;
    memcpy(buf + *len, s, n);
    *len += n;
    return true;
}

/* "%%" is a percent sign; a token that is unknown, or a directory's number, stays. */
static int expand(struct inf *inf, const struct inf_line *line, struct inf_field *field, struct fault *fault)
{
    if (!field->raw || !strchr(field->raw, '%'))
        return 0;
    char buf[MAX_FIELD + 1];
    size_t len = 0;
    bool fits = true;
    for (const char *p = field->raw; *p && fits;) {
        const char *to = *p == '%' ? strchr(p + 1, '%') : NULL;
        if (!to) {
            fits = put(buf, &len, p++, 1);
        } else if (to == p + 1) {
            fits = put(buf, &len, p, 1);
            p = to + 1;
        } else {
            char token[MAX_FIELD + 1];
            memcpy(token, p + 1, (size_t)(to - p - 1));
            token[to - p - 1] = 0;
            const char *text = inf_token(inf, token);
            fits = text ? put(buf, &len, text, strlen(text)) : put(buf, &len, p, (size_t)(to - p + 1));
            p = to + 1;
        }
    }
    if (!fits)
        return fault_in(fault, -EFBIG, inf->name, "line %u: a field of more than %u bytes", line->line,
                        MAX_FIELD);
    field->text = arena_text(inf, buf, len);
    return field->text ? 0 : no_memory(inf, fault);
}

static bool is_strings(const char *name)
{
    return !strncasecmp(name, "Strings", 7) && (!name[7] || name[7] == '.');
}

static int expand_all(struct inf *inf, struct fault *fault)
{
    for (size_t i = 0; i < inf->n_sections; i++) {
        if (is_strings(inf->sections[i]->seen.name))
            continue;
        for (struct inf_line *l = inf->sections[i]->seen.lines; l; l = l->next) {
            int r = expand(inf, l, &l->key, fault);
            for (unsigned k = 0; !r && k < l->n; k++)
                r = expand(inf, l, &l->fields[k], fault);
            if (r)
                return r;
        }
    }
    return 0;
}

static int index_keys(struct inf *inf)
{
    for (size_t i = 0; i < inf->n_sections; i++)
        for (struct inf_line *l = inf->sections[i]->seen.lines; l; l = l->next) {
            struct slot *s = l->key.text ? slot_make(inf, &inf->sections[i]->seen, l->key.text) : NULL;
            if (l->key.text && !s)
                return -ENOMEM;
            if (!s)
                continue;
            if (s->last)
                s->last->alike = l;
            else
                s->what = l;
            s->last = l;
        }
    return 0;
}

/* ---- the whole ---- */

static int check_signature(const struct inf *inf, struct fault *fault)
{
    const char *s = inf_value(inf, "Version", "Signature");
    if (!s)
        return fault_in(fault, -EUCLEAN, inf->name, "not an INF: [Version] has no Signature");
    if (strcasecmp(s, "$Windows NT$") && strcasecmp(s, "$Chicago$") && strcasecmp(s, "$Windows 95$"))
        return fault_in(fault, -EUCLEAN, inf->name, "line %u: the signature \"%.40s\" is none of Windows",
                        inf_find(inf, inf_section(inf, "Version"), "Signature")->line, s);
    return 0;
}

static int parse_text(struct inf *inf, const char *text, size_t n, unsigned language, struct fault *fault)
{
    struct lexer *x = calloc(1, sizeof *x);
    if (!x)
        return fault_in(fault, -ENOMEM, inf->name, "out of memory");
    *x = (struct lexer){ .inf = inf, .p = text, .end = text + n, .line = 1, .fault = fault };
    int r = lex_all(x);
    free(x->fields);
    free(x);
    char own[32], primary[32];
    snprintf(own, sizeof own, "Strings.%04x", language);
    snprintf(primary, sizeof primary, "Strings.%04x", language & 0x3ff);
    const char *const tables[] = { own, primary, "Strings" };
    for (size_t i = 0; !r && i < sizeof tables / sizeof tables[0]; i++)
        if (learn_tokens(inf, tables[i]))
            r = no_memory(inf, fault);
    if (!r)
        r = expand_all(inf, fault);
    if (!r && index_keys(inf))
        r = no_memory(inf, fault);
    return r ? r : check_signature(inf, fault);
}

int inf_parse(const void *bytes, size_t n, const char *name, unsigned language, struct inf **ret,
              struct fault *fault)
{
    if (n > INF_MAX_SIZE)
        return fault_in(fault, -EFBIG, name, "an INF of more than %u MiB", INF_MAX_SIZE >> 20);
    _cleanup_(inf_freep) struct inf *inf = calloc(1, sizeof *inf);
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    if (!inf || inf_to_utf8(bytes, n, &text, &len))
        return fault_in(fault, -ENOMEM, name, "out of memory");
    inf->name = name;
    inf->name = arena_text(inf, name, strlen(name));
    if (!inf->name || !slot_make(inf, NULL, ""))
        return fault_in(fault, -ENOMEM, name, "out of memory");
    const char *nul = memchr(text, 0, len);
    if (nul)
        return fault_in(fault, -EUCLEAN, name, "not an INF: it holds bytes of 0");
    int r = parse_text(inf, text, len, language, fault);
    if (!r)
        *ret = TAKE_PTR(inf);
    return r;
}

void inf_free(struct inf *inf)
{
    if (!inf)
        return;
    for (struct chunk *c = inf->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(inf->sections);
    free(inf->slots);
    free(inf);
}

const char *inf_name(const struct inf *inf)
{
    return inf->name;
}

const struct inf_section *inf_section(const struct inf *inf, const char *name)
{
    const struct section *section = slot_of(inf, NULL, name)->what;
    return section ? &section->seen : NULL;
}

const struct inf_line *inf_find(const struct inf *inf, const struct inf_section *section, const char *key)
{
    return section ? slot_of(inf, section, key)->what : NULL;
}

const char *inf_text(const struct inf_line *line, unsigned i)
{
    return line && i < line->n ? line->fields[i].text : "";
}

const char *inf_value(const struct inf *inf, const char *section, const char *key)
{
    const struct inf_line *l = inf_find(inf, inf_section(inf, section), key);
    return l ? inf_text(l, 0) : NULL;
}

const char *inf_token(const struct inf *inf, const char *token)
{
    return slot_of(inf, &strings_scope, token)->what;
}

const struct inf_section *inf_nth_section(const struct inf *inf, size_t i)
{
    return i < inf->n_sections ? &inf->sections[i]->seen : NULL;
}
