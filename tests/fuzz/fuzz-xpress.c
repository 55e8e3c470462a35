/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XPRESS and LZX streams of any bytes. The first byte chooses the decoder and the chunk. Two runs agree;
 * nothing is written behind the chunk; what comes out of a stream comes out of the longer one too. */
#include "guest/xpress.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t once[LZX_WINDOW + 1], again[LZX_WINDOW + 1], longer[1 << 17];
    if (n < 2 || n > sizeof longer - 2)
        return 0;
    int (*decompress)(const uint8_t *, size_t, uint8_t *, size_t) =
        data[0] & 1 ? lzx_decompress : xpress_decompress;
    size_t size = ((size_t)1 << (12 + (data[0] >> 1 & 3))) - (data[0] >> 3);
    memset(once, 0xaa, sizeof once);
    memset(again, 0x55, sizeof again);
    int r = decompress(data + 1, n - 1, once, size);
    int s = decompress(data + 1, n - 1, again, size);
    assert(r == s && once[size] == 0xaa);
    if (r)
        return 0;
    assert(!memcmp(once, again, size));
    memset(longer, 0xff, sizeof longer);
    memcpy(longer, data + 1, n - 1);
    if ((n - 1) % 2 == 0) {
        r = decompress(longer, n + 1, again, size);
        assert(!r && !memcmp(once, again, size));
    }
    return 0;
}
