"""What a person can do about a failure, by the kind that the results name."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["remedy"]

SERVED = "The service did not answer for limits.give_up_s."
AGAIN = "Run the same command again: only what is missing is asked for."
RETRY = "`docreduce run JOB.toml --retry-failed` asks again; without it this failure is remembered."
_REMEDIES: Mapping[str, str] = {
    "rate_limited": f"{AGAIN} If it stays: lower [limits] to what the account allows.",
    "overloaded": f"The service had no room. {AGAIN}",
    "server_error": f"A fault of the service. {AGAIN}",
    "timeout": f"{AGAIN} If it stays: raise limits.timeout_s or lower chunking.max_tokens.",
    "connection": f"The service was not reached. {AGAIN}",
    "unreachable": f"{SERVED} When it does: {AGAIN}",
    "bad_body": f"The service answered with something that is no answer. {AGAIN}",
    "processing": f"The service was still working on it. {AGAIN}",
    "loop": f"The model repeated itself. {AGAIN} A lower temperature or smaller chunks help.",
    "unsupported": "The service takes none of the forms asked for: set model.structured_output or another model.",
    "context_overflow": f"Too long for the model: lower chunking.max_tokens or model.context_window. {RETRY}",
    "cut": "The answer broke off: raise model.max_output_tokens, or ask for less (max_words, fewer fields).",
    "shortened": "Asked for in fewer words, since answers broke off: raise model.max_output_tokens.",
    "bad_request": "The service refuses this request: its words above say why.",
    "content_filter": f"The service refuses this text. {RETRY} A [[model.fallback]] may take it.",
    "invalid_output": f"The model did not answer in the form asked for. {RETRY} Or set model.structured_output.",
    "incomplete": f"Some fields of the schema were not found or not valid. {RETRY} Or make them optional.",
    "truncated_input": "The service read less than it was sent: set model.context_window to what it really takes.",
    "authentication": "The key (of a proxy, its password) is wrong: check the variable that model.api_key_env names.",
    "credit": "The account has no credit left: top it up, then run again.",
    "permission": "The key may not use this model (or a proxy not this host): ask its owner, or set another model.",
    "unknown_model": "The service does not know the model: `docreduce models --live` lists those it has.",
    "quota": "The account's quota is used up: run again after its reset.",
    "budget": "Raise budget.max_cost_usd and run again: it goes on where it stopped.",
    "waiting": "Its batch is out at the service: the same command takes up again.",
    "deadline": f"The deadline was reached. {AGAIN}",
    "stopped": f"The run was interrupted. {AGAIN}",
    "too_large": "Raise input.max_document_mb or limits.tokens_per_minute, or split the file.",
    "empty": "Nothing to do where the text is empty; of an empty answer the words above say what to set.",
    "no_text": "A scan without text: recognize its text first (OCR), then run again.",
    "thin_text": "Hardly any text for its pages: is it a scan? Recognize its text first (OCR).",
    "encrypted": "Remove the password from the file, or state it, then run again.",
    "not_text": "Not text in an encoding that is known: convert it to UTF-8.",
    "doubtful_encoding": "The encoding is a guess: convert the file to UTF-8.",
    "unreadable": "The file is damaged or not what its name says: get a sound copy, then run again.",
    "old_format": "Save it in a format of today (DOCX, XLSX, PPTX, ODT or PDF), then run again.",
    "remote": f"The store did not give it whole: its words above say why. {AGAIN}",
    "no_reader": "Install what the words above name, then run again.",
    "crashed": "The file broke the reader: get a sound copy, or convert it to text.",
    "malformed_row": "Mend the row in the table, then run again.",
    "unfit_value": "State the column's type in input.types, or mend the row in the table, then run again.",
    "no_column": "Set input.text_column to a column that the table has.",
}  # fmt: skip


def remedy(kind: str | None) -> str:
    """What to do about a failure of this kind; for one that is not known what always holds."""
    return _REMEDIES.get(kind or "", AGAIN)
