/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named as ICU does. What is called by a standard's name is what Windows means by it, which has more
 * characters. */
#include "charset.h"

#include <stddef.h>
#include <strings.h>

static const char *const charsets[][2] = {
    { "windows-1250", "CP1250" },
    { "windows-1251", "CP1251" },
    { "windows-1252", "CP1252" },
    { "windows-1253", "CP1253" },
    { "windows-1254", "CP1254" },
    { "windows-1255", "CP1255" },
    { "windows-1256", "CP1256" },
    { "windows-1257", "CP1257" },
    { "windows-1258", "CP1258" },
    { "windows-874", "CP874" },
    { "windows-31j", "CP932" },
    { "windows-932", "CP932" },
    { "windows-936", "GBK" },
    { "windows-936-2000", "GBK" },
    { "windows-949", "UHC" },
    { "windows-950", "BIG5" },
    { "windows-950-2000", "BIG5" },
    { "ISO-8859-1", "CP1252" },
    { "ISO-8859-2", "ISO-8859-2" },
    { "ISO-8859-5", "ISO-8859-5" },
    { "ISO-8859-7", "ISO-8859-7" },
    { "ISO-8859-9", "ISO-8859-9" },
    { "ISO-8859-15", "ISO-8859-15" },
    { "KOI8-R", "KOI8-R" },
    { "GBK", "GBK" },
    { "GB18030", "GB18030" },
    { "GB2312", "GBK" },
    { "EUC-CN", "GBK" },
    { "Big5", "BIG5" },
    { "Shift_JIS", "CP932" },
    { "EUC-JP", "EUC-JP" },
    { "EUC-KR", "UHC" },
};

const char *charset_iconv(const char *name)
{
    for (size_t i = 0; name && i < sizeof charsets / sizeof charsets[0]; i++)
        if (!strcasecmp(name, charsets[i][0]))
            return charsets[i][1];
    return NULL;
}
