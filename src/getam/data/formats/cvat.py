"""CVAT's own export "CVAT for images 1.1": tags of a photo, and the labels of its boxes, polygons and masks."""

from __future__ import annotations

from getam.data.formats.listing import Listing, tagged
from getam.data.formats.source import Source
from getam.errors import InputError

FILE = "annotations.xml"


def looks(source: Source) -> bool:
    """`annotations.xml`, or a folder that has it."""
    if source.is_folder:
        return (source.path / FILE).is_file() and looks(Source(source.path / FILE))
    return source.is_xml and source.xml.tag == "annotations"


def read(source: Source) -> Listing:
    """Photos and the labels in them. Raises `InputError`, naming the file and the photo."""
    file = source if not source.is_folder else Source(source.path / FILE)
    if file.xml.find("track") is not None:
        raise InputError(
            f"{file.path} holds tracks of a video: export the task from CVAT as 'CVAT for images 1.1'."
        )
    rows = []
    for number, image in enumerate(file.xml.iter("image"), start=1):
        where = f"{file.path}, image {number}"
        name = image.get("name")
        if not name:
            raise InputError(f"{where}: it has no name; export the task from CVAT again.")
        labels = []
        for each in image:
            label = each.get("label")
            if not label:
                raise InputError(f"{where} ({name}): a <{each.tag}> has no label; export the task again.")
            labels.append(label)
        rows.append(tagged(name, labels, where, line=number))
    return Listing("CVAT for images", tuple(rows), (".", "images"))
