"""The wordings of refCOCO and ReasonSeg, in tables: kind -> phrasings of training, and those kept for val and test.

A kept phrasing is made of words that training shows in others.
Referring phrases are lower-case, without punctuation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The phrasings of one kind of sentence; {slots} are filled in."""

    train: tuple[str, ...]
    kept: tuple[str, ...] = ()
    """Only in val, test and composition."""

    def pick(self, rng: np.random.Generator, split: str) -> str:
        """One phrasing at random: of the trained ones in train, of all elsewhere."""
        choices = self.train if split == "train" else (*self.train, *self.kept)
        return choices[rng.integers(len(choices))]


def _direction(name: str, most: str) -> Wording:
    return Wording(
        train=(
            f"{{noun}} on the {name}",
            f"the {{noun}} on the {name}",
            f"{most} {{noun}}",
            f"the {most} {{noun}}",
            f"the {{noun}} furthest to the {name}",
        ),
        kept=(f"{{noun}} furthest to the {name}",),
    )


def _height(name: str, most: str) -> Wording:
    return Wording(
        train=(
            f"{{noun}} at the {name}",
            f"the {{noun}} at the {name}",
            f"{most} {{noun}}",
            f"the {most} {{noun}}",
            f"the {{noun}} closest to the {name}",
        ),
        kept=(f"{{noun}} closest to the {name}",),
    )


def _corner(name: str) -> Wording:
    return Wording(
        train=(
            f"{{noun}} in the {name}",
            f"the {{noun}} in the {name}",
            f"{name} {{noun}}",
            f"the {{noun}} in the {name} corner",
        ),
        kept=(f"{{noun}} in the {name} corner",),
    )


def _extreme(*words: str) -> Wording:
    first, second = words
    return Wording(
        train=(
            f"{first} {{noun}}",
            f"the {first} {{noun}}",
            f"the {second} {{noun}}",
            f"the {{noun}} that is the {first}",
        ),
        kept=(f"the {{noun}} that is the {second}",),
    )


def _comparison(*words: str) -> Wording:
    first, second = words
    return Wording(
        train=(
            f"{first} {{noun}}",
            f"the {first} {{noun}}",
            f"the {second} {{noun}}",
            f"the {{noun}} that is {first}",
        ),
        kept=(f"the {{noun}} that is {second}",),
    )


def _relation(*words: str) -> Wording:
    first, second, third = words
    return Wording(
        train=(
            f"{{noun}} {first} the {{anchor}}",
            f"the {{noun}} {first} the {{anchor}}",
            f"the {{noun}} {second} the {{anchor}}",
            f"{{noun}} {third} the {{anchor}}",
        ),
        kept=(f"the {{noun}} that is {first} the {{anchor}}",),
    )


REFERRING: dict[str, Wording] = {
    "class": Wording(train=("{noun}", "the {noun}", "the only {noun}", "the one {noun}"), kept=("only {noun}",)),
    "attribute": Wording(
        train=("{colour} {cls}", "the {colour} {cls}", "the {cls} that is {colour}", "the {cls} in {colour}"),
        kept=("{cls} that is {colour}",),
    ),
    "place.left": _direction("left", "leftmost"),
    "place.right": _direction("right", "rightmost"),
    "place.top": _height("top", "highest"),
    "place.bottom": _height("bottom", "lowest"),
    "place.top left": _corner("top left"),
    "place.top right": _corner("top right"),
    "place.bottom left": _corner("bottom left"),
    "place.bottom right": _corner("bottom right"),
    "place.middle": Wording(
        train=(
            "{noun} in the middle",
            "the {noun} in the middle",
            "the middle {noun}",
            "the {noun} in the centre",
        ),
        kept=("{noun} in the centre",),
    ),
    "size.largest": _extreme("biggest", "largest"),
    "size.smallest": _extreme("smallest", "tiniest"),
    "size.larger": _comparison("bigger", "larger"),
    "size.smaller": _comparison("smaller", "tinier"),
    "relation.left": _relation("left of", "to the left of", "on the left of"),
    "relation.right": _relation("right of", "to the right of", "on the right of"),
    "relation.above": _relation("above", "higher than", "over"),
    "relation.below": _relation("below", "lower than", "under"),
    "relation.next": _relation("next to", "beside", "closest to"),
    "relation.behind": _relation("behind", "partly behind", "hidden by"),
    "relation.front": _relation("in front of", "standing in front of", "partly in front of"),
    "property": Wording(
        train=("the one {that}", "something {that}", "the thing {that}", "one thing {that}"),
        kept=("the only thing {that}",),
    ),
    "part": Wording(
        train=(
            "{part} of the {owner}",
            "the {part} of the {owner}",
            "the {part} on the {owner}",
            "the {part} that the {owner} has",
        ),
        kept=("{part} on the {owner}",),
    ),
}

# "the one that can fly", "something you can eat": what a property says of a thing.
PROPERTY_CLAUSES: dict[str, tuple[str, ...]] = {
    "sails": ("that can sail", "that carries people over the water"),
    "light": ("that gives light", "that helps after dark"),
    "fly": ("that can fly", "that can go through the air"),
    "flight": ("that takes people through the air",),
    "eat": ("that you can eat", "that is good to eat"),
    "swim": ("that lives in the water", "that can breathe in the water"),
    "wheels": ("that has wheels", "that can go on the road"),
    "rain": ("that you hold over your head in the rain", "that you open in the rain"),
    "drink": ("that can hold a drink", "that you can drink from"),
    "sit": ("that you can sit on", "that is made to sit on"),
    "plant": ("that has roots", "that grows in the earth"),
    "sleep": ("that you can sleep in", "that is made to sleep in"),
    "animal": ("that is an animal", "that has eyes"),
    "alive": ("that is alive", "that can grow"),
    "play": ("that you can play with", "that can be thrown and caught"),
    "travel": ("that can take people to another place", "that people travel in"),
}

# ReasonSeg. Short phrases follow "What is ... in this image?"; sentences stand alone.
SHORT: dict[str, Wording] = {
    "property": Wording(
        train=("the thing {that}", "something {that}", "everything {that}", "anything {that}"),
        kept=("all {that}",),
    ),
    "plural": Wording(
        train=("all the {nouns}", "every {noun}", "each {noun}", "all of the {nouns}"),
        kept=("each of the {nouns}",),
    ),
    "odd_one_out": Wording(
        train=(
            "the odd one out",
            "the thing that differs from the others",
            "the one that is not like the others",
        ),
        kept=("the thing that is not like the others",),
    ),
    "hidden": Wording(
        train=(
            "the thing hidden behind the {anchor}",
            "the thing behind the {anchor}",
            "the thing partly behind the {anchor}",
        ),
        kept=("something hidden behind the {anchor}",),
    ),
    "extreme": Wording(
        train=("the {most} thing {that}", "the {most} of everything {that}", "the {most} one {that}"),
        kept=("the one that is the {most} of everything {that}",),
    ),
}

SENTENCES: dict[str, Wording] = {
    "property": Wording(
        train=(
            "Which thing in this picture is one {that}?",
            "Is there something {that}? Show where it is.",
            "Somebody is looking for something {that}. What should they take?",
            "Look at everything in the picture. What is there {that}?",
        ),
        kept=("Look at the picture. Which thing is one {that}?",),
    ),
    "plural": Wording(
        train=(
            "Where are all the {nouns} in this picture?",
            "Show every {noun} that you can find in the picture.",
            "Find all of the {nouns}, and do not forget one.",
            "Somebody wants to count the {nouns}. Where are they?",
        ),
        kept=("Show where all of the {nouns} are in the picture.",),
    ),
    "odd_one_out": Wording(
        train=(
            "One thing in this picture is not like the others. Which one is it?",
            "Which of these is the odd one out?",
            "All things but one have something in common. Which one differs from the others?",
            "Look at everything in the picture. Which thing is the odd one?",
        ),
        kept=("Look at the picture. Which one is not like the others?",),
    ),
    "hidden": Wording(
        train=(
            "What is hidden behind the {anchor}?",
            "Something stands behind the {anchor}. What is it?",
            "The {anchor} hides a part of something. Show what it is.",
            "Which thing can be seen only in part because of the {anchor}?",
        ),
        kept=("Which thing is hidden behind the {anchor}?",),
    ),
    "extreme": Wording(
        train=(
            "Which is the {most} thing {that}?",
            "Of everything {that}, which one is the {most}?",
            "Somebody is looking for the {most} thing {that}. Where is it?",
            "Find everything {that}. Which one is the {most}?",
        ),
        kept=("Which one is the {most} of everything {that}?",),
    ),
}

# Sentences that only one property calls for, beside SENTENCES["property"].
PROPERTY_SENTENCES: dict[str, Wording] = {
    "sails": Wording(
        train=(
            "What could carry people over the water?",
            "We want to cross the water and keep our feet dry. What should we take?",
        ),
        kept=("What should people take to cross the water?",),
    ),
    "light": Wording(
        train=(
            "Which of these would still be of use after dark?",
            "It is getting dark and somebody wants to read. What would help?",
        ),
        kept=("What would help somebody to read after dark?",),
    ),
    "fly": Wording(
        train=(
            "What in this picture could leave the ground and fly?",
            "Which of these could go over the mountains through the air?",
        ),
        kept=("Which of these could leave the ground?",),
    ),
    "flight": Wording(
        train=(
            "Somebody wants to travel to another country in a few hours. What should they take?",
            "What needs a pilot?",
        ),
        kept=("What should they take to another country?",),
    ),
    "eat": Wording(
        train=("Somebody is hungry. What could they eat?", "What in this picture would be good for lunch?"),
        kept=("What would be good to eat for lunch?",),
    ),
    "swim": Wording(
        train=("What would live under the water and swim?", "Which of these cannot live on land?"),
        kept=("Which of these would live under the water?",),
    ),
    "wheels": Wording(
        train=(
            "What could drive along the road on its wheels?",
            "Which of these would need new wheels one day?",
        ),
        kept=("Which of these could drive on wheels?",),
    ),
    "rain": Wording(
        train=(
            "It starts to rain on the way home. What should we open?",
            "What would keep my head dry on the way in the rain?",
        ),
        kept=("What should we open in the rain?",),
    ),
    "drink": Wording(
        train=("Somebody is thirsty. What could hold a drink for them?", "What could we fill with juice?"),
        kept=("What could hold juice for somebody?",),
    ),
    "sit": Wording(
        train=(
            "My legs are tired. What is made to sit on?",
            "What would help somebody who cannot stand any more?",
        ),
        kept=("What is made for tired legs?",),
    ),
    "plant": Wording(
        train=("What here has roots and needs water and sun?", "What grows in the earth of a garden?"),
        kept=("What here grows and has roots?",),
    ),
    "sleep": Wording(
        train=(
            "Where could people sleep for the night?",
            "Where could a family go inside and spend the night?",
        ),
        kept=("Where could a family sleep?",),
    ),
    "animal": Wording(
        train=(
            "Which of these have eyes and can move on their own?",
            "What would a friend of animals look at?",
        ),
        kept=("Which of these are animals that can move?",),
    ),
    "alive": Wording(
        train=("What in this picture is alive?", "Which of these are living, plants and animals?"),
        kept=("Which of these are alive?",),
    ),
    "play": Wording(
        train=(
            "The children want to play a game. What could they throw and catch?",
            "What would a team kick in a game?",
        ),
        kept=("What could the children kick in a game?",),
    ),
    "travel": Wording(
        train=(
            "What could people travel in?",
            "Somebody wants to go to another town. What could take them there?",
        ),
        kept=("What could take people to another town?",),
    ),
}

# Why a thing has the property: "{The lamp} {gives light, so it would help after dark}."
EXPLANATIONS: dict[str, tuple[str, str]] = {
    "sails": (
        "floats, so it can carry people over the water",
        "float, so they can carry people over the water",
    ),
    "light": ("gives light, so it would help after dark", "give light, so they would help after dark"),
    "fly": ("has wings, so it can fly", "have wings, so they can fly"),
    "flight": ("takes people through the air", "take people through the air"),
    "eat": ("can be eaten", "can be eaten"),
    "swim": ("lives in the water", "live in the water"),
    "wheels": ("has wheels, so it can go on the road", "have wheels, so they can go on the road"),
    "rain": ("keeps the rain off", "keep the rain off"),
    "drink": ("can hold a drink", "can hold a drink"),
    "sit": ("is made to sit on", "are made to sit on"),
    "plant": ("has roots and grows in the earth", "have roots and grow in the earth"),
    "sleep": ("has room inside, so people can sleep in it", "have room inside, so people can sleep in them"),
    "animal": ("is an animal", "are animals"),
    "alive": ("is alive", "are alive"),
    "play": (
        "can be thrown and caught, so it is good for a game",
        "can be thrown and caught, so they are good for a game",
    ),
    "travel": ("can take people to another place", "can take people to another place"),
}
