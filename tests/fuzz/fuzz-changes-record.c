/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A record of changes from any bytes: refused, or a list that can be shown, and gives the same record again.
 */
#include "../unit/changes-world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct changes *c)
{
    struct json_out out = { 0 };
    bool first = true;
    uint8_t *bytes = NULL, *again_bytes = NULL;
    size_t n = 0, again_n = 0;
    changes_print(c, &out);
    changes_json(c, "t", &first, &out);
    assert(!out.failed);
    json_out_done(&out);
    assert(record_pack(c, &bytes, &n) == 0);
    struct changes *again = changes_new(NULL);
    assert(again && record_unpack(again, bytes, n) == 0);
    assert(record_pack(again, &again_bytes, &again_n) == 0);
    assert(n == again_n && !memcmp(bytes, again_bytes, n));
    changes_free(again);
    free(again_bytes);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct changes *c = changes_new(NULL);
    if (c && record_unpack(c, data, size) == 0)
        check(c);
    changes_free(c);
    return 0;
}
