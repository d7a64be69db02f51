#!/usr/bin/env python3
"""What fine-tuning does to a golden checkpoint's small files, and the tokenizer
keys that the reference converter makes of the result.

    PYTHONPATH=llama.cpp:llama.cpp/gguf-py tests/oracle/finetune-goldens.py > tests/data/finetunes/expected.json

Each case is a golden checkpoint with files removed, written or changed, and the
keys whose values differ from the golden checkpoint's own; of a list the part
behind what both have in common.  A null for a key that went.  Needs
transformers; not part of the build."""
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import gguf
from conversion import get_model_class
from conversion.base import TextModel

GOLDEN = "tests/data/models/golden"
PRE = {"llama": "llama-bpe", "qwen2": "qwen2", "smollm2": "smollm"}


def added(i, content, special=False, normalized=False, **more):
    return dict(dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False,
                     normalized=normalized, special=special), **more)


def decoder(base, *tokens):
    with open(f"{GOLDEN}/{base}/tokenizer_config.json") as f:
        old = json.load(f).get("added_tokens_decoder", {})
    return dict(old, **{str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in tokens})


def size(n, **more):
    return {"config.json": dict(vocab_size=n, **more)}


def case(name, base, remove=(), write=None, set=None, append=None):
    return dict(name=name, base=base, remove=list(remove), write=write or {}, set=set or {},
                append=append or {})


LLAMA = [added(640, "<|tool|>", True), added(641, "<think>"), added(642, "plain words", normalized=True),
         added(643, "<|looks|>"), added(644, "\u2581mark"), added(645, "\u65e5\u672c")]
MISTRAL = [added(640, "<|im_start|>", True), added(641, "<|im_end|>"), added(642, "<tool>"),
           added(643, "\u2581mark\u2581s"), added(644, "[PAD]", True)]
QWEN = [added(640, "<think>"), added(641, "<|far|>", True)]
IN_JSON = {"tokenizer.json": {"added_tokens": MISTRAL}}
NAMES = {t["content"]: t["id"] for t in MISTRAL if t["id"] != 643}
TEMPLATES = [{"name": "default", "template": "{{ a }}"}, {"name": "tool use/2", "template": "{{ b }}"}]
MODEL_ONLY = ["tokenizer.json"]

CASES = [
    case("tokens added", "llama", set=size(646), append={"tokenizer.json": {"added_tokens": LLAMA}}),
    case("tokens added, padded to 8", "llama", set=size(648), append={"tokenizer.json": {"added_tokens": LLAMA}}),
    case("padded", "qwen2", set=size(664)),
    case("tokens added into padding", "qwen2", append={"tokenizer.json": {"added_tokens": QWEN}},
         set={"tokenizer_config.json": dict(added_tokens_decoder=decoder("qwen2", *QWEN))}),
    case("ends of turns", "llama", set={
        "config.json": dict(eos_token_id=[632, 637, 638]), "generation_config.json": dict(eos_token_id=[632, 637, 638]),
        "tokenizer_config.json": dict(eos_token="<|eot_id|>", pad_token="<|python_tag|>")}),
    case("bos and eos asked for", "qwen2", set={"tokenizer_config.json": dict(
        add_bos_token=True, add_eos_token=True, bos_token="<|im_start|>", sep_token="<|im_end|>")}),
    case("special_tokens_map.json of another mind", "llama",
         write={"special_tokens_map.json": json.dumps({"eos_token": "<|eom_id|>", "unk_token": "<|eot_id|>"})}),
    case("no special_tokens_map.json, no generation_config.json", "llama",
         remove=["special_tokens_map.json", "generation_config.json"]),
    case("ids in config.json only", "llama", set={
        "tokenizer_config.json": dict(bos_token=None, eos_token=None, pad_token=None),
        "config.json": dict(bos_token_id=631, eos_token_id=638, pad_token_id=633, unk_token_id=639)}),
    case("a template of its own", "llama", set={"tokenizer_config.json": dict(chat_template="{{ own }}")}),
    case("a template file", "llama", set={}, write={"chat_template.jinja": "{{ file }}\r\nline\n"}),
    case("a template in both", "llama", set={"tokenizer_config.json": dict(chat_template="{{ own }}")},
         write={"chat_template.jinja": "{{ file }}"}),
    case("a template that is null beside a file", "llama", set={"tokenizer_config.json": dict(chat_template=None)},
         write={"chat_template.jinja": "{{ file }}"}),
    case("a template that is no text", "llama", set={"tokenizer_config.json": dict(chat_template={"a": 1})}),
    case("an empty template", "llama", set={"tokenizer_config.json": dict(chat_template="")}),
    case("named templates", "llama", set={"tokenizer_config.json": dict(chat_template=TEMPLATES)}),
    case("a named template without a default", "llama", set={"tokenizer_config.json": dict(chat_template=TEMPLATES[1:])}),
    case("a name twice", "llama", set={"tokenizer_config.json": dict(chat_template=[
        {"name": "a b", "template": "1"}, {"name": "a_b", "template": "2"}, {"name": "", "template": "3"},
        {"name": "default", "template": "4"}, {"name": "default", "template": "5"}])}),
    case("additional templates", "llama", write={
        "chat_template.jinja": "{{ file }}", "additional_chat_templates/rag-1.jinja": "{{ rag }}"}),
    case("additional templates alone", "llama", write={"additional_chat_templates/rag.jinja": "{{ rag }}"}),
    case("chat_template.json", "llama", write={"chat_template.json": json.dumps(dict(chat_template="{{ json }}"))}),
    case("chat_template.json beside a file", "llama", write={
        "chat_template.json": json.dumps(dict(chat_template="{{ json }}")), "chat_template.jinja": "{{ file }}"}),
    case("no tokenizer_config.json", "llama", remove=["tokenizer_config.json"], write={"chat_template.jinja": "{{ file }}"}),
    case("sentence-transformers", "llama", write={
        "modules.json": "[]", "sentence_bert_config.json": "{}", "config_sentence_transformers.json": "{}",
        "1_Pooling/config.json": "{}"}),
    case("tokenizer.model alone", "mistral", MODEL_ONLY),
    case("tokenizer.model alone, padded", "mistral", MODEL_ONLY, set=size(644)),
    case("tokenizer.model and added_tokens.json", "mistral", MODEL_ONLY, {"added_tokens.json": json.dumps(NAMES)}, size(645)),
    case("tokenizer.model and added_tokens_decoder", "mistral", MODEL_ONLY,
         set=dict(size(645), **{"tokenizer_config.json": dict(added_tokens_decoder=decoder("mistral", *MISTRAL))})),
    case("all of them, padded", "mistral", write={"added_tokens.json": json.dumps(NAMES)}, append=IN_JSON, set=dict(
        size(648), **{"tokenizer_config.json": dict(added_tokens_decoder=decoder("mistral", *MISTRAL), pad_token="[PAD]",
                                                   eos_token="<|im_end|>")})),
    case("added ids beyond the embedding", "mistral", MODEL_ONLY, {"added_tokens.json": json.dumps(NAMES)}, size(642)),
    case("a piece renamed", "mistral", MODEL_ONLY, set={"tokenizer_config.json": dict(
        added_tokens_decoder=decoder("mistral", added(639, "<|renamed|>", True)))}),
    case("turns of Gemma", "gemma2", set={"config.json": dict(eos_token_id=[1, 8]),
                                          "generation_config.json": dict(eos_token_id=[1, 8])}),
    case("tokens added to Gemma", "gemma2", append={"tokenizer.json": {"added_tokens": [added(640, "<tool>")]}}, set=dict(
        size(641), **{"tokenizer_config.json": dict(added_tokens_decoder=decoder("gemma2", added(640, "<tool>")))})),
]


def build(c, directory):
    shutil.copytree(f"{GOLDEN}/{c['base']}", directory)
    for name in c["remove"]:
        os.remove(directory / name)
    for name, text in c["write"].items():
        (directory / name).parent.mkdir(exist_ok=True)
        with open(directory / name, "w", encoding="utf-8", newline="") as f:
            f.write(text)
    for name in set(c["set"]) | set(c["append"]):
        root = json.loads((directory / name).read_text(encoding="utf-8"))
        root.update(c["set"].get(name, {}))
        for key, more in c["append"].get(name, {}).items():
            root[key] = root.get(key, []) + more
        (directory / name).write_text(json.dumps(root, ensure_ascii=False), encoding="utf-8")


def keys(directory, base):
    """The tokenizer keys in order, as [type, value]."""
    if base in PRE:
        TextModel.get_vocab_base_pre = lambda self, tokenizer: PRE[base]
    config = json.loads((directory / "config.json").read_text())
    out = directory.parent / "out.gguf"
    get_model_class(config["architectures"][0])(directory, gguf.LlamaFileType.ALL_F32, out).write_vocab()
    found = {}
    reader = gguf.GGUFReader(out)
    for key, field in reader.fields.items():
        if key.startswith("tokenizer."):
            found[key] = [".".join(t.name for t in field.types), field.contents()]
    return found


def difference(before, after):
    out = {}
    for key in list(after) + [k for k in before if k not in after]:
        if key not in after:
            out[key] = None
        elif isinstance(after[key][1], list):
            a, b = before.get(key, [None, []])[1], after[key][1]
            same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            if a != b:
                out[key] = dict(type=after[key][0], same=same, rest=b[same:])
        elif before.get(key) != after[key]:
            out[key] = dict(type=after[key][0], value=after[key][1])
    return out


def main():
    logging.disable(logging.WARNING)
    before = {}
    with tempfile.TemporaryDirectory() as scratch:
        for i, c in enumerate(CASES):
            base = c["base"]
            if base not in before:
                build(case("", base), Path(scratch) / base)
                before[base] = keys(Path(scratch) / base, base)
            directory = Path(scratch) / str(i)
            build(c, directory)
            try:
                after = keys(directory, base)
            except Exception as e:
                print(f"{c['name']}: {type(e).__name__}: {e}", file=sys.stderr)
                continue
            c["order"] = list(after) if list(after) != list(before[base]) else None
            c["keys"] = difference(before[base], after)
    json.dump(CASES, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
