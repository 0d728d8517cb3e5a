// The two pictures: a class's frontier, and predictions beside what was measured.

import { el, ms, percent, say, svg, tint } from "./dom.js";
import { linear, logTicks, logarithmic, roundTicks, short, within } from "./scales.js";

const LEFT = 46;
const TOP = 22;
const BOTTOM = 32;

function frame(width, height, label) {
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  return { node, x: [LEFT, width - 12], y: [height - BOTTOM, TOP] };
}

function axes({ x, y }, xTicks, yTicks, xText, yText, titles) {
  const group = svg("g", { class: "axes" });
  for (const [at, text] of xTicks) {
    group.append(
      svg("path", { d: `M${at} ${y[0]}V${y[1]}` }),
      svg("text", { x: at, y: y[0] + 14, "text-anchor": "middle" }, xText(text)),
    );
  }
  for (const [at, text] of yTicks) {
    group.append(
      svg("path", { d: `M${x[0]} ${at}H${x[1]}` }),
      svg("text", { x: x[0] - 6, y: at + 4, "text-anchor": "end" }, yText(text)),
    );
  }
  group.append(
    svg("text", { x: x[1], y: y[0] + 28, "text-anchor": "end", class: "unit" }, titles[0]),
    svg("text", { x: 2, y: 11, class: "unit" }, titles[1]),
  );
  return group;
}

const titled = (node, text) => {
  node.append(svg("title", {}, text));
  return node;
};

const area = (share, most) => 3 + most * Math.sqrt(share);

// Accuracy over latency. `update` marks what is being chosen now.
export function frontierChart(device) {
  const picture = frame(340, 200, `${device.name}: accuracy against latency of its frontier`);
  const latencies = device.frontier.map(([, latency]) => latency);
  const accuracies = device.frontier.map(([, , accuracy]) => accuracy);
  const fastest = Math.min(...latencies);
  const slowest = Math.max(...latencies);
  const budget = device.default_budget_ms ?? slowest;
  const reach = Math.min(Math.max(slowest, budget), 2 * slowest);
  const breadth = reach - fastest || fastest;
  const xs = [Math.max(0, fastest - 0.08 * breadth), reach + 0.06 * breadth];
  const spread = Math.max(...accuracies) - Math.min(...accuracies) || 0.01;
  const ys = [Math.min(...accuracies) - 0.15 * spread, Math.max(...accuracies) + 0.12 * spread];
  const [x, y] = [linear(xs, picture.x), linear(ys, picture.y)];
  const place = (latency, accuracy) => [x(within(latency, xs)), y(within(accuracy, ys))];
  picture.node.append(
    axes(
      picture,
      roundTicks(xs, 6).map((t) => [x(t), t]),
      roundTicks(ys, 4).map((t) => [y(t), t]),
      short,
      (t) => short(100 * t),
      ["ms on the device", "% accurate"],
    ),
  );
  if (device.default_budget_ms !== null && budget === within(budget, xs)) {
    const line = svg("path", { class: "budget", d: `M${x(budget)} ${picture.y[0]}V${picture.y[1]}` });
    picture.node.append(titled(line, `default budget: ${ms(budget)} ms`));
  }
  let path = "";
  for (const [, latency, accuracy] of device.frontier) {
    path += path ? `H${x(latency)}V${y(accuracy)}` : `M${x(latency)} ${y(accuracy)}`;
  }
  picture.node.append(svg("path", { class: "step", d: `${path}H${picture.x[1]}` }));
  for (const [subnet, latency, accuracy] of device.frontier) {
    const dot = svg("circle", { class: "dot", cx: x(latency), cy: y(accuracy), r: 2.2 });
    picture.node.append(titled(dot, `${subnet}: ${percent(accuracy)}, ${ms(latency)} ms`));
  }
  const live = svg("g");
  picture.node.append(live);
  if (device.idle) {
    const [subnet, latency, accuracy] = device.idle;
    const [cx, cy] = place(latency, accuracy);
    picture.node.append(titled(svg("circle", { class: "idle", cx, cy, r: 6 }), `idle: ${subnet}`));
  }
  function update(sums) {
    live.replaceChildren(
      ...(sums?.subnets ?? []).map((each) => {
        const [cx, cy] = place(each.predicted_ms, each.accuracy);
        const share = each.answers / sums.answers;
        const dot = svg("circle", { class: "live", cx, cy, r: area(share, 8) });
        return titled(dot, `${each.subnet}: ${percent(share, 0)} of ${sums.answers} answers`);
      }),
    );
  }
  return { node: picture.node, update };
}

const SIZE = window.innerWidth < 700 ? [340, 270] : [460, 290];

// Measured over predicted, both on logarithmic scales; on the line, they are the same.
export function comparison(devices) {
  const all = devices.flatMap((device) => device.frontier.map(([, latency]) => latency));
  const xs = [0.8 * Math.min(...all), 1.25 * Math.max(...all)];
  const ys = [...xs]; // grows, and never shrinks: nothing jumps
  const picture = frame(...SIZE, "What the engine took, against what was predicted");
  const nothing = el("p", { class: "empty over" }, "Nothing measured in the last minute.");
  const legend = el("ul", { class: "ratios" });
  const ratios = new Map();
  for (const { name } of devices) {
    const said = el("span", { class: "number" }, "–");
    ratios.set(name, said);
    legend.append(tint(el("li", {}, el("span", { class: "swatch" }), ` ${name} `, said), name));
  }
  function update(sums) {
    const points = devices.flatMap(({ name }) =>
      (sums[name]?.subnets ?? [])
        .filter((each) => each.compute_ms)
        .map((each) => ({ ...each, name, share: each.answers / sums[name].answers })),
    );
    for (const { compute_ms: [low, , high] } of points) {
      if (low > 0) ys[0] = Math.min(ys[0], 0.8 * low);
      ys[1] = Math.max(ys[1], 1.25 * high);
    }
    nothing.hidden = points.length > 0;
    for (const [name, said] of ratios) say(said, ratio(points.filter((p) => p.name === name)));
    picture.node.replaceChildren(...drawn(picture, xs, ys, points));
  }
  update({});
  return { node: el("div", { class: "compare" }, picture.node, nothing, legend), update };
}

function drawn(picture, xs, ys, points) {
  const [x, y] = [logarithmic(xs, picture.x), logarithmic(ys, picture.y)];
  const at = (scale, range) => logTicks(range).map((t) => [scale(t), t]);
  const titles = ["ms predicted", "ms measured here"];
  const [from, to] = [Math.max(xs[0], ys[0]), Math.min(xs[1], ys[1])];
  const same = svg("path", { class: "same", d: `M${x(from)} ${y(from)}L${x(to)} ${y(to)}` });
  const marks = points.map(({ name, subnet, predicted_ms, compute_ms, share }) => {
    const [low, middle, high] = compute_ms.map((value) => y(within(value, ys)));
    const cx = x(within(predicted_ms, xs));
    const mark = svg(
      "g",
      { class: "measured" },
      svg("path", { d: `M${cx} ${low}V${high}` }),
      svg("circle", { cx, cy: middle, r: area(share, 6) }),
    );
    const text = `predicted ${ms(predicted_ms)} ms, measured ${ms(compute_ms[1])} ms`;
    return tint(titled(mark, `${name}, ${subnet}: ${text}`), name);
  });
  return [axes(picture, at(x, xs), at(y, ys), short, short, titles), same, ...marks];
}

// What is measured for each predicted millisecond, over all of a class's subnets.
function ratio(points) {
  const total = (value) => points.reduce((sum, each) => sum + each.answers * value(each), 0);
  if (!points.length) return "–";
  const factor = total((each) => each.compute_ms[1]) / total((each) => each.predicted_ms);
  return `${factor.toPrecision(2)} × predicted`;
}
