/* How quantized checkpoints put small integers into 32-bit words.
 *
 * Two orders cover four ecosystems:
 *
 *   a stream: value i takes the bits i * bits .. (i + 1) * bits - 1, counted
 *   from the low bit of the first word on; where bits does not divide 32 a
 *   value may begin in one word and end in the next.  Its words lie next to
 *   each other (a row of them) or a stride apart (a column).
 *
 *   AWQ's: eight values of 4 bits a word, from the low bits up those of the
 *   columns 0 2 4 6 1 3 5 7 of the eight.
 *
 *   what               along      stride  the number stored for a value q
 *   ct weight_packed   inputs     1       q + 2^(bits-1), q signed
 *   ct zero points     outputs    groups  as above
 *   GPTQ qweight       inputs     outputs q, unsigned
 *   GPTQ qzeros        outputs    1       zero, or zero - 1 (qn_gptq_zero_*)
 *   AWQ qweight        outputs    AWQ     q, unsigned
 *   AWQ qzeros         outputs    AWQ     zero
 *   MLX weight         inputs     1       q, unsigned
 *
 * (ct is compressed-tensors.)  Sources of the facts: vllm-project/
 * compressed-tensors pack_quantized (pack_to_int32: bits from the low end,
 * zero points along dimension 0; odd widths dense in its newer versions only);
 * AutoGPTQ qlinear_cuda.py and GPTQModel's packer (2, 3, 4, 8 bits; a run of
 * 32 values of 3 bits fills three words); casper-hansen/AutoAWQ
 * utils/packing_utils.py (the order); ml-explore/mlx quantized.h (3, 5 and 6
 * bits as little-endian bytes, the same stream).
 *
 * Words are little-endian bytes at any address: they lie in mapped files. */
#ifndef QN_FORMATS_PACKED_PACKING_H
#define QN_FORMATS_PACKED_PACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words of a stream of n values: n * bits / 32, rounded up; n * bits fits. */
static inline uint64_t qn_packed_words(uint64_t n, unsigned bits)
{
    return n / 32 * bits + (n % 32 * bits + 31) / 32;
}

/* n values of bits (1..8) each, all below 2^bits, to the stream whose word w is
 * the four bytes at words + 4 * stride * w.  Writes qn_packed_words(n, bits)
 * words, the last one's free bits zero. */
void qn_pack(const uint8_t *values, size_t n, unsigned bits, void *words, size_t stride);

/* The same back, from a stream that begins at a word's low bit; reads no word
 * that holds none of the n values.  To continue a stream, start again at a
 * multiple of 32 values: word n / 32 * bits. */
void qn_unpack(const void *words, size_t stride, size_t n, unsigned bits, uint8_t *values);

/* n (a multiple of 8) neighbouring columns of one row, each below 16, to n / 8
 * words. */
void qn_pack_awq(const uint8_t *values, size_t n, void *words);

/* Where column j of a row lies: at bit qn_awq_shift(j) of word j / 8. */
unsigned qn_awq_shift(uint64_t column);

/* GPTQ's zero points.  checkpoint_format "gptq" (v1) stores zero - 1, so that
 * 1 .. 2^bits are all there is; "gptq_v2" stores the zero itself.  Readers add
 * the one after masking (AutoGPTQ), so a stored 2^bits - 1 is zero 2^bits. */
static inline unsigned qn_gptq_zero_read(unsigned stored, bool v1)
{
    return v1 ? stored + 1 : stored;
}

/* zero: 1 .. 2^bits in v1, 0 .. 2^bits - 1 else. */
static inline unsigned qn_gptq_zero_stored(unsigned zero, bool v1)
{
    return v1 ? zero - 1 : zero;
}

#endif
