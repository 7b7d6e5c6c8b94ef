// Questions go out, and what the server tells of their answers comes in.

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
