#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hives that random edits left (NAME.hive) and what they should hold (NAME.txt, lines of model_dump()), against what
programs that we didn't write read in them:   hive-oracles.py DIR

libhivex reads all: paths, names, types and bytes, but not names with NULs or lone surrogates. libregf's regfexport
prints lengths and bytes in a form of its own for each type, so of it only the keys and the names of values count."""
import pathlib
import re
import subprocess
import sys

TOOLS = pathlib.Path(__file__).resolve().parent


def told(text):
    """Stored Latin-1 as regfexport prints it: by Windows' code page."""
    return "".join(c.encode("latin-1").decode("cp1252", "replace") if "\x80" <= c <= "\x9f" else c for c in text)


def by_hivex(hive, text):
    r = subprocess.run(["perl", TOOLS / "hive-dump.pl", hive], capture_output=True, timeout=300)
    if r.returncode:
        return ["hivex: " + r.stderr.decode(errors="replace").strip()]
    ours, theirs = sorted(text.read_bytes().splitlines()), sorted(r.stdout.splitlines())
    return [] if ours == theirs else ["hivex: %d lines differ" % len(set(ours) ^ set(theirs))]


def by_regf(hive, text):
    ours, found, root, values = {}, {}, None, None
    for line in text.read_text().split("\n"):
        if line.startswith("K "):
            ours[told(line[2:])] = set()
        elif line.startswith("V "):
            key, name = line[2:].split("\t")[:2]
            ours[told(key)].add(told(name))
    r = subprocess.run(["regfexport", hive], capture_output=True, timeout=300)
    if r.returncode:
        return ["regfexport: exit status %d" % r.returncode]
    for line in r.stdout.decode(errors="replace").split("\n"):
        if line.startswith("Key path: "):
            root = line[10:] if root is None else root
            values = found.setdefault(told(line[10 + len(root):]), set())
        elif m := re.match(r"Value: \d+ (.*)$", line):
            values.add("" if m[1] == "(default)" else told(m[1]))
    return ["regfexport: %r" % k for k in ours.keys() | found.keys() if ours.get(k) != found.get(k)][:5]


def main():
    failed = compared = 0
    for hive in sorted(pathlib.Path(sys.argv[1]).glob("*.hive")):
        text = hive.with_suffix(".txt")
        raw = text.read_bytes()
        if b"\0" in raw or "\ufffd".encode() in raw:
            print("left out: %s: names that can't be told in text" % hive.name)
            continue
        bad = by_hivex(hive, text) + by_regf(hive, text)
        compared += 1
        failed += bool(bad)
        for line in bad:
            print("%s: %s" % (hive.name, line))
    print("%d hives, %d differ" % (compared, failed))
    return 1 if failed or not compared else 0


sys.exit(main())
