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
#include "formats/reader.h"
#include "formats/rows.h"
#include "formats/tokenizer/tokenizer.h"

typedef struct qn_family qn_family;

typedef struct {
    const char *name;        /* "blk.0.attn_q.weight" */
    const char *source_name; /* in the checkpoint; equal to name from GGUF; NULL: computed */
    unsigned rank;
    uint64_t dims[QN_MAX_RANK]; /* outermost first */
    const qn_rows *rows;
} qn_model_tensor;

typedef struct {
    const char *path; /* as opened */
    qn_reader *reader;
    const qn_family *family;  /* NULL: generic, or an architecture we don't run */
    const char *architecture; /* GGUF's name: "llama", "generic" */
    bool from_gguf;
    qn_hparams hparams; /* valid when family is set */
    /* From GGUF: the file's own.  From a checkpoint: what the reference
     * converter writes, but general.file_type and
     * general.quantization_version, which convert.h adds. */
    qn_metadata *metadata;
    qn_model_tensor *tensors; /* converter's order; from GGUF file order */
    size_t n_tensors;
    qn_names *by_name;
    qn_vocab *vocab; /* NULL: none in the source */
    qn_arena *arena;
} qn_model;

typedef struct {
    const char *family;     /* --family: a name in families/, or "generic"; NULL: recognize */
    const char *model_name; /* --model-name; NULL: from the directory's name */
    const char *pre;        /* --pre; NULL: recognize the split pattern */
    bool no_vocab;          /* leave the tokenizer alone (inspect, generic) */
} qn_model_options;

/* path: checkpoint directory, lone .safetensors, .gguf.  options may be NULL.
 * Every tensor that the family needs is there and has the shape the
 * hyperparameters ask for; tensors nobody knows are an error that names the
 * first, unless the family ignores them (rotary_emb.inv_freq). */
qn_status qn_model_open(qn_model **out, const char *path, const qn_model_options *options,
                        qn_error *err);
void qn_model_close(qn_model *m); /* NULL is fine */

const qn_model_tensor *qn_model_find(const qn_model *m, const char *name); /* or NULL */

#endif
