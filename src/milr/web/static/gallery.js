// Past runs, read from their folders, newest first.

import * as api from "./api.js";
import {byId, h, number} from "./dom.js";

let next = null;
let asked = 0;

/** Show the newest runs; `open(run)` is called for the one that is chosen. */
export async function list(open, more = false) {
  const turn = ++asked;
  const query = new URLSearchParams({q: byId("query").value, before: more ? next : ""});
  const found = await api.get(`/api/runs?${query}`);
  if (turn !== asked) return;
  const items = found.runs.map((run) => card(run, open));
  if (more) byId("runs").append(...items);
  else byId("runs").replaceChildren(...items);
  next = found.next;
  byId("more").hidden = next === null;
  byId("no-runs").hidden = byId("runs").children.length > 0;
}

function card(run, open) {
  const thumb = h("span", {class: "thumb"}, run.state);
  if (run.name) show(thumb, run);
  const score = run.state === "finished" ? number(run.score) : run.state;
  return h("li", {}, h("button", {type: "button", onclick: () => open(run.run)}, thumb,
    h("span", {class: "words"}, run.prompt), h("span", {class: "about faint small"}, h("b", {}, score), h("span", {}, run.method))));
}

async function show(thumb, run) {
  const source = await api.blob(`/api/runs/${run.run}/pictures/${run.name}/${run.returned}`).catch(() => null);
  if (source) thumb.replaceChildren(h("img", {src: source, alt: "", class: "pixelated"}));
}
