"""What the tests of reports share: an output folder with two runs, and a document that means harm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOSTILE", "Runs"]

HOSTILE = (
    "DISTRIBUTION AGREEMENT <script>document.title='owned'</script> between \u202eLIVE\u202c Ltd. and Harbour GmbH.\n"
    "<img src=x onerror=alert(1)> </div></main> {{ 7 * 7 }} \u2028 &amp;\n"
    "This agreement is dated March 3, 2021 and is governed by the laws of Germany.\n"
)


@dataclass(frozen=True)
class Runs:
    """An output folder with two runs of one job, and the documents they read."""

    output: Path
    inputs: Path
    first: Path
    second: Path
    job: Path
