// A card for each device class: its frontier, and what is being chosen.

import { frontierChart } from "./charts.js";
import { byId, count, el, ms, percent, say, tint } from "./dom.js";

let cards = new Map();

export function showClasses({ classes, other_classes: others }) {
  const box = byId("classes");
  cards = new Map();
  if (!classes.length) {
    box.replaceChildren(noClass());
    return;
  }
  box.replaceChildren(...classes.map(card));
  if (others) box.append(el("p", { class: "empty" }, `${count(others)} more are not shown.`));
}

export function showSums(sums) {
  for (const [name, update] of cards) update(sums[name]);
}

function noClass() {
  return el(
    "p",
    { class: "empty" },
    "No device class yet: the gateway knows no latencies to choose by. Measure a device with ",
    el("code", {}, "compofa profile ARTIFACT --device-class NAME"),
    ", or bring a table with ",
    el("code", {}, "compofa tables import"),
    "; it appears here at once.",
  );
}

function card(device) {
  const now = el("dd", {}, "no answer in the last minute");
  const more = el("dd", {}, "\u00a0");
  const origin = device.version ? `version ${device.version}` : "came with the net";
  const tag = el("span", { class: "tag", title: device.source }, `${device.kind}, ${origin}`);
  const name = el("span", { class: "swatch" });
  const title = el("h3", { title: device.name }, name, ` ${device.name}`);
  const body = el("article", { class: "card" }, el("header", {}, title, tag));
  let chart = null;
  if (device.frontier.length) {
    chart = frontierChart(device);
    body.append(chart.node);
  }
  const said = el("dl", {}, el("dt", {}, "now"), now, el("dt", {}, ""), more);
  said.append(el("dt", {}, "idle"), el("dd", device.error ? { class: "bad" } : {}, idle(device)));
  body.append(said);
  cards.set(device.name, (sums) => {
    chart?.update(sums);
    say(now, chosen(sums));
    say(more, counted(sums));
  });
  return tint(body, device.name);
}

function idle(device) {
  if (device.error) return device.error;
  const [subnet, latency, accuracy] = device.idle;
  const budget = device.default_budget_ms;
  const within = budget === null ? "" : ` of ${ms(budget)}`;
  return `${subnet}, ${percent(accuracy)}, ${ms(latency)}${within} ms`;
}

function chosen(sums) {
  if (!sums?.answers) return "no answer in the last minute";
  const [first, ...rest] = sums.subnets;
  const others = rest.length + sums.other_subnets;
  const share = percent(first.answers / sums.answers, 0);
  return `${first.subnet}, ${share}` + (others ? `; ${others} other${others > 1 ? "s" : ""}` : "");
}

function counted(sums) {
  if (!sums) return "\u00a0";
  const parts = [`${count(sums.answers)} answered`];
  if (sums.accuracy !== null) parts.push(`${percent(sums.accuracy)} on average`);
  if (sums.degraded) parts.push(`${count(sums.degraded)} degraded`);
  if (sums.failed) parts.push(`${count(sums.failed)} turned away`);
  return parts.join(", ");
}
