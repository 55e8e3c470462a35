/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an INF asks for on a guest: decorations as Microsoft's page ranks them, odd INFs by hand, and each
 * package of the corpus on the Windows whose directory it is in. */
#include "guest/driver-plan.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct driver_target target(enum driver_arch arch, unsigned major, unsigned minor, unsigned build,
                                   unsigned product)
{
    return (struct driver_target){ arch, major, minor, build, product, 0, "C:\\Windows", "x.inf_0" };
}

/* Which of the decorations is taken; "none". */
static const char *taken(const struct driver_target *t, const char *const *of)
{
    const char *best = "none";
    uint64_t best_rank = 0, rank;
    for (; *of; of++) {
        int r = driver_decoration(*of, t, &rank);
        assert_true(r >= 0);
        if (r && (!strcmp(best, "none") || rank > best_rank)) {
            best = *of;
            best_rank = rank;
        }
    }
    return best;
}
#define TAKEN(t, ...) taken(&(t), (const char *const[]){ __VA_ARGS__, NULL })

static void decorations(void **state)
{
    (void)state;
    struct driver_target w7 = target(DRIVER_AMD64, 6, 1, 7601, DRIVER_WORKSTATION);
    struct driver_target w10 = target(DRIVER_AMD64, 10, 0, 17763, DRIVER_SERVER);
    struct driver_target x86 = target(DRIVER_X86, 10, 0, 14393, DRIVER_WORKSTATION);
    struct driver_target early = target(DRIVER_AMD64, 10, 0, 10240, DRIVER_WORKSTATION);
    assert_string_equal(TAKEN(w7, "", "NT", "NTx86", "NTarm64"), "none"); /* not x86: decorated, or nothing */
    assert_string_equal(TAKEN(x86, ""), "");
    assert_string_equal(TAKEN(x86, "", "NT", "NTx86"), "NTx86");
    assert_string_equal(TAKEN(w7, "NTamd64", "NTamd64.6.0", "NTamd64.6.1", "NTamd64.6.2"), "NTamd64.6.1");
    assert_string_equal(TAKEN(w10, "NTamd64.6.1", "NTamd64.6.3", "NTamd64"), "NTamd64.6.3");
    assert_string_equal(TAKEN(w10, "NTamd64.10.0", "NTamd64.10.0...16299", "NTamd64.10.0...22000"),
                        "NTamd64.10.0...16299");
    assert_string_equal(TAKEN(early, "NTamd64.10.0", "NTamd64.10.0...10000"),
                        "NTamd64.10.0"); /* no builds yet */
    assert_string_equal(TAKEN(w10, "NTamd64.6.3...99999"),
                        "NTamd64.6.3...99999"); /* of an older version: any */
    assert_string_equal(TAKEN(w10, "NTamd64.10.0.1", "NTamd64.10.0"), "NTamd64.10.0"); /* for workstations */
    assert_string_equal(TAKEN(w10, "NTamd64.10.0", "NTamd64.10.0.3"), "NTamd64.10.0.3");
    assert_string_equal(TAKEN(w10, "NTamd64.10.0.0x3", "NTamd64..."), "NTamd64.10.0.0x3");
    assert_string_equal(TAKEN(w10, "NTamd64.10.0.3.0x80"), "none"); /* no datacenter */
    assert_string_equal(TAKEN(w10, "ntAMD64.10", "NTia64.10.0"), "ntAMD64.10");
    uint64_t rank;
    static const char *const bad[] = { "amd64", "NT$ARCH$", "NTamd64.x", "NTamd64.1.2.3.4.5.6", "NTmips" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(driver_decoration(bad[i], &w10, &rank), -EUCLEAN);
}

#define HEAD                                                                                                 \
    "[Version]\nSignature=$Windows NT$\nClass=System\nClassGuid={4D36E97D-E325-11CE-BFC1-08002BE10318}\n"    \
    "Provider=me\nCatalogFile=a.cat\nCatalogFile.ntamd64=b.cat\nDriverVer=6/21/2006,10.0.18362.387\n"
#define MODELS "[Manufacturer]\nm=M,NTamd64\n[M.NTamd64]\nd=X,PCI\\A,PCI\\B\n"

/* INFs that others may include; NULL: there are none. */
static const struct driver_includes *includes;

static int plan_of(const char *text, struct inf **inf, struct driver_plan **plan, struct fault *fault)
{
    struct driver_target t = target(DRIVER_AMD64, 10, 0, 17763, DRIVER_SERVER);
    *plan = NULL;
    *fault = (struct fault){ 0 };
    assert_int_equal(inf_parse(text, strlen(text), "t.inf", INF_ENGLISH, inf, fault), 0);
    return driver_plan(*inf, &t, includes, plan, fault);
}

static void refused(const char *text, int err, const char *what)
{
    struct inf *inf;
    struct driver_plan *plan;
    struct fault fault;
    assert_int_equal(plan_of(text, &inf, &plan, &fault), err);
    assert_string_equal(fault.what, what);
    inf_free(inf);
}

static void odd(void **state)
{
    (void)state;
    struct inf *inf;
    struct driver_plan *plan;
    struct fault fault;
    assert_int_equal(
        plan_of(HEAD MODELS
                "[X]\nAddReg=a,b\nCopyFiles=@one.sys,list\n[a]\n"
                "HKR,,n,0x10001,-1\nHKR,,d,0x10001,1,2,0x3,ff\nHKR,,m,0x10000,x,,%11%\\y\n"
                "HKR,K,,0x10\nHKR,\"0x00000010\"\nHKLM,A,b,1,de,ad\nHKR,,e,0x20000\n[b]\n"
                "HKR,,q,0xb0001,1,0,0,0,0,0,0,0\n"
                "[list]\nto.sys,from.sys,,0x10\n[DestinationDirs]\nDefaultDestDir=12\nlist=10,sub\n"
                "[SourceDisksNames]\n7=,,,\\p\n[SourceDisksFiles]\nfrom.sys=7,q\n"
                "[SourceDisksFiles.amd64]\none.sys=7\n"
                "[X.Services]\nAddService=,2\n",
                &inf, &plan, &fault),
        0);
    assert_string_equal(plan->catalog, "b.cat");
    assert_true(plan->date == 0x01C694C5A38C8000u); /* seen in hives for that day */
    assert_true(plan->version == 0x000A000047BA0183u);
    assert_false(plan->boot_critical);
    assert_int_equal(plan->n_models, 1);
    assert_string_equal(plan->models[0].hardware_id, "PCI\\A");
    assert_int_equal(plan->models[0].n_compatible, 1);
    const struct driver_values *v = &plan->installs[0].software;
    assert_int_equal(v->n, 8);
    assert_memory_equal(v->v[0].bytes, "\xff\xff\xff\xff", 4);
    assert_memory_equal(v->v[1].bytes, "\x01\x02\x03\xff", 4);
    static const uint16_t m[] = { 'x', 0,   'C', ':', '\\', 'W', 'i', 'n', 'd',  'o', 'w', 's', '\\',
                                  'S', 'y', 's', 't', 'e',  'm', '3', '2', '\\', 'y', 0,   0 };
    assert_int_equal(v->v[2].n, sizeof m);
    assert_memory_equal(v->v[2].bytes, m, sizeof m);
    assert_int_equal(v->v[3].flags, DRIVER_ADD_KEYONLY);
    assert_string_equal(v->v[4].key, "0x00000010"); /* by strict counting */
    assert_string_equal(v->v[5].root, "HKLM");
    assert_int_equal(v->v[5].type, DRIVER_REG_BINARY);
    assert_int_equal(v->v[6].type, DRIVER_REG_EXPAND_SZ);
    assert_int_equal(v->v[6].n, 2);
    assert_int_equal(v->v[7].type, 11);
    assert_int_equal(v->v[7].n, 8);
    assert_int_equal(plan->n_files, 2);
    assert_string_equal(plan->files[0].source, "p/one.sys");
    assert_string_equal(plan->files[0].dir, "C:\\Windows\\System32\\drivers");
    assert_string_equal(plan->files[1].source, "p/q/from.sys");
    assert_string_equal(plan->files[1].dir, "C:\\Windows\\sub");
    assert_true(plan->files[1].no_overwrite);
    assert_int_equal(plan->n_services, 0);
    driver_plan_free(plan);
    inf_free(inf);
}

static void refusals(void **state)
{
    (void)state;
    refused("[Version]\nSignature=$Chicago$\n", -EUCLEAN, "line 1: [Version] has no valid ClassGuid");
    refused(HEAD, -EUCLEAN, "no [Manufacturer]: not an INF of a device's driver");
    refused(HEAD "[Manufacturer]\nm=M,NTx86\n[M.NTx86]\nd=X,A\n[X]\n", -ENOEXEC,
            "line 9: no models for this guest: Windows 10.0.17763 amd64, product type 3");
    refused(HEAD "[Manufacturer]\nm=M,NT$ARCH$\n", -EUCLEAN,
            "line 10: a template of an INF, which a build fills in: NT$ARCH$");
    refused(HEAD "[Manufacturer]\nm=M,NTamd64,NTamd64.10.0\n[M.NTamd64]\nd=X,A\n[X]\n[M.NTamd64.10.0]\n",
            -ENOEXEC,
            "line 9: no models for this guest: Windows 10.0.17763 amd64, product type 3"); /* left out on
                                                                                              purpose */
    refused(HEAD MODELS, -EUCLEAN, "line 12: there is no install section [X]");
    refused(HEAD MODELS "[X]\nCopyFiles=l\n", -EUCLEAN, "line 14: there is no section of files l");
    refused(HEAD MODELS "[X]\nCopyFiles=l\n[l]\na\n", -EUCLEAN,
            "line 16: [DestinationDirs] has no place for l");
    refused(HEAD MODELS "[X]\nCopyFiles=l\n[l]\na\n[DestinationDirs]\nl=77777\n", -EUCLEAN,
            "line 18: a directory that isn't known: 77777");
    refused(HEAD MODELS "[X]\nCopyFiles=l\n[l]\na\n[DestinationDirs]\nl=10,..\\..\\x\n", -EUCLEAN,
            "line 18: a directory that isn't known: 10");
    refused(HEAD MODELS "[X]\nCopyFiles=l\n[l]\n..\\a\n[DestinationDirs]\nl=10\n", -EUCLEAN,
            "line 16: no name for a file: ..\\a");
    refused(HEAD MODELS "[X]\nCopyFiles=l\n[l]\na,..\\..\\etc\\passwd\n[DestinationDirs]\nl=10\n", -EUCLEAN,
            "line 16: no place in the package: ..\\..\\etc\\passwd");
    refused(HEAD MODELS "[X]\nAddReg=r\n[r]\nHKXX,a\n", -EUCLEAN,
            "line 16: neither HKR nor another root of the registry");
    refused(HEAD MODELS "[X]\nAddReg=r\n[r]\nHKR,,a,1,123\n", -EUCLEAN,
            "line 16: what should be a byte in hexadecimal is none");
    refused(HEAD MODELS "[X]\n[X.Services]\nAddService=s,2,S\n", -EUCLEAN,
            "line 15: there is no service section [S]");
    refused(HEAD MODELS "[X]\n[X.Services]\nAddService=s,2,S\n[S]\nServiceType=1\n", -EUCLEAN,
            "line 16: the service section [S] has no StartType");
    refused(HEAD MODELS "[X]\n[X.Services]\nAddService=a\\b,2,S\n", -EUCLEAN,
            "line 15: no name for a service");
    refused("[Version]\nSignature=$Chicago$\nClassGuid={4D36E97D-E325-11CE-BFC1-08002BE10318}\nDriverVer=2/"
            "30/2020\n",
            -EUCLEAN, "line 4: the date of DriverVer is none: 2/30/2020");
}

/* ---- Include and Needs ---- */

struct other {
    const char *name, *text, *store;
};

static const struct other *others; /* up to one without a name */
static unsigned asked;

static int read_other(void *ctx, const char *name, uint8_t **ret, size_t *ret_n, char **ret_store)
{
    (void)ctx;
    asked++;
    *ret_store = NULL;
    for (const struct other *o = others; o && o->name; o++)
        if (!strcasecmp(o->name, name)) {
            *ret = (uint8_t *)strdup(o->text);
            *ret_n = strlen(o->text);
            *ret_store = o->store ? strdup(o->store) : NULL;
            return 0;
        }
    return -ENOENT;
}
static const struct driver_includes from_others = { read_other, NULL };

static int plan_including(const struct other *of, const char *text, struct inf **inf,
                          struct driver_plan **plan, struct fault *fault)
{
    others = of;
    asked = 0;
    includes = &from_others;
    int r = plan_of(text, inf, plan, fault);
    includes = NULL;
    return r;
}

#define OTHER "[Version]\nSignature=$Windows NT$\n"

static const struct driver_value *value_of(const struct driver_values *v, const char *name)
{
    const struct driver_value *found = NULL;
    for (size_t i = 0; i < v->n; i++)
        if (!strcmp(v->v[i].name, name))
            found = &v->v[i]; /* the last counts */
    return found;
}

static void included(void **state)
{
    static const struct other of[] = {
        { "one.inf",
          OTHER "[A]\nInclude=two.inf\nNeeds=B\nAddReg=r\nCopyFiles=@inbox.sys\n[r]\nHKR,,a,,%t%\nHKR,,own,,"
                "theirs\n"
                "[DestinationDirs]\nDefaultDestDir=12\n"
                "[A.HW]\nAddReg=hw\n[hw]\nHKR,,h,0x10001,1\n"
                "[A.Services]\nAddService=inbox,2,S\n[S]\nServiceType=1\nStartType=3\nErrorControl=1\n"
                "ServiceBinary=%13%\\inbox.sys\n[Both]\nAddReg=br\n[br]\nHKR,,first,,x\n"
                "[Strings]\nt=\"their text\"\n",
          "one.inf_amd64_1" },
        { "two.inf", OTHER "[B.NTamd64]\nAddReg=r\n[r]\nHKR,,b,,x\n[Both]\nAddReg=br\n[br]\nHKR,,second,,x\n",
          NULL },
        { 0 },
    };
    struct inf *inf;
    struct driver_plan *plan;
    struct fault fault;
    uint8_t text[200];
    (void)state;
    int r = plan_including(of,
                           HEAD MODELS
                           "[X]\nInclude=ONE.INF\nNeeds=A,Both\nAddReg=r\n[r]\nHKR,,own,,mine\n"
                           "[X.HW]\nInclude=one.inf\nNeeds=A.HW\n"
                           "[X.Services]\nInclude=one.inf\nNeeds=A.Services\nAddService=own,2,S\n"
                           "[S]\nServiceType=1\nStartType=0\nErrorControl=1\nServiceBinary=%12%\\o.sys\n"
                           "[Strings]\nt=\"my text\"\n",
                           &inf, &plan, &fault);
    if (r)
        fail_msg("%d %s", r, fault.what);
    assert_int_equal(plan->n_notes, 0);
    assert_int_equal(asked, 2); /* each once */
    const struct driver_install *i = &plan->installs[0];
    for (const char *const *name = (const char *const[]){ "a", "b", "first", "second", "own", NULL }; *name;
         name++)
        assert_non_null(value_of(&i->software, *name));
    const struct driver_value *a = value_of(&i->software, "a");
    for (size_t k = 0; k < a->n / 2; k++)
        text[k] = a->bytes[2 * k];
    assert_string_equal((char *)text, "their text");
    assert_string_equal(inf_name(a->inf), "ONE.INF");
    assert_int_equal(value_of(&i->software, "own")->bytes[0], 'm');
    assert_non_null(value_of(&i->hardware, "h"));
    assert_string_equal(i->service, "own");
    assert_string_equal(i->included, "ONE.INF\ntwo.inf");
    assert_int_equal(plan->n_services, 2);
    assert_string_equal(plan->services[0].image_path, "System32\\drivers\\o.sys");
    assert_string_equal(plan->services[1].image_path,
                        "\\SystemRoot\\System32\\DriverStore\\FileRepository\\one.inf_amd64_1\\inbox.sys");
    assert_int_equal(plan->n_files, 1);
    assert_string_equal(plan->files[0].store, "one.inf_amd64_1");
    driver_plan_free(plan);
    inf_free(inf);
}

static void noted(const struct other *of, const char *text, const char *what)
{
    struct inf *inf;
    struct driver_plan *plan;
    struct fault fault;
    int r = plan_including(of, text, &inf, &plan, &fault);
    if (r)
        fail_msg("%d %s", r, fault.what);
    assert_int_equal(plan->n_notes, what ? 1 : 0);
    if (what)
        assert_string_equal(plan->notes[0], what);
    driver_plan_free(plan);
    inf_free(inf);
}

static void not_included(void **state)
{
    static const struct other of[] = {
        { "bad.inf", "no INF", NULL },
        { "round.inf", OTHER "[A]\nInclude=back.inf\nNeeds=B\n", "" },
        { "back.inf", OTHER "[B]\nInclude=round.inf\nNeeds=A,B,X\n", "" },
        { 0 },
    };
    (void)state;
    noted(of, HEAD MODELS "[X]\nInclude=gone.inf\n",
          "t.inf: line 14: sections of gone.inf are left to Windows");
    noted(of, HEAD MODELS "[X]\nInclude=..\\back.inf\n",
          "t.inf: line 14: sections of ..\\back.inf are left to Windows");
    noted(NULL, HEAD MODELS "[X]\nNeeds=Y\n",
          "t.inf: line 14: [Y] is left to Windows: no INF that is included has it");
    noted(of, HEAD MODELS "[X]\nInclude=bad.inf\n",
          "t.inf: line 14: sections of bad.inf are left to Windows: not an INF: [Version] has no Signature");
    noted(of, HEAD MODELS "[X]\nInclude=round.inf\nNeeds=A\n", NULL); /* goes round, and ends */
    noted(of, HEAD MODELS "[X]\nInclude=t.inf\nNeeds=Y\n[Y]\nNeeds=X\n", NULL);
}

/* What the sections of a device say that isn't done before Windows installs it: each line once, whoever has
 * it. */
static void left_to_windows(void **state)
{
    static const char *const wanted[] = {
        "line 23: HKLM\\Software\\A is left to Windows", "line 24: HKCR\\.x is left to Windows",
        "line 25: HKU\\.DEFAULT\\B is left to Windows",  "line 27: HKLM\\Software\\C is left to Windows",
        "line 15: RegisterDlls is left to Windows",      "line 16: RegisterDlls is left to Windows",
        "line 17: UpdateInis is left to Windows",        "line 18: Ini2Reg is left to Windows",
        "line 31: DelService is left to Windows",        "line 32: [X.Interfaces] is left to Windows",
        "line 6: HKLM\\Software\\I is left to Windows",
    };
    static const struct other of[] = { { "in.inf", OTHER "[A]\nAddReg=r\n[r]\nHKLM,Software\\I,,,1\n", "" },
                                       { 0 } };
    struct inf *inf;
    struct driver_plan *plan;
    struct fault fault;
    (void)state;
    int r = plan_including(of,
                           HEAD MODELS "[X]\nAddReg=reg,own\nRegisterDlls=dlls\nRegisterDlls=others\n"
                                       "UpdateInis=u\nIni2Reg=i\nDelReg=del\nInclude=in.inf\nNeeds=A\n"
                                       "[reg]\nHKLM,Software\\A,,,1\nHKCR,.x,,,1\nHKU,.DEFAULT\\B,,,1\n"
                                       "[del]\nHKLM,Software\\C,v\n[X.HW]\nAddReg=reg\n"
                                       "[X.Services]\nDelService=gone\n[X.Interfaces]\nAddInterface=x\n"
                                       "[own]\nHKR,,mine,,1\n",
                           &inf, &plan, &fault);
    if (r)
        fail_msg("%d %s", r, fault.what);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        size_t found = 0;
        for (size_t k = 0; k < plan->n_notes; k++)
            found += strstr(plan->notes[k], wanted[i]) != NULL;
        if (found != 1)
            fail_msg("%zu times: %s", found, wanted[i]);
    }
    assert_int_equal(plan->n_notes, sizeof wanted / sizeof wanted[0]);
    driver_plan_free(plan);
    inf_free(inf);
}

/* ---- how much ---- */

struct text {
    char *p; /* owned */
    size_t n, room;
};

static void add(struct text *t, const char *s)
{
    size_t n = strlen(s);
    if (t->n + n + 1 > t->room) {
        t->room = 2 * (t->n + n + 1);
        t->p = realloc(t->p, t->room);
        assert_non_null(t->p);
    }
    memcpy(t->p + t->n, s, n + 1);
    t->n += n;
}

static void too_much(struct text *t)
{
    struct inf *inf;
    struct driver_plan *plan;
    struct fault fault;
    assert_int_equal(plan_of(t->p, &inf, &plan, &fault), -EFBIG);
    assert_int_equal(fault.err, -EFBIG);
    assert_null(plan);
    inf_free(inf);
    free(t->p);
    *t = (struct text){ 0 };
}

/* A small INF can't ask for much memory or work. */
static void bounds(void **state)
{
    struct text t = { 0 };
    char line[100];
    (void)state;
    add(&t, HEAD MODELS "[X]\nAddReg=r\n[r]\nHKR,,v,,\""); /* each expansion is longer than the one before */
    for (int i = 0; i < 1000; i++)
        add(&t, "%13%");
    add(&t, "\"\n");
    too_much(&t);

    add(&t,
        HEAD MODELS "[X]\n[X.Services]\nAddService=s,2,S\n[S]\nServiceType=1\nStartType=3\nErrorControl=1\n"
                    "ServiceBinary=%12%\\s.sys\nDependencies=");
    for (int i = 0; i < 8000; i++)
        add(&t, "someservice,");
    add(&t, "\n");
    too_much(&t);

    add(&t, HEAD MODELS "[X]\n"); /* the same file over and over */
    for (int i = 0; i < 500; i++)
        add(&t, "CopyFiles=l,l,l,l,l,l\n");
    add(&t, "[DestinationDirs]\nDefaultDestDir=12\n[l]\n");
    for (int i = 0; i < 1000; i++)
        add(&t, "a.sys\n");
    too_much(&t);

    add(&t, HEAD "[Manufacturer]\nm=M,NTamd64\n[r]\n"); /* many sections name one */
    for (int i = 0; i < 2000; i++)
        add(&t, "HKR,,v,,x\n");
    for (int i = 0; i < 2000; i++) {
        snprintf(line, sizeof line, "[X%d]\nAddReg=r\n[M.NTamd64]\nd=X%d,PCI\\A%d\n", i, i, i);
        add(&t, line);
    }
    too_much(&t);

    add(&t, HEAD "[Manufacturer]\n"); /* one line of ids, of many manufacturers */
    for (int i = 0; i < 4000; i++)
        add(&t, "m=M,NTamd64\n");
    add(&t, "[X]\n[M.NTamd64]\nd=X");
    for (int i = 0; i < 8000; i++)
        add(&t, ",A");
    add(&t, "\n");
    too_much(&t);
}

/* Nor can what it includes. */
static void bounds_of_included(void **state)
{
    struct text t = { 0 };
    struct other many[] = { { "a.inf", OTHER, NULL }, { "b.inf", OTHER, NULL },
                            { "c.inf", OTHER, NULL }, { "d.inf", OTHER, NULL },
                            { "e.inf", OTHER, NULL }, { "f.inf", OTHER, NULL },
                            { "g.inf", OTHER, NULL }, { "h.inf", OTHER, NULL },
                            { "i.inf", OTHER, NULL }, { 0 } };
    char line[100];
    (void)state;
    includes = &from_others;
    others = many;
    add(&t, HEAD MODELS "[X]\nInclude=a.inf,b.inf,c.inf,d.inf,e.inf,f.inf,g.inf,h.inf,i.inf\n");
    too_much(&t);

    add(&t, HEAD MODELS "[X]\nNeeds=N0\n"); /* deep */
    for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "[N%d]\nNeeds=N%d\n", i, i + 1);
        add(&t, line);
    }
    too_much(&t);

    struct text o = { 0 }; /* much in a few sections, over and over */
    add(&o, OTHER);
    for (int i = 0; i < 60; i++) {
        snprintf(line, sizeof line, "[N%d]\nAddReg=r\nNeeds=N%d\n", i, i + 1);
        add(&o, line);
    }
    add(&o, "[r]\n");
    for (int i = 0; i < 100; i++)
        add(&o, "HKR,,v,,x\n");
    many[0].text = o.p;
    add(&t, HEAD MODELS "[X]\nInclude=a.inf\nNeeds=N0\n");
    too_much(&t);
    free(o.p);

    struct text bomb = { 0 }; /* the included one is too much by itself */
    add(&bomb, OTHER "[Strings]\nt=\"");
    for (int i = 0; i < 4000; i++)
        add(&bomb, "x");
    add(&bomb, "\"\n[A]\n");
    for (int i = 0; i < 40000; i++)
        add(&bomb, "%t%\n");
    many[0].text = bomb.p;
    add(&t, HEAD MODELS "[X]\nInclude=a.inf\nNeeds=A\n");
    too_much(&t);
    free(bomb.p);
    includes = NULL;
}

/* Packages of printers and displays have as many. */
static void many_models(void **state)
{
    struct text t = { 0 };
    struct inf *inf;
    struct driver_plan *plan;
    struct fault fault;
    char line[100];
    (void)state;
    add(&t, HEAD "[Manufacturer]\nm=M,NTamd64\n[X]\nCopyFiles=@a.sys\n[DestinationDirs]\nDefaultDestDir=12\n"
                 "[M.NTamd64]\n");
    for (int i = 0; i < 20000; i++) {
        snprintf(line, sizeof line, "d=X,PCI\\A%d,PCI\\B%d\n", i, i);
        add(&t, line);
    }
    assert_int_equal(plan_of(t.p, &inf, &plan, &fault), 0);
    assert_int_equal(plan->n_models, 20000);
    assert_int_equal(plan->n_files, 1);
    driver_plan_free(plan);
    inf_free(inf);
    free(t.p);
}

/* ---- the corpus ---- */

static const struct {
    const char *dir;
    enum driver_arch arch;
    unsigned major, minor, build, n; /* how many INFs are there */
} places[] = {
    { "Win7/amd64", DRIVER_AMD64, 6, 1, 7601, 8 }, { "Win7/x86", DRIVER_X86, 6, 1, 7601, 6 },
    { "Win8/x86", DRIVER_X86, 6, 2, 9200, 12 },    { "Win8.1/x86", DRIVER_X86, 6, 3, 9600, 12 },
    { "Wlh/amd64", DRIVER_AMD64, 6, 0, 6002, 7 },  { "Wlh/x86", DRIVER_X86, 6, 0, 6002, 7 },
    { "Wnet/amd64", DRIVER_AMD64, 5, 2, 3790, 4 }, { "Wnet/x86", DRIVER_X86, 5, 2, 3790, 4 },
};

static void plans(const char *path, const struct driver_target *t, bool fits)
{
    static char bytes[1 << 20];
    struct inf *inf = NULL;
    struct driver_plan *plan = NULL;
    struct fault fault = { 0 };
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_int_equal(inf_parse(bytes, n, path, INF_ENGLISH, &inf, &fault), 0);
    int r = driver_plan(inf, t, NULL, &plan, &fault);
    if (r != (fits ? 0 : -ENOEXEC))
        print_error("%s: %d %s\n", path, r, fault.what);
    assert_int_equal(r, fits ? 0 : -ENOEXEC);
    if (fits) {
        assert_true(plan->n_models > 0 && plan->n_installs > 0 && plan->catalog && plan->date);
        for (size_t i = 0; i < plan->n_installs; i++) /* each of virtio-win's devices has a driver */
            assert_non_null(plan->installs[i].service);
    }
    driver_plan_free(plan);
    inf_free(inf);
}

static void corpus(void **state)
{
    (void)state;
    const char *root = getenv("FERRYFS_CORPUS");
    unsigned all = 0;
    if (!root || !*root) {
        print_message("no FERRYFS_CORPUS\n");
        skip();
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char dir[3000], path[4096];
        unsigned found = 0;
        snprintf(dir, sizeof dir, "%s/driverpkg/virtio/%s", root, places[i].dir);
        struct driver_target own =
            target(places[i].arch, places[i].major, places[i].minor, places[i].build, DRIVER_WORKSTATION);
        struct driver_target other = own;
        other.arch = own.arch == DRIVER_X86 ? DRIVER_AMD64 : DRIVER_X86;
        DIR *d = opendir(dir);
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));) {
            const char *dot = strrchr(e->d_name, '.');
            if (!dot || strcmp(dot, ".inf") ||
                !strcmp(e->d_name, "vioprot.inf")) /* a protocol has no service to be its function */
                continue;
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
            plans(path, &own, true);
            found++;
            if (other.arch == DRIVER_AMD64) /* what is for 64 bits may also have a section for 32 */
                plans(path, &other, false);
        }
        closedir(d);
        assert_int_equal(found, places[i].n);
        all += found;
    }
    assert_true(all >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decorations),  cmocka_unit_test(odd),
        cmocka_unit_test(refusals),     cmocka_unit_test(included),
        cmocka_unit_test(not_included), cmocka_unit_test(left_to_windows),
        cmocka_unit_test(bounds),       cmocka_unit_test(bounds_of_included),
        cmocka_unit_test(many_models),  cmocka_unit_test(corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
