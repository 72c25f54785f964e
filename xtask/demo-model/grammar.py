"""Patterns with choices: (a|b) picks one part, [a] may be left out; expansion is random."""

import random
import re
from pathlib import Path

HERE = Path(__file__).parent


def parse(text):
    """A pattern as a tree: a list of strings and of lists of alternatives (each again such a list)."""
    tree, rest = _sequence(text, 0, "")
    if rest != len(text):
        raise ValueError(f"unbalanced pattern: {text}")
    return tree


def _sequence(text, at, stops):
    parts, plain = [], ""
    while at < len(text) and text[at] not in stops:
        letter = text[at]
        if letter in "([":
            close = ")" if letter == "(" else "]"
            options, at = _options(text, at + 1, close)
            if letter == "[":
                options.append([])
            parts += [plain, options]
            plain = ""
        else:
            plain += letter
            at += 1
    return parts + [plain], at


def _options(text, at, close):
    options = []
    while True:
        option, at = _sequence(text, at, "|" + close)
        options.append(option)
        if at >= len(text):
            raise ValueError(f"unbalanced pattern: {text}")
        at += 1
        if text[at - 1] == close:
            return options, at


def expand(tree, rng):
    """One random text of a pattern."""
    return "".join(
        part if isinstance(part, str) else expand(rng.choice(part), rng) for part in tree
    )


def tidy(text):
    """Single spaces, none before a comma."""
    text = re.sub(r" +([,.:!?])", r"\1", " ".join(text.split()))
    return re.sub(r"([,:])[,.:]+", r"\1", text).strip(" ,:")


def sections(name):
    """The sections of a file: lines below `@name`, without remarks."""
    found, lines = {}, None
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        line = line.rstrip()
        if line.startswith("@"):
            lines = found.setdefault(line[1:], [])
        elif line and (not line.startswith("#") or line.startswith("###")):
            lines.append(line)
    return found


def seeded(*words):
    """A generator of random numbers that depends on these words only."""
    return random.Random("/".join(str(word) for word in words))
