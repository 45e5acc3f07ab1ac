"""Generator of docs/verbs: the help of each verb as a page, and the table of option words.

    python docs/generate.py [--check]

``--check`` writes nothing and ends with 1 where a page is not current.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "verbs"
WIDTH = 88
OPTIONS = """
An option means the same, in the same unit, at every verb that has it. Shares are in percent; a
confidence is a probability from 0 to 1; `--max-...` and `--min-...` are limits.
"""


def pages() -> dict[str, str]:
    """File name -> text, for every verb and an index."""
    import typer

    from edgevpr.cli.main import app
    from edgevpr.cli.verbs import VERBS, load

    group: Any = typer.main.get_command(app)
    found = {}
    lines = ["# Verbs", "", "Written by `python docs/generate.py`.", "", "```text"]
    settings = dict(group.context_settings)
    lines += [help_text(group, "edgevpr", settings), "```", ""]
    for verb, line in VERBS.items():
        command = load(verb)
        title = f"edgevpr {verb}"
        text = f"# {title}\n\n```text\n{help_text(command, title, settings)}\n```\n"
        for name, below in getattr(command, "commands", {}).items():
            named = f"{title} {name}"
            text += f"\n## {named}\n\n```text\n{help_text(below, named, settings)}\n```\n"
        found[f"{verb}.md"] = text
        lines.append(f"- [{title}]({verb}.md): {line}")
    lines += ["", "## Options", "", OPTIONS.strip(), "", *option_table(), ""]
    found["README.md"] = "\n".join(lines).rstrip() + "\n"
    return found


def option_table() -> list[str]:
    """Rows of option_words.py, with the verbs that have each."""
    from option_words import WORDS

    from edgevpr.cli.verbs import VERBS, load

    users: dict[str, list[str]] = {}
    for verb in VERBS:
        group = load(verb)
        for command in (getattr(group, "commands", None) or {"": group}).values():
            for parameter in command.params:
                if parameter.param_type_name == "option":
                    users.setdefault(max(parameter.opts, key=len), []).append(verb)
    lines = ["| option | value | unit, range | meaning | verbs |", "|---|---|---|---|---|"]
    for word, row in sorted(WORDS.items()):
        verbs = list(dict.fromkeys(users.get(word, ())))
        named = "all" if len(verbs) == len(VERBS) else ", ".join(verbs)
        lines.append(f"| `{word}` | {row.value} | {row.unit} | {row.meaning} | {named} |")
    return lines


def help_text(command: Any, name: str, settings: dict[str, Any]) -> str:
    """Plain help of a fixed width, whatever the terminal is."""
    context = command.context_class(
        command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH, **settings
    )
    lines = command.get_help(context).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    current = {p.name: p.read_text(encoding="utf-8") for p in FOLDER.glob("*.md")}
    wanted = pages()
    if check:
        differing = sorted({n for n, text in (wanted.items() ^ current.items())})
        if differing:
            print(f"not current: {', '.join(differing)}: run python docs/generate.py")
        return 1 if differing else 0
    FOLDER.mkdir(exist_ok=True)
    for name in current.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"wrote {len(wanted)} pages to {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
