#!/bin/sh
# Prints what tests/cli/split.test compares with: sha256 of the parts that
# llama-quantize --keep-split makes of the demonstration llama, which
# llama-gguf-split has split.
#
#     split.sh QUERN LLAMA_QUANTIZE LLAMA_GGUF_SPLIT
set -eu
quern=$(realpath "$1")
llama_quantize=$(realpath "$2")
llama_gguf_split=$(realpath "$3")
demo=$(realpath "$(dirname "$0")/../data/models/trained/quern-demo-llama")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$quern" convert --quiet --model-name quern-demo-llama "$demo" whole.gguf >&2
"$llama_gguf_split" --split-max-size 3M whole.gguf part >log 2>&1
"$llama_quantize" --keep-split part-00001-of-*.gguf out.gguf Q4_K_M >log 2>&1
sha256sum out-0*
# The parts' data, behind their headers.
for file in part-0*; do
    tail -c 100000 "$file" | sha256sum | sed "s/-\$/$file/"
done
