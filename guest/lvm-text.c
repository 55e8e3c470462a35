/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text in which LVM keeps its metadata, as a tree.
 *
 *     file    = { key '=' value | key '{' ... '}' | '#' comment to the line's end }
 *     value   = number | "string" | '[' value ',' ... ']'
 *     key     = letters, digits, _ . + -
 *
 * The strings stay where they are in the text: each is cut off there, and its escapes are taken out in place.
 * Nodes come out of blocks of memory, so that a tree is freed in a few calls. */
#include "lvm-metadata.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 16,      /* LVM's own texts have 4 */
    NODES_MAX = 1 << 20, /* 60,000 logical volumes */
    BLOCK_NODES = 1024,
};

struct block {
    struct block *next;
    struct lvm_node nodes[BLOCK_NODES];
};

struct lvm_text {
    char *text; /* owned */
    struct lvm_node root;
    struct block *blocks; /* owned */
    size_t n;             /* nodes */
};

struct parser {
    struct lvm_text *t;
    char *p;
    const char *name;
    struct fault *fault;
};

static int damaged(struct parser *s, const char *what)
{
    return fault_in(s->fault, -EUCLEAN, s->name,
                    "the LVM metadata can't be understood: %s at byte %zu of its text", what,
                    (size_t)(s->p - s->t->text));
}

static int node_new(struct parser *s, struct lvm_node **ret)
{
    struct lvm_text *t = s->t;
    if (t->n == NODES_MAX)
        return fault_in(s->fault, -EFBIG, s->name, "the LVM metadata has more than %d values", NODES_MAX);
    if (t->n % BLOCK_NODES == 0) {
        struct block *b = malloc(sizeof *b);
        if (!b)
            return fault_in(s->fault, -ENOMEM, s->name, "out of memory");
        b->next = t->blocks;
        t->blocks = b;
    }
    *ret = &t->blocks->nodes[t->n++ % BLOCK_NODES];
    **ret = (struct lvm_node){ .key = "" };
    return 0;
}

/* To the next word; spaces and comments are passed over. */
static void skip_space(struct parser *s)
{
    for (;;) {
        while (isspace((unsigned char)*s->p))
            s->p++;
        if (*s->p != '#')
            return;
        s->p += strcspn(s->p, "\n");
    }
}

static bool is_key(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("_.+-", c));
}

static int parse_value(struct parser *s, unsigned depth, struct lvm_node *n);

/* The opening quote is at p. */
static int parse_string(struct parser *s, struct lvm_node *n)
{
    char *out = ++s->p;
    n->kind = LVM_STRING;
    n->text = out;
    for (; *s->p != '"'; s->p++) {
        if (*s->p == '\\' && (s->p[1] == '"' || s->p[1] == '\\'))
            s->p++;
        if (!*s->p)
            return damaged(s, "a string without an end");
        *out++ = *s->p;
    }
    s->p++;
    *out = 0; /* at the closing quote at the latest */
    return 0;
}

static int parse_number(struct parser *s, struct lvm_node *n)
{
    char *end;
    errno = 0;
    n->kind = LVM_NUMBER;
    n->number = strtoll(s->p, &end, 10);
    if (end == s->p || errno)
        return damaged(s, "no value");
    s->p = end;
    if (*s->p == '.')
        for (s->p++; isdigit((unsigned char)*s->p);)
            s->p++;
    return 0;
}

static int parse_array(struct parser *s, unsigned depth, struct lvm_node *n)
{
    const struct lvm_node **link = &n->child;
    n->kind = LVM_ARRAY;
    s->p++;
    for (skip_space(s); *s->p != ']'; skip_space(s)) {
        struct lvm_node *item;
        int r = node_new(s, &item);
        if (!r)
            r = parse_value(s, depth + 1, item);
        if (r < 0)
            return r;
        *link = item;
        link = &item->next;
        skip_space(s);
        if (*s->p == ',')
            s->p++;
        else if (*s->p != ']')
            return damaged(s, "an array without an end");
    }
    s->p++;
    return 0;
}

static int parse_value(struct parser *s, unsigned depth, struct lvm_node *n)
{
    if (depth > DEPTH_MAX)
        return damaged(s, "too much nesting");
    if (*s->p == '"')
        return parse_string(s, n);
    return *s->p == '[' ? parse_array(s, depth, n) : parse_number(s, n);
}

static int parse_entries(struct parser *s, unsigned depth, struct lvm_node *section);

/* key = value, or key { ... }. The key is cut off once what follows it has been looked at. */
static int parse_entry(struct parser *s, unsigned depth, struct lvm_node *n)
{
    char *end;
    n->key = s->p;
    while (is_key(*s->p))
        s->p++;
    if (s->p == n->key)
        return damaged(s, "no name");
    end = s->p;
    skip_space(s);
    if (*s->p == '=') {
        s->p++;
        *end = 0;
        skip_space(s);
        return parse_value(s, depth, n);
    }
    if (*s->p != '{')
        return damaged(s, "a name without a value");
    s->p++;
    *end = 0;
    n->kind = LVM_SECTION;
    int r = parse_entries(s, depth + 1, n);
    if (r < 0)
        return r;
    if (*s->p != '}')
        return damaged(s, "a section without an end");
    s->p++;
    return 0;
}

/* Up to a '}' or the end. */
static int parse_entries(struct parser *s, unsigned depth, struct lvm_node *section)
{
    const struct lvm_node **link = &section->child;
    if (depth > DEPTH_MAX)
        return damaged(s, "too much nesting");
    for (skip_space(s); *s->p && *s->p != '}'; skip_space(s)) {
        struct lvm_node *n;
        int r = node_new(s, &n);
        if (!r)
            r = parse_entry(s, depth, n);
        if (r < 0)
            return r;
        *link = n;
        link = &n->next;
    }
    return 0;
}

void lvm_text_free(struct lvm_text *t)
{
    if (!t)
        return;
    while (t->blocks) {
        struct block *b = t->blocks;
        t->blocks = b->next;
        free(b);
    }
    free(t->text);
    free(t);
}

int lvm_text_parse(char *text, const char *name, struct lvm_text **ret, struct fault *fault)
{
    _cleanup_(lvm_text_freep) struct lvm_text *t = calloc(1, sizeof *t);
    if (!t) {
        free(text);
        return fault_in(fault, -ENOMEM, name, "out of memory");
    }
    t->text = text;
    t->root = (struct lvm_node){ .kind = LVM_SECTION, .key = "" };
    struct parser s = { .t = t, .p = text, .name = name, .fault = fault };
    int r = parse_entries(&s, 0, &t->root);
    if (!r && *s.p)
        r = damaged(&s, "one '}' too many");
    if (!r)
        *ret = TAKE_PTR(t);
    return r;
}

const struct lvm_node *lvm_text_root(const struct lvm_text *t)
{
    return &t->root;
}

/* ---- looking into it ---- */

const struct lvm_node *lvm_get(const struct lvm_node *section, const char *key, enum lvm_node_kind kind)
{
    for (const struct lvm_node *n = section->child; n; n = n->next)
        if (n->kind == kind && !strcmp(n->key, key))
            return n;
    return NULL;
}

const char *lvm_get_string(const struct lvm_node *section, const char *key)
{
    const struct lvm_node *n = lvm_get(section, key, LVM_STRING);
    return n ? n->text : NULL;
}

bool lvm_get_number(const struct lvm_node *section, const char *key, uint64_t max, uint64_t *ret)
{
    const struct lvm_node *n = lvm_get(section, key, LVM_NUMBER);
    if (!n || n->number < 0 || (uint64_t)n->number > max)
        return false;
    *ret = (uint64_t)n->number;
    return true;
}

bool lvm_has_word(const struct lvm_node *section, const char *key, const char *word)
{
    const char *one = lvm_get_string(section, key); /* an array of one may be written without its brackets */
    if (one)
        return !strcmp(one, word);
    const struct lvm_node *list = lvm_get(section, key, LVM_ARRAY);
    for (const struct lvm_node *n = list ? list->child : NULL; n; n = n->next)
        if (n->kind == LVM_STRING && !strcmp(n->text, word))
            return true;
    return false;
}
