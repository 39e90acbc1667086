"""The order of the package's rooms: each imports from those before it, and none from those behind."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import getam

PACKAGE = Path(getam.__file__).parent
ORDER = (
    "errors", "whole_files", "registry", "named", "boxes", "label_numbers", "threads", "tiles", "frozen", "photo_size",
    "onnx_session", "data", "refine", "attention", "maps", "labels", "losses", "nets", "metrics", "pipeline_patches",
    "pipeline", "pipeline_text", "recipes", "engine", "exported", "outputs", "opened", "report", "published",
    "web", "service", "verbs", "cli_signature", "cli_groups", "cli_verbs", "cli", "cli_completion", "__main__",
)  # fmt: skip


def imported(file: Path) -> set[str]:
    """Rooms that a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module] if node.module != "getam" else [f"getam.{alias.name}" for alias in node.names]
            )
        found |= {name.split(".")[1] for name in names if name.startswith("getam.")}
    return found


def test_imports_run_downwards_only() -> None:
    place = {room: number for number, room in enumerate(ORDER)}
    upwards = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":  # what `import getam` offers
            continue
        assert room in place, f"{room} is not in the order of the rooms"
        upwards |= {
            f"{file.relative_to(PACKAGE)} imports {other}"
            for other in imported(file) - {room}
            if other in place and place[other] >= place[room]
        }
    assert not upwards


def test_no_files_import_each_other_in_a_circle() -> None:
    """Wherever in a file an import stands: one inside a function only hides the circle."""
    files = {
        ".".join(("getam", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in PACKAGE.rglob("*.py")
    }
    needs = {name: modules_imported(file, set(files)) - {name} for name, file in files.items()}
    try:
        list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise AssertionError(f"import each other: {' <- '.join(error.args[1])}") from None


def modules_imported(file: Path, known: set[str]) -> set[str]:
    """Of the package's modules, those that a file imports, or imports a name from."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inside or {node.module}
    return found & known
