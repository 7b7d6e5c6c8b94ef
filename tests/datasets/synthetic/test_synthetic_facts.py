"""Places, sizes and relations on scenes that were laid out by hand."""

import pytest

from datasets.synthetic.draw import draw_scene
from datasets.synthetic.facts import (
    canonical_name,
    hides,
    nouns_of,
    places,
    relations,
    sizes,
    unique_nouns,
)
from datasets.synthetic.reasoning import _property_ideas, make_question
from datasets.synthetic.scene import Scene, Thing


def _thing(cls, colour, x, y, size):
    return Thing(cls=cls, colour=colour, x=x, y=y, size=size, shade=1.0, stretch=1.0, angle=0.0, flip=False)


def _picture(*things, split="val"):
    return draw_scene(
        Scene(
            seed=0,
            index=0,
            split=split,
            height=200,
            width=300,
            light="day",
            horizon=0.0,
            relief=None,
            ground=("grass",),
            things=things,
        )
    )


@pytest.fixture
def picture():
    """A large red ball at the left, a small red ball at the right, a blue cup in the middle below."""
    return _picture(
        _thing("ball", "red", 50, 60, 80),
        _thing("ball", "red", 240, 60, 40),
        _thing("cup", "blue", 150, 150, 60),
    )


def test_canonical_names_say_the_cell_of_the_centre(picture):
    names = [canonical_name(picture, i) for i in range(3)]
    assert names == ["red ball at the top left", "red ball at the top right", "blue cup at the bottom"]


def test_nouns_say_whom_they_fit(picture):
    assert [noun.members for noun in nouns_of(picture, 0)] == [(0, 1), (0, 1), (0, 1), (0, 1, 2)]
    assert [noun.text for noun in unique_nouns(picture, 2)] == ["cup", "blue cup"]
    assert unique_nouns(picture, 0) == []


def test_places_tell_the_balls_apart(picture):
    assert places(picture, 0, (0, 1)) == ["left", "top left"]
    assert places(picture, 1, (0, 1)) == ["right", "top right"]
    assert places(picture, 2, (0, 1, 2)) == ["bottom"]


def test_sizes_need_a_clear_difference(picture):
    assert sizes(picture, 0, (0, 1)) == ["larger"]
    assert sizes(picture, 1, (0, 1)) == ["smaller"]
    assert sizes(picture, 1, (0, 1, 2)) == ["smallest"]
    alike = _picture(_thing("ball", "red", 60, 60, 60), _thing("ball", "blue", 200, 60, 50))
    assert sizes(alike, 0, (0, 1)) == []


def test_relations_hold_for_one_member_only(picture):
    assert relations(picture, 0, (0, 1), anchor=2) == ["left"]
    assert relations(picture, 1, (0, 1), anchor=2) == ["right"]
    both_left = _picture(
        _thing("ball", "red", 40, 40, 40),
        _thing("ball", "blue", 100, 160, 40),
        _thing("cup", "blue", 250, 100, 60),
    )
    assert "left" not in relations(both_left, 0, (0, 1), anchor=2)


def test_what_is_drawn_later_hides_what_is_behind():
    picture = _picture(
        _thing("house", "red", 150, 80, 80),
        _thing("tree", "green", 180, 100, 80),
        _thing("ball", "red", 40, 150, 40),
    )
    assert hides(picture, front=1, back=0)
    assert not hides(picture, front=0, back=1)
    assert 0.35 < picture.things[0].visibility < 0.9
    assert picture.things[1].visibility == 1.0
    assert relations(picture, 0, (0, 2), anchor=1)[-1] == "behind"


def test_a_picture_in_which_all_is_one_kind_has_no_question():
    assert make_question(_picture(_thing("ball", "red", 60, 60, 50), _thing("ball", "red", 200, 60, 50))) is None


def test_what_could_be_argued_is_ignored():
    picture = _picture(
        _thing("apple", "red", 60, 60, 50),
        _thing("fish", "blue", 200, 60, 50),
        _thing("ball", "white", 150, 150, 50),
    )
    (eat,) = [idea for idea in _property_ideas(picture) if idea.property == "eat"]
    assert (eat.targets, eat.ignored) == ((0,), (1,))
