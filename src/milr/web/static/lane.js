// One search: its picture as it becomes, its steps, the judge's words, and what can be done with it.

import * as api from "./api.js";
import {become, curve, h, number, parts, text} from "./dom.js";

const data = (png) => `data:image/png;base64,${png}`;

export class Lane {
  /** `name` says which method; `changed` is called when there are pictures to compare. */
  constructor(prompt, name, changed) {
    this.prompt = prompt;
    this.name = name;
    this.changed = changed;
    this.steps = [];
    this.shown = -1;
    this.following = true;
    this.image = h("img", {alt: "", hidden: true});
    this.badge = h("span", {class: "badge", hidden: true});
    this.status = h("p", {class: "say", "aria-live": "polite"});
    this.about = h("div");
    this.strip = h("div", {class: "strip", role: "group", "aria-label": "Pictures; arrow keys flip"});
    this.strip.addEventListener("keydown", (event) => this.flip(event));
    this.stopButton = h("button", {type: "button", hidden: true, onclick: () => this.stop()}, "Stop and keep the best");
    this.downloads = h("span", {class: "row", hidden: true},
      h("button", {type: "button", onclick: () => this.save()}, "Save picture"),
      h("button", {type: "button", onclick: () => this.saveRun()}, "Save run (zip)"));
    this.big = h("div", {class: "big"}, this.image, this.badge);
    this.element = h("article", {class: "lane card", "aria-label": `${prompt}, ${name}`},
      h("header", {}, h("h3", {}, prompt), h("span", {class: "faint small"}, name)),
      h("div", {class: "show"}, this.big, h("div", {}, this.status, this.about)),
      this.strip, h("div", {class: "row actions"}, this.stopButton, this.downloads));
  }

  /** Follow a search; it ends when its stream does, and is given up with `signal`. */
  async follow(path, body, signal) {
    this.say("Waiting for its turn…");
    await api.follow(path, body, signal, (name, event) => this[`on_${name}`]?.(event));
    if (!this.ended) throw new api.ApiError(0, {error: {message: "the connection broke; the run can go on from Past runs."}});
  }

  on_started({run, warnings}) {
    this.run = run;
    this.stopButton.hidden = false;
    this.say("Thinking…");
    this.onstarted?.(run, warnings);
  }

  on_partial({step, share, picture}) {
    this.badge.hidden = false;
    this.badge.textContent = `drawing ${Math.round(share * 100)} %`;
    if (!this.following) return;
    become(this.image, data(picture), `Step ${step}, being drawn`);
    if (!this.stopButton.disabled) this.say(step ? `Drawing step ${step}. Below: step ${step - 1}.` : "Drawing the first picture…");
  }

  on_step(step) {
    this.badge.hidden = true;
    this.add({...step, source: data(step.picture)});
    if (this.following) this.show(this.steps.length - 1);
  }

  on_ended({samples}) {
    this.ended = true;
    this.stopButton.hidden = true;
    this.badge.hidden = true;
    this.finish(samples[0]);
    this.describe().catch(() => null);
  }

  /** The threshold and the judges, which the run's folder knows. */
  async describe(run = null) {
    const {threshold, reward, metric, oracle} = run ?? await api.get(`/api/runs/${this.run}`);
    Object.assign(this, {threshold, reward, metric: oracle ? "" : metric});
    if (this.sample) this.show(this.shown);
  }

  /** There is no picture to wait for. */
  fail() {
    this.big.hidden = this.steps.length === 0;
    this.stopButton.hidden = this.badge.hidden = true;
    this.say(this.steps.length ? "The search broke off; the reason is above." : "Nothing was drawn; the reason is above.");
  }

  on_error({error}) {
    throw new api.ApiError(0, {error});
  }

  /** What lies on disk. */
  async open(run, sample) {
    this.run = run.run;
    await this.describe(run);
    for (const step of sample?.steps ?? []) {
      const path = `/api/runs/${run.run}/pictures/${sample.name}/${step.index}`;
      this.add({...step, source: await api.blob(path)});
    }
    if (sample) this.finish(sample);
    else {
      this.big.hidden = true;
      this.say("Interrupted before its first sample was finished.");
    }
  }

  finish(sample) {
    this.sample = sample;
    this.strip.children[sample.returned]?.classList.add("returned");
    this.downloads.hidden = false;
    if (this.following || this.shown < 0) this.show(sample.returned);
    else this.show(this.shown);
    this.changed();
  }

  add(step) {
    const index = this.steps.length;
    this.steps.push(step);
    this.strip.append(h("button", {type: "button", "aria-pressed": "false",
      "aria-label": `Step ${step.index}, score ${number(step.score)}`, onclick: () => this.pick(index)},
      h("img", {src: step.source, alt: "", class: "pixelated"}), number(step.score)));
  }

  pick(index) {
    this.following = index === this.steps.length - 1 && !this.ended;
    this.show(index);
  }

  flip(event) {
    const by = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity}[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const index = Math.min(this.steps.length - 1, Math.max(0, this.shown + by));
    this.pick(index);
    this.strip.children[index].focus();
  }

  show(index) {
    const step = this.steps[index];
    if (!step) return;
    this.shown = index;
    const isReturned = this.sample?.returned === index;
    const name = step.index === 0 ? "First picture" : `Step ${step.index}`;
    become(this.image, step.source, `${name} of “${this.prompt}” by ${this.name}, score ${number(step.score)}`);
    for (const [at, button] of [...this.strip.children].entries()) button.setAttribute("aria-pressed", String(at === index));
    this.strip.children[index].scrollIntoView({block: "nearest", inline: "nearest"});
    const change = step.change.toLowerCase() === name.toLowerCase() ? "" : `: ${step.change}`;
    this.say(`${name}${isReturned ? ", the result" : ""}${change}.`);
    const end = this.sample && h("p", {class: "faint small"}, this.ending());
    this.about.replaceChildren(this.verdict(step),
      parts(step.parts), step.reason ? h("p", {class: "faint small"}, step.reason) : "", text(step),
      this.steps.length > 1 ? curve(this.steps, this.threshold, index) : "", end ?? "");
  }

  verdict({score}) {
    const by = this.reward ? `of 1, says ${this.reward}` : score == null ? "" : "of 1";
    return h("p", {class: "say"}, h("span", {class: "score"}, number(score)), " ", h("span", {class: "faint small"}, by));
  }

  ending() {
    const {stopped, cost, judged, seed} = this.sample;
    const judge = this.metric ? `${this.metric}, which did not guide the search,` : "The judge of the report";
    const other = judged ? ` ${judge} says ${number(judged.score)}.` : "";
    const seconds = (cost.model_seconds + cost.reward_seconds).toFixed(1);
    return `Ended: ${stopped}. ${cost.pictures} picture${cost.pictures === 1 ? "" : "s"}, ${cost.token_steps} token-steps, ${seconds} s; seed ${seed}.${other}`;
  }

  say(words) {
    this.status.textContent = words;
  }

  async stop() {
    this.stopButton.disabled = true;
    this.say("Stopping with the picture that is being drawn…");
    await api.post(`/api/runs/${this.run}/stop`, {}).catch(() => null);
  }

  save() {
    const step = this.steps[this.shown];
    download(step.source, `${this.run}-step-${step.index}.png`);
  }

  async saveRun() {
    download(await api.blob(`/api/runs/${this.run}/archive`), `${this.run}.zip`);
  }
}

function download(source, name) {
  h("a", {href: source, download: name}).click();
}
