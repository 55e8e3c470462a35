/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: mount(8)'s words change nothing, everything unknown is refused, names may stand anywhere.
 */
#include "fs/options.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Parses a line of words separated by blanks. */
static int parse(const char *line, struct options *o)
{
    static char words[512];
    static char *argv[32];
    int argc = 0;
    char *save = NULL;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    fflush(stderr);
    int keep = dup(2), null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    int r = options_parse(argc, argv, o);
    dup2(keep, 2);
    close(keep);
    close(null);
    return r;
}

static void wrong_usage_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "ferryfs",
        "ferryfs a",
        "ferryfs --info",
        "ferryfs -x a m",
        "ferryfs --nope a m",
        "ferryfs -o nope a m",
        "ferryfs -o cache a m",
        "ferryfs -o cache=0 a m",
        "ferryfs -o cache=12x a m",
        "ferryfs -o cache=-1 a m",
        "ferryfs -o threads=99999999999999999999 a m",
        "ferryfs -o cached=1 a m",
        "ferryfs -o umask=999 a m",
        "ferryfs -o overlay a m",
        "ferryfs -o overlay= a m",
        "ferryfs -o scratch=1 a m",
        "ferryfs -o overlay=/x,scratch a m",
        "ferryfs -o rebind a m",
        "ferryfs -o scratch,rebind a m",
        "ferryfs -o discard_hibernation a m",
        "ferryfs -o drivers a m",
        "ferryfs a m -o",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct options o;
        assert_int_equal(parse(lines[i], &o), EXIT_USAGE);
        options_done(&o);
    }
}

static void mount_words_change_nothing(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(parse("ferryfs src mnt -o "
                           "rw,dev,suid,exec,auto,nouser,async,relatime,_netdev,x-systemd.idle=1,user=joe,ro",
                           &o),
                     0);
    assert_string_equal(o.sources[0], "src");
    assert_string_equal(o.mountpoint, "mnt");
    assert_int_equal(o.cache_mib, 64);
    assert_false(o.allow_other || o.cached || o.foreground);
    options_done(&o);
}

static void options_and_names_in_any_order(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(
        parse("ferryfs -f a -ocache=8,threads=3 b -o trust=/x:/y,umask=027,uid=0,format=raw mnt -s", &o), 0);
    assert_int_equal(o.n_sources, 2);
    assert_string_equal(o.sources[1], "b");
    assert_string_equal(o.mountpoint, "mnt");
    assert_int_equal(o.cache_mib, 8);
    assert_int_equal(o.threads, 3);
    assert_int_equal(o.n_trust, 2);
    assert_string_equal(o.trust[1], "/y");
    assert_int_equal(o.umask, 027);
    assert_int_equal(o.uid, 0);
    assert_int_equal(o.gid, -1);
    assert_string_equal(o.format, "raw");
    assert_true(o.foreground && o.single_threaded);
    options_done(&o);

    assert_int_equal(parse("ferryfs -- -odd mnt", &o), 0);
    assert_string_equal(o.sources[0], "-odd");
    options_done(&o);

    assert_int_equal(parse("ferryfs -o trust=/with\\,comma a mnt", &o), 0);
    assert_string_equal(o.trust[0], "/with,comma");
    options_done(&o);

    assert_int_equal(parse("ferryfs --info a b", &o), 0);
    assert_int_equal(o.command, COMMAND_INFO);
    assert_int_equal(o.n_sources, 2);
    assert_null(o.mountpoint);
    options_done(&o);
}

static void edits_are_asked_for(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(parse("ferryfs a m", &o), 0);
    assert_null(o.overlay);
    assert_false(o.scratch || o.rebind || o.discard_hibernation || o.accept_dirty_hive);
    options_done(&o);
    assert_int_equal(
        parse("ferryfs -o overlay=/srv/web\\,01,rebind,discard_hibernation,accept_dirty_hive a m", &o), 0);
    assert_string_equal(o.overlay, "/srv/web,01");
    assert_true(o.rebind && o.discard_hibernation && o.accept_dirty_hive);
    assert_false(o.scratch);
    options_done(&o);
    assert_int_equal(parse("ferryfs a m -o scratch -o discard_hibernation", &o), 0);
    assert_true(o.scratch && o.discard_hibernation);
    options_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage_is_refused),
        cmocka_unit_test(mount_words_change_nothing),
        cmocka_unit_test(options_and_names_in_any_order),
        cmocka_unit_test(edits_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
