// Elements, and how figures are written. Text only ever becomes text: nothing is parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Set only where it differs, so that nothing is laid out again for nothing.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const percent = (x, digits = 2) => `${(100 * x).toFixed(digits)} %`;

export const ms = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));

export const count = (n) => n.toLocaleString("en");

export const mebibytes = (n) => `${(n / 1048576).toFixed(1)} MiB`;

export function clock(at) {
  const date = new Date(1000 * at);
  const two = (n) => String(n).padStart(2, "0");
  const tenth = Math.floor(date.getMilliseconds() / 100);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${tenth}`;
}

// Each device class has its colour wherever it appears; after eight they come again.
const colours = new Map();

export function setColours(names) {
  colours.clear();
  names.forEach((name, i) => colours.set(name, `var(--class-${i % 8})`));
}

export function tint(element, name) {
  element.style.setProperty("--class", colours.get(name) ?? "var(--muted)");
  return element;
}
