#!/usr/bin/env python3
"""Makes tests/data/packed/quantizers-{ct,mlx}.safetensors: what the ecosystems' own quantizers
make of a few rows.

    make-packed-goldens.py ct OUT     needs torch and compressed-tensors
    make-packed-goldens.py mlx OUT    needs mlx

x [8, 256] float32 holds values of bfloat16 (mlx takes what it is given), among them rows with an
outlier, of one sign, of zeros, and tiny ones.  For each case NAME = BITS-GROUP-s|a-TYPE (group c:
the whole row) NAME.codes uint8 [8, 256], NAME.scales float32 and NAME.zeros int32 or NAME.biases
float32 [8, groups].  A group of zeros has no zero point upstream (0 / 0); its zeros are not to be
compared.
"""
import sys

import numpy as np
from safetensors.numpy import save_file


def rows():
    rng = np.random.default_rng(20)
    x = rng.standard_normal((8, 256)).astype(np.float32) * np.float32(0.05)
    x[1, 17] = 3
    x[2] = np.abs(x[2])
    x[3] = -np.abs(x[3]) - np.float32(0.25)
    x[4, :128] = 0
    x[5] *= np.float32(1e-30)
    x[6] = x[6].clip(-0.01, 0.01)
    x[7, ::2] = 0.125
    u = x.view(np.uint32)
    return ((u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def ct(x, out):
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize
    from compressed_tensors.quantization.utils import calculate_qparams
    types = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
    w = torch.from_numpy(x)
    for bits, group, kind, asym in ((4, 32, "bf16", 0), (4, 128, "f16", 0), (4, 128, "bf16", 1),
                                    (4, 64, "f32", 1), (4, 0, "bf16", 1), (8, 0, "bf16", 0),
                                    (8, 32, "f32", 1), (8, 128, "f16", 1)):
        args = QuantizationArgs(num_bits=bits, symmetric=not asym, type="int",
                                strategy="group" if group else "channel", group_size=group or None,
                                scale_dtype=types[kind])
        g = w.reshape(8, -1, group or 256)
        scale, zero = calculate_qparams(g.amin(-1), g.amax(-1), args)
        codes = quantize(w, scale, zero, args, dtype=torch.int8)
        half = 2 ** (bits - 1)
        name = f"{bits}-{group or 'c'}-{'a' if asym else 's'}-{kind}"
        out[name + ".codes"] = (codes.to(torch.int32) + half).to(torch.uint8).numpy()
        out[name + ".scales"] = scale.float().numpy()
        out[name + ".zeros"] = (zero.to(torch.int32) + half).numpy()
        out[name + ".words"] = pack_to_int32(codes, bits).numpy()


def mlx(x, out):
    import mlx.core as mx
    mx.set_default_device(mx.cpu)
    types = {"f16": mx.float16, "bf16": mx.bfloat16, "f32": mx.float32}
    for bits, group, kind in ((4, 32, "bf16"), (4, 64, "f32"), (4, 128, "bf16"), (8, 32, "f32"),
                              (8, 64, "bf16"), (8, 128, "bf16")):
        words, scales, biases = mx.quantize(mx.array(x).astype(types[kind]), group, bits)
        words = np.array(words)
        per = 32 // bits
        codes = np.stack([words >> bits * k & (2**bits - 1) for k in range(per)], -1)
        name = f"{bits}-{group}-a-{kind}"
        out[name + ".codes"] = codes.reshape(8, 256).astype(np.uint8)
        out[name + ".scales"] = np.array(scales.astype(mx.float32))
        out[name + ".biases"] = np.array(biases.astype(mx.float32))


tensors = {"x": rows()}
{"ct": ct, "mlx": mlx}[sys.argv[1]](tensors["x"], tensors)
save_file(tensors, sys.argv[2])
