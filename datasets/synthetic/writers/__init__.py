"""One writer per official format.

A writer is a module with two functions. `write_picture(material, root)` runs in a worker: it writes the files
that belong to one picture and returns the records (JSON-like) that a shared file will list, or None.
`write_index(records, root)` runs once, with all records in the order of the pictures, and returns counts.
A new format is one more module here and one more entry in WRITERS.
"""

from datasets.synthetic.writers import (
    ade20k,
    cocostuff,
    grefcoco,
    llava,
    mapillary,
    paco,
    pascal_part,
    reason_seg,
    refclef,
    refcoco,
    refcoco_plus,
    refcocog,
)

WRITERS = {
    "ade20k": ade20k,
    "refcoco": refcoco,
    "llava": llava,
    "reason_seg": reason_seg,
    "cocostuff": cocostuff,
    "mapillary": mapillary,
    "paco_lvis": paco,
    "pascal_part": pascal_part,
    "refclef": refclef,
    "refcoco+": refcoco_plus,
    "refcocog": refcocog,
    "grefcoco": grefcoco,
}

__all__ = ["WRITERS"]
