
// The page of a comparison: which rows are shown, in what order, and along which axis; on top of what cards have.

const boxes = [...tools.querySelectorAll("[data-row]")];
const heads = document.querySelector(".heads");

/** The numbers that cards are sorted by: the score of each row, and its gain over the reference. */
function addNumbers() {
  const reference = Number(list.dataset.reference);
  for (const card of cards) {
    card.scores = card.dataset.scores.split(" ").map(Number);  // unscored: NaN
    card.shots = [...card.querySelectorAll("figure")];
    card.scores.forEach((score, row) => {
      const gain = score - card.scores[reference];
      card.dataset[`score${row}`] = Number.isNaN(score) ? "" : score;
      card.dataset[`gain${row}`] = Number.isNaN(gain) ? "" : gain;
    });
  }
}

/** Mark each card by the rows that are shown, and count the marks on their buttons. */
function markCards(rows) {
  const counts = {};
  for (const card of cards) {
    const scored = rows.map((row) => card.scores[row]).filter((score) => !Number.isNaN(score));
    const differ = Math.max(...scored) - Math.min(...scored) > 1e-9;
    const marks = [differ ? "differ" : "same", ...(scored.length < rows.length ? ["unscored"] : [])];
    for (const mark of marks) counts[mark] = (counts[mark] ?? 0) + 1;
    card.dataset.marks = marks.join(" ");
  }
  for (const button of tools.querySelectorAll("[data-name=marks]")) {
    button.querySelector("span").textContent = (counts[button.dataset.key] ?? 0).toLocaleString("en");
  }
}

const RANKS = {
  "": (one, two) => one.dataset.row - two.dataset.row,
  score: (one, two) => (two.dataset.score || -1) - (one.dataset.score || -1),
  name: (one, two) => one.parentElement.textContent.localeCompare(two.parentElement.textContent),
};

/** Put the rows in the chosen order, and show those that are ticked. */
function showRows() {
  const ordered = boxes.toSorted(RANKS[document.getElementById("row-order").value]);
  const rows = ordered.map((box) => Number(box.dataset.row));
  const shown = ordered.filter((box) => box.checked).map((box) => Number(box.dataset.row));
  for (const {shots} of [...cards, {shots: heads.shots}]) {
    shots.forEach((shot, row) => { shot.hidden = !boxes[row].checked; });
    shots[0].parentElement.append(...rows.map((row) => shots[row]));
  }
  for (const grid of [list, heads]) grid.style.setProperty("--rows", Math.max(1, shown.length));
  markCards(shown);
  choose();
}

/** Prompts run down or across. */
function turn(isTurned) {
  list.classList.toggle("turned", isTurned);
  heads.hidden = isTurned;
  if (isTurned) list.setAttribute("tabindex", "0");
  else list.removeAttribute("tabindex");
}

function resize(size) {
  for (const grid of [list, heads]) grid.style.setProperty("--cell", `${size.value}rem`);
  size.setAttribute("aria-valuetext", `${size.value} of ${size.max}`);
}

const MOST = 8;  // times the size
const PART = 5;  // percent of the picture that an arrow key moves

/** All pictures of a card are enlarged about the same point: `x` and `y` in percent. */
function zoomTo(card, times, x, y) {
  const [across, down] = [x, y].map((place) => Math.min(100, Math.max(0, place)));
  card.zoom = {times, x: across, y: down};
  const shots = card.querySelector(".shots");
  shots.classList.toggle("zoomed", times > 1);
  for (const [name, value] of [["--zoom", times], ["--x", `${across}%`], ["--y", `${down}%`]]) shots.style.setProperty(name, value);
}

/** Give an opened card a slider that enlarges its pictures, and the files where smaller copies are shown. */
function addZoom(card) {
  if (card.zoom) return;
  const slider = element("input", {type: "range", min: 1, max: MOST, step: .5, value: 1});
  const say = () => slider.setAttribute("aria-valuetext", `${slider.value} times`);
  slider.addEventListener("input", () => { zoomTo(card, Number(slider.value), card.zoom.x, card.zoom.y); say(); });
  card.querySelector("details").append(element("div", {class: "zoom"}, element("label", {}, "Zoom ", slider),
    element("span", {class: "small faint"}, "Enlarges all pictures of this prompt at the same place; point at it, or move by the arrow keys.")));
  card.slider = slider;
  say();
  zoomTo(card, 1, 50, 50);
  for (const picture of card.querySelectorAll("[data-whole]")) {
    const file = new Image();  // the copy stays where the file is not there
    file.addEventListener("load", () => { picture.src = file.src; });
    file.src = picture.dataset.whole;
  }
}

/** The place that the pointer is at in one picture is shown in all. */
function point({target, clientX, clientY}) {
  const lens = target.closest?.(".zoomed .lens");
  if (!lens) return;
  const box = lens.getBoundingClientRect();
  const card = lens.closest(".card");
  zoomTo(card, card.zoom.times, 100 * (clientX - box.left) / box.width, 100 * (clientY - box.top) / box.height);
}

function moveByKey(event) {
  const card = event.target.closest(".card");
  const by = {ArrowLeft: [-PART, 0], ArrowRight: [PART, 0], ArrowUp: [0, -PART], ArrowDown: [0, PART]}[event.key];
  if (!by || !(card?.zoom?.times > 1) || event.target === card.slider || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  zoomTo(card, card.zoom.times, card.zoom.x + by[0], card.zoom.y + by[1]);
}

list.addEventListener("toggle", ({target}) => {
  const card = target.closest(".card");
  if (target.open) addZoom(card);
  else if (card.zoom) { card.slider.value = 1; zoomTo(card, 1, 50, 50); }
}, true);
list.addEventListener("pointermove", point);
list.addEventListener("pointerdown", point);
list.addEventListener("keydown", moveByKey);
heads.shots = [...heads.querySelectorAll("b")];
addNumbers();
for (const box of [...boxes, document.getElementById("row-order")]) box.addEventListener("change", showRows);
document.getElementById("turned").addEventListener("change", ({target}) => turn(target.checked));
document.getElementById("size").addEventListener("input", ({target}) => resize(target));
turn(false);
