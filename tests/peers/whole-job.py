#!/usr/bin/env python3
"""Times whole jobs: a checkpoint to a quantized GGUF file, by quern in one step
and by llama.cpp's chain (convert_hf_to_gguf.py, then llama-quantize).

    whole-job.py --quern QUERN [--llama-quantize FILE] [--converter FILE [--python FILE]]
                 [--threads N] [--runs N] [--types Q4_K_M,Q8_0] [--memory 128M,320M] CHECKPOINT WORK

CHECKPOINT is what make-checkpoint.py makes.  Each job runs --runs times and the
quickest counts; its seconds, processor seconds, peak resident memory (ru_maxrss
of wait4, mapped pages and all) and the bytes it left in the folder WORK are
printed.  Without --converter the first half of the chain is `quern convert`, and
the table says so: the ratio is then too small.  Outputs are removed."""
import argparse
import os
import subprocess
import sys
import time


def run(command, environment=None):
    """(seconds, processor seconds, peak bytes), or None when it failed."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env={**os.environ, **(environment or {})})
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        print(f'{command[0]}: status {process.returncode}: '
              f'{said.decode(errors="replace").strip().splitlines()[-1:]}', file=sys.stderr)
        return None
    return (time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def size_of(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def best(runs, command, output, environment=None):
    """The quickest of the runs and the size of what it left."""
    results = []
    for _ in range(runs):
        if os.path.exists(output):
            os.remove(output)
        result = run(command, environment)
        if not result:
            return None
        results.append(result)
    return min(results) + (size_of(output),)


def row(what, r):
    if r:
        print(f'{what:44} {r[0]:7.2f} s {r[1]:8.2f} s cpu {r[2] / 2**20:8.1f} MiB '
              f'{r[3] / 2**20:9.1f} MiB written', flush=True)
    else:
        print(f'{what:44} failed', flush=True)


def chain(a, work, types):
    """Seconds by type of converting once and quantizing."""
    f16 = os.path.join(work, 'chain.gguf')
    if a.converter:
        first = best(1, [a.python, a.converter, a.checkpoint, '--outfile', f16, '--outtype', 'auto'], f16)
        row('convert_hf_to_gguf.py', first)
    else:
        first = best(1, [a.quern, 'convert', '-q', '--force', a.checkpoint, f16], f16)
        row('quern convert (in place of the converter)', first)
    seconds = {}
    for t in types if first else []:
        out = os.path.join(work, f'chain-{t}.gguf')
        second = best(a.runs, [a.llama_quantize, f16, out, t, str(a.threads)], out)
        row(f'llama-quantize {t}', second)
        if second:
            seconds[t] = first[0] + second[0]
            row(f'chain {t}', (seconds[t], first[1] + second[1], max(first[2], second[2]),
                               first[3] + second[3]))
        if os.path.exists(out):
            os.remove(out)
    if os.path.exists(f16):
        os.remove(f16)
    return seconds


def limits(a, out):
    """--max-memory is kept by all that is resident, or refused with the least."""
    for limit in a.memory:
        command = [a.quern, 'quantize', '-q', '--force', '-t', str(a.threads), '--max-memory', limit,
                   a.checkpoint, out, a.types[0]]
        r = best(1, command, out)
        row(f'quern {a.types[0]} --max-memory {limit}', r)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--quern', required=True)
    p.add_argument('--llama-quantize')
    p.add_argument('--converter')
    p.add_argument('--python', default=sys.executable)
    p.add_argument('--threads', type=int, default=os.cpu_count())
    p.add_argument('--runs', type=int, default=3)
    p.add_argument('--types', type=lambda s: s.split(','), default=['Q4_K_M', 'Q8_0'])
    p.add_argument('--memory', type=lambda s: s.split(','), default=['128M', '320M'])
    p.add_argument('checkpoint')
    p.add_argument('work')
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    for name in os.listdir(a.checkpoint):  # into the page cache
        with open(os.path.join(a.checkpoint, name), 'rb') as f:
            while f.read(1 << 24):
                pass
    out = os.path.join(a.work, 'out.gguf')
    ours = {}
    quern = [a.quern, 'quantize', '-q', '--force', '-t', str(a.threads)]
    for t in a.types:
        r = best(a.runs, quern + [a.checkpoint, out, t], out)
        row(f'quern quantize {t}', r)
        if r:
            ours[t] = r[0]
    if len(a.types) > 1:
        pattern = os.path.join(a.work, 'out-{type}.gguf')
        last = pattern.replace('{type}', a.types[-1].lower())
        row(f'quern quantize {",".join(a.types)}',
            best(a.runs, quern + [a.checkpoint, pattern, ','.join(a.types)], last))
        for t in a.types:
            path = pattern.replace('{type}', t.lower())
            if os.path.exists(path):
                os.remove(path)
    limits(a, out)
    if os.path.exists(out):
        os.remove(out)
    if a.llama_quantize:
        theirs = chain(a, a.work, a.types)
        for t in theirs:
            if t in ours:
                print(f'{t}: quern is {theirs[t] / ours[t]:.1f} times as fast as the chain')


if __name__ == '__main__':
    main()
