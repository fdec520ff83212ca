"""What the fork server of rig.py has ready before the first run: imports and the vocabulary."""

import docreduce.engine.run
import docreduce.kinds.extract.work
import docreduce.kinds.summarize.steps
import docreduce.providers.openai
from docreduce.models.catalogue import model_info
from docreduce.text.tokens import tokenizer

__all__ = ["docreduce"]

tokenizer("o200k_base", "auto").count("warm")
model_info("openai", "planted-1", None, base_url="http://127.0.0.1:1/v1")
