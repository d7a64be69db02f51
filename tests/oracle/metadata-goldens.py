#!/usr/bin/env python3
"""Model directories and the general.* keys that gguf-py finds for them.

    PYTHONPATH=llama.cpp/gguf-py tests/oracle/metadata-goldens.py > tests/data/model-cards/expected.json

Each case is a directory's name, the numbers of parameters, small files (front
matter in the forms that published cards have) and what
gguf.Metadata.load() and set_gguf_meta_model() write, in order, with the file
name of the naming convention.  Not part of the build."""
import json
import os
import sys
import tempfile
from pathlib import Path

import gguf
from gguf.utility import naming_convention, size_label

LLAMA = """---
language:
- en
- de
- fr
library_name: transformers
pipeline_tag: text-generation
tags:
- facebook
- meta
- pytorch
license: llama3.2
extra_gated_prompt: >-
  ### A LICENSE AGREEMENT

  "Agreement" means the terms: use, and so on. "Documentation" means the
  manuals.
extra_gated_fields:
  First Name: text
  Country: country
  Job title:
    type: select
    options:
      - Student
      - Other
  geo: ip_location
  By clicking Submit below I accept the terms: checkbox
extra_gated_button_content: Submit
---

# A title
---
name: not front matter
"""

QWEN = """---
license: apache-2.0
license_link: https://huggingface.co/Qwen/Qwen2.5-7B-Instruct/blob/main/LICENSE
language:
- en
pipeline_tag: text-generation
base_model: Qwen/Qwen2.5-7B
tags:
- chat
library_name: transformers
---

# Qwen
"""

GEMMA = """---
base_model: google/gemma-3-270m
license: gemma
tags:
- gemma3
- gemma
- google
pipeline_tag: text-generation
library_name: transformers
extra_gated_heading: Access Gemma on Hugging Face
extra_gated_prompt: >-
  To access Gemma, you're required to review and agree to a license. Requests
  are processed immediately.
---
"""

MIXTRAL = """---
library_name: vllm
language:
- fr
- it
- de
- es
- en
license: apache-2.0
base_model: mistralai/Mixtral-8x7B-v0.1
inference: false
widget:
- messages:
  - role: user
    content: What is your favorite condiment?
extra_gated_description: If you want to learn more, read the <a href="https://x.example/terms/">Policy</a>.
---
"""

PHI = """---
license: mit
license_link: https://huggingface.co/microsoft/Phi-3-mini-4k-instruct/resolve/main/LICENSE

language:
- en
- fr
pipeline_tag: text-generation
tags:
- nlp
- code
inference:
  parameters:
    temperature: 0
widget:
  - messages:
      - role: user
        content: Can you provide ways to eat combinations of bananas and dragonfruits?
---
"""

FINETUNE = """---
language: en
license: [apache-2.0, cc-by-4.0]
tags:
  - Llama-3
  - instruct
  - "roleplaying"   # a comment
base_model:
- meta-llama/Llama-3.1-8B
- https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.3
- https://example.org/models/other
- ssh://git@hf.example/org/name
- A sentence about a model
- Bare-Name-7B-v2
datasets:
- HuggingFaceH4/ultrachat_200k
- https://huggingface.co/datasets/allenai/dolma
- teknium/OpenHermes-2.5
widget:
- example_title: Hermes 3
  messages:
  - role: system
    content: >-
      You are a sentient, "superintelligent" artificial general intelligence:
      here to teach.
model-index:
- name: Hermes
  results:
  - task: &id001
      type: text-generation
    metrics:
    - type: acc
      value: 61.5
  - task: *id001
---
"""

QUANTIZER = """---
base_model: https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.2
inference: false
license: apache-2.0
model_creator: Mistral AI_
model_name: Mistral 7B Instruct v0.2
model_type: mistral
pipeline_tag: text-generation
prompt_template: '<s>[INST] {prompt} [/INST]

  '
quantized_by: Somebody
---
"""

NORWEGIAN = """---
language:
- nb
- no
- nn
license: "cc-by-nc-4.0"
tags:
\t- norwegian
license_name: other
pipeline_tag: text-generation
---
"""

OWN = """---
name: A Name Of Its Own
author: Some Author
version: v7
organization: An Organization
description: |
  Two lines
  of text: with 'quotes' and \\ backslashes, and 🦙
finetune: Chat
basename: Own
size_label: 9.9B
url: https://example.org/
doi: 10.1000/xyz
uuid: 123e4567-e89b-12d3-a456-426614174000
repo_url: https://example.org/repo
license: other
license_name: a-license
license_link: LICENSE
base_models:
- name: First
  author: A
  version: v1
  organization: O
  description: D
  url: https://example.org/1
  doi: 10.1/1
  uuid: u
  repo_url: https://example.org/r
- {name: Second, url: null, colour: blue}
dataset: some/data-set-v1.5
languages: [en, fr]
language: de
tags: one
pipeline_tag: [two, three]
---
"""

NULLS = """---
name:
model_name: Model Name
author: ~
model_creator: null
version: Null
license: ''
base_model:
base_models: not/used
datasets: []
tags:
language: ~
---
"""

OVERRIDE = {
    "general.name": "Overridden Name",
    "general.author": "An Author",
    "general.version": None,
    "general.organization": "Org",
    "general.finetune": "Tuned",
    "general.basename": "Base",
    "general.description": "Words, \u00e4\u00f6\u00fc",
    "general.quantized_by": "Me",
    "general.size_label": "1B",
    "general.license.name": "mine",
    "general.license.link": "https://example.org/l",
    "general.url": "https://example.org",
    "general.doi": "10.1/2",
    "general.uuid": "uu",
    "general.repo_url": "https://example.org/r",
    "general.source.url": "https://example.org/s",
    "general.source.doi": "10.1/3",
    "general.source.uuid": "us",
    "general.source.repo_url": "https://example.org/sr",
    "general.base_models": [{"name": "B", "organization": "O", "repo_url": "https://example.org/b"}],
    "general.datasets": [{"name": "D"}, {}],
    "general.tags": ["x", "y"],
    "general.languages": [],
    "general.sampling.top_k": 7,
    "general.sampling.temp": 1,
    "general.sampling.min_p": 0.05,
    "general.sampling.sequence": "kpt",
}

GENERATION = {
    "bos_token_id": 1, "do_sample": True, "eos_token_id": [1, 2], "temperature": 0.6,
    "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.05, "min_p": None,
    "transformers_version": "4.45.0.dev0",
}


def case(directory, parameters, readme=None, experts=0, of_one_expert=0, config=None,
         generation=None, override=None, model_name=None):
    files = {}
    if readme is not None:
        files["README.md"] = readme
    if config is not None:
        files["config.json"] = json.dumps(config)
    if generation is not None:
        files["generation_config.json"] = generation if isinstance(generation, str) else json.dumps(generation)
    if override is not None:
        files["override.json"] = json.dumps(override)
    return dict(directory=directory, parameters=parameters, experts=experts,
                of_one_expert=of_one_expert, model_name=model_name, files=files)


CASES = [
    case("Llama-3.2-1B-Instruct", 1235814400, LLAMA, generation=GENERATION),
    case("Qwen2.5-7B-Instruct", 7615616512, QWEN, generation=dict(GENERATION, top_k=20)),
    case("gemma-3-270m-it", 268098176, GEMMA,
         generation={"cache_implementation": "hybrid", "top_k": 64, "top_p": 0.95}),
    case("Mixtral-8x7B-Instruct-v0.1", 46702792704, MIXTRAL, 8, 7241732096),
    case("SmolLM2-135M", 134515008, "---\nlibrary_name: transformers\nlicense: apache-2.0\nlanguage:\n- en\n---\n\n\n# SmolLM2\n",
         config={"_name_or_path": "HuggingFaceTB/SmolLM2-135M"}),
    case("gemma-4-E2B-it", 4647450147,
         "---\nlibrary_name: transformers\nlicense: apache-2.0\nlicense_link: https://ai.google.dev/gemma/docs/gemma_4_license\npipeline_tag: any-to-any\nbase_model:\n- google/gemma-4-E2B\n---\n"),
    case("gemma-4-26B-A4B-it", 25233142046, "---\nlicense: apache-2.0\n---\n", 128, 2500000000),
    case("Qwen3-30B-A3B", 30532122624, QWEN.replace("2.5-7B", "3-30B-A3B"), 128, 1500000000),
    case("Phi-3-mini-4k-instruct", 3821079552, PHI),
    case("Hermes-3-Llama-3.1-8B", 8030261248, FINETUNE),
    case("Mistral-7B-Instruct-v0.2-AWQ", 7241732096, QUANTIZER),
    case("nb-gpt-j-6B", 6053381344, NORWEGIAN),
    case("own", 1000000, OWN),
    case("nulls", 1000000, NULLS),
    case("override-1B", 1235814400, LLAMA, generation=GENERATION, override=OVERRIDE),
    case("override-name", 1235814400, OWN, override=OVERRIDE, model_name="The Last Word"),
    case("override-null-2B", 2000000000, OWN, override={"general.name": None, "general.size_label": None,
                                                       "general.base_models": None, "general.tags": None,
                                                       "general.sampling.temp": None}, generation=GENERATION),
    case("checkpoint-500", 134515008),
    case("a model, in words", 70553706560),
    case("my-moe", 46702792704, experts=8, of_one_expert=7241732096),
    case("x", 1000, config={"_name_or_path": "meta-llama/Llama-2-7b-chat-hf"}),
    case("y", 1000, config={"_name_or_path": "/home/me/Llama-2-7b-chat-hf"}),
    case("empty-card-1B", 1000000000, ""),
    case("no-front-matter-1B", 1000000000, "# A title\n---\nlicense: mit\n---\n"),
    case("open-front-matter-1B", 1000000000, "---\nlicense: mit\n"),
    case("two-rules-1B", 1000000000, "---\n---\nlicense: mit\n"),
    case("text-front-matter-1B", 1000000000, "---\njust words\n---\n"),
    case("carriage-returns-1B", 1000000000, "---\r\nlicense: mit\r\nlanguage:\r\n- no\r\n---\r\nname: x\r\n"),
    case("json-front-matter-1B", 1000000000, '---\n{"license": "mit", "tags": ["a", "b\\u00e4"]}\n---\n'),
    case("broken-generation-1B", 1000000000, generation="{"),
    case("merged-license-1B", 1000000000, "---\nlicense:\n- mit\nlicense: &l\n- a\n- b\ntags: *l\n---\n"),
]


def value(v):
    if v.type == gguf.GGUFValueType.ARRAY:
        return ["str[]", list(v.value)]
    if v.type == gguf.GGUFValueType.STRING:
        return ["str", v.value]
    return [{"UINT32": "u32", "INT32": "i32", "FLOAT32": "f32"}[v.type.name], v.value]


def run(c, root):
    d = Path(root) / c["directory"]
    d.mkdir()
    for name, text in c["files"].items():
        with open(d / name, "w", encoding="utf-8", newline="") as f:
            f.write(text)
    override = d / "override.json"
    m = gguf.Metadata.load(override if override.exists() else None, d, c["model_name"], c["parameters"])
    if m.name is None:
        m.name = d.name
    if m.size_label is None:
        m.size_label = size_label(c["parameters"], 0 if c["experts"] else c["parameters"],
                                  c["of_one_expert"], c["experts"])
    w = gguf.GGUFWriter(path=None, arch="x")
    w.kv_data[0].clear()
    m.set_gguf_meta_model(w)
    file = naming_convention(m.name, m.basename, m.finetune, m.version, m.size_label, "BF16")
    return dict(c, keys={k: value(v) for k, v in w.kv_data[0].items()}, file=file + ".gguf")


with tempfile.TemporaryDirectory() as root:
    json.dump([run(c, root) for c in CASES], sys.stdout, indent=1, ensure_ascii=False)
print()
