// From values to pixels, and where the ticks stand.

export function linear([from, to], [start, end]) {
  const step = (end - start) / (to - from || 1);
  return (value) => start + (value - from) * step;
}

export function logarithmic([from, to], range) {
  const scale = linear([Math.log(from), Math.log(to)], range);
  return (value) => scale(Math.log(value));
}

export const within = (value, [from, to]) => Math.min(Math.max(value, from), to);

// About `wanted` round numbers.
export function roundTicks([from, to], wanted) {
  const raw = (to - from) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const ticks = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) ticks.push(i * step);
  return ticks;
}

// 1, 2, 5, 10, ...
export function logTicks([from, to]) {
  const ticks = [];
  for (let power = 10 ** Math.floor(Math.log10(from)); power <= to; power *= 10) {
    for (const m of [1, 2, 5]) if (m * power >= from && m * power <= to) ticks.push(m * power);
  }
  return ticks;
}

export const short = (x) => String(Number(x.toPrecision(3)));
