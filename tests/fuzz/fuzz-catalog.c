/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A catalog of any bytes, and a Blob of the registry: read and verified. What is said to be signed lies in
 * the bytes, nothing is good that nobody has signed, and the same is said twice. The first byte says whether
 * a Blob is first, which ends at a length in the next two. */
#include "guest/catalog.h"
#include "promise.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trust *t;
    struct catalog a, b;
    if (size < 3 || size > 1 << 16 || trust_new(&t))
        return 0;
    size_t n = data[0] & 1 ? (size_t)(data[1] | data[2] << 8) : 0;
    if (n > size - 3)
        n = size - 3;
    if (n)
        PROMISE(!trust_add_blob(t, TRUST_ROOT, data + 3, n));
    size_t left = size - 3 - n;
    uint8_t *bytes = malloc(left + 1); /* its end is where a sanitizer sees one too much */
    if (bytes) {
        memcpy(bytes + 1, data + 3 + n, left);
        PROMISE(!catalog_verify(bytes + 1, left, t, 1700000000, &a));
        PROMISE(!catalog_verify(bytes + 1, left, t, 1700000000, &b));
        PROMISE(a.state == b.state && a.end == b.end && !strcmp(a.signer, b.signer));
        PROMISE(!a.content.n || (a.content.p >= bytes + 1 && a.content.p + a.content.n <= bytes + 1 + left));
        PROMISE(a.state != CATALOG_GOOD || (a.end != CHAIN_NOWHERE && a.content.p));
    }
    free(bytes);
    trust_free(t);
    return 0;
}
