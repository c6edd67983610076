// What every picture that can be enlarged has: it stands before a component's own code, which says
// where things are (place, under).

const NS = "http://www.w3.org/2000/svg";
const MOST = 16; // times enlarged

function add(parent, name, attributes) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

const whole = (data) => ({ zoom: 1, x: data.width / 2, y: data.height / 2 });

function zoomBy(state, factor, at) {
  const { view, data } = state;
  const before = view.zoom;
  view.zoom = Math.min(MOST, Math.max(1, before * factor));
  if (at) { // the point under the pointer stays there
    const kept = before / view.zoom;
    view.x = at.x + (view.x - at.x) * kept;
    view.y = at.y + (view.y - at.y) * kept;
  }
  if (view.zoom === 1) Object.assign(view, whole(data));
  place(state);
}

function panBy(state, dx, dy) { // screen pixels
  state.view.x -= dx / state.scale;
  state.view.y -= dy / state.scale;
  place(state);
}

// A wheel over the page must scroll the page: it zooms only with Ctrl (as a pinch of a touchpad
// arrives) or after the picture was clicked.
function wheel(state, event) {
  if (!event.ctrlKey && !state.stage.contains(state.stage.getRootNode().activeElement)) return;
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1);
  zoomBy(state, Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.002)), under(state, event));
}
