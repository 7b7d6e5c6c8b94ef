"""The page as a person uses it, with the kept model: images, questions, masks, corrections."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.jpg"
BOATS = "Please segment the boats in this image."
CARRY = "What could carry people over the water? Please output segmentation mask."
PATIENCE = 60_000


def upload(page, path=EXAMPLE) -> None:
    number = page.locator(".strip .item").count()
    page.set_input_files(".lisa-stage input[type=file] >> nth=0", path)
    expect(page.locator(".strip .item")).to_have_count(number + 1, timeout=PATIENCE)


def ask(page, question: str) -> None:
    number = page.locator(".turn").count()
    page.fill("#lisa-question textarea", question)
    page.click("#lisa-send")
    expect(page.locator(".turn")).to_have_count(number + 1, timeout=PATIENCE)
    expect(page.locator(".turn .answer[aria-busy=false]")).to_have_count(number + 1, timeout=PATIENCE)


def outline(page, index: int = 0) -> str:
    return page.locator("path.mask").nth(index).get_attribute("d")


def pixels(page) -> np.ndarray:
    """What the image looks like on the screen, (H, W, 3)."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(600)  # masks fade in
    shot = page.locator("#lisa-image").screenshot(animations="disabled")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def differing(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the pixels that a person sees to differ."""
    return float((np.abs(one - other).sum(2) > 30).mean())


def test_an_image_is_uploaded_and_a_mask_appears_with_its_phrase_and_score(visit):
    page = visit()
    upload(page)
    before = pixels(page)
    ask(page, CARRY)
    assert page.locator("path.mask").count() == 1
    after = pixels(page)
    assert 0.005 < differing(after, before) < 0.5
    phrase = page.locator(".said .phrase").inner_text()
    assert "boat" in phrase
    assert re.search(r"IoU \d+ % · sure \d+ %", page.locator(".mask-row .score").inner_text())
    assert page.input_value("#lisa-question textarea") == ""


def test_an_example_is_picked_and_its_question_is_asked_with_a_click(visit):
    page = visit()
    page.click(".examples .thumb >> nth=0")
    page.click(".suggestion >> nth=0")
    expect(page.locator(".answer[aria-busy=false]")).to_have_count(1, timeout=PATIENCE)
    assert page.locator("path.mask").count() >= 1


def test_a_mask_is_switched_off_and_on(visit):
    page = visit()
    upload(page)
    before = pixels(page)
    ask(page, BOATS)
    shown = pixels(page)
    assert differing(shown, before) > 0.003
    page.uncheck(".mask-row input[type=checkbox]")
    assert differing(pixels(page), before) == 0
    page.check(".mask-row input[type=checkbox]")
    assert differing(pixels(page), shown) == 0


def test_opacity_changes_the_image(visit):
    page = visit()
    upload(page)
    ask(page, BOATS)
    seen = []
    for value in ("0", "0.5", "1"):
        page.locator("#lisa-opacity").fill(value)
        seen.append(pixels(page))
    at = np.abs(seen[2] - seen[0]).sum(2) > 60
    assert at.mean() > 0.003
    assert (np.abs(seen[2] - seen[0])[at].sum(1) >= np.abs(seen[1] - seen[0])[at].sum(1)).mean() > 0.99


def test_a_phrase_lights_up_its_mask_and_a_mask_its_phrase(visit):
    page = visit()
    upload(page)
    ask(page, CARRY)
    page.hover(".said .phrase")
    expect(page.locator("path.mask.hot")).to_have_count(1)
    page.mouse.move(0, 0)
    expect(page.locator(".hot")).to_have_count(0)
    page.locator("path.mask").dispatch_event("mouseenter")
    expect(page.locator(".said .phrase.hot")).to_have_count(1)


def test_a_mask_is_corrected_by_clicks_undone_and_corrected_again(visit):
    page = visit()
    upload(page)
    ask(page, BOATS)
    first = outline(page)
    page.click("text=Correct")
    box = page.locator("#lisa-image").bounding_box()
    page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    expect(page.locator(".click.inside")).to_have_count(1, timeout=PATIENCE)
    second = outline(page)
    assert second != first
    page.click("#lisa-side-out")
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.4 * box["height"])
    expect(page.locator(".click.outside")).to_have_count(1, timeout=PATIENCE)
    assert outline(page) != second
    page.click("#lisa-undo")
    expect(page.locator(".click.outside")).to_have_count(0, timeout=PATIENCE)
    assert outline(page) == second
    page.click("#lisa-undo")
    expect(page.locator(".click")).to_have_count(0, timeout=PATIENCE)
    assert outline(page) == first
    page.click("#lisa-done")
    expect(page.locator(".correct-bar")).to_have_count(0)


def test_a_follow_up_is_asked_with_what_was_said(visit):
    page = visit()
    upload(page)
    for question in (BOATS, "What is in this picture?", CARRY):
        ask(page, question)
    assert page.locator(".turn .question").all_inner_texts() == [BOATS, "What is in this picture?", CARRY]
    assert page.locator(".turn >> nth=2").locator(".mask-row").count() >= 1
    colours = page.locator("path.mask").evaluate_all("paths => paths.map(path => getComputedStyle(path).fill)")
    assert len(set(colours)) == len(colours) >= 2
    page.locator(".turn >> nth=0").locator(".phrase").hover()
    expect(page.locator("path.mask.hot")).to_have_attribute("aria-label", re.compile("mask 1:"))
    page.click("#lisa-all")
    expect(page.locator("path.mask")).to_have_count(0)
    page.click("#lisa-all")
    expect(page.locator("path.mask")).to_have_count(len(colours))


def test_an_answer_without_a_mask_says_so(visit):
    page = visit()
    upload(page)
    ask(page, "What is in this picture?")
    expect(page.locator(".answer .none")).to_contain_text("points at nothing")
    assert page.locator("path.mask").count() == 0
    assert page.locator("#lisa-zip").is_disabled()


def test_masks_and_coco_are_downloaded(visit, tmp_path):
    page = visit()
    upload(page)
    ask(page, BOATS)
    saved = {}
    for button in ("#lisa-zip", "#lisa-coco"):
        with page.expect_download(timeout=PATIENCE) as event:
            page.click(button)
        saved[button] = tmp_path / event.value.suggested_filename
        event.value.save_as(saved[button])
    assert [path.name for path in saved.values()] == ["example_masks.zip", "example_coco.json"]
    archive = zipfile.ZipFile(saved["#lisa-zip"])
    with archive.open(archive.namelist()[0]) as file:
        mask = np.asarray(Image.open(file))
    assert mask.shape == Image.open(EXAMPLE).size[::-1]
    coco = json.loads(saved["#lisa-coco"].read_text())
    assert coco["annotations"][0]["area"] == (mask > 0).sum() > 0
    assert coco["categories"][0]["name"] == BOATS


def test_a_bad_file_is_told_and_the_page_goes_on(visit, tmp_path):
    page = visit()
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"\xff\xd8\xff not a picture")
    page.set_input_files(".lisa-stage input[type=file] >> nth=0", bad)
    expect(page.locator(".notice")).to_contain_text("cannot be read as a picture", timeout=PATIENCE)
    large = tmp_path / "large.png"
    large.write_bytes(b"\0" * 20_000_001)
    page.set_input_files(".lisa-stage input[type=file] >> nth=0", large)
    expect(page.locator(".notice")).to_contain_text("at most 20 MB", timeout=PATIENCE)
    upload(page)
    expect(page.locator(".notice")).to_be_hidden()
    ask(page, BOATS)
    assert page.locator("path.mask").count() == 1


@pytest.mark.parametrize(
    ("question", "words"),
    [("Where is <image>?", "holds <image>"), ("Where is [SEG]?", r"holds \[SEG\]"), ("why " * 2400, "tokens")],
)
def test_what_cannot_be_asked_is_told_in_the_session_and_the_session_goes_on(visit, question, words):
    page = visit()
    upload(page)
    ask(page, question)
    expect(page.locator(".answer .error")).to_contain_text(re.compile(words))
    ask(page, BOATS)
    page.click("text=Correct >> nth=-1")
    box = page.locator("#lisa-image").bounding_box()
    page.mouse.click(box["x"] + 9, box["y"] + 9)
    expect(page.locator(".click")).to_have_count(1, timeout=PATIENCE)


def test_html_in_a_question_is_shown_as_text(visit):
    page = visit()
    upload(page)
    question = '<img src="x" onerror="document.title = 1"><b>Please</b> segment the boats. ${1+1} {{value}}'
    ask(page, question)
    assert page.locator(".turn .question").inner_text() == question
    assert page.locator(".turn img, .turn b").count() == 0
    assert page.title() == "LISA"


def test_without_image_or_question_the_page_says_what_is_missing(visit):
    page = visit()
    page.fill("#lisa-question textarea", BOATS)
    page.click("#lisa-send")
    expect(page.locator(".notice")).to_contain_text("Choose an image first")
    upload(page)
    page.fill("#lisa-question textarea", "   ")
    page.click("#lisa-send")
    expect(page.locator(".notice")).to_contain_text("Type a question first")
    assert page.locator(".turn").count() == 0


def test_several_images_each_have_their_own_session(visit, tmp_path):
    page = visit()
    upload(page)
    ask(page, BOATS)
    Image.new("RGB", (90, 60), (120, 180, 90)).save(tmp_path / "grass.png")
    upload(page, tmp_path / "grass.png")
    assert page.locator(".turn").count() == 0
    assert page.locator("path.mask").count() == 0
    page.click(".strip .item >> nth=0 >> .thumb")
    assert page.locator(".turn").count() == 1
    assert page.locator("path.mask").count() == 1
    page.click(".strip .item >> nth=0 >> .close")
    expect(page.locator(".strip .item")).to_have_count(1)
    assert page.locator(".turn").count() == 0


def test_two_people_at_once_do_not_see_each_others_images(visit, tmp_path, address):
    one, other = visit(), visit()
    Image.new("RGB", (90, 60), (120, 180, 90)).save(tmp_path / "secret.png")
    upload(one)
    upload(other, tmp_path / "secret.png")
    for page, question in ((one, BOATS), (other, "What is in this picture?")):
        page.fill("#lisa-question textarea", question)
    one.click("#lisa-send")
    other.click("#lisa-send")
    for page, question in ((one, BOATS), (other, "What is in this picture?")):
        expect(page.locator(".answer[aria-busy=false]")).to_have_count(1, timeout=PATIENCE)
        assert page.locator(".question").all_inner_texts() == [question]
        assert page.locator(".strip .item").count() == 1
    assert "secret" not in one.content()
    assert (one.locator("path.mask").count(), other.locator("path.mask").count()) == (1, 0)
    keys = [page.locator("#lisa-image image").get_attribute("href") for page in (one, other)]
    assert keys[0] != keys[1]
    assert one.request.get(f"{address}/{keys[0][:-6]}x/image").status == 404


def test_the_page_fits_a_narrow_screen(visit):
    page = visit(width=360, height=740, has_touch=True, is_mobile=True)
    upload(page)
    ask(page, BOATS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for selector in ("#lisa-image", ".turn", "#lisa-send", "#lisa-zip"):
        box = page.locator(selector).first.bounding_box()
        assert box["x"] >= 0, selector
        assert box["x"] + box["width"] <= 361, selector
    first = outline(page)
    page.tap("text=Correct")
    box = page.locator("#lisa-image").bounding_box()
    page.touchscreen.tap(box["x"] + 30, box["y"] + 30)
    expect(page.locator(".click")).to_have_count(1, timeout=PATIENCE)
    assert outline(page) != first


def test_everything_is_done_with_the_keyboard(visit):
    page = visit()
    tab_to(page, "img[alt]", inside=True)
    page.keyboard.press("Enter")
    expect(page.locator(".strip .item")).to_have_count(1, timeout=PATIENCE)
    page.focus("#lisa-question textarea")
    page.keyboard.type(BOATS)
    page.keyboard.press("Enter")
    expect(page.locator(".answer[aria-busy=false]")).to_have_count(1, timeout=PATIENCE)
    if page.locator("path.mask").count() == 0:
        pytest.fail("the example has no boats; the test needs a mask")
    tab_to(page, ".phrase", back=True)
    expect(page.locator("path.mask.hot")).to_have_count(1)
    tab_to(page, "[id^=lisa-show]")
    page.keyboard.press("Space")
    expect(page.locator("path.mask")).to_have_count(0)
    page.keyboard.press("Space")
    expect(page.locator("path.mask")).to_have_count(1)
    first = outline(page)
    tab_to(page, "[id^=lisa-correct]")
    page.keyboard.press("Enter")
    expect(page.locator("#lisa-image")).to_be_focused()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("-")
    page.keyboard.press("Enter")
    expect(page.locator(".click.outside")).to_have_count(1, timeout=PATIENCE)
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    expect(page.locator(".click.inside")).to_have_count(1, timeout=PATIENCE)
    page.keyboard.press("Backspace")
    expect(page.locator(".click")).to_have_count(1, timeout=PATIENCE)
    page.keyboard.press("Backspace")
    expect(page.locator(".click")).to_have_count(0, timeout=PATIENCE)
    assert outline(page) == first
    page.keyboard.press("Escape")
    expect(page.locator(".correct-bar")).to_have_count(0)


def tab_to(page, selector: str, inside: bool = False, back: bool = False) -> None:
    """Press Tab until what has the focus is (or holds) what the selector names."""
    holds = "active.matches(s)" if not inside else "active !== document.body && !!active.querySelector(s)"
    for _ in range(80):
        if page.evaluate(f"s => {{ const active = document.activeElement; return {holds}; }}", selector):
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"the keyboard does not reach {selector}")


def test_an_image_is_pasted_and_one_is_dropped(visit):
    page = visit()
    data = list(EXAMPLE.read_bytes())
    script = """([kind, data]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(data)], `${kind}.jpg`, { type: "image/jpeg" }));
        const event = kind === "paste"
            ? new ClipboardEvent(kind, { clipboardData: transfer, bubbles: true })
            : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    for number, kind in enumerate(("paste", "drop"), start=1):
        page.evaluate(script, [kind, data])
        expect(page.locator(".strip .item")).to_have_count(number, timeout=PATIENCE)
    assert page.locator(".strip img").nth(1).get_attribute("alt") == "drop.jpg"


def test_an_image_that_the_server_has_forgotten_is_told(visit, address):
    page = visit()
    upload(page)
    key = page.locator("#lisa-image image").get_attribute("href").split("/")[3]
    assert page.request.delete(f"{address}/api/v1/sessions/{key}").status == 204
    ask(page, BOATS)
    expect(page.locator(".answer .error")).to_contain_text("end the image again")
