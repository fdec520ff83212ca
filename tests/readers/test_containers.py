"""Mail and archives: every file in a file is a row, or counted."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from docreduce.readers import Unread, read
from docreduce.settings import InputSettings
from docreduce.values import Document
from packing import docx, packed

PARAGRAPH = "<w:p><w:r><w:t>the agreement</w:t></w:r></w:p>"
FILES: dict[str, bytes] = {
    "a.txt": b"plain",
    "deep/b.html": b"<h1>page</h1>",
    "deep/c.docx": docx(PARAGRAPH),
    "d.jsonl": b'{"body": "row one"}\n{"body": "row two"}\n',
    "tool.exe": b"MZ\0",
    ".hidden.txt": b"no",
    "__MACOSX/._a.txt": b"no",
    "empty.txt": b"",
}
EXPECTED = [
    ("a.txt", "plain"),
    ("deep/b.html", "page"),
    ("deep/c.docx", "the agreement"),
    ("d.jsonl#0", "row one"),
    ("d.jsonl#1", "row two"),
    ("empty.txt", "empty"),
]


def tarred(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def zstd(raw: bytes) -> bytes:
    return bytes(pa.compress(raw, "zstd", asbytes=True))


def read_counted(path: Path, **settings: Any) -> tuple[list[Document | Unread], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(read(str(path), InputSettings(paths=[str(path)], **settings), skipped)), skipped


def inside(found: list[Document | Unread]) -> list[tuple[str, str]]:
    return [
        (each.uri.partition("!/")[2], each.text if isinstance(each, Document) else each.error.kind) for each in found
    ]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.zip", packed(FILES)),
        ("a.tar", tarred(FILES)),
        ("dotted.tar", tarred({f"./{name}": content for name, content in FILES.items()})),
        ("a.tgz", gzip.compress(tarred(FILES))),
        ("a.tar.zst", zstd(tarred(FILES))),
        ("a.tar.xz", lzma.compress(tarred(FILES))),
        ("unnamed", packed(FILES)),
    ],
)
def test_each_file_in_an_archive_is_a_row_or_counted(tmp_path: Path, name: str, raw: bytes) -> None:
    (tmp_path / name).write_bytes(raw)
    found, skipped = read_counted(tmp_path / name, text_column="body")
    assert [(place.removeprefix("./"), text) for place, text in inside(found)] == EXPECTED
    assert skipped == {"hidden": 2, "unknown kind": 1}
    (tmp_path / "a.txt").write_bytes(b"plain")
    (alone,), _ = read_counted(tmp_path / "a.txt")
    assert alone.id == found[0].id  # of what a document is, not of where it stands


def test_what_a_job_excludes_is_excluded_in_archives_too(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed(FILES))
    found, skipped = read_counted(tmp_path / "a.zip", exclude=["deep", "*.jsonl"], text_column="body")
    assert [name for name, _ in inside(found)] == ["a.txt", "empty.txt"]
    assert skipped == {"excluded": 3, "hidden": 2, "unknown kind": 1}


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    ("name", "raw", "text"), [("x.txt", b"plain text", "plain text"), ("x.docx", docx(PARAGRAPH), "the agreement")]
)
def test_a_packed_file_is_the_document_it_holds(tmp_path: Path, pack: Any, name: str, raw: bytes, text: str) -> None:
    (tmp_path / f"{name}.packed").write_bytes(pack(raw))
    (only,), _ = read_counted(tmp_path / f"{name}.packed")
    assert only.text == text
    (tmp_path / f"{name}.packed").write_bytes(pack(raw)[:-6])
    (cut,), _ = read_counted(tmp_path / f"{name}.packed")
    assert cut.error.kind == "unreadable"


def test_archives_in_archives_are_read_up_to_a_depth(tmp_path: Path) -> None:
    raw = b"the core"
    for depth in range(8):
        raw = packed({("core.txt" if depth == 0 else "inner.zip"): raw})
    (tmp_path / "a.zip").write_bytes(raw)
    (only,), _ = read_counted(tmp_path / "a.zip")
    assert only.error.kind == "too_large"
    (tmp_path / "b.zip").write_bytes(packed({"in.zip": packed({"in.eml": packed({"core.txt": b"the core"})})}))
    (only,), _ = read_counted(tmp_path / "b.zip")
    assert only.text == "the core"


@pytest.mark.long
def test_a_bomb_is_stopped_by_document_and_over_the_whole_archive(tmp_path: Path) -> None:
    megabytes = b"x" * 3 * 2**20
    (tmp_path / "a.zip").write_bytes(packed({"big.txt": megabytes, "small.txt": b"fine"}))
    big, small = read_counted(tmp_path / "a.zip", max_document_mb=2)[0]
    assert (big.error.kind, small.text) == ("too_large", "fine")
    (tmp_path / "b.zip").write_bytes(packed({f"{i:03}.txt": megabytes for i in range(100)}))
    found, _ = read_counted(tmp_path / "b.zip", max_document_mb=4)
    assert len(found) == 100
    read_bytes = sum(len(each.text) for each in found if isinstance(each, Document))
    assert read_bytes < 0.5 * 300 * 2**20
    assert {each.error.kind for each in found if isinstance(each, Unread)} == {"too_large"}


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("pack", [packed, tarred])
def test_a_cut_archive_says_so(tmp_path: Path, pack: Any, cut: float) -> None:
    raw = pack({f"{i}.txt": f"text {i} ".encode() * 500 for i in range(20)})
    (tmp_path / "a.bin").write_bytes(raw[: int(cut * len(raw))])
    found, _ = read_counted(tmp_path / "a.bin")
    assert isinstance(found[-1], Unread)
    assert all(isinstance(each, Document) for each in found[:-1])


def test_an_encrypted_member_is_a_row_that_says_so_and_the_others_are_read(tmp_path: Path) -> None:
    raw = bytearray(packed({"a.txt": b"secret words", "b.txt": b"open"}))
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + flag] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    closed, opened = read_counted(tmp_path / "a.zip")[0]
    assert (closed.error.kind, opened.text) == ("encrypted", "open")


def message(**parts: Any) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ada <ada@example.org>", "Bob <bob@example.org>", "Miete für Köln"
    mail["Date"] = "Wed, 25 Nov 2026 10:00:00 +0100"
    mail.set_content(parts.get("plain", "the plain words\n"))
    if "html" in parts:
        mail.add_alternative(parts["html"], subtype="html")
    return mail


HEAD = "From: Ada <ada@example.org>\nTo: Bob <bob@example.org>\nDate: Wed, 25 Nov 2026 10:00:00 +0100\nSubject: Miete für Köln"


def test_a_mail_is_its_head_and_body_and_each_attachment_a_document(tmp_path: Path) -> None:
    mail = message(html="<table><tr><td>Rent<td>900<tr><td>Heating<td>80</table>")
    mail.add_attachment(docx(PARAGRAPH), maintype="application", subtype="octet-stream", filename="Vertrag Ü.docx")
    mail.add_attachment("a;b\n1;2\n", filename="rows.csv")
    mail.add_attachment(b"MZ", maintype="application", subtype="x-msdownload", filename="tool.exe")
    inner = message(plain="the forwarded words\n")
    mail.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    found, skipped = read_counted(tmp_path / "a.eml", text_column="b")
    assert found[0].text == f"{HEAD}\n\nRent | 900\nHeating | 80"
    assert inside(found[1:]) == [
        ("Vertrag Ü.docx", "the agreement"),
        ("rows.csv#0", "2"),
        ("message-4.eml", f"{HEAD}\n\nthe forwarded words"),
    ]
    assert skipped == {"unknown kind": 1}


@pytest.mark.parametrize("name", ["a.eml", "a.txt", "a"])
def test_a_mail_is_known_by_its_content_and_a_picture_in_it_is_none_of_its_documents(tmp_path: Path, name: str) -> None:
    mail = message(html="<p>words <img src='cid:logo'></p>")
    html = mail.get_payload()[1]
    html.add_related(b"\x89PNG\r\n\x1a\n", maintype="image", subtype="png", cid="<logo>")
    (tmp_path / name).write_bytes(mail.as_bytes())
    found, skipped = read_counted(tmp_path / name)
    if name != "a.txt":  # a text that looks like a mail, by its name a text, stays one
        assert [each.text for each in found] == [f"{HEAD}\n\nwords"]
        assert skipped == {"hidden": 1}


def test_a_mail_in_a_code_page_of_its_own_and_a_cut_one(tmp_path: Path) -> None:
    raw = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: =?koi8-r?B?88/HzMHbxc7JxQ==?=\r\nMIME-Version: 1.0\r\n"
    raw += (
        b"Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + "Срок девяносто дней".encode("koi8_r")
    )
    (tmp_path / "a.eml").write_bytes(raw)
    ((only,), _) = read_counted(tmp_path / "a.eml")
    assert only.text.endswith("Subject: Соглашение\n\nСрок девяносто дней")
    mail = message(html="<p>rich words</p>").as_bytes()
    (tmp_path / "b.eml").write_bytes(mail[: mail.index(b"rich") + 4])
    ((cut,), _) = read_counted(tmp_path / "b.eml")
    assert cut.doubt[0] == "truncated_input"


@pytest.mark.parametrize(
    ("name", "raw", "text", "doubt"),
    [
        (
            "a.json",
            '{"a": "\\u65e5\\u672c \\ud83d\\ude00 \\"q\\" \\u0007 \\\\u00e9"}',
            '{"a": "日本 😀 \\"q\\" \\u0007 \\\\u00e9"}',
            "",
        ),
        ("a.json", '{"a": "\\ud800 \\u00e9\\udc00x"}', '{"a": "\\ud800 é\\udc00x"}', ""),
        ("a.json", '{"a": [1, 2', '{"a": [1, 2', "truncated_input"),
        ("a.json", '// a comment\n{"a": 1}', '// a comment\n{"a": 1}', ""),
        ("a.xml", '<?xml version="1.0"?><a b="c">d</a>', '<?xml version="1.0"?><a b="c">d</a>', ""),
        ("a.xml", "<a><b>c</b>", "<a><b>c</b>", "truncated_input"),
        ("b", '<?xml version="1.0"?><a>d</a>', '<?xml version="1.0"?><a>d</a>', ""),
    ],
)
def test_json_and_xml_are_one_document_verbatim(tmp_path: Path, name: str, raw: str, text: str, doubt: str) -> None:
    (tmp_path / name).write_text(raw)
    ((only,), _) = read_counted(tmp_path / name)
    assert (only.text, only.doubt[0] if only.doubt else "") == (text, doubt)


def test_xml_is_read_in_the_encoding_it_declares(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes("<?xml version='1.0' encoding='cp1254'?><a>kısa</a>".encode("cp1254"))
    ((only,), _) = read_counted(tmp_path / "a.xml")
    assert only.text.endswith("<a>kısa</a>")


def test_a_picture_and_an_old_office_file_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n rest")
    (tmp_path / "b.doc").write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500 + "WordDocument".encode("utf-16-le")
    )
    ((picture,), _), ((word,), _) = read_counted(tmp_path / "a.png"), read_counted(tmp_path / "b.doc")
    assert (picture.error.kind, "input.ocr" in picture.error.hint) == ("no_text", True)
    assert (word.error.kind, "docx" in word.error.hint) == ("old_format", True)
