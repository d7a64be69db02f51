#!/usr/bin/env python3
"""Makes the seeds in tests/fuzz/corpus/{gguf,safetensors,index,wire,imatrix,yaml}."""
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def save(name, data):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def text(s):
    return struct.pack("<Q", len(s)) + s


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def tensor(name, dims, kind, offset):
    return (text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
            + struct.pack("<IQ", kind, offset))


def gguf(keys, tensors, data, version=3, align=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    head += b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % align) + data


u32 = lambda v: struct.pack("<I", v)
every_kind = [
    key(b"k0", 0, b"\1"), key(b"k1", 1, b"\xff"), key(b"k2", 2, b"\1\0"), key(b"k3", 3, b"\1\0"),
    key(b"k4", 4, u32(5)), key(b"k5", 5, u32(6)), key(b"k6", 6, struct.pack("<f", 1.5)),
    key(b"k7", 7, b"\1"), key(b"k8", 8, text(b"value")), key(b"k10", 10, bytes(8)),
    key(b"k11", 11, bytes(8)), key(b"k12", 12, struct.pack("<d", 2.5)),
    key(b"tokens", 9, array(8, [text(b"a"), text(b""), text(b"bc")])),
    key(b"scores", 9, array(6, [struct.pack("<f", -1.0)] * 3)),
]
save("gguf/every-kind.gguf", gguf(every_kind, [], b""))
save("gguf/empty.gguf", gguf([], [], b""))
save("gguf/version-2.gguf", gguf([], [tensor(b"a", [4], 0, 0)], bytes(16), version=2))
save("gguf/tensors.gguf", gguf(
    [key(b"general.architecture", 8, text(b"llama"))],
    [tensor(b"a", [32, 2], 2, 0), tensor(b"b", [256], 12, 64), tensor(b"c", [2, 1, 3, 1], 1, 224),
     tensor(b"d", [0, 3], 0, 256), tensor(b"e", [], 0, 256)], bytes(range(256)) + bytes(4)))
save("gguf/aligned.gguf", gguf([key(b"general.alignment", 4, u32(64))],
                               [tensor(b"a", [4], 0, 64), tensor(b"b", [4], 0, 0)], bytes(80), align=64))
save("gguf/split.gguf", gguf([key(b"split.count", 2, b"\2\0")], [], b""))
save("gguf/huge-array.gguf", gguf([key(b"k", 9, struct.pack("<IQ", 8, 1 << 40))], [], b""))


def safetensors(header, data=b""):
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body)) + body + data


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


save("safetensors/empty.safetensors", safetensors({}))
save("safetensors/tensors.safetensors", safetensors(
    {"__metadata__": {"format": "pt"}, "a": entry("F32", [2, 3], 0, 24), "b": entry("BF16", [], 24, 26),
     "c": entry("F4", [4], 26, 28), "d": entry("I64", [0, 7], 28, 28)}, bytes(28)))
save("safetensors/escapes.safetensors", safetensors(
    b'{"a\\u00e9\\"\\\\\xe2\x96\x81":{"shape":[1],"extra":null,"dtype":"U8","data_offsets":[0,1]}}  \n',
    b"x"))
save("safetensors/null-metadata.safetensors", safetensors(b'{"__metadata__":null}'))
save("safetensors/duplicate.safetensors", safetensors(b'{"a":{},"a":{}}'))
save("safetensors/hole.safetensors", safetensors({"a": entry("U8", [1], 1, 2)}, bytes(2)))

save("index/two-shards.json", json.dumps(
    {"metadata": {"total_size": 12, "x": [1, 2.5e3, True, None]},
     "weight_map": {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors",
                    "c\u00e9": "model-00002-of-00002.safetensors"}}).encode())
save("index/empty-map.json", b'{"weight_map": {}}')
save("index/path.json", b'{"weight_map": {"a": "../b"}}')
save("index/twice.json", b'{"weight_map": {"a": "b", "a": "c"}, "weight_map": {}}')

piece = b"\x0a\x03abc\x15\x00\x00\x80\x3f\x18\x06"
save("wire/pieces.bin", b"".join(b"\x0a" + bytes([len(piece)]) + piece for _ in range(3)) + b"\x12\x02\x08\x01")
save("wire/every-kind.bin", b"\x08\x96\x01\x11abcdefgh\x1a\x04deep\x25abcd")
save("wire/long-varint.bin", b"\x08" + b"\xff" * 9 + b"\x01")
save("wire/group.bin", b"\x0b\x0c")


def floats(*values):
    return struct.pack("<%df" % len(values), *values)


def entry(name, calls, values):
    return struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values)) + floats(*values)


imatrix_keys = [
    key(b"general.type", 8, text(b"imatrix")), key(b"imatrix.datasets", 9, array(8, [text(b"a.txt")])),
    key(b"imatrix.chunk_count", 4, u32(3)), key(b"imatrix.chunk_size", 4, u32(512))]
save("imatrix/experts.gguf", gguf(
    imatrix_keys,
    [tensor(b"w.in_sum2", [2, 3], 0, 0), tensor(b"w.counts", [1, 3], 0, 32)],
    floats(1, 2, 3, 4, 5, 6) + bytes(8) + floats(9, 0, 7) + bytes(20)))
save("imatrix/no-counts.gguf", gguf(imatrix_keys, [tensor(b"w.in_sum2", [2], 0, 0)], bytes(32)))
dat = struct.pack("<i", 2) + entry(b"blk.0.w", 3, [1, 2]) + entry(b"v", 0, [4])
save("imatrix/plain.dat", dat)
save("imatrix/with-text.dat", dat + struct.pack("<ii", 3, 5) + b"a.txt")
save("imatrix/many-entries.dat", struct.pack("<i", 0x7FFFFFFF) + dat[4:])
save("imatrix/not-a-number.dat", struct.pack("<i", 1) + entry(b"w", 1, [float("nan")]))

save("yaml/card.yaml", b"""language: [en, no]
license: &l apache-2.0
license_name: *l
base_model:
- org/Base-7B-v0.1
- https://huggingface.co/org/other
datasets: {name: d, url: ~}
description: >-
  folded
  words
tags:
- "a\\tb"
- 'it''s'
""")
save("yaml/laughs.yaml", b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ntags: *c\n")
save("yaml/nested.yaml", b"tags: " + b"[" * 200)
save("yaml/two-documents.yaml", b"a: b\n---\nc: d\n")
