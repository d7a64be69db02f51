/* Integers in 32-bit words: against words worked out by hand and, for every
 * width, against a loop over single bits. */
#include <check.h>
#include <string.h>

#include "formats/packed/packing.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

enum { N = 75, STRIDE = 3, GUARD = 0xa5 };

static uint32_t word_at(const uint8_t *words, size_t i)
{
    const uint8_t *p = words + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

START_TEST(words_worked_out_by_hand)
{
    uint8_t words[12];
    /* the example beside pack_to_int32: 1 and 2 of 8 bits, 128 added */
    qn_pack((const uint8_t[]){129, 130}, 2, 8, words, 1);
    ck_assert_uint_eq(word_at(words, 0), 33409);
    qn_pack((const uint8_t[]){0, 1, 2, 3, 4, 5, 6, 7}, 8, 4, words, 1);
    ck_assert_uint_eq(word_at(words, 0), 0x76543210);
    qn_pack_awq((const uint8_t[]){0, 1, 2, 3, 4, 5, 6, 7}, 8, words);
    ck_assert_uint_eq(word_at(words, 0), 0x75316420);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(word_at(words, 0) >> qn_awq_shift(i + 80) & 15, i);
    /* GPTQ's 3 bits: ten values, two bits of the eleventh, its last bit in the
     * next word, ten more, one bit of the next, its last two, ten more */
    uint8_t three[32] = {0};
    three[10] = 7;
    three[21] = 5;
    three[31] = 4;
    qn_pack(three, 32, 3, words, 1);
    ck_assert_uint_eq(word_at(words, 0), 3U << 30);
    ck_assert_uint_eq(word_at(words, 1), 1U | 1U << 31);
    ck_assert_uint_eq(word_at(words, 2), 2U | 1U << 31);
}
END_TEST

START_TEST(a_stream_is_its_values_bit_by_bit)
{
    const unsigned bits = (unsigned)_i;
    qn_random random = {bits};
    for (size_t n = 0; n <= N; n++) {
        uint8_t values[N], back[N + 1], words[4 + 4 * STRIDE * N];
        const uint64_t count = qn_packed_words(n, bits);
        ck_assert_uint_eq(count, (n * bits + 31) / 32);
        for (size_t i = 0; i < n; i++)
            values[i] = (uint8_t)(qn_random_bits(&random) >> (64 - bits));
        memset(words, GUARD, sizeof words);
        memset(back, GUARD, sizeof back);
        qn_pack(values, n, bits, words + 1, STRIDE); /* at an odd address */
        for (size_t b = 0; b < 32 * count; b++) {
            const unsigned bit = b < n * bits ? values[b / bits] >> b % bits & 1 : 0;
            ck_assert_uint_eq(word_at(words + 1, b / 32 * STRIDE) >> b % 32 & 1, bit);
        }
        for (size_t w = 0; w < STRIDE * count; w++)
            if (w % STRIDE) ck_assert_uint_eq(words[1 + 4 * w], GUARD);
        qn_unpack(words + 1, STRIDE, n, bits, back);
        ck_assert(!memcmp(back, values, n));
        ck_assert_uint_eq(back[n], GUARD);
        if (n > 32) { /* a stream may be entered at every 32nd value */
            qn_unpack(words + 1 + 4 * STRIDE * bits, STRIDE, n - 32, bits, back);
            ck_assert(!memcmp(back, values + 32, n - 32));
        }
    }
}
END_TEST

START_TEST(zeros_of_gptq_in_both_versions)
{
    ck_assert_uint_eq(qn_gptq_zero_stored(8, true), 7);
    ck_assert_uint_eq(qn_gptq_zero_read(7, true), 8);
    ck_assert_uint_eq(qn_gptq_zero_read(15, true), 16);
    ck_assert_uint_eq(qn_gptq_zero_stored(8, false), 8);
    ck_assert_uint_eq(qn_gptq_zero_read(0, false), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("packing");
    TCase *t = qn_test_group(s, "packing");
    tcase_add_test(t, words_worked_out_by_hand);
    tcase_add_loop_test(t, a_stream_is_its_values_bit_by_bit, 1, 9);
    tcase_add_test(t, zeros_of_gptq_in_both_versions);
    return qn_test_run_suite(s);
}
