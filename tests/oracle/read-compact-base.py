"""Reads a compact base file by docs/formats/kl-base.md alone, and compares its rows with
llama-perplexity's 16-bit base of the same model and text.

    read-compact-base.py COMPACT [16-BIT]

Needs numpy and xxhash (PyPI)."""
import struct
import sys

import numpy as np
import xxhash

STEP = 2.0**-10


class Bits:
    def __init__(self, data):
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        self.at = 0

    def number(self, n):
        value = 0
        for i in range(n):
            value |= int(self.bits[self.at + i]) << i
        self.at += n
        return value

    def ascending(self, n, rice, apart):
        ids, last = [], None
        for _ in range(n):
            ones = 0
            while self.number(1):
                ones += 1
            distance = (ones << rice) + self.number(rice)
            last = distance if last is None else last + distance + apart
            ids.append(last)
        return ids


def read_row(data):
    next_log_p, largest, tail, tail_mean, top, kept = struct.unpack_from("<ffffIH", data)
    samples, a, b, c, d = data[22:27]
    bits = Bits(data[27:])
    ids = bits.ascending(kept, a, 1)
    log_p = [largest - STEP * bits.number(b) for _ in ids]
    drawn = bits.ascending(samples, c, 0)
    drawn_log_p = [largest - STEP * bits.number(d) for _ in drawn]
    assert (bits.at + 7) // 8 == len(data) - 27, "bytes left over"
    return next_log_p, tail, tail_mean, top, np.array(ids), np.array(log_p), drawn, drawn_log_p


def read(path):
    data = open(path, "rb").read()
    assert data[:8] == b"QUERNKLB"
    version, n_ctx, n_vocab, n_chunks = struct.unpack_from("<IIII", data, 8)
    (row_bytes,) = struct.unpack_from("<Q", data, 24)
    scored = n_ctx - 1 - n_ctx // 2
    assert version == 1
    ids_end = 136 + 4 * n_chunks * n_ctx
    rows = ids_end + 4 * n_chunks * scored
    assert rows + row_bytes == len(data)
    parts = [data[:128], data[136:ids_end], data[ids_end:rows]]
    check = xxhash.xxh3_64_intdigest(b"".join(struct.pack("<Q", xxhash.xxh3_64_intdigest(p)) for p in parts))
    assert check == struct.unpack_from("<Q", data, 128)[0], "the check does not fit"
    ids = np.frombuffer(data[136:ids_end], "<u4").reshape(n_chunks, n_ctx)
    table = np.frombuffer(data[ids_end:rows], "<u4")
    out, at = [], rows
    for entry in table:
        row = data[at : at + (int(entry) & 0xFFFF)]
        assert xxhash.xxh3_64_intdigest(row) & 0xFFFF == int(entry) >> 16
        out.append(read_row(row))
        at += len(row)
    assert at == len(data)
    return n_ctx, n_vocab, ids, out


def read_16_bit(path, n_vocab, scored):
    data = open(path, "rb").read()
    n_ctx, vocabulary, n_chunks = struct.unpack_from("<Iii", data, 8)
    assert vocabulary == n_vocab
    at = 20 + 4 * n_chunks * n_ctx
    stride = 2 * (2 * ((n_vocab + 1) // 2) + 4)
    ids = np.frombuffer(data[20:at], "<u4").reshape(n_chunks, n_ctx)
    rows = []
    for i in range(n_chunks * scored):
        scale, minimum = struct.unpack_from("<ff", data, at + i * stride)
        codes = np.frombuffer(data, "<u2", n_vocab, at + i * stride + 8)
        rows.append((scale, scale * codes.astype(np.float64) + minimum))
    return ids, rows


def main():
    n_ctx, n_vocab, ids, rows = read(sys.argv[1])
    scored = n_ctx - 1 - n_ctx // 2
    mass = [np.exp(r[5]).sum() + r[1] for r in rows]
    kept = [len(r[4]) for r in rows]
    print(f"{len(rows)} rows, {np.mean(kept):.1f} tokens kept, mass {min(mass):.6f} to {max(mass):.6f}, "
          f"PPL {np.exp(-np.mean([r[0] for r in rows])):.4f}")
    if len(sys.argv) < 3:
        return
    other_ids, others = read_16_bit(sys.argv[2], n_vocab, scored)
    n = min(len(rows), len(others))
    assert (ids[: n // scored, 1:] == other_ids[: n // scored, 1:]).all(), "other texts"
    worst, tails, tops = 0.0, 0.0, 0
    for r, (scale, log_p) in zip(rows[:n], others):
        off = np.abs(r[5] - log_p[r[4]]) - scale / 2
        worst = max(worst, off.max())
        left = np.ones(n_vocab, bool)
        left[r[4]] = False
        tails = max(tails, abs(np.exp(log_p[left]).sum() - r[1]))
        tops += int(np.argmax(log_p)) == r[3]
    print(f"against {n} rows of 16 bits: log p off by at most {worst:.2e} beyond half of their step (half of "
          f"ours is {STEP / 2:.2e}), tails by {tails:.1e}, same top in {tops}")


main()
