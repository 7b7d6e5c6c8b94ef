// Pictures: opened, shown, closed; what is downloaded.

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
