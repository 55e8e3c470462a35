/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hive-internal.h"

void hive_edits_free(struct hive *h)
{
    (void)h;
}

bool hive_is_dirty(const struct hive *h)
{
    return h->state.writable && (h->base_dirty || hive_pages_are_dirty(h->pages));
}
