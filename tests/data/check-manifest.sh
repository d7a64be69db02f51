#!/bin/sh
# Every file under tests/data is in MANIFEST.tsv with its sha256, and the other
# way round.  Prints one line; status 1 on a difference.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
find . -type f ! -name MANIFEST.tsv ! -path ./README.md ! -path ./check-manifest.sh -print0 |
    xargs -0 sha256sum | sed 's|  \./|  |' | LC_ALL=C sort -k 2 >"$work/is"
awk -F '\t' 'NR > 1 {print $3 "  " $1}' MANIFEST.tsv | LC_ALL=C sort -k 2 >"$work/said"
if ! diff "$work/said" "$work/is" >"$work/differences"; then
    echo "tests/data: the manifest (<) and the files (>) differ:"
    cat "$work/differences"
    exit 1
fi
echo "tests/data: $(wc -l <"$work/is") files as in the manifest"
