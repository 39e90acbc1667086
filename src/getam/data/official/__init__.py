"""The official sets as one folder each that every verb reads: archives, PASCAL VOC with SBD, COCO."""
