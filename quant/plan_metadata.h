/* The metadata of a planned file: what plan.c's two plans share. */
#ifndef QN_QUANT_PLAN_METADATA_H
#define QN_QUANT_PLAN_METADATA_H

#include "quant/plan.h"

/* p->align and the key general.alignment of p->metadata, which agree; asked 0:
 * what the source has. */
qn_status qn_plan_set_alignment(qn_plan *p, uint64_t asked, qn_error *err);

/* p->metadata as llama-quantize makes it of p->model's, and the alignment:
 * general.quantization_version and general.file_type go to the end, those of a
 * split file are gone; the user's own keys and quantize.imatrix.* come last. */
qn_status qn_plan_set_quantized_metadata(qn_plan *p, const qn_quantize_options *options,
                                         qn_error *err);

#endif
