// The page: the form, the searches that it begins, and the runs that it opens.

import * as api from "./api.js";
import {offer} from "./compare.js";
import {byId, h} from "./dom.js";
import * as gallery from "./gallery.js";
import {Lane} from "./lane.js";

let menu = null;
let lanes = [];
let giveUp = new AbortController();

function say(words) {
  byId("message").textContent = words;
  byId("message").hidden = !words;
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) byId("key-form").hidden = false;
    say(error.message);
  }
}

async function start() {
  menu = await api.get("/api/menu");
  byId("key-form").hidden = true;
  say("");
  byId("model").textContent = `${menu.model}, ${menu.size} pixels`;
  for (const {name} of menu.methods) {
    byId("method").append(h("option", {selected: name === menu.defaults.method}, name));
    byId("other").append(h("option", {value: name}, `${name}`));
  }
  for (const {name} of menu.rewards) byId("reward").append(h("option", {selected: name === menu.defaults.reward}, name));
  byId("pictures").max = menu.limits.pictures;
  byId("pictures").value = Math.min(menu.defaults.pictures ?? 12, menu.limits.pictures);
  byId("prompt").maxLength = menu.limits.prompt;
  byId("seed").value = menu.defaults.seed;
  if (menu.world) showWorld(menu.world.vocabulary);
  explain();
  await gallery.list(open);
  await openLinked();
}

function showWorld({examples = [], ...words}) {
  const box = byId("world");
  box.hidden = false;
  box.replaceChildren(
    h("div", {class: "row small"}, h("span", {class: "faint"}, `${menu.model} draws one small world. Try:`),
      ...examples.map((example) => h("button", {type: "button", class: "link", onclick: () => {
        byId("prompt").value = example;
        byId("prompt").focus();
      }}, example))),
    h("details", {}, h("summary", {}, "All words that it knows"),
      h("dl", {}, ...Object.entries(words).flatMap(([kind, list]) => [h("dt", {}, kind), h("dd", {}, list.join(", "))]))));
}

function explain() {
  const words = (id) => menu.methods.find(({name}) => name === byId(id).value);
  byId("method-words").replaceChildren(...[words("method"), words("other")].filter(Boolean)
    .map(({name, summary}) => h("span", {}, h("b", {}, name), ` – ${summary}.`)));
}

function request(method) {
  const options = {method, pictures: Number(byId("pictures").value), seed: Number(byId("seed").value)};
  if (byId("reward").value) options.reward = byId("reward").value;
  if (!byId("stop").checked) options.stop = false;
  return {prompt: byId("prompt").value, milr: options};
}

/** Put lanes on the page in place of those before, whose searches are given up. */
function place(titles) {
  giveUp.abort();
  giveUp = new AbortController();
  say("");
  lanes = titles.map(([prompt, name]) => new Lane(prompt, name, () => offer(lanes)));
  byId("lanes").replaceChildren(...lanes.map((lane) => lane.element));
  offer(lanes);
  return lanes;
}

async function draw() {
  const methods = [byId("method").value, byId("other").value].filter(Boolean);
  const prompt = byId("prompt").value;
  const now = place(methods.map((method) => [prompt, method]));
  const {signal} = giveUp;
  const problems = new Set();
  byId("results").scrollIntoView({block: "start"});
  await Promise.all(now.map((lane, index) => guarded(async () => {
    lane.onstarted = (run, warnings) => {
      if (warnings.length) say(warnings.join(" "));
      if (index === 0) history.replaceState(null, "", `#run=${run}`);
    };
    await lane.follow("/api/searches", request(methods[index]), signal).catch((error) => {
      lane.fail();
      error.message = [...problems.add(error.message)].join(" ");
      throw error;
    });
  })));
  if (!signal.aborted) await guarded(() => gallery.list(open));
}

async function open(name) {
  await guarded(async () => {
    const run = await api.get(`/api/runs/${encodeURIComponent(name)}`);
    const samples = run.samples.length ? run.samples : [null];
    place(samples.map((sample) => [sample?.prompt ?? run.prompt,
      samples.length > 1 ? `${run.method}, sample ${sample.sample}` : run.method]));
    byId("prompt").value ||= run.prompt;
    history.replaceState(null, "", `#run=${run.run}`);
    byId("results").scrollIntoView({block: "start"});
    byId("results").focus({preventScroll: true});
    await Promise.all(lanes.map((lane, index) => lane.open(run, samples[index])));
    if (run.state === "interrupted" && run.request) offerResume(run);
  });
}

function offerResume(run) {
  const button = h("button", {type: "button", class: "main", onclick: () => guarded(async () => {
    const [lane] = place([[run.prompt, run.method]]);
    await lane.follow(`/api/runs/${run.run}/resume`, {}, giveUp.signal);
    await gallery.list(open);
  })}, "Go on with this search");
  lanes[0].element.append(h("div", {class: "row"}, button));
}

async function openLinked() {
  const run = new URLSearchParams(location.hash.slice(1)).get("run");
  if (run && !lanes.some((lane) => lane.run === run)) await open(run);
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  draw();
});
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
byId("again").addEventListener("click", () => {
  byId("seed").value = Number(byId("seed").value) + 1;
  byId("form").requestSubmit();
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.useKey(byId("key").value.trim());
  guarded(start);
});
for (const id of ["method", "other"]) byId(id).addEventListener("change", explain);
byId("query").addEventListener("input", () => guarded(() => gallery.list(open)));
byId("more").addEventListener("click", () => guarded(() => gallery.list(open, true)));
addEventListener("hashchange", () => guarded(openLinked));
guarded(start);
