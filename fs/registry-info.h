/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REGISTRY_INFO_H
#define FERRYFS_REGISTRY_INFO_H
#include <jansson.h>

struct ferry;
/* "registry" of info.json, the caller's; NULL: there is none. Opens every hive. */
json_t *registry_info(struct ferry *f);
#endif
