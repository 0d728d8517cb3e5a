// The gateway's Server-Sent Events, read for as long as the page is looked at. By `fetch`, which
// unlike EventSource says why it was turned away, and notices where the gateway has gone silent.

const AGAIN_MS = 1000;
const SILENT_MS = 10_000;

// Calls `on[kind](document)` for each event, and `state(name, text)` as the connection changes.
export async function follow(url, on, state) {
  for (;;) {
    if (document.hidden) {
      state("hidden", "paused while nobody looks");
      await becomesVisible();
    }
    const stop = new AbortController();
    const hide = () => document.hidden && stop.abort(new Error("hidden"));
    document.addEventListener("visibilitychange", hide);
    try {
      await readAll(url, on, stop);
      state("down", "the gateway has ended; looking for it again …");
    } catch (error) {
      if (!document.hidden) state("down", error.said ?? "the gateway does not answer; trying again …");
    } finally {
      document.removeEventListener("visibilitychange", hide);
      stop.abort(); // gives the connection back, whatever it was that ended
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

async function readAll(url, on, stop) {
  let silence = setTimeout(() => stop.abort(), SILENT_MS);
  try {
    const response = await fetch(url, { signal: stop.signal, cache: "no-store" });
    if (!response.ok) throw Object.assign(new Error(), { said: (await response.json()).error });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENT_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) handle(event, on);
    }
  } finally {
    clearTimeout(silence);
  }
}

function handle(event, on) {
  const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s, 2)));
  on[fields.event]?.(JSON.parse(fields.data));
}

function becomesVisible() {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });
}
