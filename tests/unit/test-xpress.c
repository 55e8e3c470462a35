/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XPRESS and LZX: what wimlib compresses comes out as it went in, in every chunk size that WOF knows; what is
 * cut off or contradicts itself is an error; a few streams are built here, of kinds that wimlib never writes.
 */
#include "guest/xpress.h"
#include "unit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_WIMLIB
#include <wimlib.h>
#endif

enum { SIZE = 32768 };
static uint8_t packed[2 * SIZE], out[SIZE + 1];

typedef int (*decompress_fn)(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len);

#ifdef HAVE_WIMLIB
static uint8_t content[SIZE];
static uint32_t state;
static uint32_t next_random(void)
{
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* Contents of every kind: text that repeats, few symbols, code with CALLs, noise between copies. */
static void make_content(unsigned kind, size_t n)
{
    state = kind * 7919 + (uint32_t)n;
    for (size_t i = 0; i < n;) {
        uint32_t r = next_random();
        if (kind == 0)
            content[i++] = 'x';
        else if (kind == 1)
            content[i++] = (uint8_t) "the quick brown fox "[r % 20];
        else if (kind == 2)
            content[i++] = r % 5 ? (uint8_t)r : 0xe8;
        else if (kind == 3)
            content[i++] = (uint8_t)r;
        else if (kind < 8) /* CALLs near and far, in every distance from the end */
            for (unsigned k = 0; k < 5 + r % 3 && i < n; k++)
                content[i++] = k == 0              ? 0xe8
                               : k == 1            ? (uint8_t)r
                               : k == 2            ? (uint8_t)(r >> 8) & 15
                               : kind % 2 && k < 5 ? 0xff
                                                   : 0;
        else
            for (size_t length = r % 700 + 1, from = i ? r % i : 0; length && i < n; length--, i++, from++)
                content[i] = i ? content[from] : (uint8_t)r,
                content[i] = length % 97 ? content[i] : (uint8_t)r;
    }
}

static void check_roundtrip(enum wimlib_compression_type type, size_t chunk, decompress_fn decompress)
{
    struct wimlib_compressor *c;
    unsigned compressed = 0;
    assert_int_equal(wimlib_create_compressor(type, chunk, 100, &c), 0);
    for (unsigned kind = 0; kind < 16; kind++)
        for (size_t k = 0; k < 40; k++) {
            size_t size = k < 20 ? chunk - k : k < 30 ? k - 19 : 1 + (k * 7919 + kind * 131) % chunk;
            make_content(kind, size);
            size_t n = wimlib_compress(content, size, packed, size ? size - 1 : 0, c);
            if (!n)
                continue; /* it doesn't get smaller: stored */
            compressed++;
            memset(out, 0xaa, sizeof out);
            if (decompress(packed, n, out, size) || memcmp(out, content, size) || out[size] != 0xaa)
                fail_msg("kind %u, %zu bytes, compressed to %zu", kind, size, n);
            /* never from less than all of it, but for the padding that a bit stream ends with */
            for (size_t cut = 0; cut + 4 < n; cut += 1 + n / 50)
                if (!decompress(packed, cut, out, size) && memcmp(out, content, size))
                    fail_msg("kind %u, %zu bytes: %zu of %zu made something else", kind, size, cut, n);
        }
    wimlib_free_compressor(c);
    assert_true(compressed > 200);
}
#endif

static void what_wimlib_compresses_comes_out(void **unused)
{
    (void)unused;
#ifdef HAVE_WIMLIB
    check_roundtrip(WIMLIB_COMPRESSION_TYPE_XPRESS, 4096, xpress_decompress);
    check_roundtrip(WIMLIB_COMPRESSION_TYPE_XPRESS, 8192, xpress_decompress);
    check_roundtrip(WIMLIB_COMPRESSION_TYPE_XPRESS, 16384, xpress_decompress);
    check_roundtrip(WIMLIB_COMPRESSION_TYPE_LZX, 32768, lzx_decompress);
#else
    print_message("wimlib isn't installed\n");
    skip();
#endif
}

/* ---- streams built here ---- */

struct writer {
    uint8_t *p;
    size_t n;
    uint32_t bits;
    unsigned n_bits;
};

static void put_bits(struct writer *w, unsigned n, uint32_t value)
{
    for (; n; n--) {
        w->bits = w->bits << 1 | (value >> (n - 1) & 1);
        if (++w->n_bits == 16) {
            w->p[w->n++] = (uint8_t)w->bits;
            w->p[w->n++] = (uint8_t)(w->bits >> 8);
            w->bits = w->n_bits = 0;
        }
    }
}

static void pad_bits(struct writer *w)
{
    do
        put_bits(w, 1, 0);
    while (w->n_bits);
}

/* [MS-XCA] 3.2: the alphabet. */
static void the_example_of_the_specification(void **unused)
{
    (void)unused;
    memset(packed, 0, 256);
    memcpy(packed + 0x30, "\x50\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x45\x44\x04", 14);
    packed[0x80] = 0x04;
    static const uint8_t rest[] = { 0xd8, 0x52, 0x3e, 0xd7, 0x94, 0x11, 0x5b, 0xe9,
                                    0x19, 0x5f, 0xf9, 0xd6, 0x7c, 0xdf, 0x8d, 0x04 };
    memcpy(packed + 256, rest, sizeof rest);
    memset(packed + 256 + sizeof rest, 0, 4);
    assert_int_equal(xpress_decompress(packed, 256 + sizeof rest + 4, out, 26), 0);
    assert_memory_equal(out, "abcdefghijklmnopqrstuvwxyz", 26);
    assert_int_equal(xpress_decompress(packed, 256 + sizeof rest - 2, out, 26), -EIO);
}

/* A stored block of LZX, which begins at a unit's beginning or within one, and another behind it. */
static void stored_blocks_are_aligned(void **unused)
{
    (void)unused;
    for (size_t first = 1; first < 6; first++) {
        struct writer w = { .p = packed };
        for (unsigned block = 0; block < 2; block++) {
            size_t size = block ? 9 - first : first;
            put_bits(&w, 3, 3);
            put_bits(&w, 1, 0);
            put_bits(&w, 16, (uint32_t)size);
            pad_bits(&w);
            for (unsigned i = 0; i < 3; i++, w.n += 4)
                memcpy(w.p + w.n, "\1\0\0\0", 4);
            memcpy(w.p + w.n, &"123456789"[block ? first : 0], size);
            w.n += size + size % 2;
        }
        assert_int_equal(lzx_decompress(packed, w.n, out, 9), 0);
        assert_memory_equal(out, "123456789", 9);
        assert_int_equal(lzx_decompress(packed, w.n - 3, out, 9), -EIO);
        assert_int_equal(lzx_decompress(packed, w.n, out, 8), -EIO); /* a block beyond the end */
    }
}

/* A verbatim block whose last codeword is read with a unit of the next block's in the buffer: it goes back.
 * Two symbols, 'a' and 'b', have codewords of one bit. */
static void a_stored_block_follows_codewords(void **unused)
{
    (void)unused;
    for (unsigned letters = 1; letters < 40; letters++) {
        struct writer w = { .p = packed };
        put_bits(&w, 3, 1);
        put_bits(&w, 1, 0);
        put_bits(&w, 16, letters);
        /* lengths by a code of two symbols: 16 (0 - 16 = 1 modulo 17) and 18 (a run of zeros), of one bit
         * each */
        for (unsigned part = 0; part < 3; part++) {
            for (unsigned i = 0; i < 20; i++)
                put_bits(&w, 4, i == 16 || i == 18);
            const unsigned symbols = part == 0 ? 256 : part == 1 ? 240 : 249;
            for (unsigned at = 0; at < symbols;) {
                unsigned run = symbols - at;
                if (part == 0 && (at == 'a' || at == 'b')) {
                    put_bits(&w, 1, 0);
                    at++;
                    continue;
                }
                if (part == 0 && at < 'a')
                    run = 'a' - at;
                if (run > 51)
                    run = run - 51 >= 20 ? 51 : run - 20;
                put_bits(&w, 1, 1);
                put_bits(&w, 5, run - 20);
                at += run;
            }
        }
        for (unsigned i = 0; i < letters; i++)
            put_bits(&w, 1, i % 2);
        put_bits(&w, 3, 3);
        put_bits(&w, 1, 0);
        put_bits(&w, 16, 4);
        pad_bits(&w);
        for (unsigned i = 0; i < 3; i++, w.n += 4)
            memcpy(w.p + w.n, "\1\0\0\0", 4);
        memcpy(w.p + w.n, "tail", 4);
        w.n += 4;
        assert_int_equal(lzx_decompress(packed, w.n, out, letters + 4), 0);
        for (unsigned i = 0; i < letters; i++)
            assert_int_equal(out[i], i % 2 ? 'b' : 'a');
        assert_memory_equal(out + letters, "tail", 4);
    }
}

static void nonsense_is_an_error(void **unused)
{
    (void)unused;
    static const decompress_fn both[] = { xpress_decompress, lzx_decompress };
    for (unsigned k = 0; k < 2; k++) {
        for (int fill = 0; fill < 256; fill += 17) {
            memset(packed, fill, sizeof packed);
            for (size_t n = 0; n < 1000; n = n * 3 + 1)
                assert_int_equal(both[k](packed, n, out, SIZE), -EIO);
        }
        assert_int_equal(both[k](packed, 0, out, 1), -EIO);
    }
    assert_int_equal(lzx_decompress(packed, 100, out, SIZE + 1), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_wimlib_compresses_comes_out),
        cmocka_unit_test(the_example_of_the_specification),
        cmocka_unit_test(stored_blocks_are_aligned),
        cmocka_unit_test(a_stored_block_follows_codewords),
        cmocka_unit_test(nonsense_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
