"""Reads the tables: include/ksmsim/*.def and sim/*.def.

A row is NAME(field, field, ...): fields are split at commas outside quotes,
quotes are taken off.
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
    """Rows of include/ksmsim/NAME.def; of sim/NAME.def for a name that begins with sim/."""
    if "/" not in name:
        name = "include/ksmsim/" + name
    return read_table(source / (name + ".def"))
