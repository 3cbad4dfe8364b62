"""What the commands share: options, the methods asked for, and what a run stands on."""

import argparse
import ast
import shlex
from typing import Any

from benchmarks.environment import describe
from benchmarks.peers.adapters import (
    METHODS,
    PEERS,
    Settings,
    how_to_install,
    package_version,
)
from skvae import CVAERegressor


def make_parser(module: str, document: str) -> argparse.ArgumentParser:
    """Begin the command line of ``python -m benchmarks.MODULE``."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=document.splitlines()[0]
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``."""
    parser.add_argument("--data", metavar="DIR", help="default: $SKVAE_DATA")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add ``--set``."""
    parser.add_argument(
        "--set",
        dest="overrides",
        type=parse_override,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value than the default of a parameter; may be repeated",
    )


def parse_override(text: str) -> tuple[str, object]:
    """Split ``key=value``; a value that is no Python literal stays text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"expected key=value, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Add ``--peers`` and what goes with it."""
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=PEERS,
        metavar="PEER",
        help=f"run these too, or all that are installed: {', '.join(PEERS)}",
    )
    parser.add_argument(
        "--peers-only", action="store_true", help="leave skvae itself out"
    )
    parser.add_argument(
        "--treeffuser-python",
        metavar="PATH",
        help="python of an environment that has treeffuser",
    )


def file_stem(parts: list[str]) -> str:
    """Name of result files, from parts that tell runs apart."""
    return "-".join(parts).replace("/", "_").replace(" ", "")


def chosen_methods(
    options: argparse.Namespace, settings: Settings
) -> dict[str, str | None]:
    """Methods to run and the versions of their packages.

    Without names those that are not installed are left out, with a line for each.

    Raises
    ------
    ModuleNotFoundError
        If a peer that was named is not installed.
    """
    methods = (
        {} if options.peers_only else {"skvae": package_version("skvae", settings)}
    )
    if options.peers is None:
        return methods
    for name in options.peers or PEERS:
        installed = package_version(name, settings)
        if installed is not None:
            methods[name] = installed
        elif options.peers:
            raise ModuleNotFoundError(how_to_install(name))
        else:
            print(how_to_install(name))
    return methods


def shown_command(
    module: str, arguments: list[str], hidden: dict[str, str | None]
) -> str:
    """Spell the command as it can be repeated elsewhere, with words for paths."""
    shown = list(arguments)
    for word, path in hidden.items():
        if path is not None:
            shown = [argument.replace(path, word) for argument in shown]
    return shlex.join(["python", "-m", f"benchmarks.{module}", *shown])


def about_run(
    module: str,
    arguments: list[str],
    options: argparse.Namespace,
    settings: Settings,
    methods: dict[str, str | None] | None = None,
    **more: object,
) -> dict[str, Any]:
    """Collect what the figures depend on, to be stored with them."""
    methods = methods or {"skvae": package_version("skvae", settings)}
    hidden = {
        "DIR": getattr(options, "data", None),
        "PATH": getattr(options, "treeffuser_python", None),
    }
    about = {
        "command": shown_command(module, arguments, hidden),
        "seed": settings.seed,
        "parameters": settings.parameters,
        "all_parameters": CVAERegressor(**settings.parameters).get_params(),
        "jobs": options.jobs,
        "methods": {name: METHODS[name].about for name in methods},
        **more,
        **describe(),
    }
    packages = {METHODS[name].package: found for name, found in methods.items()}
    about["versions"] = packages | about["versions"]
    return about
