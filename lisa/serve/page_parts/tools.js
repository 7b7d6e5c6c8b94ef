// What every part uses.

// Okabe and Ito's colours, told apart by colour-blind people as well; each mask also has a number.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442"];
const page = { pictures: [], shown: null, about: null, examples: [], opacity: 0.45, labels: true, notice: "", busy: 0 };
let stage = null, talk = null, status = null, correcting = null, tickets = 0;

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
