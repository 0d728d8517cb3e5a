// The live page: what the gateway tells goes to the parts that show it.

import { beginAnew, prepareAnswers, showAnswers } from "./answers.js";
import { expectAnswers, prepareAsking } from "./asking.js";
import { comparison } from "./charts.js";
import { showClasses, showSums } from "./classes.js";
import { byId, count, el, say, setColours } from "./dom.js";
import { follow } from "./feed.js";

const RATE_S = 5; // that a rate is taken over
let net = null;
let compare = null;
let sums = {};
let counted = [];

function hello(told) {
  const { name, artifact_hash: hash, subnets } = told.net;
  say(byId("net"), `${name} · ${count(subnets)} subnets · artifact ${hash.slice(0, 8)}`);
  document.title = `${name} · compofa`;
  counted = [];
  beginAnew();
  net = told.net;
  classes(told);
  news(told, true);
}

function classes(told) {
  setColours(told.classes.map(({ name }) => name));
  showClasses(told);
  expectAnswers(net, told.classes);
  const known = told.classes.filter((each) => each.frontier.length);
  compare = known.length ? comparison(known) : null;
  const nothing = el("p", { class: "empty" }, "No device class yet: nothing is predicted.");
  byId("compare").replaceChildren(compare ? compare.node : nothing);
  showAll();
}

function news(told, first = false) {
  showAnswers(told, first);
  sums = told.sums;
  showAll();
  say(byId("count"), count(told.count));
  say(byId("pending"), count(told.pending));
  say(byId("rate"), rate(told.count));
  if (told.draining) state("draining", "draining: the gateway takes nothing new");
  else state("live", "live");
}

function showAll() {
  showSums(sums);
  compare?.update(sums);
}

function rate(total) {
  const now = performance.now() / 1000;
  counted = [...counted.filter(([at]) => at > now - RATE_S), [now, total]];
  const [at, before] = counted[0];
  if (now - at < 0.4) return "–";
  const each = (total - before) / (now - at);
  return each >= 10 ? count(Math.round(each)) : each.toFixed(1);
}

function state(name, text) {
  document.body.dataset.state = name;
  say(byId("said"), text);
}

prepareAnswers();
prepareAsking();
follow("events", { hello, news, classes }, state);
