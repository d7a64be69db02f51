#!/usr/bin/env python3
"""Asks llama-quantize which type it gives each tensor, and prints types.txt.

    make.py LLAMA_QUANTIZE > types.txt        (needs the gguf package)

The models are shapes only: a GGUF header in the names and metadata of their
architecture, with a hole for data.  llama-quantize --dry-run prints its decisions.
"""
import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy

PLAIN = "F32 F16 BF16".split()
BLOCKS = ("Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M "
          "Q6_K IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_NL IQ4_XS "
          "TQ1_0 TQ2_0 Q1_0 Q2_0 MXFP4_MOE").split()
# whose rules ask for an importance matrix
ASKING = "Q4_0 Q5_0 IQ3_XXS IQ4_NL IQ4_XS".split()
CODES = {"f32": "f", "f16": "h", "bf16": "b", "q8_0": "8", "q4_0": "0", "q4_1": "1", "q5_0": "2",
         "q5_1": "3", "q2_K": "k", "q3_K": "l", "q4_K": "4", "q5_K": "5", "q6_K": "6",
         "iq1_s": "A", "iq1_m": "B", "iq2_xxs": "C", "iq2_xs": "D", "iq2_s": "E", "iq3_xxs": "F",
         "iq3_s": "G", "iq4_nl": "H", "iq4_xs": "I", "tq1_0": "T", "tq2_0": "U", "q1_0": "X",
         "q2_0": "Y", "mxfp4": "M", "nvfp4": "N"}


def dense(width, inner, kv, untied):
    t = {"token_embd.weight": (64, width), "output_norm.weight": (width,)}
    if untied:
        t["output.weight"] = (64, width)
    t |= {"blk.*.attn_norm.weight": (width,), "blk.*.ffn_norm.weight": (width,),
          "blk.*.attn_q.weight": (width, width),
          "blk.*.attn_k.weight": (kv, width), "blk.*.attn_v.weight": (kv, width),
          "blk.*.attn_output.weight": (width, width),
          "blk.*.ffn_gate.weight": (inner, width), "blk.*.ffn_up.weight": (inner, width),
          "blk.*.ffn_down.weight": (width, inner)}
    return t


def without(t, *names):
    return {k: v for k, v in t.items() if k not in names}


def experts(n, t, shared=True):
    """The same model with n experts in each layer, and one that all share."""
    t = dict(t)
    for part in "gate", "up", "down":
        name = f"blk.*.ffn_{part}"
        if name + ".weight" not in t:
            continue
        shape = t.pop(name + ".weight")
        t[name + "_exps.weight"] = (n,) + shape
        if shared:
            t[name + "_shexp.weight"] = shape
    t["blk.*.ffn_gate_inp.weight"] = (n, t["blk.*.attn_norm.weight"][0])
    return t


def split_experts(n, t):
    """A tensor for each expert, as Mixtral's first files had them."""
    t = dict(t)
    for part in "gate", "up", "down":
        shape = t.pop(f"blk.*.ffn_{part}.weight")
        t |= {f"blk.*.ffn_{part}.{e}.weight": shape for e in range(n)}
    return t


def fused(width, inner, kv, untied):
    """attn_qkv, and ffn_up holding the gate (phi3)."""
    t = without(dense(width, inner, kv, untied), "blk.*.attn_q.weight", "blk.*.attn_k.weight",
                "blk.*.attn_v.weight", "blk.*.ffn_gate.weight")
    t["blk.*.attn_qkv.weight"] = (width + 2 * kv, width)
    t["blk.*.ffn_up.weight"] = (2 * inner, width)
    return t


def latent(width, inner):
    """DeepSeek's attention."""
    t = without(dense(width, inner, width, True), "blk.*.attn_q.weight", "blk.*.attn_k.weight",
                "blk.*.attn_v.weight")
    return t | {"blk.*.attn_q_a.weight": (128, width), "blk.*.attn_q_a_norm.weight": (128,),
                "blk.*.attn_q_b.weight": (width, 128), "blk.*.attn_kv_a_mqa.weight": (160, width),
                "blk.*.attn_kv_b.weight": (width, 128), "blk.*.attn_k_b.weight": (4, 128, 64),
                "blk.*.attn_v_b.weight": (4, 64, 128)}


def falcon(width, untied):
    t = fused(width, 4 * width, 64, untied)
    t["blk.*.ffn_up.weight"] = (4 * width, width)
    return t


LATENT = {"attention.q_lora_rank": 128, "attention.kv_lora_rank": 128,
          "attention.key_length_mla": 96, "attention.value_length_mla": 64,
          "expert_feed_forward_length": 256, "expert_shared_count": 1,
          "leading_dense_block_count": 1, "expert_weights_scale": 1.0, "expert_gating_func": 2}

# name: architecture, layers, heads, key heads, experts, tensors, further keys
MODELS = {
    "tied": ("llama", 5, 4, 2, 0, dense(256, 768, 128, False)),
    "untied": ("llama", 22, 8, 2, 0, dense(256, 512, 64, True)),
    "one-layer": ("llama", 1, 4, 4, 0, dense(256, 512, 256, True)),
    "smollm": ("llama", 30, 9, 3, 0, dense(576, 1536, 192, False)),
    "odd-rows": ("llama", 3, 4, 2, 0, dense(48, 136, 24, True)),
    "odd-tied": ("llama", 9, 4, 1, 0, dense(192, 320, 48, False)),
    "odd-untied": ("llama", 9, 4, 1, 0, dense(192, 320, 48, True)),
    "eight-experts": ("llama", 16, 8, 2, 8, experts(8, dense(256, 256, 64, True))),
    "four-experts": ("llama", 12, 8, 4, 4, experts(4, dense(256, 256, 128, True), False)),
    "mixtral": ("llama", 9, 4, 2, 8, split_experts(2, dense(256, 256, 128, True))),
    "70b": ("llama", 80, 8, 1, 0, dense(256, 256, 32, True)),
    "70b-mha": ("llama", 80, 8, 8, 0, dense(256, 256, 256, True)),
    "72b": ("qwen2", 80, 8, 8, 0, dense(256, 256, 256, True)),
    "jais2": ("jais2", 68, 8, 8, 0, dense(256, 256, 256, False)),
    "two-downs": ("llama", 16, 8, 2, 0,
                  dense(256, 256, 64, True) | {"blk.*.ffn_down_2.weight": (256, 256)}),
    "gemma2": ("gemma2", 26, 8, 4, 0, dense(256, 1024, 128, False)),
    "gemma3n": ("gemma3n", 10, 8, 2, 0,
                dense(256, 512, 64, False) | {"per_layer_token_embd.weight": (64, 2560),
                                              "per_layer_model_proj.weight": (2560, 256),
                                              "blk.*.altup_router.weight": (256, 256)}),
    "phi3": ("phi3", 24, 8, 8, 0, fused(256, 512, 256, True)),
    "qwen2moe": ("qwen2moe", 24, 4, 4, 60, experts(60, dense(256, 256, 256, True))),
    "qwen3moe": ("qwen3moe", 13, 8, 1, 128, experts(128, dense(256, 256, 32, False), False)),
    "deepseek2": ("deepseek2", 14, 4, 4, 64, experts(64, latent(256, 256)), LATENT),
    "glm5-next": ("glm5-next", 9, 4, 4, 16,
                  experts(16, latent(256, 256)) | {"blk.*.nextn.eh_proj.weight": (256, 512),
                                                   "blk.*.indexer.attn_k.weight": (64, 256),
                                                   "blk.*.hc_attn.weight": (64, 256),
                                                   "blk.*.ssm_beta.weight": (64, 256)},
                  LATENT | {"ssm.conv_kernel": 4, "kda.head_dim": 64,
                            "attention.indexer.head_count": 4, "attention.indexer.key_length": 64,
                            "attention.indexer.top_k": 16, "attention.indexer.kpool": 4,
                            "attention.indexer.kpool_select_tail": True,
                            "hyper_connection.count": 4,
                            "hyper_connection.sinkhorn_iterations": 2,
                            "hyper_connection.epsilon": 1e-5}),
    "bailingmoe3": ("bailingmoe3", 9, 4, 4, 8, experts(8, latent(256, 256)),
                    LATENT | {"ssm.conv_kernel": 4, "kda.head_dim": 64, "kda.safe_gate": True,
                              "kda.gate_lower_bound": -5.0}),
    "falcon": ("falcon", 32, 4, 1, 0, falcon(256, True)),
    "falcon-tied": ("falcon", 20, 4, 1, 0, falcon(288, False)),
}


def all_runs():
    """(model, options, mixes)"""
    for m in MODELS:
        yield m, "", BLOCKS
        if m in ("untied", "eight-experts", "70b", "falcon", "qwen3moe", "mixtral", "odd-untied"):
            yield m, "--imatrix", ASKING
    yield "tied", "", PLAIN
    yield "one-layer", "--imatrix", [m for m in BLOCKS if m not in ASKING]
    some = "Q8_0 Q4_0 Q4_K_M Q3_K_M IQ2_S MXFP4_MOE TQ1_0".split()
    for options in ("--pure", "--leave-output-tensor", "--output-tensor-type q5_K",
                    "--token-embedding-type q4_1",
                    "--tensor-type attn_v=q8_0 --tensor-type ffn_down=iq4_nl",
                    "--tensor-type blk\\.[0-3]\\..*=q6_K --tensor-type attn_q=mxfp4"):
        for m in "untied", "smollm", "qwen3moe":
            yield m, options, some + PLAIN[1:2]
    yield "gemma3n", "--token-embedding-type q4_0", some
    yield "gemma3n", "--token-embedding-type q4_0 --tensor-type per_layer=q5_0", some


def align(n):
    return -n % gguf.GGUF_DEFAULT_ALIGNMENT


def write(path, model):
    """The header of a float32 file, and a hole as large as its data."""
    arch, layers, heads, kv_heads, n_experts, tensors = model[:6]
    w = gguf.GGUFWriter(path, arch)
    vocab, width = tensors["token_embd.weight"]
    down = [shape for name, shape in tensors.items() if "ffn_down" in name][0]
    keys = {"block_count": layers, "context_length": 64, "embedding_length": width,
            "feed_forward_length": down[-1], "attention.head_count": heads,
            "attention.head_count_kv": kv_heads, "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": width // heads,
            "vocab_size": vocab, "attention.sliding_window": 64}
    if n_experts:
        keys |= {"expert_count": n_experts, "expert_used_count": 2}
    for key, value in (keys | (model[6] if len(model) > 6 else {})).items():
        add = {int: w.add_uint32, float: w.add_float32, bool: w.add_bool}[type(value)]
        add(f"{arch}.{key}", value)
    size = 0
    for name, shape in tensors.items():
        n = 4 * int(numpy.prod(shape))
        for i in range(layers if "*" in name else 1):
            w.add_tensor_info(name.replace("*", str(i)), shape, numpy.dtype(numpy.float32), n)
            size += n + align(n)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    w.close()
    header = os.path.getsize(path)
    os.truncate(path, header + align(header) + size)


def write_imatrix(path):
    """An importance matrix of some other tensor: that there is one is all that counts."""
    w = gguf.GGUFWriter(path, "")
    w.kv_data[0].pop("general.architecture", None)
    w.add_type("imatrix")
    w.add_array("imatrix.datasets", ["none"])
    w.add_uint32("imatrix.chunk_count", 1)
    w.add_uint32("imatrix.chunk_size", 512)
    w.add_tensor("other.weight.in_sum2", numpy.ones((1, 32), numpy.float32))
    w.add_tensor("other.weight.counts", numpy.ones((1, 1), numpy.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def decisions(tool, path, options, mix):
    """{tensor: type}, or None where llama-quantize knows no type that fits."""
    out = subprocess.run([tool, "--dry-run", *options, path, mix], capture_output=True,
                         text=True)
    said = out.stdout + out.stderr
    if out.returncode:
        if "no tensor type fallback" in said:
            return None
        sys.exit(f"{path} {options} {mix}: {said[-1000:]}")
    types = {}
    for line in said.splitlines():
        m = re.search(r"\] +(\S+) +- \[.*type = +(\w+),.*?(?:\((\w+)\))?$", line)
        if m:
            types[m[1]] = m[3] or m[2]
    return types


def main():
    tool = sys.argv[1]
    print("# llama-quantize's decisions, printed by make.py beside this file (llama.cpp as in")
    print("# llama-cpp-python 0.3.36).  types: model | options | mix | tensor=a letter for each layer,")
    print("# or one for all; tensors that stay f32 in every layer are left out.  --imatrix: an")
    print("# importance matrix was given.  model: name, architecture, layers, heads, key heads, experts;")
    print("# then its tensors, outermost dimension first.  Mixes that llama-quantize refuses for a")
    print("# model, having no type for its rows, are left out.  The letters:")
    for t, c in CODES.items():
        print(f"letter {c} {t}")
    with tempfile.TemporaryDirectory() as folder:
        imatrix = os.path.join(folder, "imatrix")
        write_imatrix(imatrix)
        for name, model in MODELS.items():
            print(f"model {name} {' '.join(map(str, model[:5]))}")
            for tensor, shape in model[5].items():
                print(f"tensor {tensor} {'x'.join(map(str, shape))}")
            write(os.path.join(folder, name), model)
        for name, options, mixes in all_runs():
            for mix in mixes:
                types = decisions(tool, os.path.join(folder, name),
                                  options.replace("--imatrix", f"--imatrix {imatrix}").split(),
                                  mix)
                if types is None:
                    continue
                parts = []
                for tensor in MODELS[name][5]:
                    layers = range(MODELS[name][1] if "*" in tensor else 1)
                    codes = "".join(CODES[types[tensor.replace("*", str(i))]] for i in layers)
                    if codes.strip("f"):
                        parts.append(f"{tensor}={codes if codes.strip(codes[0]) else codes[0]}")
                print(f"types | {name} | {options} | {mix} | {' '.join(parts)}")


if __name__ == "__main__":
    main()
