#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# A hive as libhivex reads it, in the lines of model_dump() of tests/unit/hive-model.c:   hive-dump.pl HIVE
use strict;
use warnings;
use Win::Hivex;

my $h = Win::Hivex->open($ARGV[0]);

sub utf8 {
    my $s = shift;
    utf8::encode($s) if utf8::is_utf8($s);
    return $s;
}

sub dump_key {
    my ($node, $path) = @_;
    print "K $path\n";
    for my $v ($h->node_values($node)) {
        my ($type, $data) = $h->value_value($v);
        print "V $path\t", utf8($h->value_key($v)), "\t", $type & 0xffffffff, "\t", unpack("H*", $data), "\n";
    }
    dump_key($_, "$path\\" . utf8($h->node_name($_))) for $h->node_children($node);
}

dump_key($h->root(), "");
