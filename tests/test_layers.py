"""Imports point one way: surface, then table and engine, which know nobody above."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skvae

PACKAGE = Path(skvae.__file__).parent

# first match wins: module prefix, height, packages that it may import beside the
# standard library and the modules of skvae that lie lower
LAYERS = [
    ("skvae._warnings", -1, set()),
    ("skvae._engine.door", 0, {"torch", "numpy", "scipy"}),
    ("skvae._engine", 0, {"torch"}),
    ("skvae._table", 0, {"numpy", "pandas", "polars"}),  # polars only when asked for
    ("skvae._mixture", 0, {"numpy", "scipy"}),
    ("skvae._predictive", 1, {"numpy", "scipy"}),
    ("skvae._estimator", 1, {"numpy", "scipy", "sklearn"}),
    ("skvae._generated", 2, {"numpy"}),
    ("skvae._classifier", 3, {"numpy", "scipy", "sklearn"}),
    ("skvae._transformer", 3, {"numpy", "scipy", "sklearn"}),
    ("skvae.inspection", 4, {"numpy", "sklearn", "matplotlib"}),
    ("skvae._imputer", 4, {"numpy", "sklearn"}),
    ("skvae._outlier", 4, {"numpy", "scipy", "sklearn"}),
    ("skvae._conformal", 0, {"numpy"}),
    ("skvae._regressor", 2, {"numpy", "scipy", "sklearn"}),
    ("skvae.metrics._checks", 2, {"numpy"}),
    ("skvae.metrics._calibration", 3, {"numpy"}),
    ("skvae.metrics._scores", 3, {"numpy"}),
    ("skvae.metrics._responses", 3, {"numpy", "sklearn"}),
    ("skvae.metrics._scorers", 4, {"numpy", "sklearn"}),
    ("skvae.metrics", 5, set()),
    ("skvae", 9, set()),
]
# what the surface may see of the engine: the door, and settings without torch
ENGINE_FACE = {"skvae._engine.door", "skvae._engine.config"}


def module_name(path):
    """``skvae/_engine/door.py`` as ``skvae._engine.door``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_modules(source):
    """Every module that an import statement anywhere in ``source`` names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def layer_of(name):
    """Prefix, height and allowed packages of a module of skvae."""
    for prefix, height, packages in LAYERS:
        if name == prefix or (prefix != "skvae" and name.startswith(prefix + ".")):
            return prefix, height, packages
    raise AssertionError(f"{name} belongs to no layer: give it a line in LAYERS.")


def refusal(name, target):
    """Why module ``name`` may not import ``target``, or None where it may."""
    prefix, height, packages = layer_of(name)
    top = target.partition(".")[0]
    if top != "skvae":
        allowed = top in sys.stdlib_module_names or top in packages
        return None if allowed else f"{name} imports {target}"
    target_prefix, target_height, _ = layer_of(target)
    if "skvae._engine" in prefix and "skvae._engine" in target_prefix:
        return None
    if target_prefix == prefix and height == 0:
        return None
    if target_height >= height:
        return f"{name} imports {target}, which does not lie below it"
    if target.startswith("skvae._engine") and target not in ENGINE_FACE:
        return f"{name} imports {target}: only the door of the engine is open"
    return None


def test_the_modules_that_the_other_tests_are_about_were_found():
    assert {"skvae", "skvae._engine.door", "skvae._table", "skvae._estimator"} <= set(
        MODULES
    )
    assert sum(name.startswith("skvae._engine.") for name in MODULES) >= 5
    assert sum(name.startswith("skvae._table.") for name in MODULES) >= 1
    assert "torch" in set(imported_modules(MODULES["skvae._engine.door"].read_text()))


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    targets = set(imported_modules(MODULES[name].read_text()))
    refusals = [reason for target in targets if (reason := refusal(name, target))]
    assert refusals == []


def test_no_module_imports_itself_through_others():
    imports = {
        name: {t for t in imported_modules(path.read_text()) if t in MODULES}
        for name, path in MODULES.items()
    }
    while leaves := [name for name, targets in imports.items() if not targets]:
        for leaf in leaves:
            del imports[leaf]
        for targets in imports.values():
            targets.difference_update(leaves)
    assert imports == {}, "these modules form, or import, a circle"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("skvae._engine.train", "numpy"),
        ("skvae._engine.train", "sklearn.base"),
        ("skvae._engine.door", "pandas"),
        ("skvae._engine.model", "skvae._table.schema"),
        ("skvae._engine.model", "skvae._estimator"),
        ("skvae._table.schema", "torch"),
        ("skvae._table.schema", "skvae._engine.door"),
        ("skvae._estimator", "torch"),
        ("skvae._estimator", "pandas"),
        ("skvae._estimator", "skvae._regressor"),
        ("skvae._estimator", "skvae._engine.train"),
        ("skvae._regressor", "skvae._transformer"),
        ("skvae.metrics._responses", "torch"),
        ("skvae.metrics._scores", "skvae.metrics._scorers"),
        ("skvae", "torch"),
    ],
)
def test_an_import_against_the_direction_is_refused(name, target):
    assert refusal(name, target)


def in_fresh_python(code):
    """What a new interpreter prints that runs ``code``."""
    command = [sys.executable, "-I", "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_importing_skvae_loads_no_heavy_package():
    heavy = ("torch", "sklearn", "pandas", "scipy", "numpy")
    code = f"import sys, skvae; print([n for n in {heavy} if n in sys.modules])"
    assert in_fresh_python(code).strip() == "[]"


def test_public_names_are_listed_before_and_resolved_when_used():
    code = (
        "import sys, skvae\n"
        "assert set(skvae.__all__) <= set(dir(skvae)), dir(skvae)\n"
        "assert 'torch' not in sys.modules\n"
        "for name in skvae.__all__:\n"
        "    print(name, getattr(skvae, name))\n"
    )
    printed = in_fresh_python(code)
    assert "VAETransformer" in printed
    assert "CVAERegressor" in printed


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        skvae.no_such_name  # noqa: B018
