
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

heads.shots = [...heads.querySelectorAll("b")];
addNumbers();
for (const box of [...boxes, document.getElementById("row-order")]) box.addEventListener("change", showRows);
document.getElementById("turned").addEventListener("change", ({target}) => turn(target.checked));
document.getElementById("size").addEventListener("input", ({target}) => resize(target));
turn(false);
