// Elements without markup: whatever a prompt or a judge says becomes text, never HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);
export const number = (score) => (score == null ? "unscored" : score.toFixed(2));

/** Show a picture in an <img> in place of the one before, without a gap between them. */
export async function become(image, source, alt) {
  const wanted = (image.wanted = source);
  const next = new Image();
  next.src = source;
  try { await next.decode(); } catch { return; }
  if (image.wanted !== wanted) return;
  image.classList.toggle("pixelated", next.naturalWidth < 256);
  image.alt = alt;
  image.src = source;
  image.hidden = false;
}

/** The scores of a sample's steps as a curve; `shown` is the index of the picture that is looked at. */
export function curve(steps, threshold, shown) {
  const [width, height, left, top, bottom] = [320, 120, 28, 8, 20];
  const last = Math.max(1, steps.length - 1);
  const x = (index) => left + (index / last) * (width - left - 8);
  const y = (score) => top + (1 - score) * (height - top - bottom);
  const scored = steps.map((step, index) => [index, step.score]).filter(([, score]) => score != null);
  const words = scored.map(([index, score]) => `${index}: ${number(score)}`).join(", ");
  return s("svg", {class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Score by step. ${words}`},
    ...[0, 0.5, 1].flatMap((value) => [s("line", {class: "axis", x1: left, x2: width - 8, y1: y(value), y2: y(value)}),
      s("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"}, String(value))]),
    threshold != null && s("line", {class: "limit", x1: left, x2: width - 8, y1: y(threshold), y2: y(threshold)}),
    s("polyline", {points: scored.map(([index, score]) => `${x(index)},${y(score)}`).join(" ")}),
    ...scored.map(([index, score]) => s("circle", {cx: x(index), cy: y(score), r: index === shown ? 5 : 3,
      class: index === shown ? "shown" : null})),
    s("text", {x: left, y: height - 4}, "first picture"),
    steps.length > 1 && s("text", {x: width - 8, y: height - 4, "text-anchor": "end"}, `step ${steps.length - 1}`));
}

/** The judge's parts as words and marks. */
export function parts(pairs) {
  return h("ul", {class: "parts", "aria-label": "What the judge says"}, ...pairs.map(([name, value]) => {
    const yes = value >= 0.5;
    const words = value === 1 ? "yes" : value === 0 ? "no" : value.toFixed(2);
    return h("li", {class: yes ? "yes" : "no"}, `${yes ? "✓" : "✗"} ${name}: ${words}`);
  }));
}

/** A visualisation, with what changed since the one before marked. */
export function text(step) {
  if (step.visualisation == null) return h("p", {class: "text faint"}, "drawn from the bare prompt");
  const label = h("span", {class: "faint small"}, "The model's plan: ");
  if (!step.words.some(([kind]) => kind !== "same")) return h("p", {class: "text"}, label, step.visualisation);
  return h("p", {class: "text"}, label, ...step.words.map(([kind, words]) => (kind === "same" ? words : h(kind, {}, words))));
}
