// What every part uses: the page's state, nodes, requests.

// Okabe and Ito's colours, told apart by colour-blind people as well; each mask also has a number.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442"];

// correcting: the mask that takes clicks, as { turn, index, inside, x, y, keys }.
export const page = {
  sessions: [], shown: null, info: null, examples: [], opacity: 0.45, labels: true, notice: "", busy: 0, correcting: null,
};
export const nodes = { stage: null, conversation: null, status: null, question: null };

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "image", "path", "g", "circle", "text", "line"]);

// What people or the model have written goes into the page as text only, never as html.
export function make(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "checked" || name === "disabled") node[name] = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Path below the API, and fetch's options -> the response; an Error with a sentence where there is none.
export async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(`api/v1/${path}`, options);
  } catch {
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Error(sentence(told.detail || `The server answered ${response.status}.`));
}

export const asJson = (method, body) => ({ method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
export const percent = (share) => `${Math.round(100 * share)} %`;
export const colour = (mask) => COLOURS[mask.number % COLOURS.length];
