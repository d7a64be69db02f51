#!/bin/sh
# Prints files.txt: sha256 of what llama-quantize makes of the demonstration llama,
# a line a mix, without and with its importance matrix (-: it refuses without).
#
#     make_files.sh QUERN LLAMA_QUANTIZE > files.txt
set -eu
quern=$(realpath "$1")
llama_quantize=$(realpath "$2")
demo=$(realpath "$(dirname "$0")/../data/models/trained/quern-demo-llama")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$quern" convert --quiet --model-name quern-demo-llama --outtype f32 "$demo" f32.gguf >&2
cp "$demo/imatrix.gguf" .

# hash MIX [OPTIONS...]
hash() {
    mix=$1
    shift
    if "$llama_quantize" "$@" f32.gguf out.gguf "$mix" >log 2>&1; then
        sha256sum <out.gguf | cut -d ' ' -f 1
    else
        grep -q 'requires an imatrix' log && echo -
    fi
}

echo '# Printed by make_files.sh beside this file, with llama.cpp as in llama-cpp-python 0.3.36.  Without'
echo '# IQ1_M: ggml sums there in another order than tests/data/quant-vectors, which quern follows.'
for mix in $("$quern" quantize --help | awk '/^types/ { on = 1; next } /^\*/ { on = 0 } on { print $1 }'); do
    case $mix in IQ1_M | COPY) continue ;; esac
    printf '%s %s %s\n' "$mix" "$(hash "$mix")" "$(hash "$mix" --imatrix imatrix.gguf)"
done
