"""Office files of before 2007 (DOC, XLS, PPT, MSG) and encrypted ones of after it, which share their container.

The former are failed rows that say what to do; the latter are read where the job names a password (extra `crypt`)."""

from __future__ import annotations

import io

from docreduce.readers.archive import zip_names
from docreduce.readers.base import SAMPLE_BYTES, FileFormat, ReadOptions, Text
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT", "decrypted"]

# The names of the streams in the container's directory, in UTF-16: [MS-CFB] 2.6.1.
_KINDS = (
    ("EncryptedPackage", ""),
    ("WordDocument", "a Word document of before 2007 (DOC)"),
    ("PowerPoint Document", "a PowerPoint file of before 2007 (PPT)"),
    ("Workbook", "an Excel file of before 2007 (XLS)"),
    ("__substg1.0_", "an Outlook message (MSG)"),
)
_CONVERT = "Convert it first: `soffice --headless --convert-to {} FILE`."
_TARGETS = {"WordDocument": "docx", "PowerPoint Document": "pptx", "Workbook": "xlsx"}


def _read(raw: bytes, options: ReadOptions) -> Text:
    for name, kind in _KINDS:
        if name.encode("utf-16-le") in raw:
            if not kind:
                return _read_encrypted(raw, options)
            hint = _CONVERT.format(_TARGETS[name]) if name in _TARGETS else "Save it as EML."
            raise DocumentError(f"{kind} is a format that is not read", kind="old_format", hint=hint)
    if raw.startswith(b"\xd0\xcf\x11\xe0"):
        raise DocumentError("an old Office file of an unknown kind, or a damaged one")
    raise DocumentError("its name is that of an old Office file, its content is none", kind="not_text")


def _read_encrypted(raw: bytes, options: ReadOptions) -> Text:
    from docreduce.readers.registry import format_of

    if not options.password:
        hint = "Name the variable that holds the password in input.password_env."
        raise DocumentError("the Office file is encrypted", kind="encrypted", hint=hint)
    opened = decrypted(raw, options.password)
    known = format_of("", opened[:SAMPLE_BYTES], lambda: zip_names(io.BytesIO(opened)))
    if not isinstance(known, FileFormat):
        raise DocumentError("an encrypted table is not read", kind="encrypted", hint="Save it without a password.")
    return known.read(opened, options)


def decrypted(raw: bytes, password: str) -> bytes:
    """The Office file inside an encrypted one. Raises DocumentError for a wrong password or a missing extra."""
    try:
        import msoffcrypto
        from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError, ParseError
    except ImportError as error:
        hint = "Install it: pip install 'docreduce[crypt]'."
        raise DocumentError("an encrypted Office file needs the extra `crypt`", kind="encrypted", hint=hint) from error
    opened = io.BytesIO()
    try:
        office = msoffcrypto.OfficeFile(io.BytesIO(raw))
        office.load_key(password=password)
        office.decrypt(opened)
    except InvalidKeyError as error:
        raise DocumentError("the Office file is encrypted and the password does not fit", kind="encrypted") from error
    except (DecryptionError, FileFormatError, ParseError, OSError, ValueError) as error:
        raise DocumentError(f"the encrypted Office file is damaged: {error}", kind="encrypted") from error
    return opened.getvalue()


FORMAT = FileFormat(
    name="legacy",
    media_type="application/x-ole-storage",
    extensions=(".doc", ".dot", ".ppt", ".xls", ".msg"),
    read=_read,
)
