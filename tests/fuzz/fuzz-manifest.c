/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manifest.c on any text. Beyond "no crash": every entry is found again when it is written out in the plain
 * form, and names neither nothing nor a second line. */
#include "formats/manifest.h"
#include "promise.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_entry(const struct manifest_entry *e)
{
    char *line = NULL;
    struct manifest *again = NULL;
    PROMISE(e->file[0] && !strchr(e->file, '\n') && e->algorithm[0] && e->digest[0]);
    PROMISE(strspn(e->digest, "0123456789abcdef") == strlen(e->digest));
    int n = asprintf(&line, "%s(%s)= %s\n", e->algorithm, e->file, e->digest);
    PROMISE(n > 0 && !manifest_parse(line, (size_t)n, "x.mf", &again, NULL));
    PROMISE(again->n == 1 && !strcmp(again->entries[0].file, e->file));
    PROMISE(!strcmp(again->entries[0].digest, e->digest));
    manifest_free(again);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest *m = NULL;
    struct fault fault = { 0 };
    int r = manifest_parse((const char *)data, size, "fuzz.mf", &m, &fault);
    PROMISE((r < 0) == (fault.err != 0) && (r < 0) == !m);
    for (size_t i = 0; m && i < m->n && i < 200; i++)
        check_entry(&m->entries[i]);
    manifest_free(m);
    return 0;
}
