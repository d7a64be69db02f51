#!/bin/sh
# Does quern write the same bytes however it was built and wherever it runs?
# Quantizes the demonstration llama to several types, with an importance matrix
# and without: with the first program at each instruction set and for 1, 2, 3 and 7
# threads, with the others at their best one and at the scalar one.  Every file
# must be the first one's.
# Usage: same-bytes.sh PROGRAM...   (a program may be a command with words:
#        'qemu-aarch64 -L root build/aarch64/quern')
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
model=$root/tests/data/models/trained/quern-demo-llama
types=F16,Q8_0,Q4_0,Q5_1,Q2_K,Q4_K_M,IQ4_XS
important=Q5_0,Q3_K_M,Q6_K,IQ3_XXS
scratch=$(mktemp -d "${TMPDIR:-/tmp}/quern-same.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT

# files PROGRAM OPTION...: "sum  name" of every file that it makes
files() {
    program=$1
    shift
    rm -rf "$scratch/out"
    mkdir "$scratch/out"
    # shellcheck disable=SC2086
    $program quantize --quiet "$@" "$model" "$scratch/out/{type}.gguf" $types >"$scratch/said" 2>&1 &&
        $program quantize --quiet "$@" --imatrix "$model/imatrix.gguf" "$model" \
            "$scratch/out/i-{type}.gguf" $important >"$scratch/said" 2>&1 &&
        (cd "$scratch/out" && sha256sum -- *.gguf)
}

passed=0
failed=0
check() {
    name=$1
    shift
    if files "$@" >"$scratch/sums" && [ -e "$scratch/first" ] && diff "$scratch/first" "$scratch/sums"; then
        passed=$((passed + 1))
    elif [ ! -e "$scratch/first" ] && [ -s "$scratch/sums" ]; then
        mv "$scratch/sums" "$scratch/first"
        echo "$name: $(wc -l <"$scratch/first") files"
        passed=$((passed + 1))
    else
        echo "$name: differs, or does not run:"
        cat "$scratch/said"
        failed=$((failed + 1))
    fi
}

# The instruction sets that a program has here.
levels() {
    for isa in scalar avx2 avx512; do
        # One that is not there is a matter of usage.
        # shellcheck disable=SC2086
        $1 tokenize --isa $isa "$model" -p x >/dev/null 2>&1 && echo $isa
    done
}

first=$1
for isa in $(levels "$first"); do check "$first, $isa" "$first" -t 2 --isa "$isa"; done
for threads in 1 3 7; do check "$first, $threads threads" "$first" -t $threads; done
shift
for program in "$@"; do
    check "$program" "$program" -t 3
    [ "$(levels "$program")" = scalar ] || check "$program, scalar" "$program" -t 7 --isa scalar
done
[ $failed -ne 0 ] || printf '%s: the same bytes\n' "$first" "$@"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
