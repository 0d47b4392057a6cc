"""A small minifier of JavaScript, to tell how large a script is where no other one is installed.

It drops comments and spaces, and shortens names that nobody outside sees. What it makes runs. It
knows what `syncws.js` has of the language, no more; a real one makes a script smaller than this.
"""

import itertools
import re
import string

__all__ = ["minify"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
    |(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`|/(?=[\\^])(?:[^/\\\n]|\\.)+/)
    |(?P<word>\#?[A-Za-z_$][\w$]*)
    |(?P<sign>\d[\w.]*|\.\.\.|\?\.|[-+*<>=!&|?%^]+|.)
    """,
    re.X | re.S,
)

_KEYWORDS = (
    "async await break case catch class const constructor continue default delete else extends "
    "false finally for function get if in instanceof let new null of return set static super "
    "switch this throw true try typeof undefined var void while"
)

#: Other braces are of objects, or of patterns that take these apart.
_BEFORE_BLOCKS = (")", "=>", "try", "catch", "finally", "else", "static", ";", "{", "}")


def minify(source):
    """Return a script that does the same."""
    tokens = [
        (match.lastgroup, match.group())
        for match in _TOKEN.finditer(source)
        if match.lastgroup != "space" or "\n" in match.group()
    ]
    texts = [text for kind, text in tokens if kind != "space"]
    names = _shorten(texts, _find_names(source, texts))
    made = _rename(texts, names)
    return _join(made)


def _find_names(source, texts):
    """Names of variables, parameters and private members."""
    names = {text for text in texts if re.fullmatch(r"#\w+", text)}
    code = re.sub(r"//.*", "", source)
    lists = re.findall(r"\b(?:const|let|catch) [({]*([\w$, ]+)[)}]* ?(?:=|;|of\b|\{)", code)
    lists += re.findall(r", (\w+) = ", code)  # further ones of a declaration
    lists += re.findall(r"(?<!if )(?<!for )(?<!while )\(\{? ?([\w, ]+?) ?\}?\) (?:=>|\{)", code)
    lists += re.findall(r"constructor\((\w+), ", code)
    declared = set(re.findall(r"\w+", " ".join(lists))) - set(_KEYWORDS.split())
    methods = set(re.findall(r"^ +(?:async |get |set |static )*(\w+)\(.*\) \{$", code, flags=re.M))
    return names | {name for name in declared if not name.isdigit()} - methods


def _shorten(texts, names):
    letters = string.ascii_letters
    taken = set(texts)
    short = (
        name
        for name in ("".join(pair) for pair in itertools.product(["", *letters], letters))
        if name not in taken
    )
    result = {}
    for name in sorted(names, key=lambda name: (-texts.count(name), name)):
        if name[0] == "#" or len(name) > 1:
            result[name] = "#" * (name[0] == "#") + next(short)
    return result


def _rename(texts, names):
    made, brackets = [], []
    for at, text in enumerate(texts):
        before, after = texts[at - 1] if at else "", texts[at + 1] if at + 1 < len(texts) else ""
        if text in "([{":
            is_block = before in _BEFORE_BLOCKS or texts[max(at - 2, 0)] in ("class", "extends")
            brackets.append("block" if text == "{" and is_block else text)
        elif text in ")]}":
            brackets.pop()
        new = names.get(text, text)
        if text[0] == "`":
            new = re.sub(
                r"\$\{(\w+)\}", lambda match: f"${{{names.get(match[1], match[1])}}}", text
            )
        elif new != text and text[0] != "#":
            in_object = brackets and brackets[-1] == "{" and before in ("{", ",")
            if before in (".", "?.") or (in_object and after == ":"):
                new = text
            elif in_object and after in (",", "}", "="):
                new = f"{text}:{new}"
        made.append(new)
    return made


def _join(texts):
    pieces = []
    for text in texts:
        if text in ")}]" and pieces and pieces[-1] == ",":
            pieces.pop()
        if text == "}" and pieces and pieces[-1] == ";":
            pieces.pop()
        last = pieces[-1][-1] if pieces else " "
        if re.match(r"[\w$#]", text) and re.match(r"[\w$]", last):
            pieces.append(" ")
        pieces.append(text)
    return re.sub(r";\}", "}", "".join(pieces))
