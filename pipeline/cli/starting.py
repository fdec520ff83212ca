"""The job file to start from: a template by kind, its `[model]` by provider."""

from __future__ import annotations

from importlib import resources

__all__ = ["job_file"]

_MODELS = {
    "modelslab": """provider = "modelslab"             # offline (no key, extractive) | modelslab | openai | anthropic
name = "baidu-ernie-4.5-21b-a3b"
api_key_env = "MODELSLAB_API_KEY"  # the variable's name, never the key itself
max_output_tokens = 1000
""",
    "openai": """provider = "openai"                # OpenAI, and every server that speaks its chat completions
name = "llama3.2"                  # `docreduce models --live --provider openai --base-url URL` lists what it has
base_url = "http://127.0.0.1:11434/v1"  # here: Ollama; llama.cpp :8080/v1, LM Studio :1234/v1, vLLM :8000/v1
# api_key_env = "OPENAI_API_KEY"   # the variable's name, never the key itself; a server of your own needs none
context_window = 8192              # what the server was started with (Ollama: num_ctx), not what the model could
max_output_tokens = 1000

[pricing]                          # a model of your own costs nothing a token; without this table: the catalogue's
input_usd_per_million = 0.0
output_usd_per_million = 0.0
""",
    "anthropic": """provider = "anthropic"             # offline (no key, extractive) | modelslab | openai | anthropic
name = "claude-haiku-4-5"          # `docreduce models` lists those with a known price
api_key_env = "ANTHROPIC_API_KEY"  # the variable's name, never the key itself
max_output_tokens = 1000
""",
}


def job_file(kind: str, provider: str) -> str:
    """The TOML of a job of `kind`, which asks `provider`."""
    template = (resources.files("docreduce.cli") / f"init.{kind}.toml").read_text(encoding="utf-8")
    if provider == "offline":
        return template
    head, _, rest = template.partition("[model]\n")
    _, blank, rest = rest.partition("\n\n")
    return head + "[model]\n" + _MODELS[provider].removesuffix("\n") + blank + rest
