#!/usr/bin/env python3
"""Times forward passes: quern perplexity beside llama-perplexity and transformers.

    forward.py [--llama PROGRAM] [--torch PYTHON] [--chunks A,B] [--rounds N]
               [-c N] [-t N] QUERN TEXT MODEL.gguf[=CHECKPOINT]...

Everything runs in turn on the same chunks of the same text, on as many threads.
A figure is tokens a second between a run of A chunks and one of B, so loading
counts for nobody; the best of the rounds, since other load only makes it worse.
PROGRAM is llama-perplexity.  PYTHON has torch and transformers, which run the
CHECKPOINT in float32, as eager code does by default.  "of roof" is quern's share of
the multiply-add peak that `quern bench` finds in the same run, for the 2 operations
a token takes with each weight of the layers, and with the head's in the scored half,
as if layers left out no token; attention is not counted."""
import argparse
import json
import re
import subprocess
import sys
import time

TORCH = '''
import sys, time, torch
from transformers import AutoModelForCausalLM
path, threads, n_ctx, chunks = sys.argv[1], *map(int, sys.argv[2:5])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
ids = torch.randint(10, min(1000, model.config.get_text_config().vocab_size), (4, n_ctx))
def run(n):
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(n):
            torch.log_softmax(model(ids, logits_to_keep=n_ctx // 2).logits, -1).sum()
    return time.perf_counter() - start
run(1)
print(4 * n_ctx * chunks / run(chunks))
'''


def seconds(command):
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout + done.stderr


def rate(command, chunks, n_ctx):
    """Tokens a second between two numbers of chunks, and what the longer run said."""
    few, _ = seconds(command + ['--chunks', str(chunks[0])])
    many, said = seconds(command + ['--chunks', str(chunks[1])])
    return (chunks[1] - chunks[0]) * n_ctx / max(many - few, 1e-9), said


def perplexity_in(said):
    found = re.search(r'PPL = ([0-9.]+)', said)
    return found.group(1) if found else '-'


def work_of(quern, model, n_ctx):
    """Operations of a token."""
    document = json.loads(subprocess.check_output([quern, 'inspect', '--json', model]))
    sizes = {t['name']: t['shape'] for t in document['tensors']}
    weights = {n: s[0] * s[1] for n, s in sizes.items() if len(s) == 2}
    head = weights.get('output.weight', weights['token_embd.weight'])
    layers = sum(w for n, w in weights.items() if n.startswith('blk.'))
    return 2 * layers + 2 * head * (n_ctx - 1 - n_ctx // 2) / n_ctx


def roof_of(quern, threads):
    said = subprocess.check_output([quern, 'bench', 'gemm', '--json', '-t', str(threads)])
    results = json.loads(said)['results']
    return next(r['flop_per_s'] for r in results if r['name'] == 'multiply-adds')


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--llama')
    p.add_argument('--torch')
    p.add_argument('--chunks', default='2,10')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('-c', type=int, default=512)
    p.add_argument('-t', type=int, default=2)
    p.add_argument('quern')
    p.add_argument('text')
    p.add_argument('models', nargs='+')
    o = p.parse_args()
    chunks = [int(n) for n in o.chunks.split(',')]
    say = lambda *cells: print('| ' + ' | '.join(cells) + ' |', flush=True)
    roof = roof_of(o.quern, o.t)
    say('model', 'quern tok/s', 'of roof', 'llama-perplexity', 'ratio', 'transformers', 'ratio',
        'PPL', 'llama PPL')
    say('---', *['--:'] * 8)
    for entry in o.models:
        model, _, checkpoint = entry.partition('=')
        common = ['-f', o.text, '-c', str(o.c), '-t', str(o.t)]
        ours, theirs, torch, said, theirs_said = 0, 0, 0, '', ''
        for _ in range(o.rounds):
            r, said = rate([o.quern, 'perplexity', model] + common, chunks, o.c)
            ours = max(ours, r)
            if o.llama:
                r, theirs_said = rate([o.llama, '-m', model] + common, chunks, o.c)
                theirs = max(theirs, r)
            if o.torch and checkpoint:
                r = subprocess.check_output([o.torch, '-c', TORCH, checkpoint, str(o.t), str(o.c),
                                             str(max(1, (chunks[1] - chunks[0]) // 4))], text=True,
                                            stderr=subprocess.DEVNULL)
                torch = max(torch, float(r))
        share = ours * work_of(o.quern, model, o.c) / roof
        say(model.rsplit('/', 1)[-1], f'{ours:.0f}', f'{100 * share:.0f} %',
            f'{theirs:.0f}' if theirs else '-', f'{ours / theirs:.2f}' if theirs else '-',
            f'{torch:.0f}' if torch else '-', f'{ours / torch:.2f}' if torch else '-',
            perplexity_in(said), perplexity_in(theirs_said))


if __name__ == '__main__':
    sys.exit(main())
