// The page of a run: filters, order and search of its cards, and one step at a time. Nothing here makes markup of text;
// without this script every card is there, and opens with all its steps below each other.

const list = document.querySelector(".cards");
const cards = [...list.children];
const tools = document.getElementById("tools");

/** Show the cards that fit the pressed buttons and hold every word of the search. */
function choose() {
  const pressed = [...tools.querySelectorAll("[aria-pressed=true]")];
  const words = tools.querySelector("[type=search]").value.toLowerCase().split(/\s+/);
  let shown = 0;
  for (const card of cards) {
    const text = (card.words ??= card.querySelector(".prompt").textContent.toLowerCase());
    const fits = pressed.every(({dataset: {name, key}}) => card.dataset[name].split(" ").includes(key));
    card.hidden = !(fits && words.every((word) => text.includes(word)));
    shown += !card.hidden;
  }
  tools.querySelector(".shown").textContent = `${shown.toLocaleString("en")} of ${cards.length.toLocaleString("en")} shown`;
}

/** Press a button, which releases the others of its group; pressed again it is released. */
function press(button) {
  const was = button.getAttribute("aria-pressed") === "true";
  for (const one of button.parentElement.querySelectorAll("button")) one.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(!was));
  choose();
}

/** Order the cards by a number of theirs; those without one come last, equal ones in the order of the prompts. */
function order(by) {
  const key = by.replace("-", "");
  const sign = by.startsWith("-") ? -1 : 1;
  const value = (card) => (card.dataset[key] ? sign * card.dataset[key] : Infinity);
  const ordered = by ? cards.map((card) => [value(card), card]).sort(([a], [b]) => (a < b ? -1 : +(a > b))) : null;
  list.replaceChildren(...(ordered ? ordered.map(([, card]) => card) : cards));
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A step whose text is that of the step before says so; one at a time it says the text itself. */
function repeatTexts(steps) {
  let text = "";
  for (const step of steps) {
    const own = step.querySelector(".visualisation")?.cloneNode(true);
    own?.querySelectorAll("del").forEach((removed) => removed.remove());
    if (own) text = own.textContent;
    else step.querySelector(".unchanged")?.append(`: ${text}`);
  }
}

/** Give an opened card a slider over its steps. */
function addSlider(card) {
  const steps = [...card.querySelectorAll(".step")];
  if (card.show || steps.length < 2) return;
  repeatTexts(steps);
  const name = `Step of “${card.querySelector(".prompt").textContent}”`;
  const slider = element("input", {type: "range", min: 0, max: steps.length - 1, "aria-label": name});
  const said = element("output", {});
  card.step = (by) => card.show(Math.min(steps.length - 1, Math.max(0, Number(slider.value) + by)));
  card.show = (index) => {
    slider.value = index;
    steps.forEach((step, at) => { step.hidden = at !== index; });
    const words = steps[index].querySelector("h4").textContent;
    slider.setAttribute("aria-valuetext", words);
    said.textContent = `${words.trim()} (${index + 1} of ${steps.length} pictures)`;
  };
  const button = (by, sign, label) => {
    const made = element("button", {type: "button", "aria-label": label}, sign);
    made.addEventListener("click", () => card.step(by));
    return made;
  };
  slider.addEventListener("input", () => card.show(Number(slider.value)));
  card.querySelector(".steps").before(element("div", {class: "stepper"}, button(-1, "←", "Step before"), slider,
    button(1, "→", "Next step"),
    element("p", {class: "small faint"}, said, element("span", {class: "keys"}, " Keys: ← → Home End, Esc closes."))));
  card.classList.add("stepping");
  card.show(Math.max(0, steps.findIndex((step) => step.classList.contains("returned"))));
}

function pressKey(event) {
  const card = event.target.closest(".card");
  const details = card?.querySelector("details");
  if (!details?.open || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.key === "Escape") {
    details.open = false;
    card.querySelector("summary").focus();
  }
  const by = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity}[event.key];
  if (by === undefined || !card.step) return;
  event.preventDefault();
  card.step(by);
}

/** Open the card that the address names. */
function openNamed() {
  const card = cards.find(({id}) => id && `#${id}` === location.hash);
  const details = card?.querySelector("details");
  if (!details) return;
  details.open = true;
  card.scrollIntoView();
}

list.addEventListener("toggle", ({target}) => {
  const card = target.closest(".card");
  if (!target.open) return;
  addSlider(card);
  if (target.contains(document.activeElement)) card.scrollIntoView({block: "nearest"});
}, true);
list.addEventListener("keydown", pressKey);
for (const details of list.querySelectorAll("details[open]")) addSlider(details.closest(".card"));
if (tools) {
  tools.addEventListener("click", ({target}) => target.closest("[aria-pressed]") && press(target.closest("button")));
  tools.querySelector("[type=search]").addEventListener("input", choose);
  tools.querySelector("select").addEventListener("change", ({target}) => order(target.value));
  tools.hidden = false;
}
addEventListener("hashchange", openNamed);
openNamed();
