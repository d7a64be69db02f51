#!/usr/bin/env python3
"""Makes tests/data/tokenizers/made: small tokenizers for rules that no golden
one has, with the ids and texts of the tokenizers library (0.23.3).  Run from
the repo's root where that package is installed; the files' rows go to
tests/data/MANIFEST.tsv."""
import json
import os
import random

from tokenizers import Tokenizer

OUT = "tests/data/tokenizers/made"


def added(i, content, **flags):
    return {**dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False,
                   normalized=False, special=False), **flags}


def tokenizer(pieces, merges, tokens, unknown=None, **parts):
    model = dict(type="BPE", dropout=None, unk_token=unknown, continuing_subword_prefix=None,
                 end_of_word_suffix=None, fuse_unk=unknown is not None, byte_fallback=False,
                 vocab={p: i for i, p in enumerate(pieces)}, merges=merges)
    return dict(version="1.0", truncation=None, padding=None, added_tokens=tokens,
                normalizer=parts.get("normalizer"), pre_tokenizer=parts["pre_tokenizer"],
                post_processor=None, decoder=parts["decoder"], model=model)


def flags():
    pieces = list("abc\u0120.<>slrwd") + ["ab", "\u0120a", "\u010a", "e", "\u0120\u0120"]
    tokens = [added(17, "<l>", lstrip=True), added(18, "<r>", rstrip=True),
              added(19, "wd", single_word=True), added(20, "e\u0301", normalized=True),
              added(21, "<s>", special=True), added(22, "<s>l"),
              added(23, "<lr>", lstrip=True, rstrip=True, special=True), added(24, " ab")]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    return tokenizer(pieces, [["a", "b"], ["\u0120", "a"], ["\u0120", "\u0120"]], tokens,
                     normalizer=dict(type="NFC"), pre_tokenizer=level, decoder=level)


def metaspace(scheme):
    pieces = ["<unk>", "<s>", "\u2581", "a", "b", "ab", "\u2581a", "\u2581\u2581", "\u2581ab",
              "b\u2581a"]
    merges = [["a", "b"], ["\u2581", "a"], ["\u2581", "\u2581"], ["\u2581", "ab"],
              ["b", "\u2581a"]]
    tokens = [added(0, "<unk>", special=True), added(1, "<s>", special=True),
              added(10, "X", normalized=True)]
    step = dict(type="Metaspace", replacement="\u2581", prepend_scheme=scheme, split=False)
    return tokenizer(pieces, merges, tokens, "<unk>", pre_tokenizer=step, decoder=step)


ALPHABETS = {
    "flags": ["a", "b", " ", "  ", "ab", "\n", "<l>", "<r>", "<lr>", "wd", "<s>", "<s>l", "\u00e9",
              "e\u0301", ".", " ab", "c"],
    "metaspace": ["a", "b", " ", "  ", "ab", "\n", "<s>", "X", "\u2581", "A", "\u597d"],
}

for name, made in [("flags", flags())] + [("metaspace-" + s, metaspace(s))
                                          for s in ("first", "always", "never")]:
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "tokenizer.json")
    with open(path, "w") as f:
        json.dump(made, f, indent=1)
    library = Tokenizer.from_file(path)
    draw = random.Random(7)
    alphabet = ALPHABETS[name.split("-")[0]]
    cases = []
    for _ in range(60):
        text = "".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 9)))
        ids = library.encode(text, add_special_tokens=False).ids
        case = dict(text=text, ids=ids)
        # The library decodes an added e-acute as a byte of the byte alphabet.
        if 20 not in ids or name != "flags":
            case["decoded"] = library.decode(ids, skip_special_tokens=False)
        cases.append(case)
    with open(os.path.join(folder, "vectors.json"), "w") as f:
        json.dump(dict(tokenizer=name, cases=cases), f, indent=0)
