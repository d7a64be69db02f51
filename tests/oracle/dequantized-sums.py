"""What a packed checkpoint's weights must decode to, as sums.

For each DIRECTORY with a dequantized.safetensors: DIRECTORY/dequantized.json, the
sha256 of every tensor's float32 values in row order, -0 as 0 (a code of 0 has no
sign to give back).  gpt-oss' experts are stored transposed there, [expert][in][out]:
what the blocks hold is [expert][out][in].

    dequantized-sums.py DIRECTORY...
"""

import hashlib
import json
import sys

import numpy as np
from safetensors.numpy import load_file

for directory in sys.argv[1:]:
    sums = {}
    for name, values in sorted(load_file(f"{directory}/dequantized.safetensors").items()):
        if values.ndim == 3:
            name, values = name + ".weight", np.swapaxes(values, 1, 2)
        values = np.ascontiguousarray(values, dtype="<f4") + np.float32(0)
        sums[name] = hashlib.sha256(values.tobytes()).hexdigest()
    with open(f"{directory}/dequantized.json", "w") as f:
        json.dump(sums, f, indent=1)
        f.write("\n")
