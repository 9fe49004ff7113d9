"""Tool rules: which tools the model may call next, which arguments are given for it, and when it may stop.

Pure logic. The history it goes by is what was called in this request: the names of the calls that ran, in order.
Rules are as `wire/tool_rules.py` lets them in. A rule about tools that the agent does not have says nothing, but for
`run_first`: an agent that is to begin with a tool it lacks cannot begin.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from perdure.domain.errors import Invalid
from perdure.tools import arguments

_QUOTED_CHARS: Final = 200
"""Characters of a tool's return that an error quotes."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")


REFUSED: Final = "[ToolConstraintError]"
"""How the return of a call begins that the rules did not allow."""


class Limit(msgspec.Struct, frozen=True):
    """What one rule leaves of the tools now. `said` is the rule in words; `forced` means that one must be called."""

    said: str
    kind: str
    names: frozenset[str]
    forced: bool = False


class Choice(msgspec.Struct, frozen=True):
    """What the model may call in a step, in the order in which the agent has its tools.

    `tool_choice` is `auto`, `required`, or the name of the one tool that must be called.
    """

    names: tuple[str, ...]
    tool_choice: str = "auto"
    limits: tuple[Limit, ...] = ()

    def beginning(self, wanted: str, names: Collection[str]) -> "Choice":
        """The same where the caller wants one of `names` called: the one that is `wanted` or, with `required`, any.

        What the rules do not leave is not called for it.
        """
        left = tuple(name for name in self.names if name in names)
        if wanted == "auto" or not left or (wanted != "required" and wanted not in left):
            return self
        return Choice(left, wanted, self.limits)


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule with only the tools that the agent has."""

    kind: str
    tool: str
    children: tuple[str, ...] = ()
    prefilled: Mapping[str, Mapping[str, Any]] = {}
    by_output: Mapping[str, str] = {}
    otherwise: str | None = None
    strict: bool = False
    most: int = 0


class ToolRules:
    """The rules of one agent, for the tools it has in this request."""

    def __init__(self, rules: Sequence[Mapping[str, Any]], tool_names: Sequence[str]) -> None:
        self._names = tuple(dict.fromkeys(tool_names))
        self._all = frozenset(self._names)
        self._rules = tuple(read for rule in rules if (read := _read(rule, self._all)) is not None)
        self._absent = [
            rule["tool_name"] for rule in rules if rule["type"] == "run_first" and rule["tool_name"] not in self._all
        ]

    def choice(self, called: Sequence[str], last_return: str | None, *, must_call: bool = False) -> Choice:
        """What may be called next, after `called`, the last of which returned `last_return`.

        What may be called is what every rule allows. Where a rule says what has to follow, or with `must_call`, one of
        it must be called; otherwise the model may as well speak, also where no tool is left. A first call that
        `run_first` asks for is not held up by `parent_last_tool`.

        Raises Invalid where a tool must be called and the rules leave none; it names those that contradict.
        """
        if self._absent and not called:
            raise Invalid(
                f"The tool rules of this agent let it begin with {_listed(self._absent, 'and')}, which it does not "
                "have. Attach the tool, or remove its run_first rule."
            )
        limits = tuple(self._limits(called, last_return))
        left = self._all.intersection(*(limit.names for limit in limits))
        names = tuple(name for name in self._names if name in left)
        if not must_call and not any(limit.forced for limit in limits):
            return Choice(names, "auto", limits)
        if not names:
            raise _contradiction(limits, self._all, self.missing(called))
        return Choice(names, names[0] if len(names) == 1 else "required", limits)

    def prefilled(self, name: str, called: Sequence[str]) -> dict[str, Any]:
        """The arguments that the rules give for a call of `name` now; they go before the model's own."""
        given: dict[str, Any] = {}
        for rule in self._rules:
            begins = rule.kind == "run_first" and not called
            follows = rule.kind == "constrain_child_tools" and bool(called) and called[-1] == rule.tool
            if begins or follows:
                given.update(rule.prefilled.get(name, {}))
        return given

    def is_terminal(self, name: str) -> bool:
        """Whether the run ends once `name` was called."""
        return self._has(name, "exit_loop")

    def continues(self, name: str) -> bool:
        """Whether the run goes on after `name`, also where the model did not ask for that."""
        return self._has(name, "continue_loop", "constrain_child_tools", "conditional")

    def needs_approval(self, name: str) -> bool:
        """Whether a call of `name` waits for a person's yes."""
        return self._has(name, "requires_approval")

    def missing(self, called: Sequence[str]) -> tuple[str, ...]:
        """The tools that have to be called before the run may end, and were not."""
        required = (rule.tool for rule in self._rules if rule.kind == "required_before_exit")
        return tuple(dict.fromkeys(name for name in required if name not in called))

    @property
    def parallel_allowed(self) -> bool:
        """Whether the model may make several calls at once: not where one call decides about the next."""
        return all(rule.kind == "requires_approval" for rule in self._rules)

    def violation(self, name: str, choice: Choice) -> str:
        """What answers a call of `name`, which the choice does not hold."""
        hints = [limit.said for limit in choice.limits if name not in limit.names]
        said = f"{REFUSED} Cannot call {name}, valid tools include: {list(choice.names)}"
        return f"{said}. It was not run. {' '.join(hints)}".rstrip()

    def section(self) -> str:
        """The part of the system message that tells the model of the rules; empty where there is nothing to tell."""
        told = dict.fromkeys(_said(rule) for rule in self._rules)
        told.pop("", None)
        if not told:
            return ""
        lines = [f"<tool_rule>\n{said}\n</tool_rule>" for said in told]
        intro = "Your tools come with rules. A call that breaks one is not run, and you are told so."
        return "\n".join(["<tool_usage_rules>", intro, *lines, "</tool_usage_rules>"])

    def _has(self, name: str, *kinds: str) -> bool:
        return any(rule.tool == name and rule.kind in kinds for rule in self._rules)

    def _limits(self, called: Sequence[str], last_return: str | None) -> Iterator[Limit]:
        first = [rule.tool for rule in self._rules if rule.kind == "run_first"]
        if first and not called:
            yield Limit(f"The first call must be {_listed(first, 'or')}.", "run_first", frozenset(first), forced=True)
        else:
            yield from self._parents(called[-1] if called else None)
        for rule in self._rules:
            if rule.kind == "max_count_per_step" and called.count(rule.tool) >= rule.most:
                yield Limit(_said(rule), rule.kind, self._all - {rule.tool})
            elif called and rule.tool == called[-1]:
                if rule.kind == "constrain_child_tools":
                    yield Limit(_said(rule), rule.kind, frozenset(rule.children), forced=True)
                elif rule.kind == "conditional" and (limit := _by_output(rule, last_return or "")) is not None:
                    yield limit

    def _parents(self, last: str | None) -> Iterator[Limit]:
        """A tool with several parents may follow any of them."""
        rules = [rule for rule in self._rules if rule.kind == "parent_last_tool"]
        follow = frozenset(child for rule in rules if rule.tool == last for child in rule.children)
        for rule in rules:
            if rule.tool == last:
                yield Limit(_said(rule), rule.kind, follow, forced=True)
            elif barred := frozenset(rule.children) - follow:
                yield Limit(_said(rule), rule.kind, self._all - barred)


def check_prefilled(schema: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments a rule gives, by the tool's function schema; None where they fit.

    What a rule does not give is left to the model, so nothing is missed.
    """
    parameters = schema.get("parameters") or {}
    required = [name for name in parameters.get("required") or () if name in given]
    try:
        arguments.check(given, {**parameters, "required": required})
    except Invalid as error:
        return (
            f"The arguments that this agent's tool rules give for {schema.get('name')} do not fit it. {error.message} "
            "The rules have to be changed."
        )
    return None


def _read(rule: Mapping[str, Any], names: Collection[str]) -> _Rule | None:
    """The rule as far as it is about tools the agent has; None where nothing of it is."""
    kind, tool = rule["type"], rule["tool_name"]
    if tool not in names:
        return None
    match kind:
        case "run_first":
            return _Rule(kind=kind, tool=tool, prefilled={tool: rule.get("args") or {}})
        case "constrain_child_tools" | "parent_last_tool":
            children = tuple(dict.fromkeys(child for child in rule["children"] if child in names))
            nodes = rule.get("child_arg_nodes") or ()
            prefilled = {node["name"]: node.get("args") or {} for node in nodes}
            return _Rule(kind=kind, tool=tool, children=children, prefilled=prefilled) if children else None
        case "conditional":
            by_output = {key: child for key, child in rule["child_output_mapping"].items() if child in names}
            otherwise = rule.get("default_child") if rule.get("default_child") in names else None
            if not by_output and otherwise is None:
                return None
            strict = bool(rule.get("require_output_mapping"))
            return _Rule(kind=kind, tool=tool, by_output=by_output, otherwise=otherwise, strict=strict)
        case "max_count_per_step":
            return _Rule(kind=kind, tool=tool, most=rule["max_count_limit"])
        case _:
            return _Rule(kind=kind, tool=tool)


def _by_output(rule: _Rule, returned: str) -> Limit | None:
    """What a conditional rule asks for after this return; None where it leaves the choice free."""
    child = rule.by_output.get(returned.strip())
    if child is None:
        child = next((child for key, child in rule.by_output.items() if _value(key) == _value(returned)), None)
    if child is None and rule.strict:
        said = f"{_said(rule)} It returned {json.dumps(returned[:_QUOTED_CHARS], ensure_ascii=False)}."
        return Limit(said, rule.kind, frozenset(), forced=True)
    child = child or rule.otherwise
    return None if child is None else Limit(_said(rule), rule.kind, frozenset((child,)), forced=True)


def _value(text: str) -> tuple[str, object]:
    """What a key or a return means: a truth value, a number, or just text."""
    word = text.strip()
    if word.lower() in ("true", "false"):
        return "bool", word.lower() == "true"
    if _NUMBER.fullmatch(word):
        return "number", Decimal(word)
    return "text", word


def _contradiction(limits: Sequence[Limit], every: frozenset[str], missing: Sequence[str]) -> Invalid:
    forced = [limit for limit in limits if limit.forced]
    asked = frozenset[str]().union(*(limit.names for limit in forced)) if forced else every
    at_odds = [f"{limit.kind} ({limit.said})" for limit in limits if limit.forced or asked - limit.names]
    if missing and not forced:
        at_odds.append(f"required_before_exit (Call {_listed(missing, 'and')} before the end.)")
    return Invalid(
        "The tool rules of this agent ask for a tool call and allow none. At odds are: "
        f"{'; '.join(dict.fromkeys(at_odds))}. Change or remove one of these rules."
    )


def _said(rule: _Rule) -> str:
    """The rule in words for the model; empty for those it need not know."""
    match rule.kind:
        case "constrain_child_tools":
            return f"Right after {rule.tool}, the next call must be {_listed(rule.children, 'or')}."
        case "parent_last_tool":
            children = _listed(rule.children, "and")
            return f"Call {children} only right after {rule.tool}; nothing else may be called there."
        case "conditional":
            cases = [f"{json.dumps(key, ensure_ascii=False)}: {child}" for key, child in rule.by_output.items()]
            rest = "nothing fits" if rule.strict else rule.otherwise or "any tool"
            outcomes = "; ".join([*cases, f"anything else: {rest}"])
            return f"Right after {rule.tool}, what it returned decides the next call. {outcomes}."
        case "max_count_per_step":
            return f"Call {rule.tool} at most {_times(rule.most)} in one request."
        case "continue_loop":
            return f"After {rule.tool} it is your turn again, so that you can go on."
        case "exit_loop":
            return f"Calling {rule.tool} ends your turn."
        case _:
            return ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _listed(names: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
