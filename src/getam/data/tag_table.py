"""Tags as CSV, in the form `read_tags` reads back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from getam.data.tags import TagRow


def tag_table(rows: Iterable[TagRow], classes: Sequence[str], *, wide: bool = False) -> str:
    """`image,tags`; a column per class if `wide`, or where some tag is unknown or holds what joins tags.

    >>> print(tag_table([TagRow("a.jpg", ("cat", "dog"), 0), TagRow("b.jpg", (), 0)], ("cat", "dog")), end="")
    image,tags
    a.jpg,cat;dog
    b.jpg,
    >>> print(tag_table([TagRow("a.jpg", ("cat",), 0, unknown=("dog",))], ("cat", "cow", "dog")), end="")
    image,cat,cow,dog
    a.jpg,1,0,?
    """
    rows = list(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    wide = wide or any(row.unknown for row in rows) or any(";" in name for name in classes)
    writer.writerow(["image", *classes] if wide else ["image", "tags"])
    for row in rows:
        states = ["1" if n in row.tags else "?" if n in row.unknown else "0" for n in classes]
        writer.writerow([row.image, *states] if wide else [row.image, ";".join(row.tags)])
    return text.getvalue()
