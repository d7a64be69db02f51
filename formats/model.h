/* A model in its canonical form, whatever it was read from: GGUF's tensor
 * names, order, shapes and layout, each tensor a row source; its
 * hyperparameters; its vocabulary.
 *
 * Opening a checkpoint directory maps names and stacks transforms by the
 * family's table (families/); opening a GGUF file binds its tensors as they
 * lie.  Conversion writes this form, quantization re-encodes it, the decoder
 * runs it: none of them knows where it came from. */
#ifndef QN_FORMATS_MODEL_H
#define QN_FORMATS_MODEL_H

#include "formats/hparams.h"
#include "formats/lora/lora.h"
#include "formats/reader.h"
#include "formats/rows.h"
#include "formats/tokenizer/tokenizer.h"

typedef struct {
    const char *name;        /* "blk.0.attn_q.weight" */
    const char *source_name; /* in the checkpoint; equal to name from GGUF; NULL: computed */
    unsigned rank;
    uint64_t dims[QN_MAX_RANK]; /* outermost first */
    const qn_rows *rows;
    bool stays_f32; /* the converter writes it as F32 whatever the outtype */
} qn_model_tensor;

typedef struct {
    const char *path;      /* as opened */
    const char *directory; /* of a checkpoint: where config.json is; NULL from GGUF */
    qn_reader *reader;
    const qn_family *family;  /* NULL: generic, or an architecture we don't run */
    const char *architecture; /* GGUF's name: "llama", "generic" */
    bool from_gguf;
    bool generic;       /* by --family or architecture: names are kept, no family applies */
    bool exported;      /* made by export.h: the checkpoint's names and layout instead */
    qn_hparams hparams; /* valid when family is set */
    /* Why family is NULL: one line for whoever wanted to run it. */
    const char *not_runnable;
    /* From GGUF: the file's own.  From a checkpoint: what the reference
     * converter writes for --outtype auto. */
    qn_metadata *metadata;
    size_t n_towers;          /* tensors of vision and audio towers in the checkpoint: left out */
    qn_model_tensor *tensors; /* converter's order; from GGUF file order */
    size_t n_tensors;
    qn_names *by_name;
    qn_vocab *vocab;               /* NULL: none in the source, or not asked for */
    const char *no_vocab;          /* why vocab is NULL: one line for whoever wanted it */
    const char *remarks;           /* what was passed over on the way, a line each; NULL: nothing */
    qn_lora *lora;                 /* adapters that the tensors stand on; NULL: none */
    qn_lora_vocabulary vocabulary; /* what they made of it */
    const char *tokenizer; /* the directory whose tokenizer it is: an adapter's; NULL: its own */
    qn_arena *arena;
} qn_model;

typedef struct {
    const char *family;     /* --family: a name in families/, or "generic"; NULL: recognize */
    const char *model_name; /* --model-name; NULL: from the card or the directory's name */
    const char *metadata;   /* --metadata: the path of an override file; NULL: none */
    const char *pre;        /* --pre; NULL: recognize the split pattern */
    bool no_vocab;          /* leave the tokenizer alone (inspect, generic) */
    const qn_lora_request *adapters; /* --lora: merged into a checkpoint's tensors, in order */
    size_t n_adapters;
} qn_model_options;

/* path: checkpoint directory, lone .safetensors (with a config.json beside it
 * that checkpoint with this file's tensors), .gguf.  options may be NULL.
 *
 * With a family, every tensor that it needs is there and has the shape the
 * hyperparameters ask for.  Tensors nobody knows: in a checkpoint an error that
 * names the first, unless the family ignores them (rotary_emb.inv_freq); a GGUF
 * file that has some, or is of an architecture or has a tokenizer that we don't
 * know, opens, but without family or vocabulary: it can be quantized all the
 * same. */
qn_status qn_model_open(qn_model **out, const char *path, const qn_model_options *options,
                        qn_error *err);
void qn_model_close(qn_model *m); /* NULL is fine */

const qn_model_tensor *qn_model_find(const qn_model *m, const char *name); /* or NULL */

#endif
