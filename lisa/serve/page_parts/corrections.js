// Clicks on a mask, by pointer or keyboard.

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
