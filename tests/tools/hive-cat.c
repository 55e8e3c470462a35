/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hive-cat HIVE: all keys and values of a hive as this program's engine reads it, in the lines of
 * model_dump(). */
#include "../unit/unit.h"

#include "../unit/hive-model.h"
#include "registry/hive-file.h"

int main(int argc, char **argv)
{
    struct hive_files files;
    struct hive *h;
    struct model m = { 0 };
    if (argc != 2 || hive_files_open(argv[1], false, &files, NULL) < 0 ||
        hive_open(&files, 0, 1 << 20, &h, NULL) < 0)
        return 1;
    model_load(&m, h);
    model_dump(&m, stdout);
    model_done(&m);
    hive_close(h);
    return fflush(stdout) != 0;
}
