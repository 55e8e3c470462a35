/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The INF parser and the planner over it, on any bytes: the same twice, what is found is found again, and no
 * file of a plan leads out of the package or of the guest's directories. The first byte chooses the guest. */
#include "guest/driver-plan.h"
#include "promise.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct driver_target targets[] = {
    { DRIVER_X86, 6, 1, 7601, DRIVER_WORKSTATION, 0, "C:\\Windows", "x.inf_x86_neutral_0" },
    { DRIVER_AMD64, 6, 2, 9200, DRIVER_SERVER, 0x80, "D:\\WINNT", "x.inf_amd64_0" },
    { DRIVER_AMD64, 10, 0, 26100, DRIVER_CONTROLLER, 0, "C:\\Windows", "x.inf_amd64_0" },
    { DRIVER_ARM64, 10, 0, 22000, DRIVER_WORKSTATION, 0, "C:\\Windows", "x.inf_arm64_0" },
};

static void look(const struct inf *inf)
{
    for (size_t i = 0; inf_nth_section(inf, i); i++) {
        const struct inf_section *s = inf_nth_section(inf, i);
        PROMISE(inf_section(inf, s->name) == s);
        unsigned last = 0;
        for (const struct inf_line *l = s->lines; l; l = l->next) {
            PROMISE(l->line >= last);
            last = l->line;
            for (unsigned k = 0; k < l->n; k++)
                PROMISE(inf_text(l, k) && l->fields[k].raw);
            if (!l->key.text)
                continue;
            const struct inf_line *same = inf_find(inf, s, l->key.text);
            while (same && same != l)
                same = same->alike;
            PROMISE(same == l);
        }
    }
}

static void check_values(const struct driver_values *values)
{
    for (size_t i = 0; i < values->n; i++) {
        const struct driver_value *v = &values->v[i];
        PROMISE(v->inf && v->root && v->key && v->name && v->op <= DRIVER_CLEAR_BITS);
        PROMISE(!v->n || v->bytes);
        PROMISE(v->op != DRIVER_DELETE_TEXTS || (v->n >= 2 && *v->name));
        PROMISE(v->op != DRIVER_DELETE || v->all_of_key || *v->name);
    }
}

static void check(const struct driver_plan *p, const struct driver_target *t)
{
    PROMISE(p->n_models && p->n_installs && strlen(p->class_guid) == 38);
    for (size_t i = 0; i < p->n_models; i++)
        PROMISE(p->models[i].install < p->n_installs);
    for (size_t i = 0; i < p->n_files; i++) {
        PROMISE(!strstr(p->files[i].dir, "\\..\\") && p->files[i].dir[1] == ':');
        PROMISE(!strpbrk(p->files[i].name, "\\/") && p->files[i].source[0] != '/');
        PROMISE(!strstr(p->files[i].source, "../") && !strchr(p->files[i].source, '\\'));
        PROMISE(p->files[i].dirid != 13 || p->files[i].store || strstr(p->files[i].dir, t->store));
    }
    for (size_t i = 0; i < p->n_old_files; i++) {
        PROMISE(!strstr(p->old_files[i].dir, "\\..\\") && p->old_files[i].dir[1] == ':');
        PROMISE(!strpbrk(p->old_files[i].name, "\\/:"));
        PROMISE(!p->old_files[i].to || !strpbrk(p->old_files[i].to, "\\/:"));
    }
    for (size_t i = 0; i < p->n_installs; i++) {
        check_values(&p->installs[i].software);
        check_values(&p->installs[i].hardware);
    }
    for (size_t i = 0; i < p->n_services; i++)
        PROMISE(p->services[i].image_path && p->services[i].start <= 4 && !strchr(p->services[i].name, '\\'));
    for (size_t i = 0; i < p->n_services; i++) {
        check_values(&p->services[i].values);
        check_values(&p->services[i].log_values);
    }
}

/* Whatever is included is the same text under another name, so that sections need each other across INFs. */
struct text {
    const char *p;
    size_t n;
    unsigned left; /* this often */
};

static int read_included(void *ctx, const char *name, uint8_t **ret, size_t *ret_n, char **ret_store)
{
    struct text *t = ctx;
    PROMISE(*name && !strpbrk(name, "\\/:"));
    *ret_store = t->left % 2 ? strdup("box.inf_0") : NULL;
    if (!t->left)
        return -ENOENT;
    t->left--;
    *ret = malloc(t->n ? t->n : 1);
    if (!*ret)
        return -ENOMEM;
    memcpy(*ret, t->p, t->n);
    *ret_n = t->n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inf *a = NULL, *b = NULL;
    struct fault fault = { 0 };
    if (!size || size > 1 << 16)
        return 0;
    const struct driver_target *t = &targets[data[0] % 4];
    char *text =
        malloc(size); /* without the first byte exactly as large, so that a sanitizer sees one too much */
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    int r = inf_parse(text, size - 1, "fuzz.inf", INF_ENGLISH, &a, &fault);
    PROMISE(r == fault.err && (r == 0) == (a != NULL));
    PROMISE(inf_parse(text, size - 1, "fuzz.inf", INF_ENGLISH, &b, NULL) == r);
    inf_free(b);
    if (a) {
        struct driver_plan *plan = NULL;
        struct text whole = { text, size - 1, data[0] / 64 };
        const struct driver_includes from = { read_included, &whole };
        look(a);
        fault = (struct fault){ 0 };
        r = driver_plan(a, t, &from, &plan, &fault);
        PROMISE(r == fault.err);
        if (plan)
            check(plan, t);
        driver_plan_free(plan);
    }
    inf_free(a);
    free(text);
    return 0;
}
