#!/bin/sh
# quern's quantizers beside ggml's; see usage below.  Not part of the build.
set -eu

usage()
{
    cat <<END
usage: tests/peers/codecs.sh LLAMA [OPTION...]

Builds ggml from LLAMA as its own build does by default, then times its
quantizers and unpackers beside quern's, on the same rows in the same run,
compares the bytes, and prints the tables of docs/kernels.md.

LLAMA is a directory with llama.cpp's source, such as vendor/llama.cpp in the
source package of llama-cpp-python:

    pip download --no-deps --no-binary :all: llama-cpp-python && tar xf llama_cpp_python-*

  --types Q4_K,Q6_K   these types only
  --jobs ewd          encoding, encoding with importance (weighted), decoding
  --threads N         what "all" is (the number of processors)
  --seconds S         for each figure (0.2); a busy machine needs more

The build goes to build/peers; CC, CXX and CMAKE choose programs.
END
}

case "${1:---help}" in --help | -h) usage; exit 0 ;; esac
llama=$1
shift
[ -f "$llama/ggml/include/ggml.h" ] || { echo "codecs: no ggml/include/ggml.h in $llama" >&2; exit 2; }
cd "$(dirname "$0")/../.."
B=build/release out=build/peers
mkdir -p $out

# What the source packages leave out is off, the rest as llama.cpp has it.
if ! "${CMAKE:-cmake}" -S "$llama" -B $out/ggml -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF >$out/log 2>&1 ||
    ! "${CMAKE:-cmake}" --build $out/ggml --target ggml-base >>$out/log 2>&1; then
    cat $out/log
    exit 1
fi
make -s $B/quern
"${CC:-cc}" -std=c11 -O2 -Wall -D_GNU_SOURCE -fopenmp -I. -I"$llama/ggml/include" tests/peers/codecs.c \
    tests/support/random.c tests/support/codec_rows.c $B/libkernels.a \
    "$(find $out/ggml -name libggml-base.a)" -lstdc++ -lpthread -lm -o $out/codecs
OMP_WAIT_POLICY=passive exec $out/codecs "$@"
