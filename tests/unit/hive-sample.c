/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hive-sample.h"

#include "formats/bytes.h"
#include "registry/hive-internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint8_t *sample_unpack(const char *path, size_t *ret_n)
{
    char command[2048];
    size_t n = 0, room = 1 << 16, len = strlen(path);
    bool packed = len > 3 && !strcmp(path + len - 3, ".xz");
    snprintf(command, sizeof command, "xz -dc '%s'", path);
    FILE *f = packed ? popen(command, "r") : fopen(path, "r");
    uint8_t *bytes = f ? malloc(room) : NULL;
    if (!bytes)
        return NULL;
    for (size_t k; (k = fread(bytes + n, 1, room - n, f)) > 0;)
        if ((n += k) == room)
            bytes = realloc(bytes, room *= 2);
    if ((packed ? pclose(f) : fclose(f)) != 0) {
        free(bytes);
        return NULL;
    }
    *ret_n = n;
    return bytes;
}

struct hive_file *sample_file(const char *corpus, const char *name)
{
    char path[1024];
    struct hive_file *f = NULL;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", corpus, name);
    if (access(path, R_OK) < 0) {
        snprintf(path, sizeof path, "%s/%s.xz", corpus, name);
        if (access(path, R_OK) < 0)
            return NULL;
    }
    uint8_t *bytes = sample_unpack(path, &n);
    if (bytes && hive_file_memory(bytes, n, name, &f) < 0)
        f = NULL;
    free(bytes);
    return f;
}

/* The log of a hive of the corpus; some are named in lower case. */
static struct hive_file *sample_log(const char *corpus, const char *name, const char *suffix)
{
    char log[512];
    snprintf(log, sizeof log, "%s%s", name, suffix);
    struct hive_file *f = sample_file(corpus, log);
    if (f || !strstr(log, "NTUSER.DAT.LOG"))
        return f;
    for (char *p = strstr(log, "NTUSER.DAT.LOG"); *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 'a' - 'A');
    return sample_file(corpus, log);
}

int sample_open(const char *corpus, const char *name, unsigned flags, struct hive **ret, struct fault *fault)
{
    struct hive_files files = { .primary = sample_file(corpus, name) };
    if (!files.primary)
        return -ENOENT;
    files.log = sample_log(corpus, name, ".LOG");
    files.log1 = sample_log(corpus, name, ".LOG1");
    files.log2 = sample_log(corpus, name, ".LOG2");
    return hive_open(&files, flags, 1 << 20, ret, fault);
}

static bool parse_line(char *line, struct sample *s)
{
    const char *p;
    if (strncmp(line, "| `hive/", 8) && strncmp(line, "| `bcd/", 7))
        return false;
    memset(s, 0, sizeof *s);
    snprintf(s->line, sizeof s->line, "%s", line);
    char *end = strchr(line + 3, '`');
    if (!end)
        return false;
    snprintf(s->name, sizeof s->name, "%.*s", (int)(end - line - 3), line + 3);
    size_t n = strlen(s->name);
    if (n > 3 && !strcmp(s->name + n - 3, ".xz"))
        s->name[n - 3] = 0;
    s->is_log = strstr(end, "logtype:") != NULL;
    p = strstr(end, "yarp: keys=");
    s->counted = p && sscanf(p, "yarp: keys=%u values=%u", &s->keys, &s->values) == 2;
    p = strstr(end, "keypaths_sha256: ");
    if (s->counted && p)
        snprintf(s->paths, sizeof s->paths, "%.64s", p + strlen("keypaths_sha256: "));
    /* Beside a recovery's counts the paths may be those before it. */
    p = strstr(end, "recovery: recovered");
    if (p && (p = strstr(p, "keys=")))
        s->paths[0] = 0;
    if (p)
        sscanf(p, "keys=%u values=%u", &s->keys, &s->values);
    return true;
}

size_t sample_each(const char *corpus, void (*fn)(const struct sample *s, void *ctx), void *ctx)
{
    char path[1024], *line = NULL;
    size_t room = 0, n = 0;
    snprintf(path, sizeof path, "%s/INDEX.md", corpus);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    while (getline(&line, &room, f) > 0) {
        struct sample s;
        if (!parse_line(line, &s))
            continue;
        fn(&s, ctx);
        n++;
    }
    free(line);
    fclose(f);
    return n;
}

size_t sample_utf8(const uint16_t *units, size_t n, char *ret)
{
    char *p = ret;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = units[i];
        if (c >= 0xd800 && c < 0xdc00 && i + 1 < n && units[i + 1] >= 0xdc00 && units[i + 1] < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (units[++i] - 0xdc00u);
        else if (c >= 0xd800 && c < 0xe000)
            c = 0xfffd;
        if (c < 0x80) {
            *p++ = (char)c;
        } else if (c < 0x800) {
            *p++ = (char)(0xc0 | c >> 6);
            *p++ = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            *p++ = (char)(0xe0 | c >> 12);
            *p++ = (char)(0x80 | (c >> 6 & 63));
            *p++ = (char)(0x80 | (c & 63));
        } else {
            *p++ = (char)(0xf0 | c >> 18);
            *p++ = (char)(0x80 | (c >> 12 & 63));
            *p++ = (char)(0x80 | (c >> 6 & 63));
            *p++ = (char)(0x80 | (c & 63));
        }
    }
    *p = 0;
    return (size_t)(p - ret);
}

/* ---- made by hand ---- */

enum { ROOT_AT = 0x20, SK_AT = 0x20 + 88 };

/* Owner and group: the local system; no lists. */
static const uint8_t descriptor[] = {
    1, 0, 0, 0x80, 20, 0, 0,  0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0, 1, 1,
    0, 0, 0, 0,    0,  5, 18, 0, 0,  0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0
};

struct hive_file *sample_empty(unsigned minor)
{
    static uint8_t b[HIVE_BASE_SIZE + HIVE_PAGE];
    struct hive_file *f = NULL;
    uint8_t *bin = b + HIVE_BASE_SIZE, *nk = bin + ROOT_AT, *sk = bin + SK_AT;
    uint32_t sk_size = (4 + SK_DESCRIPTOR + sizeof descriptor + 7) / 8 * 8;
    memset(b, 0, sizeof b);
    memcpy(b, "regf", 4);
    put_le32(b + BASE_SEQUENCE1, 1);
    put_le32(b + BASE_SEQUENCE2, 1);
    put_le32(b + BASE_MAJOR, 1);
    put_le32(b + BASE_MINOR, minor);
    put_le32(b + BASE_FORMAT, 1);
    put_le32(b + BASE_ROOT, ROOT_AT);
    put_le32(b + BASE_BINS, HIVE_PAGE);
    put_le32(b + BASE_CLUSTER, 1);
    put_le32(b + BASE_CHECKSUM, hive_checksum(b));
    memcpy(bin, "hbin", 4);
    put_le32(bin + 8, HIVE_PAGE);
    put_le32(nk, (uint32_t)-88);
    memcpy(nk + 4, "nk", 2);
    put_le16(nk + 4 + NK_FLAGS, 0x2c);
    put_le32(nk + 4 + NK_LIST, HIVE_NIL);
    put_le32(nk + 4 + NK_VOLATILE_LIST, HIVE_NIL);
    put_le32(nk + 4 + NK_VALUE_LIST, HIVE_NIL);
    put_le32(nk + 4 + NK_SECURITY, SK_AT);
    put_le32(nk + 4 + NK_CLASS, HIVE_NIL);
    put_le16(nk + 4 + NK_NAME_BYTES, 4);
    memcpy(nk + 4 + NK_NAME, "ROOT", 4);
    put_le32(sk, 0u - sk_size);
    memcpy(sk + 4, "sk", 2);
    put_le32(sk + 4 + SK_NEXT, SK_AT);
    put_le32(sk + 4 + SK_PREVIOUS, SK_AT);
    put_le32(sk + 4 + SK_REFS, 1);
    put_le32(sk + 4 + SK_LENGTH, sizeof descriptor);
    memcpy(sk + 4 + SK_DESCRIPTOR, descriptor, sizeof descriptor);
    put_le32(bin + SK_AT + sk_size, HIVE_PAGE - SK_AT - sk_size);
    return hive_file_memory(b, sizeof b, "sample", &f) < 0 ? NULL : f;
}
