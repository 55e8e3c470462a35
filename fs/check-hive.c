/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check-hive.h"

#include "../registry/hive-check.h"
#include "../registry/hive-file.h"

#include <stdio.h>
#include <string.h>

enum { CACHE_BYTES = 32 << 20 };

static void say(void *ctx, const char *line)
{
    printf("%s: %s\n", (const char *)ctx, line);
}

static int refuse(const struct fault *fault)
{
    char line[2048];
    fault_format(fault, line, sizeof line);
    fprintf(stderr, "ferryfs: %s\n", line);
    return 2;
}

static int check_one(char *path)
{
    struct hive_files files;
    struct hive *h;
    struct hive_state state;
    struct fault fault = { 0 };
    if (hive_files_open(path, false, &files, &fault) < 0 || hive_open(&files, 0, CACHE_BYTES, &h, &fault) < 0)
        return refuse(&fault);
    hive_state(h, &state);
    if (state.replayed)
        fprintf(stderr, "ferryfs: %s: the hive is dirty; checked with its log replayed (%u %s)\n", path,
                state.replayed, state.replayed == 1 ? "entry" : "entries");
    int r = hive_check(h, say, path);
    hive_close(h);
    if (r < 0) {
        fault_in(&fault, r, path, "can't be read: %s", strerror(-r));
        return refuse(&fault);
    }
    return r > 0;
}

int check_hives(char **paths, size_t n)
{
    int worst = 0;
    for (size_t i = 0; i < n; i++) {
        int status = check_one(paths[i]);
        if (status > worst)
            worst = status;
    }
    if (fflush(stdout)) {
        fprintf(stderr, "ferryfs: standard output can't be written\n");
        return 2;
    }
    return worst;
}
