/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grammar of INF files: odd ones by hand, and every INF of the corpus against what another program (the
 * shell's grep and awk, see corpus_agrees) sees in it. */
#include "guest/inf.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define HEAD "[Version]\r\nSignature=\"$Windows NT$\"\r\n"

static struct inf *parsed(const void *text, size_t n)
{
    struct inf *inf = NULL;
    struct fault fault = { 0 };
    int r = inf_parse(text, n, "t.inf", INF_ENGLISH, &inf, &fault);
    if (r)
        print_error("%s\n", fault.what);
    assert_int_equal(r, 0);
    return inf;
}

static struct inf *of(const char *text)
{
    return parsed(text, strlen(text));
}

static void refused(const char *text, int err, const char *what)
{
    struct inf *inf = NULL;
    struct fault fault = { 0 };
    assert_int_equal(inf_parse(text, strlen(text), "t.inf", INF_ENGLISH, &inf, &fault), err);
    assert_string_equal(fault.what, what);
}

/* The fields of the first line of [s], one after the other in <>. */
static void shows(const char *body, const char *want)
{
    char text[4096], got[4096] = "";
    snprintf(text, sizeof text, HEAD "[s]\r\n%s", body);
    struct inf *inf = of(text);
    const struct inf_line *l = inf_section(inf, "S")->lines;
    assert_non_null(l);
    if (l->key.text)
        sprintf(got, "%s=", l->key.text);
    for (unsigned i = 0; i < l->n; i++)
        sprintf(got + strlen(got), "<%s>", inf_text(l, i));
    assert_string_equal(got, want);
    inf_free(inf);
}

static void fields(void **state)
{
    (void)state;
    shows("a = b , c", "a=<b><c>");
    shows("a=b,,c,", "a=<b><><c><>");
    shows("  just, fields ; a comment = no", "<just><fields>");
    shows("a=", "a=");
    shows("a=,x", "a=<><x>");
    shows(",x", "<><x>");
    shows("\"x;y, = z\"=\" p q \"", "x;y, = z=< p q >");
    shows("a=\"say \"\"hi\"\"\"", "a=<say \"hi\">");
    shows("a = a\"b c\"d", "a=<ab cd>");
    shows("a = x \"\" , y", "a=<x ><y>"); /* what is quoted isn't trimmed, were it nothing */
    shows("a = \"open, to the end\r\nb=c", "a=<open, to the end>");
    shows("HKR,,x,,a=b", "<HKR><><x><><a=b>"); /* a key has no comma before it */
    shows("a=b=c", "a=<b=c>");
    shows("a=one, \\\r\n   two,\\ ; words\r\n three", "a=<one><two><three>");
    shows("a=one,\\\\\r\n two", "a=<one><two>");
    shows("a=one,\\\n\nb=c", "a=<one><>"); /* goes on with an empty line */
    shows("a=C:\\dir\\x.sys", "a=<C:\\dir\\x.sys>");
    shows("a=\"dir\\\"\r\nb=c", "a=<dir\\>");
    shows("a=x\rb=y", "a=<x>");
    shows("a=%t%%%u%%", "a=<%t%%u%>"); /* unknown tokens stay */
    shows("a=50%", "a=<50%>");
}

static void tokens(void **state)
{
    (void)state;
    struct inf *inf =
        of(HEAD "[s]\n%K% = \"%%SystemRoot%%\\%Name%\", %12%\\%file%, %num%\n%none%=1\n"
                "[Strings]\nname = \"A, b\"\nNUM=0x10 ; sixteen\nk=key\nfile=english\n"
                "\"odd key*.\"=%name%\n[Strings.0409]\nfile=american\n[Strings.0009]\nfile=prim\n");
    const struct inf_line *l = inf_find(inf, inf_section(inf, "s"), "KEY");
    assert_non_null(l);
    assert_string_equal(l->key.raw, "%K%");
    assert_string_equal(inf_text(l, 0), "%SystemRoot%\\A, b");
    assert_string_equal(inf_text(l, 1), "%12%\\american");
    assert_string_equal(inf_text(l, 2), "0x10");
    assert_string_equal(inf_text(l, 3), "");
    assert_string_equal(l->fields[2].raw, "%num%");
    assert_string_equal(inf_token(inf, "ODD KEY*."), "%name%"); /* [Strings] itself isn't expanded */
    assert_null(inf_token(inf, "none"));
    inf_free(inf);
    struct inf *german = NULL;
    const char *text = HEAD
        "[s]\na=%x%,%y%,%z%\n[Strings]\nx=1\ny=1\nz=1\n[Strings.0007]\nx=7\ny=7\n[strings.0407]\nx=407\n";
    assert_int_equal(inf_parse(text, strlen(text), "t.inf", 0x407, &german, NULL), 0);
    l = inf_section(german, "s")->lines;
    assert_string_equal(inf_text(l, 0), "407");
    assert_string_equal(inf_text(l, 1), "7");
    assert_string_equal(inf_text(l, 2), "1");
    inf_free(german);
}

static void sections(void **state)
{
    (void)state;
    struct inf *inf = of("/*++\n" HEAD "[ A ] junk\nx=1\n[b]\n\n[a]\nx=2\n; nothing\ny=3\nX=4\n\x1a[c]\n");
    const struct inf_section *a = inf_section(inf, "a");
    assert_string_equal(a->name, "A");
    assert_int_equal(a->line, 4);
    const struct inf_line *x = inf_find(inf, a, "x");
    assert_int_equal(x->line, 5);
    assert_string_equal(inf_text(x, 0), "1");
    assert_int_equal(x->alike->line, 9);
    assert_int_equal(x->alike->alike->line, 12);
    assert_null(x->alike->alike->alike);
    assert_non_null(inf_section(inf, "b"));
    assert_null(inf_section(inf, "b")->lines);
    assert_null(inf_section(inf, "c")); /* behind the end */
    assert_string_equal(inf_nth_section(inf, 1)->name, "A");
    assert_null(inf_nth_section(inf, 3));
    assert_null(inf_value(inf, "b", "x"));
    assert_null(inf_value(inf, "none", "x"));
    inf_free(inf);
}

static void encodings(void **state)
{
    (void)state;
    static const char text[] = HEAD "[s]\r\na=\xe4\x80,x\r\n"; /* a umlaut and the euro, in Windows-1252 */
    struct inf *inf = of(text);
    assert_string_equal(inf_value(inf, "s", "a"), "\xc3\xa4\xe2\x82\xac");
    inf_free(inf);
    for (int kind = 0; kind < 3; kind++) { /* LE with a mark, BE with one, LE without */
        uint8_t wide[2 * sizeof text];
        size_t n = 0;
        if (kind < 2) {
            wide[n++] = kind ? 0xfe : 0xff;
            wide[n++] = kind ? 0xff : 0xfe;
        }
        for (const char *p = text; *p; p++) {
            uint16_t unit = (uint8_t)*p == 0x80 ? 0x20ac : (uint8_t)*p;
            wide[n++] = (uint8_t)(kind == 1 ? unit >> 8 : unit);
            wide[n++] = (uint8_t)(kind == 1 ? unit : unit >> 8);
        }
        inf = parsed(wide, n);
        assert_string_equal(inf_value(inf, "s", "a"), "\xc3\xa4\xe2\x82\xac");
        inf_free(inf);
    }
    inf = of("\xef\xbb\xbf" HEAD "[s]\r\na=\xc3\xa4\xe4\r\n"); /* the second is no UTF-8 */
    assert_string_equal(inf_value(inf, "s", "a"), "\xc3\xa4\xc3\xa4");
    inf_free(inf);
}

static void refusals(void **state)
{
    (void)state;
    refused("", -EUCLEAN, "not an INF: [Version] has no Signature");
    refused("[Version]\nSignature=$Linux$\n", -EUCLEAN,
            "line 2: the signature \"$Linux$\" is none of Windows");
    refused(HEAD "[open\nx=1\n", -EUCLEAN, "line 3: a section's name without its ']'");
    struct inf *inf = NULL;
    struct fault fault = { 0 };
    static const char nul[] = HEAD "a\0b";
    assert_int_equal(inf_parse(nul, sizeof nul - 1, "t.inf", INF_ENGLISH, &inf, &fault), -EUCLEAN);
    char *big = malloc(20000);
    assert_non_null(big);
    strcpy(big, HEAD "[s]\na=");
    memset(big + strlen(HEAD "[s]\na="), 'x', 5000);
    strcpy(big + strlen(HEAD "[s]\na=") + 5000, "\n");
    refused(big, -EFBIG, "line 4: a field of more than 4096 bytes");
    strcpy(big, HEAD "[s]\na=");
    for (int i = 0; i < 30; i++)
        strcat(big, "%t%");
    strcat(big, "\n[Strings]\nt=");
    size_t n = strlen(big);
    memset(big + n, 'y', 200);
    strcpy(big + n + 200, "\n");
    refused(big, -EFBIG, "line 4: a field of more than 4096 bytes");
    free(big);
    /* Tokens that blow a file up: 64 MiB are the end. */
    size_t lines = 40000, room = lines * 12 + 8192;
    big = malloc(room);
    assert_non_null(big);
    n = (size_t)sprintf(big, HEAD "[s]\n");
    for (size_t i = 0; i < lines; i++)
        n += (size_t)sprintf(big + n, "%%t%%\n");
    n += (size_t)sprintf(big + n, "[Strings]\nt=");
    memset(big + n, 'z', 4000);
    big[n + 4000] = 0;
    refused(big, -EFBIG, "the INF takes more than 64 MiB of memory");
    free(big);
    /* The table of names is in that, too: each of these lines has one, and takes 64 bytes beside. */
    lines = 600000;
    big = malloc(lines * 7 + 100);
    assert_non_null(big);
    n = (size_t)sprintf(big, HEAD "[s]\n");
    for (size_t i = 0; i < lines; i++)
        n += (size_t)sprintf(big + n, "%zx=\n", i);
    refused(big, -EFBIG, "the INF takes more than 64 MiB of memory");
    free(big);
}

/* ---- the corpus ---- */

static char *load(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(INF_MAX_SIZE);
    assert_non_null(bytes);
    *ret_n = fread(bytes, 1, INF_MAX_SIZE, f);
    fclose(f);
    return bytes;
}

/* How many different section names there are, and what DriverVer is, as grep and sort see them. */
static void corpus_agrees(const char *path)
{
    size_t n, got = 0;
    char *bytes = load(path, &n), cmd[4600], said[256] = "";
    struct inf *inf = NULL;
    struct fault fault = { 0 };
    int r = inf_parse(bytes, n, path, INF_ENGLISH, &inf, &fault);
    if (r)
        print_error("%s: %s\n", path, fault.what);
    assert_int_equal(r, 0);
    while (inf_nth_section(inf, got))
        got++;
    snprintf(
        cmd, sizeof cmd,
        "f='%s'; case $(head -c 2 \"$f\" | od -An -tx1) in *'ff fe'*) iconv -f UTF-16 \"$f\";; *) "
        "iconv -f cp1252 -t utf-8 -c \"$f\" | sed '1s/^\xc3\xaf\xc2\xbb\xc2\xbf//';; esac | tr '\\r' '\\n' |"
        " grep -aE '^[ \t]*\\[' | sed 's/^[ \t]*\\[[ \t]*//; s/[ \t]*\\].*//' | sort -fu | wc -l",
        path);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    assert_non_null(fgets(said, sizeof said, p));
    assert_int_equal(pclose(p), 0);
    if (got != strtoul(said, NULL, 10))
        print_error("%s: %zu sections, grep sees %s\n", path, got, said);
    assert_int_equal(got, strtoul(said, NULL, 10));
    inf_free(inf);
    free(bytes);
}

static unsigned walk(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[4096];
        struct stat st;
        if (e->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path ||
            stat(path, &st))
            continue;
        const char *dot = strrchr(e->d_name, '.');
        if (S_ISDIR(st.st_mode)) {
            n += walk(path);
        } else if (dot && (!strcasecmp(dot, ".inf") || !strcasecmp(dot, ".inx") || !strcasecmp(dot, ".in"))) {
            corpus_agrees(path);
            n++;
        }
    }
    if (d)
        closedir(d);
    return n;
}

static void corpus(void **state)
{
    (void)state;
    const char *root = getenv("FERRYFS_CORPUS");
    char dir[4096];
    if (!root || !*root) {
        print_message("no FERRYFS_CORPUS\n");
        skip();
    }
    snprintf(dir, sizeof dir, "%s/inf", root);
    unsigned n = walk(dir);
    snprintf(dir, sizeof dir, "%s/driverpkg", root);
    n += walk(dir);
    print_message("%u files\n", n);
    assert_true(n >= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields),    cmocka_unit_test(tokens),   cmocka_unit_test(sections),
        cmocka_unit_test(encodings), cmocka_unit_test(refusals), cmocka_unit_test(corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
