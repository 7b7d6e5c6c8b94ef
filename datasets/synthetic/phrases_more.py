"""The wordings of refCOCOg (descriptions) and gRefCOCO (groups, and what is not there), in tables."""

from __future__ import annotations

from datasets.synthetic.phrases import Wording

# What is said of a thing after "that is".
PLACE_CLAUSES = {
    "left": "furthest to the left",
    "right": "furthest to the right",
    "top": "closest to the top",
    "bottom": "closest to the bottom",
    "top left": "in the top left corner",
    "top right": "in the top right corner",
    "bottom left": "in the bottom left corner",
    "bottom right": "in the bottom right corner",
    "middle": "in the middle of the picture",
}
SIZE_CLAUSES = {
    "largest": "the biggest of the {nouns}",
    "smallest": "the smallest of the {nouns}",
    "larger": "the bigger of the two {nouns}",
    "smaller": "the smaller of the two {nouns}",
}
RELATION_CLAUSES = {
    "left": "to the left of the {anchor}",
    "right": "to the right of the {anchor}",
    "above": "higher than the {anchor}",
    "below": "lower than the {anchor}",
    "next": "next to the {anchor}",
    "behind": "partly behind the {anchor}",
    "front": "in front of the {anchor}",
}

DESCRIPTIONS: dict[str, Wording] = {
    "one": Wording(
        train=("the {noun} which is {clause}", "the one {noun} which is {clause}", "{a_noun} which is {clause}"),
        kept=("the one {noun} that is {clause}",),
    ),
    "two": Wording(
        train=(
            "the {noun} that is {clause} and {other}",
            "the {noun} which is {clause} and also {other}",
            "{a_noun} which is {clause} and {other}",
        ),
        kept=("{a_noun} which is {clause} and also {other}",),
    ),
}

GROUPS: dict[str, Wording] = {
    "plural": Wording(
        train=("{nouns}", "the {nouns}", "all {nouns}", "all the {nouns}"), kept=("every one of the {nouns}",)
    ),
    "number": Wording(
        train=("{number} {nouns}", "the {number} {nouns}", "all {number} {nouns}"),
        kept=("all of the {number} {nouns}",),
    ),
    "pair": Wording(
        train=("{noun} and {anchor}", "the {noun} and the {anchor}", "both the {noun} and the {anchor}"),
        kept=("both {noun} and {anchor}",),
    ),
    "rest": Wording(
        train=("everything but the {noun}", "all things but the {noun}", "all the things that are not the {noun}"),
        kept=("everything that is not the {noun}",),
    ),
    "none": Wording(train=("{noun}", "the {noun}", "{a_noun}"), kept=("{a_noun} in the picture",)),
    "none.plural": Wording(train=("{nouns}", "the {nouns}", "all the {nouns}")),
    "none.place": Wording(train=("{noun} {place}", "the {noun} {place}")),
    "none.relation": Wording(train=("{noun} {relation} the {anchor}", "the {noun} {relation} the {anchor}")),
}

# Where a thing is not that is clearly on the other side.
NOT_THERE = {
    "left": "on the left side of the picture",
    "right": "on the right side of the picture",
    "top": "at the top of the picture",
    "bottom": "at the bottom of the picture",
}
NOT_RELATED = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
