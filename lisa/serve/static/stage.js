// The left part: images, masks, tools.

import { drawConversation } from "./conversation.js";
import { clicked, pressed, stopCorrecting, undoClick } from "./corrections.js";
import { closeSession, download, openAll, openExample, showSession } from "./images.js";
import { colour, make, nodes, page } from "./tools.js";

export function drawStage() {
  const stage = nodes.stage;
  const focus = stage.contains(document.activeElement) ? document.activeElement.id : "";
  stage.replaceChildren(...(page.shown ? [imagePart(), toolPart(), stripPart()] : [emptyPart()]), noticePart());
  if (focus) document.getElementById(focus)?.focus();
}

function emptyPart() {
  return make("div", { class: "empty" },
    make("div", { class: "drop" },
      make("p", { class: "big" }, page.busy ? "Reading the image ..." : "Drop an image here"),
      make("p", {}, "or paste one, or"),
      chooseButton("Choose an image", "primary")),
    make("p", { class: "hint" }, "Or begin with one of these:"),
    examplesPart());
}

function chooseButton(words, kind, label = words) {
  const input = make("input", {
    type: "file", accept: "image/*", multiple: "", class: "unseen", tabindex: "-1", "aria-hidden": "true",
    onchange: (event) => openAll([...event.target.files]),
  });
  return make("span", {}, input,
    make("button", { type: "button", class: kind, "aria-label": label, onclick: () => input.click() }, words));
}

function examplesPart() {
  return make("div", { class: "examples" }, ...page.examples.map((example) =>
    make("button", { type: "button", class: "thumb", title: example.title, onclick: () => openExample(example) },
      make("img", { src: `api/v1/examples/${example.name}`, alt: example.title }))));
}

const masksShown = () => page.shown.turns.flatMap((turn) => turn.masks);

function imagePart() {
  const { width, height, name, url } = page.shown, masks = masksShown().filter((mask) => mask.outline && !mask.hidden);
  const svg = make("svg", {
    id: "lisa-image", viewBox: `0 0 ${width} ${height}`, role: "group", class: page.correcting ? "correcting" : "",
    "aria-label": `${name}, with ${masks.length} masks`, tabindex: page.correcting ? 0 : null,
    onclick: (event) => clicked(event, page.correcting?.inside && !event.shiftKey),
    oncontextmenu: (event) => clicked(event, false), onkeydown: pressed,
  }, make("image", { href: url, width, height }));
  svg.style.setProperty("--opacity", page.opacity);
  svg.style.aspectRatio = `${width} / ${height}`;
  svg.style.maxWidth = `calc(68vh * ${width / height})`;
  // A hundredth of the image, and at least 5 pixels of the screen.
  const unit = Math.max(Math.max(width, height) / 100, (5 * width) / Math.max(nodes.stage.clientWidth, 1));
  svg.append(...masks.map(maskPart));
  if (page.labels) svg.append(...masks.map((mask) => numberPart(mask, unit)));
  if (page.correcting) svg.append(...clickParts(unit));
  return make("div", { class: "frame" }, svg, page.correcting ? correctPart() : null);
}

function maskPart(mask) {
  const part = make("path", {
    d: mask.outline, "fill-rule": "evenodd", class: "mask", "data-mask": mask.number, tabindex: page.correcting ? null : 0,
    role: "img", "aria-label": `mask ${mask.number + 1}: ${mask.phrase || "no words"}`,
    onmouseenter: () => highlight(mask), onmouseleave: () => highlight(null),
    onfocus: () => highlight(mask), onblur: () => highlight(null),
  });
  if (mask.drawn) part.classList.add("known"); // it fades in once
  mask.drawn = true;
  part.style.setProperty("--colour", colour(mask));
  return part;
}

function numberPart(mask, unit) {
  if (mask.placedFor !== mask.outline) Object.assign(mask, { placedFor: mask.outline, place: placeOfNumber(mask.outline) });
  const [x, y] = mask.place;
  const part = make("g", { class: "number", "data-mask": mask.number, "aria-hidden": "true" },
    make("circle", { cx: x, cy: y, r: 2.1 * unit }),
    make("text", { x, y, "font-size": 2.8 * unit }, String(mask.number + 1)));
  part.style.setProperty("--colour", colour(mask));
  return part;
}

// In the middle of the widest run of the middle row, so that the number stands on its mask.
function placeOfNumber(outline) {
  const probe = make("svg", { width: 0, height: 0, class: "probe" });
  const path = probe.appendChild(make("path", { d: outline, "fill-rule": "evenodd" }));
  document.body.append(probe);
  const box = path.getBBox(), point = probe.createSVGPoint(), step = box.width / 60;
  let length = 0, longest = 0, x = box.x + box.width / 2;
  point.y = box.y + box.height / 2;
  for (point.x = box.x; point.x <= box.x + box.width; point.x += step || 1) {
    length = path.isPointInFill(point) ? length + 1 : 0;
    if (length > longest) [longest, x] = [length, point.x - ((length - 1) * step) / 2];
  }
  probe.remove();
  return [x, point.y];
}

function clickParts(unit) {
  const parts = page.correcting.turn.masks[page.correcting.index].clicks.map((click) =>
    make("g", { class: `click ${click.inside ? "inside" : "outside"}` },
      make("circle", { cx: click.x, cy: click.y, r: 1.3 * unit }),
      make("text", { x: click.x, y: click.y, "font-size": 2.4 * unit }, click.inside ? "+" : "\u2212")));
  if (!page.correcting.keys) return parts;
  const { x, y } = page.correcting, r = 3 * unit;
  return [...parts, make("g", { class: "cross" },
    make("line", { x1: x - r, y1: y, x2: x + r, y2: y }), make("line", { x1: x, y1: y - r, x2: x, y2: y + r }))];
}

function correctPart() {
  const { turn, index, inside } = page.correcting, mask = turn.masks[index];
  const side = (value, sign, words) => make("button", {
    type: "button", id: `lisa-side-${value ? "in" : "out"}`, class: "side", "aria-pressed": String(inside === value),
    onclick: () => { page.correcting.inside = value; drawStage(); },
  }, make("b", {}, sign), ` ${words}`);
  return make("div", { class: "correct-bar", role: "toolbar", "aria-label": "Correct a mask" },
    swatch(mask), make("span", { class: "grow" }, `Click on what ${inside ? "belongs" : "does not belong"} to it`),
    side(true, "+", "belongs"), side(false, "\u2212", "does not"),
    make("button", { type: "button", id: "lisa-undo", disabled: !mask.clicks.length, onclick: undoClick }, "Undo"),
    make("button", { type: "button", id: "lisa-done", class: "primary", onclick: stopCorrecting }, "Done"));
}

export function swatch(mask) {
  const part = make("span", { class: "swatch", "aria-hidden": "true" }, String(mask.number + 1));
  part.style.setProperty("--colour", colour(mask));
  return part;
}

function toolPart() {
  const masks = masksShown(), any = masks.length > 0, all = masks.every((mask) => !mask.hidden);
  return make("div", { class: "tools" },
    make("label", {}, "Opacity", make("input", {
      type: "range", id: "lisa-opacity", min: 0, max: 1, step: 0.05, value: page.opacity,
      oninput: (event) => {
        page.opacity = Number(event.target.value);
        nodes.stage.querySelector("svg").style.setProperty("--opacity", page.opacity);
      },
    })),
    make("label", {}, make("input", {
      type: "checkbox", id: "lisa-labels", checked: page.labels,
      onchange: (event) => { page.labels = event.target.checked; drawStage(); },
    }), "Numbers"),
    make("button", {
      type: "button", id: "lisa-all", disabled: !any,
      onclick: () => { for (const mask of masks) mask.hidden = all; drawStage(); drawConversation(); },
    }, all ? "Hide all" : "Show all"),
    make("span", { class: "grow" }),
    make("button", { type: "button", id: "lisa-zip", disabled: !any, title: "Every mask as PNG", onclick: () => download("masks.zip") }, "\u2193 PNG"),
    make("button", { type: "button", id: "lisa-coco", disabled: !any, title: "All masks as COCO instances", onclick: () => download("coco.json") }, "\u2193 COCO"));
}

function stripPart() {
  return make("div", { class: "strip", role: "group", "aria-label": "Images" },
    ...page.sessions.map((session) => make("div", { class: "item" },
      make("button", {
        type: "button", class: "thumb", "aria-pressed": String(session === page.shown), title: session.name, onclick: () => showSession(session),
      }, make("img", { src: session.url, alt: session.name })),
      make("button", { type: "button", class: "close", "aria-label": `Close ${session.name}`, onclick: () => closeSession(session) }, "\u00d7"))),
    chooseButton(page.busy ? "..." : "+", "add", "Add an image"),
    make("details", { class: "more" }, make("summary", {}, "Examples"), examplesPart()));
}

function noticePart() {
  return make("div", { class: "notice", role: "alert", hidden: page.notice ? null : "" }, page.notice);
}

export function notify(text) {
  page.notice = text;
  nodes.stage.querySelector(".notice")?.replaceWith(noticePart());
}

export function highlight(mask) {
  for (const root of [nodes.stage, nodes.conversation]) {
    root.classList.toggle("pointing", mask !== null);
    for (const node of root.querySelectorAll("[data-mask]")) {
      node.classList.toggle("hot", node.dataset.mask === String(mask?.number));
    }
  }
}
