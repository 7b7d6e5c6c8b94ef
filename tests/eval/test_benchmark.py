"""The evaluation loop: what the model is given, what is counted, and the shape of the result."""

import json

import numpy as np
import pytest
from toy_data import ScriptedPredictor, ToyValidationSet, make_sample, strip_mask

from eval.benchmark import evaluate
from eval.scoring import conversation_targets
from lisa.conversation import Conversation

SCORES = {"giou", "ciou", "p50", "p70", "p90"}


class Collector:
    def __init__(self):
        self.rows = []

    def write(self, prediction):
        self.rows.append(prediction)


def test_the_scores_of_five_known_answers(toy):
    result = evaluate(toy.predictor, toy.validation_set, "generated")
    # IoUs 1, 1/2, 0, 1 (nothing asked for, nothing predicted), 0; pixels 8/8, 4/8, 0/10, 0/0, 0/20.
    assert result["giou"] == pytest.approx(2.5 / 5, abs=1e-5)
    assert result["ciou"] == pytest.approx(12 / 46)
    assert [result["p50"], result["p70"], result["p90"]] == [0.4, 0.4, 0.4]
    assert result["without_mask"] == 1
    assert (result["images"], result["samples"]) == (3, 5)


def test_the_result_has_the_shape_of_the_report_and_is_plain_json(toy):
    result = evaluate(toy.predictor, toy.validation_set, "generated")
    assert set(result) == SCORES | {
        "data",
        "mode",
        "images",
        "images_in_data",
        "samples",
        "samples_in_data",
        "giou_ci95",
        "ciou_ci95",
        "without_mask",
        "no_target",
        "by_type",
        "baselines",
    }
    assert set(result["baselines"]) == {"nothing", "everything", "largest", "mean_mask", "blind"}
    assert all(set(scores) == SCORES for scores in result["baselines"].values())
    assert (result["data"], result["mode"]) == ("toy|val", "generated")
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_question_without_target_is_scored_for_being_rejected(toy):
    no_target = evaluate(toy.predictor, toy.validation_set, "generated")["no_target"]
    assert (no_target["samples"], no_target["n_acc"], no_target["n_acc_50px"]) == (1, 1.0, 1.0)


def test_kinds_of_question_are_scored_apart(toy):
    by_type = evaluate(toy.predictor, toy.validation_set, "generated")["by_type"]
    assert list(by_type) == ["absent", "class", "relation"]
    assert {kind: scores["samples"] for kind, scores in by_type.items()} == {
        "absent": 1,
        "class": 3,
        "relation": 1,
    }
    assert by_type["class"]["giou"] == pytest.approx(1 / 3, abs=1e-5)
    assert by_type["relation"]["giou"] == pytest.approx(1 / 2, abs=1e-4)


def test_unnamed_kinds_are_in_no_group():
    validation_set = ToyValidationSet([make_sample(1, {"car": strip_mask(0, 4)})])
    assert evaluate(ScriptedPredictor({}), validation_set, "generated", blind=False)["by_type"] == {}


def test_the_baselines_of_five_known_targets(toy):
    baselines = evaluate(toy.predictor, toy.validation_set, "generated")["baselines"]
    # nothing: right for the absent fish only. everything: 8/20, 8/20, 10/20, 0, 10/20.
    assert baselines["nothing"]["giou"] == pytest.approx(1 / 5, abs=1e-5)
    assert baselines["everything"]["giou"] == pytest.approx(1.8 / 5, abs=1e-5)
    assert baselines["everything"]["ciou"] == pytest.approx(36 / 100)
    # largest: the car for car and tree, the boat for boat and fish, nothing for the lamp.
    assert baselines["largest"]["giou"] == pytest.approx((1 + 0 + 1 + 0 + 0) / 5, abs=1e-5)
    # mean mask: columns 0 to 5 against 0 to 4, 4 to 8 (2/16), 0 to 5, nothing, 0 to 5.
    assert baselines["mean_mask"]["giou"] == pytest.approx((8 / 10 + 2 / 16 + 1 + 0 + 1) / 5, abs=1e-5)


def test_a_baseline_that_the_data_does_not_allow_is_null():
    samples = [
        make_sample(1, {"car": strip_mask(0, 4)}, things=np.stack([strip_mask(0, 4)])),
        make_sample(2, {"car": strip_mask(0, 4)}, things=None),
    ]
    baselines = evaluate(ScriptedPredictor({}), ToyValidationSet(samples), "generated", blind=False)["baselines"]
    assert baselines["largest"] is None
    assert baselines["mean_mask"] is None
    assert baselines["blind"] is None


def test_blind_scores_the_answers_to_questions_of_other_pictures():
    # Two pictures with a question each: blind asks each the other's. Asked for a tree, picture 1 shows half
    # of its car; asked for a car, picture 2 shows nothing.
    targets = {1: {"car": strip_mask(0, 4)}, 2: {"tree": strip_mask(4, 8)}}
    validation_set = ToyValidationSet([make_sample(number, target) for number, target in targets.items()])
    predictor = ScriptedPredictor({(1, "car"): [strip_mask(0, 4)], (1, "tree"): [strip_mask(0, 2)]})
    result = evaluate(predictor, validation_set, "teacher_forced")
    assert result["giou"] == pytest.approx(1 / 2, abs=1e-5)
    assert result["baselines"]["blind"]["giou"] == pytest.approx(0.5 / 2, abs=1e-5)
    assert result["samples"] == 2


def test_ignored_pixels_count_for_the_model_and_for_every_baseline():
    # Target columns 0 to 4, of which 0 to 2 are ignored, and 8 to 10 too.
    ignore = strip_mask(0, 2) | strip_mask(8, 10)
    sample = make_sample(1, {"car": strip_mask(0, 4)}, ignore=ignore)
    predictor = ScriptedPredictor({(1, "car"): [strip_mask(0, 3) | strip_mask(9, 10)]})
    result = evaluate(predictor, ToyValidationSet([sample]), "generated", blind=False)
    assert result["ciou"] == pytest.approx(2 / 4)
    assert result["baselines"]["everything"]["ciou"] == pytest.approx(4 / 12)


def test_a_picture_goes_to_the_model_once_with_all_its_questions_and_as_many_of_others(toy):
    evaluate(toy.predictor, toy.validation_set, "generated", batch_size=2)
    assert [(kind, numbers) for kind, numbers, _ in toy.predictor.calls] == [
        ("generate", [1, 2]),
        ("generate", [3]),
    ]
    own_words = [["car", "tree"], ["boat", "fish"], ["lamp"]]
    asked = [picture for _, _, conversations in toy.predictor.calls for picture in conversations]
    for words, picture in zip(own_words, asked, strict=True):
        asked_words = [c.turns[0].text.split()[-1] for c in picture]
        assert asked_words[: len(words)] == words
        assert len(asked_words) == 2 * len(words)
        assert not set(asked_words[len(words) :]) & set(words)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_the_result_does_not_depend_on_the_batch_size(toy, batch_size):
    expected = evaluate(toy.predictor, toy.validation_set, "generated", seed=5)
    assert evaluate(toy.predictor, toy.validation_set, "generated", seed=5, batch_size=batch_size) == expected


def test_without_blind_only_the_own_questions_are_asked(toy):
    result = evaluate(toy.predictor, toy.validation_set, "teacher_forced", blind=False)
    (kind, numbers, conversations), *others = toy.predictor.calls
    assert not others
    assert (kind, numbers) == ("teacher_forced", [1, 2, 3])
    assert [len(picture) for picture in conversations] == [2, 2, 1]
    assert result["baselines"]["blind"] is None


def test_limit_scores_the_first_pictures_and_says_so(toy):
    result = evaluate(toy.predictor, toy.validation_set, "generated", limit=2)
    assert (result["images"], result["images_in_data"]) == (2, 3)
    assert (result["samples"], result["samples_in_data"]) == (4, 5)
    assert result["giou"] == pytest.approx(2.5 / 4, abs=1e-5)
    assert evaluate(toy.predictor, toy.validation_set, "generated", limit=99)["images"] == 3


def test_a_sample_that_gets_lost_is_noticed(toy):
    class OneTooMany(ToyValidationSet):
        num_samples = 6

    with pytest.raises(AssertionError, match="5 samples were scored, but the data has 6"):
        evaluate(toy.predictor, OneTooMany(toy.validation_set.samples), "generated")


def test_an_answer_too_few_is_noticed(toy):
    class Forgetful(ScriptedPredictor):
        def generate(self, images, conversations, max_new_tokens=64):
            return [answers[:-1] for answers in super().generate(images, conversations)]

    with pytest.raises(AssertionError, match=r"answers per picture \[1, 1, 0\]"):
        evaluate(Forgetful({}), toy.validation_set, "generated", blind=False)


def test_a_mask_of_another_size_is_noticed(toy):
    toy.predictor.answers[1, "car"] = [np.zeros((3, 3), bool)]
    with pytest.raises(AssertionError, match=r"1.png: masks \(1, 3, 3\)"):
        evaluate(toy.predictor, toy.validation_set, "generated")


def test_an_empty_validation_set_is_refused():
    with pytest.raises(ValueError, match="no picture to evaluate"):
        evaluate(ScriptedPredictor({}), ToyValidationSet([]), "generated")


def test_predictions_and_progress_are_told_everything_once_and_in_order(toy):
    collector, done = Collector(), []
    evaluate(
        toy.predictor,
        toy.validation_set,
        "generated",
        batch_size=2,
        predictions=collector,
        progress=done.append,
    )
    assert done == [2, 1]
    assert [row.question for row in collector.rows] == ["car", "tree", "boat", "fish", "lamp"]
    assert [row.iou for row in collector.rows] == pytest.approx([1, 0.5, 0, 1, 0], abs=1e-5)
    assert [len(row.masks) for row in collector.rows] == [1, 2, 0, 1, 1]
    tree = collector.rows[1]
    assert (tree.mode, tree.kind, tree.sample.image_id) == ("generated", "relation", "1")
    assert tree.answer == "It is tree [SEG] [SEG]"
    assert np.array_equal(tree.target, strip_mask(4, 8))


def test_the_target_of_a_conversation_is_the_union_of_its_masks():
    sample = make_sample(1, {"a": strip_mask(0, 1), "b": strip_mask(2, 3), "c": strip_mask(4, 5)})
    sample.conversations = (
        Conversation.of("?", "There is none."),
        Conversation.of("?", "[SEG] and [SEG]."),
        Conversation.of("?", "[SEG]."),
    )
    targets = list(conversation_targets(sample))
    assert [target[0].nonzero()[0].tolist() for target in targets] == [[], [0, 2], [4]]
