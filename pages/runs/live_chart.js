function themed(layout, host) {
  const css = getComputedStyle(host), value = name => css.getPropertyValue(name).trim();
  const text = value("--st-text-color"), ground = value("--st-background-color");
  return { ...layout, autosize: true,
    font: { ...layout.font, color: text, family: value("--st-font") },
    hoverlabel: { bgcolor: ground, bordercolor: text, font: { color: text } } };
}
function draw(host) {
  const { data } = host.msip, figure = JSON.parse(data.figure);
  window.msipPlotly.react(
    host, figure.data, themed(figure.layout, host), { ...data.config, responsive: true });
  host.classList.toggle("clickable", data.clickable);
  if (host.msipWired) return;
  host.msipWired = true;
  host.on("plotly_click", event => {
    const { data, setTriggerValue } = host.msip;
    if (data.clickable) setTriggerValue("picked", Math.round(event.points[0].x));
  });
  // Light and dark change Streamlit's colours without calling us.
  matchMedia("(prefers-color-scheme: dark)").addEventListener(
    "change", () => setTimeout(() => draw(host), 300));
}
export default function({ parentElement, data, setTriggerValue }) {
  const host = parentElement.querySelector(".msip-live-chart");
  const first = !host.msip;
  host.msip = { data, setTriggerValue };
  host.style.height = data.height + "px";
  host.setAttribute("aria-label", data.alt);
  if (window.msipPlotly) draw(host);
  else if (first) document.addEventListener("msip-plotly", () => draw(host), { once: true });
}
