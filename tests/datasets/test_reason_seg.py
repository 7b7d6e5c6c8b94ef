"""ReasonSeg, held against masks made by hand (tests/formats.py holds it against the official loader)."""

import numpy as np
import pytest

from datasets.reason_seg import open_reason_seg
from datasets.sample import SampleOptions
from datasets.templates import ANSWERS

ALL = SampleOptions(num_classes_per_sample=99, explanatory=-1)


def draw(tree, options=ALL, seed=0):
    return open_reason_seg(tree.root, "ReasonSeg|train", options).sample(0, np.random.default_rng(seed))


def box(label: str, left: int, top: int, right: int, bottom: int) -> dict:
    return {"label": label, "points": [[left, top], [right, top], [right, bottom], [left, bottom]]}


def test_the_smaller_shape_decides_where_shapes_are_nested(reason_seg):
    reason_seg.record["shapes"] = [
        box("target", 2, 2, 3, 3),  # corners included
        box("Ignored region", 1, 1, 4, 5),
        box("target", 0, 0, 6, 8),
        box("FLAG", 0, 0, 1, 1),
    ]
    reason_seg.write()
    sample = draw(reason_seg)
    expected = np.ones((8, 6), int)
    expected[1:6, 1:5] = 255
    expected[2:4, 2:4] = 1
    np.testing.assert_array_equal(sample.masks[0], expected == 1)
    np.testing.assert_array_equal(sample.ignore, expected == 255)


def test_no_shape_is_a_no_target_sample(reason_seg):
    reason_seg.record["shapes"] = []
    reason_seg.write()
    sample = draw(reason_seg)
    assert sample.masks.shape == (2, 8, 6)
    assert not sample.masks.any()
    assert sample.names == ("", "")


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (["target"], ""),
        (["red car", "target"], ""),
        (["red car"], "red car"),
        (["red car", "red car"], "red car"),
        (["red car", "ignore", "blue boat"], "red car and the blue boat"),
        (["b", "a", "b", "c"], "b, the a and the c"),
    ],
)
def test_targets_are_named_by_their_labels_in_file_order(reason_seg, labels, name):
    reason_seg.record["shapes"] = [box(label, 0, 0, 2, 2) for label in labels]
    reason_seg.write()
    options = SampleOptions(name_targets=1.0, explanatory=-1)
    sample = draw(reason_seg, options)
    assert sample.names == (name, name)
    answers = {conversation.turns[1].text for conversation in sample.conversations}
    assert all(f"the {name} [SEG]." in text for text in answers) if name else answers <= set(ANSWERS)


def test_a_phrase_is_asked_for_in_lower_case(reason_seg):
    reason_seg.record |= {"is_sentence": False, "text": ["The Dark SIDE"]}
    reason_seg.write()
    assert "the dark side in this image" in draw(reason_seg).conversations[0].turns[0].text


def test_the_kind_of_question_is_kept(reason_seg):
    reason_seg.record["type"] = "property"
    reason_seg.write()
    assert draw(reason_seg).types == ("property", "property")


def test_at_most_the_asked_number_of_texts(reason_seg):
    assert len(draw(reason_seg, SampleOptions(num_classes_per_sample=1)).conversations) == 1


def kind_of(sample) -> str:
    """What is in the answers of a sample: "words", "mask" or "both"; the same in all of them."""
    answers = [conversation.turns[1].text for conversation in sample.conversations]
    kinds = {("mask" if a in ANSWERS else "both") if "[SEG]" in a else "words" for a in answers}
    assert len(kinds) == 1
    return kinds.pop()


@pytest.mark.parametrize(
    ("explanatory", "shares"),
    [(0.1, {"words": 0.1, "both": 0.45, "mask": 0.45}), (0, {"both": 0.5, "mask": 0.5}), (1, {"words": 1})],
)
def test_explanations_are_given_as_often_as_in_the_reference(reason_seg, explanatory, shares):
    reason_seg.explanations = [{"image": "a.jpg", "query": "?", "outputs": "It is dark."}]
    reason_seg.write()
    data = open_reason_seg(reason_seg.root, "ReasonSeg|train", SampleOptions(explanatory=explanatory))
    kinds = [kind_of(data.sample(0, np.random.default_rng(i))) for i in range(2000)]
    for kind in ("words", "both", "mask"):
        assert abs(kinds.count(kind) / 2000 - shares.get(kind, 0)) < 0.04


def test_an_answer_in_words_alone_has_no_mask_and_no_request_for_one(reason_seg):
    reason_seg.explanations = [{"image": "a.jpg", "query": "?", "outputs": "It is dark."}]
    reason_seg.write()
    sample = draw(reason_seg, SampleOptions(explanatory=1))
    assert sample.masks.shape == (0, 8, 6)
    assert {c.turns[1].text for c in sample.conversations} == {"It is dark."}
    assert {c.turns[0].text for c in sample.conversations} == {f"<image>\n{t}" for t in reason_seg.record["text"]}


def test_explanations_are_not_needed_where_they_are_switched_off(reason_seg):
    (reason_seg.folder / "explanatory/train.json").unlink()
    assert len(open_reason_seg(reason_seg.root, "ReasonSeg|train", ALL)) == 1
    with pytest.raises(FileNotFoundError, match=r"train\.json: not found(.|\n)*not needed where explanatory is -1"):
        open_reason_seg(reason_seg.root, "ReasonSeg|train", SampleOptions())


@pytest.mark.parametrize(
    ("explanations", "error", "message"),
    [
        ([{"image": "b.jpg", "outputs": "x"}], FileNotFoundError, r"record 0: b\.jpg is not in .*train"),
        ([{"image": "a.jpg"}], ValueError, "record 0: no field 'outputs'"),
        ([{"image": "a.jpg", "outputs": "[SEG]"}], ValueError, "record 0: .*control word"),
        ({}, ValueError, "holds no list of explanations"),
    ],
)
def test_explanations_that_do_not_fit_are_refused(reason_seg, explanations, error, message):
    reason_seg.explanations = explanations
    reason_seg.write()
    with pytest.raises(error, match=message):
        draw(reason_seg, SampleOptions())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": []}, "'text' must be a list of questions"),
        ({"text": "Where?"}, "field 'text' is 'Where\\?', not of type list"),
        ({"text": [3]}, "'text' must be a list of questions"),
        ({"text": [" "]}, "the text is empty"),
        ({"text": ["[SEG]?"]}, "control word"),
        ({"is_sentence": None}, "field 'is_sentence' is None"),
        ({"shapes": None}, "field 'shapes' is None"),
        ({"shapes": [{"points": []}]}, r"shapes\[0\]: no field 'label'"),
        (
            {"shapes": [{"label": "target", "points": []}]},
            r"shapes\[0\]: an outline without points",
        ),
        ({"shapes": [{"label": "target", "points": [0, 0, 1]}]}, r"shapes\[0\]: "),
        (
            {"shapes": [box("target", 60, 0, 70, 8)]},
            r"shapes\[0\]: a polygon runs from x = 60 to 70, outside",
        ),
        ({"shapes": [box("a <image>", 0, 0, 2, 2)]}, r"shapes\[0\]: .*control word"),
        ({"things": [box("car", 0, 90, 2, 99)]}, r"things\[0\]: a polygon runs from y = 90 to 99, outside"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_at_the_start(reason_seg, change, message):
    reason_seg.record |= change
    reason_seg.write()
    with pytest.raises(ValueError, match=rf"a\.json: .*{message}|a\.json: {message}"):
        open_reason_seg(reason_seg.root, "ReasonSeg|train", ALL)


@pytest.mark.parametrize("name", ["a.jpg", "a.json"])
def test_a_picture_without_json_and_the_reverse_are_refused_at_the_start(reason_seg, save_picture, name):
    save_picture(reason_seg.split / "b.jpg", np.zeros((8, 6, 3), np.uint8))
    (reason_seg.split / "b.json").write_text((reason_seg.split / "a.json").read_text())
    (reason_seg.split / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no a\.(jpg|json) beside it"):
        draw(reason_seg)


def test_a_damaged_picture_is_refused_at_the_start(reason_seg):
    (reason_seg.split / "a.jpg").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"a\.jpg: cannot be read as a picture"):
        draw(reason_seg)


@pytest.mark.parametrize("spec", ["ReasonSeg|tran", "ReasonSeg|train_vall", "ReasonSeg"])
def test_an_unknown_split_is_refused_with_the_known_ones(reason_seg, spec):
    with pytest.raises(ValueError, match=r"no split '.*'; it has train"):
        open_reason_seg(reason_seg.root, spec, ALL)


def test_an_unknown_dataset_and_an_empty_split_are_refused(reason_seg):
    with pytest.raises(FileNotFoundError, match="reason_seg/Other: not found"):
        open_reason_seg(reason_seg.root, "Other|train", ALL)
    (reason_seg.folder / "val").mkdir()
    with pytest.raises(FileNotFoundError, match=r"\*\.jpg: not found"):
        open_reason_seg(reason_seg.root, "ReasonSeg|val", ALL)


def test_splits_can_be_joined(minidata):
    assert len(open_reason_seg(minidata, "ReasonSeg|train_val", ALL)) == 6


def test_shapes_are_in_the_geometry_that_a_viewer_shows(reason_seg, save_picture):
    save_picture(reason_seg.split / "a.jpg", np.zeros((6, 8, 3), np.uint8), orientation=6)
    sample = draw(reason_seg)
    assert sample.image.shape == (8, 6, 3)
    assert sample.masks[:, :, :4].all()  # borders included
    assert not sample.masks[:, :, 4:].any()
