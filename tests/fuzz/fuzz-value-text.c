/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes that have a text are given back by it; a text that makes a value is given back by its bytes, up to
 * the forms that people may write; and what no check refused on the way isn't refused at the end. */
#include "registry/value-text.h"
#include "promise.h"

#include <stdlib.h>
#include <string.h>

static void from_bytes(uint32_t type, const uint8_t *data, size_t size)
{
    size_t n, m;
    uint8_t *back;
    if (value_text_size(type, data, size, &n) < 0)
        return;
    char *text = malloc(n ? n : 1);
    PROMISE(text);
    value_to_text(type, data, size, text);
    PROMISE(value_from_text(type, text, n, &back, &m) == 0);
    PROMISE(m == size && (!m || !memcmp(back, data, m)));
    free(back);
    free(text);
}

static void from_text(uint32_t type, const char *text, size_t size)
{
    uint8_t *data;
    size_t n, shown, checked = 0, at_once = 0;
    int piecewise = 0;
    for (size_t i = 0; i <= size && !piecewise; i++)
        piecewise = value_text_check(type, text, i, &checked);
    int r = value_from_text(type, text, size, &data, &n);
    PROMISE(value_text_check(type, text, size, &at_once) == 0 || r < 0);
    PROMISE(!(piecewise < 0 && r == 0));
    if (r < 0)
        return;
    PROMISE(value_text_size(type, data, n, &shown) == 0); /* what text makes, text shows */
    from_bytes(type, data, n);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 4096)
        return 0;
    uint32_t type = data[0] % 13;
    uint8_t *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    from_bytes(type, copy, size - 1);
    from_text(type, (const char *)copy, size - 1);
    free(copy);
    return 0;
}
