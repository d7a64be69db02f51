#!/bin/sh
# Quantizes a GGUF file to every mix with llama-quantize and with quern and compares
# the files, without and with an importance matrix:
#
#     mixes.sh QUERN LLAMA_QUANTIZE MODEL.gguf IMATRIX.gguf [MIX...]
#
# same: every byte.  needs: both refuse without a matrix.  Otherwise the tensors that
# differ, of how many, and the types they have.  --allow-requantize is given.
set -eu
quern=$(realpath "$1")
llama_quantize=$(realpath "$2")
model=$(realpath "$3")
imatrix=$(realpath "$4")
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$imatrix" imatrix.gguf

mixes=$*
[ "$mixes" ] || mixes=$("$quern" quantize --help | awk '/^types/ { on = 1; next } /^\*/ { on = 0 } on { print $1 }')

# hashes FILE: a line a tensor, with its type and hash
hashes() {
    "$quern" inspect --hash --json "$1" |
        awk '/"name"/ { name = $2 } /"type"/ { type = $2 } /"sha256"/ { print name, type, $2 }'
}

# compared MIX [OPTIONS...]: one word, or what differs
compared() {
    mix=$1
    shift
    rm -f theirs.gguf ours.gguf
    "$llama_quantize" --allow-requantize "$@" "$model" theirs.gguf "$mix" >theirs.log 2>&1 || rm -f theirs.gguf
    "$quern" quantize --quiet --allow-requantize "$@" "$model" ours.gguf "$mix" >ours.log 2>&1 || :
    if [ ! -e theirs.gguf ] && [ ! -e ours.gguf ]; then
        grep -q 'needs an importance matrix' ours.log && grep -q 'requires an imatrix' theirs.log &&
            echo needs || echo 'both fail'
    elif [ ! -e theirs.gguf ] || [ ! -e ours.gguf ]; then
        [ -e ours.gguf ] && echo 'llama-quantize fails' || echo 'quern fails'
    elif cmp -s theirs.gguf ours.gguf; then
        echo same
    else
        hashes theirs.gguf >theirs.txt
        hashes ours.gguf >ours.txt
        wrong=$(diff theirs.txt ours.txt | grep -c '^<' || :)
        types=$(diff theirs.txt ours.txt | awk '/^[<>]/ { print $3 }' | sort -u | tr -d '",' | tr '\n' ' ')
        if [ "$wrong" -eq 0 ]; then echo 'header'; else echo "$wrong of $(wc -l <theirs.txt): $types"; fi
    fi
}

printf '%-10s %-24s %s\n' mix without 'with importance'
for mix in $mixes; do
    printf '%-10s %-24s %s\n' "$mix" "$(compared "$mix")" "$(compared "$mix" --imatrix imatrix.gguf)"
done
