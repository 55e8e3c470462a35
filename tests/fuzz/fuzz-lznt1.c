/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LZNT1, and the texts of Microsoft's formats, from any bytes: what is made stays within its bounds, the same
 * twice, and a smaller room gives the beginning of it or an error. Text survives the way to UTF-8 and back.
 */
#include "guest/lznt1.h"
#include "guest/text.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { ROOM = 1 << 17, UNITS = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decompress(const uint8_t *data, size_t size)
{
    static uint8_t once[ROOM + 16], again[ROOM + 16];
    const size_t rooms[] = { 0, 1, 4095, 4096, 4097, 65536, ROOM };
    size_t n = 0;
    int r = lznt1_decompress(data, size, once, ROOM, &n);
    assert(r == 0 || r == -EIO);
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        size_t part = 0;
        memset(again, 0xa5, sizeof again);
        int r2 = lznt1_decompress(data, size, again, rooms[i], &part);
        assert(again[rooms[i]] == 0xa5 && part <= rooms[i]);
        if (!r &&
            !r2) /* of a stream that is good as a whole, a part may end within a chunk, and so be refused */
            assert(part <= n && !memcmp(once, again, part));
    }
}

static void text(const uint8_t *data, size_t size)
{
    uint16_t units[UNITS], back[UNITS];
    char utf8[TEXT_UTF8_SIZE(UNITS)];
    size_t n = size / 2 < UNITS ? size / 2 : UNITS;
    memcpy(units, data, n * 2);
    for (size_t i = 0; i < n; i++) {
        units[i] += !units[i];
        text_upcase(units[i]);
    }
    text_mend_surrogates(units, n);
    size_t length = text_from_utf16(units, n, utf8, sizeof utf8);
    assert(length == strlen(utf8));
    assert(text_to_utf16(utf8, back, UNITS) == (int)n && !memcmp(units, back, n * 2));

    length = size < sizeof utf8 - 1 ? size : sizeof utf8 - 1;
    memcpy(utf8, data, length);
    utf8[length] = 0;
    int r = text_to_utf16(utf8, back, UNITS);
    assert((r >= 0 && r <= UNITS) || r == -EILSEQ || r == -ENAMETOOLONG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decompress(data, size);
    text(data, size);
    return 0;
}
