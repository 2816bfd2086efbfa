// Sort, filter and scroll tables, play clips. The page is complete without this script; it fetches and stores nothing.
"use strict";

// ---- sorting by a click on a column's heading: numbers largest first, then smallest; texts alphabetically

const numberOf = (cell) => {
  const shown = (cell?.querySelector("b") ?? cell)?.textContent.trim().replace("\u2212", "-").replaceAll(",", "") ?? "";
  return /^[-+]?[\d.]/.test(shown) ? parseFloat(shown) : NaN;
};

function sortRows(table, column, head) {
  const descending = head.getAttribute("aria-sort") === null ? null : head.getAttribute("aria-sort") !== "descending";
  const rows = [...table.tBodies[0].rows];
  const numbers = new Map(rows.map((row) => [row, numberOf(row.cells[column])]));
  const numeric = rows.some((row) => !isNaN(numbers.get(row)));
  const down = descending ?? numeric;
  const text = (row) => row.cells[column]?.textContent.trim() ?? "";
  rows.sort((a, b) => {
    if (!numeric) return (down ? -1 : 1) * text(a).localeCompare(text(b));
    const [x, y] = [numbers.get(a), numbers.get(b)];
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y); // not measured: last
    return down ? y - x : x - y;
  });
  table.tHead.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table")) {
  if (!table.tHead) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortRows(table, column, head));
  });
}

// ---- tables that are wider than the screen say so, because phones hide scroll bars

for (const wide of document.querySelectorAll(".wide")) {
  const hint = document.createElement("small");
  hint.className = "hint";
  hint.textContent = "Scroll the table sideways for more columns \u2192";
  wide.before(hint);
  const update = () => (hint.hidden = wide.scrollLeft > 0 || wide.scrollWidth <= wide.clientWidth + 1);
  wide.addEventListener("scroll", update);
  new ResizeObserver(update).observe(wide);
  update();
}

// ---- filtering rows by words in their names

const tools = document.querySelector(".tools");
const rows = [...document.querySelectorAll("table.rows > tbody > tr")];

function filterRows() {
  const words = tools.querySelector("input").value.toLowerCase().split(/\s+/).filter((word) => word.replace("-", ""));
  let shown = 0;
  for (const row of rows) {
    const names = [...row.cells[0].childNodes].map((node) => node.textContent.toLowerCase());
    const has = (word) => names.some((name) => name.includes(word));
    row.hidden = !words.every((word) => (word.startsWith("-") ? !has(word.slice(1)) : has(word)));
    shown += !row.hidden;
  }
  tools.querySelector("output").textContent = words.length ? `${shown} of ${rows.length} rows of all tables` : "";
}

tools.hidden = false;
tools.addEventListener("input", filterRows);
tools.addEventListener("submit", (event) => event.preventDefault());

// ---- playing the frames of a clip in order, four per second, with a pause at the end

const PAUSE = 3; // frames
const movies = [...document.querySelectorAll(".strip")]
  .map((strip) => ({ strip, frames: [...strip.querySelectorAll("img")], at: 0 }))
  .filter(({ frames }) => frames.length > 1);

function show(movie) {
  const frame = Math.min(movie.at, movie.frames.length - 1);
  movie.screen.src = movie.frames[frame].src;
  movie.frames.forEach((image, t) => image.classList.toggle("now", t === frame));
}

for (const movie of movies) {
  movie.screen = document.createElement("img");
  movie.screen.className = "movie";
  movie.screen.alt = movie.frames[0].alt.replace(/, frame.*/, ", playing");
  movie.strip.before(movie.screen);
  show(movie);
}

let timer = null;
function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(step, 250) : null;
  document.querySelectorAll(".play").forEach((button) => (button.textContent = on ? "Pause" : "Play"));
}
function step() {
  for (const movie of movies) {
    movie.at = (movie.at + 1) % (movie.frames.length + PAUSE);
    if (movie.screen.checkVisibility?.() ?? true) show(movie);
  }
}
for (const pair of document.querySelectorAll(".pair")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "play";
  button.addEventListener("click", () => play(timer === null));
  pair.querySelector(".movies").after(button);
}
play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
