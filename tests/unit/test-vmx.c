/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of a .vmx: what is recognised as one, keys, values, escapes and encodings. */
#include "formats/vmx.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct vmx *must_parse(const char *text, size_t n)
{
    struct vmx *v = NULL;
    struct fault fault = { 0 };
    if (vmx_parse(text, n, "x.vmx", &v, &fault) < 0)
        fail_msg("%s", fault.what);
    return v;
}

static void what_a_text_is(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum vmx_kind kind;
    } t[] = {
        { "config.version = \"8\"\n", VMX_MACHINE },
        { "VIRTUALHW.version=8", VMX_MACHINE },
        { "\xef\xbb\xbfguestOS = \"linux\"\r\n", VMX_MACHINE },
        { "#!/usr/bin/vmware\n# x\n\n  guestos\t=\tlinux", VMX_MACHINE },
        { ".encoding = \"UTF-8\"\nencryption.keySafe = \"vmware:key\"\n", VMX_MACHINE },
        { "snapshot.lastUID = \"3\"\nsnapshot.numSnapshots = \"2\"\n", VMX_SNAPSHOTS },
        { "snapshot.lastUID = \"3\"\nguestOS = \"x\"\n", VMX_MACHINE },
        { "# guestOS = \"linux\"\n", VMX_NONE },
        { "my guestOS = \"linux\"\n", VMX_NONE },
        { "2024 | vmx | DICT guestOS = \"linux\"\n", VMX_NONE },
        { "guestOSx = \"linux\"\n", VMX_NONE },
        { "guestOS\n", VMX_NONE },
        { "# Disk DescriptorFile\nversion=1\nCID=1\nddb.virtualHWVersion = \"4\"\n", VMX_NONE },
        { "", VMX_NONE },
        { "=", VMX_NONE },
        { "\n\n=\n\"", VMX_NONE },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        if (vmx_probe(t[i].text, strlen(t[i].text)) != t[i].kind)
            fail_msg("%s", t[i].text);
}

/* What "k" is in each of these. */
static void values(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value; /* NULL: it isn't there */
        size_t notes;
    } t[] = {
        { "k = \"v\"", "v", 0 },
        { "K=v", "v", 0 },
        { " \tk\t =  v w \t\r\n", "v w", 0 },
        { "k = \"a = b # c\" # d\r\n", "a = b # c", 0 },
        { "k = \"\"", "", 0 },
        { "k =", "", 0 },
        { "k = \"  v  \"", "  v  ", 0 },
        { "k = \"open\nx = \"1\"", "open", 1 },
        { "k = \"|22a|7Cb|7c|22\"", "\"a|b|\"", 0 },
        { "k = \"a|0Ab\"", "a\nb", 0 },
        { "k = \"a|\"", "a|", 0 },
        { "k = \"a|2\"", "a|2", 0 },
        { "k = \"a|2g|g2|00\"", "a|2g|g2|00", 0 },
        { "k = \"||22\"", "|\"", 0 },
        { "k = \"1\"\nother = \"2\"\nK = \"3\"", "3", 1 },
        { "k = \"1\"\nk = \"1\"", "1", 0 },
        { "# k = \"1\"", NULL, 0 },
        { "k \"1\"", NULL, 1 },
        { "a k = \"1\"\n= \"2\"\n\n", NULL, 2 },
        { "k = \"D:\\VMs\\x.vmdk\"", "D:\\VMs\\x.vmdk", 0 },
        { "\xef\xbb\xbfk = \"v\"", "v", 0 },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct vmx *v = must_parse(t[i].text, strlen(t[i].text));
        const struct vmx_entry *e = vmx_find(v, "k");
        if (!e != !t[i].value || (e && strcmp(e->value, t[i].value) != 0) || v->notes.n != t[i].notes)
            fail_msg("%s gives %s, %zu notes", t[i].text, e ? e->value : "nothing", v->notes.n);
        vmx_free(v);
    }
}

static void every_key_is_found(void **state)
{
    (void)state;
    char text[4096] = "", key[32];
    for (int i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "scsi%d:%d.X = \"%d\"\n", i % 7, i, i);
    struct vmx *v = must_parse(text, strlen(text));
    assert_int_equal(v->n, 100);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "scsi%d:%d.x", i % 7, i);
        assert_int_equal(atoi(vmx_value(v, key)), i);
    }
    assert_null(vmx_find(v, "scsi7:0.x"));
    vmx_free(v);
    v = must_parse("", 0);
    assert_null(vmx_find(v, "k"));
    vmx_free(v);
}

static void booleans(void **state)
{
    (void)state;
    static const char text[] = "a=TRUE\nb=\"true\"\nc=1\nd=FALSE\ne=\"0\"\nf=yes\ng=\"\"";
    struct vmx *v = must_parse(text, strlen(text));
    const char *wanted[] = { "a1", "b1", "c1", "d0", "e0", "f-1", "g-1", "h-1" };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        char key[2] = { wanted[i][0], 0 };
        assert_int_equal(vmx_bool(v, key), atoi(wanted[i] + 1));
    }
    assert_null(vmx_value(v, "g"));
    vmx_free(v);
}

static void encodings(void **state)
{
    (void)state;
    static const struct {
        const char *encoding, *bytes, *value;
        size_t notes;
        bool converted;
    } t[] = {
        { "UTF-8", "M\xc3\xbcller", "M\xc3\xbcller", 0, false },
        { "windows-1252", "M\xfcller \x80", "M\xc3\xbcller \xe2\x82\xac", 0, true },
        { "Windows-1252", "plain", "plain", 0, false },
        { "windows-1251", "\xcf", "\xd0\x9f", 0, true },
        { "ISO-8859-15", "\xa4", "\xe2\x82\xac", 0, true },
        { "GBK", "\xc4\xe3", "\xe4\xbd\xa0", 0, true },
        { "Shift_JIS", "\x93\xfa", "\xe6\x97\xa5", 0, true },
        { "windows-1252", "|FC|22", "\xc3\xbc\"", 0, true },
        { "GBK", "a\xc4", "a\xc4", 1, false },                 /* cut in two */
        { "UTF-7//IGNORE", "\xc4\xe3", "\xc4\xe3", 1, false }, /* none of ours */
        { "../../tmp/x", "\xc4\xe3", "\xc4\xe3", 1, false },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "k = \"%s\"\n.encoding = \"%s\"\n", t[i].bytes, t[i].encoding);
        struct vmx *v = must_parse(text, strlen(text));
        const struct vmx_entry *e = vmx_find(v, "k");
        assert_string_equal(e->value, t[i].value);
        assert_int_equal(e->raw != NULL, t[i].converted);
        assert_int_equal(v->notes.n, t[i].notes);
        vmx_free(v);
    }
}

static void refusals(void **state)
{
    (void)state;
    struct vmx *v = NULL;
    struct fault fault = { 0 };
    assert_int_equal(vmx_parse("k = \"a\0b\"", 9, "x.vmx", &v, &fault), -EUCLEAN);
    assert_int_equal(fault.offset, 6);
    assert_string_equal(fault.what, "has a NUL byte, which no .vmx has");
    char *big = calloc(1, VMX_MAX_SIZE + 1);
    memset(big, '\n', VMX_MAX_SIZE + 1);
    assert_int_equal(vmx_parse(big, VMX_MAX_SIZE + 1, "x.vmx", &v, NULL), -EFBIG);
    for (size_t i = 0; i + 3 < VMX_MAX_SIZE; i += 3)
        memcpy(big + i, "a=\n", 3);
    memset(&fault, 0, sizeof fault);
    assert_int_equal(vmx_parse(big, VMX_MAX_SIZE, "x.vmx", &v, &fault), -EFBIG);
    assert_string_equal(fault.what, "has more than 65536 entries");
    free(big);
    assert_null(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_text_is), cmocka_unit_test(values),    cmocka_unit_test(every_key_is_found),
        cmocka_unit_test(booleans),       cmocka_unit_test(encodings), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
