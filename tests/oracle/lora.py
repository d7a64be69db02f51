"""quern's merge of random PEFT adapters against PEFT's own.

For small random models of several families, an adapter made by peft with every kind of
target that it has (all linears, embeddings, biases, modules to save, experts as
parameters, patterns, another vocabulary): base and adapter in float32, merged by peft
(merge_and_unload, in float32) and by `quern convert --lora --outtype f32`; the largest
difference of any weight must be below 1e-6.

    lora.py QUERN TOKENIZER

TOKENIZER: a checkpoint of at most 640 tokens, for its tokenizer.json.
"""

import copy
import os
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers as t
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

SMALL = dict(vocab_size=640, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, pad_token_id=0,
             bos_token_id=1, eos_token_id=2)
GEMMA = dict(SMALL, head_dim=8)
MOE = dict(SMALL, head_dim=8, moe_intermediate_size=24, num_experts=4, num_experts_per_tok=2)
TIED = t.Qwen2Config(**SMALL, tie_word_embeddings=True)

CASES = [
    ("llama, all linears, biases", t.LlamaForCausalLM,
     t.LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
     dict(r=3, lora_alpha=5, target_modules="all-linear", bias="all")),
    ("llama, patterns, rslora", t.LlamaForCausalLM, t.LlamaConfig(**SMALL),
     dict(r=8, lora_alpha=12, use_rslora=True, target_modules=["q_proj", "down_proj", "o_proj"],
          rank_pattern={r"layers.1.*.q_proj": 5, "down_proj": 2},
          alpha_pattern={"q_proj|o_proj": 7.5})),
    ("qwen2, tied embedding", t.Qwen2ForCausalLM,
     t.Qwen2Config(**SMALL, tie_word_embeddings=True),
     dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj", "v_proj"])),
    ("qwen2, tokens", t.Qwen2ForCausalLM, t.Qwen2Config(**SMALL, tie_word_embeddings=True),
     dict(r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices=[7, 3, 630])),
    ("llama, DoRA", t.LlamaForCausalLM, t.LlamaConfig(**SMALL),
     dict(r=35, lora_alpha=8, use_dora=True, target_modules="all-linear")),
    ("llama, saved head and embedding", t.LlamaForCausalLM, t.LlamaConfig(**SMALL),
     dict(r=4, lora_alpha=8, target_modules=["q_proj"],
          modules_to_save=["embed_tokens", "lm_head"])),
    ("llama, larger, saved", t.LlamaForCausalLM, t.LlamaConfig(**SMALL),
     dict(r=4, lora_alpha=8, target_modules=["q_proj"],
          modules_to_save=["embed_tokens", "lm_head"]), 644),
    ("llama, larger, as it was resized", t.LlamaForCausalLM, t.LlamaConfig(**SMALL),
     dict(r=4, lora_alpha=8, target_modules=["q_proj"]), 700),
    ("llama, larger, adapted", t.LlamaForCausalLM, t.LlamaConfig(**SMALL),
     dict(r=4, lora_alpha=8, target_modules=["q_proj", "embed_tokens", "lm_head"]), 641),
    ("llama, larger, tokens", t.LlamaForCausalLM, t.LlamaConfig(**SMALL),
     dict(r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices=[3, 640, 643]),
     644),
    ("qwen2 tied, larger, saved", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["q_proj"],
          modules_to_save=["embed_tokens", "lm_head"]), 644),
    ("qwen2 tied, larger, as resized", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["q_proj"]), 648),
    ("qwen2 tied, larger, adapted", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["q_proj", "embed_tokens"]), 648),
    ("qwen2 tied, larger, tokens", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices=[3, 640, 643]),
     644),
    ("qwen2 tied, head adapted", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["lm_head"])),
    ("qwen2 tied, both adapted", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["lm_head", "embed_tokens"])),
    ("qwen2 tied, saved head", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["lm_head"])),
    ("qwen2 tied, saved embedding", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["embed_tokens"])),
    ("qwen2 tied, saved, one for both", t.Qwen2ForCausalLM, TIED,
     dict(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["embed_tokens"],
          ensure_weight_tying=True)),
    ("gemma3 tied, saved head", t.Gemma3ForCausalLM, t.Gemma3TextConfig(**GEMMA),
     dict(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["lm_head"])),
    ("gemma3", t.Gemma3ForCausalLM, t.Gemma3TextConfig(**GEMMA),
     dict(r=4, lora_alpha=8, target_modules="all-linear", modules_to_save=["norm"])),
    ("phi3", t.Phi3ForCausalLM, t.Phi3Config(**SMALL),
     dict(r=40, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj", "lm_head"])),
    ("mixtral, experts", t.MixtralForCausalLM, t.MixtralConfig(**SMALL, num_local_experts=4),
     dict(r=2, lora_alpha=4, target_modules=["q_proj"],
          target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj",
                             "mlp.gate.weight"])),
    ("qwen3-moe, experts", t.Qwen3MoeForCausalLM, t.Qwen3MoeConfig(**MOE),
     dict(r=2, lora_alpha=4, target_modules=["o_proj"], rank_pattern={"experts.down_proj": 3},
          target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
]


def randomize(model):
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_(0, 0.05)


def check(quern, tokenizer, where, name, cls, config, options, rows=None):
    base, adapter, merged = (os.path.join(where, d) for d in ("base", "adapter", "merged"))
    torch.manual_seed(11)
    model = cls(copy.deepcopy(config)).float()
    model.save_pretrained(base)
    shutil.copy(os.path.join(tokenizer, "tokenizer.json"), base)
    if rows:
        model.resize_token_embeddings(rows)
    peft = get_peft_model(model, LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM",
                                            **options))
    randomize(peft)
    peft.save_pretrained(adapter, save_embedding_layers=True if rows else "auto")
    peft.merge_and_unload().save_pretrained(merged)
    out = os.path.join(where, "out.safetensors")
    for family in ([], ["--family", "generic"]):
        subprocess.run([quern, "convert", base, out, "--lora", adapter, "--outtype", "f32",
                        "--force", "-q"] + family, check=True)
        ours, want, plain = (load_file(f) for f in (out, merged + "/model.safetensors",
                                                    base + "/model.safetensors"))
        ours.pop("lm_head.weight", None) if "lm_head.weight" not in want else None
        assert ours.keys() == want.keys(), ours.keys() ^ want.keys()
        worst = max(float((ours[k].reshape(v.shape) - v).abs().max()) for k, v in want.items())
        changed = sum(k not in plain or not torch.equal(v, plain[k]) for k, v in want.items())
        print(f"{name:36} {' '.join(family):18} {changed:3} tensors changed, off by {worst:.1e}")
        assert changed and worst < 1e-6


def main():
    t.logging.set_verbosity_error()
    for case in CASES:
        with tempfile.TemporaryDirectory() as where:
            check(sys.argv[1], sys.argv[2], where, *case)


main()
