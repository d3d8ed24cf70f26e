"""What a statement does and to which table, read off its text.

This is no parser: it looks at a bounded piece of the text once per distinct statement and says nothing
where it is not sure. Both names become attributes, so nothing that could be a value may pass as a name:
literals are skipped whole, and where the text leaves open where a literal ends, no table is named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_TEXT = 8192
"""Characters of a statement that are looked at."""

_MAX_TOKENS = 1000
_MAX_NAME = 64
_MAX_VERB = 20

_PATTERN = r"""
    (?P<skipped>\s+ | --[^\n]* | /\*(?:.*?\*/|.*) {comment})
  | (?P<literal>'[^']*'? | \d[\w.]*)
  | (?P<quoted>"(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[A-Za-z_][A-Za-z0-9_$ ]*\])
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<other>.)
"""
_ANY = re.compile(_PATTERN.format(comment=""), re.VERBOSE | re.DOTALL)
# Elsewhere `#` is an operator.
_MYSQL = re.compile(_PATTERN.format(comment=r"| \#[^\n]*"), re.VERBOSE | re.DOTALL)
_TOKENS = {"mysql": _MYSQL, "mariadb": _MYSQL}
_NAME = re.compile(r"[A-Za-z0-9_$]+")
_DOLLAR_QUOTE = re.compile(r"\$[A-Za-z_0-9]*\$")

_TABLE_VERBS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"})
_QUERY_STARTS = _TABLE_VERBS | {"WITH", "VALUES", "FROM"}
_LIST_ENDS = frozenset(
    {"WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "FETCH", "WINDOW", "UNION", "INTERSECT", "EXCEPT"}
    | {"SET", "VALUES", "SELECT", "RETURNING", "OUTPUT", "FOR", "DEFAULT"}
)
_BEFORE_NAMES = frozenset({"ONLY", "LATERAL"})
_MODIFIERS = frozenset({"LOW_PRIORITY", "IGNORE"})
_CTE_WORDS = frozenset({"AS", "NOT", "MATERIALIZED", "RECURSIVE"})


@dataclass(frozen=True, slots=True)
class Summary:
    """What a statement says of itself."""

    operation: str | None
    """Its first keyword in capitals, after comments and common table expressions; ``BATCH`` for several
    statements in one text."""

    collection: str | None
    """The table, where exactly one is named; without quotes, its case as it was written."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    @property
    def keyword(self) -> str:
        return self.text.upper() if self.kind == "word" else ""


_END = _Token("end", "")
_BRACKETS = (_Token("other", "("), _Token("other", ")"))
_DEPTH = {"(": 1, ")": -1}


def summarize(statement: str, system: str) -> Summary:
    """Read operation and table off a statement.

    The semantic conventions (``db.operation.name``, ``db.collection.name``) allow parsing them from the
    text where there is only one of each; keywords are written in capitals, since SQL does not tell
    ``select`` from ``SELECT`` and series should not either.

    Args:
        statement: SQL, as it goes to the driver.
        system: The ``db.system.name`` of its database, whose SQL it is.

    Returns:
        Both names, or None for what is not certain.
    """
    text = statement[:MAX_TEXT]
    tokens = _tokens(text, _TOKENS.get(system, _ANY))
    verb, start = _main_verb(tokens)
    if verb is None:
        return Summary(None, None)
    if _several(tokens):
        return Summary("BATCH", None)
    certain = (
        verb in _TABLE_VERBS
        and len(statement) <= MAX_TEXT
        and len(tokens) < _MAX_TOKENS
        and "\\" not in text
        and _DOLLAR_QUOTE.search(text) is None
    )
    return Summary(verb, _Tables(tokens, _cte_names(tokens[:start])).only() if certain else None)


def _tokens(text: str, pattern: re.Pattern[str]) -> list[_Token]:
    tokens: list[_Token] = []
    for match in pattern.finditer(text):
        kind = match.lastgroup or "other"
        if kind != "skipped":
            tokens.append(_Token(kind, match.group()))
            if len(tokens) == _MAX_TOKENS:
                break
    return tokens


def _main_verb(tokens: list[_Token]) -> tuple[str | None, int]:
    start = next((index for index, token in enumerate(tokens) if token.text != "("), len(tokens))
    first = tokens[start].keyword if start < len(tokens) else ""
    if first != "WITH":
        # SQL's own verbs are letters alone; anything else is a name of the application's.
        return (first if first.isalpha() and len(first) <= _MAX_VERB else None), start
    depth = 0
    for index in range(start + 1, len(tokens)):
        depth += _DEPTH.get(tokens[index].text, 0)
        if depth == 0 and tokens[index].keyword in _TABLE_VERBS:
            return tokens[index].keyword, index
    return "WITH", start


def _several(tokens: list[_Token]) -> bool:
    return any(token.text == ";" and token.kind == "other" for token in tokens[:-1])


def _cte_names(tokens: list[_Token]) -> frozenset[str]:
    names: set[str] = set()
    depth = 0
    for token in tokens[1:]:
        depth += _DEPTH.get(token.text, 0)
        if depth == 0 and token.kind in ("word", "quoted") and token.keyword not in _CTE_WORDS:
            names.add(_unquoted(token).lower())
    return frozenset(names)


def _unquoted(token: _Token) -> str:
    return token.text[1:-1] if token.kind == "quoted" else token.text


class _Tables:
    """Collects the tables a statement names."""

    def __init__(self, tokens: list[_Token], ctes: frozenset[str]) -> None:
        self._tokens = tokens
        self._ctes = ctes
        self._found: set[str] = set()
        self._certain = True
        # One entry an open parenthesis: whether a query stands in it, and whether a list of tables is
        # being read there. EXTRACT(YEAR FROM ordered) holds no query, so its FROM names no table.
        self._levels: list[tuple[bool, bool]] = [(True, False)]

    def only(self) -> str | None:
        """The table, if there is exactly one and nothing is unclear."""
        for index, token in enumerate(self._tokens):
            if token.kind == "other":
                self._punctuation(index, token.text)
            elif token.keyword:
                self._keyword(index, token.keyword)
        return next(iter(self._found)) if self._certain and len(self._found) == 1 else None

    def _at(self, index: int) -> _Token:
        return self._tokens[index] if 0 <= index < len(self._tokens) else _END

    def _punctuation(self, index: int, text: str) -> None:
        query, listing = self._levels[-1]
        if text == "(":
            following = self._at(index + 1)
            self._levels.append((following.text == "(" or following.keyword in _QUERY_STARTS, False))
        elif text == ")" and len(self._levels) > 1:
            self._levels.pop()
        elif text == "," and query and listing:
            self._certain = False

    def _keyword(self, index: int, keyword: str) -> None:
        query, listing = self._levels[-1]
        if self._at(index - 1).text == ".":
            return
        if keyword == "STRAIGHT_JOIN" and listing:  # else it is an option of MySQL's SELECT
            keyword = "JOIN"
        if keyword in _LIST_ENDS:
            self._levels[-1] = (query, False)
        elif query and self._names_table(index, keyword):
            source = keyword in ("FROM", "JOIN", "USING")
            self._levels[-1] = (True, source or keyword == "UPDATE")
            self._table(index + 1, source)

    def _names_table(self, index: int, keyword: str) -> bool:
        before = self._at(index - 1)
        if keyword == "FROM":
            return before.keyword != "DISTINCT"
        if keyword == "UPDATE":
            return before is _END or before in _BRACKETS
        if keyword == "INTO":
            return not any(token.keyword == "RETURNING" for token in self._tokens[:index])
        return keyword == "JOIN" or (keyword == "USING" and self._at(index + 1).text != "(")

    def _is_name(self, index: int) -> bool:
        return self._at(index).kind in ("word", "quoted") and self._at(index).keyword not in _LIST_ENDS

    def _is_modifier(self, index: int) -> bool:
        # MySQL reserves these words, others may have tables of these names.
        return self._at(index).keyword in _MODIFIERS and self._is_name(index + 1)

    def _table(self, index: int, source: bool) -> None:
        while self._at(index).keyword in _BEFORE_NAMES or (not source and self._is_modifier(index)):
            index += 1
        if self._at(index).text == "(":
            return
        parts: list[str] = []
        while self._is_name(index):
            parts.append(_unquoted(self._at(index)))
            index += 1
            if self._at(index).text != ".":
                break
            index += 1
        name = ".".join(parts)
        called = source and self._at(index).text == "("
        if not all(_NAME.fullmatch(part) for part in parts) or not parts or len(name) > _MAX_NAME or called:
            self._certain = False
        elif name.lower() not in self._ctes:
            self._found.add(name)
