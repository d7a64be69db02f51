#include "tools/cli_peers.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Words of a list that has blanks around each. */
static bool has_word(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = list; n && (at = strstr(at, word)); at++)
        if (at > list && at[-1] == ' ' && at[n] == ' ') return true;
    return false;
}

/* The first row that fits counts. */
static const struct {
    const char *commands; /* NULL: all */
    const char *options, *advice;
} options[] = {
    {" compare ", " -m --model ", "the models stand by themselves: quern compare REF TEST..."},
    {" compare ", " --kl-divergence ", "that is what compare does; leave it out"},
    {" compare ", " --kl-divergence-base --save-all-logits --save-base ",
     "--base FILE reads one, quern perplexity writes it"},
    {" perplexity ", " --kl-divergence ",
     "quern compare REF TEST does that; REF may be a --kl-divergence-base file"},
    {" perplexity ", " --ppl-stride ", "--stride N is its name here"},
    {" perplexity ", " --ppl-output-type ", "--json has the figures of each chunk"},
    {" perplexity compare ", " -o --output --output-file ",
     "the answer goes to standard output: --json >FILE"},
    {" perplexity compare ", " -b --batch-size ",
     "results do not depend on it and --max-memory bounds it; leave it out"},
    {" calibrate ", " -ofreq ", "--output-frequency N is its name here"},
    {" calibrate ", " --compute-ppl --ppl ", "that is done unless --no-ppl; leave it out"},
    {" bench ", " -m --model ", "the model stands by itself: quern bench forward MODEL"},
    {" perplexity compare calibrate ", " -p --prompt ", "a file, please: -f FILE"},
    {" perplexity compare calibrate ", " -s --seed ", "nothing is left to chance; leave it out"},
    {" perplexity calibrate ", " -bf ", "-f FILE reads that as well"},
    {NULL, " -ub --ubatch-size -np --parallel -ns --sequences -kvu --kv-unified ",
     "results do not depend on it; leave it out"},
    {NULL,
     " -ngl --gpu-layers --n-gpu-layers -dev --device -sm --split-mode -mg --main-gpu -ts "
     "--tensor-split -ot --override-tensor -cmoe --cpu-moe -ncmoe --n-cpu-moe -nkvo "
     "--no-kv-offload --no-op-offload ",
     "all runs on the CPU; leave it out"},
    {NULL, " -fa --flash-attn -ctk --cache-type-k -ctv --cache-type-v --swa-full ",
     "attention and what it keeps are exact float32; leave it out"},
    {NULL,
     " --mmap --no-mmap --mlock --repack -nr --no-repack --no-host --numa --warmup --no-warmup ",
     "weights are mapped and read as they stand; leave it out"},
    {NULL, " -tb --threads-batch ", "--threads N is of everything"},
    {NULL, " -e --escape --no-escape ", "texts are read byte for byte; leave it out"},
    {NULL, " -lv --verbosity --log-verbosity --log-file --log-disable --log-colors ",
     "--quiet or --verbose, and messages go to standard error"},
    {NULL, " -hf -hfr --hf-repo ", "MODEL may be ORG/NAME of the local cache"},
};

const char *qn_peer_option(const char *command, const char *option)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if ((!options[i].commands || has_word(options[i].commands, command)) &&
            has_word(options[i].options, option))
            return options[i].advice;
    return NULL;
}

static const struct {
    const char *words, *command;
} commands[] = {
    {" imatrix llama-imatrix ", "calibrate"},
    {" ppl eval tasks hellaswag winogrande multiple-choice llama-perplexity ", "perplexity"},
    {" kld kl-divergence diff ", "compare"},
    {" cli chat run main llama-cli llama-completion ", "generate"},
    {" dump show info gguf-dump llama-gguf ", "inspect"},
    {" convert_hf_to_gguf convert_hf_to_gguf.py gguf-split llama-gguf-split ", "convert"},
    {" llama-quantize ", "quantize"},
    {" llama-tokenize ", "tokenize"},
    {" llama-bench ", "bench"},
};

const char *qn_peer_command(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (has_word(commands[i].words, word)) return commands[i].command;
    return NULL;
}
