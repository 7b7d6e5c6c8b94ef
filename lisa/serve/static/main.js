// The page begins: its parts are found, and files and questions come in.

import { drawConversation } from "./conversation.js";
import { openAll } from "./images.js";
import { drawStage, notify } from "./stage.js";
import { call, nodes, page } from "./tools.js";
import { ask } from "./turns.js";

async function begin() {
  nodes.stage = document.querySelector(".lisa-stage");
  nodes.conversation = document.querySelector(".lisa-conversation");
  nodes.status = document.querySelector("#lisa-status");
  nodes.question = document.querySelector("#lisa-question textarea");
  takeFiles();
  takeQuestions();
  drawStage();
  drawConversation();
  try {
    [page.info, page.examples] = await Promise.all(["info", "examples"].map(async (path) => (await call(path)).json()));
  } catch (error) {
    notify(error.message);
  }
  drawStage();
  drawConversation();
}

function takeFiles() {
  const images = (transfer) => [...(transfer?.files ?? [])];
  document.addEventListener("paste", (event) => openAll(images(event.clipboardData)));
  document.addEventListener("dragover", (event) => { event.preventDefault(); nodes.stage.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) nodes.stage.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    nodes.stage.classList.remove("over");
    openAll(images(event.dataTransfer));
  });
}

function takeQuestions() {
  document.querySelector("#lisa-ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask(nodes.question.value);
  });
  nodes.question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // Shift+Enter begins a new line
    event.preventDefault();
    ask(nodes.question.value);
  });
}

begin();
