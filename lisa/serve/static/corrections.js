// Clicks on a mask, by pointer or keyboard.

import { drawConversation } from "./conversation.js";
import { drawStage, notify } from "./stage.js";
import { asJson, call, nodes, page } from "./tools.js";

export function startCorrecting(turn, index) {
  const { width, height } = page.shown;
  turn.masks[index].hidden = false;
  page.correcting = { turn, index, inside: true, x: width / 2, y: height / 2 };
  drawStage();
  drawConversation();
  nodes.stage.querySelector("svg").focus();
}

export function stopCorrecting() {
  page.correcting = null;
  drawStage();
  drawConversation();
}

async function setClicks(clicks) {
  const { turn, index } = page.correcting, session = page.shown, mask = turn.masks[index];
  if (mask.busy) return;
  mask.busy = true;
  try {
    const path = `sessions/${session.session}/turns/${turn.number}/masks/${index}/clicks?outline=true`;
    const told = await (await call(path, asJson("PUT", { clicks }))).json();
    Object.assign(mask, { outline: told.outline, expected_iou: told.expected_iou, clicks });
  } catch (error) {
    notify(error.message);
  } finally {
    mask.busy = false;
    drawStage();
    drawConversation();
  }
}

function addClick(x, y, inside) {
  const mask = page.correcting.turn.masks[page.correcting.index];
  if (mask.clicks.length >= (page.info?.clicks ?? 20)) return notify("That are all the clicks that a mask can take.");
  setClicks([...mask.clicks, { x, y, inside }]);
}

export const undoClick = () => setClicks(page.correcting.turn.masks[page.correcting.index].clicks.slice(0, -1));

export function clicked(event, inside) {
  if (!page.correcting) return;
  event.preventDefault();
  const frame = event.currentTarget.getBoundingClientRect(), { width, height } = page.shown;
  const x = ((event.clientX - frame.left) / frame.width) * width, y = ((event.clientY - frame.top) / frame.height) * height;
  addClick(Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height), inside);
}

export function pressed(event) {
  if (!page.correcting) return;
  const { width, height } = page.shown, step = Math.max(width, height) * (event.shiftKey ? 0.05 : 0.01);
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[event.key]) {
    page.correcting.x = Math.min(Math.max(page.correcting.x + moves[event.key][0], 0), width);
    page.correcting.y = Math.min(Math.max(page.correcting.y + moves[event.key][1], 0), height);
    page.correcting.keys = true;
  } else if (event.key === "Enter" || event.key === " ") addClick(page.correcting.x, page.correcting.y, page.correcting.inside);
  else if (event.key === "+" || event.key === "-") page.correcting.inside = event.key === "+";
  else if (event.key === "Backspace") undoClick();
  else if (event.key === "Escape") page.correcting = null;
  else return;
  event.preventDefault();
  drawStage();
  drawConversation();
  nodes.stage.querySelector("svg")?.focus();
}
