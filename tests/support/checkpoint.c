#include "tests/support/checkpoint.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "tests/support/files.h"

const checkpoint_shape checkpoint_small = {.vocab = 6,
                                           .hidden = 8,
                                           .layers = 2,
                                           .heads = 2,
                                           .kv_heads = 1,
                                           .head_dim = 4,
                                           .feed_forward = 12};

typedef unsigned long long ull;

/* rows 0: one dimension. */
static void add(checkpoint *c, const char *name, uint64_t rows, uint64_t columns)
{
    const uint64_t bytes = (rows ? rows : 1) * columns * 2;
    qn_text_addf(&c->header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", c->bytes ? "," : "{",
                 name);
    if (rows) qn_text_addf(&c->header, "%llu,", (ull)rows);
    qn_text_addf(&c->header, "%llu],\"data_offsets\":[%llu,%llu]}", (ull)columns, (ull)c->bytes,
                 (ull)(c->bytes + bytes));
    c->bytes += bytes;
}

void checkpoint_add(checkpoint *c, const char *name, uint64_t n)
{
    c->header.n--; /* the closing brace */
    add(c, name, 0, n);
    qn_text_adds(&c->header, "}");
}

static void add_layer(checkpoint *c, const checkpoint_shape *s, uint64_t layer)
{
    const uint64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        uint64_t rows, columns;
        bool biased;
    } parts[] = {
        {"input_layernorm", 0, s->hidden, false},
        {"self_attn.q_proj", q, s->hidden, true},
        {"self_attn.k_proj", kv, s->hidden, true},
        {"self_attn.v_proj", kv, s->hidden, true},
        {"self_attn.o_proj", s->hidden, q, true},
        {"post_attention_layernorm", 0, s->hidden, false},
        {"mlp.gate_proj", s->feed_forward, s->hidden, true},
        {"mlp.up_proj", s->feed_forward, s->hidden, true},
        {"mlp.down_proj", s->hidden, s->feed_forward, true},
    };
    char name[128];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "model.layers.%llu.%s.weight", (ull)layer, parts[i].name);
        add(c, name, parts[i].rows, parts[i].columns);
        snprintf(name, sizeof name, "model.layers.%llu.%s.bias", (ull)layer, parts[i].name);
        if (parts[i].biased && s->biases) add(c, name, 0, parts[i].rows);
    }
}

checkpoint checkpoint_make(const checkpoint_shape *s)
{
    checkpoint c = {0};
    qn_text_addf(&c.config,
                 "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\",\n"
                 " \"hidden_size\": %llu, \"intermediate_size\": %llu,\n"
                 " \"num_hidden_layers\": %llu, \"num_attention_heads\": %llu,\n"
                 " \"num_key_value_heads\": %llu, \"head_dim\": %llu, \"vocab_size\": %llu,\n"
                 " \"max_position_embeddings\": 4096, \"rms_norm_eps\": 1e-05,\n"
                 " \"rope_theta\": 10000.0, \"hidden_act\": \"silu\",\n"
                 " \"attention_bias\": %s, \"mlp_bias\": %s, \"tie_word_embeddings\": %s}\n",
                 (ull)s->hidden, (ull)s->feed_forward, (ull)s->layers, (ull)s->heads,
                 (ull)s->kv_heads, (ull)s->head_dim, (ull)s->vocab, s->biases ? "true" : "false",
                 s->biases ? "true" : "false", s->tied ? "true" : "false");
    add(&c, "model.embed_tokens.weight", s->vocab, s->hidden);
    for (uint64_t i = 0; i < s->layers; i++) add_layer(&c, s, i);
    add(&c, "model.norm.weight", 0, s->hidden);
    if (!s->tied) add(&c, "lm_head.weight", s->vocab, s->hidden);
    qn_text_adds(&c.header, "}");
    return c;
}

void checkpoint_free(checkpoint *c)
{
    qn_text_free(&c->config);
    qn_text_free(&c->header);
}

void checkpoint_replace(qn_text *text, const char *from, const char *to)
{
    const char *at = strstr(text->s, from);
    ck_assert_msg(at != NULL, "no %s to replace", from);
    qn_text changed = {0};
    qn_text_add(&changed, text->s, (size_t)(at - text->s));
    qn_text_adds(&changed, to);
    qn_text_adds(&changed, at + strlen(from));
    qn_text_free(text);
    *text = changed;
}

const char *checkpoint_write(const checkpoint *c, const char *directory)
{
    char name[256];
    qn_test_subdirectory(directory);
    snprintf(name, sizeof name, "%s/config.json", directory);
    if (c->config.n) qn_test_file(name, c->config.s, c->config.n);
    snprintf(name, sizeof name, "%s/model.safetensors", directory);
    const int fd = open(qn_test_path(name), O_WRONLY | O_CREAT | O_EXCL, 0666);
    ck_assert_int_ge(fd, 0);
    const uint64_t length = c->header.n; /* little endian, as this machine */
    ck_assert_int_eq(pwrite(fd, &length, sizeof length, 0), sizeof length);
    ck_assert_int_eq(pwrite(fd, c->header.s, c->header.n, 8), (ssize_t)c->header.n);
    const int bad = ftruncate(fd, (off_t)(8 + length + c->bytes));
    close(fd);
    return bad ? NULL : qn_test_path(directory);
}
