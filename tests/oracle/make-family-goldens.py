#!/usr/bin/env python3
"""Makes small golden checkpoints of families, as those under
tests/data/models/golden: a seeded random model by transformers, what it computes
in float32 and float64, and the GGUF files that llama.cpp's converter makes of it.

    make-family-goldens.py LLAMA_CPP TEXT OUT [NAME...]

LLAMA_CPP is its source tree, TEXT the text of the perplexity (golden/ppl.txt),
OUT a folder: OUT/NAME becomes a checkpoint with golden.json, golden.safetensors
and gguf-expected.json, OUT/tokenizers/o200k and tekken their tokenizers (these
split patterns, a vocabulary of 320 trained on TEXT) with their cases.  What the
converter cannot make has no gguf-expected.json.
Needs torch, transformers, tokenizers and gguf; not part of the build."""
import argparse
import contextlib
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB = 320
LAST_ROWS = 2
PPL_CHUNKS = 3
O200K = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
         "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
         "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|"
         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
TEKKEN = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
          "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
          "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
# name: pattern, whether words that are pieces skip merges, the converter's name for it
TOKENIZERS = {"o200k": (O200K, False, "gpt-4o"), "tekken": (TEKKEN, True, "tekken")}
SPECIAL = ["<|startoftext|>", "<|endoftext|>", "<|return|>"]


def plain(**more):
    return dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
                pad_token_id=VOCAB - 2, bos_token_id=VOCAB - 3, eos_token_id=VOCAB - 2, **more)


def default_rope(theta):
    return dict(rope_type="default", rope_theta=theta)


def yarn(theta, **more):
    return dict(rope_type="yarn", rope_theta=theta, factor=8.0, original_max_position_embeddings=32,
                beta_fast=32.0, beta_slow=1.0, **more)


# name: config class, model class, their values
GOLDENS = {
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", plain(rope_parameters=default_rope(500000.0))),
    "olmo3": ("Olmo3Config", "Olmo3ForCausalLM", plain(
        sliding_window=16, layer_types=["sliding_attention", "full_attention"],
        tie_word_embeddings=True,
        rope_parameters=dict(sliding_attention=default_rope(500000.0),
                             full_attention=yarn(500000.0)))),
    "granite": ("GraniteConfig", "GraniteForCausalLM", plain(
        embedding_multiplier=12.0, logits_scaling=2.5, residual_multiplier=0.22,
        attention_multiplier=0.25, tie_word_embeddings=True,
        rope_parameters=default_rope(10000.0))),
    "granite-moe": ("GraniteMoeSharedConfig", "GraniteMoeSharedForCausalLM", plain(
        embedding_multiplier=12.0, logits_scaling=2.5, residual_multiplier=0.22,
        attention_multiplier=0.25, tie_word_embeddings=True, num_local_experts=3,
        num_experts_per_tok=2, shared_intermediate_size=32,
        rope_parameters=default_rope(10000.0))),
}


GOLDENS["gpt-oss"] = ("GptOssConfig", "GptOssForCausalLM", dict(
    plain(head_dim=16, sliding_window=16, num_local_experts=3, num_experts_per_tok=2,
          rope_parameters=yarn(150000.0, truncate=False)), intermediate_size=64))
IN_MXFP4 = ["gpt-oss"]

MINISTRAL = plain(head_dim=16, tie_word_embeddings=False, rope_parameters=yarn(
    1000000.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.25))
MISTRAL = plain(head_dim=16, tie_word_embeddings=False, sliding_window=None,
                rope_parameters=default_rope(1000000.0))
PIXTRAL = dict(model_type="pixtral", hidden_size=16, intermediate_size=16, num_hidden_layers=1,
               num_attention_heads=2, head_dim=8, image_size=28, patch_size=14)
EXPERTS = plain(num_experts_per_tok=2, tie_word_embeddings=False, rope_parameters=default_rope(10000.0))
QWEN_EXPERTS = dict(EXPERTS, num_experts=3, moe_intermediate_size=32)
GOLDENS |= {
    "ministral3": ("Ministral3Config", "Ministral3ForCausalLM", MINISTRAL),
    "mistral3": ("Mistral3Config", "Mistral3ForConditionalGeneration", dict(
        text_config=dict(MISTRAL, model_type="mistral"), vision_config=PIXTRAL,
        tie_word_embeddings=False)),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", dict(
        EXPERTS, num_local_experts=3, sliding_window=None)),
    "qwen2-moe": ("Qwen2MoeConfig", "Qwen2MoeForCausalLM", dict(
        QWEN_EXPERTS, shared_expert_intermediate_size=64)),
}
LLAMA4 = dict(plain(head_dim=16, tie_word_embeddings=False, intermediate_size_mlp=64,
                    num_local_experts=3, num_experts_per_tok=1, attention_chunk_size=16,
                    floor_scale=8, attn_scale=0.25), num_hidden_layers=4)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=500000.0, factor=16.0, low_freq_factor=1.0,
                   high_freq_factor=1.0, original_max_position_embeddings=64)
GOLDENS |= {
    "llama4": ("Llama4TextConfig", "Llama4ForCausalLM", dict(
        LLAMA4, interleave_moe_layer_step=2, rope_parameters=LLAMA3_ROPE)),
    "llama4-multimodal": ("Llama4Config", "Llama4ForConditionalGeneration", dict(
        text_config=dict(LLAMA4, num_hidden_layers=2, num_experts_per_tok=2, use_qk_norm=False,
                         no_rope_layers=[1, 0], rope_parameters=default_rope(500000.0)),
        vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                           num_attention_heads=2, vision_output_dim=16, image_size=28,
                           patch_size=14, projector_input_dim=16, projector_output_dim=16))),
    "qwen3-moe-dense": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", dict(
        QWEN_EXPERTS, head_dim=16, num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3])),
}
WITH_TEKKEN = ["ministral3", "mistral3", "mixtral"]
NOT_CONVERTED = ["qwen3-moe-dense"]  # it knows no dense layers there


# ---- the tokenizer ------------------------------------------------------------------------

def make_tokenizer(name, text):
    pattern, ignore_merges, _ = TOKENIZERS[name]
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    assert t.get_vocab_size() == VOCAB
    return t


def save_tokenizer(t, folder):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(json.loads(t.to_str()), f, ensure_ascii=False, separators=(",", ":"))
    write_json(folder, "tokenizer_config.json", dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token=SPECIAL[0], eos_token=SPECIAL[2],
        pad_token=SPECIAL[1], add_bos_token=False, clean_up_tokenization_spaces=False))


CASES = [
    "", " ", "  ", "\n", "\n\n", " \n \t x", "Hello, world!", "Hello World  three   four", "I'm they'RE WE'LL don't",
    "HTTPServer camelCase XMLHttp", "1 12 123 1234 12345678", "3.14159, 2,000", "a/b/c//\n/d",
    "x=(y+1)*2;\r\n\tz", "...!?\n\n", "naïve café Ünïcode", "Привет, мир", "你好,世界", "नमस्ते दुनिया", "ǅ ʰx",
    "👩‍👩‍👧 ok", "a\u00a0b\u2003c", "e\u0301 é", "<|return|>", "end<|endoftext|>then <|start|>", "'s 'S '",
    "the of and in to", "trailing ", "\ttabs\t\there", "١٢٣٤ ⅷ ½",
]


def save_cases(name, t, folder):
    cases = []
    for text in CASES:
        ids = t.encode(text, add_special_tokens=True).ids
        cases.append(dict(text=text, ids=ids, ids_plain=t.encode(text, add_special_tokens=False).ids,
                          decoded=t.decode(ids, skip_special_tokens=False),
                          decoded_skip_special=t.decode(ids, skip_special_tokens=True)))
    write_json(folder, "vectors.json", dict(tokenizer=name, add_bos_in_llama_cpp=False,
                                            cases=cases))


# ---- the model -----------------------------------------------------------------------------

def draw(model, seed):
    """Values at which activations neither grow nor vanish, each a bfloat16."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        v = torch.randn(p.shape, generator=g)
        if name.endswith("norm.weight") or name.endswith("layernorm.weight"):
            v = 1.0 + 0.2 * v
        elif p.ndim == 1 or name.endswith("_bias"):
            v = 0.3 * v
        elif "embed" in name:
            v = 1.5 * v
        else:
            transposed = name.endswith(("experts.gate_up_proj", "experts.down_proj"))
            v = 1.5 * v / p.shape[-2 if transposed else -1] ** 0.5
        p.data = v.to(torch.bfloat16).to(torch.float32)


def draw_mxfp4(model, seed):
    """Experts of random codes and scales; returns these by the checkpoint's names."""
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    numbers = torch.cat([numbers, -numbers])
    g, tensors = torch.Generator().manual_seed(seed + 1), {}
    for name, p in model.named_parameters():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        n, columns, rows = p.shape
        blocks = torch.randint(256, (n, rows, columns // 32, 16), generator=g, dtype=torch.uint8)
        scales = torch.randint(121, 125, (n, rows, columns // 32), generator=g, dtype=torch.uint8)
        codes = torch.stack([blocks & 15, blocks >> 4], -1).reshape(n, rows, columns // 32, 32)
        values = numbers[codes.long()] * torch.exp2(scales.float() - 127).unsqueeze(-1)
        p.data = values.reshape(n, rows, columns).transpose(1, 2).contiguous()
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks, scales
    return tensors


def save_mxfp4(folder, tensors):
    """The experts' codes in the place of what they stand for."""
    path = os.path.join(folder, "model.safetensors")
    rest = {k: v for k, v in load_file(path).items() if k + "_blocks" not in tensors}
    save_file({**rest, **tensors}, path, metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config["quantization_config"] = dict(quant_method="mxfp4", modules_to_not_convert=[
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"])
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)


@contextlib.contextmanager
def all_double():
    """Nothing in transformers stays in float32: norms, softmax and rope neither."""
    single, to_float = (torch.float32, torch.float), torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float = single
        torch.Tensor.float = to_float


def decoder_of(model):
    d = model.get_decoder()
    return d if hasattr(d, "layers") else d.model


def text_model(model):
    """The part with a head of its own, where a multimodal class has one."""
    d = model.get_decoder()
    return d if hasattr(d, "lm_head") else model


def run(model, ids):
    """Logits, and hidden states: into layer 0, out of each layer, normed."""
    states = []
    layers = decoder_of(model).layers
    hooks = [layers[0].register_forward_pre_hook(
        lambda m, a, k: states.append((a[0] if a else k["hidden_states"]).detach()),
        with_kwargs=True)]
    for layer in layers:
        hooks.append(layer.register_forward_hook(
            lambda m, a, o: states.append((o[0] if isinstance(o, tuple) else o).detach())))
    hooks.append(decoder_of(model).norm.register_forward_hook(
        lambda m, a, o: states.append(o.detach())))
    with torch.no_grad():
        logits = text_model(model)(torch.tensor([ids]), use_cache=False).logits[0]
    for h in hooks:
        h.remove()
    return logits, [s[0, -1] for s in states]


def both(model, ids):
    single = run(model.to(torch.float32), ids)
    with all_double():
        double = run(model.to(torch.float64), ids)
    model.to(torch.float32)
    return single, double


def worst(a, b):
    return (a.double() - b.double()).abs().max().item()


def prompt(model, name, ids, tensors, rows):
    (logits, states), (logits64, states64) = both(model, ids)
    names = ["embed"] + [f"layer.{i}" for i in range(len(states) - 2)] + ["final_norm"]
    tensors[f"logits.{name}"] = logits[-rows:].float().contiguous()
    for n, s in zip(names, states):
        tensors[f"hidden.{name}.{n}"] = s.float().contiguous()
    return dict(ids=ids, argmax=logits.argmax(-1).tolist(), logits_rows=rows,
                logits_std=logits.std().item(), f32_minus_f64_max_abs=worst(logits, logits64),
                hidden_f32_minus_f64_max_abs=[worst(a, b) for a, b in zip(states, states64)])


def greedy(model, ids, n=16):
    out, margin = [], math.inf
    for _ in range(n):
        top = run(model, ids + out)[0][-1].topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        out.append(top.indices[0].item())
    return dict(ids=out, smallest_top2_margin=margin)


def perplexity(model, ids):
    """As llama-perplexity: positions 64..126 of each chunk of 128 predict the next."""
    result = {}
    for key, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        nll = []
        with all_double() if key == "f64" else contextlib.nullcontext():
            model.to(dtype)
            for c in range(len(ids) // 128):
                chunk = ids[128 * c:128 * (c + 1)]
                p = run(model, chunk)[0].to(torch.float64).log_softmax(-1)
                nll += [-p[i, chunk[i + 1]].item() for i in range(64, 127)]
        model.to(torch.float32)
        result[key] = math.exp(sum(nll) / len(nll))
    return dict(n_ctx=128, n_chunks=len(ids) // 128, add_bos=False, **result)


def settle_entropy(model, ids):
    """The head, so that the next token is as uncertain as in the other goldens."""
    norm = decoder_of(model).norm
    low, high = 0.01, 100.0
    start = norm.weight.data.clone()
    for _ in range(30):
        middle = math.sqrt(low * high)
        norm.weight.data = start * middle
        p = run(model, ids)[0].log_softmax(-1)
        entropy = -(p.exp() * p).sum(-1).mean().item()
        low, high = (middle, high) if entropy > math.log(VOCAB) - 1.5 else (low, middle)
    norm.weight.data = (start * middle).to(torch.bfloat16).to(torch.float32)


# ---- the converter's files --------------------------------------------------------------------

CONVERT = """
import runpy, sys
sys.path[:0] = [{root!r}, {root!r} + "/gguf-py"]
import conversion.base as base
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: {pre!r}
sys.argv = ["convert_hf_to_gguf.py", "--outtype", {outtype!r}, "--outfile", {out!r}, {model!r}]
runpy.run_path({root!r} + "/convert_hf_to_gguf.py", run_name="__main__")
"""


def convert(llama_cpp, model, outtype, pre):
    out = model + f".{outtype}.gguf"
    subprocess.run([sys.executable, "-c", CONVERT.format(
        root=os.path.abspath(llama_cpp), pre=pre, outtype=outtype, out=os.path.abspath(out),
        model=os.path.abspath(model))], check=True, capture_output=True)
    return out


def sha(b):
    return hashlib.sha256(b).hexdigest()


def value_of(field):
    import gguf
    types = {t: t.name.lower() for t in gguf.GGUFValueType}
    kind = field.types[0]
    if kind == gguf.GGUFValueType.ARRAY:
        element = field.types[-1]
        values = field.contents()
        o = dict(type=f"array[{types[element]}]")
        if len(values) <= 64:
            return dict(o, value=values)
        if element == gguf.GGUFValueType.STRING:
            data = b"".join(len(s.encode()).to_bytes(8, "little") + s.encode() for s in values)
        else:
            dtype = {"INT32": "<i4", "UINT32": "<u4", "FLOAT32": "<f4", "BOOL": "u1"}[element.name]
            data = np.array(values, dtype=dtype).tobytes()
        return dict(o, length=len(values), first=values[:10], sha256=sha(data))
    return dict(type=types[kind], value=field.contents())


def describe(path):
    import gguf
    r = gguf.GGUFReader(path)
    metadata = [dict(key=k, **value_of(f)) for k, f in r.fields.items()
                if not k.startswith("GGUF.")]
    tensors = [dict(name=t.name, dims=[int(d) for d in t.shape], type=t.tensor_type.name,
                    offset=int(t.data_offset - r.data_offset), bytes=int(t.n_bytes),
                    sha256=sha(t.data.tobytes())) for t in r.tensors]
    return dict(file_bytes=os.path.getsize(path), data_offset=int(r.data_offset),
                alignment=r.alignment, tensors=tensors, metadata=metadata)


def expected(llama_cpp, model, pre):
    outtypes = {}
    for outtype in ("f32", "f16", "bf16", "q8_0"):
        path = convert(llama_cpp, model, outtype, pre)
        o = outtypes[outtype] = describe(path)
        if outtype != "f32":
            same = {m["key"]: m for m in outtypes["f32"]["metadata"]}
            o["metadata_as_f32_but"] = [m for m in o.pop("metadata") if m != same[m["key"]]]
        os.remove(path)
    return {"converter": "llama.cpp's convert_hf_to_gguf.py", "tokenizer.ggml.pre": pre,
            "outtypes": outtypes}


# ---- one golden ------------------------------------------------------------------------------

def write_json(folder, name, what):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(what, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def make(name, llama_cpp, text, out, tokenizer, pre):
    config_class, model_class, values = GOLDENS[name]
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    seed = int(sha(name.encode())[:12], 16)
    config = getattr(transformers, config_class)(**values, attn_implementation="eager",
                                                 experts_implementation="eager")
    model = getattr(transformers, model_class)(config).eval()
    draw(model, seed)
    packed = draw_mxfp4(model, seed) if name in IN_MXFP4 else None
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    settle_entropy(model, ids[:128])
    r, tensors = random.Random(seed), {}
    at = r.randrange(200, 600)
    prompts = dict(short=prompt(model, "short", ids[at:at + 24], tensors, 2 * LAST_ROWS),
                   long=prompt(model, "long", ids[at:at + 64], tensors, LAST_ROWS))
    golden = dict(
        name=name, architecture=model_class, seed=seed, weights_dtype="bfloat16", vocab_size=VOCAB,
        bos_id=None, versions=dict(torch=torch.__version__, transformers=transformers.__version__),
        prompts=prompts, greedy=greedy(model, prompts["short"]["ids"]),
        perplexity=perplexity(model, ids[:128 * PPL_CHUNKS]))
    tensors["ppl.tokens"] = torch.tensor(ids[:128 * PPL_CHUNKS], dtype=torch.int32)
    model.to(torch.bfloat16).save_pretrained(folder)
    if packed:
        save_mxfp4(folder, packed)
    save_tokenizer(tokenizer, folder)
    write_json(folder, "golden.json", golden)
    if name not in NOT_CONVERTED:
        write_json(folder, "gguf-expected.json", expected(llama_cpp, folder, pre))
    save_file(tensors, os.path.join(folder, "golden.safetensors"))
    print(name, "perplexity", golden["perplexity"], flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("llama_cpp")
    p.add_argument("text")
    p.add_argument("out")
    p.add_argument("name", nargs="*")
    a = p.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sys.path.insert(0, os.path.join(a.llama_cpp, "gguf-py"))
    with open(a.text, encoding="utf-8") as f:
        text = f.read().rstrip("\n")
    tokenizers = {name: make_tokenizer(name, text) for name in TOKENIZERS}
    for name, tokenizer in tokenizers.items():
        folder = os.path.join(a.out, "tokenizers", name)
        save_tokenizer(tokenizer, folder)
        save_cases(name, tokenizer, folder)
    for name in a.name or GOLDENS:
        kind = "tekken" if name in WITH_TEKKEN else "o200k"
        make(name, a.llama_cpp, text, a.out, tokenizers[kind], TOKENIZERS[kind][2])


if __name__ == "__main__":
    main()
