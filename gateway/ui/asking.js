// The box: an image, dropped or chosen, and what each device class answers.

import { byId, el, mebibytes, ms, percent, say, tint } from "./dom.js";

const COLUMNS = ["label", "subnet", "accuracy", "predicted", "measured"];
let net = null;
let asking = false;
let expected = "";

export function prepareAsking() {
  const file = byId("file");
  file.addEventListener("change", () => {
    const [chosen] = file.files;
    if (chosen) ask(chosen);
    file.value = ""; // the same file again is a new question
  });
  for (const kind of ["dragenter", "dragover"]) {
    window.addEventListener(kind, (event) => {
      event.preventDefault(); // else the browser would leave the page for the image
      byId("drop").classList.add("over");
    });
  }
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) byId("drop").classList.remove("over");
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    byId("drop").classList.remove("over");
    const files = event.dataTransfer.files;
    if (files.length !== 1) complain(`Expected one image, got ${files.length} files.`);
    else ask(files[0]);
  });
}

// What is served, and a row for each class that is there: the answers will find their room.
export function expectAnswers(served, classes) {
  const names = classes.map(({ name }) => name);
  const same = expected === JSON.stringify([served, names]);
  net = served;
  expected = JSON.stringify([served, names]);
  if (same) return; // what was answered stays
  const file = byId("file");
  file.disabled = Boolean(net.cannot_ask) || !names.length;
  byId("drop").classList.toggle("off", file.disabled);
  if (net.cannot_ask) complain(net.cannot_ask);
  else if (names.length) tell("It is asked of every device class, as any request is.", "");
  else complain("There is no device class to ask for yet.");
  byId("asked").tBodies[0].replaceChildren(
    ...names.map((name) => row(name, ["–", "–", "–", "–", "–"])),
  );
}

async function ask(image) {
  if (byId("file").disabled) return; // the box says why
  if (asking) return complain("One image at a time: the last one is not answered yet.");
  if (image.size > net.max_image_bytes) {
    const most = mebibytes(net.max_image_bytes);
    return complain(`${image.name} has ${mebibytes(image.size)}; expected at most ${most}.`);
  }
  asking = true;
  preview(image);
  tell(`Asking with ${image.name} …`, "busy");
  try {
    const answers = await answersTo(image);
    byId("asked").tBodies[0].replaceChildren(...answers.map(answered));
    tell(`${image.name}: what each device class answers.`, "done");
  } catch (error) {
    complain(`${image.name} was refused. ${error.message}`);
  } finally {
    asking = false;
  }
}

async function answersTo(image) {
  const request = {
    method: "POST",
    body: image,
    headers: { "Content-Type": "application/octet-stream" },
    signal: AbortSignal.timeout(60_000),
  };
  let response;
  try {
    response = await fetch("answers", request);
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? "No answer within a minute." : "The gateway does not answer.");
  }
  const said = await response.json();
  if (!response.ok) throw new Error(said.error);
  return said.answers;
}

function answered(answer) {
  if (!answer.subnet) return row(answer.device_class, null, `${answer.code}: ${answer.error}`);
  const { subnet, label, accuracy, predicted_ms: predicted, compute_ms: measured } = answer;
  const cells = [label, subnet, percent(accuracy), ms(predicted), ms(measured)];
  return row(answer.device_class, cells, answer.degraded ? "degraded" : "");
}

function row(name, cells, note = "") {
  const title = tint(el("th", { scope: "row", class: "named" }, name), name);
  if (!cells) {
    return el("tr", { class: "bad" }, title, el("td", { colspan: COLUMNS.length }, note));
  }
  const filled = cells.map((text, i) => {
    const kind = i === 0 ? "label" : i > 1 ? "number" : "";
    return el("td", { class: kind, "data-is": COLUMNS[i] }, text);
  });
  return el("tr", note ? { class: note, title: note } : {}, title, ...filled);
}

function preview(image) {
  const picture = byId("preview");
  URL.revokeObjectURL(picture.src);
  picture.onload = () => {
    picture.hidden = false;
    picture.classList.toggle("small", picture.naturalWidth < 96);
  };
  picture.onerror = () => (picture.hidden = true);
  picture.src = URL.createObjectURL(image);
}

const complain = (text) => tell(text, "bad");

function tell(text, kind) {
  const said = byId("ask-said");
  say(said, text);
  said.className = kind;
}
