#!/usr/bin/env python3
"""Compares the types that quern and llama-quantize give the tensors of random models.

    policies.py QUERN LLAMA_QUANTIZE [MODELS [SEED]]        (needs the gguf package)

Shapes, layers, heads, experts, architecture, options and whether there is an
importance matrix are drawn; each model goes through every mix, with --dry-run.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "policy"))
import make  # noqa: E402

TYPES = "q8_0 q4_0 q5_1 q2_K q6_K iq4_nl iq4_xs iq3_s tq2_0 mxfp4 f16 bf16 iq2_xs".split()
PATTERNS = ["attn_v", "ffn_down", "attn", r"blk\.[0-9]\.", r"blk\.\d*[02468]\.ffn", "embd", "output",
            "exps", r"ffn_(up|gate)", "weight", r"^token"]
FAMILIES = ["llama", "llama", "llama", "qwen2", "qwen2moe", "phi3", "falcon", "deepseek2",
            "jais2", "olmo", "qwen3moe"]


def random_model(r):
    arch = r.choice(FAMILIES)
    kv = r.choice([1, 1, 2, 4, 8])
    heads = kv * r.choice([1, 2, 3, 4, 8])
    head = r.choice([8, 32, 32, 40, 64, 64])
    width, inner = heads * head, r.choice([128, 192, 256, 320, 1024, 40 * 8])
    layers = r.choice([1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 26, 32, 33, 48, 61, 68, 80, r.randint(1, 90)])
    untied = r.random() < .5
    n = r.choice([0, 0, 0, 2, 3, 4, 8, 8, 16, 60]) if arch in ("llama", "qwen2moe", "deepseek2",
                                                             "qwen3moe", "falcon") else 0
    if arch == "deepseek2":
        tensors = make.latent(width, inner)
    elif arch == "phi3":
        tensors = make.fused(width, inner, kv * head, untied)
    elif arch == "falcon":
        tensors = make.falcon(width, untied)
    else:
        tensors = make.dense(width, inner, kv * head, untied)
    if n:
        split = r.random() < .2 and "blk.*.ffn_gate.weight" in tensors
        tensors = make.split_experts(n, tensors) if split else make.experts(n, tensors)
    if r.random() < .2:
        tensors["blk.*.ffn_down_2.weight"] = (width, inner)
    return (arch, layers, heads, kv, n, tensors, make.LATENT if arch == "deepseek2" else {})


def random_options(r, imatrix):
    o = []
    if r.random() < .3:
        o += ["--imatrix", imatrix]
    if r.random() < .1:
        o += ["--pure"]
    if r.random() < .15:
        o += ["--leave-output-tensor"]
    if r.random() < .15:
        o += ["--output-tensor-type", r.choice(["f16", "bf16", "f32"])]
    if r.random() < .15:
        o += ["--token-embedding-type", r.choice(["f16", "bf16"])]
    for _ in range(r.choice([0, 0, 1, 2])):
        o += ["--tensor-type", f"{r.choice(PATTERNS)}={r.choice(TYPES)}"]
    return o


def ours(tool, path, options, mix):
    """{tensor: type}, or why not"""
    run = subprocess.run([tool, "quantize", "--dry-run", "--json", "--quiet", *options, path, mix],
                         capture_output=True, text=True)
    if run.returncode:
        return run.stderr
    return {t["name"]: t["to"].lower() for t in json.loads(run.stdout)["outputs"][0]["tensors"]}


def main():
    quern, tool = sys.argv[1:3]
    models, seed = [int(a) for a in sys.argv[3:5]] + [24, 1][len(sys.argv) - 3:]
    print(f"{models} models, seed {seed}")
    same = different = refused = unread = tensors = 0
    with tempfile.TemporaryDirectory() as folder:
        imatrix, path = os.path.join(folder, "imatrix"), os.path.join(folder, "model.gguf")
        make.write_imatrix(imatrix)
        for i in range(models):
            r = random.Random(seed * 1000 + i)
            model = random_model(r)
            options = random_options(r, imatrix)
            make.write(path, model)
            for mix in make.PLAIN + make.BLOCKS:
                theirs = make.decisions(tool, path, options, mix)
                if theirs is None:
                    refused += 1
                    continue
                theirs = {name: t.lower() for name, t in theirs.items()}
                mine = ours(quern, path, options, mix)
                if isinstance(mine, str):
                    print(f"model {i}: {model[:5]} {' '.join(options)} {mix}: {mine.strip()}")
                    unread += 1
                    break
                tensors += len(theirs)
                if mine == theirs:
                    same += 1
                    continue
                different += 1
                name = next(n for n in theirs if mine.get(n) != theirs[n])
                print(f"model {i}: {model[:5]} {' '.join(options)} {mix}: {name} is {mine.get(name)},"
                      f" llama-quantize says {theirs[name]}")
    print(f"{same} lists the same ({tensors} tensors), {different} different; for {refused} "
          f"llama-quantize has no type that fits; {unread} models quern does not take")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
