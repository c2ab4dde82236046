// Two pictures over each other, with a slider between them; the arrow keys move it, and F flips.

import {become, byId, h, number} from "./dom.js";

/** Offer every picture of the lanes for comparison; hidden while there are fewer than two. */
export function offer(lanes) {
  const box = byId("compare");
  const all = lanes.flatMap((lane) => lane.steps.map((step, index) => ({lane, index, source: step.source,
    words: `${lanes.length > 1 ? `${lane.name}, ` : ""}step ${step.index} (${number(step.score)})`})));
  box.hidden = all.length < 2;
  if (box.hidden) return;
  const right = lanes.length > 1 ? last(all, lanes[1]) : all.findLastIndex(isResult);
  const left = lanes.length > 1 ? last(all, lanes[0]) : 0;
  build(box, all, left, right > left ? right : all.length - 1);
}

const isResult = ({lane, index}) => index === (lane.sample?.returned ?? lane.steps.length - 1);
const last = (all, lane) => all.findIndex((each) => each.lane === lane && isResult(each));

function build(box, all, left, right) {
  const under = h("img", {alt: ""});
  const over = h("img", {alt: ""});
  const line = h("div", {class: "line"});
  const slider = h("input", {type: "range", min: 0, max: 100, value: 50, id: "slide", oninput: () => move(),
    onkeydown: (event) => event.key.toLowerCase() === "f" && flip()});
  const choose = (id, chosen) => h("select", {id, onchange: () => draw()},
    ...all.map(({words}, index) => h("option", {value: index, selected: index === chosen}, words)));
  const one = choose("left", left);
  const two = choose("right", right);
  const move = () => {
    over.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    line.style.left = `calc(${slider.value}% - 1px)`;
  };
  const draw = () => {
    become(over, all[one.value].source, `Left: ${all[one.value].words}`);
    become(under, all[two.value].source, `Right: ${all[two.value].words}`);
    move();
  };
  const flip = () => {
    slider.value = slider.value > 50 ? 0 : 100;
    move();
  };
  const follow = ({buttons, clientX, currentTarget}) => {
    if (!buttons) return;
    const {left: start, width} = currentTarget.getBoundingClientRect();
    slider.value = 100 * (clientX - start) / width;
    move();
  };
  const pair = h("div", {class: "pair", onpointerdown: follow, onpointermove: follow,
    ondragstart: (event) => event.preventDefault()}, under, over, line);
  box.replaceChildren(h("h2", {}, "Compare two pictures"), h("div", {class: "two"}, pair, h("div", {},
    h("label", {for: "left"}, "Left"), one, h("label", {for: "right"}, "Right"), two,
    h("label", {for: "slide"}, "How much of the left picture is seen (arrow keys, or drag)"), slider,
    h("button", {type: "button", onclick: flip}, "Flip (F)"))));
  draw();
}
