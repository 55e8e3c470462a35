/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "prepare.h"

const char *prepare_target_name(enum prepare_target t)
{
    static const char *const names[PREPARE_TARGETS] = { "hyperv", "azure-local", "kvm", "kubevirt" };
    return names[t];
}
