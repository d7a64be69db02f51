"""Packs a Llama checkpoint in every way that quern reads, beside its float values.

    make-packed.py MODEL OUT

OUT/NAME is the packed checkpoint, OUT/NAME-float the same with the packed matrices
as float32. Both must give the same logits, bit for bit. compressed-tensors' and
MLX's are packed and unpacked by those libraries (those not installed are left
out), GPTQ's and AWQ's by the formulas in their kernels, one value at a time.
"""

import json
import os
import shutil
import sys

import numpy as np
from safetensors.numpy import save_file

model, out = sys.argv[1:3]
random = np.random.default_rng(5)


def read_bf16(path):
    with open(path, "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(n))
        data = f.read()
    tensors = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        assert t["dtype"] == "BF16"
        a, b = t["data_offsets"]
        bits = np.frombuffer(data[a:b], "<u2").astype(np.uint32) << 16
        tensors[name] = bits.view(np.float32).reshape(t["shape"])
    return tensors


def is_linear(name):
    return name.endswith("_proj.weight")


def write(name, packed, floats, config):
    """config: what becomes of config.json for the packed one."""
    for directory, tensors in ((f"{out}/{name}", packed), (f"{out}/{name}-float", floats)):
        os.makedirs(directory, exist_ok=True)
        for f in os.listdir(model):
            if f.startswith("tokenizer") or f.startswith("special"):
                shutil.copyfile(f"{model}/{f}", f"{directory}/{f}")
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()},
                  f"{directory}/model.safetensors", {"format": "pt"})
        c = json.load(open(f"{model}/config.json"))
        if tensors is packed:
            c.update(config)
        json.dump(c, open(f"{directory}/config.json", "w"), indent=1)
    print(name)


def set_bits(words, at, bits, value):
    """value into a stream of 32-bit words, bit by bit."""
    for b in range(bits):
        if int(value) >> b & 1:
            words[(at + b) // 32] |= np.uint32(1 << (at + b) % 32)


def stream(values, bits):
    words = np.zeros((len(values) * bits + 31) // 32, np.uint32)
    for i, v in enumerate(values):
        set_bits(words, i * bits, bits, v)
    return words


def ranges(w, groups, n_groups, bits):
    """A float16 scale and a zero of each row and group, and the codes."""
    rows, columns = w.shape
    most = 2**bits - 1
    scale = np.zeros((rows, n_groups), np.float16)
    zero = np.zeros((rows, n_groups), np.int64)
    for g in range(n_groups):
        part = w[:, groups == g]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        scale[:, g] = (high - low) / most
        zero[:, g] = np.clip(np.rint(-low / scale[:, g].astype(np.float32)), 1, most)
    s = scale.astype(np.float32)[:, groups]
    q = np.clip(np.rint(w / s) + zero[:, groups], 0, most).astype(np.int64)
    value = s * (q - zero[:, groups]).astype(np.float32)
    return q, scale, zero, value


def gptq(name, bits, group, v1, act_order):
    packed, floats = {}, {}
    for key, w in read_bf16(f"{model}/model.safetensors").items():
        if not is_linear(key):
            packed[key] = floats[key] = w
            continue
        base, (rows, columns) = key[: -len(".weight")], w.shape
        groups = np.arange(columns) // group
        if act_order:
            groups = random.permutation(groups)
        n = columns // group
        q, scale, zero, floats[key] = ranges(w, groups, n, bits)
        packed[base + ".qweight"] = np.stack([stream(r, bits) for r in q], 1).view(np.int32)
        packed[base + ".qzeros"] = np.stack(
            [stream(zero[:, g] - v1, bits) for g in range(n)]).view(np.int32)
        packed[base + ".scales"] = scale.T
        packed[base + ".g_idx"] = groups.astype(np.int32)
    write(name, packed, floats, {"quantization_config": {
        "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order,
        "sym": False, "checkpoint_format": "gptq" if v1 else "gptq_v2"}})


def awq(name, group):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    packed, floats = {}, {}
    for key, w in read_bf16(f"{model}/model.safetensors").items():
        if not is_linear(key):
            packed[key] = floats[key] = w
            continue
        base, (rows, columns) = key[: -len(".weight")], w.shape
        n = columns // group
        q, scale, zero, floats[key] = ranges(w, np.arange(columns) // group, n, 4)
        codes = np.zeros((columns, rows // 8), np.uint32)
        zeros = np.zeros((n, rows // 8), np.uint32)
        for o in range(rows):
            shift = np.uint32(4 * order.index(o % 8))
            codes[:, o // 8] |= q[o].astype(np.uint32) << shift
            zeros[:, o // 8] |= zero[o].astype(np.uint32) << shift
        packed[base + ".qweight"] = codes.view(np.int32)
        packed[base + ".qzeros"] = zeros.view(np.int32)
        packed[base + ".scales"] = scale.T
    write(name, packed, floats, {"quantization_config": {
        "quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True,
        "version": "gemm"}})


def compressed(name, bits, strategy, group, symmetric):
    import torch
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    args = QuantizationArgs(num_bits=bits, type="int", strategy=strategy, group_size=group,
                            symmetric=symmetric)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    packed, floats = {}, {}
    for key, w in read_bf16(f"{model}/model.safetensors").items():
        if not is_linear(key):
            packed[key] = floats[key] = w
            continue
        base, (rows, columns) = key[: -len("weight")], w.shape
        g = group or columns
        parts = w.reshape(rows, columns // g, g)
        low, high = parts.min(2), parts.max(2)
        if symmetric:
            scale = np.maximum(-low, high) / (2 ** (bits - 1) - 0.5)
            zero = np.zeros_like(scale)
        else:
            scale = (np.maximum(high, 0) - np.minimum(low, 0)) / (2**bits - 1)
            zero = np.clip(np.rint(-np.minimum(low, 0) / scale) - 2 ** (bits - 1),
                           -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        state = {"weight": torch.tensor(w), "weight_scale": torch.tensor(scale).half().float(),
                 "weight_zero_point": torch.tensor(zero).to(torch.int8)}
        state = PackedQuantizationCompressor.compress(state, scheme)
        floats[key] = PackedQuantizationCompressor.decompress(state, scheme)["weight"].numpy()
        assert floats[key].dtype == np.float32
        state["weight_scale"] = state["weight_scale"].half()
        packed.update({base + k: v.numpy() for k, v in state.items()})
    write(name, packed, floats, {"quantization_config": {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": json.loads(
            args.model_dump_json())}}}})


def mlx(name, default, overrides):
    import mlx.core as mx

    packed, floats = {}, {}
    for key, w in read_bf16(f"{model}/model.safetensors").items():
        if w.ndim != 2:
            packed[key] = floats[key] = w
            continue
        base = key[: -len(".weight")]
        how = overrides.get(base, default)
        parts = mx.quantize(mx.array(w), **how)
        for end, part in zip((".weight", ".scales", ".biases"), parts):
            packed[base + end] = np.array(part)
        floats[key] = np.array(mx.dequantize(*parts, **how))
    config = {"mode": "affine", **default, **overrides}
    write(name, packed, floats, {"quantization": config, "quantization_config": config})


gptq("gptq-int4", 4, 64, True, False)
gptq("gptq-int4-act-order", 4, 32, True, True)
gptq("gptq-int3", 3, 128, True, True)
gptq("gptq-int2-v2", 2, 32, False, False)
gptq("gptq-int8-v2", 8, 128, False, True)
awq("awq-int4", 128)
for name, make in {
    "ct-int4": lambda n: compressed(n, 4, "group", 128, True),
    "ct-int4-asym": lambda n: compressed(n, 4, "group", 32, False),
    "ct-int8": lambda n: compressed(n, 8, "channel", None, False),
    "ct-int3": lambda n: compressed(n, 3, "group", 64, False),
    "ct-int5": lambda n: compressed(n, 5, "channel", None, True),
    "mlx-int4": lambda n: mlx(n, {"bits": 4, "group_size": 64}, {}),
    "mlx-mixed": lambda n: mlx(n, {"bits": 4, "group_size": 32}, {
        "model.embed_tokens": {"bits": 6, "group_size": 64},
        "lm_head": {"bits": 8, "group_size": 128},
        "model.layers.0.self_attn.q_proj": {"bits": 2, "group_size": 32},
        "model.layers.0.self_attn.k_proj": {"bits": 3, "group_size": 64},
        "model.layers.0.mlp.up_proj": {"bits": 5, "group_size": 128},
        "model.layers.1.mlp.up_proj": {"bits": 6, "group_size": 32},
        "model.layers.1.mlp.down_proj": {"bits": 3, "group_size": 32}}),
}.items():
    try:
        make(name)
    except ImportError as e:
        print(f"{name}: left out: {e}")
