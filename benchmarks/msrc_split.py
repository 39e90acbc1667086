"""Deal the photos of MSRC v2 into train.csv and test.csv: of five in the order of their names, two are for testing.

python benchmarks/msrc_split.py MSRC_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    with (data / "tags.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    out.mkdir(parents=True, exist_ok=True)
    for name, wanted in (("train", (2, 3, 4)), ("test", (0, 1))):
        with (out / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["image", "tags"])
            writer.writeheader()
            writer.writerows(row for place, row in enumerate(rows) if place % 5 in wanted)


if __name__ == "__main__":
    main()
