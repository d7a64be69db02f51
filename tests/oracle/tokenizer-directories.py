#!/usr/bin/env python3
"""Tokenizers out of GGUF's keys: the directory that `quern convert x.gguf DIR/` writes
against the one that the file came from.

    tests/oracle/tokenizer-directories.py QUERN [--texts N] [--keep DIR] DIRECTORY...

Each DIRECTORY has a tokenizer (tokenizer.json, perhaps tokenizer.model and
tokenizer_config.json).  A tiny Llama of its vocabulary is converted to GGUF, that to a
directory, that to GGUF again.  Random texts then get ids from
    the tokenizers library with the original tokenizer.json (where there is one),
    the tokenizers library with the written one,
    transformers' AutoTokenizer of the written directory,
    quern with the GGUF file, and with the written directory,
and all must be the same; both GGUF files must be the same bytes.  With several config
types (a colon behind DIRECTORY: d:gemma4_text) the model says that it is of such a one.
Prints a line for each; status 1 when one differs.  Needs transformers; not part of the
build."""
import argparse
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer
from transformers import AutoTokenizer

WORDS = """the of and to in a is that for it was on as with be by at this from or an which you one
had not but are we can if no out so said what up its about into than them only some could time these
two may then do first any my now such like our over man me even most made after also did many before
must through years where much your way well down should because each just those people mr how too
little state good very make world still own see men work long get here between both life being under
never day same another know while last might us great old year off come since against go came right
used take three""".split()
ODD = ["  ", "   ", "\n", "\n\n", "\t", " \n ", "é", "e\u0301", "naïve", "ﬁ", "①", "你好", "世界", "日本語",
       "привет", "مرحبا", "हिन्दी", "🙂", "👩‍🚀", "\u200b", "\u00a0", "▁", "▁a", "’", "“x”", "don't", "I'LL",
       "x=1;", "0123456789", "3.14159", "1,000,000", "<b>", "</b>", "<|x|>", "[INST]", "a_b", "CamelCase",
       "HTTPServer", "ÀÉÎ", "ß", "ŒUVRE", "ǅ", "\U0001d400", "\u0300", "<0x41>", "#include", "::", "->",
       "\r\n", "...", "!!!", "?!", "—", "$", "€5", "%", "\\n", "`x`"]


def random_text(r, added):
    parts = []
    for _ in range(r.randint(1, 12)):
        kind = r.random()
        if kind < 0.45:
            parts.append(r.choice(["", " "]) + r.choice(WORDS))
        elif kind < 0.75:
            parts.append(r.choice(ODD))
        elif kind < 0.8 and added:
            parts.append(r.choice(added))
        elif kind < 0.9:
            parts.append("".join(chr(r.randint(32, 126)) for _ in range(r.randint(1, 8))))
        else:
            parts.append("".join(chr(r.choice([r.randint(0xa0, 0x17f), r.randint(0x370, 0x52f),
                                               r.randint(0x4e00, 0x4fff), r.randint(0x1f300, 0x1f5ff)]))
                                 for _ in range(r.randint(1, 4))))
    return "".join(parts)


def checkpoint(directory, source, model_type):
    """A Llama with one layer and the tokenizer of source."""
    for name in os.listdir(source):
        if name.startswith(("tokenizer", "special_tokens", "added_tokens", "chat_template", "generation_config")):
            if name.endswith(".xz"):
                with open(os.path.join(directory, name[:-3]), "wb") as f:
                    f.write(subprocess.run(["xz", "-dc", os.path.join(source, name)], check=True,
                                           stdout=subprocess.PIPE).stdout)
            else:
                shutil.copy(os.path.join(source, name), directory)
    n = 0
    path = os.path.join(directory, "tokenizer.json")
    if os.path.exists(path):
        n = max(Tokenizer.from_file(path).get_vocab(True).values()) + 1
    path = os.path.join(directory, "tokenizer.model")
    if os.path.exists(path):
        import sentencepiece
        n = max(n, sentencepiece.SentencePieceProcessor(model_file=path).vocab_size())
    width, inner = 8, 16
    shapes = {"model.embed_tokens.weight": (n, width), "model.norm.weight": (width,)}
    at = "model.layers.0."
    for norm in ("input_layernorm", "post_attention_layernorm"):
        shapes[f"{at}{norm}.weight"] = (width,)
    for m, shape in dict(q=(width, width), k=(width, width), v=(width, width), o=(width, width)).items():
        shapes[f"{at}self_attn.{m}_proj.weight"] = shape
    for m, shape in dict(gate=(inner, width), up=(inner, width), down=(width, inner)).items():
        shapes[f"{at}mlp.{m}_proj.weight"] = shape
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(shapes):
        elements = 1
        for d in shapes[name]:
            elements *= d
        header[name] = dict(dtype="F32", shape=shapes[name], data_offsets=[end, end + 4 * elements])
        end += 4 * elements
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + end)
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(dict(architectures=["LlamaForCausalLM"], model_type=model_type, hidden_size=width,
                       intermediate_size=inner, num_hidden_layers=1, num_attention_heads=1,
                       num_key_value_heads=1, vocab_size=n, tie_word_embeddings=True,
                       rms_norm_eps=1e-5, max_position_embeddings=64), f)


def quern_ids(quern, model, text, work):
    path = os.path.join(work, "text")
    with open(path, "w", encoding="utf-8", newline="") as f:
        f.write(text)
    return json.loads(subprocess.run([quern, "tokenize", model, "--ids", "--parse-special", "-f", path],
                                     check=True, stdout=subprocess.PIPE).stdout)


def first_difference(a, b):
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return f"at {i}: {a[max(0, i - 3):i + 4]} and {b[max(0, i - 3):i + 4]}"
    return f"lengths {len(a)} and {len(b)}"


def check(quern, source, model_type, texts, work):
    made, back = os.path.join(work, "made"), os.path.join(work, "back")
    for folder in (made, back):
        os.makedirs(folder)
    checkpoint(made, source, model_type)
    first, second = os.path.join(work, "first.gguf"), os.path.join(work, "second.gguf")

    def convert(a, b):
        done = subprocess.run([quern, "convert", "-q", "--force", "--outtype", "f32", a, b],
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(done.stderr.decode().strip())

    convert(made, first)
    convert(first, back)
    subprocess.run([quern, "convert", "-q", "--force", "--outtype", "f32", "--model-name", "Made", back, second],
                   check=True, stdout=subprocess.DEVNULL)
    wrong = []
    path = os.path.join(made, "tokenizer.json")
    original = Tokenizer.from_file(path) if os.path.exists(path) else None
    written = Tokenizer.from_file(os.path.join(back, "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(back)
    added = [t["content"] for t in json.load(open(os.path.join(back, "tokenizer.json")))["added_tokens"]]
    r = random.Random(20260824)
    counts, many = {}, []
    for _ in range(texts):
        text = random_text(r, added)
        many.append(text)
        ids = written.encode(text).ids
        for name, other in (("tokenizers, original", original and original.encode(text).ids),
                            ("transformers", auto(text)["input_ids"])):
            if other is not None and other != ids:
                counts.setdefault(name, []).append((text, ids, other))
    # quern is one process a text: fewer, longer ones
    size = max(1, texts // 12)
    for i in range(0, texts, size):
        text = "".join(many[i:i + size])
        ids = written.encode(text).ids
        for name, model in (("quern, GGUF", first), ("quern, directory", back)):
            other = quern_ids(quern, model, text, work)
            if other != ids:
                counts.setdefault(name, []).append((None, ids, other))
    for name, cases in counts.items():
        text, ids, other = cases[0]
        wrong.append(f"{name}: {len(cases)} texts differ; {text!r}: {first_difference(ids, other)}")
    if open(first, "rb").read() != open(second, "rb").read():
        def keys(path):
            return subprocess.run([quern, "inspect", "-a", path], stdout=subprocess.PIPE).stdout.decode(errors="replace").split("\n")
        a, b = keys(first), keys(second)
        different = [(x[:300], y[:300]) for x, y in zip(a, b) if x != y][1:4]
        wrong.append(f"GGUF bytes differ: {different}")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern")
    parser.add_argument("--texts", type=int, default=3000)
    parser.add_argument("--keep")
    parser.add_argument("directories", nargs="+")
    a = parser.parse_args()
    bad = False
    for directory in a.directories:
        directory, _, model_type = directory.partition(":")
        with tempfile.TemporaryDirectory() as temporary:
            work = os.path.join(a.keep, re.sub(r"\W", "-", directory)) if a.keep else temporary
            os.makedirs(work, exist_ok=True)
            try:
                wrong = check(a.quern, directory, model_type or "llama", a.texts, work)
            except RuntimeError as e:
                wrong = [str(e)]
        bad |= bool(wrong)
        print(directory, model_type, "differs:" if wrong else f"the same, {a.texts} texts", flush=True)
        for line in wrong:
            print("   ", line, flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
