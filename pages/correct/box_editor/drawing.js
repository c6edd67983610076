// The micrograph with its boxes, suggestions and handles as SVG, in the look of the slider.

const CROWDED = 14; // above this many boxes only the chosen one is named
const HANDLE = 9; // screen pixels
const GRAB = 26; // screen pixels of a handle that a finger meets
// Which sides a handle moves: [left, top, right, bottom].
const HANDLES = { nw: [1, 1, 0, 0], n: [0, 1, 0, 0], ne: [0, 1, 1, 0], e: [0, 0, 1, 0],
  se: [0, 0, 1, 1], s: [0, 0, 0, 1], sw: [1, 0, 0, 1], w: [1, 0, 0, 0] };

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);

function draw(state) {
  const { data, edit, svg } = state;
  const focused = state.stage.getRootNode().activeElement?.dataset?.id;
  showPicture(state);
  state.open = data.suggestions.length ? openSuggestions(edit, data.suggestions) : [];
  for (const [n, one] of state.open.entries()) drawSuggestion(state, one, n);
  for (const [n, box] of edit.boxes.entries()) drawBox(state, box, n + 1);
  state.tags = add(svg, "g", { "aria-hidden": "true" });
  state.handles = add(svg, "g", { "aria-hidden": "true" });
  drawBar(state);
  place(state);
  if (!focused) return;
  const again = svg.querySelector(`[data-id="${CSS.escape(focused)}"]`);
  (again || state.stage).focus({ preventScroll: true }); // gone with its box: keys still work
}

// Kept while it stays the same, since one that is built anew flickers.
function showPicture(state) {
  const { data, svg } = state;
  for (const child of [...svg.children]) if (child !== state.picture) child.remove();
  if (state.picture?.getAttribute("href") === data.url) return;
  state.picture?.remove();
  state.picture = add(svg, "image", { href: data.url, width: data.width, height: data.height,
    "aria-hidden": "true", preserveAspectRatio: "none" });
}

const sized = (box) => ({ x: box.x1, y: box.y1, width: box.x2 - box.x1, height: box.y2 - box.y1 });

function drawBox(state, box, number) {
  const { data, edit } = state;
  const chosen = box.id === edit.chosen;
  const kind = data.classes[box.cls];
  const label = filled(data.words.box, { n: number, name: kind.name,
    w: Math.round(box.x2 - box.x1), h: Math.round(box.y2 - box.y1), x: Math.round(box.x1),
    y: Math.round(box.y1) });
  const group = add(state.svg, "g", { class: `box${chosen ? " chosen" : ""}`, "data-id": box.id,
    tabindex: "0", role: "button", "aria-pressed": String(chosen), "aria-label": label });
  add(group, "rect", { ...sized(box), class: "rim" });
  add(group, "rect", { ...sized(box), class: "line", stroke: kind.colour });
}

function drawSuggestion(state, one, number) {
  const kind = state.data.classes[one.cls];
  const label = filled(state.data.words.suggestion, { name: kind.name,
    score: one.score.toFixed(2) });
  const group = add(state.svg, "g", { class: "suggested", "data-id": `suggested${number}`,
    tabindex: "0", role: "button", "aria-label": label });
  add(group, "title", {}).textContent = label;
  add(group, "rect", { ...sized(one), class: "rim" });
  add(group, "rect", { ...sized(one), class: "line", stroke: kind.colour });
}

// --- the bars ----------------------------------------------------------------------------------

function drawBar(state) {
  const { data, edit, root } = state;
  const { words } = data;
  const button = (name) => root.querySelector(`[data-do="${name}"]`);
  for (const name of ["draw", "add", "remove", "undo", "redo", "whole", "previous", "save",
    "revert"]) {
    button(name).textContent = words[name];
  }
  for (const name of ["in", "out"]) {
    button(name).setAttribute("aria-label", words[name]);
    button(name).title = words[name];
  }
  const dirty = isDirty(edit);
  const last = !data.has_next;
  button("next").textContent = dirty && !last ? words.save_next : words.next;
  button("next").disabled = last;
  button("previous").disabled = !data.has_previous;
  button("save").disabled = !dirty;
  button("revert").hidden = !dirty;
  button("remove").disabled = !chosenBox(edit);
  button("undo").disabled = !edit.past.length;
  button("redo").disabled = !edit.future.length;
  button("draw").setAttribute("aria-pressed", String(state.tool === "draw"));
  button("accept").hidden = !state.open.length;
  button("accept").textContent = state.open.length === 1 ? words.accept_one
    : filled(words.accept, { n: state.open.length });
  state.stage.dataset.tool = state.tool;
  state.stage.dataset.dirty = String(dirty);
  root.querySelector(".tools").setAttribute("aria-label", words.tools);
  root.querySelector(".zooms").setAttribute("aria-label", words.zoom);
  root.querySelector(".place").textContent = words.place + (dirty ? ` · ${words.unsaved}` : "");
  root.querySelector(".hint").textContent = words.hint;
  state.stage.setAttribute("aria-label", words.stage);
  drawNotice(root.querySelector(".notice"), edit, dirty ? words : {});
  drawClasses(state, root.querySelector(".classes"));
}

function drawNotice(notice, edit, words) {
  const text = (edit.behind ? words.behind : edit.restored ? words.restored : "") ?? "";
  if (notice.textContent !== text) notice.textContent = text;
  notice.hidden = !text;
}

// Built once for one list of classes, so that the focus stays on a button.
function drawClasses(state, group) {
  const { data, edit } = state;
  const list = JSON.stringify(data.classes);
  if (group.dataset.list !== list) {
    group.dataset.list = list;
    group.setAttribute("aria-label", data.words.classes);
    group.replaceChildren();
    for (const [n, kind] of data.classes.entries()) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", title: kind.name });
      button.dataset.class = n;
      button.setAttribute("role", "radio");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = kind.colour;
      const name = document.createElement("span");
      name.className = "name";
      name.textContent = kind.name;
      button.append(swatch, name);
      if (n < 9) {
        const key = document.createElement("kbd");
        key.textContent = n + 1;
        button.append(key);
      }
      group.append(button);
    }
  }
  const now = chosenBox(edit)?.cls ?? state.cls;
  for (const button of group.children) {
    button.setAttribute("aria-checked", String(Number(button.dataset.class) === now));
  }
}

// --- where things are --------------------------------------------------------------------------

function place(state) {
  const { data, stage, svg, view, root } = state;
  const ratio = data.width / data.height;
  stage.style.maxWidth = `${data.tallest * ratio}px`;
  stage.style.aspectRatio = String(ratio);
  const wide = data.width / view.zoom, high = data.height / view.zoom;
  view.x = Math.min(Math.max(view.x, wide / 2), data.width - wide / 2);
  view.y = Math.min(Math.max(view.y, high / 2), data.height - high / 2);
  svg.setAttribute("viewBox", [view.x - wide / 2, view.y - high / 2, wide, high].join(" "));
  root.querySelector(".level").textContent = `${Math.round(view.zoom * 100)} %`;
  state.scale = stage.clientWidth / wide; // screen pixels of one pixel of the micrograph
  if (!state.scale) return; // not on the screen yet
  placeTags(state);
  placeHandles(state);
}

function placeTags(state) {
  const { data, edit, scale } = state;
  state.tags.replaceChildren();
  const brief = edit.boxes.length > CROWDED * state.view.zoom ** 2;
  for (const box of edit.boxes) {
    if (brief && box.id !== edit.chosen) continue;
    const kind = data.classes[box.cls];
    const tag = add(state.tags, "g", { class: "tag" });
    const plate = add(tag, "rect", { fill: kind.colour, rx: 2, height: 16 });
    const text = add(tag, "text", { fill: kind.ink, x: 4, y: 8 });
    text.textContent = kind.name;
    const wide = text.getComputedTextLength() + 8;
    plate.setAttribute("width", wide);
    const x = Math.min(Math.max(box.x1, 0), data.width - wide / scale);
    const y = box.y1 - 16 / scale < 0 ? box.y2 : box.y1 - 16 / scale;
    tag.setAttribute("transform", `translate(${x} ${y}) scale(${1 / scale})`);
  }
}

function handlePoint(box, [left, top, right, bottom]) {
  const at = (low, high, first, last) => (first ? low : last ? high : (low + high) / 2);
  return { x: at(box.x1, box.x2, left, right), y: at(box.y1, box.y2, top, bottom) };
}

function placeHandles(state) {
  state.handles.replaceChildren();
  const box = chosenBox(state.edit);
  if (!box) return;
  for (const [name, sides] of Object.entries(HANDLES)) {
    const { x, y } = handlePoint(box, sides);
    const side = HANDLE / state.scale;
    add(state.handles, "rect", { class: "handle", x: x - side / 2, y: y - side / 2, width: side,
      height: side, "data-handle": name, style: `cursor: ${name}-resize` });
  }
}

// What a drag shows, without building everything anew.
function redrawBox(state, box) {
  const group = state.svg.querySelector(`[data-id="${CSS.escape(box.id)}"]`);
  for (const rect of group?.querySelectorAll("rect") ?? []) {
    for (const [name, value] of Object.entries(sized(box))) rect.setAttribute(name, value);
  }
  placeTags(state);
  placeHandles(state);
}

// A box that gets the focus must be seen.
function bringIntoView(state, box) {
  const { view, data } = state;
  const wide = data.width / view.zoom / 2, high = data.height / view.zoom / 2;
  const seen = box.x1 >= view.x - wide && box.x2 <= view.x + wide && box.y1 >= view.y - high
    && box.y2 <= view.y + high;
  if (seen) return;
  Object.assign(view, { x: (box.x1 + box.x2) / 2, y: (box.y1 + box.y2) / 2 });
  place(state);
}

// Which pixel of the micrograph lies under a point of the screen.
function under(state, event) {
  const { view, data } = state;
  const rect = state.stage.getBoundingClientRect();
  return {
    x: view.x + ((event.clientX - rect.left) / rect.width - 0.5) * (data.width / view.zoom),
    y: view.y + ((event.clientY - rect.top) / rect.height - 0.5) * (data.height / view.zoom),
  };
}

// The chosen box if the point lies in it, else the smallest one around it.
function boxAt(boxes, spot, chosen) {
  const around = boxes.filter((box) => spot.x >= box.x1 && spot.x <= box.x2
    && spot.y >= box.y1 && spot.y <= box.y2);
  const area = (box) => (box.x2 - box.x1) * (box.y2 - box.y1);
  return around.find((box) => box.id && box.id === chosen)
    ?? around.sort((a, b) => area(a) - area(b))[0];
}

// The handle of the chosen box under a point, also a little beside it.
function handleAt(state, spot, finger) {
  const box = chosenBox(state.edit);
  if (!box) return null;
  const reach = (finger ? GRAB : HANDLE + 4) / 2 / state.scale;
  const near = (sides) => {
    const { x, y } = handlePoint(box, sides);
    return Math.max(Math.abs(spot.x - x), Math.abs(spot.y - y));
  };
  const [name] = Object.entries(HANDLES).filter(([, sides]) => near(sides) <= reach)
    .sort(([, a], [, b]) => near(a) - near(b))[0] ?? [];
  return name ? { box, sides: HANDLES[name] } : null;
}
