"""Words of RTF and what they stand for. Rich Text Format Specification 1.9.1."""

from __future__ import annotations

__all__ = ["CHARSETS", "ESCAPES", "MACHINES", "PLACES", "SHOWN", "SIGNS", "SILENT"]

SILENT = frozenset(
    [
        "fonttbl",
        "colortbl",
        "stylesheet",
        "info",
        "pict",
        "header",
        "headerl",
        "headerr",
        "headerf",
        "footer",
        "footerl",
        "footerr",
        "footerf",
        "object",
        "themedata",
        "colorschememapping",
        "datastore",
        "latentstyles",
        "listtable",
        "listoverridetable",
        "rsidtbl",
        "generator",
        "xmlnstbl",
        "revtbl",
        "filetbl",
        "fldinst",
        "pgdsctbl",
        "nonshppict",
        "bkmkstart",
        "bkmkend",
        "mmathPr",
        "wgrffmtfilter",
        "shpinst",
        "annotation",
        "atnid",
        "atnauthor",
        "atntime",
        "atnref",
        "atndate",
        "atnparent",
        "xe",
        "tc",
        "rxe",
        "background",
        "userprops",
        "docvar",
        "panose",
        "falt",
        "fontemb",
        "blipuid",
        "picprop",
        "pntxta",
        "pntxtb",
        "pnseclvl",
        "ftnsep",
        "ftnsepc",
        "ftncn",
        "aftnsep",
        "aftnsepc",
        "aftncn",
        "formfield",
    ]
)
SHOWN = frozenset(("shptxt", "fldrslt", "listtext", "pntext", "footnote", "shprslt", "shppict", "ud", "upr"))
SIGNS = {
    "tab": " ", "line": "<br>", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“",
    "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ", "lbr": "<br>", "softline": "<br>", "page": "<br>",
    "zwj": "\u200d", "zwnj": "\u200c",
}  # fmt: skip
# \fcharsetN: the code page of a font.
CHARSETS = {
    0: "cp1252", 77: "mac_roman", 78: "cp932", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "big5",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251",
    222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
MACHINES = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
PLACES = {"super": "sup", "sub": "sub", "nosupersub": "", "up": "sup", "dn": "sub"}
ESCAPES = {b"~": "\xa0", b"_": "‑"}
