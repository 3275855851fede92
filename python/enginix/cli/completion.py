"""`enginix completion SHELL`: a completion script, generated from the commands' own parsers."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from enginix.catalog.load import load_catalog
from enginix.cli.main import COMMANDS, build_parser
from enginix.runtimes.runtime import TRITON_CPU
from enginix.serve.profile import profile_names
from enginix.serve.servers import known_names, recipes

INSTALL = """\
where to put the script:
  bash  ~/.local/share/bash-completion/completions/enginix
  zsh   _enginix, in a directory of $fpath that is added before compinit
  fish  ~/.config/fish/completions/enginix.fish
"""


@dataclass(frozen=True, slots=True)
class Option:
    flags: list[str]
    help: str
    takes_value: bool
    values: list[str]


@dataclass(slots=True)
class Command:
    """`path` is "engine build" and empty for `enginix` itself; `words` maps each to its help."""

    path: str
    options: list[Option] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    subcommands: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=list(SCRIPTS), metavar="SHELL", help=", ".join(SCRIPTS))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = INSTALL


def run(args: argparse.Namespace) -> int:
    commands = list(_commands(build_parser(COMMANDS), "", _names()))
    for name in COMMANDS:
        # A command of two words has no parser inside its first word's.
        if " " in name:
            first, last = name.split()
            command = next(each for each in commands if each.path == first)
            command.words[last] = COMMANDS[name]
            command.subcommands.append(last)
    print(SCRIPTS[args.shell](commands), end="")
    return 0


def _names() -> dict[str, list[str]]:
    """Metavar or option -> its possible values; anything else is completed as a file."""
    models = list(load_catalog())
    return {
        **dict.fromkeys(("MODEL", "NAME", "--model"), models),
        "PROFILE": profile_names(),
        "KIND": sorted({TRITON_CPU.kind, *recipes()}),
        "--engine": known_names(),
    }


def _commands(
    parser: argparse.ArgumentParser, path: str, names: Mapping[str, list[str]]
) -> Iterator[Command]:
    command = Command(path)
    inner: list[Command] = []
    # argparse has no public list of a parser's arguments.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            command.subcommands = list(helps)
            command.words |= helps
            for word, child in action.choices.items():
                inner += _commands(child, f"{path} {word}".strip(), names)
        elif action.help == argparse.SUPPRESS:
            continue
        elif action.option_strings:
            text = parser._get_formatter()._expand_help(action) if action.help else ""
            values = _values(action, names, action.option_strings[-1])
            command.options.append(
                Option(list(action.option_strings), text, action.nargs != 0, values)
            )
        else:
            command.words |= dict.fromkeys(_values(action, names, str(action.metavar)), "")
    yield command
    yield from inner


def _values(action: argparse.Action, names: Mapping[str, list[str]], known_by: str) -> list[str]:
    if action.choices:
        return [str(choice) for choice in action.choices]
    return next((names[word] for word in known_by.split("|") if word in names), [])


def _bash(commands: list[Command]) -> str:
    return f"""\
# Completion of enginix in bash; made by `enginix completion bash`.
_enginix() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} path="" word words=""
  # bash takes --option=value for three words.
  if [ "$cur" = = ]; then
    cur=
  elif [ "$prev" = = ]; then
    prev=${{COMP_WORDS[COMP_CWORD - 2]}}
  fi
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$path $word" in
      {_paths(commands)}) path="${{path:+$path }}$word" ;;
    esac
  done
  case "$path $prev" in
{_indented(_value_cases(commands), 4)}
    *)
      case "$path:$cur" in
{_indented(_option_cases(commands), 8)}
{_indented(_word_cases(commands), 8)}
      esac
      ;;
  esac
  # Without a match, `-o default` completes files.
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -o bashdefault -o default -F _enginix enginix
"""


def _paths(commands: list[Command]) -> str:
    """The values of `$path $word`: a top-level command follows an empty path."""
    paths = [each.path if " " in each.path else f" {each.path}" for each in commands if each.path]
    return "|".join(shlex.quote(path) for path in paths)


def _value_cases(commands: list[Command]) -> list[str]:
    return [
        f"{'|'.join(shlex.quote(f'{each.path} {flag}') for flag in option.flags)}) "
        f"words={shlex.quote(' '.join(option.values))} ;;"
        for each in commands
        for option in each.options
        if option.takes_value
    ]


def _option_cases(commands: list[Command]) -> list[str]:
    return [
        f"{shlex.quote(each.path)}:-*) words={shlex.quote(' '.join(_flags(each)))} ;;"
        for each in commands
    ]


def _word_cases(commands: list[Command]) -> list[str]:
    return [
        f"{shlex.quote(each.path)}:*) words={shlex.quote(' '.join(each.words))} ;;"
        for each in commands
        if each.words
    ]


def _flags(command: Command) -> list[str]:
    return [flag for option in command.options for flag in option.flags]


def _indented(lines: list[str], by: int) -> str:
    return "\n".join(" " * by + line for line in lines)


def _zsh(commands: list[Command]) -> str:
    return f"""\
#compdef enginix
# Completion of enginix in zsh; made by `enginix completion zsh`.
_enginix() {{
  local cmd= word prev=$words[CURRENT-1] cur=$words[CURRENT]
  local -a options names values
  for word in $words[2,CURRENT-1]; do
    case "$cmd $word" in
      {_paths(commands)}) cmd="${{cmd:+$cmd }}$word" ;;
    esac
  done
  if [[ $cur == --*=* ]]; then
    prev=${{cur%%=*}}
    compset -P '*='
  fi
  case "$cmd $prev" in
{_indented([_zsh_values(line) for line in _value_cases(commands)], 4)}
  esac
  case "$cmd" in
{_indented([_zsh_case(each) for each in commands], 4)}
  esac
  if [[ $cur == -* ]]; then
    _describe -o option options
  else
    (( $#names )) && _describe word names
    _files
  fi
}}
if [ "$funcstack[1]" = _enginix ]; then
  _enginix "$@"
else
  compdef _enginix enginix
fi
"""


def _zsh_values(line: str) -> str:
    """A case of bash as one of zsh, which completes files for options without values."""
    patterns, _, values = line.removesuffix(" ;;").partition(") words=")
    words = values.strip("'")
    return f"{patterns}) {f'compadd {words}' if words else '_files'}; return ;;"


def _zsh_case(command: Command) -> str:
    def described(pairs: Iterator[tuple[str, str]]) -> str:
        return " ".join(
            shlex.quote(f"{word.replace(':', chr(92) + ':')}:{text}" if text else word)
            for word, text in pairs
        )

    options = described((flag, each.help) for each in command.options for flag in each.flags)
    names = described(iter(command.words.items()))
    return f"{shlex.quote(command.path)}) options=({options}) names=({names}) ;;"


def _fish(commands: list[Command]) -> str:
    lines = ["# Completion of enginix in fish; made by `enginix completion fish`."]
    for command in commands:
        lines += _fish_lines(command)
    return "\n".join(lines) + "\n"


def _fish_lines(command: Command) -> Iterator[str]:
    parts = command.path.split()
    condition = " && ".join(f"__fish_seen_subcommand_from {part}" for part in parts)
    inside = condition or "__fish_use_subcommand"
    line = f"complete -c enginix -n {shlex.quote(inside)}"
    for option in command.options:
        flags = " ".join(
            f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
        )
        values = f" -x -a {shlex.quote(' '.join(option.values))}" if option.values else " -r"
        takes = values if option.takes_value else ""
        yield f"{line} {flags}{takes} -d {_fish_quoted(option.help)}"
    if command.subcommands and parts:
        inside += f" && not __fish_seen_subcommand_from {' '.join(command.subcommands)}"
        line = f"complete -c enginix -n {shlex.quote(inside)}"
    only = " -f" if command.subcommands else ""
    for word, text in command.words.items():
        described = f" -d {_fish_quoted(text)}" if text else ""
        yield f"{line}{only} -a {word}{described}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
