#!/usr/bin/env python3
"""Makes tests/data/tokenizers/made/sentencepiece-*: ids and texts of the
sentencepiece library (0.2.3).  Run from the repo's root where that package is
installed; the files' rows go to tests/data/MANIFEST.tsv.

unigram and bpe use tokenizers/spm/test_model.model (a unigram model with the
charsmap of NFKC); for bpe one byte of it is changed, the model's type.  user is
a small model of its own: user-defined pieces, byte pieces, no charsmap."""
import json
import os
import random

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

OUT = "tests/data/tokenizers/made/sentencepiece-"
BASE = "tests/data/tokenizers/spm/test_model.model"

WORDS = ["the", "of", " ", "  ", "hello", "World", "I'm", "don't", "1234", "\u2581", "\n", "\t", "foo_bar",
         "\ufb01", "\uff21\uff22", "e\u0301", "\u00e9", "\u0958", "\u212b", "\u00bd", "\u3000", "\u00a0",
         "\uac00", "\u1100\u1161", "\u30ab\u3099", "\uff76\uff9e", "\u4e16", "\U0001f642", "\u0644\u0627",
         "\ufdfa", "a\u0300\u0323", ".", "<ud>", "ab", "abab", "\x01", "\u200b", "\u2026"]


def texts(seed, n):
    draw = random.Random(seed)
    made = ["".join(draw.choice(WORDS) for _ in range(draw.randrange(1, 12))) for _ in range(n)]
    return made + ["", " ", "   ", "\u2581", " \u2581 ", "  a  b  ", "." * 33]


def save(name, model, head):
    library = sentencepiece.SentencePieceProcessor(model_proto=model)
    cases = []
    for text in texts(11, 120):
        ids = library.encode(text)
        case = dict(text=text, ids=ids)
        # The library has a text of its own for unknown pieces.
        if library.unk_id() not in ids:
            case["decoded"] = library.decode(ids)
        cases.append(case)
    os.makedirs(OUT + name, exist_ok=True)
    with open(OUT + name + "/vectors.json", "w") as f:
        json.dump(dict(head, cases=cases), f, indent=0)


with open(BASE, "rb") as f:
    base = f.read()
proto = pb.ModelProto.FromString(base)
save("unigram", base, dict(model=BASE[len("tests/data/"):]))

proto.trainer_spec.model_type = 2
patched = proto.SerializeToString()
at = next(i for i in range(len(base)) if base[i] != patched[i])
assert len(base) == len(patched) and base[:at] + b"\2" + base[at + 1:] == patched
save("bpe", patched, dict(model=BASE[len("tests/data/"):], model_type_at=at))

user = pb.ModelProto()
user.trainer_spec.CopyFrom(proto.trainer_spec)
user.trainer_spec.model_type = 1
user.trainer_spec.byte_fallback = True
user.normalizer_spec.name = "identity"
user.normalizer_spec.remove_extra_whitespaces = False
pieces = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3)] + [("<0x%02X>" % b, 0, 6) for b in range(256)]
pieces += [(p, 0, 4) for p in ("<ud>", "\u2581the\u2581of", "abab", "hell")]
pieces += [("\u2581", -2, 1), ("\u2581\u2581", -3.5, 1), ("ab", -3, 1), ("aba", -4, 1), ("o", -4, 1),
           ("hello", -1, 1), ("e", -2.5, 1), ("th", -3.25, 1), ("the", -4, 1), (".", -3, 1),
           ("..", -5, 1), ("...", -6, 1), ("\u4e16", -5, 1), ("dull", -1, 5), ("\u2581the", -5, 1)]
for text, score, kind in pieces:
    user.pieces.add(piece=text, score=score, type=kind)
os.makedirs(OUT + "user", exist_ok=True)
with open(OUT + "user/tokenizer.model", "wb") as f:
    f.write(user.SerializeToString())
save("user", user.SerializeToString(), dict(model=OUT[len("tests/data/"):] + "user/tokenizer.model"))
