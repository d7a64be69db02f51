#!/usr/bin/env python3
"""Makes the seeds in tests/fuzz/corpus/lora: one small adapter of each kind, for the base
in fuzz_lora.c."""
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "lora")
Q, EMBED, EXPERTS = ("base_model.model.model." + m for m in (
    "layers.0.self_attn.q_proj.", "embed_tokens.", "layers.0.mlp.experts."))
HEAD = "base_model.model.lm_head."


def save(name, config, **tensors):
    """tensors: name to shape; all F32."""
    header, data = {}, b""
    for tensor, shape in tensors.items():
        n = 1
        for d in shape:
            n *= d
        header[tensor] = {"dtype": "F32", "shape": shape,
                          "data_offsets": [len(data), len(data) + 4 * n]}
        data += struct.pack(f"<{n}f", *(i % 7 - 3 for i in range(n)))
    text = [json.dumps(j, separators=(",", ":")).encode()
            for j in (dict(peft_type="LORA", r=2, lora_alpha=4, **config), header)]
    os.makedirs(HERE, exist_ok=True)
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(text[0] + b"\n--\n" + struct.pack("<Q", len(text[1])) + text[1] + data)


PAIR = {Q + "lora_A.weight": [2, 4], Q + "lora_B.weight": [4, 2]}
save("pair", {}, **PAIR)
save("bias", {"bias": "lora_only", "lora_bias": True}, **PAIR,
     **{Q + "lora_B.bias": [4], Q + "bias": [4]})
save("patterns", {"rank_pattern": {"q_(proj|x)": 2}, "alpha_pattern": {"self_attn.q_proj": 3},
                  "use_rslora": True}, **PAIR)
save("dora", {"use_dora": True}, **PAIR, **{Q + "lora_magnitude_vector": [4]})
save("embedding", {}, **{EMBED + "lora_embedding_A": [2, 6], EMBED + "lora_embedding_B": [4, 2],
                         EMBED + "base_layer.weight": [6, 4]})
save("larger", {}, **{EMBED + "weight": [7, 4], EMBED + "modules_to_save.weight": [7, 4],
                      EMBED + "original_module.weight": [7, 4]})
save("head", {}, **{HEAD + "weight": [6, 4]})
save("tokens", {"trainable_token_indices": {"embed_tokens": [5, 1]}},
     **{EMBED + "token_adapter.trainable_tokens_delta": [2, 4]})
save("experts", {}, **{EXPERTS + "lora_A.weight": [4, 3], EXPERTS + "lora_B.weight": [4, 4]})
