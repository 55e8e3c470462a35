/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keyed-hash.h"

#include <ctype.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t process_key[2];
static pthread_once_t drawn = PTHREAD_ONCE_INIT;

static void draw_key(void)
{
    if (getrandom(process_key, sizeof process_key, GRND_NONBLOCK) == (ssize_t)sizeof process_key)
        return;
    struct timespec now; /* a kernel that has no random bytes yet */
    clock_gettime(CLOCK_MONOTONIC, &now);
    process_key[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
    process_key[1] = (uint64_t)(uintptr_t)&now;
}

static uint64_t rotate(uint64_t v, int n)
{
    return v << n | v >> (64 - n);
}

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void take(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
}

uint64_t keyed_hash(uint64_t before, const char *text)
{
    pthread_once(&drawn, draw_key);
    uint64_t v[4] = { process_key[0] ^ 0x736f6d6570736575u, process_key[1] ^ 0x646f72616e646f6du,
                      process_key[0] ^ 0x6c7967656e657261u, process_key[1] ^ 0x7465646279746573u };
    uint64_t word = 0, n = 0;
    take(v, before);
    for (; *text; text++) {
        word |= (uint64_t)(uint8_t)tolower((unsigned char)*text) << 8 * (n % 8);
        if (++n % 8 == 0) {
            take(v, word);
            word = 0;
        }
    }
    take(v, word | n << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
