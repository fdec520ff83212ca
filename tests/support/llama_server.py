"""A real llama.cpp server on loopback: `python llama_server.py MODEL.gguf PORT CONTEXT_TOKENS SLOTS`.

`CONTEXT_TOKENS` is the window of each slot. It listens at once, answers 503 while it loads, and ends when its stdin
is closed, so that it cannot outlive whoever started it."""

from __future__ import annotations

import sys

import xllamacpp

model, port, context_tokens, slots = sys.argv[1], *map(int, sys.argv[2:5])
params = xllamacpp.CommonParams()
params.model.path = model
params.model_alias = {"smollm2"}
params.hostnames, params.port = ["127.0.0.1"], port
params.n_ctx, params.n_parallel = context_tokens * slots, slots
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.offline, params.warmup, params.use_jinja, params.endpoint_metrics = True, True, True, True
server = xllamacpp.Server(params)
sys.stdin.read()
