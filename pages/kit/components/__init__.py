"""Own parts of the screen that Streamlit does not have: inline HTML, CSS and JS, no network.

A slider between two pictures with boxes that can be picked, and thumbnails; all can be used by
keyboard. (`pages.runs.live_chart` redraws a Plotly chart in place, since `st.plotly_chart` builds
it anew with every point and a zoom would be lost.)
"""
