#!/usr/bin/env python3
"""Random checkpoints of the families, of shapes that no golden one has, made
with transformers and run by quern.

    tests/oracle/families.py QUERN GOLDEN [--seeds N] [--only NAME] [--keep DIR]

QUERN is the program, GOLDEN the folder models/golden (its tokenizers go with the
checkpoints).  For each family and seed: head counts, head sizes, windows, layer
patterns, rope, sharing, sizes and shards are drawn, the checkpoint is saved in
bfloat16, transformers gives the logits of some ids in float32, and quern must
give them, too, from the checkpoint and from the GGUF file that it converts to,
within 1e-4 of their spread or three times transformers' own float32 noise.
Prints a line for each; status 1 when one differs.  Needs torch and
transformers; not part of the build."""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open

IDS = 50


def gemma(r):
    return dict(head_dim=r.choice([16, 32, 64]), rope_parameters=dict(
        rope_type="default", rope_theta=r.choice([10000.0, 5000.0, 250000.0])))


def scalar(r):
    return dict(query_pre_attn_scalar=r.choice([24, 32, 64, 100]))


def layer_types(r, n, last_full=False):
    types = [r.choice(["sliding_attention", "full_attention"]) for _ in range(n)]
    types[0], types[-1] = "sliding_attention", "full_attention"
    return types


def gemma2(r):
    n = r.choice([2, 3, 5])
    return dict(gemma(r), **scalar(r), num_hidden_layers=n, layer_types=layer_types(r, n),
                attn_logit_softcapping=r.choice([5.0, 30.0]), sliding_window=r.choice([3, 7, 33]),
                final_logit_softcapping=r.choice([3.0, 20.0]))


def gemma3(r):
    n = r.choice([3, 7])
    full = r.choice([dict(rope_type="linear", factor=8.0), dict(rope_type="default")])
    return dict(scalar(r), num_hidden_layers=n, head_dim=r.choice([16, 32, 64]),
                sliding_window=r.choice([2, 5, 40]),
                layer_types=r.choice([None, layer_types(r, n)]),
                final_logit_softcapping=r.choice([None, 12.0]),
                rope_parameters=dict(full_attention=dict(full, rope_theta=r.choice([1e6, 3e4])),
                                     sliding_attention=dict(rope_type="default", rope_theta=r.choice(
                                         [10000.0, 777.0]))))


def gemma4(r, **more):
    n = r.choice([4, 6])
    head = r.choice([16, 32])
    return dict(num_hidden_layers=n, head_dim=head, global_head_dim=head * r.choice([1, 2, 4]),
                sliding_window=r.choice([2, 5, 40]), layer_types=layer_types(r, n),
                final_logit_softcapping=r.choice([None, 7.0]),
                rope_parameters=dict(
                    full_attention=dict(rope_type="proportional", rope_theta=r.choice([1e6, 2e4]),
                                        partial_rotary_factor=r.choice([0.25, 0.5, 1.0])),
                    sliding_attention=dict(rope_type="default", rope_theta=r.choice([1e4, 500.0]))),
                hidden_size_per_layer_input=0, num_kv_shared_layers=0, **more)


def gemma4_shared(r):
    c = gemma4(r)
    n = c["num_hidden_layers"]
    shared = r.choice([1, n - 3])
    types = c["layer_types"]
    types[n - shared - 2:n - shared] = ["sliding_attention", "full_attention"]
    return dict(c, hidden_size_per_layer_input=r.choice([16, 48]), num_kv_shared_layers=shared,
                use_double_wide_mlp=r.choice([True, False]), vocab_size_per_layer_input=768)


def gemma4_dense(r):
    return gemma4(r, attention_k_eq_v=True, num_global_key_value_heads=r.choice([1, 2]))


def gemma4_experts(r):
    n = r.choice([3, 8])
    return dict(gemma4_dense(r), enable_moe_block=True, num_experts=n,
                top_k_experts=r.choice([1, 2, n]), moe_intermediate_size=r.choice([24, 64]))


def gemma3n(r):
    n = 5
    shared = r.choice([0, 2])
    types = layer_types(r, n)
    types[n - shared - 2:n - shared] = ["sliding_attention", "full_attention"]
    return dict(num_hidden_layers=n, head_dim=r.choice([16, 32]), sliding_window=r.choice([3, 30]),
                layer_types=types, num_kv_shared_layers=shared, laurel_rank=r.choice([8, 64]),
                hidden_size_per_layer_input=r.choice([16, 32]), vocab_size_per_layer_input=640,
                activation_sparsity_pattern=[r.choice([0.0, 0.95, 0.5]) for _ in range(n)],
                final_logit_softcapping=r.choice([5.0, 30.0]),
                rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=1e6),
                                     sliding_attention=dict(rope_type="default", rope_theta=1e4)))


def plain(r):
    return dict(head_dim=r.choice([16, 32, 48]), rope_theta=r.choice([10000.0, 777.0, 1e6]),
                tie_word_embeddings=r.choice([True, False]))


def window(r):
    return dict(plain(r), sliding_window=r.choice([3, 16, 31, None]))


def experts(r):
    n = r.choice([2, 5, 12])
    return dict(num_experts=n, num_experts_per_tok=r.randint(1, n), norm_topk_prob=r.choice([True, False]),
                moe_intermediate_size=r.choice([24, 64]), num_hidden_layers=r.choice([1, 3, 5]),
                decoder_sparse_step=r.choice([1, 1, 2]),
                mlp_only_layers=r.choice([[], [], [0], [1, 2], [0, 9]]),
                tie_word_embeddings=r.choice([True, False]))


def mixtral(r):
    n = r.choice([2, 5, 12])
    return dict(window(r), num_local_experts=n, num_experts_per_tok=r.randint(1, n))


def qwen2_moe(r):
    return dict(experts(r), shared_expert_intermediate_size=r.choice([16, 72]))


def qwen2(r):
    return dict(window(r), use_sliding_window=r.choice([True, False]),
                max_window_layers=r.choice([0, 1, 2, 28]))


def qwen3(r):
    return dict(qwen2(r), attention_bias=r.choice([True, False]))


def qwen3_moe(r):
    return dict(experts(r), head_dim=r.choice([16, 32]), use_sliding_window=r.choice([True, False]),
                sliding_window=r.choice([3, 16]), attention_bias=r.choice([True, False]))


def ministral3(r):
    mscale = r.choice([dict(mscale=1.0, mscale_all_dim=1.0), dict(mscale=0.7, mscale_all_dim=1.3),
                       dict(mscale_all_dim=1.0), {}])
    return dict(head_dim=r.choice([16, 32, 48]), sliding_window=r.choice([None, None, 7]),
                tie_word_embeddings=r.choice([True, False]),
                rope_parameters=yarn(r, **mscale, llama_4_scaling_beta=r.choice([0.1, 0.7])))


def mistral3(r):
    return dict(window(r), model_type="mistral")


def mistral3_ministral(r):
    return dict(ministral3(r), model_type="ministral3")


def llama4(r):
    n = r.choice([2, 4, 5])
    experts = r.choice([2, 5, 12])
    rope = [r.randint(0, 1) for _ in range(n)]
    scaled = dict(rope_type="llama3", rope_theta=5e5, factor=r.choice([8.0, 16.0]), low_freq_factor=1.0,
                  high_freq_factor=r.choice([1.0, 4.0]), original_max_position_embeddings=64)
    return dict(head_dim=r.choice([16, 32]), num_hidden_layers=n, num_local_experts=experts,
                num_experts_per_tok=r.randint(1, experts), intermediate_size_mlp=r.choice([48, 136]),
                interleave_moe_layer_step=r.choice([1, 2, 3]),
                moe_layers=r.choice([None, None, [0], list(range(1, n)), []]),
                no_rope_layers=r.choice([None, rope if any(rope) else None]),
                attention_chunk_size=r.choice([3, 16, 31, None]), use_qk_norm=r.choice([True, False]),
                attn_temperature_tuning=r.choice([True, True, False]), floor_scale=r.choice([1, 4, 13]),
                attn_scale=r.choice([0.1, 0.6]), attention_bias=r.choice([True, False]),
                tie_word_embeddings=r.choice([True, False]),
                rope_parameters=r.choice([scaled, dict(rope_type="default", rope_theta=1e4)]))


def phi3(r):
    original, pairs = r.choice([32, 64]), r.choice([8, 16])
    return dict(hidden_size=128, num_attention_heads=4, num_key_value_heads=r.choice([1, 2, 4]),
                sliding_window=r.choice([5, None]), tie_word_embeddings=r.choice([True, False]),
                original_max_position_embeddings=original,
                rope_parameters=dict(rope_type="longrope", rope_theta=r.choice([10000.0, 500.0]),
                                     partial_rotary_factor=pairs / 16,
                                     original_max_position_embeddings=original,
                                     short_factor=[1 + 0.1 * i for i in range(pairs)],
                                     long_factor=[2 + 0.9 * i for i in range(pairs)]))


def smollm3(r):
    return dict(rope_theta=r.choice([10000.0, 2e6]), num_hidden_layers=5,
                tie_word_embeddings=r.choice([True, False]),
                no_rope_layers=r.choice([None, [0, 1, 1, 0, 1], [1, 1, 1, 0, 1]]))


def yarn(r, **more):
    return dict(rope_type="yarn", rope_theta=r.choice([10000.0, 5e5]), factor=r.choice([4.0, 16.0]),
                original_max_position_embeddings=r.choice([16, 32]), beta_fast=r.choice([32.0, 8.0]),
                beta_slow=1.0, **more)


def olmo2(r):
    return dict(rope_theta=r.choice([10000.0, 777.0, 5e5]), tie_word_embeddings=r.choice([True, False]),
                attention_bias=r.choice([True, False]))


def olmo3(r):
    n = r.choice([2, 5])
    return dict(num_hidden_layers=n, sliding_window=r.choice([3, 16]),
                layer_types=r.choice([None, layer_types(r, n)]),
                rope_parameters=dict(
                    full_attention=r.choice([yarn(r), dict(rope_type="default", rope_theta=5e5)]),
                    sliding_attention=dict(rope_type="default", rope_theta=r.choice([1e4, 5e5]))))


def granite(r):
    return dict(rope_theta=r.choice([10000.0, 777.0]), tie_word_embeddings=r.choice([True, False]),
                attention_bias=r.choice([True, False]), mlp_bias=r.choice([True, False]),
                attention_multiplier=r.choice([0.015625, 0.3]), logits_scaling=r.choice([1.0, 8.0]),
                residual_multiplier=r.choice([0.22, 1.0]), embedding_multiplier=r.choice([12.0, 0.7]))


def granite_moe(r):
    n = r.choice([2, 5, 12])
    c = dict(granite(r), num_local_experts=n, num_experts_per_tok=r.randint(1, n),
             shared_intermediate_size=r.choice([0, 24]))
    c.pop("mlp_bias")
    return c


def gpt_oss(r):
    n, layers = r.choice([2, 5, 12]), r.choice([2, 3])
    full = r.choice([yarn(r, truncate=r.choice([True, False])),
                     dict(rope_type="default", rope_theta=1e4)])
    return dict(head_dim=r.choice([16, 32]), num_hidden_layers=layers, num_local_experts=n,
                num_experts_per_tok=r.randint(1, n), sliding_window=r.choice([3, 16]),
                layer_types=r.choice([None, layer_types(r, layers)]), rope_parameters=full,
                swiglu_limit=r.choice([7.0, 0.5]), swiglu_alpha=r.choice([1.702, 1.1]),
                attention_bias=r.choice([True, False]), tie_word_embeddings=False)


# name: config class, model class, tokenizer's golden model, what is drawn
FAMILIES = {
    "mistral": ("MistralConfig", "MistralForCausalLM", "mistral", window),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", "mistral", mixtral),
    "ministral3": ("Ministral3Config", "Ministral3ForCausalLM", "mistral", ministral3),
    "mistral3": ("Mistral3Config", "Mistral3ForConditionalGeneration", "mistral", mistral3),
    "mistral3-ministral": ("Mistral3Config", "Mistral3ForConditionalGeneration", "mistral",
                           mistral3_ministral),
    "llama4": ("Llama4TextConfig", "Llama4ForCausalLM", "llama", llama4),
    "llama4-multimodal": ("Llama4Config", "Llama4ForConditionalGeneration", "llama", llama4),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", "qwen2", qwen2),
    "qwen2-moe": ("Qwen2MoeConfig", "Qwen2MoeForCausalLM", "qwen2", qwen2_moe),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", "qwen3", qwen3),
    "qwen3-moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", "qwen3-moe", qwen3_moe),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", "phi3", phi3),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", "smollm3", smollm3),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", "qwen2", olmo2),
    "olmo3": ("Olmo3Config", "Olmo3ForCausalLM", "qwen2", olmo3),
    "granite": ("GraniteConfig", "GraniteForCausalLM", "qwen2", granite),
    "granite-moe": ("GraniteMoeSharedConfig", "GraniteMoeSharedForCausalLM", "qwen2", granite_moe),
    "gpt-oss": ("GptOssConfig", "GptOssForCausalLM", "qwen2", gpt_oss),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", "gemma", gemma),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", "gemma2", gemma2),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", "gemma3", gemma3),
    "gemma4-shared": ("Gemma4TextConfig", "Gemma4ForCausalLM", "gemma4-e2b", gemma4_shared),
    "gemma4-dense": ("Gemma4TextConfig", "Gemma4ForCausalLM", "gemma4-31b", gemma4_dense),
    "gemma4-experts": ("Gemma4TextConfig", "Gemma4ForCausalLM", "gemma4-31b", gemma4_experts),
    "gemma3n": ("Gemma3nTextConfig", "Gemma3nForCausalLM", "gemma3n", gemma3n),
}


# Multimodal classes: their towers
TOWER = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
             image_size=28, patch_size=14)
TOWERS = {
    "mistral3": dict(TOWER, model_type="pixtral", head_dim=8),
    "mistral3-ministral": dict(TOWER, model_type="pixtral", head_dim=8),
    "llama4-multimodal": dict(TOWER, vision_output_dim=16, projector_input_dim=16,
                              projector_output_dim=16),
}


def sizes(r, vocab):
    kv = r.choice([1, 2, 3])
    heads = kv * r.choice([1, 2, 4])
    return dict(vocab_size=vocab, hidden_size=heads * r.choice([16, 24, 40]),
                intermediate_size=r.choice([40, 96, 200]), num_key_value_heads=kv,
                num_attention_heads=heads, num_hidden_layers=r.choice([1, 3]),
                max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=2,
                attn_implementation="eager", experts_implementation="eager")


def fill(model, seed):
    """Values of the size at which activations neither grow nor vanish."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        v = torch.randn(p.shape, generator=g)
        if p.ndim == 1:
            one = 0.0 if model.config.model_type in ("gemma", "gemma2", "gemma3_text") else 1.0
            v = v * 0.2 + (one if "norm" in name or "scale" in name or "scalar" in name else 0.0)
        else:
            v = v / p.shape[-1] ** 0.5
            if "embed" in name:
                v = v * 2.0
        p.data = v.to(torch.bfloat16).to(torch.float32)


def logits_of(model, ids, dtype):
    model = model.to(dtype)
    if hasattr(model, "language_model"):
        model = model.language_model  # with a head of its own
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].to(torch.float64)


def make(name, seed, folder, golden):
    config_class, model_class, tokenizer, draw = FAMILIES[name]
    r = random.Random(f"{name} {seed}")
    with open(os.path.join(golden, tokenizer, "config.json")) as f:
        vocab = json.load(f)["vocab_size"]
    values = {**sizes(r, vocab), **draw(r)}
    if values["num_attention_heads"] % values.get("num_global_key_value_heads", 1):
        values["num_global_key_value_heads"] = 1
    if name in TOWERS:
        values = dict(text_config=values, vision_config=TOWERS[name], attn_implementation="eager",
                      tie_word_embeddings=values["tie_word_embeddings"])
    config = getattr(transformers, config_class)(**values)
    model = getattr(transformers, model_class)(config).eval()
    fill(model, seed)
    ids = [2] + [r.randrange(3, vocab) for _ in range(IDS - 1)]
    single, double = logits_of(model, ids, torch.float32), logits_of(model, ids, torch.float64)
    model.to(torch.bfloat16).save_pretrained(
        folder, max_shard_size=r.choice(["10GB", "100KB"]))
    for f in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        path = os.path.join(golden, tokenizer, f)
        if os.path.exists(path):
            shutil.copy(path, folder)
    return ids, single, (single - double).abs().max().item()


def run(quern, model, ids, folder):
    out = os.path.join(folder, "out.safetensors")
    subprocess.run([quern, "forward", "--quiet", "--force", "--ids", ",".join(map(str, ids)), "-o",
                    out, model], check=True, stdout=subprocess.DEVNULL)
    with safe_open(out, "pt") as f:
        return f.get_tensor("logits").to(torch.float64)


def compare(quern, name, seed, golden, keep):
    folder = tempfile.mkdtemp(prefix=f"{name}-{seed}-", dir=keep)
    try:
        model = os.path.join(folder, "model")
        gguf = os.path.join(folder, "model.gguf")
        ids, want, noise = make(name, seed, model, golden)
        subprocess.run([quern, "convert", "--quiet", "--outtype", "f32", model, gguf], check=True,
                       stdout=subprocess.DEVNULL)
        spread = want.std().item()
        worst = max((run(quern, m, ids, folder) - want).abs().max().item() for m in (model, gguf))
        fine = worst <= max(1e-4 * spread, 3 * noise)
        print(f"{name} {seed}: {worst / spread:.1e} of the spread, noise {noise / spread:.1e}"
              f"{'' if fine else ': DIFFERENT'}", flush=True)
        return fine
    except (subprocess.CalledProcessError, ValueError) as e:
        print(f"{name} {seed}: {e}", flush=True)
        return False
    finally:
        if not keep:
            shutil.rmtree(folder)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("quern")
    p.add_argument("golden")
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--only")
    p.add_argument("--keep")
    a = p.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    names = [a.only] if a.only else list(FAMILIES)
    results = [compare(a.quern, n, s, a.golden, a.keep) for n in names for s in range(a.seeds)]
    print(f"{sum(results)} of {len(results)} equal")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
