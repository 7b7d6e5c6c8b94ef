// Images: opened, shown, closed; what is downloaded.

import { drawConversation } from "./conversation.js";
import { drawStage, notify } from "./stage.js";
import { call, make, page } from "./tools.js";

async function openFile(file, questions = []) {
  const limit = page.info?.upload_megabytes ?? 20;
  if (file.size > limit * 1e6) {
    return notify(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; at most ${limit} MB are taken. Make it smaller.`);
  }
  const form = new FormData();
  form.append("image", file, file.name || "image");
  page.busy += 1;
  notify("");
  drawStage();
  try {
    const told = await (await call("sessions", { method: "POST", body: form })).json();
    const session = { ...told, url: `api/v1/sessions/${told.session}/image`, turns: [], masks: 0, questions };
    page.sessions.push(session);
    showSession(session);
  } catch (error) {
    notify(error.message);
  } finally {
    page.busy -= 1;
    drawStage();
  }
}

export async function openAll(files) {
  for (const file of files) await openFile(file);
}

export async function openExample(example) {
  try {
    const data = await (await call(`examples/${example.name}`)).blob();
    await openFile(new File([data], example.name, { type: "image/jpeg" }), example.questions);
  } catch (error) {
    notify(error.message);
  }
}

export function showSession(session) {
  page.shown = session;
  page.correcting = null;
  drawStage();
  drawConversation();
}

export function closeSession(session) {
  page.sessions = page.sessions.filter((other) => other !== session);
  session.stop?.abort(); // nobody waits for its answer any more
  call(`sessions/${session.session}`, { method: "DELETE" }).catch(() => {}); // it may be forgotten already
  showSession(page.shown === session ? page.sessions.at(-1) ?? null : page.shown);
}

export async function download(kind) {
  try {
    const data = await (await call(`sessions/${page.shown.session}/${kind}`)).blob();
    const url = URL.createObjectURL(data);
    const link = make("a", { href: url, download: `${page.shown.name.replace(/\.\w+$/, "")}_${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  } catch (error) {
    notify(error.message);
  }
}
