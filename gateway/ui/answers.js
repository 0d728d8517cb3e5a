// The table of answers as they come: always as many rows, so that nothing moves below it.

import { byId, clock, count, el, ms, percent, say, tint } from "./dom.js";

const ROWS = 12;
const COLUMNS = ["", "", "", "number wide", "number", "number", "number wide", "wide"];
const rows = [];
let shown = [];
let waiting = [];
let last = 0;
let paused = false;

export function prepareAnswers() {
  const body = byId("answers").tBodies[0];
  for (let i = 0; i < ROWS; i++) {
    const cells = COLUMNS.map((kind) => el("td", { class: kind }, "\u00a0"));
    const row = el("tr", {}, ...cells);
    rows.push({ row, cells });
    body.append(row);
  }
  const button = byId("pause");
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", paused);
    say(button, paused ? "Go on" : "Pause");
    if (!paused) draw();
  });
}

// A gateway that has started anew counts from the beginning.
export function beginAnew() {
  last = 0;
  waiting = [];
  shown = [];
}

export function showAnswers({ rows: fresh, left_out: leftOut }, first = false) {
  const unseen = fresh.filter((row) => row.number > last);
  if (unseen.length) last = unseen.at(-1).number;
  waiting = [...unseen.reverse(), ...waiting].slice(0, ROWS);
  if (leftOut && !first) {
    say(byId("left-out"), `More come than can be read: the last ${count(ROWS)} are shown.`);
  } else if (unseen.length) say(byId("left-out"), "\u00a0");
  if (!paused) draw();
}

function draw() {
  shown = [...waiting, ...shown].slice(0, ROWS);
  waiting = [];
  byId("no-answers").hidden = shown.length > 0;
  shown.forEach((answer, i) => fill(rows[i], answer));
  for (const empty of rows.slice(shown.length)) fill(empty, null);
}

function fill({ row, cells }, answer) {
  const texts = answer ? words(answer) : COLUMNS.map(() => "\u00a0");
  cells.forEach((cell, i) => say(cell, texts[i]));
  row.className = answer ? (answer.subnet ? (answer.degraded ? "degraded" : "") : "bad") : "blank";
  tint(cells[1], answer?.device_class);
  cells[1].className = answer ? "named" : "";
}

function words(answer) {
  const start = [clock(answer.at), answer.device_class || "no class"];
  if (!answer.subnet) return [...start, answer.code, "–", "–", "–", "–", "turned away"];
  const note = answer.degraded ? "degraded" : answer.batch > 1 ? `${answer.batch} together` : "";
  return [
    ...start,
    answer.subnet,
    percent(answer.accuracy),
    ms(answer.predicted_ms),
    ms(answer.compute_ms),
    ms(answer.queue_ms),
    note || "\u00a0",
  ];
}
