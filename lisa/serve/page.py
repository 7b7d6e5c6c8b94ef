"""The page: Gradio's blocks around a viewer of the picture and a history of the talk (`page_parts`)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import gradio as gr

from lisa.serve.host import Host
from lisa.serve.limits import RefusedError
from lisa.serve.schema import MaskOut
from lisa.serve.talks import Mask, Progress, StoppedError

HEADER = """
<header class="lisa-header">
  <h1>LISA</h1>
  <p>Ask a picture a question. The answer comes in words, with a mask for everything that it points at.</p>
</header>
"""

# Two parts of one page, which find each other in start.js. Nothing of a user is ever put into a template.
STAGE = '<div class="lisa-stage"></div>'
TALK = '<div class="lisa-talk"></div>'


SCRIPTS = ("tools", "pictures", "questions", "corrections", "stage", "talk", "start")
"""The page's scripts, in order; they are one function, so that nothing of them meets Gradio's own names."""


def script() -> str:
    """What the page's head holds: `lisaPage`, with what the two parts and Gradio call."""
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    # What people or the model have written goes into the page as text only, never as html.
    return f"<script>window.lisaPage = (() => {{\n'use strict';\n{parts}}})();</script>"


def style() -> str:
    """The page's own style sheet."""
    return _asset("page.css")


def _asset(name: str) -> str:
    return (files("lisa.serve") / "page_parts" / name).read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """Fonts of the reader's own system: nothing is fetched."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Soft(
        primary_hue="blue", neutral_hue="slate", radius_size="md", font=fonts, font_mono=["ui-monospace", "monospace"]
    )


def build_page(host: Host) -> gr.Blocks:
    """The page for a model; pictures, corrections and downloads go by the JSON API, answers stream through here."""
    with gr.Blocks(title="LISA", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(HEADER, js_on_load=None)
        with gr.Row(elem_id="lisa-columns", equal_height=False):
            with gr.Column(scale=7, min_width=320):
                gr.HTML(html_template=STAGE, js_on_load="lisaPage.stage(element)", apply_default_css=False)
            with gr.Column(scale=5, min_width=320, elem_id="lisa-side"):
                answer = gr.HTML(
                    html_template=TALK,
                    js_on_load="lisaPage.talk(element, props, watch)",
                    apply_default_css=False,
                )
                with gr.Row(elem_id="lisa-ask"):
                    question = gr.Textbox(
                        placeholder="Ask about the picture ...",
                        label="Question",
                        show_label=False,
                        lines=1,
                        max_lines=4,
                        scale=5,
                        elem_id="lisa-question",
                        container=False,
                    )
                    send = gr.Button("Ask", variant="primary", scale=1, min_width=80, elem_id="lisa-send")
        token = gr.Textbox(visible="hidden", elem_id="lisa-token")
        ticket = gr.Textbox(visible="hidden", elem_id="lisa-ticket")

        def stream(asked: Any, key: Any, number: Any) -> Iterator[dict]:
            yield from _stream(host, asked, key, number)  # Gradio looks at the function to see that it streams

        sent = gr.on(
            [send.click, question.submit],
            fn=stream,
            inputs=[question, token, ticket],
            outputs=answer,
            # The browser knows which picture is asked about; it also writes the question into the history.
            js="(asked, talk, number) => lisaPage.ask(asked)",
            show_progress="hidden",
            concurrency_limit=2,
            concurrency_id="ask",
            trigger_mode="multiple",
            api_visibility="private",
        )
        sent.failure(fn=None, js="() => lisaPage.failed()")
    page.queue(max_size=host.limits.waiting, api_open=False)
    return page


def _stream(host: Host, question: Any, token: Any, ticket: Any) -> Iterator[dict]:
    """What the page shows of an answer, again and again while it grows; the last one has `done`.

    ticket tells the page which of its questions this is about, answer the number of the answer in its talk.
    """
    if not (question and token):  # the page itself has said what is missing
        return
    shown: dict[str, Any] = {"ticket": str(ticket), "text": "", "masks": [], "done": False, "error": "", "answer": -1}
    news: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    gone = threading.Event()
    progress = Progress(
        on_text=lambda text: news.put(("text", text)),
        on_mask=lambda mask: news.put(("mask", mask)),
        stopped=gone.is_set,
    )
    try:
        future = host.ask(token, question, host.limits.answer_tokens, progress)
        future.add_done_callback(lambda _: news.put(("done", None)))
        yield dict(shown)
        while True:
            shown = _told(shown, *news.get())
            if shown["done"]:
                break
            if news.empty():  # else there is more to show at once
                yield dict(shown)
        talk, spoken = future.result()
        yield {**shown, "text": spoken.text, "answer": talk.spoken.index(spoken)}
    except (RefusedError, ValueError) as error:
        yield {**shown, "error": str(error), "done": True}
    except StoppedError:
        return
    finally:
        gone.set()


def _told(shown: dict[str, Any], kind: str, value: Any) -> dict[str, Any]:
    if kind == "text":
        return {**shown, "text": value.rstrip("\ufffd")}  # a character of which bytes are still to come
    if kind == "mask":
        return {**shown, "masks": [*shown["masks"], mask_shown(value)]}
    return {**shown, "done": True}


def mask_shown(mask: Mask) -> dict[str, Any]:
    """A mask as the page draws it; its pixels are in the downloads."""
    return MaskOut.of(mask, outline=True).model_dump(exclude={"rle"})
