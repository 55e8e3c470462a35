/* SPDX-License-Identifier: GPL-2.0-or-later */
/* integrity.json in the root, where a source has an OVF manifest: is each file what the manifest says?
 *
 *     {
 *       "schema": 1, "manifest": "web01.ova(web01.mf)",
 *       "members": [
 *         {"file": "web01-disk1.vmdk", "algorithm": "SHA256", "expected": "7d86...",      "computed":
 * "7d86...", "status": "verified"}, ... ], "signature": {"file": "web01.ova(web01.cert)", "status": "not
 * verified"}, "status": "verified"
 *     }
 *
 * It is computed while it is read, by each reader for himself: nothing is kept, and the files are read as
 * they are stored (compressed, in chunks). A read of this file does at most STEP bytes of that work and then
 * returns what there is of the text; after a step that brought no text, that is a blank, which JSON allows
 * between "expected" and "computed". So each request is short: others are served in between, and a reader can
 * be interrupted at any time. A mismatch is a finding, never an error. */
#include "ferry.h"

#include "../formats/checked.h"
#include "../formats/hash.h"
#include "../formats/manifest.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEP = 16 << 20, PIECE = 1 << 20 }; /* bytes hashed for one request, and at a time */
enum { MAX_CHUNKS = 16384 }; /* of one file, looked for in case the manifest doesn't name them */

/* A file to be reported; in the order of the manifest, then those that it doesn't name. */
struct job {
    const struct vm_package *package;
    const struct manifest_entry *entry; /* of a manifest below; NULL: the file isn't named */
    char *name;                         /* owned, when it isn't named */
};

struct integrity {
    struct handle handle;
    pthread_mutex_t lock; /* protects all below; held while a step is made */
    const struct vm *vm;
    struct manifest **manifests; /* owned; one for each package */
    struct job *jobs;            /* owned */
    size_t n_jobs, next;
    bool begun, ended; /* the text */
    bool mismatch, incomplete;
    int error; /* the text can't be made: no memory */
    /* the file at work; `file` NULL: none */
    struct file *file;
    struct digest *digest;
    uint64_t at;
    uint8_t *piece;
    /* the text so far */
    char *text;
    size_t n, room;
};

/* ---- the text ---- */

static void append(struct integrity *w, const char *s, size_t n)
{
    if (w->room - w->n < n) {
        size_t room = 2 * w->room + n + 4096;
        char *text = realloc(w->text, room);
        if (!text) {
            w->error = -ENOMEM;
            return;
        }
        w->text = text;
        w->room = room;
    }
    memcpy(w->text + w->n, s, n);
    w->n += n;
}

static void put(struct integrity *w, const char *s)
{
    append(w, s, strlen(s));
}

/* A name as a JSON string: what isn't UTF-8 is shown with '?' for each bad byte. */
static void put_string(struct integrity *w, const char *s)
{
    _cleanup_free_ char *copy = strdup(s), *quoted = NULL;
    json_t *j = copy ? json_string(copy) : NULL;
    for (char *p = copy; !j && p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    if (!j && copy)
        j = json_string(copy);
    quoted = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
    json_decref(j);
    if (quoted)
        put(w, quoted);
    else
        w->error = -ENOMEM;
}

/* , "key": "value" */
static void put_member(struct integrity *w, const char *key, const char *value)
{
    put(w, ", \"");
    put(w, key);
    put(w, "\": ");
    put_string(w, value);
}

/* The object of one file is complete. */
static void put_status(struct integrity *w, const char *status, const char *why)
{
    put_member(w, "status", status);
    if (why && *why)
        put_member(w, "why", why);
    put(w, "}");
}

static void put_head(struct integrity *w)
{
    put(w, "{\n  \"schema\": 1,\n  \"manifest\": ");
    put_string(w, w->vm->packages[0].manifest->name);
    put(w, ",\n  \"members\": [");
}

static void put_signatures(struct integrity *w)
{
    bool several = false;
    for (size_t i = 0, n = 0; i < w->vm->n_packages; i++)
        several = w->vm->packages[i].certificate && ++n > 1;
    const char *before = several ? ",\n  \"signatures\": [" : ",\n  \"signature\": ";
    for (size_t i = 0; i < w->vm->n_packages; i++) {
        const struct file *f = w->vm->packages[i].certificate;
        if (!f)
            continue;
        put(w, before);
        put(w, "{\"file\": ");
        put_string(w, f->name);
        put(w, ", \"status\": \"not verified\"}");
        before = ", ";
    }
    put(w, several ? "]" : "");
}

static void put_tail(struct integrity *w)
{
    put(w, "\n  ]");
    put_signatures(w);
    const char *before = ",\n  \"warnings\": [";
    for (size_t i = 0; i < w->vm->n_packages; i++)
        for (size_t k = 0; k < w->manifests[i]->notes.n; k++) {
            put(w, before);
            put_string(w, w->manifests[i]->notes.lines[k]);
            before = ", ";
        }
    put(w, *before == ',' && before[1] == ' ' ? "]" : "");
    put(w, ",\n  \"status\": ");
    put_string(w, w->mismatch ? "mismatch" : w->incomplete ? "incomplete" : "verified");
    put(w, "\n}\n");
}

/* ---- one file ---- */

static void end_file(struct integrity *w)
{
    file_unref(w->file);
    digest_free(w->digest);
    w->file = NULL;
    w->digest = NULL;
}

static void report_incomplete(struct integrity *w, const char *status, const char *why)
{
    w->incomplete = true;
    put_status(w, status, why);
}

static void begin_entry(struct integrity *w, const struct job *j)
{
    struct fault why = { 0 };
    char reason[1024] = "";
    put_member(w, "algorithm", j->entry->algorithm);
    put_member(w, "expected", j->entry->digest);
    int r = file_open_ref(j->package->manifest, "file", j->entry->file, &w->file, &why);
    if (r < 0) {
        fault_reason(&why, reason, sizeof reason);
        report_incomplete(w, r == -ENOENT || r == -EPERM ? "absent" : "unreadable",
                          r == -ENOENT ? "" : reason);
        return;
    }
    r = digest_new(j->entry->algorithm, &w->digest);
    if (r == -ENOTSUP)
        report_incomplete(w, "unsupported", "ferryfs doesn't know this algorithm");
    else if (r < 0)
        w->error = r;
    if (r < 0)
        end_file(w);
    w->at = 0;
}

static void begin_job(struct integrity *w)
{
    const struct job *j = &w->jobs[w->next++];
    put(w, w->next == 1 ? "\n    {\"file\": " : ",\n    {\"file\": ");
    put_string(w, j->entry ? j->entry->file : j->name);
    if (w->vm->n_packages > 1)
        put_member(w, "manifest", j->package->manifest->name);
    if (j->entry)
        begin_entry(w, j);
    else
        report_incomplete(w, "not named", NULL);
}

static void finish_file(struct integrity *w)
{
    char computed[DIGEST_HEX_MAX];
    digest_final(w->digest, computed);
    bool same = !strcmp(computed, w->jobs[w->next - 1].entry->digest);
    w->mismatch = w->mismatch || !same;
    put_member(w, "computed", computed);
    put_status(w, same ? "verified" : "mismatch", NULL);
    end_file(w);
}

static void hash_some(struct integrity *w)
{
    uint64_t end = w->at + min_u64(STEP, w->file->size - w->at);
    while (w->at < end) {
        size_t n = (size_t)min_u64(PIECE, end - w->at);
        int r = file_pread(w->file, w->piece, n, w->at);
        if (r < 0) {
            char why[128];
            snprintf(why, sizeof why, "can't be read at byte %llu: %s", (unsigned long long)w->at,
                     strerror(-r));
            report_incomplete(w, "unreadable", why);
            end_file(w);
            return;
        }
        digest_update(w->digest, w->piece, n);
        w->at += n;
    }
    if (w->at < w->file->size)
        put(w, " ");
    else
        finish_file(w);
}

/* Makes the text longer, or ends it. */
static void step(struct integrity *w)
{
    if (!w->begun) {
        put_head(w);
        w->begun = true;
    } else if (w->file) {
        hash_some(w);
    } else if (w->next < w->n_jobs) {
        begin_job(w);
    } else {
        put_tail(w);
        w->ended = true;
    }
}

/* ---- what is to be done ---- */

static const char *plain(const char *name)
{
    while (!strncmp(name, "./", 2))
        name += 2;
    return name;
}

static bool is_named(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(plain(m->entries[i].file), plain(name)))
            return true;
    return false;
}

static int add_job(struct integrity *w, const struct job *job)
{
    if (!(w->n_jobs & (w->n_jobs - 1))) { /* doubling, at powers of two */
        struct job *jobs = reallocarray(w->jobs, w->n_jobs ? 2 * w->n_jobs : 1, sizeof *jobs);
        if (!jobs)
            return -ENOMEM;
        w->jobs = jobs;
    }
    w->jobs[w->n_jobs++] = *job;
    return 0;
}

static int add_unnamed(struct integrity *w, const struct vm_package *p, const struct manifest *m,
                       const char *name)
{
    if (is_named(m, name))
        return 0;
    struct job j = { .package = p, .name = strdup(name) };
    int r = j.name ? add_job(w, &j) : -ENOMEM;
    if (r < 0)
        free(j.name);
    return r;
}

static bool exists(const struct vm_package *p, const char *name)
{
    struct file *f = NULL;
    if (file_open_ref(p->manifest, "file", name, &f, NULL) < 0)
        return false;
    file_unref(f);
    return true;
}

/* A manifest names chunks by their own names. */
static int add_reference(struct integrity *w, const struct vm_package *p, const struct manifest *m,
                         const struct vm_reference *ref)
{
    size_t chunks = 0;
    for (int r = 0; ref->chunked && chunks < MAX_CHUNKS; chunks++) {
        _cleanup_free_ char *name = NULL;
        if (asprintf(&name, "%s.%09zu", ref->name, chunks) < 0) {
            name = NULL;
            return -ENOMEM;
        }
        if (!exists(p, name))
            break;
        r = add_unnamed(w, p, m, name);
        if (r < 0)
            return r;
    }
    return chunks ? 0 : add_unnamed(w, p, m, ref->name);
}

static int add_package(struct integrity *w, const struct vm_package *p, const struct manifest *m)
{
    int r = 0;
    for (size_t i = 0; !r && i < m->n; i++)
        r = add_job(w, &(struct job){ .package = p, .entry = &m->entries[i] });
    if (!r)
        r = add_unnamed(w, p, m, p->ovf_name);
    for (size_t i = 0; !r && i < p->n_references; i++)
        r = add_reference(w, p, m, &p->references[i]);
    return r;
}

static int read_manifest(struct file *f, struct manifest **ret)
{
    if (f->size > MANIFEST_MAX_SIZE)
        return -EIO;
    _cleanup_free_ char *text = malloc((size_t)f->size + 1);
    int r = text ? file_pread(f, text, (size_t)f->size, 0) : -ENOMEM;
    if (!r)
        r = manifest_parse(text, (size_t)f->size, f->name, ret, NULL);
    return !r || r == -ENOMEM ? r : -EIO;
}

static void integrity_free(struct integrity *w)
{
    end_file(w);
    for (size_t i = 0; i < w->n_jobs; i++)
        free(w->jobs[i].name);
    for (size_t i = 0; w->manifests && i < w->vm->n_packages; i++)
        manifest_free(w->manifests[i]);
    free(w->manifests);
    free(w->jobs);
    free(w->piece);
    free(w->text);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* ---- the file ---- */

static int integrity_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFREG | 0444, tree_ino(7, 0, 0), ret);
    return 0; /* its length is only known at its end */
}

static int integrity_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    (void)flags;
    struct integrity *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    w->handle = (struct handle){ .ops = n->id.ops, .direct = true };
    w->vm = f->vm;
    w->piece = malloc(PIECE);
    w->manifests = calloc(f->vm->n_packages, sizeof(struct manifest *));
    int r = w->piece && w->manifests ? 0 : -ENOMEM;
    for (size_t i = 0; !r && i < f->vm->n_packages; i++) {
        r = read_manifest(f->vm->packages[i].manifest, &w->manifests[i]);
        if (!r)
            r = add_package(w, &f->vm->packages[i], w->manifests[i]);
    }
    if (r < 0)
        integrity_free(w);
    else
        *ret = &w->handle;
    return r;
}

static int integrity_read(struct ferry *f, struct handle *h, void *buf, size_t len, uint64_t off,
                          size_t *ret_len)
{
    struct integrity *w = (struct integrity *)(void *)h;
    (void)f;
    pthread_mutex_lock(&w->lock);
    while (off >= w->n && !w->ended && !w->error)
        step(w);
    int r = w->error;
    struct text t = { .bytes = w->text, .n = w->n };
    if (!r)
        r = text_read(&t, buf, len, off, ret_len);
    pthread_mutex_unlock(&w->lock);
    return r;
}

static void integrity_release(struct ferry *f, struct handle *h)
{
    (void)f;
    integrity_free((struct integrity *)(void *)h);
}

static const struct tree_ops integrity_ops = {
    .name = "integrity",
    .getattr = integrity_getattr,
    .open = integrity_open,
    .read = integrity_read,
    .release = integrity_release,
};

/* ---- in the root ---- */

static bool integrity_present(struct ferry *f)
{
    return f->vm->n_packages > 0;
}

static int integrity_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = (struct node_id){ .ops = &integrity_ops };
    return 0;
}

extern const struct toplevel integrity_toplevel;
const struct toplevel integrity_toplevel = { "integrity.json", S_IFREG, integrity_present, integrity_id };
