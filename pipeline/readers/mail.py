"""Mail (RFC 5322, MIME): the head's lines and the body, in a child process; what is attached is a document of its own.

Of a body's alternatives the HTML one is read: it has the tables and lists that the plain one has lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import policy
from email.errors import MessageError
from email.message import EmailMessage, Message
from email.parser import BytesParser
from html import escape

from docreduce.readers.base import Attachment, Doubt, FileFormat, ReadOptions, Text
from docreduce.readers.html import extract
from docreduce.readers.text import decode, decode_as, known_encoding
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT", "is_mail"]

_SHOWN = ("From", "To", "Cc", "Date", "Subject")
_FIELD = re.compile(rb"[!-9;-~]{1,70}:[ \t]")
_TELLING = re.compile(
    rb"^(?:Received|Return-Path|Message-ID|MIME-Version|Delivered-To|X-Mailer|From|Date|Subject|To):",
    re.IGNORECASE | re.MULTILINE,
)
_EXTENSIONS = {
    "application/pdf": ".pdf",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "text/markdown": ".md",
    "application/rtf": ".rtf",
    "application/zip": ".zip",
    "message/rfc822": ".eml",
}
_MAX_PARTS = 1000


def is_mail(head: bytes) -> bool:
    """Whether a file that begins with `head` looks like a message: fields, and three of those that messages have."""
    fields = re.split(rb"\r?\n\r?\n", head[:65536].removeprefix(b"\xef\xbb\xbf"), maxsplit=1)[0]
    lines = [line for line in fields.splitlines() if line[:1] not in (b" ", b"\t", b"")]
    return (
        bool(lines) and all(map(_FIELD.match, lines[1:])) and len(set(map(bytes.lower, _TELLING.findall(fields)))) >= 3
    )


def _read(raw: bytes, options: ReadOptions) -> Text:
    try:
        message = BytesParser(policy=policy.default).parsebytes(raw)
    except (MessageError, ValueError, LookupError, RecursionError) as error:
        raise DocumentError(f"the message is damaged: {error}") from error
    heads = [f"{name}: {value}" for name in _SHOWN for value in _values(message, name)]
    bodies, attachments = _parts(message)
    if not heads and not any(map(str.strip, message.keys())) and not bodies and not attachments:
        raise DocumentError("it is no mail message", kind="unreadable")
    doubt: Doubt | None = None
    markup = ["".join(f"<div>{escape(head)}</div>" for head in heads)]
    for part in bodies:
        text, broken = _decoded(part, options)
        doubt = doubt or broken
        lines = "\n".join(text.splitlines())
        markup.append(text if part.get_content_subtype() == "html" else f"<pre>{escape(lines)}</pre>")
    found = extract("<hr>".join(markup))
    if _is_cut(message):
        doubt = doubt or ("truncated_input", "the message ends before its last part does")
    return Text(found.text.rstrip(), found.marks, doubt, tuple(attachments))


def _values(message: EmailMessage, name: str) -> Iterator[str]:
    try:
        values = message.get_all(name, [])
    except (ValueError, IndexError, AttributeError, MessageError):  # a field that its own parser cannot take
        values = [value for key, value in message.raw_items() if key.lower() == name.lower()]
    yield from (" ".join(str(value).split()) for value in values)


def _parts(message: EmailMessage) -> tuple[list[EmailMessage], list[Attachment]]:
    """The parts that are the message's own text, and what is attached."""
    bodies: list[EmailMessage] = []
    attachments: list[Attachment] = []
    stack: list[EmailMessage] = [message]
    for _ in range(_MAX_PARTS):
        if not stack:
            break
        part = stack.pop()
        kind = part.get_content_type()
        if kind == "multipart/alternative":
            choices = [each for each in part.iter_parts() if isinstance(each, EmailMessage)]
            best = next((each for each in choices if _has_html(each)), choices[0] if choices else None)
            stack.extend([best] if best is not None else [])
        elif part.is_multipart() and kind != "message/rfc822":
            stack.extend(reversed([each for each in part.iter_parts() if isinstance(each, EmailMessage)]))
        elif part is not message and (
            part.is_attachment() or part.get_filename() or part.get_content_maintype() != "text"
        ):
            attachments.append(_attachment(part, len(attachments) + 1))
        else:
            bodies.append(part)
    return bodies, attachments


def _has_html(part: EmailMessage) -> bool:
    return any(
        each.get_content_type() == "text/html" and _content(each).strip()
        for each in part.walk()
        if not each.is_multipart()
    )


def _content(part: EmailMessage) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _attachment(part: EmailMessage, number: int) -> Attachment:
    kind = part.get_content_type()
    name = part.get_filename() or ""
    if kind == "message/rfc822":
        inner = part.get_payload()
        whole = inner[0] if isinstance(inner, list) and inner else None
        content = whole.as_bytes() if isinstance(whole, Message) else b""
        name = name if name.lower().endswith(".eml") else f"{name or f'message-{number}'}.eml"
    else:
        content = _content(part)
    shown = part.get_content_disposition() != "attachment" and part.get("Content-ID") is not None
    if shown and part.get_content_maintype() == "image":
        name = f".inline-{name or number}"  # a picture of the letter's own, counted as hidden files are
    return Attachment(name or f"attachment-{number}{_EXTENSIONS.get(kind, '')}", content)


def _decoded(part: EmailMessage, options: ReadOptions) -> tuple[str, Doubt | None]:
    raw = _content(part)
    if not raw:
        return "", None
    label = part.get_content_charset("").encode("ascii", "ignore")
    for name in filter(None, (known_encoding(label) if label else None, "utf-8")):
        if (found := decode_as(raw, name))[1] is None:
            return found
    return decode(raw, options.encoding)


def _is_cut(message: EmailMessage) -> bool:
    """Whether a multipart lacks its end."""
    return any(
        type(defect).__name__ == "CloseBoundaryNotFoundDefect" for part in message.walk() for defect in part.defects
    )


FORMAT = FileFormat(name="mail", media_type="message/rfc822", extensions=(".eml",), read=_read, version=2)
