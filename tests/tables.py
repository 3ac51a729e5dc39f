"""Reads the tables of include/ksmsim/*.def.

A row is NAME(field, field, ...): fields are split at commas outside quotes,
quotes are taken off, comments before the first row are the table's description.
"""

import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parent.parent


def split_fields(text):
    fields, field, quoted = [], "", False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            fields.append(field.strip())
            field = ""
            continue
        else:
            field += char
    return fields + [field.strip()]


def read_table(path):
    """The rows of one .def file, each a list of strings, in order."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    rows = []
    for match in re.finditer(r'^[A-Z_]+\(((?:"[^"]*"|[^")])*)\)', text, flags=re.M):
        rows.append(split_fields(match.group(1).replace("\n", " ")))
    return rows


def table(name, source=SOURCE):
    return read_table(source / "include" / "ksmsim" / (name + ".def"))


def description(path):
    """The sentence of the comment that opens a .def file: 'knobs.def - every tunable.'"""
    text = re.search(r"/\*(.*?)\*/", path.read_text(), flags=re.S).group(1)
    text = " ".join(line.strip().lstrip("*").strip() for line in text.split("\n"))
    return text.strip()
