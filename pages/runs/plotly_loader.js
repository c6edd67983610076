export default function({ data, setStateValue }) {
  if (window.msipPlotly || window.msipPlotlyLoading) return;
  if (!data || data.length === 0) { setStateValue("wanted", true); return; }
  window.msipPlotlyLoading = true;
  const unpacked = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
  new Response(unpacked).blob().then(code => {
    const script = document.createElement("script");
    script.src = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    script.onload = () => {
      window.msipPlotly = window.Plotly;
      document.dispatchEvent(new Event("msip-plotly"));
      setStateValue("wanted", false);
    };
    document.head.append(script);
  });
}
