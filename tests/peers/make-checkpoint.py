#!/usr/bin/env python3
"""Makes a checkpoint of the Llama family from a seed, to time whole jobs on.

    make-checkpoint.py [--shape 1.1B|8B|tiny] [--holes] [--seed N] DIR

The default has the shape of a 1.1 B parameter model (22 layers, hidden 2048,
vocabulary 32,000): bf16, three shards with their index, 2.2 GB.  Weights are
normal, of standard deviation 0.02.  --holes leaves them out: files of full size
that take no room on disk and read as zeros, for measuring memory alone.
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


def write_shard(path, tensors, generator):
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    for name, shape in tensors:
        end = at + 2 * elements(shape)
        header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        if not generator:
            f.truncate(8 + len(text) + at)
            return at
        for _, shape in tensors:
            left = elements(shape)
            while left:
                f.write(bf16_bytes(generator, min(left, PIECE)))
                left -= min(left, PIECE)
    return at


def in_shards(tensors, n):
    """Consecutive runs of about the same size."""
    total, at, shards = sum(elements(s) for _, s in tensors), 0, [[] for _ in range(n)]
    for name, shape in tensors:
        shards[min(n * at // total, n - 1)].append((name, shape))
        at += elements(shape)
    return shards


def tokenizer_of(vocabulary):
    """A byte-fallback BPE as Llama 2's: bytes, letters, then pairs of what is
    there already."""
    vocab = {'<unk>': 0, '<s>': 1, '</s>': 2}
    for b in range(256):
        vocab[f'<0x{b:02X}>'] = len(vocab)
    for c in '▁etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCMFWYPVBGKQJXZ.,0123456789':
        vocab[c] = len(vocab)
    parts, merges = list(vocab)[259:], []
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
              'normalized': False, 'special': True} for t, i in list(vocab.items())[:3]]
    return {
        'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': added,
        'normalizer': {'type': 'Sequence', 'normalizers': [
            {'type': 'Prepend', 'prepend': '▁'},
            {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]},
        'pre_tokenizer': None,
        'post_processor': None,
        'decoder': {'type': 'Sequence', 'decoders': [
            {'type': 'Replace', 'pattern': {'String': '▁'}, 'content': ' '},
            {'type': 'ByteFallback'}, {'type': 'Fuse'},
            {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}]},
        'model': {'type': 'BPE', 'dropout': None, 'unk_token': '<unk>',
                  'continuing_subword_prefix': None, 'end_of_word_suffix': None, 'fuse_unk': True,
                  'byte_fallback': True, 'vocab': vocab, 'merges': merges},
    }


def write_json(directory, name, what):
    with open(os.path.join(directory, name), 'w', encoding='utf-8') as f:
        json.dump(what, f, ensure_ascii=False, indent=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--shape', choices=SHAPES, default='1.1B')
    parser.add_argument('--holes', action='store_true')
    parser.add_argument('--seed', type=int, default=20260824)
    parser.add_argument('directory')
    a = parser.parse_args()
    layers, hidden, inner, heads, kv, vocabulary, n = SHAPES[a.shape]
    generator = None
    if not a.holes:
        import numpy as np
        generator = np.random.Generator(np.random.PCG64(a.seed))
    os.makedirs(a.directory)
    tensors = list(tensors_of(layers, hidden, inner, heads, kv, vocabulary))
    weight_map, total = {}, 0
    for i, shard in enumerate(in_shards(tensors, n)):
        name = f'model-{i + 1:05d}-of-{n:05d}.safetensors'
        total += write_shard(os.path.join(a.directory, name), shard, generator)
        weight_map.update({t: name for t, _ in shard})
    write_json(a.directory, 'model.safetensors.index.json',
               {'metadata': {'total_size': total}, 'weight_map': weight_map})
    write_json(a.directory, 'config.json', {
        'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'bos_token_id': 1,
        'eos_token_id': 2, 'hidden_act': 'silu', 'hidden_size': hidden,
        'initializer_range': 0.02, 'intermediate_size': inner, 'max_position_embeddings': 2048,
        'num_attention_heads': heads, 'num_hidden_layers': layers, 'num_key_value_heads': kv,
        'rms_norm_eps': 1e-05, 'rope_theta': 10000.0, 'tie_word_embeddings': False,
        'torch_dtype': 'bfloat16', 'vocab_size': vocabulary})
    write_json(a.directory, 'generation_config.json', {'bos_token_id': 1, 'eos_token_id': 2})
    write_json(a.directory, 'tokenizer.json', tokenizer_of(vocabulary))
    write_json(a.directory, 'tokenizer_config.json', {
        'tokenizer_class': 'LlamaTokenizerFast', 'bos_token': '<s>', 'eos_token': '</s>',
        'unk_token': '<unk>', 'add_bos_token': True, 'add_eos_token': False})


if __name__ == '__main__':
    main()
