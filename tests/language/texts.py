"""Find words to avoid in Python, Markdown and YAML files."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import yaml

from tests.language.words import ALLOWED_IN, BANNED, LEGITIMATE, NO_PAGES, RIDDLES, YAML_KEYS

#: line of a file, and what is wrong there
Finding = tuple[int, str]


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


@lru_cache(1)
def nodes(text: str) -> list[ast.AST]:
    """Return the nodes of a file, each before those in it; `ast.walk` takes three times as long."""
    found: list[ast.AST] = [parsed(text)]
    for node in found:
        for value in vars(node).values():
            if isinstance(value, list):
                found += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                found.append(value)
    return found


def _any_of(patterns: Iterable[str], end: str = "") -> re.Pattern[str]:
    """Return a pattern for any of these phrases, also across the end of a line."""
    return re.compile(rf"(?<![\w-])(?:{'|'.join(patterns)}){end}".replace(" ", r"\s+"), re.IGNORECASE)


_BANNED = _any_of(BANNED, r"(?![\w-])")
_LEGITIMATE = _any_of(LEGITIMATE)
#: code in a text: between backticks, documented parameters, paths, names with underscores or dots, options
_CODE = re.compile(
    r"(?m:^ {4,}\*{0,2}\w+(?:, \*{0,2}\w+)*:(?= ))|``.*?``|`[^`\n]*`|\S*\w[/_]\w\S*|\b\w+\\?\.\w[\w.\\]*|--[\w-]+|https?://\S+"
)


def banned_words(text: str, name: str = "x.py") -> Iterator[Finding]:
    """Yield the words to avoid in a file, and docstrings that begin with a riddle."""
    for line, part in READERS[Path(name).suffix](text):
        for offset, found, instead in words_of(part, name):
            yield line + offset, f"{found!r}: write {instead}"
    if name.endswith(".py"):
        for node in nodes(text):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                begin = RIDDLES.match(ast.get_docstring(node, clean=False) or "")
                if begin:
                    yield getattr(node, "lineno", 1), f"a docstring that begins with {begin[0].strip()!r}"


def banned_names(text: str, name: str = "x.py") -> Iterator[Finding]:
    """Yield the words to avoid in names of functions, classes, arguments and variables that a file defines."""
    for node in nodes(text):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined = node.name
        elif isinstance(node, ast.arg):
            defined = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined = node.id
        else:
            continue
        for _, found, instead in words_of(defined.replace("_", " "), name):
            if defined not in YAML_KEYS:
                yield node.lineno, f"{found!r} in the name {defined}: write {instead}"


def words_of(text: str, name: str = "") -> Iterator[tuple[int, str, str]]:
    """Yield (line within the text, words, what to write instead) of every banned phrase, code left out."""
    pages = re.match(NO_PAGES, name)
    if not _BANNED.search(text) and not pages:
        return
    text = _LEGITIMATE.sub("", _CODE.sub("`", text))
    allowed = " ".join(words for path, words in ALLOWED_IN.items() if re.match(path, name)).split()
    for match in _BANNED.finditer(text):
        if match[0].lower() not in allowed:
            found = " ".join(match[0].split())
            instead = next(use for word, use in BANNED.items() if re.fullmatch(word, found, re.IGNORECASE))
            yield text[: match.start()].count("\n"), found, instead
    for match in re.finditer(r"\bpages?\b", text) if pages else ():
        yield text[: match.start()].count("\n"), match[0], "programming epoch"


def python_texts(text: str) -> Iterator[Finding]:
    """Yield (line, text) of docstrings, of string literals with a space in them, and of comments."""
    inside: set[ast.AST] = set()  # texts of f-strings, which are yielded as one
    for node in nodes(text):
        if node in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
            inside |= {part for part in node.values if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    if any(_BANNED.search(line) for line in re.findall("#.*", text)):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and "noqa" not in token.string and "type:" not in token.string:
                yield token.start[0], token.string


def markdown_texts(text: str) -> Iterator[Finding]:
    """Yield (line, text) of a page without its code blocks.

    Of a changelog only the newest section is read: older ones keep the words of their time.
    """
    if text.startswith("# Changelog"):
        text = "\n## ".join(text.split("\n## ")[:2])
    yield 1, re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL)


def yaml_texts(text: str) -> Iterator[Finding]:
    """Yield (line, text) of comments and of values of more than one word."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.search(r"(?:^|\s)#(.*)", line):
            yield number, found[1]
    todo = [yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))]
    while todo:
        node = todo.pop()
        if isinstance(node, yaml.ScalarNode) and " " in node.value:
            yield node.start_mark.line + 1, node.value
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            todo += [value for _, value in node.value]


READERS: dict[str, Callable[[str], Iterator[Finding]]] = {
    ".py": python_texts,
    ".md": markdown_texts,
    ".yaml": yaml_texts,
}
