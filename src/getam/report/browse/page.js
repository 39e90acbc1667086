// The gallery: sorts, filters and shows photos and masks. What it knows is in #data; pictures are files beside the page.
// Only the tiles in and near the window exist: a page of 2,000 photos costs no more than one of 50.
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// ---- light and dark: as the system has it, until somebody chooses

const system = matchMedia("(prefers-color-scheme: dark)");
const stored = (theme) => {
  try { return theme === undefined ? localStorage.getItem("getam-theme") : localStorage.setItem("getam-theme", theme); }
  catch { return null; }  // a browser that keeps nothing for files
};
const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const say = () => $("theme").setAttribute("aria-pressed", String(isDark()));
if (["light", "dark"].includes(stored())) document.documentElement.dataset.theme = stored();
system.addEventListener("change", say);
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  stored(document.documentElement.dataset.theme);
  say();
});
say();
if (!$("data")) return;

// ---- what there is: see page.py for the fields

const { classes, colours, layers, photos, sorts } = JSON.parse($("data").textContent);
const state = { sort: sorts[0].key, turned: false, chosen: new Set(), layer: 0, masks: true, shown: [], at: 0 };

const onlyClass = () => state.chosen.size === 1 ? [...state.chosen][0] : null;
const classOf = (photo, number) => photo.classes.find((each) => each[0] === number);

// A photo's number under a sort; where one class is chosen, that class's. null: it has none.
const valueOf = (photo, key) => {
  const number = onlyClass();
  const its = number === null ? null : classOf(photo, number);
  const place = { covers: 1, sure: 2, truth: 3, other: 4 }[key];
  const value = its ? its[place] : photo[key];
  return value === undefined ? null : value;
};
const whole = (number) => number.toLocaleString("en-US");
const written = (value) => value === null ? "–" : value.toFixed(2);
const percent = (share) => share === null ? "–" : share >= 0.01 || share === 0 ? `${Math.round(100 * share)} %` : "< 1 %";

const select = () => {
  const key = state.sort, sort = sorts.find((each) => each.key === key);
  const words = $("find").value.trim().toLowerCase();
  const low = $("range").hidden || $("low").value === "" ? null : +$("low").value;
  const high = $("range").hidden || $("high").value === "" ? null : +$("high").value;
  const inside = (value) => value !== null && (low === null || value >= low) && (high === null || value <= high);
  const keep = (photo) => (!words || photo.name.toLowerCase().includes(words))
    && (!$("doubtful").checked || photo.doubts)
    && (!state.chosen.size || photo.classes.some((each) => state.chosen.has(each[0])))
    && ((low === null && high === null) || inside(valueOf(photo, key)));
  const found = photos.filter(keep);
  if (key === "name") found.sort((a, b) => a.name < b.name ? -1 : 1);
  else if (key !== "look") {
    const values = new Map(found.map((photo) => [photo, valueOf(photo, key)]));
    const sign = sort.rising ? 1 : -1;
    found.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x - y);
    });
  }
  if (state.turned) found.reverse();
  state.shown = found;
  state.at = 0;
  $("count").textContent = found.length === photos.length
    ? `${whole(photos.length)} photos`
    : `${whole(found.length)} of ${whole(photos.length)} photos`;
  if (!found.length) $("count").textContent += ": choose fewer classes, or a wider range";
};

// ---- the overview

const grid = $("grid"), tiles = new Map();
const TILE = 190, WORDS = 46, NEAR = 2;  // least width of a tile, height of its words, rows kept beyond the window
const AT_ONCE = 8;  // tiles made in one frame: more would keep a slow machine from scrolling
let columns = 1, width = TILE, height = TILE;

const measure = () => {
  columns = Math.max(2, Math.floor(grid.clientWidth / TILE));
  width = grid.clientWidth / columns;
  height = Math.round(width * 0.75) + WORDS;
};

const inside = (photo) => photo.classes.filter((each) => each[1] > 0)
  .map((each) => `${classes[each[0]]} ${percent(each[1])}`).join(", ") || "background only";
const described = (photo) => `${photo.name}: ${inside(photo)}`;
const underName = (photo) => {
  if (["look", "name"].includes(state.sort)) return photo.doubts || inside(photo);
  const its = valueOf(photo, state.sort), sort = sorts.find((each) => each.key === state.sort);
  return `${sort.short} ${state.sort === "covers" ? percent(its) : written(its)}`;
};
const source = (photo, size, layer) =>
  `${size}/${photo.file}${layer === null ? (photo.exact ? ".png" : ".jpg") : `-${layer}.png`}`;

const tile = (index) => {
  const photo = state.shown[index];
  const picture = make("span", { className: photo.exact ? "picture exact" : "picture" },
    make("img", { loading: "lazy", decoding: "async", alt: described(photo), src: source(photo, "thumbs", null) }));
  if (photo.layers[state.layer])
    picture.append(make("img", { className: "layer", loading: "lazy", decoding: "async", alt: "",
      src: source(photo, "thumbs", state.layer) }));
  const under = underName(photo);
  const words = make("span", { className: "words" }, make("span", { textContent: photo.name }),
    make("span", { className: under === photo.doubts ? "value wrong" : "value", textContent: under }));
  const button = make("button", { type: "button", className: "tile", tabIndex: index === state.at ? 0 : -1 }, picture, words);
  button.dataset.index = index;
  const item = make("li", {}, button);
  item.setAttribute("aria-setsize", state.shown.length);
  item.setAttribute("aria-posinset", index + 1);
  return item;
};
const put = (item, index) => Object.assign(item.style, {
  width: `${width}px`, height: `${height}px`,
  transform: `translate(${(index % columns) * width}px, ${Math.floor(index / columns) * height}px)`,
});

const draw = () => {
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(0, (Math.floor(top / height) - NEAR) * columns);
  const last = Math.min(state.shown.length, (Math.ceil((top + innerHeight) / height) + NEAR) * columns);
  for (const [index, item] of tiles)
    if ((index < first || index >= last) && !item.contains(document.activeElement)) { item.remove(); tiles.delete(index); }
  const seen = Math.floor(top / height) * columns;  // what is in the window comes before what is near it
  const missing = [];
  for (let index = first; index < last; index++) if (!tiles.has(index)) missing.push(index);
  missing.sort((a, b) => (a < seen) - (b < seen) || a - b);
  const added = document.createDocumentFragment();
  for (const index of missing.slice(0, AT_ONCE)) {
    const item = tile(index);
    put(item, index);
    tiles.set(index, item);
    added.append(item);
  }
  grid.append(added);
  if (missing.length > AT_ONCE) soon();
};
const redraw = () => {
  for (const item of tiles.values()) item.remove();
  tiles.clear();
  measure();
  grid.style.height = `${Math.ceil(state.shown.length / columns) * height}px`;
  draw();
};
const refresh = () => { select(); redraw(); };

let waiting = false;
const soon = () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
};
addEventListener("scroll", soon, { passive: true });
new ResizeObserver(() => { if (Math.abs(grid.clientWidth / columns - width) > 0.5) redraw(); }).observe(grid);

// One tile is in the order of Tab; arrows go on from there.
const focusTile = (index) => {
  const to = Math.min(Math.max(index, 0), state.shown.length - 1);
  if (to < 0) return;
  tiles.get(state.at)?.firstChild.setAttribute("tabindex", -1);
  state.at = to;
  const top = grid.getBoundingClientRect().top + Math.floor(to / columns) * height;
  const covered = getComputedStyle($("controls")).position === "sticky" ? $("controls").offsetHeight : 0;
  if (top < covered) scrollBy(0, top - covered - 8);
  else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight + 8);
  if (!tiles.has(to)) {
    tiles.set(to, tile(to));
    put(tiles.get(to), to);
    grid.append(tiles.get(to));
  }
  draw();
  const button = tiles.get(to).firstChild;
  button.setAttribute("tabindex", 0);
  button.focus({ preventScroll: true });
};
grid.addEventListener("click", (event) => {
  const button = event.target.closest(".tile");
  if (button) open(+button.dataset.index);
});

// ---- one photo, closely

const view = $("view");
const nameOf = (layer) => layer === -1 ? "photo" : layers[layer];
const fill = (box, choices, value) => {
  box.replaceChildren(...choices.map((each) => make("option", { value: each, textContent: nameOf(each) })));
  box.value = value;
};
const numbers = layers.map((_, layer) => layer);
fill($("layer"), [...numbers, -1], 0);
fill($("left-layer"), [-1, ...numbers], -1);
fill($("right-layer"), [-1, ...numbers], 0);

const side = (image, photo, layer) => {
  image.hidden = layer === -1 || !photo.layers[layer];
  if (!image.hidden) image.src = source(photo, "pictures", layer);
};
const show = () => {
  const photo = state.shown[state.at];
  $("name").textContent = photo.name;
  $("place").textContent = `${whole(state.at + 1)} of ${whole(state.shown.length)}`;
  $("doubts").textContent = photo.doubts;
  $("compare").style.setProperty("--shape", photo.width / photo.height);
  $("compare").classList.toggle("exact", photo.exact);
  Object.assign($("base"), { src: source(photo, "pictures", null), alt: described(photo) });
  side($("left"), photo, +$("left-layer").value);
  side($("right"), photo, +$("right-layer").value);
  cut();
  const columnsShown = sorts.filter((each) => each.key in { covers: 1, sure: 1, truth: 1, other: 1 });
  const place = { covers: 1, sure: 2, truth: 3, other: 4 };
  $("fact-names").replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "class" }),
    ...columnsShown.map((each) => make("th", { scope: "col", textContent: each.short }))));
  $("facts").replaceChildren(...photo.classes.map((each) => {
    const chip = make("span", { className: "chip" });
    chip.style.background = colours[each[0]];
    return make("tr", {}, make("th", { scope: "row" }, chip, ` ${classes[each[0]]}`),
      ...columnsShown.map((sort) => make("td",
        { textContent: (sort.key === "covers" ? percent : written)(each[place[sort.key]] ?? null) })));
  }));
  for (const next of [state.at - 1, state.at + 1]) {  // the neighbours are at hand when they are asked for
    const neighbour = state.shown[next];
    if (neighbour) new Image().src = source(neighbour, "pictures", null);
  }
};
const cut = () => {
  const slider = $("slider"), share = +slider.value;
  $("compare").style.setProperty("--cut", `${share}%`);
  const [left, right] = [$("left-layer"), $("right-layer")].map((box) => nameOf(+box.value));
  slider.setAttribute("aria-valuetext", `${share} % ${left}, then ${right}`);
};
const open = (index) => {
  state.at = index;
  show();
  view.showModal();
  view.focus();  // not the first button: arrows and space are the photo's
};
const step = (by) => {
  const to = state.at + by;
  if (to < 0 || to >= state.shown.length) return;
  state.at = to;
  show();
};
view.addEventListener("close", () => focusTile(state.at));
view.addEventListener("click", (event) => { if (event.target === view) view.close(); });
$("close").addEventListener("click", () => view.close());
$("before").addEventListener("click", () => { step(-1); view.focus(); });
$("after").addEventListener("click", () => { step(1); view.focus(); });
$("slider").addEventListener("input", cut);
for (const id of ["left-layer", "right-layer"]) $(id).addEventListener("change", show);

// ---- what is asked for

for (const sort of sorts) $("sort").append(make("option", { value: sort.key, textContent: sort.name }));
$("sort").addEventListener("change", () => {
  state.sort = $("sort").value;
  $("range").hidden = ["look", "name"].includes(state.sort);
  refresh();
});
$("turn").addEventListener("click", () => {
  state.turned = !state.turned;
  $("turn").setAttribute("aria-pressed", String(state.turned));
  refresh();
});
for (const id of ["low", "high", "find"]) $(id).addEventListener("input", refresh);
$("doubtful").addEventListener("change", refresh);
$("layer").addEventListener("change", () => { state.layer = +$("layer").value; redraw(); });
$("ink").addEventListener("input", () => document.documentElement.style.setProperty("--ink", $("ink").value / 100));
$("controls").addEventListener("submit", (event) => event.preventDefault());

const counts = classes.map(() => 0);
for (const photo of photos) for (const each of photo.classes) counts[each[0]]++;
const present = classes.map((_, number) => number).filter((number) => counts[number]);
const buttons = new Map(present.map((number, place) => {
  const chip = make("span", { className: "chip" });
  chip.style.background = colours[number];
  const button = make("button", { type: "button", title: place < 9 ? `key ${place + 1}` : "" },
    chip, classes[number], make("small", { textContent: counts[number] }));
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => choose(number));
  return [number, button];
}));
$("classes").append(...buttons.values());
const choose = (number) => {
  if (number === null) state.chosen.clear();
  else if (!state.chosen.delete(number)) state.chosen.add(number);
  for (const [each, button] of buttons) button.setAttribute("aria-pressed", String(state.chosen.has(each)));
  refresh();
};
const hide = () => {
  state.masks = !state.masks;
  document.body.classList.toggle("without-masks", !state.masks);
};
const help = () => $("keys").open ? $("keys").close() : $("keys").showModal();
$("help").addEventListener("click", help);

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches("select, textarea, input:not([type=range], [type=checkbox])")) return;
  const arrows = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const onTile = target.matches(".tile");
  if (key === "?") help();
  else if ($("keys").open) return;
  else if (view.open) {
    if (key === " " && !target.matches("button, input")) hide();
    else if (Math.abs(arrows[key]) === 1 && target.type !== "range") step(arrows[key]);
    else return;
  }
  else if (key === " " && (onTile || target === document.body)) hide();
  else if (key in arrows && onTile) focusTile(+target.dataset.index + arrows[key]);
  else if (Math.abs(arrows[key]) === 1 && target === document.body) focusTile(state.at);
  else if (/^[0-9]$/.test(key) && target.type !== "range") {
    if (key !== "0" && present[key - 1] === undefined) return;
    choose(key === "0" ? null : present[key - 1]);
  }
  else return;
  event.preventDefault();
});

refresh();
})();
