#!/usr/bin/env python3
"""Makes the seeds in tests/fuzz/corpus/tokenizer_{json,spm,gguf}."""
import base64
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = ["<0x%02X>" % b for b in range(256)]


def save(name, data):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def charsmap():
    """'A' becomes "a": the root's children at 0 ^ 1, A's value at 64 ^ 2."""
    units = [0] * 256
    units[0] = 1 << 10
    units[1 ^ 0x41] = 0x41 | 1 << 8 | 2 << 10
    units[1 ^ 0x41 ^ 2] = 1 << 31
    return struct.pack("<I256I", 1024, *units) + b"a\0"


# ---- tokenizer.json

def added(i, content, **flags):
    token = dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False,
                 normalized=False, special=True)
    return {**token, **flags}


def tokenizer(pieces, merges, tokens, **parts):
    model = dict(type="BPE", vocab={p: i for i, p in enumerate(pieces)}, merges=merges)
    model.update(parts.pop("model", {}))
    return json.dumps(dict(added_tokens=tokens, **parts, model=model)).encode()


byte_level = dict(type="ByteLevel", add_prefix_space=False, use_regex=False)
template = dict(type="TemplateProcessing",
                single=[dict(SpecialToken=dict(id="<s>")), dict(Sequence=dict(id="A"))], pair=[])
save("tokenizer_json/llama3.json", tokenizer(
    ["a", "b", "c", "\u0120", "ab", "\u0120ab", "abc"],
    [["a", "b"], ["\u0120", "ab"], ["ab", "c"]],
    [added(7, "<s>"), added(8, " <t> ", lstrip=True, rstrip=True, special=False),
     added(9, "word", single_word=True, normalized=True, special=False)],
    pre_tokenizer=dict(type="Sequence", pretokenizers=[
        dict(type="Split", pattern=dict(Regex=LLAMA3), behavior="Isolated", invert=False),
        byte_level]),
    post_processor=template, decoder=dict(type="ByteLevel"), model=dict(ignore_merges=True),
    bos_token="<s>", add_eos_token=True, eos_token_id=3))
save("tokenizer_json/smollm.json", tokenizer(
    ["1", "2", "x"], [], [added(3, "<s>")],
    normalizer=dict(type="NFC"),
    pre_tokenizer=dict(type="Sequence", pretokenizers=[
        dict(type="Digits", individual_digits=True), dict(type="ByteLevel", use_regex=True)])))
save("tokenizer_json/spm.json", tokenizer(
    ["<unk>", "<s>"] + BYTES[:64] + ["\u2581", "a", "b", "ab", "\u2581ab", "a\u2581b"],
    ["a b", "\u2581 ab", "a b"], [added(0, "<unk>"), added(1, "<s>")],
    normalizer=dict(type="Sequence", normalizers=[
        dict(type="Prepend", prepend="\u2581"),
        dict(type="Replace", pattern=dict(String=" "), content="\u2581")]),
    decoder=dict(type="Sequence", decoders=[dict(type="ByteFallback"), dict(type="Fuse"),
                                            dict(type="Strip", content=" ", start=1, stop=0)]),
    model=dict(unk_token="<unk>", byte_fallback=True, fuse_unk=True)))
save("tokenizer_json/metaspace.json", tokenizer(
    ["u", "\u2581", "\u2581u"], [["\u2581", "u"]], [],
    pre_tokenizer=dict(type="Metaspace", replacement="\u2581", prepend_scheme="first", split=False),
    model=dict(unk_token="u")))

save("tokenizer_json/unigram.json", json.dumps(dict(
    added_tokens=[added(0, "<unk>"), added(7, "x", special=False)],
    normalizer=dict(type="Sequence", normalizers=[
        dict(type="Precompiled", precompiled_charsmap=base64.b64encode(charsmap()).decode()),
        dict(type="Strip", strip_left=False, strip_right=True),
        dict(type="Replace", pattern=dict(Regex=" {2,}"), content="\u2581")]),
    pre_tokenizer=dict(type="Metaspace", replacement="\u2581", prepend_scheme="always", split=True),
    decoder=dict(type="Metaspace", replacement="\u2581", prepend_scheme="always", split=True),
    model=dict(type="Unigram", unk_id=0, byte_fallback=True, vocab=[
        ["<unk>", 0], ["\u2581", -2], ["a", -3.5], ["ab", -3], ["b", -4], ["<0x41>", 0],
        ["\u2581a", -3]]))).encode())

# ---- tokenizer.model

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text, score=0.0, kind=1):
    body = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return field(1, body + varint(3 << 3) + varint(kind))


def trainer(model=2):
    return field(2, varint(3 << 3) + varint(model) + varint(41 << 3) + varint(1))


pieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3)
letters = piece("\u2581", -5) + piece("a", -6) + piece("b", -7) + piece("ab", -1)
save("tokenizer_spm/bytes.model", pieces + b"".join(piece(b, 0, 6) for b in BYTES) + letters +
     piece("\u2581ab", -2) + piece("b\u2581a", -3) + trainer())
save("tokenizer_spm/unknown.model", pieces + letters + piece("whole", 0, 4) + trainer() +
     field(3, field(1, b"identity") + varint(3 << 3) + varint(0)))
save("tokenizer_spm/unigram.model", pieces + letters + trainer(1))
save("tokenizer_spm/charsmap.model", pieces + letters + piece("whole", 0, 4) + trainer(1) +
     field(3, field(2, charsmap()) + varint(4 << 3) + varint(1)))

# ---- GGUF keys

def text(s):
    s = s.encode()
    return struct.pack("<Q", len(s)) + s


def key(name, kind, value):
    return text("tokenizer.ggml." + name) + struct.pack("<I", kind) + value


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def gguf(*keys):
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys)
    return head + bytes(-len(head) % 32)


def vocabulary(model, tokens, types):
    return (key("model", 8, text(model)), key("tokens", 9, array(8, [text(t) for t in tokens])),
            key("token_type", 9, array(5, [struct.pack("<i", t) for t in types])))


tokens = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "", "<0x41>", "  "]
types = [2, 3, 3, 1, 1, 1, 1, 5, 6, 4]
scores = key("scores", 9, array(6, [struct.pack("<f", -i) for i in range(len(tokens))]))
save("tokenizer_gguf/llama.gguf", gguf(*vocabulary("llama", tokens, types), scores,
     key("bos_token_id", 4, struct.pack("<I", 1)), key("add_space_prefix", 7, b"\1")))
merges = key("merges", 9, array(8, [text("a b")]))
save("tokenizer_gguf/gpt2.gguf", gguf(*vocabulary("gpt2", tokens, types), merges,
     key("pre", 8, text("qwen2")), key("add_bos_token", 7, b"\1")))
save("tokenizer_gguf/gemma4.gguf", gguf(*vocabulary("gemma4", tokens, types), scores, merges))
save("tokenizer_gguf/default.gguf", gguf(*vocabulary("gpt2", tokens, types), merges))
save("tokenizer_gguf/t5.gguf", gguf(*vocabulary("t5", tokens, types), scores,
     key("unknown_token_id", 4, struct.pack("<I", 0)), key("add_space_prefix", 7, b"\1"),
     key("remove_extra_whitespaces", 7, b"\1"),
     key("precompiled_charsmap", 9, array(0, [bytes([b]) for b in charsmap()]))))
