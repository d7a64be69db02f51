#include "tests/support/vocab.h"

#include <check.h>

#include "formats/base/alloc.h"
#include "tests/support/data.h"

bool qn_test_tokenizer_open(qn_test_tokenizer *r, const char *name, uint64_t vocab_size)
{
    qn_error err = {0};
    const char *dir = qn_test_data(name);
    qn_vocab *v = NULL;
    if (!dir) return false;
    ck_assert_msg(!qn_vocab_from_directory(&v, dir, &(qn_vocab_options){.size = vocab_size}, &err),
                  "%s", err.message);
    qn_test_tokenizer_take(r, v);
    return true;
}

void qn_test_tokenizer_take(qn_test_tokenizer *r, qn_vocab *v)
{
    qn_error err = {0};
    *r = (qn_test_tokenizer){.v = v};
    ck_assert_msg(!qn_tokenizer_new(&r->t, v, &err), "%s", err.message);
}

void qn_test_tokenizer_close(qn_test_tokenizer *r)
{
    qn_free(r->ids);
    qn_tokenizer_free(r->t);
    qn_vocab_free(r->v);
}

void qn_test_encode(qn_test_tokenizer *r, qn_str text, bool add_special, bool parse_special)
{
    qn_error err = {0};
    r->n = 0;
    ck_assert_msg(!qn_tokenizer_encode(r->t, text, (qn_encode_options){add_special, parse_special},
                                       &r->ids, &r->n, &r->capacity, &err),
                  "%s", err.message);
}

void qn_test_same_ids(const qn_test_tokenizer *r, const json_t *expected, const char *what,
                      qn_str text)
{
    ck_assert_msg(json_array_size(expected) == r->n, "%s: %zu ids, expected %zu: %.*s", what, r->n,
                  json_array_size(expected), (int)text.n, text.s);
    for (size_t i = 0; i < r->n; i++)
        ck_assert_msg(json_integer_value(json_array_get(expected, i)) == r->ids[i],
                      "%s: id %zu is %u, expected %lld: %.*s", what, i, r->ids[i],
                      (long long)json_integer_value(json_array_get(expected, i)), (int)text.n,
                      text.s);
}

qn_str qn_test_string(const json_t *s)
{
    return qn_str_of(json_string_value(s), json_string_length(s));
}

json_t *qn_test_json(const char *path)
{
    json_error_t e;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &e);
    ck_assert_msg(root != NULL, "%s: %s", path, e.text);
    return root;
}
