// Both parts find each other, and files come in.

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
