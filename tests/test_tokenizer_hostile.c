/* Tokenizers made to be slow: each is refused, or its work is bounded. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "formats/tokenizer/charsmap.h"
#include "formats/tokenizer/normalize.h"
#include "formats/tokenizer/trie.h"
#include "formats/tokenizer/vocab.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

/* ---- charsmaps --------------------------------------------------------------------------- */

enum { SETS = 160, VALUE = 1 << 8, HAS_VALUE = VALUE };

/* Sets of children lie at multiples of 256; set 0 is the root's unit's. */
typedef struct {
    uint32_t units[(SETS + 1) * 256];
    char replacements[1024];
    size_t n;
} made_map;

static void lead(made_map *m, unsigned set, char byte, unsigned to, bool ends)
{
    const uint32_t node = (set * 256) ^ (unsigned char)byte;
    m->units[node] = (unsigned char)byte | (ends ? HAS_VALUE : 0) | (node ^ to * 256) << 10;
    if (ends) m->units[to * 256] = 1U << 31; /* the first replacement */
}

static qn_status open_map(const made_map *m, qn_error *err)
{
    static char bytes[4 + sizeof m->units + sizeof m->replacements];
    const uint32_t size = sizeof m->units;
    qn_charsmap *c = NULL;
    memcpy(bytes, &size, 4);
    memcpy(bytes + 4, m->units, sizeof m->units);
    memcpy(bytes + 4 + sizeof m->units, m->replacements, m->n);
    const qn_status status =
        qn_charsmap_new(&c, qn_str_of(bytes, 4 + sizeof m->units + m->n), "map", err);
    qn_charsmap_free(c);
    return status;
}

static made_map *new_map(void)
{
    made_map *m = calloc(1, sizeof *m);
    ck_assert_ptr_nonnull(m);
    m->units[0] = 256 << 10; /* the root's children: set 1 */
    m->n = 2;
    m->replacements[0] = 'x';
    return m;
}

START_TEST(a_charsmap_whose_keys_never_end_is_refused)
{
    qn_error err = {0};
    made_map *m = new_map();
    lead(m, 1, 'a', 2, false);
    lead(m, 1, 'b', 4, true);
    lead(m, 2, 'a', 3, false);
    ck_assert_msg(!open_map(m, &err), "%s", err.message);
    lead(m, 3, 'c', 2, false);
    ck_assert_int_eq(open_map(m, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, "never ends"), "%s", err.message);
    free(m);
    m = new_map();
    lead(m, 1, 'a', 1, false);
    ck_assert_int_eq(open_map(m, &err), QN_ERR_DATA);
    free(m);
}
END_TEST

START_TEST(a_charsmap_has_keys_of_up_to_128_bytes)
{
    qn_error err = {0};
    for (unsigned bytes = 126; bytes <= 130; bytes++)
        for (unsigned branch = 0; branch < 2; branch++) {
            made_map *m = new_map();
            for (unsigned i = 1; i <= bytes; i++) lead(m, i, 'a', i + 1, i == bytes);
            /* another way into the same tail, looked at after it */
            if (branch) lead(m, 1, 'z', 2, false);
            const qn_status status = open_map(m, &err);
            ck_assert_msg(status == (bytes > 128 ? QN_ERR_DATA : QN_OK), "%u bytes: %d", bytes,
                          status);
            free(m);
        }
}
END_TEST

/* 3^120 keys in 120 sets, as darts-clone shares tails. */
START_TEST(a_charsmap_may_share_its_tails)
{
    qn_error err = {0};
    made_map *m = new_map();
    for (unsigned i = 1; i <= 120; i++)
        for (int j = 0; j < 3; j++) lead(m, i, "abc"[j], i + 1, i == 120);
    ck_assert_msg(!open_map(m, &err), "%s", err.message);
    free(m);
}
END_TEST

START_TEST(a_charsmaps_replacements_have_up_to_255_bytes)
{
    qn_error err = {0};
    made_map *m = new_map();
    lead(m, 1, 'a', 2, true);
    memset(m->replacements, 'x', 255);
    m->n = 256;
    ck_assert_msg(!open_map(m, &err), "%s", err.message);
    m->replacements[255] = 'x';
    m->n = 257;
    ck_assert_int_eq(open_map(m, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, "the replacement at 0 has 256 bytes or more"), "%s",
                  err.message);
    free(m);
}
END_TEST

/* ---- pieces ------------------------------------------------------------------------------- */

static qn_status run_with(const char *model, size_t bytes, int type, float score, qn_error *err)
{
    char text[2048];
    const qn_str tokens[] = {qn_str_z("<unk>"), qn_str_z("a"), qn_str_of(text, bytes)};
    const float scores[] = {0, -1, score};
    const int32_t types[] = {QN_PIECE_UNKNOWN, QN_PIECE_NORMAL, type};
    qn_metadata *m = qn_metadata_new();
    qn_vocab *v = NULL;
    qn_tokenizer *t = NULL;
    memset(text, 'a', bytes);
    ck_assert(!qn_metadata_set_str(m, "tokenizer.ggml.model", qn_str_z(model), err));
    ck_assert(!qn_metadata_set_strs(m, "tokenizer.ggml.tokens", tokens, 3, err));
    ck_assert(!qn_metadata_set_f32s(m, "tokenizer.ggml.scores", scores, 3, err));
    ck_assert(!qn_metadata_set_i32s(m, "tokenizer.ggml.token_type", types, 3, err));
    ck_assert_msg(!qn_vocab_from_metadata(&v, m, "keys", err), "%s", err->message);
    const qn_status status = qn_tokenizer_new(&t, v, err);
    qn_tokenizer_free(t);
    qn_vocab_free(v);
    qn_metadata_free(m);
    return status;
}

START_TEST(a_piece_has_up_to_1024_bytes)
{
    static const struct {
        const char *model;
        int type;
        float score;
    } kinds[] = {{"t5", QN_PIECE_NORMAL, -1},
                 {"llama", QN_PIECE_NORMAL, -1},
                 {"llama", QN_PIECE_USER, -1},
                 {"llama", QN_PIECE_USER, QN_UNSCORED},
                 {"llama", QN_PIECE_CONTROL, 0}};
    qn_error err = {0};
    const size_t i = (size_t)_i;
    ck_assert_msg(!run_with(kinds[i].model, 1024, kinds[i].type, kinds[i].score, &err), "%s",
                  err.message);
    ck_assert_int_eq(run_with(kinds[i].model, 1025, kinds[i].type, kinds[i].score, &err),
                     QN_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, "1025 bytes; at most 1024 are run"), "%s", err.message);
}
END_TEST

/* ---- a trie of crowded nodes ---------------------------------------------------------------- */

/* Nodes of 150 children each fill a block of 256 cells, those of 60 random ones find
 * no other where theirs are all free: asking every block is quadratic.  The last is
 * what vocabularies are like. */
static const struct {
    int children;
    bool random;
    uint64_t asked; /* for each key, at most */
} crowds[] = {{150, false, 4}, {60, true, 1000}, {3, true, 100}};

START_TEST(a_trie_asks_few_cells_for_each_of_its_own)
{
    enum { NODES = 1500 };
    const int children = crowds[_i].children, n = NODES * children;
    qn_error err = {0};
    qn_trie t;
    qn_random random = {9};
    char(*texts)[3] = malloc((size_t)n * sizeof *texts);
    qn_trie_key *keys = malloc((size_t)n * sizeof *keys);
    ck_assert(texts && keys);
    for (int i = 0; i < n; i++) {
        const int node = i / children, child = i % children;
        texts[i][0] = (char)(node / 40);
        texts[i][1] = (char)(node % 40);
        texts[i][2] = (char)child;
        bool taken = crowds[_i].random;
        while (taken) {
            texts[i][2] = (char)qn_random_bits(&random);
            taken = false;
            for (int j = i - child; j < i; j++) taken |= texts[j][2] == texts[i][2];
        }
        keys[i] = (qn_trie_key){qn_str_of(texts[i], 3), i};
    }
    ck_assert(!qn_trie_build(&t, keys, (size_t)n, &err));
    for (int i = 0; i < n; i++) {
        uint32_t node = 0;
        for (int j = 0; j < 3; j++) node = qn_trie_step(&t, node, (unsigned char)texts[i][j]);
        ck_assert_int_eq(t.cells[node].value, i);
    }
    printf("%d keys: %zu cells, %.1f asked for each\n", n, t.count, (double)t.asked / n);
    ck_assert_uint_lt(t.asked, crowds[_i].asked * (uint64_t)n);
    ck_assert_uint_lt(t.count, (size_t)256 * (NODES + 64));
    qn_trie_free(&t);
    free(keys);
    free(texts);
}
END_TEST

/* ---- combining marks -------------------------------------------------------------------------- */

static void check_form(qn_form form, const char *text, const char *expected)
{
    qn_text out = {0};
    qn_normalize(form, qn_str_z(text), &out);
    ck_assert_str_eq(out.s, expected);
    qn_text_free(&out);
}

/* 200,000 marks of each of two classes in turn: sorted one by one they take 10^10 steps. */
START_TEST(a_long_run_of_marks_is_sorted)
{
    enum { EACH = 200000 };
    qn_text text = {0}, expected = {0}, out = {0};
    qn_text_adds(&text, "x");
    for (int i = 0; i < EACH; i++) qn_text_adds(&text, "\u0301\u0316"); /* 230, 220 */
    qn_text_adds(&expected, "x");
    for (int i = 0; i < EACH; i++) qn_text_adds(&expected, "\u0316");
    for (int i = 0; i < EACH; i++) qn_text_adds(&expected, "\u0301");
    qn_normalize(QN_FORM_NFC, qn_str_of(text.s, text.n), &out);
    ck_assert(out.n == expected.n && !memcmp(out.s, expected.s, out.n));
    qn_text_free(&out);
    qn_text_free(&expected);
    qn_text_free(&text);
    /* characters of class 0 that fall apart into marks */
    check_form(QN_FORM_NFC, "\u0f40\u0f72\u0f73", "\u0f40\u0f71\u0f72\u0f72");
    check_form(QN_FORM_NFKC, "x\u0301\uff9e", "x\u3099\u0301");
    check_form(QN_FORM_NFD, "\u1e69", "s\u0323\u0307");
    check_form(QN_FORM_NFC, "s\u0307\u0323", "\u1e69");
}
END_TEST

static const utf8proc_option_t utf8proc_options[] = {
    [QN_FORM_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    [QN_FORM_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    [QN_FORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    [QN_FORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};

START_TEST(forms_are_utf8procs)
{
    enum { TEXTS = 3000, SEED = 5 };
    static const unsigned starts[] = {0x20,   0xa0,   0x300,  0x300,  0x590,  0xf71,   0x1100,
                                      0xac00, 0x1e00, 0x3040, 0xfb00, 0xff60, 0x1d15e, 0x302a};
    const qn_form form = (qn_form)(QN_FORM_NFC + _i);
    qn_random random = {SEED};
    qn_text text = {0}, out = {0};
    for (int i = 0; i < TEXTS; i++) {
        text.n = out.n = 0;
        for (uint64_t n = 1 + qn_random_bits(&random) % 20; n-- > 0;) {
            char bytes[4];
            const unsigned c = starts[qn_random_bits(&random) % (sizeof starts / sizeof *starts)] +
                               (unsigned)(qn_random_bits(&random) % 0x70);
            qn_text_add(&text, bytes, qn_utf8_encode(c, bytes));
        }
        utf8proc_uint8_t *mapped = NULL;
        const utf8proc_ssize_t n =
            utf8proc_map((const utf8proc_uint8_t *)text.s, (utf8proc_ssize_t)text.n, &mapped,
                         utf8proc_options[form]);
        qn_normalize(form, qn_str_of(text.s, text.n), &out);
        ck_assert_msg(n >= 0 && out.n == (size_t)n && !memcmp(out.s, mapped, out.n),
                      "form %d, seed %d: '%s' became '%s'", (int)form, SEED, text.s, out.s);
        free(mapped);
    }
    qn_text_free(&out);
    qn_text_free(&text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer hostile");
    TCase *tc = qn_test_group(suite, "hostile");
    tcase_add_test(tc, a_charsmap_whose_keys_never_end_is_refused);
    tcase_add_test(tc, a_charsmap_has_keys_of_up_to_128_bytes);
    tcase_add_test(tc, a_charsmap_may_share_its_tails);
    tcase_add_test(tc, a_charsmaps_replacements_have_up_to_255_bytes);
    tcase_add_loop_test(tc, a_piece_has_up_to_1024_bytes, 0, 5);
    tcase_add_loop_test(tc, a_trie_asks_few_cells_for_each_of_its_own, 0, 3);
    tcase_add_test(tc, a_long_run_of_marks_is_sorted);
    tcase_add_loop_test(tc, forms_are_utf8procs, 0, 4);
    return qn_test_run_suite(suite);
}
