// The right part: questions, answers, masks with their scores.

import { startCorrecting } from "./corrections.js";
import { drawStage, highlight, swatch } from "./stage.js";
import { colour, make, nodes, page, percent } from "./tools.js";
import { ask } from "./turns.js";

export function drawConversation() {
  const conversation = nodes.conversation;
  const focus = conversation.contains(document.activeElement) ? document.activeElement.id : "";
  const turns = page.shown?.turns ?? [];
  conversation.replaceChildren(...(turns.length ? turns.map(turnPart) : [startPart()]));
  if (focus) document.getElementById(focus)?.focus();
  else conversation.scrollTop = conversation.scrollHeight;
}

function startPart() {
  const small = page.info?.model === "tiny";
  const questions = page.shown?.questions?.length ? page.shown.questions
    : page.shown ? ["What is in this picture?"] : [];
  return make("div", { class: "start" },
    make("p", {}, page.shown ? "What would you like to find?" : "Choose an image, then ask about it here."),
    ...questions.map((question) => make("button", { type: "button", class: "suggestion", onclick: () => ask(question) }, question)),
    small ? make("p", { class: "hint" }, "The small model that comes with LISA knows drawn scenes like the examples, not photographs. ",
      "It points when it is asked to, as in \u201cPlease segment the boat in this image.\u201d or ",
      "\u201cWhere is the red car? Please output segmentation mask.\u201d, and answers other questions in words.") : null);
}

function turnPart(turn) {
  return make("article", { class: "turn" },
    make("p", { class: "question" }, turn.question),
    make("div", { class: "answer", "aria-busy": String(!turn.done) },
      make("p", { class: "said" }, ...saidParts(turn), turn.done ? null : make("span", { class: "caret" })),
      turn.error ? make("p", { class: "error", role: "alert" }, turn.error) : null,
      turn.done && !turn.error && !turn.masks.length
        ? make("p", { class: "none" }, "This answer points at nothing in the image: it has no mask.") : null,
      ...turn.masks.map((mask, index) => maskRow(turn, mask, index))));
}

// The words of an answer; those that lead to a mask are a button in its colour.
function saidParts(turn) {
  const pieces = turn.text.split("[SEG]"), parts = [];
  pieces.forEach((piece, index) => {
    const mask = turn.masks[index];
    if (index === pieces.length - 1 || !mask) return parts.push(piece);
    const start = mask.phrase ? piece.lastIndexOf(mask.phrase) : piece.length;
    const chip = make("span", { // a button would not break into lines as words do
      class: "phrase", tabindex: 0, role: "mark", id: `lisa-phrase-${mask.number}`, "data-mask": mask.number,
      onmouseenter: () => highlight(mask), onmouseleave: () => highlight(null),
      onfocus: () => highlight(mask), onblur: () => highlight(null), onclick: () => highlight(mask),
    }, piece.slice(start).trimEnd() || "this", swatch(mask));
    chip.style.setProperty("--colour", colour(mask));
    parts.push(piece.slice(0, start), chip);
  });
  return parts;
}

function maskRow(turn, mask, index) {
  const row = make("div", { class: "mask-row", "data-mask": mask.number, onmouseenter: () => highlight(mask), onmouseleave: () => highlight(null) },
    make("label", {}, make("input", {
      type: "checkbox", id: `lisa-show-${mask.number}`, checked: !mask.hidden, "aria-label": `Show mask ${mask.number + 1}`,
      onchange: (event) => { mask.hidden = !event.target.checked; drawStage(); },
    }), swatch(mask)),
    make("span", { class: "grow" }, mask.outline ? "" : "nothing found ",
      mask.clicks.length ? make("span", { class: "tag" }, `${mask.clicks.length} click${mask.clicks.length > 1 ? "s" : ""}`) : null),
    make("span", { class: "score", title: "The overlap with the truth that the mask decoder expects, and how sure the language model was to point." },
      `IoU ${percent(mask.expected_iou)} \u00b7 sure ${percent(mask.seg_probability)}`),
    make("button", {
      type: "button", id: `lisa-correct-${mask.number}`, disabled: !turn.done, onclick: () => startCorrecting(turn, index),
    }, "Correct"));
  row.style.setProperty("--colour", colour(mask));
  return row;
}
