"""The results as one small page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --good: #1a7f37; --bad: #b3261e; --soft: #6a6a6a }
@media (prefers-color-scheme: dark) { :root { --good: #5bd07a; --bad: #ff8a80; --soft: #a8a8a8 } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem }
.pass { color: var(--good) } .fail { color: var(--bad) } .soft { color: var(--soft) }
table { border-collapse: collapse; width: 100%; table-layout: fixed }
td { border-top: 1px solid var(--line); padding: .3rem .75rem .3rem 0; vertical-align: top; overflow-wrap: anywhere }
td:first-child { width: 42% } code { font-size: .85em }
@media (max-width: 40rem) { td { display: block; width: auto !important } td + td { border: 0; padding-top: 0 } }
@media print { body { max-width: none } h2, tr { break-inside: avoid } }
"""


def page(results: dict[str, Any]) -> str:
    """All stages by number, with what each found."""
    stages = sorted(results["stages"].items(), key=lambda item: item[1]["number"])
    failed = [name for name, result in stages if not result["passed"]]
    num_skipped = sum("skipped" in result for _, result in stages)
    summary = f'<span class="fail">{len(failed)} failed: {escape(", ".join(failed))}</span>' if failed else (
        '<span class="pass">nothing failed</span>')  # fmt: skip
    return "\n".join([
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>GPU check</title>',
        f"<style>{_STYLE}</style><h1>GPU check</h1>",
        f"<p>{escape(_device(results))}, size {escape(results['size'])}, {len(stages)} stages in "
        f"{results.get('seconds', 0)} s: {summary}, {num_skipped} skipped.</p>",
        *(line for name, result in stages for line in _stage(name, result)), "</html>",
    ])  # fmt: skip


def _device(results: dict[str, Any]) -> str:
    findings = results["stages"].get("machine", {}).get("findings", [])
    return next((str(each["numbers"]["name"]) for each in findings if "name" in each["numbers"]), "unknown device")


def _stage(name: str, result: dict[str, Any]) -> Iterator[str]:
    word, kind = ("skipped", "soft") if "skipped" in result else ("PASS", "pass") if result["passed"] else (
        "FAIL", "fail")  # fmt: skip
    reason = result.get("skipped", result.get("error", ""))
    yield (f'<section><h2>{result["number"]} {escape(name)} <span class="{kind}">{word}</span> '
           f'<small class="soft">{result["seconds"]} s</small></h2>')  # fmt: skip
    if reason:
        yield f"<p>{escape(reason)}</p>"
    if result["findings"]:
        yield "<table>"
        for finding in result["findings"]:
            mark = {True: '<span class="pass">holds</span>: ', False: '<span class="fail">fails</span>: ', None: ""}
            yield (f"<tr><td>{mark[finding['passed']]}{escape(finding['what'])}</td>"
                   f"<td><code>{escape(_numbers(finding['numbers']))}</code></td></tr>")  # fmt: skip
        yield "</table>"
    yield "</section>"


def _numbers(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in numbers.items()
                     if value is not None)  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return f"({_numbers(value)})"
    return "[" + ", ".join(map(_shown, value)) + "]" if isinstance(value, list) else str(value)
