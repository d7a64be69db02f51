#!/bin/sh
# Prints the table of tests/test_quantize_options.c: sha256 of what llama-quantize
# makes of the demonstration llama with the options of each row.
#
#     quantize-options.sh QUERN LLAMA_QUANTIZE
set -eu
quern=$(realpath "$1")
llama_quantize=$(realpath "$2")
demo=$(realpath "$(dirname "$0")/../data/models/trained/quern-demo-llama")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$quern" convert --quiet --model-name quern-demo-llama --outtype f32 "$demo" f32.gguf >&2
cp "$demo/imatrix.gguf" .
row() {
    type=$1
    shift
    "$llama_quantize" "$@" f32.gguf out.gguf "$type" >log 2>&1
    printf '%s %s: %s\n' "$type" "$*" "$(sha256sum <out.gguf | cut -d ' ' -f 1)"
}
row Q4_K_M --tensor-type attn_v=q8_0 --tensor-type 'blk.[01].*=q5_0' --tensor-type attn=q4_0
row Q4_K_M --pure --tensor-type 'FFN_(UP|down)=Q6_K'
row Q4_0 --token-embedding-type q5_0 --tensor-type token_embd=q8_0
row Q4_0 --output-tensor-type q5_0 --tensor-type token_embd=q8_0
row Q4_0 --tensor-type '^(token)_embd\.weight$=bf16' --tensor-type 'attn_[qk]\.=f32'
row F16 --tensor-type attn_v=q8_0
row Q4_K_M --imatrix imatrix.gguf --override-kv general.name=str:x --override-kv general.name=str:y \
    --override-kv general.file_type=int:3
row Q8_0 --override-kv llama.context_length=int:-777 --override-kv a.b=float:1.1 \
    --override-kv c=bool:true --override-kv d=bool:false
row Q4_K_M --imatrix imatrix.gguf --exclude-weights attn --exclude-weights blk.1
row Q5_0 --imatrix imatrix.gguf --include-weights attn_q --include-weights ffn_up
