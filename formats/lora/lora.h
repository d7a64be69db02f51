/* LoRA adapters, as PEFT saves them, merged into a checkpoint's tensors:
 *
 *     W' = W + s B A      A [rank, in], B [out, rank], s = alpha / rank,
 *                         or alpha / sqrt(rank) with use_rslora
 *
 * (Hu et al., 2021; Kalajdzievski, 2023), with DoRA's magnitudes if there are any
 * (Liu et al., 2024).  Nothing is computed here: the reader's
 * tensors get what their rows will add when somebody reads them
 * (formats/lora/merge.h), under the checkpoint's names and before the family's
 * transforms.  docs/formats/lora.md says what of an adapter is taken. */
#ifndef QN_FORMATS_LORA_LORA_H
#define QN_FORMATS_LORA_LORA_H

#include "formats/families/family.h"
#include "formats/reader.h"

/* One adapter that is asked for. */
typedef struct {
    const char *directory; /* with adapter_config.json and adapter_model.safetensors or .bin */
    double scale;          /* of s; 1: as trained */
} qn_lora_request;

/* Opened adapters: what the tensors of a reader that they were merged into stand on. */
typedef struct qn_lora qn_lora;

/* What adapters may change of a model besides its weights. */
typedef struct {
    bool tied;        /* the head is the embedding, which takes what is meant for either */
    bool untied;      /* it was, and an adapter gave it rows of its own */
    uint64_t n_vocab; /* rows of both; 0: as they were */
} qn_lora_vocabulary;

/* All of the n adapters in their order into r's tensors, every tensor of them
 * checked and used.  family: whose names are known besides r's own; NULL: r's own
 * alone.  v: what config.json says of tied, and then what the adapters made of
 * it: a head of its own is r's last tensor then.
 *
 * QN_ERR_UNSUPPORTED names the field or tensor that is more than LoRA;
 * QN_ERR_DATA one that has no place, another shape or rank, or values that are
 * not finite.  r must not be read any more after a failure, nor after *out is
 * closed. */
qn_status qn_lora_merge(qn_lora **out, qn_reader *r, const qn_lora_request *adapters, size_t n,
                        const qn_family *family, qn_lora_vocabulary *v, qn_error *err);

/* The directory of the last adapter that has a tokenizer beside it, which may know
 * more tokens than the checkpoint's; NULL: none has. */
const char *qn_lora_tokenizer(const qn_lora_request *adapters, size_t n);
void qn_lora_close(qn_lora *l); /* NULL is fine */

#endif
