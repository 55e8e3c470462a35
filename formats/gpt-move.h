/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_GPT_MOVE_H
#define FERRYFS_GPT_MOVE_H
/* A disk that is shown longer than it is, and has a GPT: whose backup belongs into the last sector, and whose
 * header says where that is. */
#include "view.h"

/* Adds segments of `size` bytes (whole sectors of 512, more than the disk's) to an empty layout: the disk
 * with zeros behind it, the GPT's backup at the new end, and in the header and the protective MBR what
 * follows from that. Adds none where there is no GPT, or one that isn't sound: nobody could tell what of it
 * to keep. -ENOMEM. Source: UEFI 2.10, 5.2 and 5.3. */
int gpt_move_layout(struct disk *disk, uint64_t size, struct layout *ret);
#endif
