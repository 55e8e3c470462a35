/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an overlay's directory may hold: commit.json, and the header of a QCOW2. Beyond "no crash": what was
 * read and is written out is read as the same again. */
#include "formats/json.h"
#include "formats/overlay-impl.h"
#include "promise.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const struct json *j)
{
    struct json_out o = { 0 };
    json_add_copy(&o, j);
    PROMISE(!o.failed);
    return o.text;
}

static void check_json(const uint8_t *data, size_t size)
{
    struct json *j = NULL, *again = NULL;
    struct fault fault = { 0 };
    int r = json_parse((const char *)data, size, "fuzz.json", &j, &fault);
    PROMISE((r < 0) == (fault.err != 0) && (r < 0) == !j);
    if (!j)
        return;
    uint64_t v;
    (void)json_u64(j, "generation", &v);
    (void)json_member_text(j, "name");
    char *text = copy(j);
    PROMISE(json_parse(text, strlen(text), "again", &again, NULL) == 0);
    char *text2 = copy(again);
    PROMISE(!strcmp(text, text2));
    free(text);
    free(text2);
    json_free(j);
    json_free(again);
}

static void check_header(const uint8_t *data, size_t size)
{
    struct bad bad = { 0 }, bad2 = { 0 };
    struct ovl_header h, h2;
    struct fault fault = { 0 };
    uint8_t sector[OVL_SECTOR];
    int r = ovl_header_decode(bytes_of(data, size, 0, &bad), "fuzz", &h, &fault);
    PROMISE((r < 0) == (fault.err != 0));
    if (r < 0 || strlen(h.backing_format) != strnlen(h.backing_format, sizeof h.backing_format - 1))
        return;
    ovl_header_encode(&h, sector);
    PROMISE(ovl_header_decode(bytes_of(sector, sizeof sector, 0, &bad2), "again", &h2, NULL) == 0);
    PROMISE(h2.l1_offset == h.l1_offset && h2.l1_size == h.l1_size && h2.size == h.size);
    PROMISE(h2.refcount_offset == h.refcount_offset && h2.refcount_clusters == h.refcount_clusters);
    PROMISE(h2.dirty == h.dirty && h2.ours && h2.known && !strcmp(h2.backing_format, h.backing_format));
    PROMISE(h2.backing_offset == h.backing_offset && h2.backing_length == h.backing_length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX = OVL_CLUSTER };
    if (size > MAX)
        return 0;
    check_json(data, size);
    check_header(data, size);
    return 0;
}
