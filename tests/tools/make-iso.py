#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make-iso.py DIR FILE: an ISO 9660 image of the tree, with Joliet and Rock Ridge names, by libarchive's writer."""
import ctypes
import ctypes.util
import os
import sys

root, target = sys.argv[1:]
lib = ctypes.CDLL(ctypes.util.find_library("archive") or "libarchive.so.13")
pointer, text = ctypes.c_void_p, ctypes.c_char_p
for name, result, arguments in (
    ("archive_write_new", pointer, []),
    ("archive_write_set_format_iso9660", ctypes.c_int, [pointer]),
    ("archive_write_open_filename", ctypes.c_int, [pointer, text]),
    ("archive_entry_new", pointer, []),
    ("archive_entry_free", None, [pointer]),
    ("archive_entry_set_pathname", None, [pointer, text]),
    ("archive_entry_set_size", None, [pointer, ctypes.c_int64]),
    ("archive_entry_set_filetype", None, [pointer, ctypes.c_uint]),
    ("archive_entry_set_perm", None, [pointer, ctypes.c_uint]),
    ("archive_write_header", ctypes.c_int, [pointer, pointer]),
    ("archive_write_data", ctypes.c_ssize_t, [pointer, text, ctypes.c_size_t]),
    ("archive_write_close", ctypes.c_int, [pointer]),
):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments


def good(status):
    if status < 0:
        sys.exit(f"make-iso.py: libarchive says {status}")


out = lib.archive_write_new()
good(lib.archive_write_set_format_iso9660(out))
good(lib.archive_write_open_filename(out, target.encode()))
for where, dirs, files in os.walk(root):
    for name in sorted(dirs) + sorted(files):
        path = os.path.join(where, name)
        is_dir = os.path.isdir(path)
        data = b"" if is_dir else open(path, "rb").read()
        entry = lib.archive_entry_new()
        lib.archive_entry_set_pathname(entry, os.path.relpath(path, root).encode())
        lib.archive_entry_set_filetype(entry, 0o040000 if is_dir else 0o100000)
        lib.archive_entry_set_perm(entry, 0o755 if is_dir else 0o644)
        lib.archive_entry_set_size(entry, len(data))
        good(lib.archive_write_header(out, entry))
        if data:
            good(lib.archive_write_data(out, data, len(data)))
        lib.archive_entry_free(entry)
good(lib.archive_write_close(out))
