"""What the fork server of rig.py has ready before the first run: imports and the vocabulary."""

import pipeline.kinds.extraction
import pipeline.providers.openai
import pipeline.run
from pipeline.pricing import model_info
from pipeline.tokens import tokenizer

__all__ = ["pipeline"]

tokenizer("o200k_base", "auto").count("warm")
model_info("openai", "planted-1", None, base_url="http://127.0.0.1:1/v1")
