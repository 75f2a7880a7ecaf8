"""Text of the project follows one style: no banned words, documented parameters, imperative docstrings.

Files that do not follow it yet are in `language_pending.txt`, which may only shrink. From the root of the repository:

    python tests/test_language.py imc_sim/array docs/wires.md   # findings in these files and folders
    python tests/test_language.py --prune                       # drop from the table what passes now
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "language_pending.txt"

Finding = tuple[int, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef

#: banned word or phrase (a regular expression, any case) -> what to write instead
BANNED = {
    r"anew": "again",
    r"beside": "next to, with, as well as",
    r"at once": "together, in one call, immediately",
    r"asked": "evaluated, requested",
    r"said": "reported, stated",
    r"bears?|borne": "tolerates",
    r"lies? on|lay on": "is mapped to, is on",
    r"drawn|drew": "sampled",
    r"spreads?": "variation, device variation, standard deviation",
    r"as (?:it|they) comes?|comes? out": "unchanged; equals",
    r"(?:is|are|was|were) worth": "the contribution or value of",
    r"what .{1,40} worth": "the contribution or value of",
    r"mend(?:s|ed|ing)?": "fix",
    r"witness(?:es)?": "reference",
    r"on the way": "name the step",
    r"by (?:itself|themselves)": "automatically, alone",
    r"of (?:its|their|one's|your|our) own": "its own X, a separate X",
    r"as it is|as they are": "unchanged",
    r"stands?": "is",
    r"unnoticed": "without an error",
    r"makes? of": "name what happens",
    r"puts? out": "outputs",
    r"in the place of": "instead of",
    r"(?:speaks?|speaking) in": "uses",
    r"contest": "comparison",
    r"depends? on the hour": "vary between runs",
    r"contrasts?": "differential conductance",
    r"operands?": "programmed weights, effective weights",
    r"sens(?:ed|es|ing)": "readout",
    r"converters?": "ADC",
    r"wired": "with wire resistance, with IR drop",
    r"settl(?:e|es|ed|ing)": "age, relax, converge",
    r"plain read-?outs?": "ideal readout",
    r"engines?": "backend",
    r"teams?": "thread pool",
    r"victims?": "target model",
    r"rooms?": "scratch buffer",
    r"trainings": "training runs, training sweep",
    r"firing": "spike statistics",
    r"likeness|alike": "similarity, similar, equal",
    r"task of the chips": "reduced task",
}
#: phrases in which a word of the list above has another sense -> that sense
LEGITIMATE = {
    r"asked for": "requested, of an input of the user",
    r"lies? on average": "position of a number",
    r"divided by itself": "arithmetic",
    r"(?:cheap|busy|good|small|large|long) as (?:it is|they are)": "a comparison",
    r"stands?[- ](?:ins?|for|alone)": "a replacement; a symbol",
    r"firing rates?": "term of spiking networks",
    r"room temperature": "a condition of measurement",
    r"rooms? for": "free space",
    r"(?:analog-to-digital|digital-to-analog|A/D|D/A) converters?": "the full name of ADC and DAC",
    r"(?:converter|engine|spread):(?= )": "a key of a YAML file, with its colon",
    r"image contrasts?|contrasts? of (?:the )?(?:images?|colou?rs?)": "difference in brightness",
    r"(?:weight|input) operands?": "the factors of a product",
    r"show converters|list trainings": "names of commands",
    r"(?:large|huge) pages|page after page": "memory of the operating system",
}
#: files in which curves, pages and characters are drawn -> words that are right there
SENSES = {
    r"imc_sim/(?:plotting|report)/|imc_sim/cli/_(?:plot|train|show)|docs/figures\.md|tests/plotting/": "drawn drew",
    r"imc_sim/data/_glyph": "drawn drew",
}
#: programming epochs were called pages; in these folders no text is about pages of documentation
NO_PAGES = r"imc_sim/(?:array|device|analog|backends|mapping)/"
#: beginnings of docstrings that only readers of other docstrings understand
RIDDLES = re.compile(r"\s*(?:The same (?:of|as|for)|What|Whether)\b")

#: first words of docstrings of public functions
VERBS = set(
    re.findall(
        r"\w+",
        """Abort Accept Accumulate Adapt Add Advance Age Aggregate Align Allocate Allow Anneal Answer Append Apply
    Approximate Arrange Assemble Assert Assign Attach Attack Augment Average Balance Begin Binarize Bind
    Block Bring Broadcast Build Bundle Cache Calculate Calibrate Call Cancel Cast Center Centre Change Check
    Choose Clamp Classify Clean Clear Clip Clone Close Collect Combine Compare Compensate Compile Complete
    Compose Compress Compute Concatenate Configure Connect Constrain Construct Continue Convert Copy Correct
    Count Create Cross Cut Cycle Deal Decide Declare Decode Decompress Define Delete Derive Describe Detach
    Detect Determine Disable Discard Discharge Display Distribute Divide Download Draw Drop Dump Embed Emit
    Enable Encode End Ensure Enter Enumerate Estimate Evaluate Exchange Execute Exit Expand Explain Export
    Express Extend Extract Factor Factorise Fail Fetch Fill Filter Find Finish Fit Fix Flatten Flip Fold
    Follow Forbid Force Forget Format Forward Freeze Gather Generate Get Give Group Guess Guard Halve Hand
    Handle Hash Have Hold Identify Import Improve Include Increase Infer Initialise Initialize Insert
    Install Integrate Interpolate Interrupt Invert Invoke Iterate Join Keep Label Launch Lay Learn Leave Let
    Limit List Load Locate Lock Log Look Lower Make Map Mark Mask Match Measure Merge Mirror Mix Model
    Modify Move Multiply Name Narrow Normalise Normalize Number Open Order Overwrite Pack Pad Parse
    Partition Pass Pay Perform Permute Pick Place Plan Plot Pool Predict Prepare Present Preserve Print
    Process Produce Program Project Propagate Prove Provide Prune Put Quantise Quantize Query Raise Rank
    Read Rebuild Receive Recompute Record Reduce Refer Refill Refresh Refuse Register Reject Release Relax
    Remember Remove Rename Render Repeat Replace Replay Report Represent Reproduce Request Require Resample
    Rescale Reserve Reset Reshape Resolve Restore Restrict Resume Retain Retry Return Reverse Rewrite Rotate
    Round Run Sample Save Scale Scan Schedule Score Search See Seed Select Send Separate Serialise Serialize
    Serve Set Share Sharpen Shift Show Shuffle Shut Sign Simulate Skip Slice Smooth Snap Solve Sort Spawn
    Split Stack Standardise Start State Step Stop Store Stream Strip Submit Subtract Sum Summarise Summarize
    Suppress Swap Switch Synchronise Take Tell Test Threshold Time Toggle Track Train Transfer Transform
    Translate Transpose Trim Truncate Try Turn Undo Unfold Unify Unpack Update Upload Use Validate Verify
    View Visit Vote Wait Walk Warn Weigh Widen Wrap Write Yield Zero""",
    )
)

#: errors that users meet
USER_ERRORS = {
    "CheckpointError", "ImcSimError", "InputError", "KeyError", "MissingDataError", "ResultsError", "TypeError",
    "ValueError",
}  # fmt: skip
#: methods that torch calls and documents
OF_TORCH = {"forward", "backward", "extra_repr", "train"}
#: lines up to which a private function needs no docstring
LONG = 8


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


# -- the words -------------------------------------------------------------------------------------------------------


def _phrases(patterns: Iterable[str], ends: str) -> re.Pattern[str]:
    """Return a pattern for any of these phrases, also across the end of a line."""
    return re.compile(rf"(?<![\w-])(?:{'|'.join(patterns)}){ends}".replace(" ", r"\s+"), re.IGNORECASE)


_BANNED = _phrases(BANNED, r"(?![\w-])")
_LEGITIMATE = _phrases(LEGITIMATE, "")
#: code in a text: between backticks, documented parameters, paths, names with underscores or dots, options
_CODE = re.compile(
    r"(?m:^ {4,}\*{0,2}\w+(?:, \*{0,2}\w+)*:(?= ))|``.*?``|`[^`\n]*`|\S*\w[/_]\w\S*|\b\w+\.\w[\w.]*|--[\w-]+|https?://\S+"
)


def words_of(text: str, name: str = "") -> Iterator[tuple[int, str, str]]:
    """Yield (line within the text, words, what to write instead) of every banned phrase, code left out."""
    if not _BANNED.search(text) and not re.match(NO_PAGES, name):
        return
    text = _LEGITIMATE.sub("", _CODE.sub("`", text))
    right = " ".join(words for path, words in SENSES.items() if re.match(path, name)).split()
    for match in _BANNED.finditer(text):
        if match[0].lower() not in right:
            found = " ".join(match[0].split())
            use = next(use for word, use in BANNED.items() if re.fullmatch(word, found, re.IGNORECASE))
            yield text[: match.start()].count("\n"), found, use
    if re.match(NO_PAGES, name):
        for match in re.finditer(r"\bpages?\b", text):
            yield text[: match.start()].count("\n"), match[0], "programming epoch"


def comments_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, comment) of a Python file, without directives for tools."""
    if not any(_BANNED.search(line) for line in re.findall("#.*", text)):
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and "noqa" not in token.string and "type:" not in token.string:
            yield token.start[0], token.string


def python_texts(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of docstrings, of string literals with a space in them, and of comments."""
    todo: list[ast.AST] = [parsed(text)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
            todo += [part for part in node.values if not isinstance(part, ast.Constant)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
        else:
            todo += ast.iter_child_nodes(node)
    yield from comments_of(text)


def markdown_texts(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of a page without its code blocks; of a changelog the newest version only."""
    if text.startswith("# Changelog"):
        text = "\n## ".join(text.split("\n## ")[:2])
    text = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL)
    yield 1, text


def yaml_texts(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of comments and of values of more than one word."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.search(r"(?:^|\s)#(.*)", line):
            yield number, found[1]
    for node in _scalars(yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
        if " " in node.value:
            yield node.start_mark.line + 1, node.value


def _scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _scalars(value)


READERS: dict[str, Callable[[str], Iterator[tuple[int, str]]]] = {
    ".py": python_texts,
    ".md": markdown_texts,
    ".yaml": yaml_texts,
}


def banned_words(text: str, name: str = "x.py") -> Iterator[Finding]:
    for line, part in READERS[Path(name).suffix](text):
        for offset, found, use in words_of(part, name):
            yield line + offset, f"{found!r}: write {use}"
    if name.endswith(".py"):
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.Module | ast.ClassDef | Function):
                begin = RIDDLES.match(ast.get_docstring(node, clean=False) or "")
                if begin:
                    yield getattr(node, "lineno", 1), f"a docstring that begins with {begin[0].strip()!r}"


# -- the docstrings --------------------------------------------------------------------------------------------------

_SECTION = re.compile(
    r"^(Args|Attributes|Returns|Yields|Raises|Shape|Units|Reference|References|Example|Examples|Note|Notes):",
    re.MULTILINE,
)
_ENTRY = re.compile(r"^ +\*{0,2}(\w+(?:, \*{0,2}\w+)*)(?: \(.*?\))?:", re.MULTILINE)


def sections(doc: str) -> dict[str, str]:
    """Return the sections of a Google-style docstring by their titles."""
    parts = _SECTION.split(doc)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(doc: str, *titles: str) -> set[str]:
    """Return the names that these sections document."""
    found = sections(doc)
    entries = (entry for title in titles for entry in _ENTRY.findall(found.get(title, "")))
    return {name.strip(" *") for entry in entries for name in entry.split(",")}


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions and classes defined in it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)


def called(node: ast.AST | None) -> str:
    """Return the last name of a decorator, a base class or a raised error: `b` of `a.b(...)`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def decorators(node: Function | ast.ClassDef) -> set[str]:
    return {called(each) for each in node.decorator_list}


def parameters(function: Function) -> list[str]:
    arguments = function.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = [argument.arg for argument in given if argument is not None]
    return [name for name in names if not name.startswith("_") and name not in ("self", "cls")]


def gives(function: Function) -> str:
    """Return the section that a function needs for its result: Returns, Yields or none."""
    kinds = list(own_nodes(function))
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in kinds):
        return "Yields"
    some = any(
        isinstance(node, ast.Return)
        and node.value is not None
        and not (isinstance(node.value, ast.Constant) and node.value.value is None)
        for node in kinds
    )
    return "Returns" if some else ""


def faults_of_function(function: Function, methods: bool = False) -> Iterator[str]:
    """Yield what the docstring of a public function or method lacks."""
    doc = ast.get_docstring(function)
    if doc is None:
        if function.name not in OF_TORCH:
            yield "no docstring"
        return
    if {"property", "cached_property"} & decorators(function):
        return
    first = doc.split(None, 1)[0].rstrip(".,:;")
    if first not in VERBS:
        yield f"begins with {first!r}, not with a verb in the imperative (a missing one belongs in VERBS)"
    missing = [name for name in parameters(function) if name not in documented(doc, "Args")]
    if missing:
        yield f"Args without {', '.join(missing)}"
    section = gives(function)
    # "Return the median of …" says it all, as Google's guide has it
    if section and not {"Returns", "Yields"} & set(sections(doc)) and first not in ("Return", "Yield"):
        yield f"no {section}"
    raised = {called(node.exc) for node in own_nodes(function) if isinstance(node, ast.Raise)} & USER_ERRORS
    if raised - documented(doc, "Raises"):
        yield f"Raises without {', '.join(sorted(raised - documented(doc, 'Raises')))}"


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax trees of the package by the names of their files."""
    return {short(p): parsed(p.read_text(encoding="utf-8")) for p in sorted((ROOT / "imc_sim").rglob("*.py"))}


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    """Return all classes of the package by name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def bases(node: ast.ClassDef) -> Iterator[ast.ClassDef]:
    """Yield the base classes that the package defines, nearest first."""
    for base in node.bases:
        for found in classes().get(called(base), []):
            if found is not node:
                yield found
                yield from bases(found)


def inherited(node: ast.ClassDef, name: str) -> bool:
    """Tell whether a base class documents the method or property of this name."""
    members = (m for base in bases(node) for m in base.body if isinstance(m, Function))
    return any(member.name == name and ast.get_docstring(member) is not None for member in members)


def fields(node: ast.ClassDef) -> list[str]:
    """Return what the docstring of a class documents: fields of specifications and data classes, else __init__."""
    names = {called(base) for base in node.bases} | {called(base) for each in bases(node) for base in each.bases}
    if "dataclass" in decorators(node) or names & {"BaseModel", "NamedTuple", "TypedDict"}:
        return [
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and not item.target.id.startswith("_")
            and called(item.annotation) != "ClassVar"
            and not _described(item)
        ]
    inits = [item for item in node.body if isinstance(item, Function) and item.name == "__init__"]
    return [name for each in inits if ast.get_docstring(each) is None for name in parameters(each)]


def _described(item: ast.AnnAssign) -> bool:
    """Tell whether a field has a description, or is a constant such as kind: Literal["fgsm"]."""
    if isinstance(item.value, ast.Call) and any(k.arg == "description" for k in item.value.keywords):
        return True
    annotation = item.annotation
    return (
        isinstance(annotation, ast.Subscript)
        and called(annotation) == "Literal"
        and not isinstance(annotation.slice, ast.Tuple)
    )


def faults_of_class(node: ast.ClassDef) -> Iterator[str]:
    """Yield what the docstring of a public class lacks."""
    doc = ast.get_docstring(node)
    if doc is None:
        yield "no docstring"
        return
    missing = [name for name in fields(node) if name not in documented(doc, "Args", "Attributes")]
    if missing:
        yield f"Args or Attributes without {', '.join(missing)}"


@cache
def exported() -> dict[str, set[str]]:
    """Return the names that packages and public modules export, by the file that defines them."""
    found: dict[str, set[str]] = {path: set() for path in trees()}
    for path, tree in trees().items():
        if path.endswith("/__init__.py"):
            for home, name in filter(None, (_home(path, each) for each in _all(tree))):
                found.setdefault(home, set()).add(name)
        elif not Path(path).stem.startswith("_"):
            public = [n.name for n in tree.body if isinstance(n, ast.ClassDef | Function)]
            found[path] |= {each for each in _all(tree) or public if not each.startswith("_")}
    return found


def _all(tree: ast.Module) -> list[str]:
    """Return the literal __all__ of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and called(node.targets[0]) == "__all__" and isinstance(node.value, ast.List):
            return [item.value for item in node.value.elts if isinstance(item, ast.Constant)]  # type: ignore[misc]
    return []


def _home(path: str, name: str) -> tuple[str, str] | None:
    """Return the file that defines a name of a package's __init__, following imports, and its name there."""
    place, original = _imported(path).get(name, ("", name))
    package = f"{place}/__init__.py"
    if not place:
        return path, name
    if package not in trees():
        return f"{place}.py", original
    return _home(package, original) if package != path else None


@cache
def _imported(path: str) -> dict[str, tuple[str, str]]:
    """Return the names that a file imports from this package: module as a path, name there."""
    nodes = (node for node in ast.walk(trees()[path]) if isinstance(node, ast.ImportFrom) and node.module)
    return {
        alias.asname or alias.name: (node.module.replace(".", "/"), alias.name)
        for node in nodes
        if node.module and node.module.split(".")[0] == "imc_sim"
        for alias in node.names
    }


@cache
def split(text: str, public: frozenset[str]) -> tuple[list[tuple[Function | ast.ClassDef, str]], list[Function]]:
    """Return the public functions, classes and methods with what they lack, and the private functions of a file."""
    faults: list[tuple[Function | ast.ClassDef, str]] = []
    private: list[Function] = []
    tree = parsed(text)

    def visit(node: ast.AST, owner: ast.ClassDef | None, shown: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                here = node is tree and child.name in public
                faults.extend((child, fault) for fault in faults_of_class(child) if here)
                visit(child, child, here)
            elif isinstance(child, Function):
                here = child.name in public if node is tree else shown and owner is node
                here = here and (child.name == "__call__" or not child.name.startswith("_"))
                known = owner is not None and owner is node and inherited(owner, child.name)
                if here and not known and "overload" not in decorators(child):
                    faults.extend((child, fault) for fault in faults_of_function(child))
                elif not here and not known and not child.name.startswith("__"):
                    private.append(child)
                visit(child, None, False)
            else:
                visit(child, owner if owner is node else None, shown)

    visit(tree, None, False)
    return faults, private


def undocumented(text: str, name: str = "x.py", public: set[str] | None = None) -> Iterator[Finding]:
    names = exported()[name] if public is None else public
    for node, fault in split(text, frozenset(names))[0]:
        yield node.lineno, f"{node.name}: {fault}"


def silent(text: str, name: str = "x.py", public: set[str] | None = None) -> Iterator[Finding]:
    names = exported()[name] if public is None else public
    for function in split(text, frozenset(names))[1]:
        lines = (function.end_lineno or 0) - function.lineno + 1
        doc = ast.get_docstring(function)
        if lines > LONG and (doc is None or len(doc.split()) < 3):
            yield function.lineno, f"{function.name}: {lines} lines without a sentence that says what it does"


# -- the rules -------------------------------------------------------------------------------------------------------

FOLDERS = ("imc_sim", "tests", "benchmarks", "docs", "models", "studies", "device_configs")
RULES: dict[str, Callable[[str, str], Iterator[Finding]]] = {
    "words": banned_words,
    "public": undocumented,
    "private": silent,
}


def files(rule: str) -> Iterator[Path]:
    """Yield the files that a rule is about."""
    if rule != "words":
        yield from sorted((ROOT / "imc_sim").rglob("*.py"))
        return
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in READERS)
    yield from sorted(ROOT.glob("*.md"))


@cache
def findings(rule: str) -> dict[str, list[str]]:
    """Return what a rule finds, by file, as lines `file:line: text`."""
    found: dict[str, list[str]] = {}
    for path in files(rule):
        name = short(path)
        if path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8")
            found[name] = [f"{name}:{line}: {what}" for line, what in sorted(RULES[rule](text, name))]
    return {name: lines for name, lines in found.items() if lines}


def pending() -> dict[str, set[str]]:
    """Return the rules that each file of the table does not follow yet."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {name: set(rules.split()) for name, _, rules in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize("rule", RULES)
def test_text_follows_the_style(rule: str) -> None:
    waits = {name for name, rules in pending().items() if rule in rules}
    new = [line for name, lines in findings(rule).items() if name not in waits for line in lines]
    assert not new, "\n" + "\n".join(new)


@pytest.mark.parametrize("rule", RULES)
def test_files_that_follow_the_style_are_not_pending(rule: str) -> None:
    done = {name for name, rules in pending().items() if rule in rules} - set(findings(rule))
    assert not done, f"Run python tests/test_language.py --prune: {sorted(done)}"


def test_pending_is_sorted_and_has_no_unknown_rule() -> None:
    assert list(pending()) == sorted(pending())
    assert set().union(*pending().values()) <= set(RULES)


SAMPLES = """Cells drawn anew beside others at once. Chips are asked, it is said. Tiles bear 2 ohm and lie on cells.
The spread as it comes is worth what signs are worth. Mend it. A witness on the way, by itself, of its
own, as it is, stands there unnoticed; what a cell makes of it, puts out, in the place of a layer that
speaks in spikes, in a contest, depends on the hour. The contrast of operands is sensed by wired
converters, settled by plain readouts, and an engine with teams, victims, rooms and trainings. What is
firing alike on the task of the chips?"""


def test_every_banned_word_is_found() -> None:
    found = [match for _, match, _ in words_of(SAMPLES)]
    assert not [word for word in BANNED if not any(re.fullmatch(word, each, re.IGNORECASE) for each in found)]


def test_planted_words_are_found_in_every_kind_of_text() -> None:
    code = '"""Cells drawn\nanew."""\nx = f"Mend {x} at once"  # a victim\ny = "as `spread: 1` of a.spread"\n'
    assert sorted(line for line, _ in banned_words(code)) == [1, 2, 3, 3, 3]
    assert [line for line, _ in banned_words("a: drawn anew # twice, beside\n", "x.yaml")] == [1, 1, 1]
    assert [line for line, _ in banned_words("A\n\n```\nanew\n```\nalike, `alike`\n", "x.md")] == [6]
    assert list(banned_words('def f():\n    """What a cell gives."""\n'))
    assert list(words_of("the page of cells", "imc_sim/array/x.py"))
    assert not list(words_of("the page, drawn", "imc_sim/report/x.py"))


@pytest.mark.parametrize(
    "text",
    [
        "A stand-in for chips that lie on average",
        "Set `converter.bits`",
        "as asked for, divided by itself",
        "seed_of/x",
    ],
)
def test_legitimate_uses_pass(text: str) -> None:
    assert not list(words_of(text))


GOOD = '''
@dataclass
class Cell:
    """A cell.

    Args:
        g: conductance.
    """

    g: float

    @property
    def r(self) -> float:
        """Resistance."""
        return 1 / self.g

def read(cell, *times, scale=1.0):
    """Read a cell.

    Args:
        cell: what is read.
        *times: when.
        scale: factor.

    Returns:
        The current.

    Raises:
        InputError: where there is no cell.
    """
    if cell is None:
        raise InputError("x")
    return cell
'''


def faults(text: str) -> list[str]:
    return [what for _, what in undocumented(text, public={"Cell", "read"})]


def test_documented_functions_and_classes_pass() -> None:
    assert not faults(GOOD)
    assert not faults('def read(x):\n    """Return x.\n\n    Args:\n        x: that.\n    """\n    return x\n')


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("g: conductance.", "h: conductance.", "Cell: Args or Attributes without g"),
        ('"""Resistance."""', "", "r: no docstring"),
        ("Read a cell.", "The read of a cell.", "read: begins with 'The'"),
        ("        *times: when.\n", "", "read: Args without times"),
        ("Returns:", "Gives:", "read: no Returns"),
        ("    return cell", "    yield cell", ""),
        ("InputError: where", "KeyError: where", "read: Raises without InputError"),
    ],
)
def test_planted_gaps_are_found(old: str, new: str, fault: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    assert any(each.startswith(fault) for each in faults(text)) if fault else not faults(text)


def test_long_private_functions_without_a_sentence_are_found() -> None:
    body = "    x = 1\n" * LONG
    assert [what[:2] for _, what in silent(f"def f():\n{body}", public=set())] == ["f:"]
    assert not list(silent(f'def f():\n    """Set x to one."""\n{body}', public=set()))
    assert not list(silent("def f():\n    x = 1\n", public=set()))
    assert not list(silent(f"def f():\n{body}", public={"f"}))


def test_exported_names_are_found_where_they_are_defined() -> None:
    assert "Crossbar" in exported()["imc_sim/array/_crossbar.py"]
    assert "Session" in exported()["imc_sim/evaluate/_session.py"]
    assert "EventProduct" in exported()["imc_sim/nn/events.py"]
    assert "Rule" in exported()["imc_sim/train/_boosting.py"]
    assert "Plan" not in exported()["imc_sim/array/_plan.py"]


def _write(table: dict[str, set[str]]) -> None:
    """Write the table, with a comment between folders so that changes in two of them merge."""
    lines = ["# Files that do not follow tests/test_language.py yet: which rules. Lines may only be removed."]
    before = ""
    for name in sorted(table):
        folder = "/".join(name.split("/")[:2]) if name.startswith(("imc_sim/", "tests/")) else name.split("/")[0]
        if folder != before and table[name]:
            lines, before = [*lines, f"# -- {folder}"], folder
        if table[name]:
            lines.append(f"{name}: {' '.join(rule for rule in RULES if rule in table[name])}")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _main(arguments: list[str]) -> None:
    """Print the findings in these files and folders, or remove from the table what passes."""
    if arguments == ["--prune"]:
        _write({n: {r for r in rules if n in findings(r)} for n, rules in pending().items()})
        return
    wanted = [each.rstrip("/") for each in arguments]
    for rule in RULES:
        for name, lines in findings(rule).items():
            if not wanted or any(name == each or name.startswith(f"{each}/") for each in wanted):
                print("\n".join(lines))


if __name__ == "__main__":
    _main(sys.argv[1:])
