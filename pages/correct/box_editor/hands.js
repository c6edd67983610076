// What hands do: mouse, fingers and keys. Everything comes in `data`; what is sent back, when a
// person saves or goes to another image, is all boxes of the image and the version they have seen.

const FAR = 4; // screen pixels from which a press is a drag
const STATES = new WeakMap(); // Streamlit calls again with new data: what was edited stays so
// It may also build the element anew, as when the page that holds it comes back.
const KEPT = (globalThis.msipEditorKept ??= new Map());

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let state = STATES.get(parentElement);
  if (!state || !state.stage.isConnected) {
    state = begin(parentElement, KEPT.get(data.key));
    STATES.set(parentElement, state);
    KEPT.set(data.key, state);
  }
  Object.assign(state, { data, tell: setTriggerValue });
  take(state);
  draw(state);
}

function begin(root, before) {
  const find = (name) => root.querySelector(name);
  const state = { root, stage: find(".stage"), svg: find(".stage svg"), tool: "select", cls: 0,
    pointers: new Map(), drag: null, scale: 0, edit: before?.edit, view: before?.view,
    sent: before?.sent };
  listen(state);
  new ResizeObserver(() => state.data && place(state)).observe(state.stage);
  return state;
}

// New data: another image, an answer to a save, or the same image with other suggestions.
function take(state) {
  const { data, edit } = state;
  if (state.sent && data.ack === state.sent.token) {
    forgetKept(state.sent.edit); // saved, or kept as a draft: this tab need not keep it
    state.sent = null;
    if (edit && edit.image === data.image && edit.place === data.place) {
      state.edit = goneOn(edit, data);
    }
  }
  if (!state.edit || state.edit.image !== data.image || state.edit.place !== data.place) {
    state.edit = editing(data);
    state.view = whole(data);
  } else if (state.edit.base !== data.base) { // somebody else corrected it meanwhile
    if (isDirty(state.edit)) state.edit.behind = true;
    else state.edit = editing(data);
  } else if (!isDirty(state.edit) && written(data.boxes.map(withId)) !== state.edit.saved) {
    state.edit = editing(data);
  } else {
    state.edit.classes = data.classes.length;
  }
  state.cls = Math.min(state.cls, Math.max(0, data.classes.length - 1));
}

function say(state, words) {
  state.root.querySelector(".said").textContent = words;
}

function send(state, to) {
  const { edit, data } = state;
  const dirty = isDirty(edit);
  if (!dirty && to === "stay") return;
  const token = `${edit.image}-${Date.now()}-${Math.random().toString(36).slice(2)}`;
  if (dirty) state.sent = { token, edit };
  state.tell("done", { token, image: edit.image, dataset: data.place, to,
    seen: edit.seen, boxes: dirty ? edit.boxes.map(plainBox) : null });
}

function listen(state) {
  const { root, stage } = state;
  root.querySelector(".editor").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || button.disabled) return;
    if (button.dataset.class) pickClass(state, Number(button.dataset.class));
    else press(state, button.dataset.do);
    // A button that has done all it could takes the focus with it, and keys would go nowhere.
    if (button.hidden || button.disabled) stage.focus({ preventScroll: true });
  });
  stage.addEventListener("pointerdown", (event) => down(state, event));
  stage.addEventListener("pointermove", (event) => move(state, event));
  stage.addEventListener("pointerup", (event) => up(state, event));
  stage.addEventListener("pointercancel", (event) => giveUp(state, event));
  stage.addEventListener("wheel", (event) => wheel(state, event), { passive: false });
  stage.addEventListener("focusin", (event) => focusOn(state, event.target));
  root.querySelector(".editor").addEventListener("keydown", (event) => key(state, event));
}

// --- buttons -----------------------------------------------------------------------------------

const DEEDS = {
  draw: (state) => { state.tool = state.tool === "draw" ? "select" : "draw"; },
  add: (state) => newBox(state),
  remove: (state) => removeChosen(state),
  undo: (state) => undo(state.edit) && say(state, state.data.words.undo),
  redo: (state) => redo(state.edit) && say(state, state.data.words.redo),
  in: (state) => zoomBy(state, 1.5),
  out: (state) => zoomBy(state, 1 / 1.5),
  whole: (state) => zoomBy(state, 0),
  accept: (state) => accept(state.edit, state.open),
  revert: (state) => revert(state.edit),
  save: (state) => send(state, "stay"),
  next: (state) => state.data.has_next && send(state, "next"),
  previous: (state) => state.data.has_previous && send(state, "previous"),
};

function press(state, deed) {
  DEEDS[deed]?.(state);
  draw(state);
}

function pickClass(state, cls) {
  if (cls >= state.data.classes.length) return;
  state.cls = cls;
  const box = chosenBox(state.edit);
  if (box) classOf(state.edit, box.id, cls);
  say(state, state.data.classes[cls].name);
  draw(state);
}

// In the middle of what is seen, as large as the others: for those who work by keyboard.
function newBox(state) {
  if (!state.data.classes.length) return;
  const { wide, high } = usualSize(state.edit);
  const { x, y } = state.view;
  addBox(state.edit, { x1: x - wide / 2, y1: y - high / 2, x2: x + wide / 2, y2: y + high / 2 },
    state.cls);
  draw(state);
  focusChosen(state);
}

function removeChosen(state) {
  const box = chosenBox(state.edit);
  if (!box) return;
  removeBox(state.edit, box.id);
  say(state, state.data.words.removed);
  draw(state);
  focusChosen(state);
}

function focusChosen(state) {
  const id = state.edit.chosen;
  const target = id && state.svg.querySelector(`[data-id="${CSS.escape(id)}"]`);
  (target || state.stage).focus({ preventScroll: true });
}

function choose(state, id) {
  if (state.edit.chosen === id) return;
  state.edit.chosen = id;
  draw(state);
}

function focusOn(state, element) {
  const box = state.edit.boxes.find((one) => one.id === element.dataset?.id);
  if (!box || !element.matches(":focus-visible")) return;
  bringIntoView(state, box);
  choose(state, box.id);
}

const suggestionOf = (state, element) => {
  const id = element.closest?.(".suggested")?.dataset.id;
  return id ? state.open[Number(id.replace("suggested", ""))] : undefined;
};

function acceptOne(state, one) {
  accept(state.edit, [one]);
  say(state, state.data.words.accepted);
  draw(state);
  focusChosen(state);
}

// --- mouse and fingers -------------------------------------------------------------------------

function down(state, event) {
  const pans = event.button === 1 || event.shiftKey;
  if (event.button && !pans) return;
  event.preventDefault();
  state.stage.focus({ preventScroll: true });
  state.stage.setPointerCapture(event.pointerId);
  state.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (state.pointers.size > 1) { // two fingers zoom and move the picture
    dropDrag(state);
    return;
  }
  const spot = under(state, event);
  state.drag = { ...grabbed(state, event, spot, pans), from: spot, far: 0 };
}

// What a press takes hold of.
function grabbed(state, event, spot, pans) {
  if (pans) return { kind: "pan" };
  if (state.tool === "draw") return { kind: "draw" };
  const handle = handleAt(state, spot, event.pointerType === "touch");
  if (handle) return { kind: "resize", box: handle.box, sides: handle.sides };
  const box = boxAt(state.edit.boxes, spot, state.edit.chosen);
  const one = boxAt(state.open, spot);
  if (one && suggestionIsMeant(state, one, box, spot)) return { kind: "suggestion", one };
  if (box) return { kind: "move", box };
  return { kind: "draw" };
}

// Where a box lies at the same place, only the dashed line itself means the suggestion.
function suggestionIsMeant(state, one, box, spot) {
  if (!box) return true;
  const area = (b) => (b.x2 - b.x1) * (b.y2 - b.y1);
  if (overlap(box, one) < SAME) return area(one) < area(box);
  const near = Math.min(spot.x - one.x1, one.x2 - spot.x, spot.y - one.y1, one.y2 - spot.y);
  const own = Math.min(spot.x - box.x1, box.x2 - spot.x, spot.y - box.y1, box.y2 - spot.y);
  return near * state.scale <= HANDLE && near < own;
}

function move(state, event) {
  const last = state.pointers.get(event.pointerId);
  if (!last) return;
  const dx = event.clientX - last.x, dy = event.clientY - last.y;
  const others = [...state.pointers].filter(([id]) => id !== event.pointerId);
  if (others.length) pinch(state, event, last, others[0][1]);
  else if (state.drag) dragTo(state, event, dx, dy);
  last.x = event.clientX;
  last.y = event.clientY;
}

function pinch(state, event, last, other) {
  const apart = (x, y) => Math.hypot(x - other.x, y - other.y) || 1;
  const centre = { clientX: (event.clientX + other.x) / 2, clientY: (event.clientY + other.y) / 2 };
  const factor = apart(event.clientX, event.clientY) / apart(last.x, last.y);
  zoomBy(state, factor, under(state, centre));
  panBy(state, (event.clientX - last.x) / 2, (event.clientY - last.y) / 2);
}

function dragTo(state, event, dx, dy) {
  const { drag, edit } = state;
  drag.far += Math.hypot(dx, dy);
  if (drag.far <= FAR) return;
  const spot = under(state, event);
  if (drag.kind === "pan") {
    state.stage.classList.add("panning");
    panBy(state, dx, dy);
  } else if (drag.kind === "move") {
    show(state, movedBy(edit, drag.box, spot.x - drag.from.x, spot.y - drag.from.y));
  } else if (drag.kind === "resize") {
    show(state, inside(edit, resized(drag, spot)));
  } else if (drag.kind === "draw" && state.data.classes.length) {
    sketch(state, inside(edit, { x1: drag.from.x, y1: drag.from.y, x2: spot.x, y2: spot.y }));
  }
}

function resized({ box, sides: [left, top, right, bottom], from }, spot) {
  const dx = spot.x - from.x, dy = spot.y - from.y;
  return { x1: box.x1 + (left ? dx : 0), y1: box.y1 + (top ? dy : 0),
    x2: box.x2 + (right ? dx : 0), y2: box.y2 + (bottom ? dy : 0) };
}

function show(state, shape) {
  const { drag } = state;
  drag.shape = shape;
  if (state.edit.chosen !== drag.box.id) choose(state, drag.box.id);
  const held = chosenBox(state.edit);
  const before = { ...held };
  Object.assign(held, shape);
  redrawBox(state, held);
  Object.assign(held, before); // it becomes a step of its own when it is let go
}

function sketch(state, shape) {
  state.drag.shape = shape;
  const colour = state.data.classes[state.cls].colour;
  state.drag.drawn ??= add(state.svg, "rect", { class: "line", fill: "none", stroke: colour,
    "vector-effect": "non-scaling-stroke" });
  for (const [name, value] of Object.entries(sized(shape))) {
    state.drag.drawn.setAttribute(name, value);
  }
}

function up(state, event) {
  state.pointers.delete(event.pointerId);
  const { drag, edit } = state;
  dropDrag(state);
  if (!drag) return;
  const { shape } = drag;
  if (drag.kind === "suggestion" && drag.far <= FAR) {
    acceptOne(state, drag.one);
    return;
  }
  if (drag.kind === "draw" && shape) {
    const large = Math.min(shape.x2 - shape.x1, shape.y2 - shape.y1) * state.scale > FAR;
    if (large) addBox(edit, shape, state.cls);
  } else if (shape) {
    changeBox(edit, drag.box.id, shape);
  } else if (drag.kind === "move") {
    edit.chosen = drag.box.id;
  } else if (drag.kind === "draw") {
    edit.chosen = null;
  }
  draw(state);
}

function dropDrag(state) {
  state.drag?.drawn?.remove();
  state.drag = null;
  state.stage.classList.remove("panning");
}

function giveUp(state, event) {
  state.pointers.delete(event.pointerId);
  dropDrag(state);
  draw(state);
}

// --- keys --------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = { Delete: "remove", Backspace: "remove", d: "draw", n: "add", a: "accept", s: "save",
  "+": "in", "=": "in", "-": "out", 0: "whole", PageDown: "next", PageUp: "previous" };

function key(state, event) {
  if (event.altKey) return;
  const onStage = state.stage.contains(event.target);
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    const deed = { z: event.shiftKey ? "redo" : "undo", y: "redo", s: "save" }[letter];
    if (!deed) return;
    press(state, deed);
  } else if (!onStage) {
    return; // the buttons have keys of their own
  } else if (ARROWS[event.key]) {
    if (!arrow(state, ARROWS[event.key], event.shiftKey)) return;
  } else if (/^[1-9]$/.test(event.key)) {
    pickClass(state, Number(event.key) - 1);
  } else if (event.key === "Escape") {
    state.tool = "select";
    state.stage.focus({ preventScroll: true }); // first: a box that has the focus is chosen
    state.edit.chosen = null;
    draw(state);
  } else if (event.key === "Enter" || event.key === " ") {
    if (!enter(state, event.target)) return;
  } else if (KEYS[letter]) {
    press(state, KEYS[letter]);
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation(); // Streamlit has keys of its own, such as C and R
}

function enter(state, target) {
  const one = suggestionOf(state, target);
  if (one) {
    acceptOne(state, one);
    return true;
  }
  const id = target.dataset?.id;
  if (!id) return false;
  choose(state, id);
  return true;
}

// With a box: move it, with Shift change its size. Without: move an enlarged picture, else go on.
function arrow(state, [dx, dy], shift) {
  const { edit } = state;
  const box = chosenBox(edit);
  if (box) {
    const shape = shift
      ? { x2: Math.max(box.x1 + LEAST, box.x2 + dx), y2: Math.max(box.y1 + LEAST, box.y2 + dy) }
      : movedBy(edit, box, dx, dy);
    changeBox(edit, box.id, shape);
    draw(state);
  } else if (state.view.zoom > 1) {
    panBy(state, -dx * 60, -dy * 60);
  } else if (dx) {
    press(state, dx > 0 ? "next" : "previous");
  } else {
    return false;
  }
  return true;
}
