#!/usr/bin/env python3
"""Checkpoints that `quern convert x.gguf DIR/` makes, in transformers.

    tests/oracle/directories.py QUERN CHECKPOINT...

Each checkpoint is converted to GGUF (float32), that to a directory, that to GGUF
again.  transformers loads the directory as it is: its logits in float32 on some ids
must be those of the original's, to the last bit where the weights are the same, and
its tokenizer must give the original's ids on some texts.  The two GGUF files must be
equal, or, of a checkpoint in shards, whose tensors stand in another order, equal tensor
by tensor.  Prints a line for each; status 1 when one differs.  Needs torch and
transformers; not part of the build."""
import json
import os
import subprocess
import sys
import tempfile

import torch
import transformers

TEXTS = ["Once upon a time, there was a café.", "  two spaces\n\nand 12345 lines", "naïve 世界 🙂 don't"]


def convert(quern, *args):
    done = subprocess.run([quern, "convert", "-q", "--force", "--outtype", "f32", *args],
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(done.stderr.decode().strip())


def model_of(path):
    config = transformers.AutoConfig.from_pretrained(path)
    auto = transformers.AutoModelForCausalLM
    if "ConditionalGeneration" in config.architectures[0]:
        auto = transformers.AutoModelForImageTextToText
    model, info = auto.from_pretrained(path, dtype=torch.float32, output_loading_info=True,
                                       attn_implementation="eager")
    return model.eval(), {k: v for k, v in info.items() if v and k != "error_msgs"}


def tensors(quern, path):
    out = subprocess.run([quern, "inspect", "--json", "--hash", path], stdout=subprocess.PIPE, check=True).stdout
    return sorted((t["name"], t["sha256"]) for t in json.loads(out)["tensors"])


def check(quern, source, work):
    name = os.path.basename(os.path.normpath(source))
    first, second = os.path.join(work, "first.gguf"), os.path.join(work, "second.gguf")
    back = os.path.join(work, name)
    os.makedirs(back)
    convert(quern, source, first)
    convert(quern, first, back)
    convert(quern, back, second)
    wrong = []
    if open(first, "rb").read() != open(second, "rb").read():
        same = tensors(quern, first) == tensors(quern, second)
        sharded = any(f.endswith(".index.json") for f in os.listdir(source))
        if not (same and sharded):
            wrong.append("GGUF bytes differ" + (", in order only" if same else ""))
    a, _ = model_of(source)
    b, missing = model_of(back)
    if missing:
        wrong.append(f"loading: {missing}")
    ids = torch.randint(0, a.get_input_embeddings().num_embeddings // 2, (1, 40),
                        generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x, y = a(input_ids=ids).logits, b(input_ids=ids).logits
    difference = (x - y).abs().max().item()
    if difference:
        wrong.append(f"logits differ by {difference:.3g}, spread {x.std().item():.3g}")
    try:
        t = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(source, "tokenizer.json"))
        u = transformers.AutoTokenizer.from_pretrained(back)
        for text in TEXTS:
            p, q = t(text, add_special_tokens=False)["input_ids"], u(text, add_special_tokens=False)["input_ids"]
            if p != q:
                wrong.append(f"ids of {text!r}: {p} and {q}")
    except Exception as e:
        wrong.append(f"tokenizer: {e}")
    return wrong


def main():
    quern, *sources = sys.argv[1:]
    bad = False
    for source in sources:
        with tempfile.TemporaryDirectory() as work:
            try:
                wrong = check(quern, source, work)
            except Exception as e:
                wrong = [f"{type(e).__name__}: {e}"]
        bad |= bool(wrong)
        print(os.path.basename(os.path.normpath(source)), "differs:" if wrong else "the same", flush=True)
        for line in wrong:
            print("   ", line[:600], flush=True)
    return bad


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    sys.exit(main())
