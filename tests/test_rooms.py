"""The order of the package's rooms: each imports from those before it, and none from those behind."""

import ast
from pathlib import Path

import getam

PACKAGE = Path(getam.__file__).parent
ORDER = (
    "errors", "registry", "named", "boxes", "label_numbers", "threads", "tiles", "frozen", "photo_size",
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
