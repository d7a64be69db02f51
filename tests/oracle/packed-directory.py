#!/usr/bin/env python3
"""Checks a directory that `quern quantize SOURCE DIR int4|int8` wrote, in numpy, from
docs/formats/packed-write.md alone: every integer, scale, zero point and bias of every packed
weight, computed anew from SOURCE's values (--clip minmax only), and that all other tensors are
SOURCE's bytes.  With --packages what compressed-tensors' and mlx's own quantizers make of the same
values is compared, too, where they are installed.

    packed-directory.py SOURCE DIR [--packages]
"""
import glob
import json
import struct
import sys

import numpy as np

AWQ = [0, 2, 4, 6, 1, 3, 5, 7]
TYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "BF16": "<u2"}


def read(directory):
    tensors = {}
    for path in sorted(glob.glob(directory + "/*.safetensors")):
        with open(path, "rb") as f:
            n = struct.unpack("<Q", f.read(8))[0]
            header = json.loads(f.read(n))
            data = f.read()
        header.pop("__metadata__", None)
        for name, t in header.items():
            a, b = t["data_offsets"]
            tensors[name] = (t["dtype"], np.frombuffer(data[a:b], TYPES[t["dtype"]])
                             .reshape(t["shape"]))
    return tensors


def floats(t):
    dtype, v = t
    if dtype == "BF16":
        return (v.astype(np.uint32) << 16).view(np.float32)
    return v.astype(np.float32)


def stored(v, dtype):
    """v rounded to the type, as float32."""
    if dtype == "F16":
        return v.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        u = v.view(np.uint32)
        return ((u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return v


def unstream(words, n, bits):
    """Values along the last axis of int32 words."""
    words = words.astype(np.uint32)
    per = 32 // bits
    values = np.stack([words >> bits * k & (2**bits - 1) for k in range(per)], axis=-1)
    return values.reshape(*words.shape[:-1], -1)[..., :n].astype(np.int64)


def unawq(words):
    words = words.astype(np.uint32)
    values = np.zeros((*words.shape, 8), np.int64)
    for k, column in enumerate(AWQ):
        values[..., column] = words >> 4 * k & 15
    return values.reshape(*words.shape[:-1], -1)


def unpack(tensors, module, q, shape):
    """codes [out, in], scales [out, groups], zeros or biases [out, groups], scale type."""
    out, columns = shape
    get = lambda suffix: tensors[f"{module}.{suffix}"]
    if q["method"] == "compressed-tensors":
        assert list(get("weight_shape")[1]) == [out, columns]
        codes = unstream(get("weight_packed")[1], columns, q["bits"])
        scales = get("weight_scale")
        if q["symmetric"]:
            zeros = np.full(scales[1].shape, 2 ** (q["bits"] - 1))
        else:
            zeros = unstream(get("weight_zero_point")[1].T, out, q["bits"]).T
        return codes, floats(scales), zeros, scales[0]
    if q["method"] == "gptq":
        codes = unstream(get("qweight")[1].T, columns, q["bits"])
        zeros = unstream(get("qzeros")[1], out, q["bits"]).T + 1
        assert (get("g_idx")[1] == np.arange(columns) // q["group"]).all()
        return codes, floats(get("scales")).T, zeros, get("scales")[0]
    if q["method"] == "awq":
        return unawq(get("qweight")[1]).T, floats(get("scales")).T, unawq(get("qzeros")[1]).T, "F16"
    codes = unstream(get("weight")[1], columns, q["bits"])
    return codes, floats(get("scales")), floats(get("biases")), get("scales")[0]


def quantize(x, q, dtype):
    """The same from the values: docs/formats/packed-write.md."""
    f = np.float32
    out, columns = x.shape
    n, half = f(2 ** q["bits"] - 1), f(2 ** (q["bits"] - 1))
    g = x.reshape(out, -1, q["group"])
    lo, hi = g.min(-1), g.max(-1)
    if q["method"] == "mlx":
        below = np.abs(lo) > np.abs(hi)
        scale = np.maximum((hi - lo) / n, f(1e-7))
        scale = np.where(below, scale, -scale)
        edge = np.where(below, lo, hi)
        steps = np.rint(edge / scale)
        bias = np.where(steps != 0, edge, f(0))
        scale = np.where(steps != 0, edge / np.where(steps != 0, steps, 1), scale).astype(f)
        codes = np.clip(np.rint((g - bias[..., None]) / scale[..., None]), 0, n)
        return codes.reshape(out, columns), stored(scale, dtype), stored(bias, dtype)
    lo, hi = np.minimum(lo, 0), np.maximum(hi, 0)
    if q["symmetric"]:
        scale, zero = np.maximum(-lo, hi) / (n / 2), np.zeros_like(lo)
    else:
        scale = (hi - lo) / n
        with np.errstate(invalid="ignore", divide="ignore"):
            zero = np.where(scale == 0, -half, -half - lo / scale)
        zero = np.rint(np.clip(zero, -half, half - 1))
        if q["method"] == "gptq":
            scale = np.where(zero == -half, hi / (n - 1), scale)
            zero = np.maximum(zero, 1 - half)
    scale = stored(scale.astype(f), dtype)
    eps = {"F16": 2.0**-10, "BF16": 2.0**-7, "F32": 2.0**-23}[dtype]
    scale = np.where(scale == 0, f(eps), scale)
    codes = np.rint(np.clip(g / scale[..., None] + zero[..., None], -half, half - 1)) + half
    return codes.reshape(out, columns), scale, zero + half


def scheme(config):
    c = config["quantization_config"]
    if "quant_method" not in c:
        assert config["quantization"] == c and c["mode"] == "affine"
        return {"method": "mlx", "bits": c["bits"], "group": c["group_size"], "symmetric": False}
    if c["quant_method"] == "compressed-tensors":
        w = c["config_groups"]["group_0"]["weights"]
        return {"method": c["quant_method"], "bits": w["num_bits"],
                "group": w["group_size"] or -1, "symmetric": w["symmetric"]}
    return {"method": c["quant_method"], "bits": c["bits"], "group": c["group_size"],
            "symmetric": c.get("sym", False)}


def by_package(x, q, dtype):
    """codes, scales, zeros or biases of the ecosystem's own quantizer; None: not to be had."""
    if q["method"] == "mlx":
        import mlx.core as mx
        kind = {"F16": mx.float16, "BF16": mx.bfloat16, "F32": mx.float32}[dtype]
        w, s, b = mx.quantize(mx.array(x).astype(kind), q["group"], q["bits"])
        return (unstream(np.array(w), x.shape[1], q["bits"]), np.array(s.astype(mx.float32)),
                np.array(b.astype(mx.float32)))
    if q["method"] == "compressed-tensors":
        import torch
        from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
        from compressed_tensors.quantization import QuantizationArgs
        from compressed_tensors.quantization.lifecycle.forward import quantize as ct_quantize
        from compressed_tensors.quantization.utils import calculate_qparams
        kind = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}[dtype]
        by_row = q["group"] == x.shape[1]
        args = QuantizationArgs(num_bits=q["bits"], symmetric=q["symmetric"], type="int",
                                strategy="channel" if by_row else "group",
                                group_size=None if by_row else q["group"], scale_dtype=kind)
        w = torch.from_numpy(np.array(x))
        g = w.reshape(x.shape[0], -1, q["group"])
        scale, zero = calculate_qparams(g.amin(-1), g.amax(-1), args)
        codes = ct_quantize(w, scale, zero, args, dtype=torch.int8)
        words = pack_to_int32(codes, q["bits"]).numpy()
        half = 2 ** (q["bits"] - 1)
        return (unstream(words, x.shape[1], q["bits"]), scale.numpy(),
                zero.to(torch.int64).numpy() + half)
    return None


def compare(name, what, got, want):
    for g, w, part in zip(got, want, ("codes", "scales", "zeros or biases")):
        if not (np.asarray(g, np.float64) == np.asarray(w, np.float64)).all():
            bad = np.argwhere(np.asarray(g) != np.asarray(w))
            at = tuple(bad[0])
            sys.exit(f"{name}: {len(bad)} {part} differ from {what}, first at {at}: "
                     f"{np.asarray(g)[at]!r} and {np.asarray(w)[at]!r}")


def main():
    source, packed = read(sys.argv[1]), read(sys.argv[2])
    q = scheme(json.load(open(sys.argv[2] + "/config.json")))
    group, checked, by_others, seen = q["group"], 0, 0, set()
    for name, t in source.items():
        module = name.removesuffix(".weight")
        codes = {"compressed-tensors": "weight_packed", "mlx": "scales"}.get(q["method"], "qweight")
        if f"{module}.{codes}" not in packed:
            assert packed[name][0] == t[0] and (packed[name][1] == t[1]).all(), name
            seen.add(name)
            continue
        x = floats(t)
        q["group"] = x.shape[1] if group == -1 else group
        *got, dtype = unpack(packed, module, q, x.shape)
        symmetric = q["symmetric"]
        if q["method"] == "awq":  # its config does not tell
            q["symmetric"] = (got[2] == 8).all()
        compare(name, "the formulas", got, quantize(x, q, dtype))
        q["symmetric"] = symmetric
        checked += 1
        if "--packages" in sys.argv:
            theirs = by_package(x, q, dtype)
            if theirs:
                compare(name, "the package's", got, theirs)
                by_others += 1
    print(f"{sys.argv[2]}: {checked} packed weights as the formulas say, {by_others} as the "
          f"package's quantizer, {len(seen)} tensors kept")


if __name__ == "__main__":
    main()
