// Questions go out, and the events of their answers come in.

import { drawConversation } from "./conversation.js";
import { drawStage, notify } from "./stage.js";
import { asJson, call, nodes, page, sentence } from "./tools.js";

// Ask about the image that is shown; says what is missing.
export async function ask(question) {
  const session = page.shown;
  if (!session) return notify("Choose an image first.");
  if (!question.trim()) return notify("Type a question first.");
  if (session.turns.some((turn) => !turn.done)) return notify("The last question is still being answered.");
  notify("");
  page.correcting = null;
  const turn = { question: question.trim(), text: "", masks: [], done: false, error: "", number: -1 };
  session.turns.push(turn);
  nodes.question.value = "";
  drawConversation();
  session.stop = new AbortController();
  try {
    const options = { ...asJson("POST", { question, stream: true, max_new_tokens: page.info?.answer_tokens ?? 128 }), signal: session.stop.signal };
    const response = await call(`sessions/${session.session}/turns`, options);
    for await (const [kind, told] of events(response)) take(session, turn, kind, told);
    if (!turn.done) throw new Error("The answer broke off. Is the server still running? Ask again.");
  } catch (error) {
    if (!turn.done) Object.assign(turn, { done: true, error: error.message });
  }
  announce(turn);
  draw(session, true);
}

function take(session, turn, kind, told) {
  if (kind === "mask") {
    // Over a whole session no two masks have the same number, nor the same colour as long as there is another.
    turn.masks.push({ ...told, number: session.masks++, hidden: false, clicks: [], busy: false });
  } else if (kind === "text") turn.text = told.text;
  else if (kind === "answer") Object.assign(turn, { text: told.text, number: told.turn, done: true });
  else if (kind === "error") Object.assign(turn, { error: sentence(told.detail), done: true });
  draw(session, kind === "mask");
}

function draw(session, masks) {
  if (session !== page.shown) return;
  if (masks) drawStage();
  drawConversation();
}

// A response of server-sent events -> [kind, JSON] of each; comments keep the connection alive.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const pieces = (rest + value).split("\n\n");
    rest = pieces.pop();
    for (const piece of pieces) {
      const field = (name) => piece.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("event")) yield [field("event"), JSON.parse(field("data"))];
    }
  }
}

// For those who do not see the answer come.
function announce(turn) {
  const number = turn.masks.length;
  nodes.status.textContent = turn.error || `${turn.text.replaceAll("[SEG]", "")} ${number === 1 ? "One mask" : `${number || "No"} masks`}.`;
}
