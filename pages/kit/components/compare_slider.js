// Two pictures of one micrograph with numbered boxes: a slider between them, or two columns; zoom
// and pan are shared. With one picture it is a chooser. Everything comes in `data`; what is sent
// back is the id of a box that was clicked (or Enter on it).

const CROWDED = 12; // above this many boxes only numbers are written
const NARROW = 420; // screen pixels of a picture below which there is no room for more either
const STATES = new WeakMap(); // Streamlit calls again with new data: what was zoomed stays so
// It may also build the element anew, as while a page is still loading, or when one comes back.
const KEPT = (globalThis.msipCompareKept ??= new Map());

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let state = STATES.get(parentElement);
  if (!state || !state.stage.isConnected) {
    state = begin(parentElement, KEPT.get(data.key));
    STATES.set(parentElement, state);
    KEPT.set(data.key, state);
  }
  if (state.image !== data.image) state.view = whole(data);
  Object.assign(state, { data, image: data.image, tell: setTriggerValue });
  draw(state);
}

function begin(root, before) {
  const find = (name) => root.querySelector(name);
  const state = {
    root, stage: find(".stage"), handle: find(".handle"),
    panes: { left: find(".left"), right: find(".right") },
    mode: before?.mode, share: before?.share ?? 0.5, view: before?.view, image: before?.image,
    pointers: new Map(), scale: 0,
  };
  listen(state);
  new ResizeObserver(() => state.data && place(state)).observe(state.stage);
  return state;
}

// --- drawing ---------------------------------------------------------------------------------

function draw(state) {
  const { data, root, stage, panes } = state;
  const two = Boolean(data.right);
  state.mode = two ? state.mode || data.mode || "slider" : "single";
  root.querySelector(".modes").hidden = !two;
  for (const button of root.querySelectorAll("button[data-mode]")) {
    button.textContent = data.words[button.dataset.mode];
    button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
  }
  for (const name of ["out", "in", "whole"]) {
    const button = root.querySelector(`[data-zoom="${name}"]`);
    button.setAttribute("aria-label", data.words[name]);
    button.title = data.words[name];
    if (name === "whole") button.textContent = data.words[name];
  }
  root.querySelector(".modes").setAttribute("aria-label", data.words.modes);
  root.querySelector(".zooms").setAttribute("aria-label", data.words.zoom);
  root.querySelector(".hint").textContent = data.words.hint;
  stage.setAttribute("aria-label", data.words.stage);
  state.handle.setAttribute("aria-label", data.words.handle);
  for (const side of ["left", "right"]) {
    if (data[side]) drawPane(state, side, panes[side], data[side]);
  }
  const [first, second] = root.querySelectorAll(".titles span");
  first.textContent = data.left.title;
  second.textContent = two ? data.right.title : "";
  drawLegend(root.querySelector(".legend"), data.legend || []);
  place(state);
}

function drawPane(state, side, pane, content) {
  const focused = state.stage.getRootNode().activeElement?.dataset?.id;
  const svg = pane.querySelector("svg");
  svg.replaceChildren();
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", content.alt);
  const { width, height } = state.data;
  add(svg, "image", { href: content.url, width, height, "aria-hidden": "true" });
  for (const mark of content.marks) drawBox(svg, mark);
  for (const mark of content.marks) if (mark.number) drawTag(svg, mark);
  if (focused) svg.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  state.scale = 0; // the tags are new: place them
}

function drawBox(svg, mark) {
  const box = add(svg, "g", { class: "box" + (mark.chosen ? " chosen" : "") });
  if (mark.id) {
    box.dataset.id = mark.id;
    box.dataset.pair = mark.pair;
    for (const [name, value] of [["tabindex", "0"], ["role", "button"],
      ["aria-label", mark.label], ["aria-pressed", String(Boolean(mark.chosen))]]) {
      box.setAttribute(name, value);
    }
  }
  const size = { x: mark.x1, y: mark.y1, width: mark.x2 - mark.x1, height: mark.y2 - mark.y1 };
  add(box, "rect", { ...size, class: "rim" });
  const dash = mark.dash.map((part) => part * 2.5).join(" ");
  add(box, "rect", { ...size, class: "line", stroke: mark.colour, "stroke-dasharray": dash });
}

function drawTag(svg, mark) {
  const tag = add(svg, "g", { class: "tag", "aria-hidden": "true" });
  tag.mark = mark;
  const plate = add(tag, "rect", { fill: mark.colour, rx: 2 });
  add(tag, "text", { fill: mark.ink, x: 4, y: 9 });
  plate.setAttribute("height", 18);
}

function drawLegend(list, items) {
  list.replaceChildren();
  for (const item of items) {
    const line = document.createElement("li");
    const svg = add(line, "svg", { viewBox: "0 0 34 12", "aria-hidden": "true" });
    const dash = item.dash.map((part) => part * 2.5).join(" ");
    add(svg, "line", { x1: 3, x2: 31, y1: 6, y2: 6, stroke: item.colour, "stroke-width": 3,
      "stroke-dasharray": dash });
    line.append(item.text);
    list.append(line);
  }
}

// --- where things are ------------------------------------------------------------------------

function place(state) {
  const { data, stage, panes, view, root } = state;
  const ratio = data.width / data.height;
  const columns = state.mode === "columns";
  stage.dataset.mode = state.mode;
  stage.style.maxWidth = `${data.tallest * ratio * (columns ? 2 : 1)}px`;
  root.querySelector(".titles").dataset.mode = state.mode;
  root.querySelector(".titles").style.maxWidth = stage.style.maxWidth;
  stage.style.aspectRatio = columns ? "auto" : String(ratio);
  for (const pane of Object.values(panes)) pane.style.aspectRatio = columns ? String(ratio) : "";
  const wide = data.width / view.zoom, high = data.height / view.zoom;
  view.x = Math.min(Math.max(view.x, wide / 2), data.width - wide / 2);
  view.y = Math.min(Math.max(view.y, high / 2), data.height - high / 2);
  const box = [view.x - wide / 2, view.y - high / 2, wide, high].join(" ");
  for (const pane of Object.values(panes)) {
    pane.querySelector("svg").setAttribute("viewBox", box);
  }
  stage.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
  stage.style.cursor = view.zoom > 1 ? "grab" : "";
  root.querySelector(".level").textContent = `${Math.round(view.zoom * 100)} %`;
  const scale = panes.left.clientWidth / wide; // screen pixels of one pixel of the micrograph
  if (scale && Math.abs(scale - state.scale) > 1e-9) {
    state.scale = scale;
    for (const pane of Object.values(panes)) placeTags(pane, scale, data);
  }
  placeHandle(state);
}

function placeHandle(state) {
  const { handle, panes, share } = state;
  const percent = share * 100;
  handle.style.left = `${percent}%`;
  handle.setAttribute("aria-valuenow", String(Math.round(percent)));
  handle.setAttribute("aria-valuetext", `${Math.round(percent)} %`);
  const cut = state.mode === "slider";
  panes.left.style.clipPath = cut ? `inset(0 ${100 - percent}% 0 0)` : "";
  panes.right.style.clipPath = cut ? `inset(0 0 0 ${percent}%)` : "";
}

function placeTags(pane, scale, data) {
  const taken = [];
  const tags = [...pane.querySelectorAll(".tag")];
  const zoom = (scale * data.width) / pane.clientWidth;
  const brief = tags.length > CROWDED * zoom ** 2 || pane.clientWidth * zoom < NARROW;
  for (const tag of tags) {
    const { mark } = tag;
    tag.querySelector("text").textContent =
      brief && !mark.chosen ? mark.number : `${mark.number} ${mark.text}`;
    const text = tag.querySelector("text").getComputedTextLength() + 8;
    tag.querySelector("rect").setAttribute("width", text);
    const w = text / scale, h = 18 / scale;
    const inside = (x, y) => [
      Math.min(Math.max(x, 0), data.width - w), Math.min(Math.max(y, 0), data.height - h)];
    const spots = [[mark.x1, mark.y1 - h], [mark.x1, mark.y2], [mark.x2 - w, mark.y1 - h],
      [mark.x2 - w, mark.y2], [mark.x1, mark.y1], [mark.x2, mark.y1], [mark.x1 - w, mark.y1]];
    const free = spots.map(([x, y]) => inside(x, y)).find(([x, y]) => !taken.some(
      (other) => x < other.x + other.w && other.x < x + w && y < other.y + other.h
        && other.y < y + h));
    const [x, y] = free || inside(...spots[0]);
    taken.push({ x, y, w, h });
    tag.setAttribute("transform", `translate(${x} ${y}) scale(${1 / scale})`);
  }
}

function moveHandle(state, share) {
  state.share = Math.min(1, Math.max(0, share));
  placeHandle(state);
}

// Which picture lies under a point of the screen, and which pixel of the micrograph.
function under(state, event) {
  const { panes, mode, share, view, data } = state;
  let side = "left";
  const first = panes.left.getBoundingClientRect();
  if (mode === "slider") side = (event.clientX - first.left) / first.width < share ? "left" : "right";
  if (mode === "columns") side = event.clientX > first.right ? "right" : "left";
  const rect = panes[side].getBoundingClientRect();
  const x = view.x + ((event.clientX - rect.left) / rect.width - 0.5) * (data.width / view.zoom);
  const y = view.y + ((event.clientY - rect.top) / rect.height - 0.5) * (data.height / view.zoom);
  return { side, x, y, share: (event.clientX - first.left) / first.width };
}

// The smallest box around a point: a small crypt inside a large one can be clicked.
function boxAt(state, spot) {
  const marks = state.data[spot.side].marks.filter((m) => m.id
    && spot.x >= m.x1 && spot.x <= m.x2 && spot.y >= m.y1 && spot.y <= m.y2);
  const area = (m) => (m.x2 - m.x1) * (m.y2 - m.y1);
  return marks.sort((a, b) => area(a) - area(b))[0];
}

function pick(state, id) {
  state.tell("picked", id);
}

// --- hands -----------------------------------------------------------------------------------

function listen(state) {
  const { root, stage, handle } = state;
  root.querySelector(".bar").addEventListener("click", (event) => {
    const { mode, zoom } = event.target.dataset;
    if (mode) { state.mode = mode; state.scale = 0; draw(state); }
    if (zoom) zoomBy(state, { in: 1.5, out: 1 / 1.5, whole: 0 }[zoom]);
  });
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    event.stopPropagation();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    event.stopPropagation();
    moveHandle(state, under(state, event).share);
  });
  handle.addEventListener("pointerup", (event) => event.stopPropagation());
  stage.addEventListener("pointerdown", (event) => down(state, event));
  stage.addEventListener("pointermove", (event) => move(state, event));
  stage.addEventListener("pointerup", (event) => up(state, event));
  stage.addEventListener("pointercancel", (event) => state.pointers.delete(event.pointerId));
  stage.addEventListener("pointerleave", () => warm(state, null));
  stage.addEventListener("wheel", (event) => wheel(state, event), { passive: false });
  stage.addEventListener("focusin", (event) => show(state, event.target));
  stage.addEventListener("keydown", (event) => key(state, event));
}

function down(state, event) {
  if (event.button) return;
  state.stage.setPointerCapture(event.pointerId);
  state.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, far: 0 });
}

function move(state, event) {
  const last = state.pointers.get(event.pointerId);
  if (!last) { warm(state, boxAt(state, under(state, event))); return; }
  const dx = event.clientX - last.x, dy = event.clientY - last.y;
  const others = [...state.pointers].filter(([id]) => id !== event.pointerId);
  if (others.length) {
    const other = others[0][1];
    const apart = (x, y) => Math.hypot(x - other.x, y - other.y) || 1;
    const middle = { clientX: (event.clientX + other.x) / 2, clientY: (event.clientY + other.y) / 2 };
    zoomBy(state, apart(event.clientX, event.clientY) / apart(last.x, last.y), under(state, middle));
  } else if (state.view.zoom > 1) {
    panBy(state, dx, dy);
  } else if (state.mode === "slider" && last.far + Math.abs(dx) > 4) {
    moveHandle(state, under(state, event).share);
  }
  last.far += Math.hypot(dx, dy) + (others.length ? 100 : 0);
  last.x = event.clientX;
  last.y = event.clientY;
}

function up(state, event) {
  const last = state.pointers.get(event.pointerId);
  state.pointers.delete(event.pointerId);
  if (!last || last.far > 4) return;
  const box = boxAt(state, under(state, event));
  if (box) pick(state, box.id);
}

function warm(state, mark) {
  if (state.warm === mark?.pair) return;
  state.warm = mark?.pair;
  if (state.view.zoom === 1) state.stage.style.cursor = mark ? "pointer" : "";
  for (const box of state.stage.querySelectorAll(".box")) {
    box.classList.toggle("hot", Boolean(mark) && box.dataset.pair === mark.pair);
  }
}

// A box that gets the focus must be seen: bring it into view, on its side of the slider.
function show(state, element) {
  if (!element.dataset?.id || !element.matches(":focus-visible")) return;
  const side = state.panes.left.contains(element) ? "left" : "right";
  const mark = state.data[side].marks.find((m) => m.id === element.dataset.id);
  const { view, data } = state;
  const middle = { x: (mark.x1 + mark.x2) / 2, y: (mark.y1 + mark.y2) / 2 };
  if (view.zoom > 1) Object.assign(view, middle);
  place(state);
  if (state.mode !== "slider") return;
  const at = (x) => (x - view.x) / (data.width / view.zoom) + 0.5;
  if (side === "left" && at(mark.x2) > state.share) moveHandle(state, at(mark.x2) + 0.04);
  if (side === "right" && at(mark.x1) < state.share) moveHandle(state, at(mark.x1) - 0.04);
}

function key(state, event) {
  if (event.altKey || event.metaKey || event.ctrlKey) return;
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const zooms = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, "0": 0 };
  const step = arrows[event.key];
  const onHandle = event.target === state.handle;
  if (event.key in zooms) {
    zoomBy(state, zooms[event.key]);
  } else if (onHandle && step) {
    const forward = step[0] || -step[1];
    moveHandle(state, state.share + forward * (event.shiftKey ? 0.1 : 0.02));
  } else if (onHandle && (event.key === "Home" || event.key === "End")) {
    moveHandle(state, event.key === "Home" ? 0 : 1);
  } else if (step && state.view.zoom > 1) {
    panBy(state, -step[0] * 60, -step[1] * 60);
  } else if ((event.key === "Enter" || event.key === " ") && event.target.dataset?.id) {
    pick(state, event.target.dataset.id);
  } else {
    return;
  }
  event.preventDefault();
}
