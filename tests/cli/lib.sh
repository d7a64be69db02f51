# Words that the command line tests share; sourced by run before each.
# shellcheck disable=SC2034 # used by the tests
# shellcheck shell=sh

stories=data/models/stories260K-hf
llama=data/models/trained/quern-demo-llama

# refused STATUS COMMAND...: the command must end with that status, say one
# line, print nothing, and leave the directory as it was.
refused() {
    wanted=$1
    shift
    find . | sort >../before
    "$@" >../printed 2>../said
    status=$?
    sed 's/(llama, .*generic)/(llama, ... generic)/' ../said >&2
    find . | sort >../after
    [ $status -eq "$wanted" ] || echo "status $status instead of $wanted: $*"
    [ "$(wc -l <../said)" -eq 1 ] || echo "more than a line was said: $*"
    [ ! -s ../printed ] || echo "something was printed: $*"
    diff ../before ../after || echo "files appeared or went: $*"
}

# copy_of MODEL: a checkpoint to be spoiled, in ./model
copy_of() {
    rm -rf model
    cp -r "$1" model
    chmod -R u+w model
}

# poke FILE OFFSET BYTES: overwrites bytes (printf's notation) in place
poke() {
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# zeros_of ROWS COLUMNS: zeros.safetensors with one F32 tensor, a hole on disk
zeros_of() {
    header='{"big.weight":{"dtype":"F32","shape":['$1,$2'],"data_offsets":[0,'$(($1 * $2 * 4))']}}'
    while [ $((${#header} % 8)) -ne 0 ]; do header="$header "; done
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o\\0\\0\\0\\0\\0\\0\\0' ${#header})" >zeros.safetensors
    printf '%s' "$header" >>zeros.safetensors
    truncate -s $((8 + ${#header} + $1 * $2 * 4)) zeros.safetensors
}

# sanitized: whether the program was built with a sanitizer, which is slow and
# reserves more addresses than any limit allows
sanitized() { grep -q -e __asan_init -e __tsan_init "$QUERN"; }

# steady: figures that differ from run to run made the same
steady() {
    sed -e 's/read in [0-9:.]*\( s\)*, peak memory [0-9.]* [KM]iB/read in TIME, peak memory SIZE/' \
        -e 's/\("[a-z_]*elapsed_s":\) [0-9.e-]*/\1 TIME/' \
        -e 's/\("peak_memory_bytes":\) [0-9]*/\1 SIZE/' \
        -e 's/\("tokens_per_s":\) [0-9.e+-]*/\1 RATE/' \
        -e 's/\("[a-z]*_digest":\) "[0-9a-f]\{64\}"/\1 "DIGEST"/' \
        -e 's/\("threads":\) [0-9]*/\1 N/' \
        -e 's/\([0-9]\.[0-9]\{6\}\)[0-9]*/\1/' \
        -e 's/\("isa":\) "[a-z0-9]*"/\1 NAME/'
}
