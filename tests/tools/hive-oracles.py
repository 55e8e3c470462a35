#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hives that random edits left (NAME.hive) and what they should hold (NAME.txt, lines of model_dump()), against what
programs that we didn't write read in them:   hive-oracles.py DIR

libhivex reads all: paths, names, types and bytes, but not names with lone surrogates. hivexml, its program, and
libregf's regfexport print data in forms of their own for each type, so of them only the keys and the names of values
count, where there is no NUL in them. reged reads all, but only of plain hives (FERRYFS_HIVE_PLAIN of test-hive-edits): it knows no big data, ends at
names that aren't ASCII, and of strings it prints what it takes for their text. It is asked where it is installed."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

TOOLS = pathlib.Path(__file__).resolve().parent
SECONDS = 1500  # for a program to read one hive; regfexport is slow
BIG_DATA = 16344


def told(text):
    """Stored Latin-1 as regfexport prints it: by Windows' code page."""
    return "".join(c.encode("latin-1").decode("cp1252", "replace") if "\x80" <= c <= "\x9f" else c for c in text)


def by_hivex(hive, text):
    r = subprocess.run(["perl", TOOLS / "hive-dump.pl", hive], capture_output=True, timeout=SECONDS)
    if r.returncode:
        return ["hivex: " + r.stderr.decode(errors="replace").strip()]
    ours, theirs = sorted(text.read_bytes().splitlines()), sorted(r.stdout.splitlines())
    return [] if ours == theirs else ["hivex: %d lines differ" % len(set(ours) ^ set(theirs))]


def named(text, spelled=lambda name: name):
    """The keys, and the names of the values of each."""
    keys = {}
    for line in text.read_text().split("\n"):
        if line.startswith("K "):
            keys[spelled(line[2:])] = set()
        elif line.startswith("V "):
            key, name = line[2:].split("\t")[:2]
            keys[spelled(key)].add(spelled(name))
    return keys


def differences(program, ours, theirs):
    return ["%s: %r" % (program, k) for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)][:5]


def by_hivexml(hive, text):
    if re.search(r"[\0-\x08\x0b-\x1f\ufffe\uffff]", text.read_text()):
        return []
    r = subprocess.run(["hivexml", hive], capture_output=True, timeout=SECONDS)
    if r.returncode:
        return ["hivexml: exit status %d: %s" % (r.returncode, r.stderr.decode(errors="replace").strip())]
    found = {}

    def walk(node, path):
        found[path] = {v.get("key", "") for v in node.findall("value")}
        for child in node.findall("node"):
            walk(child, path + "\\" + child.get("name"))

    # texts of values may hold what XML has no way to say, and hivexml says it all the same
    said = re.sub(rb"[\0-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|&#(x[0-9A-Fa-f]+|\d+);", b"?", r.stdout)
    walk(xml.etree.ElementTree.fromstring(said).find("node"), "")
    return differences("hivexml", named(text), found)


def by_regf(hive, text):
    found, root, values = {}, None, None
    if b"\0" in text.read_bytes():
        return []
    r = subprocess.run(["regfexport", hive], capture_output=True, timeout=SECONDS)
    if r.returncode:
        return ["regfexport: exit status %d" % r.returncode]
    for line in r.stdout.decode(errors="replace").split("\n"):
        if line.startswith("Key path: "):
            root = line[10:] if root is None else root
            values = found.setdefault(told(line[10 + len(root):]), set())
        elif m := re.match(r"Value: \d+ (.*)$", line):
            values.add("" if m[1] == "(default)" else told(m[1]))
    return differences("regfexport", named(text, told), found)


def plain(text):
    """What reged can tell of a hive: for each key, value names to (type, bytes); None: there is more in it."""
    keys = {}
    for line in text.read_text().split("\n"):
        if not re.fullmatch(r"(K [ !#-~]*|V [ !#-~]*\t[ !#-~]*\t\d+\t[0-9a-f]*|)", line):
            return None
        if line.startswith("K "):
            keys[line[2:]] = {}
        elif line:
            key, name, number, data = line[2:].split("\t")
            if number == "1" or int(number) > 11 or len(data) > 2 * BIG_DATA or "\\" in name:
                return None
            if number == "4" and len(data) != 8:  # it prints what lies where the number should be
                return None
            keys[key][name] = (int(number), bytes.fromhex(data))
    return keys


def by_reged(hive, text):
    ours, found, root, values = plain(text), {}, None, None
    if ours is None:
        return []
    with tempfile.NamedTemporaryFile() as out:
        r = subprocess.run(["reged", "-x", hive, "PREFIX", "\\", out.name], capture_output=True, timeout=SECONDS)
        lines = out.read().decode("latin-1").replace("\\\r\n  ", "")
    if r.returncode:
        return ["reged: exit status %d" % r.returncode]
    lines = re.sub(r'(=hex(?:\([0-9a-f]+\))?:)(?=["@])', r"\1\r\n", lines)  # no data: it doesn't end the line
    for line in lines.split("\r\n"):
        if m := re.fullmatch(r"\[(PREFIX.*)\]", line):
            path = m[1].rstrip("\\")
            root = path if root is None else root  # with its name where it isn't marked as the root
            values = found[path[len(root):]] = {}
        elif m := re.fullmatch(r'(?:"(.*?)"|@)=dword:([0-9a-f]{8})', line):
            values[m[1] or ""] = (4, int(m[2], 16).to_bytes(4, "little"))
        elif m := re.fullmatch(r'(?:"(.*?)"|@)=hex(?:\(([0-9a-f]+)\))?:(.*)', line):
            values[m[1] or ""] = (int(m[2] or "3", 16), bytes.fromhex(m[3].replace(",", "")))
        elif line and not line.startswith("Windows Registry"):
            return ["reged: a line of its own: " + line[:80]]
    return differences("reged", ours, found)


def oracles():
    names = {"hivexml": by_hivexml, "regfexport": by_regf, "reged": by_reged}
    return [by_hivex] + [f for name, f in names.items() if shutil.which(name)]


def judge(hive, text, asked):
    bad = []
    for oracle in asked:
        try:
            bad += oracle(hive, text)
        except subprocess.TimeoutExpired as e:
            bad.append("%s: not done in %d s" % (e.cmd[0], SECONDS))
    return bad


def main():
    failed = compared = by_all = 0
    asked = oracles()
    for hive in sorted(pathlib.Path(sys.argv[1]).glob("*.hive")):
        text = hive.with_suffix(".txt")
        raw = text.read_bytes()
        if "\ufffd".encode() in raw:
            print("left out: %s: names that can't be told in text" % hive.name)
            continue
        bad = judge(hive, text, asked)
        compared += 1
        by_all += by_reged in asked and plain(text) is not None
        failed += bool(bad)
        for line in bad:
            print("%s: %s" % (hive.name, line))
    print("%d hives, %d of them by reged too, %d differ" % (compared, by_all, failed))
    return 1 if failed or not compared else 0


sys.exit(main())
