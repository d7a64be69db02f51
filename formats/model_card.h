/* What a model card says about a model: the front matter of README.md, YAML
 * between two lines of "---", read for the reference converter's keys (gguf-py
 * metadata.py, load_model_card and apply_metadata_heuristic).  The values are
 * gathered under the names of --metadata's file: GGUF's keys, and lists of
 * objects under general.base_models and general.datasets. */
#ifndef QN_FORMATS_MODEL_CARD_H
#define QN_FORMATS_MODEL_CARD_H

#include <jansson.h>
#include <stdint.h>

#include "formats/base/error.h"

/* The front matter of dir/README.md as an object for the caller to json_decref;
 * NULL where there is none.  One that is no YAML is none, too: then why->status
 * is set and why has the line. */
qn_status qn_model_card_read(const char *dir, json_t **card, qn_error *why, qn_error *err);

/* Adds what the card says to the object keys, none of which is there yet.
 * parameters: of the model, by which names of base models are taken apart. */
qn_status qn_model_card_keys(const json_t *card, uint64_t parameters, json_t *keys, qn_error *err);

#endif
