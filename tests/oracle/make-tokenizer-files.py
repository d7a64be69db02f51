#!/usr/bin/env python3
"""Makes tests/data/tokenizers/made/files: what transformers (5.24.0) makes of tokenizers
that are no tokenizer.json alone.  Run from the repo's root where it is installed; the
files' rows go to tests/data/MANIFEST.tsv.

vectors.json: "merges": by class, ids of texts out of a vocab.json and merges.txt, which
are the model's of models/golden/tokenizers/smollm; "clean-up": of tokenizer.json here, a
unigram model whose tokenizer_config.json asks for it, ids and what they decode to."""
import json
import os
import random
import tempfile

from tokenizers import Tokenizer
from transformers import AutoTokenizer

OUT = "tests/data/tokenizers/made/files"
SOURCE = "tests/data/models/golden/tokenizers/smollm/tokenizer.json"
PARTS = ["the ", "and", " of", "  ", "\n", "\n\n", "\t", "I'm", "don't", "'LL", "123456", " 7", "é", "e\u0301",
         "ﬁ", "世界", "🙂", ".", "!?", "<|endoftext|>", "<|im_end|>", "<X>", " x", "Hello", "WORLD", "_", "\u00a0"]
TEXTS = 40


def draw(r, parts):
    return "".join(r.choice(parts) for _ in range(r.randint(1, 9)))


def merges(r):
    model = json.load(open(SOURCE))["model"]
    result = {}
    for name in ("GPT2Tokenizer", "Qwen2Tokenizer"):
        with tempfile.TemporaryDirectory() as d:
            json.dump(model["vocab"], open(os.path.join(d, "vocab.json"), "w"), ensure_ascii=False)
            with open(os.path.join(d, "merges.txt"), "w", encoding="utf-8") as f:
                f.write("#version: 0.2\n" + "".join((m if isinstance(m, str) else " ".join(m)) + "\n"
                                                    for m in model["merges"]))
            json.dump({"<X>": len(model["vocab"])}, open(os.path.join(d, "added_tokens.json"), "w"))
            json.dump(dict(tokenizer_class=name, additional_special_tokens=["<|im_end|>"]),
                      open(os.path.join(d, "tokenizer_config.json"), "w"))
            json.dump(dict(model_type="gpt2" if name[0] == "G" else "qwen2"), open(os.path.join(d, "config.json"), "w"))
            t = AutoTokenizer.from_pretrained(d)
            assert type(t).__name__ == name, type(t)
            texts = [draw(r, PARTS) for _ in range(TEXTS)]
            result[name] = [dict(text=x, ids=t(x, add_special_tokens=False)["input_ids"]) for x in texts]
    return result


def clean_up(r):
    pieces = ["<unk>", "</s>"] + ["\u2581", *"abnstvemr.?!,'"] + ["\u2581a", "\u2581.", "\u2581'", "'s", "n't"]
    made = dict(version="1.0", truncation=None, padding=None,
                added_tokens=[dict(id=i, content=c, single_word=False, lstrip=False, rstrip=False,
                                   normalized=False, special=True) for i, c in enumerate(pieces[:2])],
                normalizer=dict(type="Replace", pattern=dict(String=" "), content="\u2581"),
                pre_tokenizer=None, post_processor=None,
                decoder=dict(type="Sequence", decoders=[
                    dict(type="Replace", pattern=dict(String="\u2581"), content=" "), dict(type="Fuse")]),
                model=dict(type="Unigram", unk_id=0, byte_fallback=False,
                           vocab=[[p, -float(i)] for i, p in enumerate(pieces)]))
    json.dump(made, open(os.path.join(OUT, "tokenizer.json"), "w"), ensure_ascii=False, indent=1)
    json.dump(dict(tokenizer_class="PreTrainedTokenizerFast", eos_token="</s>", unk_token="<unk>",
                   clean_up_tokenization_spaces=True),
              open(os.path.join(OUT, "tokenizer_config.json"), "w"), indent=1)
    t = AutoTokenizer.from_pretrained(OUT)
    assert type(t.backend_tokenizer.model).__name__ == "Unigram"
    parts = ["a", "b", " ", "  ", " .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're", "'", ". ", " ''"]
    cases = []
    for _ in range(TEXTS):
        ids = t(draw(r, parts), add_special_tokens=False)["input_ids"]
        cases.append(dict(ids=ids, text=t.decode(ids)))
    assert any(t.backend_tokenizer.decode(c["ids"]) != c["text"] for c in cases)
    return cases


os.makedirs(OUT, exist_ok=True)
r = random.Random(20260824)
vectors = {"merges": merges(r), "clean-up": clean_up(r)}
json.dump(vectors, open(os.path.join(OUT, "vectors.json"), "w"), ensure_ascii=False, indent=0)
