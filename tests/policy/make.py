#!/usr/bin/env python3
"""Asks llama-quantize which type it gives each tensor, and prints types.txt.

    make.py LLAMA_QUANTIZE > types.txt        (needs the gguf package)

The models are shapes only: float32 zeros, in the names and metadata of their
architecture.  llama-quantize --dry-run prints its decisions.
"""
import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy

MIXES = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K".split()
CODES = {"f32": "f", "f16": "h", "bf16": "b", "q8_0": "8", "q4_0": "0", "q4_1": "1", "q5_0": "2",
         "q5_1": "3", "q4_K": "4", "q5_K": "5",
         "q6_K": "6"}


def dense(width, inner, kv, vocab, untied):
    t = {"token_embd.weight": (vocab, width), "output_norm.weight": (width,)}
    if untied:
        t["output.weight"] = (vocab, width)
    t |= {"blk.*.attn_norm.weight": (width,), "blk.*.attn_q.weight": (width, width),
          "blk.*.attn_k.weight": (kv, width), "blk.*.attn_v.weight": (kv, width),
          "blk.*.attn_output.weight": (width, width), "blk.*.ffn_norm.weight": (width,),
          "blk.*.ffn_gate.weight": (inner, width), "blk.*.ffn_up.weight": (inner, width),
          "blk.*.ffn_down.weight": (width, inner)}
    return t


def experts(n, width, inner, kv, vocab):
    t = dense(width, inner, kv, vocab, True)
    for part in "gate", "up", "down":
        t[f"blk.*.ffn_{part}_exps.weight"] = (n,) + t.pop(f"blk.*.ffn_{part}.weight")
    t["blk.*.ffn_gate_inp.weight"] = (n, width)
    t["blk.*.ffn_down_shexp.weight"] = (width, inner)
    return t


def falcon(width, vocab):
    return {"token_embd.weight": (vocab, width), "output_norm.weight": (width,),
            "output_norm.bias": (width,), "output.weight": (vocab, width),
            "blk.*.attn_norm.weight": (width,), "blk.*.attn_norm.bias": (width,),
            "blk.*.attn_qkv.weight": (width + 128, width), "blk.*.attn_output.weight": (width, width),
            "blk.*.ffn_up.weight": (4 * width, width), "blk.*.ffn_down.weight": (width, 4 * width)}


# name: architecture, layers, heads, key heads, experts, width, inner, tensors
MODELS = {
    "tied": ("llama", 5, 4, 2, 0, 256, 768, dense(256, 768, 128, 64, False)),
    "untied": ("llama", 22, 8, 2, 0, 256, 512, dense(256, 512, 64, 64, True)),
    "smollm": ("llama", 30, 9, 3, 0, 576, 1536, dense(576, 1536, 192, 64, False)),
    "odd-rows": ("llama", 3, 4, 2, 0, 48, 136, dense(48, 136, 24, 64, True)),
    "odd-tied": ("llama", 3, 4, 2, 0, 72, 96, dense(72, 96, 36, 64, False)),
    "eight-experts": ("llama", 16, 8, 2, 8, 256, 256, experts(8, 256, 256, 64, 64)),
    "four-experts": ("llama", 12, 8, 2, 4, 256, 256, experts(4, 256, 256, 64, 64)),
    "70b": ("llama", 80, 8, 1, 0, 256, 256, dense(256, 256, 32, 64, True)),
    "65b": ("llama", 80, 8, 8, 0, 256, 256, dense(256, 256, 256, 64, True)),
    "qwen2-80": ("qwen2", 80, 8, 8, 0, 256, 256, dense(256, 256, 256, 64, True)),
    "two-downs": ("llama", 16, 8, 2, 0, 256, 256,
                  dense(256, 256, 64, 64, True) | {"blk.*.ffn_down_2.weight": (256, 256)}),
    "falcon": ("falcon", 32, 4, 1, 0, 256, 1024, falcon(256, 64)),
}
RUNS = [(m, "") for m in MODELS] + [
    ("untied", "--pure"), ("smollm", "--pure"), ("untied", "--leave-output-tensor"),
    ("untied", "--output-tensor-type q5_K"), ("tied", "--output-tensor-type q5_K"),
    ("untied", "--token-embedding-type q4_1"), ("tied", "--token-embedding-type q4_1"),
]


def write(path, model):
    arch, layers, heads, kv_heads, n_experts, width, inner, tensors = model
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(layers)
    w.add_context_length(64)
    w.add_embedding_length(width)
    w.add_feed_forward_length(inner)
    w.add_head_count(heads)
    w.add_head_count_kv(kv_heads)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_layer_norm_eps(1e-5)
    w.add_rope_dimension_count(width // heads)
    w.add_vocab_size(64)
    if n_experts:
        w.add_expert_count(n_experts)
        w.add_expert_used_count(2)
    for name, shape in tensors.items():
        for i in range(layers if "*" in name else 1):
            w.add_tensor(name.replace("*", str(i)), numpy.zeros(shape, numpy.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def decisions(tool, path, options, mix):
    out = subprocess.run([tool, "--dry-run", *options.split(), path, mix], capture_output=True,
                         text=True, check=True)
    types = {}
    for line in (out.stdout + out.stderr).splitlines():
        m = re.search(r"\] +(\S+) +- \[.*type = +(\w+),.*?(?:\((\w+)\))?$", line)
        if m:
            types[m[1]] = CODES[m[3] or m[2]]
    return types


def main():
    tool = sys.argv[1]
    print("# llama-quantize's decisions, printed by make.py beside this file (llama.cpp as in")
    print("# llama-cpp-python 0.3.36).  types: model | options | mix | tensor=a letter for each layer,")
    print("# or one for all (" + ", ".join(f"{c} {t}" for t, c in CODES.items()) + "); tensors that")
    print("# stay f32 in every layer are left out.  model: name, architecture, layers, heads, key")
    print("# heads, experts; then its tensors, outermost dimension first.")
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            print(f"model {name} {' '.join(map(str, model[:5]))}")
            for tensor, shape in model[7].items():
                print(f"tensor {tensor} {'x'.join(map(str, shape))}")
            write(os.path.join(folder, name), model)
        for name, options in RUNS:
            for mix in MIXES:
                types = decisions(tool, os.path.join(folder, name), options, mix)
                parts = []
                for tensor in MODELS[name][7]:
                    layers = range(MODELS[name][1] if "*" in tensor else 1)
                    codes = "".join(types[tensor.replace("*", str(i))] for i in layers)
                    if codes.strip("f"):
                        parts.append(f"{tensor}={codes if codes.strip(codes[0]) else codes[0]}")
                print(f"types | {name} | {options} | {mix} | {' '.join(parts)}")


main()
