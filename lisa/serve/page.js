// The page's two parts: the stage (pictures, masks, corrections) and the talk (questions and answers).
// What people or the model have written goes into the page as text only, never as html.
"use strict";

window.lisaPage = (() => {
  // Okabe and Ito's colours, told apart by colour-blind people as well; each mask also has a number.
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442"];
  const page = { pictures: [], shown: null, about: null, examples: [], opacity: 0.45, labels: true, notice: "", busy: 0 };
  let stage = null, talk = null, status = null, correcting = null, tickets = 0;

  // ---- small tools -------------------------------------------------------------------------------------------
  const SVG = "http://www.w3.org/2000/svg";
  const SVG_TAGS = new Set(["svg", "image", "path", "g", "circle", "text", "line"]);

  function make(tag, attributes = {}, ...children) {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "checked" || name === "disabled") node[name] = value;
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  async function call(path, options = {}) {
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Error("The server cannot be reached. Is it still running?");
    }
    if (response.ok) return response;
    const told = await response.json().catch(() => ({}));
    throw new Error(sentence(told.detail || `The server answered ${response.status}.`));
  }

  const asJson = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
  const percent = (share) => `${Math.round(100 * share)} %`;
  const colour = (mask) => COLOURS[mask.number % COLOURS.length];

  function notify(text) {
    page.notice = text;
    drawNotice();
  }

  // ---- pictures ----------------------------------------------------------------------------------------------
  async function open(file, questions = []) {
    const limit = page.about?.upload_megabytes ?? 20;
    if (file.size > limit * 1e6) {
      return notify(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; at most ${limit} MB are taken. Make it smaller.`);
    }
    const form = new FormData();
    form.append("image", file, file.name || "picture");
    page.busy += 1;
    notify("");
    drawStage();
    try {
      const told = await (await call("api/talks", { method: "POST", body: form })).json();
      const picture = { ...told, url: `api/talks/${told.talk}/picture`, turns: [], masks: 0, questions };
      page.pictures.push(picture);
      show(picture);
    } catch (error) {
      notify(error.message);
    } finally {
      page.busy -= 1;
      drawStage();
    }
  }

  async function openAll(files) {
    for (const file of files) await open(file);
  }

  async function openExample(example) {
    try {
      const data = await (await call(`api/examples/${example.name}`)).blob();
      await open(new File([data], example.name, { type: "image/jpeg" }), example.questions);
    } catch (error) {
      notify(error.message);
    }
  }

  function show(picture) {
    page.shown = picture;
    correcting = null;
    drawStage();
    drawTalk();
  }

  function close(picture) {
    page.pictures = page.pictures.filter((other) => other !== picture);
    call(`api/talks/${picture.talk}`, { method: "DELETE" }).catch(() => {}); // it may be forgotten already
    show(page.shown === picture ? page.pictures.at(-1) ?? null : page.shown);
  }

  async function download(kind) {
    try {
      const data = await (await call(`api/talks/${page.shown.talk}/${kind}`)).blob();
      const url = URL.createObjectURL(data);
      const link = make("a", { href: url, download: `${page.shown.name.replace(/\.\w+$/, "")}_${kind}` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    } catch (error) {
      notify(error.message);
    }
  }

  // ---- questions ---------------------------------------------------------------------------------------------
  // Gradio calls this when a question is sent; what it returns goes to the server. Empty: nothing is asked.
  function ask(question) {
    const picture = page.shown;
    const nothing = [question, "", ""];
    if (!picture) return notify("Choose a picture first."), nothing;
    if (!question.trim()) return notify("Type a question first."), nothing;
    if (picture.turns.some((turn) => !turn.done)) return notify("The last question is still being answered."), nothing;
    notify("");
    correcting = null;
    const turn = { ticket: String(++tickets), question: question.trim(), text: "", masks: [], done: false, error: "", answer: -1 };
    picture.turns.push(turn);
    drawTalk();
    write("");
    return [question, picture.talk, turn.ticket];
  }

  function hear(told) {
    if (!told || !told.ticket) return;
    for (const picture of page.pictures) {
      const turn = picture.turns.find((one) => one.ticket === told.ticket);
      if (!turn || turn.done) continue;
      const fresh = told.masks.slice(turn.masks.length);
      // Over a whole talk no two masks have the same number, nor the same colour as long as there is another.
      turn.masks.push(...fresh.map((mask) => ({ ...mask, number: picture.masks++, hidden: false, clicks: [], busy: false })));
      Object.assign(turn, { text: told.text, done: told.done, error: told.error, answer: told.answer });
      if (turn.done) announce(turn);
      if (picture !== page.shown) continue;
      if (fresh.length) drawStage();
      drawTalk();
    }
  }

  function failed() {
    for (const picture of page.pictures) {
      for (const turn of picture.turns.filter((one) => !one.done)) {
        Object.assign(turn, { done: true, error: "This question was not taken: too many are waiting. Ask it again in a moment." });
      }
    }
    drawTalk();
  }

  // For those who do not see the answer come.
  function announce(turn) {
    const number = turn.masks.length;
    status.textContent = turn.error || `${turn.text.replaceAll("[SEG]", "")} ${number === 1 ? "One mask" : `${number || "No"} masks`}.`;
  }

  // ---- corrections -------------------------------------------------------------------------------------------
  function startCorrecting(turn, index) {
    const { width, height } = page.shown;
    turn.masks[index].hidden = false;
    correcting = { turn, index, inside: true, x: width / 2, y: height / 2 };
    drawStage();
    drawTalk();
    stage.querySelector("svg").focus();
  }

  function stopCorrecting() {
    correcting = null;
    drawStage();
    drawTalk();
  }

  async function setClicks(clicks) {
    const { turn, index } = correcting, picture = page.shown, mask = turn.masks[index];
    if (mask.busy) return;
    mask.busy = true;
    try {
      const body = { answer: turn.answer, mask: index, clicks };
      const told = await (await call(`api/talks/${picture.talk}/correct?outline=true`, asJson(body))).json();
      Object.assign(mask, { outline: told.outline, expected_iou: told.expected_iou, clicks });
    } catch (error) {
      notify(error.message);
    } finally {
      mask.busy = false;
      drawStage();
      drawTalk();
    }
  }

  function addClick(x, y, inside) {
    const mask = correcting.turn.masks[correcting.index];
    if (mask.clicks.length >= (page.about?.clicks ?? 20)) return notify("That are all the clicks that a mask can take.");
    setClicks([...mask.clicks, { x, y, inside }]);
  }

  const undoClick = () => setClicks(correcting.turn.masks[correcting.index].clicks.slice(0, -1));

  function clicked(event, inside) {
    if (!correcting) return;
    event.preventDefault();
    const frame = event.currentTarget.getBoundingClientRect(), { width, height } = page.shown;
    const x = ((event.clientX - frame.left) / frame.width) * width, y = ((event.clientY - frame.top) / frame.height) * height;
    addClick(Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height), inside);
  }

  function pressed(event) {
    if (!correcting) return;
    const { width, height } = page.shown, step = Math.max(width, height) * (event.shiftKey ? 0.05 : 0.01);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[event.key]) {
      correcting.x = Math.min(Math.max(correcting.x + moves[event.key][0], 0), width);
      correcting.y = Math.min(Math.max(correcting.y + moves[event.key][1], 0), height);
      correcting.keys = true;
    } else if (event.key === "Enter" || event.key === " ") addClick(correcting.x, correcting.y, correcting.inside);
    else if (event.key === "+" || event.key === "-") correcting.inside = event.key === "+";
    else if (event.key === "Backspace") undoClick();
    else if (event.key === "Escape") correcting = null;
    else return;
    event.preventDefault();
    drawStage();
    drawTalk();
    stage.querySelector("svg")?.focus();
  }

  // ---- the stage ---------------------------------------------------------------------------------------------
  function drawStage() {
    if (!stage) return;
    const focus = stage.contains(document.activeElement) ? document.activeElement.id : "";
    stage.replaceChildren(...(page.shown ? [picturePart(), toolPart(), stripPart()] : [emptyPart()]), noticePart());
    if (focus) document.getElementById(focus)?.focus();
  }

  function emptyPart() {
    return make("div", { class: "empty" },
      make("div", { class: "drop" },
        make("p", { class: "big" }, page.busy ? "Reading the picture ..." : "Drop a picture here"),
        make("p", {}, "or paste one, or"),
        chooseButton("Choose a picture", "primary")),
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
        make("img", { src: `api/examples/${example.name}`, alt: example.title }))));
  }

  const masksShown = () => page.shown.turns.flatMap((turn) => turn.masks);

  function picturePart() {
    const { width, height, name, url } = page.shown, masks = masksShown().filter((mask) => mask.outline && !mask.hidden);
    const svg = make("svg", {
      id: "lisa-picture", viewBox: `0 0 ${width} ${height}`, role: "group", class: correcting ? "correcting" : "",
      "aria-label": `${name}, with ${masks.length} masks`, tabindex: correcting ? 0 : null,
      onclick: (event) => clicked(event, correcting?.inside && !event.shiftKey),
      oncontextmenu: (event) => clicked(event, false), onkeydown: pressed,
    }, make("image", { href: url, width, height }));
    svg.style.setProperty("--opacity", page.opacity);
    svg.style.aspectRatio = `${width} / ${height}`;
    svg.style.maxWidth = `calc(68vh * ${width / height})`;
    // A hundredth of the picture, and at least 5 pixels of the screen.
    const unit = Math.max(Math.max(width, height) / 100, (5 * width) / Math.max(stage.clientWidth, 1));
    svg.append(...masks.map(maskPart));
    if (page.labels) svg.append(...masks.map((mask) => numberPart(mask, unit)));
    if (correcting) svg.append(...clickParts(unit));
    return make("div", { class: "frame" }, svg, correcting ? correctPart() : null);
  }

  function maskPart(mask) {
    const part = make("path", {
      d: mask.outline, "fill-rule": "evenodd", class: "mask", "data-mask": mask.number, tabindex: correcting ? null : 0,
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
    const probe = make("svg", { width: 0, height: 0, style: "position:absolute" });
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
    const parts = correcting.turn.masks[correcting.index].clicks.map((click) =>
      make("g", { class: `click ${click.inside ? "inside" : "outside"}` },
        make("circle", { cx: click.x, cy: click.y, r: 1.3 * unit }),
        make("text", { x: click.x, y: click.y, "font-size": 2.4 * unit }, click.inside ? "+" : "\u2212")));
    if (!correcting.keys) return parts;
    const { x, y } = correcting, r = 3 * unit;
    return [...parts, make("g", { class: "cross" },
      make("line", { x1: x - r, y1: y, x2: x + r, y2: y }), make("line", { x1: x, y1: y - r, x2: x, y2: y + r }))];
  }

  function correctPart() {
    const { turn, index, inside } = correcting, mask = turn.masks[index];
    const side = (value, sign, words) => make("button", {
      type: "button", id: `lisa-side-${value ? "in" : "out"}`, class: "side", "aria-pressed": String(inside === value),
      onclick: () => { correcting.inside = value; drawStage(); },
    }, make("b", {}, sign), ` ${words}`);
    return make("div", { class: "correct-bar", role: "toolbar", "aria-label": "Correct a mask" },
      swatch(mask), make("span", { class: "grow" }, `Click on what ${inside ? "belongs" : "does not belong"} to it`),
      side(true, "+", "belongs"), side(false, "\u2212", "does not"),
      make("button", { type: "button", id: "lisa-undo", disabled: !mask.clicks.length, onclick: undoClick }, "Undo"),
      make("button", { type: "button", id: "lisa-done", class: "primary", onclick: stopCorrecting }, "Done"));
  }

  function swatch(mask) {
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
          stage.querySelector("svg").style.setProperty("--opacity", page.opacity);
        },
      })),
      make("label", {}, make("input", {
        type: "checkbox", id: "lisa-labels", checked: page.labels,
        onchange: (event) => { page.labels = event.target.checked; drawStage(); },
      }), "Numbers"),
      make("button", {
        type: "button", id: "lisa-all", disabled: !any,
        onclick: () => { for (const mask of masks) mask.hidden = all; drawStage(); drawTalk(); },
      }, all ? "Hide all" : "Show all"),
      make("span", { class: "grow" }),
      make("button", { type: "button", id: "lisa-zip", disabled: !any, title: "Every mask as PNG", onclick: () => download("masks.zip") }, "\u2193 PNG"),
      make("button", { type: "button", id: "lisa-coco", disabled: !any, title: "All masks as COCO instances", onclick: () => download("coco.json") }, "\u2193 COCO"));
  }

  function stripPart() {
    return make("div", { class: "strip", role: "group", "aria-label": "Pictures" },
      ...page.pictures.map((picture) => make("div", { class: "item" },
        make("button", {
          type: "button", class: "thumb", "aria-pressed": String(picture === page.shown), title: picture.name, onclick: () => show(picture),
        }, make("img", { src: picture.url, alt: picture.name })),
        make("button", { type: "button", class: "close", "aria-label": `Close ${picture.name}`, onclick: () => close(picture) }, "\u00d7"))),
      chooseButton(page.busy ? "..." : "+", "add", "Add a picture"),
      make("details", { class: "more" }, make("summary", {}, "Examples"), examplesPart()));
  }

  function noticePart() {
    return make("div", { class: "notice", role: "alert", hidden: page.notice ? null : "" }, page.notice);
  }

  function drawNotice() {
    stage?.querySelector(".notice")?.replaceWith(noticePart());
  }

  function highlight(mask) {
    for (const root of [stage, talk]) {
      root.classList.toggle("pointing", mask !== null);
      for (const node of root.querySelectorAll("[data-mask]")) {
        node.classList.toggle("hot", node.dataset.mask === String(mask?.number));
      }
    }
  }

  // ---- the talk ----------------------------------------------------------------------------------------------
  function drawTalk() {
    if (!talk) return;
    const focus = talk.contains(document.activeElement) ? document.activeElement.id : "";
    const turns = page.shown?.turns ?? [];
    talk.replaceChildren(...(turns.length ? turns.map(turnPart) : [startPart()]));
    if (focus) document.getElementById(focus)?.focus();
    else talk.scrollTop = talk.scrollHeight;
  }

  function startPart() {
    const small = page.about?.model === "tiny";
    const questions = page.shown?.questions?.length ? page.shown.questions
      : page.shown ? ["What is in this picture?"] : [];
    return make("div", { class: "start" },
      make("p", {}, page.shown ? "What would you like to find?" : "Choose a picture, then ask about it here."),
      ...questions.map((question) => make("button", { type: "button", class: "suggestion", onclick: () => send(question) }, question)),
      small ? make("p", { class: "hint" }, "The small model that comes with LISA knows drawn scenes like the examples, not photographs. ",
        "It points when it is asked to, as in \u201cPlease segment the boat in this image.\u201d or ",
        "\u201cWhere is the red car? Please output segmentation mask.\u201d, and answers other questions in words.") : null);
  }

  // Into Gradio's box of the question.
  function write(question) {
    const box = document.querySelector("#lisa-question textarea");
    box.value = question;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function send(question) {
    write(question);
    setTimeout(() => document.querySelector("#lisa-send").click(), 50); // Gradio takes the text over first
  }

  function turnPart(turn) {
    return make("article", { class: "turn" },
      make("p", { class: "question" }, turn.question),
      make("div", { class: "answer", "aria-busy": String(!turn.done) },
        make("p", { class: "said" }, ...saidParts(turn), turn.done ? null : make("span", { class: "caret" })),
        turn.error ? make("p", { class: "error", role: "alert" }, sentence(turn.error)) : null,
        turn.done && !turn.error && !turn.masks.length
          ? make("p", { class: "none" }, "This answer points at nothing in the picture: it has no mask.") : null,
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

  // ---- start -------------------------------------------------------------------------------------------------
  async function begin() {
    try {
      [page.about, page.examples] = await Promise.all(["api/about", "api/examples"].map(async (path) => (await call(path)).json()));
    } catch (error) {
      notify(error.message);
    }
    drawStage();
    drawTalk();
  }

  function takeFiles() {
    const pictures = (transfer) => [...(transfer?.files ?? [])];
    document.addEventListener("paste", (event) => openAll(pictures(event.clipboardData)));
    document.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) stage.classList.remove("over"); });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      stage.classList.remove("over");
      openAll(pictures(event.dataTransfer));
    });
  }

  return {
    ask, failed,
    stage(element) {
      stage = element.querySelector(".lisa-stage");
      takeFiles();
      drawStage();
      if (talk) begin();
    },
    talk(element, props, watch) {
      talk = element.querySelector(".lisa-talk");
      status = element.appendChild(make("div", { class: "unseen", role: "status" }));
      watch("value", () => hear(props.value));
      if (stage) begin();
    },
  };
})();
