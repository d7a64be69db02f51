#!/usr/bin/env python3
"""Makes a checkpoint of the Llama or the Gemma 4 family from a seed, to time whole
jobs on.

    make-checkpoint.py [--shape 1.1B|8B|tiny|gemma4-E2B|gemma4-31B] [--holes] [--seed N] DIR

The default has the shape of a 1.1 B parameter model (22 layers, hidden 2048,
vocabulary 32,000): bf16, three shards with their index, 2.2 GB.  Weights are
normal, of standard deviation 0.02.  --holes leaves them out: files of full size
that take no room on disk and read as zeros, for measuring memory alone.  Gemma 4's
are of the released sizes, in the multimodal class: the towers' tensors, which are
left out on the way, are always holes, and what has one dimension is all ones.
Needs numpy, unless --holes."""
import argparse
import json
import os
import struct

SHAPES = {
    #        layers hidden inner heads kv  vocabulary shards
    'tiny': (2, 256, 768, 8, 4, 2000, 2),
    '1.1B': (22, 2048, 5632, 32, 4, 32000, 3),
    '8B': (32, 4096, 14336, 32, 8, 128256, 4),
}
# The released sizes of Gemma 4, as tests/test_gemma4_sizes.c has them.
GEMMA4 = {
    'gemma4-E2B': dict(
        hidden_size=1536, num_hidden_layers=35, intermediate_size=6144, num_attention_heads=8,
        num_key_value_heads=1, num_global_key_value_heads=None, attention_k_eq_v=False,
        sliding_window=512, num_kv_shared_layers=20, hidden_size_per_layer_input=256,
        use_double_wide_mlp=True, period=5, towers=1411, shards=1),
    'gemma4-31B': dict(
        hidden_size=5376, num_hidden_layers=60, intermediate_size=21504, num_attention_heads=32,
        num_key_value_heads=16, num_global_key_value_heads=4, attention_k_eq_v=True,
        sliding_window=1024, num_kv_shared_layers=0, hidden_size_per_layer_input=0,
        use_double_wide_mlp=False, period=6, towers=356, shards=2),
}
GEMMA4_VOCABULARY, GEMMA4_HEAD, GEMMA4_GLOBAL_HEAD = 262144, 256, 512
TOWER = 'model.vision_tower.'
PIECE = 1 << 22  # elements drawn at once


def tensors_of(layers, hidden, inner, heads, kv, vocabulary):
    """(name, shape) in the order of such checkpoints."""
    yield 'model.embed_tokens.weight', (vocabulary, hidden)
    for i in range(layers):
        at = f'model.layers.{i}.'
        yield at + 'input_layernorm.weight', (hidden,)
        yield at + 'self_attn.q_proj.weight', (hidden, hidden)
        yield at + 'self_attn.k_proj.weight', (hidden // heads * kv, hidden)
        yield at + 'self_attn.v_proj.weight', (hidden // heads * kv, hidden)
        yield at + 'self_attn.o_proj.weight', (hidden, hidden)
        yield at + 'post_attention_layernorm.weight', (hidden,)
        yield at + 'mlp.gate_proj.weight', (inner, hidden)
        yield at + 'mlp.up_proj.weight', (inner, hidden)
        yield at + 'mlp.down_proj.weight', (hidden, inner)
    yield 'model.norm.weight', (hidden,)
    yield 'lm_head.weight', (vocabulary, hidden)


def gemma4_tensors_of(g):
    hidden, layers, inputs = g['hidden_size'], g['num_hidden_layers'], g['hidden_size_per_layer_input']
    top = 'model.language_model.'
    yield top + 'embed_tokens.weight', (GEMMA4_VOCABULARY, hidden)
    yield top + 'norm.weight', (hidden,)
    if inputs:
        yield top + 'embed_tokens_per_layer.weight', (GEMMA4_VOCABULARY, layers * inputs)
        yield top + 'per_layer_model_projection.weight', (layers * inputs, hidden)
        yield top + 'per_layer_projection_norm.weight', (inputs,)
    for i in range(layers):
        at = f'{top}layers.{i}.'
        full = (i + 1) % g['period'] == 0
        head = GEMMA4_GLOBAL_HEAD if full else GEMMA4_HEAD
        kv = (full and g['num_global_key_value_heads']) or g['num_key_value_heads']
        wide = g['use_double_wide_mlp'] and i >= layers - g['num_kv_shared_layers']
        inner, queries = g['intermediate_size'] * (2 if wide else 1), g['num_attention_heads'] * head
        for norm in ('input', 'post_attention', 'pre_feedforward', 'post_feedforward'):
            yield f'{at}{norm}_layernorm.weight', (hidden,)
        yield at + 'self_attn.q_proj.weight', (queries, hidden)
        yield at + 'self_attn.k_proj.weight', (kv * head, hidden)
        if not (full and g['attention_k_eq_v']):
            yield at + 'self_attn.v_proj.weight', (kv * head, hidden)
        yield at + 'self_attn.o_proj.weight', (hidden, queries)
        yield at + 'self_attn.q_norm.weight', (head,)
        yield at + 'self_attn.k_norm.weight', (head,)
        yield at + 'mlp.gate_proj.weight', (inner, hidden)
        yield at + 'mlp.up_proj.weight', (inner, hidden)
        yield at + 'mlp.down_proj.weight', (hidden, inner)
        yield at + 'layer_scalar', (1,)
        if inputs:
            yield at + 'per_layer_input_gate.weight', (inputs, hidden)
            yield at + 'per_layer_projection.weight', (hidden, inputs)
            yield at + 'post_per_layer_input_norm.weight', (hidden,)
    for i in range(g['towers']):
        yield f'{TOWER}encoder.tensor.{i}', (768, 768)


def elements(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def bf16_bytes(generator, n):
    """n normal values, rounded to the nearest even bf16."""
    import numpy as np
    bits = (generator.standard_normal(n, dtype=np.float32) * np.float32(0.02)).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()


def write_shard(path, tensors, generator, ones):
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    for name, shape in tensors:
        end = at + 2 * elements(shape)
        header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for name, shape in tensors if generator else []:
            left = elements(shape)
            if name.startswith(TOWER):
                f.seek(2 * left, os.SEEK_CUR)
                continue
            if ones and len(shape) == 1:
                f.write(b'\x80\x3f' * left)
                continue
            while left:
                f.write(bf16_bytes(generator, min(left, PIECE)))
                left -= min(left, PIECE)
        f.truncate(8 + len(text) + at)
    return at


def in_shards(tensors, n):
    """Consecutive runs of about the same size."""
    total, at, shards = sum(elements(s) for _, s in tensors), 0, [[] for _ in range(n)]
    for name, shape in tensors:
        shards[min(n * at // total, n - 1)].append((name, shape))
        at += elements(shape)
    return shards


def tokenizer_of(vocabulary, specials, prefix):
    """A byte-fallback BPE as Llama 2's: bytes, letters, then pairs of what is
    there already.  prefix: a space goes before the text."""
    vocab = {s: i for i, s in enumerate(specials)}
    for b in range(256):
        vocab[f'<0x{b:02X}>'] = len(vocab)
    for c in '▁etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCMFWYPVBGKQJXZ.,0123456789':
        vocab[c] = len(vocab)
    parts, merges = list(vocab)[len(specials) + 256:], []
    for total in range(1, 1 << 30):
        for i in range(max(0, total - len(parts) + 1), min(total, len(parts) - 1) + 1):
            if len(vocab) == vocabulary:
                break
            left, right = parts[i], parts[total - i]
            if left + right in vocab or '▁' in right:
                continue
            vocab[left + right] = len(vocab)
            parts.append(left + right)
            merges.append([left, right])
        else:
            continue
        break
    added = [{'id': i, 'content': t, 'single_word': False, 'lstrip': False, 'rstrip': False,
              'normalized': False, 'special': True} for t, i in list(vocab.items())[:len(specials)]]
    return {
        'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': added,
        'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': '▁'}] * prefix + [
            {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]},
        'pre_tokenizer': None,
        'post_processor': None,
        'decoder': {'type': 'Sequence', 'decoders': [
            {'type': 'Replace', 'pattern': {'String': '▁'}, 'content': ' '},
            {'type': 'ByteFallback'}, {'type': 'Fuse'}] +
            [{'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}] * prefix},
        'model': {'type': 'BPE', 'dropout': None, 'unk_token': '<unk>',
                  'continuing_subword_prefix': None, 'end_of_word_suffix': None, 'fuse_unk': True,
                  'byte_fallback': True, 'vocab': vocab, 'merges': merges},
    }


def write_json(directory, name, what):
    with open(os.path.join(directory, name), 'w', encoding='utf-8') as f:
        json.dump(what, f, ensure_ascii=False, indent=1)


def llama_files(layers, hidden, inner, heads, kv, vocabulary):
    return {
        'config.json': {
            'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'bos_token_id': 1,
            'eos_token_id': 2, 'hidden_act': 'silu', 'hidden_size': hidden,
            'initializer_range': 0.02, 'intermediate_size': inner, 'max_position_embeddings': 2048,
            'num_attention_heads': heads, 'num_hidden_layers': layers, 'num_key_value_heads': kv,
            'rms_norm_eps': 1e-05, 'rope_theta': 10000.0, 'tie_word_embeddings': False,
            'torch_dtype': 'bfloat16', 'vocab_size': vocabulary},
        'generation_config.json': {'bos_token_id': 1, 'eos_token_id': 2},
        'tokenizer.json': tokenizer_of(vocabulary, ['<unk>', '<s>', '</s>'], True),
        'tokenizer_config.json': {
            'tokenizer_class': 'LlamaTokenizerFast', 'bos_token': '<s>', 'eos_token': '</s>',
            'unk_token': '<unk>', 'add_bos_token': True, 'add_eos_token': False},
    }


def gemma4_files(g):
    text = {k: v for k, v in g.items() if k not in ('period', 'towers', 'shards')}
    layers, period = g['num_hidden_layers'], g['period']
    return {
        'config.json': {
            'architectures': ['Gemma4ForConditionalGeneration'], 'model_type': 'gemma4',
            'dtype': 'bfloat16', 'text_config': dict(
                text, model_type='gemma4_text', head_dim=GEMMA4_HEAD, global_head_dim=GEMMA4_GLOBAL_HEAD,
                vocab_size=GEMMA4_VOCABULARY, vocab_size_per_layer_input=GEMMA4_VOCABULARY,
                final_logit_softcapping=30.0, max_position_embeddings=131072,
                layer_types=[('sliding' if (i + 1) % period else 'full') + '_attention'
                             for i in range(layers)])},
        'generation_config.json': {'bos_token_id': 2, 'eos_token_id': [1, 106]},
        'tokenizer.json': tokenizer_of(GEMMA4_VOCABULARY, ['<pad>', '<eos>', '<bos>', '<unk>'], False),
        'tokenizer_config.json': {
            'tokenizer_class': 'GemmaTokenizer', 'bos_token': '<bos>', 'eos_token': '<eos>',
            'unk_token': '<unk>', 'pad_token': '<pad>'},
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--shape', choices=[*SHAPES, *GEMMA4], default='1.1B')
    parser.add_argument('--holes', action='store_true')
    parser.add_argument('--seed', type=int, default=20260824)
    parser.add_argument('directory')
    a = parser.parse_args()
    gemma4 = GEMMA4.get(a.shape)
    if gemma4:
        n, tensors, files = gemma4['shards'], list(gemma4_tensors_of(gemma4)), gemma4_files(gemma4)
    else:
        *shape, n = SHAPES[a.shape]
        tensors, files = list(tensors_of(*shape)), llama_files(*shape)
    generator = None
    if not a.holes:
        import numpy as np
        generator = np.random.Generator(np.random.PCG64(a.seed))
    os.makedirs(a.directory)
    weight_map, total = {}, 0
    for i, shard in enumerate(in_shards(tensors, n)):
        name = 'model.safetensors' if n == 1 else f'model-{i + 1:05d}-of-{n:05d}.safetensors'
        total += write_shard(os.path.join(a.directory, name), shard, generator, gemma4)
        weight_map.update({t: name for t, _ in shard})
    if n > 1:
        files['model.safetensors.index.json'] = {'metadata': {'total_size': total}, 'weight_map': weight_map}
    for name, what in files.items():
        write_json(a.directory, name, what)


if __name__ == '__main__':
    main()
