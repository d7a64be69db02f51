#!/usr/bin/env python3
"""Makes the seeds in tests/fuzz/corpus/packed: one small weight in each packing."""
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "packed")


def save(name, config, *tensors):
    """tensors: (name, dtype, shape, bytes)."""
    header, data = {}, b""
    for tensor, dtype, shape, values in tensors:
        header[tensor] = {"dtype": dtype, "shape": shape,
                          "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = [json.dumps(j, separators=(",", ":")).encode() for j in (config, header)]
    os.makedirs(HERE, exist_ok=True)
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(text[0] + b"\n--\n" + struct.pack("<Q", len(text[1])) + text[1] + data)


def some(n):
    return bytes(i * 37 % 119 for i in range(n))


def integers(kind, values):
    return struct.pack(f"<{len(values)}{kind}", *values)


def transformers(**how):
    return {"quantization_config": how}


def compressed(**weights):
    return transformers(quant_method="compressed-tensors", format="pack-quantized",
                        config_groups={"a": {"weights": weights}})


save("gptq", transformers(quant_method="gptq", bits=4, group_size=16),
     ("w.qweight", "I32", [4, 8], some(128)), ("w.qzeros", "I32", [2, 1], some(8)),
     ("w.scales", "F16", [2, 8], some(32)), ("w.g_idx", "I32", [32], integers("i", [1, 0] * 16)))
save("gptq-3-bits", transformers(quant_method="gptq", bits=3, group_size=-1,
                                 checkpoint_format="gptq_v2"),
     ("w.qweight", "I32", [3, 5], some(60)), ("w.qzeros", "I32", [1, 1], some(4)),
     ("w.scales", "F32", [1, 5], some(20)))
save("awq", transformers(quant_method="awq", bits=4, group_size=8),
     ("w.qweight", "I32", [16, 1], some(64)), ("w.qzeros", "I32", [2, 1], some(8)),
     ("w.scales", "BF16", [2, 8], some(32)))
save("mlx", {"quantization": {"bits": 4, "group_size": 32, "w": {"bits": 6, "group_size": 32}}},
     ("w.weight", "U32", [2, 12], some(96)), ("w.scales", "F16", [2, 2], some(8)),
     ("w.biases", "F16", [2, 2], some(8)))
save("compressed-words", compressed(num_bits=4, type="int", symmetric=False, strategy="group",
                                    group_size=8),
     ("w.weight_shape", "I64", [2], integers("q", [3, 20])),
     ("w.weight_packed", "I32", [3, 3], some(36)), ("w.weight_scale", "BF16", [3, 3], some(18)),
     ("w.weight_zero_point", "I32", [1, 3], some(12)),
     ("w.weight_g_idx", "I32", [20], integers("i", [0, 1, 2, 0] * 5)))
save("compressed-bytes", compressed(num_bits=8, type="float", strategy="block",
                                    block_structure=[2, 8]),
     ("w.weight", "F8_E4M3", [3, 20], some(60)), ("w.weight_scale", "F32", [2, 3], some(24)),
     ("w.input_scale", "F32", [1], some(4)))
save("fp8", transformers(quant_method="fp8", weight_block_size=[2, 8]),
     ("w.weight", "F8_E4M3", [3, 20], some(60)), ("w.weight_scale_inv", "F32", [2, 3], some(24)))
save("mxfp4", transformers(quant_method="mxfp4"),
     ("w_blocks", "U8", [2, 2, 1, 16], some(64)), ("w_scales", "U8", [2, 2, 1], some(4)))
