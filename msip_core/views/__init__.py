"""From data to what a person sees: `x_info(...)` gathers the numbers, `x_figure(info)` draws them.

Plotly on screen (progress, channels, comparison), matplotlib on paper (paper_*), uint8 arrays for
pictures, plain rows for tables. No torch and no streamlit here.
"""
