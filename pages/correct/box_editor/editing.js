// The boxes of one image while a person corrects them: every step can be undone, and what is not
// saved yet is kept in the tab, so that a reload loses nothing. Nothing here is drawn.

const LEAST = 2; // pixels of the micrograph: the smallest side of a box
const SAME = 0.5; // IoU from which a suggestion is a box that is there already
const STEPS = 200; // that can be undone

let lastId = 0;

function editing(data) {
  const edit = { image: data.image, place: data.place, width: data.width, height: data.height,
    classes: data.classes.length, past: [], future: [], chosen: null, behind: false,
    restored: false, boxes: [], seen: data.seen, base: data.base, saved: "" };
  edit.boxes = data.boxes.map(withId);
  edit.saved = written(edit.boxes);
  const kept = readKept(edit);
  if (kept) {
    edit.boxes = kept.boxes.map(withId);
    edit.restored = true;
    edit.behind = kept.base !== data.base;
    Object.assign(edit, { seen: kept.seen, base: kept.base });
  }
  return edit;
}

// After a save of the same image: what was done before can still be undone.
function goneOn(edit, data) {
  const place = edit.boxes.findIndex((box) => box.id === edit.chosen);
  const next = editing(data);
  return Object.assign(next, { past: edit.past, chosen: next.boxes[place]?.id ?? null });
}

const withId = (box) => ({ ...box, id: `box${(lastId += 1)}` });
const plainBox = ({ cls, x1, y1, x2, y2 }) => ({ cls, x1, y1, x2, y2 });
const written = (boxes) => JSON.stringify(boxes.map(plainBox));
const isDirty = (edit) => written(edit.boxes) !== edit.saved;
const chosenBox = (edit) => edit.boxes.find((box) => box.id === edit.chosen);

// --- one step ----------------------------------------------------------------------------------

// `change` gets the boxes as they are and returns those that are to be.
function step(edit, change) {
  const before = edit.boxes;
  const after = change(before.map((box) => ({ ...box })));
  if (written(after) === written(before)) return false;
  edit.past.push(before);
  if (edit.past.length > STEPS) edit.past.shift();
  edit.future = [];
  edit.boxes = after;
  keep(edit);
  return true;
}

function undo(edit) {
  return swap(edit, edit.past, edit.future);
}

function redo(edit) {
  return swap(edit, edit.future, edit.past);
}

function swap(edit, from, to) {
  if (!from.length) return false;
  to.push(edit.boxes);
  edit.boxes = from.pop();
  if (!chosenBox(edit)) edit.chosen = null;
  keep(edit);
  return true;
}

// Back to what is saved; that too can be undone.
function revert(edit) {
  edit.chosen = null;
  return step(edit, () => JSON.parse(edit.saved).map(withId));
}

function addBox(edit, shape, cls) {
  const box = withId({ ...inside(edit, shape), cls });
  step(edit, (boxes) => [...boxes, box]);
  edit.chosen = box.id;
  return box;
}

function removeBox(edit, id) {
  const place = edit.boxes.findIndex((box) => box.id === id);
  if (place < 0) return false;
  step(edit, (boxes) => boxes.filter((box) => box.id !== id));
  // The next one, so that whoever works by keyboard goes on from there.
  edit.chosen = edit.boxes[Math.min(place, edit.boxes.length - 1)]?.id ?? null;
  return true;
}

function changeBox(edit, id, change) {
  return step(edit, (boxes) => boxes.map((box) => (
    box.id === id ? { ...box, ...inside(edit, { ...box, ...change }) } : box)));
}

function classOf(edit, id, cls) {
  if (cls < 0 || cls >= edit.classes) return false;
  return step(edit, (boxes) => boxes.map((box) => (box.id === id ? { ...box, cls } : box)));
}

// A suggestion becomes a box; over a box of another class it gives that box its class.
function accept(edit, suggestions) {
  const accepted = [];
  step(edit, (boxes) => {
    for (const one of suggestions) {
      const there = boxes.find((box) => overlap(box, one) >= SAME);
      if (there) there.cls = one.cls;
      const box = there || withId({ ...plainBox(one), ...inside(edit, one), cls: one.cls });
      if (!there) boxes.push(box);
      accepted.push(box.id);
    }
    return boxes;
  });
  if (accepted.length === 1) [edit.chosen] = accepted;
  return accepted.length;
}

// Those that are not there yet: the same place and class is there already.
function openSuggestions(edit, suggestions) {
  return suggestions.filter((one) => !edit.boxes.some(
    (box) => box.cls === one.cls && overlap(box, one) >= SAME));
}

// --- shapes ------------------------------------------------------------------------------------

// The corners of a box that lies on the image and is at least LEAST wide and high.
function inside(edit, { x1, y1, x2, y2 }) {
  const [left, right] = [Math.min(x1, x2), Math.max(x1, x2)];
  const [top, bottom] = [Math.min(y1, y2), Math.max(y1, y2)];
  const clip = (low, high, most) => {
    const start = Math.min(Math.max(0, low), most - LEAST);
    return [start, Math.max(Math.min(most, high), start + LEAST)];
  };
  [x1, x2] = clip(left, right, edit.width);
  [y1, y2] = clip(top, bottom, edit.height);
  return { x1, y1, x2, y2 };
}

// Moved as a whole: it stops at the border and keeps its size.
function movedBy(edit, box, dx, dy) {
  const fit = (low, high, by, most) => Math.min(Math.max(by, -low), most - high);
  const x = fit(box.x1, box.x2, dx, Math.max(edit.width, box.x2));
  const y = fit(box.y1, box.y2, dy, Math.max(edit.height, box.y2));
  return { x1: box.x1 + x, x2: box.x2 + x, y1: box.y1 + y, y2: box.y2 + y };
}

function overlap(a, b) {
  const wide = Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1);
  const high = Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1);
  if (wide <= 0 || high <= 0) return 0;
  const area = (box) => (box.x2 - box.x1) * (box.y2 - box.y1);
  return (wide * high) / (area(a) + area(b) - wide * high);
}

const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

// What a new box is as large as: the middle of those that are there.
function usualSize(edit) {
  const side = Math.min(edit.width, edit.height) / 8;
  if (!edit.boxes.length) return { wide: side, high: side };
  return { wide: middle(edit.boxes.map((box) => box.x2 - box.x1)),
    high: middle(edit.boxes.map((box) => box.y2 - box.y1)) };
}

// --- kept in this tab --------------------------------------------------------------------------

const keptName = (edit) => `msip-boxes:${edit.place}:${edit.image}`;

function keep(edit) {
  try {
    if (!isDirty(edit)) sessionStorage.removeItem(keptName(edit));
    else sessionStorage.setItem(keptName(edit), JSON.stringify({ seen: edit.seen, base: edit.base,
      boxes: edit.boxes.map(plainBox) }));
  } catch (error) { // full, or forbidden by the browser's settings
    console.warn("Unsaved boxes cannot be kept in this tab", error);
  }
}

function forgetKept(edit) {
  try {
    sessionStorage.removeItem(keptName(edit));
  } catch (error) {
    console.warn("Unsaved boxes cannot be forgotten in this tab", error);
  }
}

function readKept(edit) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(keptName(edit)) || "null");
    return kept && Array.isArray(kept.boxes) && written(kept.boxes) !== edit.saved ? kept : null;
  } catch (error) {
    console.warn("Unsaved boxes of this tab cannot be read", error);
    return null;
  }
}
