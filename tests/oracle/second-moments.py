#!/usr/bin/env python3
"""Second moments of a llama checkpoint beside transformers' in float64.

  second-moments.py QUERN CHECKPOINT TEXT [N_CTX]

Hooks take what q_proj, o_proj, gate_proj and down_proj are given, window by
window as quern calibrate cuts them, and sum X^T X in double; the file that
QUERN calibrate --second-moments full writes must hold the same.  Prints the
largest |difference| / sqrt(S[i][i] S[j][j]) and fails above 1e-5: float32 of
the forward pass and of the sums together.

Needs torch, transformers, gguf, numpy.
"""
import json
import subprocess
import sys
import tempfile

import numpy as np
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.down_proj": "ffn_down"}


def calibrated(quern, checkpoint, text, n_ctx, out):
    subprocess.run([quern, "calibrate", checkpoint, text, "-c", str(n_ctx), "--second-moments",
                    "full", "-o", out, "--quiet", "--no-ppl"], check=True)
    return {t.name: t.data for t in GGUFReader(out).tensors}


def token_ids(quern, checkpoint, text):
    said = subprocess.run([quern, "tokenize", checkpoint, "-f", text, "--json"], check=True,
                          capture_output=True, text=True).stdout
    return [t["id"] if isinstance(t, dict) else t for t in json.loads(said)["ids"]]


def hooked(checkpoint, ids, n_ctx):
    sums = {}

    def add_to(name):
        def hook(_, args):
            x = args[0].reshape(-1, args[0].shape[-1])
            sums[name] = sums.get(name, 0) + x.T @ x
        return hook

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64).eval()
    for i, layer in enumerate(model.model.layers):
        for module, role in NAMES.items():
            layer.get_submodule(module).register_forward_pre_hook(add_to(f"blk.{i}.{role}.weight"))
    with torch.no_grad():
        for at in range(0, len(ids) - n_ctx + 1, n_ctx):
            window = [model.config.bos_token_id] + ids[at + 1:at + n_ctx]
            model(torch.tensor([window]))
    return {name: s.numpy() for name, s in sums.items()}


def main():
    quern, checkpoint, text = sys.argv[1:4]
    n_ctx = int(sys.argv[4]) if len(sys.argv) > 4 else 128
    with tempfile.TemporaryDirectory() as folder:
        ours = calibrated(quern, checkpoint, text, n_ctx, folder + "/moments.gguf")
        want = hooked(checkpoint, token_ids(quern, checkpoint, text), n_ctx)
        worst = 0.0
        for name, s in want.items():
            i, j = np.triu_indices(len(s))
            size = np.sqrt(np.diag(s))
            got = ours[name + ".moments"].reshape(-1).astype(np.float64)
            worst = max(worst, np.max(np.abs(got - s[i, j]) / (size[i] * size[j])))
    print(f"{len(want)} inputs, largest difference {worst:.3g}")
    sys.exit(1 if worst > 1e-5 else 0)


main()
