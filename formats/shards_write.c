#include "formats/shards_write.h"

#include <stdio.h>
#include <string.h>

#include "formats/base/json.h"

enum { PIECE = 256 << 10 };

void qn_index_abandon(qn_index *x)
{
    qn_outfile_abandon(x->file);
    qn_text_free(&x->text);
    *x = (qn_index){0};
}

qn_status qn_index_begin(qn_index *x, const char *path, uint64_t tensor_bytes, qn_error *err)
{
    *x = (qn_index){0};
    qn_text_addf(&x->text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n",
                 (unsigned long long)tensor_bytes);
    qn_text_adds(&x->text, "  \"weight_map\": {");
    return qn_outfile_create(&x->file, path, false, err);
}

static qn_status write_out(qn_index *x, qn_error *err)
{
    if (x->text.failed) return qn_fail_memory(err, "the index of tensors");
    const qn_status status = qn_outfile_write(x->file, x->offset, x->text.s, x->text.n, err);
    x->offset += x->text.n;
    x->text.n = 0;
    return status;
}

qn_status qn_index_add(qn_index *x, qn_str tensor, const char *file, qn_error *err)
{
    qn_text_adds(&x->text, x->n++ ? ",\n    " : "\n    ");
    qn_json_add_string(&x->text, tensor);
    qn_text_adds(&x->text, ": ");
    qn_json_add_string(&x->text, qn_str_z(file));
    return x->text.n < PIECE && !x->text.failed ? QN_OK : write_out(x, err);
}

qn_status qn_index_commit(qn_index *x, qn_error *err)
{
    qn_text_adds(&x->text, "\n  }\n}\n");
    qn_status status = write_out(x, err);
    if (!status) {
        qn_outfile *file = x->file;
        x->file = NULL;
        status = qn_outfile_commit(file, err);
    }
    qn_index_abandon(x);
    return status;
}

const char *qn_shard_name(size_t i, size_t n, char buf[64])
{
    if (n == 1)
        snprintf(buf, 64, "model.safetensors");
    else
        snprintf(buf, 64, "model-%05zu-of-%05zu.safetensors", i + 1, n);
    return buf;
}
